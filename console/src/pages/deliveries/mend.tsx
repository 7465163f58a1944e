/** The script that runs for the deliveries of a provider, and the way to mend it. */

import { type Job, NotFoundError } from "@circled/client";
import { useState } from "preact/hooks";
import { href, navigate } from "../../router.js";
import { may, type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Panel } from "../../ui/panel.js";
import { Text } from "../../ui/text.js";
import { toast, toastError } from "../../ui/toast.js";
import { useLive } from "../../ui/use-live.js";
import { isOpen, providerOf } from "../jobs/job.js";
import { MendLink } from "../jobs/outcome.js";
import { hookSource } from "../scripts/templates.js";

/** Says which script ran for a delivery, leads to it, or makes one. */
export function Mend({ session, job }: { session: Session; job: Job }) {
  const provider = providerOf(job);
  const name = `on_${provider}`;
  const manage = may(session, "manage");
  const [busy, setBusy] = useState(false);
  // Another version than the one that ran, if somebody has mended it.
  const script = useLive(
    session,
    "circle.script_",
    async () => {
      if (!manage.ok) return undefined;
      return await session.circle.getScript({ name }).catch((error) => {
        if (error instanceof NotFoundError) return null;
        throw error;
      });
    },
    [session, name, manage.ok, job.status],
  );
  const make = async () => {
    setBusy(true);
    try {
      await session.circle.putScript({ name, source: hookSource(provider) });
      toast(`${name} is there. It runs for the next deliveries, and for those that you retry`);
      navigate("scripts", [name], { from: `deliveries/${job.job_id}` });
    } catch (error) {
      toastError(error);
    }
    setBusy(false);
  };
  const now = script.value;
  const isNewer = now && job.version && now.version !== job.version;
  return (
    <Panel title="The script for these deliveries">
      {job.name ? (
        <div class="stack tight">
          <p>
            <Text value={job.name} /> ran for it{job.error ? ", and failed. " : ". "}
            {job.error && next(job)}
            {isNewer && <strong> It was changed since.</strong>}
          </p>
          <MendLink job={job} />
        </div>
      ) : now ? (
        <p>
          The server's script for {provider} ran. Since then, the circle has{" "}
          <a href={href("scripts", [name])}>
            <Text value={name} />
          </a>
          , which runs for the next ones.
        </p>
      ) : (
        <div class="stack tight">
          <p>
            The circle has no script <code>{name}</code>, so the server's own ran.
          </p>
          <div>
            <Button onClick={make} busy={busy} why={whyNot(session, "manage")}>
              Make {name} from a template
            </Button>
          </div>
        </div>
      )}
    </Panel>
  );
}

/** Says what comes next for a delivery whose script has failed. */
function next(job: Job): string {
  return isOpen(job)
    ? "It runs again with the version that it came with. Once you have mended the script, Redeliver runs the newest."
    : "Once you have mended the script, Retry runs the newest version.";
}
