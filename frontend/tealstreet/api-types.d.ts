/** The part of TealStreet's module API (v1.1.1) that the panel relies on. Types only: nothing of this is in the build. */
declare module "api-types" {
  export interface Market {
    symbol: string;
    id?: string;
    precision?: { price?: number; amount?: number };
  }
  export interface Position {
    symbol: string;
  }
  type Collection<T> = T[] | Record<string, T> | null | undefined;
  /** jotai's own atom type is opaque to the panel: it only hands atoms back to the hooks. */
  export interface StorageAtom<T> {
    readonly __value?: T;
  }

  export interface Api {
    jotai: {
      createStorageAtom<T>(key: string, initial: T): StorageAtom<T>;
      useAtom<T>(atom: StorageAtom<T>): [T, (next: T | ((old: T) => T)) => void];
    };
    hooks: {
      useActiveSymbol(): [string | null | undefined, (symbol: string) => void];
      useActiveAccount(): [string | null | undefined, (account: string) => void];
      useMarkets(account?: string): Collection<Market>;
      usePositions(options?: { includeMultipleAccounts?: boolean }): Collection<Position>;
      useTheme(): unknown;
    };
    utils: {
      setActiveSymbol(symbol: string, account?: string): void;
      convertNotionalToNative(notional: number, symbol: string, account: string, price?: number): number;
    };
    toast: Record<"success" | "error" | "warning" | "info", (message: string) => void>;
    orders: {
      placeMarketOrder(
        symbol: string,
        account: string,
        side: "buy" | "sell",
        order: { amount: number },
      ): Promise<unknown>;
    };
  }
}
