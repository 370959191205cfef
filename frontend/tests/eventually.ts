import { vi } from "vitest";

/** Until `check` passes, and gives what it returns. As long as a busy machine may need: a failure is slow, not a pass. */
export const eventually = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 15_000, interval: 20 });
