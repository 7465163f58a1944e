/** The failed run that a link to a script is about: `?line&column&version`, and `from=deliveries/<job>` or `from=jobs/<job>`. */

import { useMemo } from "preact/hooks";
import type { Mark } from "../../editor/main.js";
import { href, route } from "../../router.js";
import type { Session } from "../../session.js";
import { useAsync } from "../../ui/use-query.js";

function originOf(query: URLSearchParams): { page: string; id: string } | undefined {
  const [, page, id] = /^(deliveries|jobs)\/([\w-]+)$/.exec(query.get("from") ?? "") ?? [];
  return page && id ? { page, id } : undefined;
}

/** The way back to the job, to have it run again. */
export function BackToJob() {
  const origin = originOf(route.value.query);
  if (!origin) return null;
  return (
    <p class="note script-note">
      <a href={href(origin.page, [origin.id])}>
        {origin.page === "deliveries" ? "Back to the delivery: redeliver it" : "Back to the job: retry it"}
      </a>
    </p>
  );
}

/** Returns where the run has failed, and why, if its job still says so and the caller may see it. */
export function useRunError(session: Session): Mark | undefined {
  const { query } = route.value;
  const id = originOf(query)?.id;
  const version = query.get("version");
  const line = Number(query.get("line")) || undefined;
  const column = Number(query.get("column")) || undefined;
  const { value } = useAsync(async () => {
    if (!id || !line) return undefined;
    const job = await session.circle.getJob({ job_id: id });
    return job.version === version && job.error?.line === line ? job.error.message : undefined;
  }, [session, id, version, line]);
  return useMemo(
    () => (line && version ? { line, column, message: value ?? "A run of this version has failed here" } : undefined),
    [line, column, version, value],
  );
}
