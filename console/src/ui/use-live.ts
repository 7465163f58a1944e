/** A hook for what the server lists: fetched once, and again when an event says that it is another one. */

import { useEffect, useRef } from "preact/hooks";
import { may, type Session } from "../session.js";
import { type Async, useAsync } from "./use-query.js";

/** The least time between two calls of `onChange`, in milliseconds. */
const PAUSE = 1000;

/**
 * Calls `onChange` after events whose topic begins with `topic`: at once after the first one, and then at most once a second for
 * as long as they come; and once when it is sure that none will be missed. Whoever may not subscribe is told when the connection
 * was lost and is back.
 */
export function useChanges(session: Session, topic: string, onChange: () => void): void {
  const latest = useRef(onChange);
  latest.current = onChange;
  const { circle } = session;
  const maySubscribe = may(session, "subscribe").ok;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let last = Number.NEGATIVE_INFINITY;
    const soon = () => {
      timer ??= setTimeout(
        () => {
          timer = undefined;
          last = performance.now();
          latest.current();
        },
        Math.max(0, last + PAUSE - performance.now()),
      );
    };
    if (!maySubscribe) {
      let wasLost = false;
      const leave = circle.subscribe(({ phase }) => {
        if (phase === "ready" && wasLost) soon();
        wasLost = phase !== "ready";
      });
      return () => {
        clearTimeout(timer);
        leave();
      };
    }
    const events = circle.events(topic);
    const read = async () => {
      await events.started;
      soon();
      for await (const _ of events) soon();
    };
    // A subscription ends when the caller may not have it any more: then what is there stays.
    read().catch(() => {});
    return () => {
      clearTimeout(timer);
      void events.return();
    };
  }, [circle, topic, maySubscribe]);
}

/** Fetches something, and again whenever an event says that it has changed. */
export function useLive<T>(
  session: Session,
  topic: string,
  fetch: () => Promise<T>,
  deps: readonly unknown[],
): Async<T> {
  const state = useAsync(fetch, deps);
  useChanges(session, topic, state.reload);
  return state;
}
