import { useState } from "preact/hooks";
import { unlock } from "../login/login.js";
import { may, type Session } from "../session.js";
import { nextTheme, theme } from "../theme.js";
import { Button } from "../ui/button.js";
import { Icon } from "../ui/icon.js";
import { Key } from "../ui/key.js";
import { toastError } from "../ui/toast.js";
import { ConnectionState } from "./connection.js";
import { LogOut, saveKeptKey } from "./log-out.js";
import { isHelpShown } from "./shortcuts.js";

/** Returns true if the session is by a device key, and its caller may do more. */
export function isLocked(session: Session): boolean {
  const manage = may(session, "manage");
  return !manage.ok && manage.canUnlock === true;
}

/** A button that asks the wallet once, so that the session is the caller's own. */
export function UnlockButton({ session, small = false }: { session: Session; small?: boolean }) {
  const [isBusy, setBusy] = useState(false);
  const ask = async () => {
    setBusy(true);
    await unlock().catch(toastError);
    setBusy(false);
  };
  return (
    <Button onClick={ask} busy={isBusy} small={small}>
      <Icon name="lock" />
      Unlock with {session.login === "nostr" ? "Nostr" : "wallet"}
    </Button>
  );
}

/** A button that saves the key that this browser keeps. */
function SaveKey({ pubkey }: { pubkey: string }) {
  return (
    <Button
      kind="quiet"
      small
      label="Save your key as a file"
      class="icon-only"
      onClick={() => saveKeptKey(pubkey).catch(toastError)}
    >
      <Icon name="download" />
    </Button>
  );
}

/** Who has logged in, how the connection is, and the settings of this browser. */
export function Account({ session }: { session: Session }) {
  const { me } = session;
  return (
    <div class="side-end">
      {isLocked(session) && session.phase.value !== "closed" && <UnlockButton session={session} small />}
      <div class="account">
        <div class="row">
          <strong class="role">{me.role ?? "no role"}</strong>
          <ConnectionState session={session} />
        </div>
        {me.pubkey && (
          <div class="row">
            <Key pubkey={me.pubkey} />
            {session.login === "kept" && <SaveKey pubkey={me.pubkey} />}
          </div>
        )}
      </div>
      <div class="row">
        <Button kind="quiet" small label={`Theme: ${theme.value}`} class="icon-only" onClick={nextTheme}>
          <Icon name={theme.value === "light" ? "sun" : theme.value === "dark" ? "moon" : "auto"} />
        </Button>
        <Button
          kind="quiet"
          small
          label="Keyboard shortcuts"
          class="icon-only"
          onClick={() => {
            isHelpShown.value = true;
          }}
        >
          ?
        </Button>
        <LogOut session={session} />
      </div>
    </div>
  );
}
