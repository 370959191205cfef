// What the page at `/` hands the panel for `api`: the parts of TealStreet that make sense without an exchange account.
// Imported for its effect, before the component: the component reads `api` when it is evaluated.

import type { Api } from "api-types";
import { useAtom } from "jotai";
import { atomWithStorage } from "jotai/utils";
import React from "react";

const query = matchMedia("(prefers-color-scheme: light)");

function useTheme(): string {
  const subscribe = (changed: () => void) => {
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  };
  return React.useSyncExternalStore(subscribe, () => (query.matches ? "light" : "dark"));
}

function toast(message: string): void {
  const place = document.getElementById("toast");
  if (!place) return;
  place.textContent = message;
  place.hidden = false;
  setTimeout(() => (place.hidden = true), 4_000);
}

/** Also on a page without HTTPS, where browsers have no clipboard for scripts. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// The chart of a symbol: where it trades. Without an account there is nothing else to open.
const chartAddress = (symbol: string) => `https://www.tradingview.com/chart/?symbol=${encodeURIComponent(symbol)}`;
const NOTHING: never[] = [];

const api = {
  jotai: {
    createStorageAtom: <T>(key: string, initial: T) => atomWithStorage(key, initial, undefined, { getOnInit: true }),
    useAtom,
  },
  hooks: {
    useActiveSymbol: () => [null, () => undefined],
    useActiveAccount: () => [null, () => undefined],
    useMarkets: () => NOTHING,
    usePositions: () => NOTHING,
    useTheme,
  },
  utils: {
    setActiveSymbol: (symbol: string) => void window.open(chartAddress(symbol), "_blank", "noopener"),
    convertNotionalToNative: (usd: number) => usd,
  },
  toast: { success: toast, error: toast, warning: toast, info: toast },
  orders: { placeMarketOrder: () => Promise.reject(new Error("The dashboard has no exchange account.")) },
} as unknown as Api;

const csrfToken = () => /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";

/** With the session of whoever is signed in on this page; rejects with the HTTP status, 0 for no answer. */
async function review(id: string, change: { review_state: string; review_note?: string }): Promise<unknown> {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": csrfToken() };
  const answer = await fetch(`${location.origin}/alerts/${encodeURIComponent(id)}/review`, {
    method: "POST",
    headers,
    body: JSON.stringify(change),
  }).catch(() => null);
  // eslint-disable-next-line @typescript-eslint/only-throw-error -- `Reviewing` in component.tsx wants the bare status
  if (!answer?.ok) throw answer?.status ?? 0;
  return answer.json();
}

async function copyForTealStreet(): Promise<void> {
  const source = await (
    await fetch(
      new URL("../component-ready.tsx", document.querySelector<HTMLScriptElement>("script[type=module]")?.src),
    )
  ).text();
  await copyText(source);
  toast("Copied. Paste it into a custom module in TealStreet.");
}

const page = document.getElementById("root")?.dataset;
const account = page?.user
  ? [
      { label: `Signed in as ${page.user}`, href: "/accounts/2fa/" },
      { label: "Sign out", href: "/accounts/logout/" },
    ]
  : [{ label: "Sign in", href: "/accounts/login/?next=/" }];

Object.assign(globalThis, {
  api,
  React,
  __anomalyDefaults: {
    server: location.origin,
    address: {
      read: () => location.search,
      write: (query: string) => {
        const search = query && `?${query}`;
        if (search === location.search) return;
        try {
          history.replaceState(history.state, "", location.pathname + search);
        } catch {
          // Browsers limit how often a script may change the address: the next change writes it.
        }
      },
      subscribe: (changed: () => void) => {
        addEventListener("popstate", changed);
        return () => removeEventListener("popstate", changed);
      },
    },
    reviewing: {
      server: location.origin,
      user: page?.reviewer ?? null,
      signIn: "/accounts/login/?next=/",
      acknowledge: (id: string) => review(id, { review_state: "acknowledged" }),
      review,
    },
    actions: [{ label: "Copy for TealStreet", run: copyForTealStreet }],
    links: [
      { label: "History", href: "/alerts" },
      { label: "Notifications", href: "/notifications" },
      { label: "API", href: "/docs" },
      { label: "Review", href: "/admin/" },
      ...account,
    ],
  },
});
