/** Hooks that bring a circle's live values, events and results into a component. */

import type { CircleEvent, EventOptions, Gap, Json, Query, Snapshot } from "@circled/client";
import { stringify } from "@circled/client/json";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Session } from "../session.js";

const LOADING: Snapshot<never> = { status: "loading", value: undefined, error: undefined, at: undefined };

/**
 * Watches what a script returns that only reads. Unsubscribed when the component goes. Without a query (undefined), nothing is
 * watched. The last value stays while another query is loading only if the key is the same.
 */
export function useWatch<T = Json>(session: Session, query: Query | undefined, args?: unknown): Snapshot<T> {
  const key = query === undefined ? undefined : stringify([query, args ?? null]);
  const [state, setState] = useState<{ key: string | undefined; snapshot: Snapshot<T> }>({ key, snapshot: LOADING });
  // `key` has the query and the arguments
  useEffect(() => {
    if (query === undefined) return;
    return session.circle.watch<T>(query, args).subscribe((snapshot) => setState({ key, snapshot }));
  }, [session.circle, key]);
  return state.key === key ? state.snapshot : LOADING;
}

/** Calls `onEvent` with each event whose topic begins with `topic`, and with a `Gap` where some are missing. */
export function useEvents<T = Json>(
  session: Session,
  topic: string | undefined,
  onEvent: (event: CircleEvent<T> | Gap) => void,
  options: Pick<EventOptions, "since"> & { readonly onEnd?: (error: Error) => void } = {},
): void {
  const { since } = options;
  const latest = useRef({ onEvent, onEnd: options.onEnd });
  latest.current = { onEvent, onEnd: options.onEnd };
  useEffect(() => {
    if (topic === undefined) return;
    const events = session.circle.events<T>(topic, { since });
    const read = async () => {
      for await (const event of events) latest.current.onEvent(event);
    };
    read().catch((error) => latest.current.onEnd?.(error));
    return () => void events.return();
  }, [session.circle, topic, since]);
}

export interface Async<T> {
  /** The last result; it stays while it is fetched again. */
  readonly value: T | undefined;
  readonly error: Error | undefined;
  readonly busy: boolean;
  /** Fetches it again. */
  reload(): void;
}

/** Fetches something, again when a dependency changes; the results of earlier ones are dropped. */
export function useAsync<T>(fetch: (signal: AbortSignal) => Promise<T>, deps: readonly unknown[]): Async<T> {
  const [state, setState] = useState<Omit<Async<T>, "reload">>({ value: undefined, error: undefined, busy: true });
  const [round, setRound] = useState(0);
  /** `again`: it is to be fetched again, once what is under way has come. */
  const now = useRef({ busy: false, again: false });
  useEffect(() => {
    const abort = new AbortController();
    const own = { busy: true, again: false };
    now.current = own;
    setState(({ value }) => ({ value, error: undefined, busy: true }));
    const end = (change: (value: T | undefined) => Omit<Async<T>, "reload">) => {
      if (abort.signal.aborted) return;
      own.busy = false;
      setState(({ value }) => change(value));
      if (own.again) setRound((before) => before + 1);
    };
    fetch(abort.signal).then(
      (value) => end(() => ({ value, error: undefined, busy: false })),
      (error) => end((value) => ({ value, error, busy: false })),
    );
    return () => abort.abort();
  }, [...deps, round]);
  const reload = () => {
    if (now.current.busy) now.current.again = true;
    else setRound((before) => before + 1);
  };
  return { ...state, reload };
}
