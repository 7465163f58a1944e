/** What sets a provider up: the address for it, and the secret for the server. */

import { useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { CopyButton } from "../../ui/copy.js";
import { Select } from "../../ui/field.js";
import { PRESETS } from "./presets.js";

/** The address to which a provider sends its webhooks. */
export function WebhookUrl({ session, provider }: { session: Session; provider: string }) {
  const url = session.webhooksUrl(provider);
  const isLocal = /^(localhost|127\.|\[::1\])/.test(new URL(url).host);
  return (
    <div class="webhook-url">
      <div class="copied-line">
        <code>{url}</code>
        <CopyButton text={url} label="Copy the webhook URL" />
      </div>
      {isLocal && <p class="muted small">Providers can't reach this address; a test from here can.</p>}
    </div>
  );
}

/** Chooses a provider, and shows its address. */
export function ChooseUrl({ session, chosen }: { session: Session; chosen?: string | undefined }) {
  const [provider, setProvider] = useState(chosen ?? "stripe");
  const names = PRESETS.map(({ name, title }) => ({ value: name, label: title }));
  const isOwn = !PRESETS.some(({ name }) => name === provider);
  return (
    <div class="choose-url">
      <Select
        label="Provider"
        value={provider}
        onInput={setProvider}
        options={isOwn ? [{ value: provider, label: provider }, ...names] : names}
      />
      <WebhookUrl session={session} provider={provider} />
    </div>
  );
}

/** The providers for which the server's default settings have a table. */
const IN_DEFAULTS = ["stripe", "idenfy"];

/** Returns the environment variable that has a provider's secret, as the default settings name them. */
export const variable = (provider: string): string =>
  `${provider.toUpperCase().replace(/[^A-Z0-9]/g, "_")}_WEBHOOK_SECRET`;

/** Says how the server gets the secret of a provider. */
export function SecretHelp({ provider, preset }: { provider: string; preset: string }) {
  const name = variable(provider);
  const table = `CIRCLED_WEBHOOKS__${provider.toUpperCase()}__`;
  // Names with other characters can't be in an environment variable.
  const isPlain = /^[a-z0-9_]+$/.test(provider);
  const command = IN_DEFAULTS.includes(provider)
    ? `${name}='the secret' circled serve`
    : `${table}PRESET=${preset} ${table}SECRETS=env:${name} \\\n  ${name}='the secret' circled serve`;
  const toml = `[webhooks.${/^[A-Za-z0-9_-]+$/.test(provider) ? provider : JSON.stringify(provider)}]\npreset = "${preset}"\nsecrets = ["env:${name}"]`;
  return (
    <div class="stack tight">
      <p>
        Start the server with the provider's secret in the environment variable <code>{name}</code>:
      </p>
      {isPlain && <Command text={command} label="Copy the command" />}
      {!IN_DEFAULTS.includes(provider) && (
        <>
          <p>{isPlain ? "Or put this into its settings:" : "And put this into its settings:"}</p>
          <Command text={toml} label="Copy the settings" />
        </>
      )}
    </div>
  );
}

function Command({ text, label }: { text: string; label: string }) {
  return (
    <div class="copied-line">
      <pre>{text}</pre>
      <CopyButton text={text} label={label} />
    </div>
  );
}
