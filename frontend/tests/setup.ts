// The component reads `api` when it is evaluated, as TealStreet provides it: the least it needs, with real jotai.

import { useAtom } from "jotai";
import { atomWithStorage } from "jotai/utils";
import WebSocket from "ws";

const nothing = () => undefined;

export const minimalApi = {
  jotai: { createStorageAtom: <T>(key: string, initial: T) => atomWithStorage(key, initial), useAtom },
  hooks: {
    useActiveSymbol: () => ["BTC/USDT:USDT", nothing],
    useActiveAccount: () => ["binance:main", nothing],
    useMarkets: () => [{ symbol: "BTC-USDT" }],
    usePositions: () => [],
    useTheme: () => "dark",
  },
  utils: { setActiveSymbol: nothing, convertNotionalToNative: (usd: number) => usd },
  toast: { success: nothing, error: nothing, warning: nothing, info: nothing },
  orders: {},
};

Object.assign(globalThis, { api: minimalApi, WebSocket });

// Nor has jsdom media queries: this is a wide page in the light, with a mouse.
const media = { matches: false, addEventListener: nothing, removeEventListener: nothing };
if ("document" in globalThis) Object.assign(globalThis, { matchMedia: () => media });
