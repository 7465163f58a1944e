import type { CircleUsage } from "@circled/client";
import type { ComponentChildren } from "preact";
import { navigate } from "../../router.js";
import { type Session, whyNot } from "../../session.js";
import { Button } from "../../ui/button.js";
import { Icon } from "../../ui/icon.js";
import { Panel } from "../../ui/panel.js";

interface Props {
  readonly session: Session;
  readonly usage: CircleUsage | undefined;
  /** How many scripts there are. */
  readonly scripts: number | undefined;
}

/** What to do in a circle that is empty, until it is done. */
export function FirstSteps({ session, usage, scripts }: Props) {
  if (!usage || scripts === undefined) return null;
  const hasJobs = usage.jobs.open + usage.jobs.ended + usage.jobs.dead > 0;
  if (scripts > 0 && hasJobs) return null;
  return (
    <Panel title="First steps">
      <ol class="steps">
        <Step
          isDone={scripts > 0}
          title="Write a script"
          action={
            <Button
              kind={scripts > 0 ? undefined : "primary"}
              why={whyNot(session, "manage")}
              onClick={() => navigate("scripts", ["-new"])}
            >
              Write a script
            </Button>
          }
        >
          It runs when it is called, and keeps values in the store. One named <code>on_stripe</code> handles the
          webhooks of Stripe.
        </Step>
        <Step
          isDone={hasJobs}
          title="Send a test webhook"
          action={
            <Button
              kind={scripts > 0 ? "primary" : undefined}
              onClick={() => navigate("deliveries", ["test"], { provider: "stripe" })}
            >
              Send a test webhook
            </Button>
          }
        >
          It comes as if the provider had sent it, and is signed like that.
        </Step>
        <Step isDone={false} title="See it live" action={<Button onClick={() => navigate("live")}>Open Live</Button>}>
          Events as they come, and values that are renewed when they change.
        </Step>
      </ol>
    </Panel>
  );
}

interface StepProps {
  readonly isDone: boolean;
  readonly title: string;
  readonly action: ComponentChildren;
  readonly children: ComponentChildren;
}

function Step({ isDone, title, action, children }: StepProps) {
  return (
    <li class={isDone ? "done" : undefined}>
      <span class="step-mark">{isDone && <Icon name="check" />}</span>
      <div class="grow">
        <h3>
          {title}
          {isDone && <span class="hidden"> (done)</span>}
        </h3>
        <p class="muted">{children}</p>
      </div>
      {action}
    </li>
  );
}
