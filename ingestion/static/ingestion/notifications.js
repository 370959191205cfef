// Turns notifications of this browser on and off: the browser's subscription, and the same at `/push`.

const SEVERITIES = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];
const element = (id) => document.getElementById(id);
const [state, form, least, on, off] = ["state", "form", "least", "on", "off"].map((name) => element(`push-${name}`));
const token = element("push").dataset.token;

const say = (text) => (state.textContent = text);

/** The answer of `/push`; throws its words if it is a refusal. */
async function ask(method, path = "", body) {
  const answer = await fetch(`/push${path}`, {
    method,
    headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": token },
    body: body && JSON.stringify(body),
  }).catch(() => null);
  if (!answer) throw new Error("The server does not answer. Try again.");
  const said = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(Object.values(said).flat().map(String).join(" ") || `The server answered ${answer.status}.`);
  return said;
}

/** What this browser calls itself, for the list: `Firefox on Linux`. */
function name() {
  const agent = navigator.userAgent;
  const has = (words, unknown) => words.find(([word]) => agent.includes(word))?.[1] ?? unknown;
  const browser = has([["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]], "Browser");
  const system = has([["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "macOS"], ["Linux", "Linux"]], "");
  return system ? `${browser} on ${system}` : browser;
}

const bytes = (base64url) =>
  Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

async function digest(text) {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return [...found].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether a subscription was made for the key that this server has now. */
function isForKey(subscription, key) {
  const made = new Uint8Array(subscription.options.applicationServerKey ?? []);
  const wanted = bytes(key);
  return made.length === wanted.length && made.every((byte, place) => byte === wanted[place]);
}

/** Why this browser cannot show notifications of this page; empty if it can. */
function obstacle() {
  if (!isSecureContext)
    return "Browsers show notifications only of pages over HTTPS, or of this computer itself (localhost). Open this page so.";
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window))
    return "This browser has no notifications for web pages. Use another one, or another channel, such as Telegram.";
  if (Notification.permission === "denied")
    return "This browser blocks notifications of this site. Allow them in its settings for this site, then load this page again.";
  return "";
}

const registration = () => navigator.serviceWorker.getRegistration("/");
const subscription = async () => (await registration())?.pushManager.getSubscription();

async function turnOn() {
  const { public_key: key } = await ask("GET");
  if ((await Notification.requestPermission()) !== "granted") throw new Error(obstacle() || "Notifications were not allowed.");
  await navigator.serviceWorker.register("/service-worker.js");
  const { pushManager } = await navigator.serviceWorker.ready;
  let found = await pushManager.getSubscription();
  if (found && !isForKey(found, key)) {
    await found.unsubscribe();
    found = null;
  }
  found ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) }).catch((error) => {
    throw new Error(`The browser's push service refused: ${error.message}`);
  });
  await ask("POST", "", {
    subscription: found.toJSON(),
    name: name(),
    severities: SEVERITIES.slice(SEVERITIES.indexOf(least.value)),
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC",
  });
}

async function remove(browser) {
  await ask("DELETE", `/${browser.id}`);
  const mine = await subscription();
  if (mine && (await digest(mine.endpoint)) === browser.endpoint_sha256) await mine.unsubscribe();
}

function listed(browser, mine) {
  const row = document.createElement("li");
  const button = document.createElement("button");
  button.className = "plain";
  button.textContent = "Remove";
  button.addEventListener("click", () => run(() => remove(browser)));
  const severities = browser.severities.map((word) => word.toLowerCase()).join(", ");
  const what = browser.enabled ? severities && ` (${severities})` : `: ${browser.disabled_reason}`;
  row.append(`${browser.name}${mine ? ", this browser" : ""}${what} `, button);
  return row;
}

async function look() {
  const { browsers } = await ask("GET");
  const mine = obstacle() ? null : await subscription();
  const own = mine ? await digest(mine.endpoint) : null;
  const here = browsers.find((browser) => own && browser.endpoint_sha256 === own);
  element("push-list").replaceChildren(...browsers.map((browser) => listed(browser, browser === here)));
  element("push-others").hidden = browsers.length === 0;
  form.hidden = Boolean(obstacle());
  off.hidden = !here;
  on.textContent = here ? "Save" : "Turn on";
  if (here?.severities.length) least.value = SEVERITIES.find((word) => here.severities.includes(word));
  off.onclick = () => run(() => remove(here));
  say(obstacle() || (here ? "Notifications are on in this browser." : "Notifications are off in this browser."));
}

/** Do something, then show how things are; what failed is said in its words. */
async function run(step) {
  for (const button of document.querySelectorAll("#push button, #push-list button")) button.disabled = true;
  let failed = "";
  try {
    await step();
  } catch (error) {
    failed = error.message;
  }
  await look().catch((error) => (failed ||= error.message));
  if (failed) say(failed);
  for (const button of document.querySelectorAll("#push button, #push-list button")) button.disabled = false;
}

on.addEventListener("click", () => run(turnOn));
run(() => undefined);
