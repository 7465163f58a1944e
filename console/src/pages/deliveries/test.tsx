/** Sends a test webhook: signed in this browser, as the provider would. */

import type { Circle } from "@circled/client";
import { useEffect, useRef, useState } from "preact/hooks";
import { href, navigate, route } from "../../router.js";
import { may, type Session } from "../../session.js";
import { Status } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, Select, TextArea, TextInput } from "../../ui/field.js";
import { formatJson, parseJson } from "../../ui/json.js";
import { Text } from "../../ui/text.js";
import { CloseDetail } from "../jobs/detail.js";
import { PRESETS, type Preset } from "./presets.js";
import { type Answer, newId, send, sign } from "./send.js";
import { SecretHelp, variable, WebhookUrl } from "./setup.js";

/** The secrets that were pasted, by session and provider. They are in memory, for as long as the session is there. */
const pasted = new WeakMap<Circle, Map<string, string>>();

function secretsOf({ circle }: Session): Map<string, string> {
  const secrets = pasted.get(circle) ?? new Map();
  pasted.set(circle, secrets);
  return secrets;
}

interface Props {
  session: Session;
  /** Called once a webhook was accepted. */
  onSent(): void;
}

export function TestWebhook(props: Props) {
  const asked = route.value.rest[1] ?? route.value.query.get("provider");
  const preset = PRESETS.find(({ name }) => name === asked) ?? (PRESETS[0] as Preset);
  return <Form key={preset.name} {...props} preset={preset} />;
}

const example = (preset: Preset): string => formatJson(preset.body(newId()));

/** What is sent: the provider, the secret, the body; and the answer. */
function Form({ session, preset, onSent }: Props & { preset: Preset }) {
  const [path, setPath] = useState(preset.name);
  const [secret, setSecret] = useState(secretsOf(session).get(preset.name) ?? "");
  const [isShown, show] = useState(false);
  const [type, setType] = useState(preset.type ?? "");
  const [body, setBody] = useState(() => example(preset));
  const [busy, setBusy] = useState(false);
  const [answer, setAnswer] = useState<Answer>();
  const [error, setError] = useState<unknown>();
  const result = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (answer || error) result.current?.scrollIntoView({ block: "nearest" });
  }, [answer, error]);
  const parsed = parseJson(body);
  const isSecure = Boolean(crypto.subtle);

  const submit = async () => {
    setBusy(true);
    setError(undefined);
    setAnswer(undefined);
    secretsOf(session).set(preset.name, secret);
    try {
      const time = Math.floor(Date.now() / 1000);
      const headers = await sign(preset, secret, { body, id: `msg_${newId()}`, type, time });
      const answer = await send(session.webhooksUrl(path), body, headers);
      setAnswer(answer);
      if (answer.status === 200) onSent();
    } catch (error) {
      setError(
        error instanceof TypeError ? new Error("The server can't be reached, or has cut off the request") : error,
      );
    }
    setBusy(false);
  };
  return (
    <form
      class="detail"
      aria-label="Send a test webhook"
      onSubmit={(event) => {
        event.preventDefault();
        if (!busy) void submit();
      }}
    >
      <header class="detail-head">
        <h2>Send a test webhook</h2>
        <CloseDetail page="deliveries" />
      </header>
      <p class="muted">Signed here as the provider signs, and sent to this circle: its script runs.</p>
      <div class="two">
        <Field label="Provider">
          <Select
            value={preset.name}
            onInput={(provider) => navigate("deliveries", ["test", provider], Object.fromEntries(route.peek().query))}
            options={PRESETS.map(({ name, title }) => ({ value: name, label: title }))}
          />
        </Field>
        <Field
          label="Name in the settings"
          hint={
            <>
              The table <code>[webhooks.{path || "…"}]</code>
            </>
          }
        >
          <TextInput value={path} onInput={(path) => setPath(path.trim())} mono />
        </Field>
      </div>
      <WebhookUrl session={session} provider={path} />
      <Field label="Secret" hint={`${preset.secret} It isn't sent or kept.`}>
        <TextInput type={isShown ? "text" : "password"} value={secret} onInput={setSecret} mono />
      </Field>
      <div class="row">
        <Button small onClick={() => show(!isShown)} pressed={isShown}>
          Show the secret
        </Button>
        <Button
          small
          onClick={() => {
            setSecret(drawn(preset));
            show(true);
          }}
        >
          Draw one for tests
        </Button>
        {secret && <CopyButton text={secret} label="Copy the secret" />}
      </div>
      {preset.type && (
        <Field label="Event type" hint="Sent in a header.">
          <TextInput value={type} onInput={setType} mono />
        </Field>
      )}
      <Field label="Body" error={parsed instanceof Error ? `This is no JSON: ${parsed.message}` : undefined}>
        <TextArea value={body} onInput={setBody} rows={12} mono />
      </Field>
      <div class="row end">
        <Button onClick={() => setBody(example(preset))}>Another example</Button>
        <Button
          type="submit"
          kind="primary"
          busy={busy}
          disabled={!secret.trim() || !path}
          why={isSecure ? undefined : "Browsers sign only on https:// pages and on localhost"}
        >
          Send
        </Button>
      </div>
      <div ref={result}>
        {Boolean(error) && <ErrorNote error={error} />}
        {answer && <Outcome session={session} answer={answer} provider={path} preset={preset} />}
      </div>
    </form>
  );
}

/** Returns a new secret, as the provider would write it. */
function drawn({ secret, key }: Preset): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  const text = btoa(String.fromCharCode(...bytes));
  const isPrefixed = secret.includes("whsec_");
  return key === "base64" ? `whsec_${text}` : `${isPrefixed ? "whsec_" : ""}${text.replace(/[^A-Za-z0-9]/g, "x")}`;
}

interface OutcomeProps {
  session: Session;
  answer: Answer;
  provider: string;
  preset: Preset;
}

/** The words for the outcomes of an accepted webhook. */
const OUTCOMES: Record<string, string> = {
  finished: "The script has ended well.",
  failed: "The script has failed. It runs again by itself, with the version that it came with.",
  accepted: "The script has not ended yet. It continues.",
  duplicate: "The event came before, so nothing runs. “Another example” has a new id.",
};

function Outcome({ session, answer, provider, preset }: OutcomeProps) {
  const { status, jobId, outcome, code, message, text } = answer;
  const isAccepted = status === 200;
  return (
    <section class={`answer ${outcome ?? ""}`} aria-label="The answer" role="status">
      <p class="row">
        <strong>{status}</strong>
        {outcome && (
          <Status value={outcome} tone={outcome === "finished" ? "ok" : outcome === "failed" ? "danger" : "info"} />
        )}
        {code && <code>{code}</code>}
      </p>
      {isAccepted ? (
        <p>
          {OUTCOMES[outcome ?? ""] ?? (text ? <Text value={text.slice(0, 1000)} /> : "Accepted, with an empty answer.")}{" "}
          {jobId && may(session, "owner").ok && (
            <a href={href("deliveries", [jobId], Object.fromEntries(route.value.query))}>
              {outcome === "failed" ? "See why" : "Open the delivery"}
            </a>
          )}
        </p>
      ) : (
        <p>{message ? <Text value={message} /> : <Text value={text.slice(0, 1000)} />}</p>
      )}
      {code === "unknown_provider" && <SecretHelp provider={provider} preset={preset.name} />}
      {status === 401 && <Unsigned answer={answer} provider={provider} />}
    </section>
  );
}

function Unsigned({ answer: { ahead = 0 }, provider }: { answer: Answer; provider: string }) {
  return (
    <p>
      {Math.abs(ahead) > 240
        ? `This device's clock and the server's differ by ${Math.abs(ahead)} s: signatures have a time, and must be fresh.`
        : `The server has another secret for ${provider} than the one above, or this circle has one of its own. The server's log says more (“webhook refused”). It reads the secret from ${variable(provider)} when it starts.`}
    </p>
  );
}
