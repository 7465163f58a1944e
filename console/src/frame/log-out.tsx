import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { findKey, saveKeyFile } from "../login/key-store.js";
import { forgetKeptKey, logOut } from "../login/login.js";
import type { Session } from "../session.js";
import { textNames } from "../tab-texts.js";
import { Button } from "../ui/button.js";
import { Dialog } from "../ui/dialog.js";
import { Icon } from "../ui/icon.js";
import { shortKey } from "../ui/key.js";
import { toastError } from "../ui/toast.js";

/** Saves a key that this browser keeps as a file. */
export async function saveKeptKey(pubkey: string): Promise<void> {
  const key = await findKey(pubkey);
  if (key) saveKeyFile(key);
}

/** True while it is asked what becomes of the key, and of what isn't saved. */
const isAsked = signal(false);

const leave = () => logOut().catch(toastError);

/** Returns the caller's public key, if this browser keeps the secret one. */
function keptBy(session: Session): string | undefined {
  return (session.login === "kept" && session.me.pubkey) || undefined;
}

const hasDrafts = (session: Session) => textNames(session.pk).some((name) => name.startsWith("draft:"));

/** The button that logs out. The dialog asks first, where this browser keeps the key, or a text that isn't saved. */
export function LogOut({ session }: { session: Session }) {
  const onClick = () => {
    if (keptBy(session) || hasDrafts(session)) isAsked.value = true;
    else void leave();
  };
  return (
    <Button kind="quiet" small onClick={onClick}>
      <Icon name="out" />
      Log out
    </Button>
  );
}

/** The dialog that asks, once in the frame. */
export function LogOutDialog({ session }: { session: Session }) {
  return isAsked.value ? <Ask session={session} /> : null;
}

function Ask({ session }: { session: Session }) {
  const pubkey = keptBy(session);
  const close = () => {
    isAsked.value = false;
  };
  // The session may end elsewhere, too.
  useEffect(() => close, []);
  const forget = async (pubkey: string) => {
    await logOut();
    await forgetKeptKey(pubkey);
  };
  return (
    <Dialog title="Log out?" onClose={close}>
      <div class="stack">
        {hasDrafts(session) && <p>Scripts that aren't saved are lost.</p>}
        {pubkey && (
          <>
            <p>
              This browser keeps the key <code title={pubkey}>{shortKey(pubkey)}</code>: one click opens the circle
              again.
            </p>
            <p>Once it is forgotten, only its file logs in.</p>
            <div>
              <Button onClick={() => saveKeptKey(pubkey).catch(toastError)}>
                <Icon name="download" />
                Save the key as a file
              </Button>
            </div>
          </>
        )}
        <div class="row end">
          <Button onClick={close}>Cancel</Button>
          {pubkey && (
            <Button kind="danger" onClick={() => forget(pubkey).catch(toastError)}>
              Log out and forget the key
            </Button>
          )}
          <Button kind="primary" onClick={leave}>
            Log out
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
