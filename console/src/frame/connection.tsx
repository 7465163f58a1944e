import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { reopen } from "../login/login.js";
import { openLogin } from "../router.js";
import type { Session } from "../session.js";
import { Button } from "../ui/button.js";
import { explain } from "../ui/explain.js";
import { toastError } from "../ui/toast.js";

/** True while the browser has no network. */
const isOffline = signal(!navigator.onLine);
for (const type of ["online", "offline"]) {
  addEventListener(type, () => {
    isOffline.value = !navigator.onLine;
  });
}

/** How the connection is: a dot, and a word beside it unless it is `short`. */
export function ConnectionState({ session, short = false }: { session: Session; short?: boolean }) {
  const phase = session.phase.value;
  const [word, tone] =
    phase === "ready"
      ? ["Connected", "ok"]
      : phase === "closed"
        ? ["Ended", "danger"]
        : isOffline.value
          ? ["Offline", "warn"]
          : ["Reconnecting…", "warn"];
  return (
    <span class={`connection ${tone}`} title={word}>
      <span class="dot" />
      {!short && word}
    </span>
  );
}

/** Says above the page that the connection is lost, or over. */
export function Banner({ session }: { session: Session }) {
  const { phase, error } = session.connection.value;
  const [isBusy, setBusy] = useState(false);
  if (phase === "ready") return null;
  if (phase !== "closed") {
    return (
      <div class="banner" role="status">
        {isOffline.value ? "There is no network." : "The connection is lost: reconnecting…"}
        <span>What you see is how it was.</span>
      </div>
    );
  }
  const again = async () => {
    setBusy(true);
    await reopen().catch(toastError);
    setBusy(false);
  };
  const { title, detail } = explain(error);
  return (
    <div class="banner ended" role="alert">
      <span class="grow">
        <strong>The session has ended.</strong> {title}
        {detail && `: ${detail}`}
      </span>
      <Button small onClick={again} busy={isBusy}>
        Log in again
      </Button>
      <Button small kind="quiet" onClick={openLogin}>
        Another circle
      </Button>
    </div>
  );
}
