/** Waiting for a promise, but not for too long. */

/** Says that the time is over. */
export const LATE = Symbol("late");

/** The longest time that a timer takes, in milliseconds. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** Waits for a promise; fails with the signal's reason, or with `LATE` at that time of `performance.now()`. */
export function race<T>(promise: Promise<T>, signal?: AbortSignal, until?: number): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (error: unknown) => {
      end();
      reject(error);
    };
    const onAbort = () => fail(signal?.reason);
    const timer =
      until === undefined
        ? undefined
        : setTimeout(() => fail(LATE), Math.min(until - performance.now(), LONGEST_TIMER));
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) onAbort();
    promise.then((value) => {
      end();
      resolve(value);
    }, fail);
  });
}
