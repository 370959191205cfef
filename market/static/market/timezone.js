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

/** `2026-11-30 17:35:19 GMT+1`, or with `short` only `17:35`. */
const local = (date, short) => {
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (short) return clock;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const parts = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(date);
  const name = parts.find((part) => part.type === "timeZoneName")?.value ?? "";
  return `${day} ${clock}:${two(date.getSeconds())} ${name}`;
};

const utc = new WeakMap(); // what the server wrote

function render() {
  const here = zone() === "local";
  for (const element of document.querySelectorAll("time[datetime], text[data-time]")) {
    if (!utc.has(element)) utc.set(element, element.textContent);
    const axis = element.dataset.time;
    const date = new Date(axis ? Number(axis) : element.dateTime);
    element.textContent = here ? local(date, axis) : utc.get(element);
  }
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
addEventListener("storage", (event) => event.key === KEY && render());
