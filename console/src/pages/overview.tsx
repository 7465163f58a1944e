import { useEffect, useState } from "preact/hooks";
import { isLocked, UnlockButton } from "../frame/account.js";
import { type Session, whyNot } from "../session.js";
import { CopyButton } from "../ui/copy.js";
import { ErrorNote } from "../ui/error.js";
import { Key } from "../ui/key.js";
import { Page, Panel } from "../ui/panel.js";
import { useChanges, useLive } from "../ui/use-live.js";
import { useAsync } from "../ui/use-query.js";
import { useActivity } from "./overview/activity.js";
import { findFailing, lostEvents } from "./overview/attention.js";
import { RateChart } from "./overview/chart.js";
import { FirstSteps } from "./overview/first-steps.js";
import { Attention } from "./overview/needs.js";
import { UsageFacts } from "./overview/usage.js";

/** How the circle is: what happens in it, how much it has, what needs attention. */
export function OverviewPage({ session }: { session: Session }) {
  const { circle, pk, me } = session;
  const cantManage = whyNot(session, "manage");
  const deps = [circle, me];
  const usage = useAsync(async () => (cantManage ? undefined : await circle.usage()), deps);
  const failing = useAsync(() => findFailing(session), deps);
  const scripts = useLive(
    session,
    "circle.script",
    async () => (whyNot(session, "call") ? undefined : await circle.listScripts()),
    deps,
  );
  const { seconds, error } = useActivity(session, !cantManage);
  useChanges(session, "job.", failing.reload);
  // The counts of the last second say that something has changed: once a second, at most.
  const last = seconds.at(-1);
  useEffect(() => {
    if (last && last.runs + last.webhooks > 0) usage.reload();
  }, [last]);
  const [lost, setLost] = useState(0);
  useEffect(() => {
    if (usage.value) setLost((before) => before + lostEvents(pk, usage.value as NonNullable<typeof usage.value>));
  }, [usage.value === undefined]);

  return (
    <Page title="Overview">
      <div class="overview">
        <FirstSteps session={session} usage={usage.value} scripts={scripts.value?.scripts.length} />
        <Panel title="Activity">
          {cantManage || error ? (
            <div class="row">
              {error ? <ErrorNote error={error} /> : <p class="muted">{cantManage}.</p>}
              {isLocked(session) && <UnlockButton session={session} small />}
            </div>
          ) : (
            <div class="rates">
              <RateChart title="Runs" colour="--accent" seconds={seconds} of={({ runs }) => runs} />
              <RateChart title="Webhooks" colour="--info" seconds={seconds} of={({ webhooks }) => webhooks} />
              <RateChart title="Errors" colour="--danger" seconds={seconds} of={({ errors }) => errors} />
            </div>
          )}
        </Panel>
        <div class="overview-columns">
          <Attention
            failing={failing.value?.failing}
            isMore={failing.value?.isMore ?? false}
            error={failing.error}
            lost={lost}
            isOwner={me.role === "owner"}
          />
          <div class="stack">
            {usage.value && <UsageFacts usage={usage.value} />}
            <ErrorNote error={usage.error} />
            <Panel title="This circle">
              <dl class="facts">
                <dt>Your role</dt>
                <dd>
                  {me.role ?? "none"}
                  {me.device && <span class="muted"> by a device key</span>}
                </dd>
                <dt>You may</dt>
                <dd>{me.permissions?.join(", ") || "nothing"}</dd>
                <dt>Circle</dt>
                <dd>
                  <Key pubkey={pk} />
                </dd>
                <dt>Address</dt>
                <dd class="address">
                  <code>{session.wsUrl}</code>
                  <CopyButton text={session.wsUrl} label="Copy the address" />
                </dd>
                <dt>Server</dt>
                <dd>{me.server}</dd>
              </dl>
            </Panel>
          </div>
        </div>
      </div>
    </Page>
  );
}
