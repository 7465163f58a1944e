/** What happens in the circle, each second: from the view `activity`. */

import type { Query } from "@circled/client";
import { useEffect, useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { useWatch } from "../../ui/use-query.js";

/** The numbers since the watch began, at `since`. */
export interface Activity {
  readonly since: string;
  readonly at: string;
  readonly plays: number;
  readonly calls: number;
  readonly errors: number;
  readonly deliveries: number;
  readonly refused: number;
  readonly jobs: number;
  readonly failures: number;
}

/** The rates of one second. */
export interface Second {
  /** When it was, in milliseconds. */
  readonly at: number;
  /** Scripts that ran: plays, calls and jobs. */
  readonly runs: number;
  readonly webhooks: number;
  /** Runs that failed, and webhooks that were refused. */
  readonly errors: number;
}

/** How many seconds are kept. */
export const SECONDS = 120;
/** Watched in place of a script. */
const VIEW: Query = { view: "activity" };

/** Returns the rates between two values; none, if the counts have begun anew. */
export function rates(before: Activity, now: Activity): Second | undefined {
  const at = Date.parse(now.at);
  if (before.since !== now.since) return undefined;
  const seconds = (at - Date.parse(before.at)) / 1000;
  const per = (...names: (keyof Activity)[]) =>
    names.reduce((sum, name) => sum + (Number(now[name]) - Number(before[name])), 0) / seconds;
  const second = {
    at,
    runs: per("plays", "calls", "jobs"),
    webhooks: per("deliveries", "refused"),
    errors: per("errors", "failures", "refused"),
  };
  return seconds > 0 && Math.min(second.runs, second.webhooks, second.errors) >= 0 ? second : undefined;
}

/** Returns the last two minutes, as they come; and an error, if the server doesn't tell. */
export function useActivity(session: Session, isOn: boolean): { seconds: readonly Second[]; error: Error | undefined } {
  const { value, error, status } = useWatch<Activity>(session, isOn ? VIEW : undefined);
  const [state, setState] = useState<{ last?: Activity; seconds: readonly Second[] }>({ seconds: [] });
  useEffect(() => {
    if (!value) return;
    setState(({ last, seconds }) => {
      const second = last && rates(last, value);
      return { last: value, seconds: second ? [...seconds, second].slice(-SECONDS) : seconds };
    });
  }, [value]);
  return { seconds: state.seconds, error: status === "ended" || status === "failed" ? error : undefined };
}
