/* What pages do beyond links and forms: they look again by themselves, know keys, and remember how
   they are to look. All of it may be missing. */
"use strict";

const kept = {
  get(name) { try { return localStorage.getItem("soniq." + name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem("soniq." + name, value); } catch { /* not allowed */ } },
};
const root = document.documentElement;
if (["light", "dark"].includes(kept.get("theme"))) root.dataset.theme = kept.get("theme");
if (kept.get("keys") === "off") root.dataset.keys = "off";
if (kept.get("density") === "compact") root.dataset.density = "compact";

const say = (text) => {
  const place = document.querySelector(".said");
  place.textContent = text;
  setTimeout(() => { if (place.textContent === text) place.textContent = ""; }, 4000);
};

/* Times, in UTC or in the zone of the browser */
const clocks = (within) => {
  const local = kept.get("zone") === "local";
  for (const each of within.querySelectorAll("time[data-clock]")) {
    each.dataset.utc ??= each.textContent;
    each.textContent = local ? new Date(each.dateTime).toLocaleString() : each.dataset.utc;
  }
  for (const each of within.querySelectorAll("[data-tick]")) {
    each.dataset.utc ??= each.textContent;
    const how = each.dataset.utc.includes(":") ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : { month: "short", day: "numeric" };
    each.textContent = local ? new Date(each.dataset.tick).toLocaleString("en", how) : each.dataset.utc;
  }
  for (const each of within.querySelectorAll("time[data-ago]")) each.read ??= performance.now();
};

/* What only a script can do, in a page or in what is put into one */
const ready = (within) => {
  for (const each of within.querySelectorAll("[data-switch], [data-copy], [data-all]")) each.hidden = false;
  clocks(within);
};

/* How long ago something was, while the page that says so stays */
const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
const long = (seconds) => {
  const parts = [];
  for (const [size, unit] of UNITS) {
    if (seconds >= size || parts.length) parts.push(`${Math.floor(seconds / size)} ${unit}`);
    seconds %= size;
  }
  return parts.slice(0, 2).join(" ") || "0 s";
};
const goOn = () => {
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const ago = Math.round(Number(each.dataset.ago) + (performance.now() - each.read) / 1000);
    if ("for" in each.dataset) each.textContent = long(Math.max(0, ago));
    else each.textContent = ago >= 0 ? `${long(ago)} ago` : `in ${long(-ago)}`;
  }
};

/* Of a chart that is pointed at, the caption has the time and the numbers of that place. */
const PLACE = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const timeOf = (milliseconds) => kept.get("zone") === "local"
  ? new Date(milliseconds).toLocaleString("en", PLACE)
  : new Date(milliseconds).toLocaleString("en", { ...PLACE, timeZone: "UTC" }) + " UTC";
const swap = (each, text) => {
  each.dataset.before ??= each.textContent;
  each.textContent = text ?? each.dataset.before;
  if (text === null) delete each.dataset.before;
};
let pointedAt = null;
const point = (event) => {
  const plot = event.target.closest?.(".plot[data-from]") ?? null;
  if (pointedAt && pointedAt !== plot) caption(pointedAt, null);
  pointedAt = plot;
  if (!plot) return;
  const box = plot.getBoundingClientRect();
  caption(plot, Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
};
const caption = (plot, share) => {
  const numbers = [...plot.parentElement.querySelectorAll("[data-points]")];
  const last = Math.max(1, numbers[0].dataset.points.split("|").length - 1);
  const place = share === null ? null : Math.round(share * last);
  for (const each of numbers) swap(each, place === null ? null : each.dataset.points.split("|")[place] || "–");
  const [from, to] = [Number(plot.dataset.from), Number(plot.dataset.to)];
  swap(plot.parentElement.querySelector("figcaption b"), place === null ? null : timeOf(from + place / last * (to - from)));
  plot.querySelector(".pointer").setAttribute("d", place === null ? "" : `M${(place / last * 600).toFixed(1)} 0V120`);
};

/* Looking again: regions whose content differs are put in place, but not under somebody's hands. */
const busy = (region) =>
  region.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox])")
  || region.querySelector("[name=id]:checked, details[open]")
  || region.querySelector("[name=id]") && region.querySelector("[name=reason]")?.value
  || region.contains(getSelection().anchorNode) && !getSelection().isCollapsed;

/* Of a list that is left as it is, how many rows are new: a button that puts them in place */
const offer = (old, fresh) => {
  const links = (of) => [...of.querySelectorAll("[data-row]")].map((row) => row.querySelector("a")?.getAttribute("href"));
  const had = new Set(links(old)), all = links(fresh);
  const count = all.filter((each) => !had.has(each)).length;
  let button = old.querySelector(".fresh");
  if (!count) { button?.remove(); return; }
  if (!button) {
    button = document.createElement("button");
    Object.assign(button, { type: "button", className: "button fresh" });
    button.dataset.switch = "fresh";
    old.prepend(button);
  }
  button.textContent = `${count}${count === all.length ? "+" : ""} new`;
};
const putInPlace = (region) => {
  for (const each of region.querySelectorAll("input:checked")) each.checked = false;
  for (const each of region.querySelectorAll("details[open]")) each.open = false;
  const reason = region.querySelector("[name=reason]");
  if (reason) reason.value = "";
  region.querySelector(".fresh").remove();
  lookAgain().catch(() => { /* the next look will */ });
};

let shown = "";  // what the server calls the page that is here, where all of it is
const lookAgain = async () => {
  const answer = await fetch(location.href, { headers: shown ? { "If-None-Match": shown } : {}, redirect: "error" });
  if (answer.status === 304) { goOn(); return; }
  if (!answer.ok) throw new Error(String(answer.status));
  shown = answer.headers.get("ETag") ?? "";
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  ready(page);
  for (const fresh of page.querySelectorAll("[data-region]")) {
    const old = document.querySelector(`[data-region="${fresh.dataset.region}"]`);
    if (!old || old.innerHTML === fresh.innerHTML) continue;
    if (busy(old)) { shown = ""; offer(old, fresh); continue; }
    const at = [...old.querySelectorAll("a, button")].indexOf(document.activeElement);
    const row = [...old.querySelectorAll("[data-row]")].findIndex((each) => "at" in each.dataset);
    old.replaceChildren(...document.adoptNode(fresh).childNodes);
    if (at >= 0) [...old.querySelectorAll("a, button")][at]?.focus({ preventScroll: true });
    if (row >= 0) { const now = old.querySelectorAll("[data-row]")[row]; if (now) now.dataset.at = ""; }
  }
  const live = page.querySelector("main").dataset.live;
  if (live) document.querySelector("main").dataset.live = live;
  else delete document.querySelector("main").dataset.live;
};

const poll = async () => {
  const state = document.querySelector("[data-state]");
  let failed = 0;
  for (;;) {
    const seconds = Number(document.querySelector("main").dataset.live);
    if (!seconds) return;
    await new Promise((then) => setTimeout(then, Math.min(seconds * 2 ** failed, 60) * 1000));
    if (document.hidden) await new Promise((then) => document.addEventListener("visibilitychange", then, { once: true }));
    try {
      await lookAgain();
      failed = 0;
      state.textContent = "Live";
    } catch {
      failed += 1;
      state.textContent = "Not reached since " + (state.dataset.since ??= new Date().toLocaleTimeString());
      continue;
    }
    delete state.dataset.since;
  }
};

/* What is counted once a page is there: put where the page has a link to it. */
const bring = async (place) => {
  if (document.hidden) await new Promise((then) => document.addEventListener("visibilitychange", then, { once: true }));
  try {
    const answer = await fetch(place.dataset.bring, { redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    place.replaceChildren(...document.adoptNode(page.querySelector("[data-part]")).childNodes);
  } catch { /* the link stays */ }
};

/* Keys: "/" searches, "g" and a letter leads to a page, "j" and "k" go through the rows. All of them
   can be switched off in the list of them, which a button shows as well. */
const listKeys = () => {
  const list = document.querySelector("dialog.keys");
  list.querySelector("[data-keys]").checked = !root.dataset.keys;
  list.showModal();
};
let after = "";
const rows = (step) => {
  const all = [...document.querySelectorAll("[data-row]")];
  const at = all.findIndex((each) => "at" in each.dataset);
  const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + step))];
  if (!next) return;
  if (at >= 0) delete all[at].dataset.at;
  next.dataset.at = "";
  next.scrollIntoView({ block: "nearest" });
};
/* An action of the job that is shown; why not, where it is not possible */
const act = (action, then) => {
  const button = document.querySelector(`.actions [data-action=${action}]`);
  if (button?.disabled) say(button.dataset.why);
  else if (button) then(button);
};
const keys = (event) => {
  if (root.dataset.keys || document.querySelector("dialog[open]")) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox])")) return;
  const first = after;
  after = event.key === "g" ? "g" : "";
  if (first === "g") document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
  else if (event.key === "/") { event.preventDefault(); document.querySelector(".find input").focus(); }
  else if (event.key === "j") rows(1);
  else if (event.key === "k") rows(-1);
  else if (event.key === "x") document.querySelector("[data-at] [name=id]")?.click();
  else if (event.key === "r") act("retry", (button) => button.click());
  else if (event.key === "c") act("cancel", (button) => { event.preventDefault(); button.form.reason.focus(); });
  else if (event.key === "Enter" && event.target === document.body) document.querySelector("[data-at] a")?.click();
  else if (event.key === "?") listKeys();
};

/* Words that the search box knows, offered for the one that is being written. */
const complete = (box) => {
  const list = document.createElement("datalist");
  list.id = "words";
  let words;
  const offer = async () => {
    words ??= fetch(box.dataset.words, { redirect: "error" }).then((answer) => answer.ok ? answer.json() : [], () => []);
    const [, before, word] = box.value.match(/^(.*?)([^\s]*)$/s);
    const found = (await words).filter((each) => each.startsWith(word) && each !== word);
    list.replaceChildren(...found.slice(0, 20).map((each) => new Option("", before + each)));
  };
  box.after(list);
  box.setAttribute("list", list.id);
  box.addEventListener("focus", offer);
  box.addEventListener("input", offer);
};

document.addEventListener("DOMContentLoaded", () => {
  complete(document.querySelector(".find input"));
  const zone = document.querySelector("[data-switch=zone]");
  zone.textContent = kept.get("zone") === "local" ? "Local" : "UTC";
  ready(document);
  for (const each of document.querySelectorAll("nav [aria-current]")) each.scrollIntoView({ block: "nearest", inline: "center" });
  document.addEventListener("keydown", keys);
  document.addEventListener("pointermove", point);
  for (const each of document.querySelectorAll("[data-bring]")) bring(each);
  poll();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-switch], [data-copy]");
  if (!button) return;
  if (button.dataset.switch === "theme") {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    kept.set("theme", root.dataset.theme);
  } else if (button.dataset.switch === "density") {
    if (root.dataset.density) delete root.dataset.density;
    else root.dataset.density = "compact";
    kept.set("density", root.dataset.density ?? "roomy");
    say(root.dataset.density ? "Compact lists" : "Roomy lists");
  } else if (button.dataset.switch === "zone") {
    kept.set("zone", kept.get("zone") === "local" ? "utc" : "local");
    button.textContent = kept.get("zone") === "local" ? "Local" : "UTC";
    clocks(document);
  } else if (button.dataset.switch === "fresh") putInPlace(button.closest("[data-region]"));
  else if (button.dataset.switch === "help") listKeys();
  else if (button.dataset.switch === "close") button.closest("dialog").close();
  else {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say("Copied");
    } catch { /* on plain http: to be copied by hand */
      getSelection().selectAllChildren(button.previousElementSibling);
    }
  }
});

document.addEventListener("change", (event) => {
  if ("keys" in event.target.dataset) {
    if (event.target.checked) delete root.dataset.keys;
    else root.dataset.keys = "off";
    kept.set("keys", root.dataset.keys ?? "on");
  }
  if ("all" in event.target.dataset) {
    for (const each of document.querySelectorAll("[name=id]")) each.checked = event.target.checked;
  }
});

document.addEventListener("submit", (event) => {
  const boxes = [...event.target.querySelectorAll("[name=id]")];
  if (boxes.length && event.submitter?.name !== "one" && !boxes.some((each) => each.checked)) {
    event.preventDefault();
    say("Nothing is ticked");
    return;
  }
  const ask = event.submitter?.dataset.ask || event.target.dataset.ask;
  if (ask && !confirm(ask)) event.preventDefault();
});
