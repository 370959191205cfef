// Times in the zone of this computer, or in UTC, as the server writes them. The choice holds for all pages of this
// site: the panel, the history and the admin read the same key.
const KEY = "anomaly-timezone";

const zone = () => {
  try {
    return localStorage.getItem(KEY) === "utc" ? "utc" : "local";
  } catch {
    return "local"; // storage is blocked
  }
};

const two = (number) => String(number).padStart(2, "0");

const DAY_MS = 86_400_000;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
const seconds = (date) => (date.getSeconds() ? `:${two(date.getSeconds())}` : "");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

/** `UTC`, or the offset of the local zone at that moment: `UTC+1`, `UTC−3:30`, as in the panel. */
function zoneName(date) {
  const minutes = -date.getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? "−" : "+"}${Math.floor(Math.abs(minutes) / 60)}${rest ? `:${two(rest)}` : ""}`;
}

/** `2026-11-30 17:35:19 UTC+1` */
const full = (date) => `${day(date)} ${clock(date)}:${two(date.getSeconds())} ${zoneName(date)}`;

/** A tick of an axis: the time, with the day where a new one begins; from a month apart on, only the month. */
function tick(date, step) {
  if (step >= 30 * DAY_MS) return `${MONTHS[date.getMonth()]} ${date.getFullYear()}`;
  const name = `${two(date.getDate())} ${MONTHS[date.getMonth()]}`;
  const time = clock(date) + seconds(date);
  if (time === "00:00") return name;
  return day(new Date(date - step)) === day(date) ? time : `${name} ${time}`;
}

/** The time alone, with its date if that is another than that of `since`. */
const beside = (date, since) => `${day(date) === day(since) ? "" : `${day(date)} `}${clock(date)}${seconds(date)}`;

/** The text of an element in local time; the server wrote it in UTC. */
function local(element) {
  const { time, step, since, times } = element.dataset;
  if (times) return times.replace(/\{(\d+)\}/g, (_, at) => full(new Date(Number(at))));
  if (!time) return full(new Date(element.dateTime));
  const date = new Date(Number(time));
  return step ? tick(date, Number(step)) : since ? beside(date, new Date(Number(since))) : clock(date);
}

// --- Inputs for a time: what is typed is in the zone of the switch; the server reads UTC --------------------------

const NAIVE = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?$/;

/** Epoch ms of what was typed; null if it names its zone, or is no time. */
function typed(text, here) {
  const found = NAIVE.exec(text.trim());
  if (!found) return null;
  const [year, month, date, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  const parts = [year, month - 1, date, hour, minute, second];
  const at = here ? new Date(...parts) : new Date(Date.UTC(...parts));
  // A 30 February would be taken for a 2 March.
  const same = here ? at.getMonth() === month - 1 && at.getDate() === date : at.getUTCMonth() === month - 1 && at.getUTCDate() === date;
  return same && hour < 24 && minute < 60 && second < 60 ? at.getTime() : null;
}

/** Epoch ms of what the server wrote: UTC unless it names its zone. */
function written(text) {
  const at = /^\d{12,14}$/.test(text) ? Number(text) : /[T ].*(?:Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : typed(text, false);
  return at === null || Number.isNaN(at) || at % 1000 ? null : at;
}

const forInput = (at, here) => {
  const date = new Date(at);
  return here ? `${day(date)} ${clock(date)}${seconds(date)}` : date.toISOString().slice(0, 19).replace("T", " ").replace(/:00$/, "");
};

const moments = () => document.querySelectorAll("input[data-moment]");

function renderInputs(before, here) {
  for (const input of moments()) {
    const at = before === null ? written(input.value) : typed(input.value, before);
    if (at !== null) input.value = forInput(at, here);
  }
}

/** In local time the form sends UTC, whose zone it names. */
function send(event) {
  if (zone() === "utc") return;
  for (const input of moments()) {
    const at = typed(input.value, true);
    if (at !== null && event.formData.has(input.name)) {
      event.formData.set(input.name, new Date(at).toISOString().replace(".000Z", "Z"));
    }
  }
}

// -------------------------------------------------------------------------------------------------------------------

const utc = new WeakMap(); // what the server wrote
let shown = null; // whether local time is shown; null before the first time

function render() {
  const here = zone() === "local";
  for (const element of document.querySelectorAll("time[datetime], [data-time], [data-times]")) {
    if (!utc.has(element)) utc.set(element, element.textContent);
    element.textContent = here ? local(element) : utc.get(element);
  }
  // Its name, which is that of summer and winter.
  const name = here ? new Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
  for (const element of document.querySelectorAll("[data-zone]")) element.textContent = name;
  if (here !== shown) renderInputs(shown, here);
  shown = here;
  for (const button of document.querySelectorAll("[data-timezone]")) {
    button.setAttribute("aria-pressed", String(button.dataset.timezone === zone()));
  }
}

function choose(event) {
  try {
    localStorage.setItem(KEY, event.currentTarget.dataset.timezone);
  } catch {
    return; // storage is blocked: local time stays
  }
  render();
}

/** The switch: in its place on our pages, among the user's links in the admin. */
function place() {
  const inAdmin = document.querySelector("#user-tools");
  const home = document.querySelector("[data-timezone-switch]") ?? inAdmin;
  if (!home) return;
  const group = document.createElement("span");
  group.className = "timezone";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Time zone");
  for (const [value, label] of [["utc", "UTC"], ["local", "Local"]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.timezone = value;
    button.textContent = label;
    button.addEventListener("click", choose);
    group.append(button);
  }
  home.append(group);
}

place();
render();
for (const input of moments()) input.form?.addEventListener("formdata", send);
addEventListener("storage", (event) => event.key === KEY && render());
