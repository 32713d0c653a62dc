// Keeps a page as fresh as its stream: values, ages, the badge, the clock. Everything it changes was
// readable before it ran. When the stream dies the page says so and ages keep counting.

const body = document.body;
const $$ = (selector, root = document) => root.querySelectorAll(selector);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const PATIENCE = 7000; // ms without any event before the page calls itself cut off
let ahead = Number(body.dataset.now) - Date.now(); // server clock minus ours
let heard = Date.now();
let lost = false;
let source = null;

const now = () => Date.now() + ahead;
const two = (n) => String(n).padStart(2, "0");

// The same writing as numbers.py.
function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const h = Math.floor(s / 3600);
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
  if (s < 86400) return `${h}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
  if (s < 259200) return `${h}:${two(Math.floor((s % 3600) / 60))} h`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}
const age = (ms) => (ms < 60000 ? `${Math.max(0, Math.floor(ms / 1000))} s` : span(ms));
function clock(ms) {
  const d = new Date(ms + Number(body.dataset.offset) * 60000);
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
}
const put = (node, text) => { if (node && node.textContent !== text) node.textContent = text; };

function tick() {
  put(document.getElementById("clock"), clock(now()));
  for (const node of $$("[data-taken]")) {
    const text = age(now() - Number(node.dataset.taken));
    if (node.classList.contains("ago")) put(node, fill(body.dataset.ago, { age: text }));
    else put(node, node.closest(".q-stale") ? fill(body.dataset.old, { age: text }) : text);
  }
  for (const node of $$("[data-since]")) if (Number(node.dataset.since)) put(node, span(now() - Number(node.dataset.since)));
  for (const node of $$("[data-due]")) {
    const left = Number(node.dataset.due) - now();
    put(node, left >= 0 ? span(left) : fill(body.dataset.late, { span: span(-left) }));
    node.classList.toggle("due", left <= 30000);
  }
  if (!body.dataset.events) return;
  if (Date.now() - heard > PATIENCE) lost = true;
  const strip = document.getElementById("offline");
  if (lost) {
    strip.hidden = false;
    put(strip, fill(body.dataset.offline, { age: span(Date.now() - heard), time: clock(heard + ahead) }));
  }
}

const KINDS = ["good", "unc", "stale", "bad"];
function show(item) {
  for (const place of $$(`[data-tag="${item.tag}"]`)) {
    for (const kind of KINDS) place.classList.toggle(`q-${kind}`, kind === item.quality);
    if (place.matches(".tile, tr")) place.classList.toggle("hatch", item.quality === "bad");
    put(place.querySelector(".n"), item.text);
    const q = place.querySelector(".q");
    if (q) { q.hidden = !item.why; put(q.querySelector(".why"), item.why); }
    const when = place.querySelector(".age");
    if (when && item.taken) { when.hidden = false; when.dataset.taken = Date.parse(item.taken); }
    const at = place.querySelector(".rb .at");
    if (at && item.fill !== null) for (const x of ["x1", "x2"]) at.setAttribute(x, `${item.fill}%`);
    if (at) at.setAttribute("visibility", item.fill === null ? "hidden" : "visible");
  }
}

// Counts the moves of each origin's alarms: what was dropped on the way is fetched all the same.
const moves = new Map();
const drawn = body.dataset.moves ? Number(body.dataset.moves) : null;
function badge(state) {
  ahead = Date.parse(state.now) - Date.now();
  const seen = moves.get(state.origin) ?? drawn ?? state.moves;
  moves.set(state.origin, state.moves);
  if (state.moves !== seen) later("davy:alarms", 0);
  const node = document.getElementById("badge");
  if (!node) return;
  put(document.getElementById("badge-size"), state.size_text);
  put(document.getElementById("badge-exposure"), state.exposure_text);
  put(document.getElementById("held"), state.sentence);
  node.title = state.sentence;
  const held = document.getElementById("badge-held");
  if (held && state.held_time) held.dataset.taken = Date.parse(state.held_time);
  node.classList.toggle("exposed", state.exposed);
  node.querySelector("use").setAttribute("href", state.exposed ? "#boxo" : "#box");
  later("davy:checkpoint", 1000);
}

// The lists are drawn by the server; an event asks htmx to fetch them again. Not under a moving
// pointer: what a person aims at holds still for 3 s.
const due = new Map();
let moved = 0;
document.addEventListener("pointermove", () => { moved = Date.now(); }, { passive: true });
function later(name, wait) {
  if (!due.has(name)) due.set(name, setTimeout(() => fire(name), wait));
}
function fire(name) {
  due.delete(name);
  const aiming = document.querySelector(".al tr:hover, .al :focus-visible") && Date.now() - moved < 3000;
  if (aiming) return later(name, 500);
  if (document.querySelector(".htmx-request")) return later(name, 200);
  if (name === "davy:alarms" && !busy()) body.dispatchEvent(new CustomEvent("davy:side", { bubbles: true }));
  body.dispatchEvent(new CustomEvent(name, { bubbles: true }));
}
// Somebody is typing at the side, or has a form open there: it stays as it is.
function busy() {
  const side = document.getElementById("side");
  return !!side && (!!side.querySelector("details[open]") || side.contains(document.activeElement));
}

let shouted = 0;
let unheard = 0;
function shout(alarm) {
  if (!alarm || alarm.priority > 2) return;
  unheard += 1;
  if (Date.now() - shouted < 5000) return;
  put(document.getElementById("shout"), `${alarm.name} ${alarm.words}${unheard > 1 ? ` (+${unheard - 1})` : ""}`);
  shouted = Date.now();
  unheard = 0;
}

// The stream tells of the tags this page shows; when a fetched list brings new ones it is opened anew.
const MOST_TAGS = 400;
let following = new Set();
function shown() {
  return new Set([...$$("[data-tag]")].map((node) => node.dataset.tag));
}
document.addEventListener("htmx:afterSwap", () => {
  tick();
  if (source && following.size && [...shown()].some((tag) => !following.has(tag))) { source.close(); listen(); }
});

function listen() {
  const tags = shown();
  following = tags.size <= MOST_TAGS ? tags : new Set();
  const mark = body.dataset.events.includes("?") ? "&" : "?";
  source = new EventSource(body.dataset.events + (tags.size <= MOST_TAGS ? `${mark}tags=${[...tags].join(",")}` : ""));
  const on = (name, take) => source.addEventListener(name, (event) => {
    heard = Date.now();
    if (lost) { lost = false; document.getElementById("offline").hidden = true; later("davy:alarms", 0); later("davy:slow", 0); }
    take(JSON.parse(event.data));
  });
  on("reading.latest", (data) => { data.items.forEach(show); tick(); });
  on("log.checkpoint", badge);
  on("alarm.transition", (data) => {
    if (data.annunciates) shout(data.alarm);
    later("davy:alarms", 300);
  });
  source.onerror = () => {
    lost = true;
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}

// Keys: one act at a time, only on what is selected and visible; off by the link in the bar.
let going = false;
function step(by) {
  const rows = [...$$("#list tbody tr")];
  const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
  rows[Math.min(rows.length - 1, Math.max(0, at + by))]?.querySelector("a")?.click();
}
const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  a: () => document.querySelector("#side .first")?.click(),
  "/": () => document.getElementById("q")?.focus(),
  g: () => { going = true; setTimeout(() => { going = false; }, 1500); },
  ArrowLeft: () => move(-1),
  ArrowRight: () => move(1),
};
document.addEventListener("keydown", (event) => {
  if (!("keys" in body.dataset) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea, select")) return;
  const to = going && document.querySelector(`.nav [data-key="${event.key}"]`);
  going = false;
  if (to) return to.click();
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

// The cursor of the trend: the server drew the line, this only reads it out.
let cursor = null;
function move(by) {
  const data = JSON.parse(document.getElementById("cursor-data")?.textContent || "null");
  if (!data?.length) return;
  cursor = Math.min(data.length - 1, Math.max(0, (cursor ?? data.length) + by));
  read(data);
}
function read(data) {
  const grid = document.querySelector(".tg");
  const plot = grid.querySelector("svg.plot");
  const panel = document.getElementById("trend");
  const [ms, mean, least, most] = data[cursor];
  const { t0, t1 } = grid.dataset;
  const box = plot.getBoundingClientRect();
  const frame = panel.getBoundingClientRect();
  const x = box.left - frame.left + (box.width * (ms - t0)) / (t1 - t0);
  const line = panel.querySelector(".cur") || panel.appendChild(Object.assign(document.createElement("div"), { className: "cur" }));
  const text = panel.querySelector(".cur-t") || panel.appendChild(Object.assign(document.createElement("div"), { className: "cur-t" }));
  line.style.left = `${x}px`;
  line.style.height = `${grid.getBoundingClientRect().height}px`;
  const unit = grid.querySelector(".ax.nm").textContent;
  text.textContent = `${clock(ms)}  ${mean} ${unit}${least === most ? "" : `  (${least}–${most})`}`;
  text.style.top = `${box.top - frame.top + 8}px`;
  const right = x > frame.width / 2;
  text.style.left = right ? "auto" : `${x + 8}px`;
  text.style.right = right ? `${frame.width - x + 8}px` : "auto";
}
document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.("svg.plot");
  if (!plot) return;
  const data = JSON.parse(document.getElementById("cursor-data").textContent);
  if (!data.length) return;
  const { t0, t1 } = document.querySelector(".tg").dataset;
  const box = plot.getBoundingClientRect();
  const at = Number(t0) + ((event.clientX - box.left) / box.width) * (t1 - t0);
  let low = 0;
  let high = data.length - 1;
  while (low < high) { const mid = (low + high) >> 1; if (data[mid][0] < at) low = mid + 1; else high = mid; }
  cursor = low && at - data[low - 1][0] < data[low][0] - at ? low - 1 : low;
  read(data);
});

if (body.dataset.events) {
  listen();
  setInterval(() => later("davy:slow", 0), 10000);
  setInterval(() => { if (cursor === null && !document.querySelector(".figures[open]")) later("davy:trend", 0); }, 15000);
}
tick();
setInterval(tick, 1000);
addEventListener("pagehide", () => source?.close());
