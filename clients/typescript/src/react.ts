/** Hooks for React: `@circled/client/react`. */

import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from "react";
import type { Circle, CircleEvent, Connection, EventOptions, Gap, Json, Query, Snapshot } from "./index.js";
import { stringify } from "./json.js";
import { isolated } from "./listener.js";

const Context = createContext<Circle | undefined>(undefined);

/** Gives a circle to all components below: `<CircleProvider circle={circle}>`. */
export function CircleProvider(props: { readonly circle: Circle; readonly children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: props.circle }, props.children);
}

/** Returns the circle of the `CircleProvider` above, and how its connection is. */
export function useCircle(): { readonly circle: Circle; readonly connection: Connection } {
  const circle = useContext(Context);
  if (!circle) throw new Error("there is no <CircleProvider> above this component");
  const { subscribe, getSnapshot } = circle;
  return { circle, connection: useSyncExternalStore(subscribe, getSnapshot, getSnapshot) };
}

/** Returns what a script returns that only reads, again whenever it changes. Components with the same arguments share it. */
export function useWatch<T = Json>(query: Query, args?: unknown): Snapshot<T> {
  const { circle } = useCircle();
  // The arguments are another object at each rendering.
  const key = stringify([query, args]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` has both
  const { subscribe, getSnapshot } = useMemo(() => circle.watch<T>(query, args), [circle, key]);
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}

/**
 * Calls `onEvent` with each event whose topic begins with `topic`, as long as the component is there; with a `Gap` where events
 * are missing; and `onEnd` with the error, if there will be no more. What `onEvent` throws is reported, and the next event comes.
 */
export function useEvents<T = Json>(
  topic: string,
  onEvent: (event: CircleEvent<T> | Gap) => void,
  options: Pick<EventOptions, "since"> & { readonly onEnd?: (error: Error) => void } = {},
): void {
  const { circle } = useCircle();
  const { since } = options;
  const latest = useRef({ onEvent, onEnd: options.onEnd });
  useEffect(() => {
    latest.current = { onEvent, onEnd: options.onEnd };
  });
  useEffect(() => {
    const events = circle.events<T>(topic, { since });
    const onNext = isolated((event: CircleEvent<T> | Gap) => latest.current.onEvent(event));
    const read = async () => {
      for await (const event of events) onNext(event);
    };
    read().catch((error) => latest.current.onEnd?.(error));
    return () => void events.return();
  }, [circle, topic, since]);
}
