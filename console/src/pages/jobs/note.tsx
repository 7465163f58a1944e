/** How a list of jobs is: still loading, at its end, not live. */

import { may, type Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import type { JobList } from "./list.js";

const PLURALS = { job: "jobs", delivery: "deliveries" };

interface Props {
  /** What one of them is: "job", "delivery". */
  noun: "job" | "delivery";
  session: Session;
  list: JobList;
  /** Says why the list isn't live, if the session's permissions don't. */
  stale?: string | undefined;
}

export function ListNote({ noun, session, list, stale }: Props) {
  const { isLoading, isDone, error } = list.state.value;
  const count = list.rows.value.length;
  const live = may(session, "subscribe");
  const why = live.ok ? stale : live.why;
  if (count === 0 && !why) return null;
  return (
    <div class="list-note">
      <span role="status">
        {error
          ? null
          : isLoading
            ? "Loading…"
            : `${count.toLocaleString("en")} ${count === 1 ? noun : PLURALS[noun]}${isDone ? "" : " and more"}`}
      </span>
      {error && count > 0 && <ErrorNote error={error} />}
      {error && <Button onClick={() => void list.more()}>Try again</Button>}
      {why && (
        <span>
          Not live: {why}{" "}
          <Button kind="quiet" onClick={() => void list.reload()}>
            Look again
          </Button>
        </span>
      )}
    </div>
  );
}
