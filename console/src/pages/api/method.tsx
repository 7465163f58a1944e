import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { isLocked, UnlockButton } from "../../frame/account.js";
import { href, route, setQuery } from "../../router.js";
import type { Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, TextArea } from "../../ui/field.js";
import { pretty } from "../store/text.js";
import { Code } from "./code.js";
import { Exchange } from "./exchange.js";
import { ExchangeView } from "./exchange-view.js";
import { Form } from "./form.js";
import { type Api, inputOf, type Method, whyNotCall } from "./methods.js";
import { type Fields, faultOf, fromFields, readParams, toFields } from "./params.js";
import { Prose } from "./prose.js";

/** Returns what a device key needs for a method, as a sentence. */
function scopeOf({ "x-scope": scope = "any" }: Method): string {
  if (scope === "any") return "";
  return scope === "none" ? ". Not by a device key" : `. Scope of a device key: ${scope}`;
}

/** The longest parameters that are in the address. */
const LONGEST_LINK = 2048;

/** Says if parameters may be in the address. Proofs of who calls never are. */
function mayLink(method: string, text: string): boolean {
  return text.length <= LONGEST_LINK && method !== "authenticate" && method !== "prove";
}

/** A method: what it does, its parameters, and calls of it. */
export function MethodPanel({ session, method, api }: { session: Session; method: Method; api: Api }) {
  const linked = route.value.query.get("params") ?? "";
  const [first] = useState(() => readParams(linked));
  const [isRaw, setRaw] = useState(first instanceof Error);
  const [fields, setFields] = useState<Fields>(() => (first instanceof Error ? {} : toFields(first, method, api)));
  const [raw, setRawText] = useState(linked);
  const exchange = useSignal<Exchange | undefined>(undefined);
  useEffect(() => () => exchange.peek()?.close(), []);
  const isWrong = method.params.some((param) => faultOf(fields[param.name] ?? "", inputOf(param, api)));
  const text = isRaw ? raw : fromFields(fields, method, api);
  const params = isRaw || !isWrong ? readParams(text) : new Error("a field is wrong");
  const lacking = method.params.find(
    ({ name, required }) => required && !(params instanceof Error) && !(name in params),
  );
  const why = whyNotCall(session, method);
  useEffect(() => {
    if (!(params instanceof Error)) setQuery({ params: mayLink(method.name, text) ? text : undefined });
  }, [text]);
  const toRaw = () => {
    setRawText(pretty(text));
    setRaw(true);
  };
  const toForm = () => {
    if (!(params instanceof Error)) setFields(toFields(params, method, api));
    setRaw(false);
  };
  const change = (name: string, value: string) => setFields((before) => ({ ...before, [name]: value }));
  const call = () => {
    if (params instanceof Error || why) return;
    exchange.peek()?.close();
    exchange.value = new Exchange(session.circle, method.name, params);
  };
  const needs = method["x-needs"] ?? "anyone";
  return (
    <div class="api-detail">
      <header class="api-head">
        <h2>
          <code>{method.name}</code>
        </h2>
        <a class="api-back" href={href("api", [], { q: route.value.query.get("q") ?? undefined })}>
          All methods
        </a>
      </header>
      <p>
        <Prose text={method.description ?? method.summary ?? ""} />
      </p>
      <p class="muted">
        Who may: {needs === "login" ? "who has logged in" : needs}
        {scopeOf(method)}
      </p>
      <form
        class="stack"
        aria-label={`Call ${method.name}`}
        onSubmit={(event) => {
          event.preventDefault();
          call();
        }}
      >
        {method.params.length > 0 && (
          <div class="tabs" role="group" aria-label="Parameters as">
            <button type="button" aria-pressed={!isRaw} onClick={toForm} disabled={isRaw && params instanceof Error}>
              Form
            </button>
            <button type="button" aria-pressed={isRaw} onClick={toRaw} disabled={!isRaw && params instanceof Error}>
              JSON
            </button>
          </div>
        )}
        {method.params.length === 0 && <p class="muted">It takes no parameters.</p>}
        {method.params.length > 0 && !isRaw && <Form method={method} api={api} fields={fields} onInput={change} />}
        {method.params.length > 0 && isRaw && (
          <Field label="Parameters, as JSON" error={params instanceof Error ? params.message : undefined}>
            <TextArea value={raw} onInput={setRawText} rows={8} mono />
          </Field>
        )}
        <div class="row">
          <Button kind="primary" type="submit" why={why} disabled={params instanceof Error || lacking !== undefined}>
            Call
          </Button>
          {why && isLocked(session) && <UnlockButton session={session} />}
          {lacking && !why && <span class="muted">{lacking.name} is needed</span>}
        </div>
      </form>
      {exchange.value && <ExchangeView key={exchange.value.call.peek().sent} exchange={exchange.value} />}
      {params instanceof Error ? (
        <ErrorNote error={isRaw ? undefined : params} />
      ) : (
        <Code session={session} method={method.name} params={params} />
      )}
    </div>
  );
}
