import { RefusedError } from "@circled/client";
import { SecretKey } from "@circled/client/keys";
import { useEffect, useState } from "preact/hooks";
import { openCircle } from "../router.js";
import { SupersededError } from "../superseded.js";
import { nextTheme, theme } from "../theme.js";
import { Button } from "../ui/button.js";
import { confirmByName } from "../ui/dialog.js";
import { ErrorNote } from "../ui/error.js";
import { Checkbox } from "../ui/field.js";
import { Icon } from "../ui/icon.js";
import { shortKey } from "../ui/key.js";
import { toastError } from "../ui/toast.js";
import { circles, forgetCircle, type UsedCircle } from "./circles.js";
import { KeyFile } from "./key-file.js";
import { findKey, keptKeys, readKeptKeys, saveKeyFile } from "./key-store.js";
import { forgetKeptKey, logInAgain, logInByKey } from "./login.js";
import { OpenCircle } from "./open.js";
import { resuming } from "./resume.js";

/** Why nobody can log in: the browser has no WebCrypto. */
export const INSECURE = "Browsers sign on https:// and on localhost only: open the console at such an address";

/** What is under way, and how to begin something. */
export interface Running {
  readonly busy: string | undefined;
  readonly run: (name: string, work: () => Promise<void>) => void;
}

/** The page without a session: chooses a circle and logs in, or makes a circle. */
export function LoginPage({ circle }: { circle: string | undefined }) {
  const [busy, setBusy] = useState<string | undefined>();
  const [error, setError] = useState<unknown>();
  const { busy: isResuming, error: why } = resuming.value;
  useEffect(() => void readKeptKeys(), []);
  useEffect(() => setError(why), [why]);

  /** Does one thing at a time, and shows its error. */
  const run = async (name: string, work: () => Promise<void>) => {
    if (busy) return;
    setBusy(name);
    setError(undefined);
    await work().catch((error) => error instanceof SupersededError || setError(error));
    setBusy(undefined);
  };
  return (
    <div class="login">
      <main class="login-card">
        <header class="login-head">
          <h1>
            <a class="brand" href="#/">
              <span class="mark" />
              circled
            </a>
          </h1>
          <Button kind="quiet" small label={`Theme: ${theme.value}`} class="icon-only" onClick={nextTheme}>
            <Icon name={theme.value === "light" ? "sun" : theme.value === "dark" ? "moon" : "auto"} />
          </Button>
        </header>
        {isResuming ? (
          <p class="muted" role="status">
            Opening the circle…
          </p>
        ) : (
          <>
            {!isSecureContext && <p class="note warn">{INSECURE}.</p>}
            <ErrorNote error={error} />
            <UsedCircles busy={busy} run={run} circle={circle} />
            {!circle && circles.value.length === 0 && <MakeCircle busy={busy} run={run} />}
            <OpenCircle circle={circle} busy={busy} run={run} />
            {!circle && circles.value.length > 0 && <MakeCircle busy={busy} run={run} />}
            <KeptKeys />
          </>
        )}
      </main>
      <footer class="login-foot">
        <a href="#/licenses">Third-party licences</a>
      </footer>
    </div>
  );
}

const HOW = { kept: "a key of this browser", file: "a key file", wallet: "a wallet", nostr: "a Nostr signer" };

function UsedCircles({ busy, run, circle }: Running & { circle: string | undefined }) {
  const [keeps, setKeeps] = useState(false);
  const used = circles.value.filter(({ pk }) => !circle || pk === circle);
  if (used.length === 0) return null;
  const open = (one: UsedCircle) => (one.login === "file" ? openCircle(one.pk) : run(one.pk, () => logInAgain(one)));
  return (
    <section class="stack-small" aria-labelledby="used">
      <h2 id="used">{circle ? "As the last time" : "Used before"}</h2>
      <ul class="used">
        {used.map((one) => (
          <li key={one.pk}>
            <div class="grow">
              <code title={one.pk}>{shortKey(one.pk)}</code>
              <div class="hint">
                {one.caller === one.pk ? "Owner" : <code>{shortKey(one.caller)}</code>}, by {HOW[one.login]}
              </div>
            </div>
            {circle && one.login === "file" ? (
              <KeyFile
                label="Choose the file…"
                why={isSecureContext ? undefined : INSECURE}
                onKey={(key) =>
                  run("file", async () => {
                    await logInByKey(one.pk, key, keeps);
                  })
                }
              />
            ) : (
              <Button small busy={busy === one.pk} onClick={() => open(one)} label={`Open ${shortKey(one.pk)}`}>
                Open
              </Button>
            )}
            <Button
              small
              kind="quiet"
              class="icon-only"
              label={`Take ${shortKey(one.pk)} off this list`}
              onClick={() => forgetCircle(one.pk)}
            >
              ✕
            </Button>
          </li>
        ))}
      </ul>
      {circle && used.some(({ login }) => login === "file") && (
        <div>
          <p class="hint">
            The key was given for one visit. Choose the file again, or have this browser keep it from now on.
          </p>
          <Checkbox checked={keeps} onInput={setKeeps}>
            Keep it in this browser
          </Checkbox>
        </div>
      )}
    </section>
  );
}

const NOT_OPEN = "this server takes no new circles: its operator lists them in the settings (circles.open is off)";

function MakeCircle({ busy, run }: Running) {
  const [saves, setSaves] = useState(true);
  const [keeps, setKeeps] = useState(true);
  const make = async () => {
    const key = SecretKey.generate();
    // Before anything else, so that the key of a circle is never lost.
    if (saves) saveKeyFile(key);
    try {
      const isKept = await logInByKey(key.pubkey, key, keeps);
      if (!saves && !isKept) saveKeyFile(key);
    } catch (error) {
      if (error instanceof RefusedError && error.status === 404) throw new Error(NOT_OPEN, { cause: error });
      throw error;
    }
  };
  return (
    <section class="stack-small" aria-labelledby="make">
      <h2 id="make">Make a circle</h2>
      <p class="hint">
        Its key is made here, and never leaves this device unless you save it. Whoever has it owns the circle, so keep
        the file.
      </p>
      <div>
        <Checkbox checked={saves} onInput={setSaves}>
          Save its key as a file
        </Checkbox>
        <Checkbox checked={keeps} onInput={setKeeps}>
          Keep its key in this browser
        </Checkbox>
      </div>
      <Button
        kind="primary"
        busy={busy === "make"}
        why={!isSecureContext ? INSECURE : saves || keeps ? undefined : "The key would be lost with this page"}
        onClick={() => run("make", make)}
      >
        Make a circle
      </Button>
    </section>
  );
}

/** The keys that this browser keeps: saved as files, or forgotten. */
function KeptKeys() {
  if (keptKeys.value.length === 0) return null;
  const save = async (pubkey: string) => {
    const key = await findKey(pubkey);
    if (key) saveKeyFile(key);
  };
  const forget = async (pubkey: string) => {
    const body = (
      <p>
        This browser forgets the key. If you haven't saved it as a file, nobody can ever log in by it again: a circle
        that it owns has no owner any more.
      </p>
    );
    const name = pubkey.slice(0, 8);
    if (await confirmByName({ title: "Forget this key?", body, name, action: "Forget" })) await forgetKeptKey(pubkey);
  };
  return (
    <section class="stack-small" aria-labelledby="keys">
      <h2 id="keys">Keys of this browser</h2>
      <ul class="used">
        {keptKeys.value.map((pubkey) => (
          <li key={pubkey}>
            <code class="grow" title={pubkey}>
              {shortKey(pubkey)}
            </code>
            <Button small label={`Save ${shortKey(pubkey)} as a file`} onClick={() => save(pubkey).catch(toastError)}>
              Save
            </Button>
            <Button
              small
              kind="quiet"
              label={`Forget ${shortKey(pubkey)}`}
              onClick={() => forget(pubkey).catch(toastError)}
            >
              Forget
            </Button>
          </li>
        ))}
      </ul>
    </section>
  );
}
