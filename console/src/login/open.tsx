import { parseKey } from "@circled/client/address";
import { SecretKey } from "@circled/client/keys";
import { type Wallet, wallets } from "@circled/client/signers";
import { useEffect, useState } from "preact/hooks";
import { openCircle } from "../router.js";
import { Button } from "../ui/button.js";
import { Checkbox, Field, TextInput } from "../ui/field.js";
import { Icon } from "../ui/icon.js";
import { shortKey } from "../ui/key.js";
import { Text } from "../ui/text.js";
import { nostrProvider } from "./browser-signer.js";
import { KeyFile } from "./key-file.js";
import { keptKeys, saveKeyFile } from "./key-store.js";
import { logInByKeptKey, logInByKey, logInByPrompt } from "./login.js";
import { INSECURE, type Running } from "./page.js";

/** Returns the circle of what is typed: its key, its address, or that of a page of its console; or says why there is none. */
function parseCircle(text: string): { pk?: string; wrong?: string } {
  if (!text) return {};
  const pk = parseKey(/(?:0x)?0[234][0-9a-f]{64,128}/i.exec(text)?.[0] ?? "");
  if (!pk) return { wrong: "This is no circle's key: that has 66 hex digits, and begins with 02 or 03." };
  const host = /^(?:ws|http)s?:\/\/([^/?#\\]*)/i.exec(text)?.[1];
  if (host === undefined || host.toLowerCase() === location.host) return { pk };
  return { wrong: `That circle is on another server, ${host}: open it there.` };
}

/** Asks for a circle, and for the way to log in there. */
export function OpenCircle({ circle, busy, run }: Running & { circle: string | undefined }) {
  const [address, setAddress] = useState(circle ?? "");
  const [found, setFound] = useState<readonly Wallet[]>([]);
  const [keeps, setKeeps] = useState(false);
  useEffect(() => void wallets(300).then(setFound), []);
  const { pk, wrong } = parseCircle(address.trim());
  const why = !isSecureContext ? INSECURE : pk ? undefined : "Enter the circle's key first";

  /** Returns what logs in to the circle, and opens it. */
  const way = (name: string, logIn: (pk: string) => Promise<void>) => ({
    why,
    busy: busy === name,
    onClick: () =>
      pk &&
      run(name, async () => {
        await logIn(pk);
        openCircle(pk);
      }),
  });
  /** An owner's key has the circle's name: without a circle, it is that one. */
  const byFile = async (key: SecretKey) => {
    await logInByKey(pk ?? key.pubkey, key, keeps);
  };
  const byNewKey = async (to: string) => {
    const key = SecretKey.generate();
    saveKeyFile(key);
    await logInByKey(to, key, keeps);
  };
  return (
    <section class="stack-small" aria-labelledby="open">
      <h2 id="open">Open a circle</h2>
      <Field
        label="Circle"
        hint="The circle's public key, or its address. Without it, an owner's key file opens its circle."
        error={wrong}
      >
        <TextInput value={address} onInput={setAddress} mono placeholder="02…" />
      </Field>
      <div class="ways">
        {keptKeys.value.map((pubkey) => (
          <Button key={pubkey} {...way(pubkey, (to) => logInByKeptKey(to, pubkey))}>
            <Icon name="key" />
            <span>
              Key <code>{shortKey(pubkey)}</code> of this browser
            </span>
          </Button>
        ))}
        {found.map(({ info }) => (
          <Button
            key={info.uuid}
            {...way(info.uuid, (to) => logInByPrompt(to, { kind: "wallet", rdns: info.rdns }, true))}
          >
            {info.icon.startsWith("data:image/") ? (
              <img class="icon" src={info.icon} alt="" width={16} height={16} />
            ) : (
              <Icon name="lock" />
            )}
            <Text value={info.name} />
          </Button>
        ))}
        {nostrProvider() && (
          <Button {...way("nostr", (to) => logInByPrompt(to, { kind: "nostr" }, true))}>
            <Icon name="lock" />
            Nostr signer
          </Button>
        )}
        <div class="two">
          <KeyFile
            label="Key file…"
            why={!isSecureContext ? INSECURE : wrong && "Enter the circle's key first, or none"}
            onKey={(key) => run("file", () => byFile(key))}
          />
          <Button {...way("new", byNewKey)}>
            <Icon name="plus" />
            New key
          </Button>
        </div>
      </div>
      <p class="hint">A new key is made here, and saved as a file.</p>
      <Checkbox checked={keeps} onInput={setKeeps}>
        Keep the key in this browser
      </Checkbox>
    </section>
  );
}
