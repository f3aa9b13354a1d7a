// Jobs per second of graphile-worker: node graphile.mjs JOBS, with DATABASE_URL and BATCH in the environment.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const jobs = Number(process.argv[2]);
const batch = Number(process.env.BATCH);
const connectionString = process.env.DATABASE_URL;
const logger = new Logger(() => () => {});

const client = new pg.Client({ connectionString });
await client.connect();
await client.query("drop schema if exists graphile_worker cascade");
const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();
await utils.release();
await client.query(
  `select 1 from graphile_worker.add_jobs(array(
     select ('noop', json_build_object('number', n), null, null, null, null, null, null)::graphile_worker.job_spec
     from generate_series(1, $1::integer) as n))`,
  [jobs],
);

let count = 0;
let finished;
const all = new Promise((resolve) => (finished = resolve));
const began = performance.now();
const runner = await run({
  preset: {
    worker: {
      connectionString,
      concurrentJobs: 50,
      maxPoolSize: 10,
      localQueue: { size: batch },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  logger,
  noHandleSignals: true,
  taskList: { noop: async () => void (++count === jobs && finished()) },
});
await all;
await runner.stop(); // completions in batches are written by then
console.log(jobs / ((performance.now() - began) / 1000));
const left = await client.query("select count(*)::integer as n from graphile_worker.jobs");
await client.query("drop schema graphile_worker cascade");
await client.end();
process.exit(left.rows[0].n ? 1 : 0);
