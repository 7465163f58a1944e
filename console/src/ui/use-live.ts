/** A hook for what the server lists: fetched once, and again when an event says that it is another one. */

import { useEffect, useRef } from "preact/hooks";
import { may, type Session } from "../session.js";
import { type Async, useAsync } from "./use-query.js";

/**
 * Calls `onChange` after events whose topic begins with `topic`, once for several in a row; and once when it is sure that none
 * will be missed. Whoever may not subscribe is told when the connection was lost and is back.
 */
export function useChanges(session: Session, topic: string, onChange: () => void): void {
  const latest = useRef(onChange);
  latest.current = onChange;
  const { circle } = session;
  const maySubscribe = may(session, "subscribe").ok;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(() => latest.current(), 50);
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
