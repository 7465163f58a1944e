/**
 * The state machine of a connection, without a socket or a clock.
 *
 *             | waiting     | dialling    | login       | ready       | closed
 *   ----------|-------------|-------------|-------------|-------------|-------
 *   due       | dialling    |             |             |             |
 *   wake      | dialling    | (redial)    | (check)     | (check)     |
 *   opened    |             | login       |             |             |
 *   loggedIn  |             |             | ready       |             |
 *   heard     |             |             |             | (steady)    |
 *   lost      |             | waiting     | waiting *   | waiting     |
 *   refused   |             | closed      | closed      | closed      |
 *   late      | closed *    | closed *    | (late)      |             |
 *   close     | closed      | closed      | closed      | closed      |
 *
 * An empty cell: nothing happens. `*`: closed only if it was never ready (and is late). `late` comes once, when the time of
 * `connect` is over: a login that is under way may still end well, because a person may be about to sign; it is `refused` when
 * its own time is over.
 */

/** Where a connection is. */
export type Phase = "waiting" | "dialling" | "login" | "ready" | "closed";

/** The state of a connection. */
export interface State {
  readonly phase: Phase;
  /** The attempts that have failed in a row. */
  readonly failures: number;
  /** True once it was ready. */
  readonly wasReady: boolean;
  /** True once the time of `connect` is over. */
  readonly isLate: boolean;
  /** The reason why it is waiting or closed. */
  readonly error?: Error | undefined;
}

/** Something that happens to a connection. */
export type Input =
  | { readonly type: "due" | "wake" | "opened" | "loggedIn" | "heard" }
  | { readonly type: "lost"; readonly error: Error & { readonly retryAfter?: number } }
  | { readonly type: "refused" | "late" | "close"; readonly error: Error };

/** What is to be done after a step, in this order. */
export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}

/**
 * Something to do: `drop` gives up the socket, `redial` does so and dials again if the attempt isn't new, `check` asks whether
 * the server is there, `end` tells everybody that it is over.
 */
export type Effect = "drop" | "dial" | "redial" | "login" | "ready" | "check" | "end" | { readonly wait: number };

/** The least and the longest wait before the next attempt, in milliseconds. */
const SHORTEST = 250;
const LONGEST = 30_000;

/** The state before the first attempt; its first input is `due`. */
export const START: State = { phase: "waiting", failures: 0, wasReady: false, isLate: false };

/**
 * Returns the wait after so many failures in a row: full jitter, up to twice as much after each, and `least` at least.
 * `random` is from 0 to 1.
 */
export function backoff(failures: number, random: number, least = 0): number {
  const most = Math.min(LONGEST, SHORTEST * 2 ** failures);
  return Math.max(SHORTEST + random * (most - SHORTEST), least);
}

/** Returns the state after an input. */
export function step(state: State, input: Input, random: number): Step {
  const { phase } = state;
  const stay: Step = { state, effects: [] };
  const to = (next: Partial<State>, ...effects: Effect[]): Step => ({ state: { ...state, ...next }, effects });
  const close = (error: Error): Step => to({ phase: "closed", error }, "drop", "end");
  if (phase === "closed") return stay;
  switch (input.type) {
    case "due":
      return phase === "waiting" ? to({ phase: "dialling" }, "dial") : stay;
    case "wake":
      if (phase === "waiting") return to({ phase: "dialling", failures: 0 }, "dial");
      return phase === "dialling" ? to({ failures: 0 }, "redial") : to({}, "check");
    case "opened":
      return phase === "dialling" ? to({ phase: "login" }, "login") : stay;
    case "loggedIn":
      return phase === "login" ? to({ phase: "ready", wasReady: true, error: undefined }, "ready") : stay;
    case "heard":
      return phase === "ready" && state.failures > 0 ? to({ failures: 0 }) : stay;
    case "late":
      if (state.wasReady) return stay;
      return phase === "login" ? to({ isLate: true }) : close(state.error ?? input.error);
    case "lost": {
      if (phase === "waiting") return stay;
      const { error } = input;
      if (state.isLate && !state.wasReady) return close(error);
      const failures = state.failures + 1;
      const wait = backoff(failures, random, error.retryAfter);
      return to({ phase: "waiting", failures, error }, "drop", { wait });
    }
    case "refused":
      return phase === "waiting" ? stay : close(input.error);
    case "close":
      return close(input.error);
  }
}
