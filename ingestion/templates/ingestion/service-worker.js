// Shows the notifications that this site sends (ingestion/delivery/webpush.py). It handles no request of any page.

const ICON = "/static/frontend/icon.svg";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** What was sent; browsers require a notification for every message, so one that cannot be read is shown, too. */
function read(data) {
  try {
    const found = data.json();
    if (found && typeof found.title === "string") return found;
  } catch {
    // Not ours: said below.
  }
  return { title: "Anomalies", body: "A message could not be read. Open the page.", path: "/", rings: true };
}

/** A path of this site; the address of nothing else is opened, fetched or shown. */
const own = (path) => (typeof path === "string" && /^\/(?![/\\])/.test(path) ? path : "");

function show(said) {
  const path = own(said.path) || "/";
  const picture = own(said.picture);
  const acknowledge = own(said.acknowledge);
  const tag = String(said.tag || "anomalies");
  return self.registration.showNotification(said.title, {
    body: String(said.body || ""),
    tag,
    // A change of what is shown makes no sound.
    renotify: Boolean(said.rings),
    silent: !said.rings,
    timestamp: Number(said.at) || Date.now(),
    icon: ICON,
    ...(picture && { image: picture }),
    actions: acknowledge ? [{ action: "acknowledge", title: "Acknowledge" }] : [],
    data: { path, acknowledge, tag },
  });
}

self.addEventListener("push", (event) => event.waitUntil(show(read(event.data))));

/** Acknowledge without opening a page, and say what came of it in the place of the notification. */
async function acknowledge({ path, acknowledge, tag }) {
  let title = "Not acknowledged";
  let body = "This site did not answer. Open the page and try again.";
  try {
    const answer = await fetch(acknowledge, {
      method: "POST",
      headers: { Accept: "application/json" },
      credentials: "omit",
      redirect: "error",
    });
    const said = await answer.json();
    title = answer.ok ? "Acknowledged" : title;
    body = String(said.detail || body);
  } catch {
    // Said above.
  }
  await show({ title, body, tag, path, rings: false });
}

/** The page of the anomaly: a tab that shows it already, else a new one. */
async function open(path) {
  const address = new URL(path, self.location.origin).href;
  const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = tabs.find((tab) => tab.url === address);
  await (there ? there.focus() : self.clients.openWindow(address));
}

self.addEventListener("notificationclick", (event) => {
  const data = event.notification.data ?? {};
  event.notification.close();
  const acknowledges = event.action === "acknowledge" && own(data.acknowledge);
  event.waitUntil(acknowledges ? acknowledge(data) : open(own(data.path) || "/"));
});
