/** The errors of a page's listeners, which a browser would report as uncaught. */

import type { TestContext } from "node:test";

/** Keeps what microtasks throw while a test runs. */
export function reports(t: TestContext): unknown[] {
  const reported: unknown[] = [];
  const { queueMicrotask } = globalThis;
  globalThis.queueMicrotask = (task) =>
    queueMicrotask(() => {
      try {
        task();
      } catch (error) {
        reported.push(error);
      }
    });
  t.after(() => {
    globalThis.queueMicrotask = queueMicrotask;
  });
  return reported;
}
