// One measurement of graphile-worker: node graphile.mjs WHAT COUNT, as tests.benchmarks.queues measures the others.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const [what, count] = [process.argv[2], Number(process.argv[3])];
const connectionString = process.env.BENCH_URL;
const logger = new Logger(() => () => {});
const [warmUp, tasks, chunk] = [20, 100, 50_000];

const pool = new pg.Pool({ connectionString, max: 20 });
pool.on("error", () => {});
pool.on("connect", (client) => client.on("error", () => {}));
const utils = await makeWorkerUtils({ pgPool: pool, logger });
await utils.migrate();

const start = (taskList) =>
  run({
    preset: {
      worker: {
        connectionString,
        concurrentJobs: 50,
        maxPoolSize: 10,
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    logger,
    noHandleSignals: true,
    taskList,
  });

async function oneByOne(first, step, end) {
  for (let number = first; number < end; number += step) await utils.addJob("noop", { number });
}

const atOnce = () => Promise.all(Array.from({ length: tasks }, (_, first) => oneByOne(first, tasks, count)));

const many = (end) =>
  utils.addJobs(Array.from({ length: end }, (_, number) => ({ identifier: "noop", payload: { number } })));

async function rate(work) {
  const began = performance.now();
  await work();
  return [count / ((performance.now() - began) / 1000)];
}

async function processAll() {
  for (let first = 0; first < count; first += chunk) await many(Math.min(chunk, count - first));
  let done = 0;
  let finished;
  const all = new Promise((resolve) => (finished = resolve));
  const rates = await rate(async () => {
    const runner = await start({ noop: async () => void (++done === count && finished()) });
    await all;
    await runner.stop(); // completions in batches are written by then
  });
  const left = await pool.query("select count(*)::integer as n from graphile_worker.jobs");
  if (left.rows[0].n) throw new Error(`${left.rows[0].n} jobs are left`);
  return rates;
}

async function pickUp() {
  let arrived;
  const runner = await start({ stamp: async () => arrived(performance.now()) });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const times = [];
  for (let number = 0; number < warmUp + count; number++) {
    const handled = new Promise((resolve) => (arrived = resolve));
    const began = performance.now();
    await utils.addJob("stamp", {});
    times.push((await handled) - began);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await runner.stop();
  return times.slice(warmUp);
}

async function measure() {
  if (what === "process") return processAll();
  if (what === "pick-up") return pickUp();
  await oneByOne(0, 1, warmUp);
  if (what === "bulk") return rate(() => many(count));
  if (what === "at-once") return rate(atOnce);
  return rate(() => oneByOne(0, 1, count));
}

console.log(JSON.stringify(await measure()));
await utils.release();
await pool.end();
process.exit(0);
