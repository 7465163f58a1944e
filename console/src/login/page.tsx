import { parseKey } from "@circled/client/address";
import { SecretKey } from "@circled/client/keys";
import { type Wallet, wallets } from "@circled/client/signers";
import { useEffect, useState } from "preact/hooks";
import { openCircle } from "../router.js";
import { nextTheme, theme } from "../theme.js";
import { Button } from "../ui/button.js";
import { ErrorNote } from "../ui/error.js";
import { Checkbox, Field, TextInput } from "../ui/field.js";
import { Icon } from "../ui/icon.js";
import { shortKey } from "../ui/key.js";
import { nostrProvider } from "./browser-signer.js";
import { circles, forgetCircle, type UsedCircle } from "./circles.js";
import { keptKeys, readKeptKeys, saveKeyFile } from "./key-store.js";
import { logInAgain, logInByKeptKey, logInByKey, logInByPrompt } from "./login.js";
import { resuming } from "./resume.js";

/** The page without a session: chooses a circle and logs in, or makes a circle. */
export function LoginPage({ circle }: { circle: string | undefined }) {
  const [address, setAddress] = useState(circle ?? "");
  const [busy, setBusy] = useState<string | undefined>();
  const [error, setError] = useState<unknown>(resuming.value.error);
  const isResuming = resuming.value.busy;
  useEffect(() => void readKeptKeys(), []);
  useEffect(() => {
    if (resuming.value.error) setError(resuming.value.error);
  }, [resuming.value]);

  /** Does one thing at a time, and shows its error. */
  const run = async (name: string, work: () => Promise<void>) => {
    if (busy) return;
    setBusy(name);
    setError(undefined);
    await work().catch(setError);
    setBusy(undefined);
  };
  return (
    <div class="login">
      <main class="login-card">
        <header class="login-head">
          <h1 class="brand">
            <span class="mark" />
            circled
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
            <ErrorNote error={error} />
            <UsedCircles busy={busy} run={run} circle={circle} />
            <OpenCircle address={address} setAddress={setAddress} busy={busy} run={run} />
            <MakeCircle busy={busy} run={run} />
          </>
        )}
      </main>
    </div>
  );
}

interface Running {
  readonly busy: string | undefined;
  readonly run: (name: string, work: () => Promise<void>) => void;
}

const HOW = { kept: "a key in this browser", file: "a key file", wallet: "a wallet", nostr: "a Nostr signer" };

function UsedCircles({ busy, run, circle }: Running & { circle: string | undefined }) {
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
              <div class="hint">by {HOW[one.login]}</div>
            </div>
            <Button small busy={busy === one.pk} onClick={() => open(one)} label={`Open ${shortKey(one.pk)}`}>
              Open
            </Button>
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
    </section>
  );
}

function OpenCircle(props: Running & { address: string; setAddress: (address: string) => void }) {
  const { address, setAddress, busy, run } = props;
  const [found, setFound] = useState<readonly Wallet[]>([]);
  const [keeps, setKeeps] = useState(false);
  useEffect(() => void wallets(300).then(setFound), []);
  // The whole address of a circle may be pasted, too.
  const pk = parseKey(address.trim().replace(/.*\//, ""));
  const why = pk ? undefined : "Enter the circle's key first";
  const isWrong = address.trim() !== "" && !pk;

  const onFile = async (input: HTMLInputElement) => {
    const file = input.files?.[0];
    input.value = "";
    if (!file || !pk) return;
    if (file.size > 1024) throw new Error("that is no key file: it is too large");
    await logInByKey(pk, SecretKey.fromHex(await file.text()), keeps);
  };
  return (
    <section class="stack-small" aria-labelledby="open">
      <h2 id="open">Open a circle</h2>
      <Field
        label="Circle"
        hint="The circle's public key, or its address"
        error={isWrong && "This is no circle's key: it has 66 hex digits, and begins with 02 or 03."}
      >
        <TextInput value={address} onInput={setAddress} mono placeholder="02…" />
      </Field>
      <div class="ways">
        {keptKeys.value.map((pubkey) => (
          <Button
            key={pubkey}
            why={why}
            busy={busy === pubkey}
            onClick={() =>
              pk &&
              run(pubkey, async () => {
                await logInByKeptKey(pk, pubkey);
                openCircle(pk);
              })
            }
          >
            <Icon name="key" />
            <span>
              As <code>{shortKey(pubkey)}</code>, kept in this browser
            </span>
          </Button>
        ))}
        {found.map(({ info }) => (
          <Button
            key={info.uuid}
            why={why}
            busy={busy === info.uuid}
            onClick={() =>
              pk &&
              run(info.uuid, async () => {
                await logInByPrompt(pk, { kind: "wallet", rdns: info.rdns }, true);
                openCircle(pk);
              })
            }
          >
            <Icon name="lock" />
            {info.name}
          </Button>
        ))}
        {nostrProvider() && (
          <Button
            why={why}
            busy={busy === "nostr"}
            onClick={() =>
              pk &&
              run("nostr", async () => {
                await logInByPrompt(pk, { kind: "nostr" }, true);
                openCircle(pk);
              })
            }
          >
            <Icon name="lock" />
            Nostr signer
          </Button>
        )}
        <label class={why ? "button file off" : "button file"} title={why}>
          <Icon name="download" />
          Key file…
          <input
            type="file"
            class="hidden"
            disabled={!pk}
            onChange={(event) => {
              const input = event.currentTarget;
              run("file", () => onFile(input));
            }}
          />
        </label>
      </div>
      <Checkbox checked={keeps} onInput={setKeeps}>
        Keep the key of the file in this browser
      </Checkbox>
    </section>
  );
}

function MakeCircle({ busy, run }: Running) {
  const [saves, setSaves] = useState(true);
  const [keeps, setKeeps] = useState(true);
  const make = async () => {
    const key = SecretKey.generate();
    await logInByKey(key.pubkey, key, keeps);
    if (saves) saveKeyFile(key);
  };
  return (
    <section class="stack-small" aria-labelledby="make">
      <h2 id="make">Make a circle</h2>
      <p class="hint">A new key is made here. Whoever has it owns the circle. It never leaves this device.</p>
      <Checkbox checked={saves} onInput={setSaves}>
        Save the key as a file
      </Checkbox>
      <Checkbox checked={keeps} onInput={setKeeps}>
        Keep the key in this browser
      </Checkbox>
      <Button
        kind="primary"
        busy={busy === "make"}
        why={saves || keeps ? undefined : "The key would be lost with this page"}
        onClick={() => run("make", make)}
      >
        Make a circle
      </Button>
    </section>
  );
}
