// A faux TealStreet `api`: real Ant Design, icons, jotai and lodash; markets, positions and orders made up.
// Imported for its effect, before the component.

import * as icons from "@ant-design/icons";
import * as antd from "antd";
import type { Api } from "api-types";
import { atom, useAtom, useAtomValue, useSetAtom } from "jotai";
import { atomWithStorage } from "jotai/utils";
import lodash from "lodash";
import React from "react";

declare const __ALERTS__: string;

const BASES = "BTC ETH SOL XRP DOGE BNB ADA PEPE SUI LINK AVAX TRX LTC SHIB TON DOT NEAR APT WIF ARB OP ATOM".split(
  " ",
);
// As on a real account, some symbols that the alerts name are not listed.
const markets = BASES.map((base) => ({
  symbol: `${base}/USDT:USDT`,
  id: `${base}USDT`,
  base,
  quote: "USDT",
  precision: { price: base === "BTC" ? 0.1 : 0.0001, amount: 0.001 },
}));
const positions = [
  { symbol: "ETH/USDT:USDT", side: "long", contracts: 1.5, entryPrice: 2500 },
  { symbol: "SOL/USDT:USDT", side: "short", contracts: 20, entryPrice: 140 },
];

const activeSymbolAtom = atom("BTC/USDT:USDT");
const accountAtom = atom("binance:main");
export const themeAtom = atomWithStorage("faux-theme", "dark");

const log =
  (kind: string) =>
  (...args: unknown[]) =>
    console.info(`[faux ${kind}]`, ...args);
const number = (digits: number) => (value: number) => value.toLocaleString("en-US", { maximumFractionDigits: digits });
let setActive: (symbol: string) => void = () => undefined;

const hooks = {
  useActiveSymbol: () => {
    const [symbol, set] = useAtom(activeSymbolAtom);
    setActive = set;
    return [symbol, set];
  },
  useActiveAccount: () => useAtom(accountAtom),
  useActiveAccounts: () => ["binance:main"],
  useSelectedExchangeName: () => "binance",
  useMarkets: () => markets,
  useMarket: (symbol?: string) => markets.find((market) => market.symbol === symbol),
  useMarketsLoaded: () => true,
  usePositions: () => positions,
  useOrders: () => [],
  useBalance: () => ({ total: 10_000, free: 8_000 }),
  useTheme: () => useAtomValue(themeAtom),
  usePrivacyMode: () => false,
  useRerenderEveryXSeconds: (seconds: number) => {
    const [, tick] = React.useReducer((n: number) => n + 1, 0);
    React.useEffect(() => {
      const timer = setInterval(tick, seconds * 1_000);
      return () => clearInterval(timer);
    }, [seconds]);
  },
};

const orders = Object.fromEntries(
  ["placeMarketOrder", "placeLimitOrder", "placeStopLossOrder", "closePosition", "setBreakeven", "cancelOrders"].map(
    (name) => [name, (...args: unknown[]) => (log(name)(...args), Promise.resolve([`faux-${Date.now()}`]))],
  ),
);

const api = {
  antd,
  icons,
  lodash,
  _: lodash,
  jotai: {
    atom,
    atomWithStorage,
    createStorageAtom: <T>(key: string, initial: T) =>
      atomWithStorage(`faux-${key}`, initial, undefined, { getOnInit: true }),
    useAtom,
    useAtomValue,
    useSetAtom,
  },
  hooks,
  utils: {
    setActiveSymbol: (symbol: string) => (setActive(symbol), log("setActiveSymbol")(symbol)),
    getActiveSymbol: () => "BTC/USDT:USDT",
    getMarket: (symbol: string) => markets.find((market) => market.symbol === symbol),
    convertNotionalToNative: (usd: number, _symbol: string, _account: string, price = 1) => usd / price,
    getBaseCoinFromSymbol: (symbol: string) => symbol.split("/")[0],
    formatNumber: (value: number, digits: number) => number(digits)(value),
    formatCurrency: number(2),
    formatPercent: (value: number) => `${number(2)(value)}%`,
    uuid: () => crypto.randomUUID(),
    sleep: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
    isMobile: false,
  },
  orders,
  components: {},
  constants: { OrderSide: { Buy: "buy", Sell: "sell" }, PositionSide: { Long: "long", Short: "short" } },
  toast: Object.fromEntries(
    (["success", "error", "warning", "info"] as const).map((kind) => [
      kind,
      (text: string) => void antd.message[kind](text),
    ]),
  ),
  log: { info: log("info"), warn: log("warn"), error: log("error"), debug: log("debug") },
} as unknown as Api;

Object.assign(globalThis, { api, React, __anomalyDefaults: { server: __ALERTS__ } });
