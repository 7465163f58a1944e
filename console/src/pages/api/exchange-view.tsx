import { parse } from "@circled/client/json";
import { Status } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { ErrorNote } from "../../ui/error.js";
import { Pre } from "../../ui/pre.js";
import { pretty } from "../store/text.js";
import type { Exchange } from "./exchange.js";

/** The characters of a message that are shown. All of it is copied. */
const MOST_SHOWN = 100_000;

/** A call: the exact JSON that went and that came back. */
export function ExchangeView({ exchange }: { exchange: Exchange }) {
  const { sent, received, error, took, notifications, subscription } = exchange.call.value;
  const isError = received !== undefined && "error" in (parse(received) as object);
  const state = received === undefined && !error ? "running" : isError || error ? "error" : "ok";
  return (
    <section class="api-exchange" aria-label="The call">
      <p class="row" role="status">
        <Status value={state} />
        {took !== undefined && <span class="muted">{took < 10 ? took.toFixed(1) : Math.round(took)} ms</span>}
      </p>
      <ErrorNote error={error} />
      {sent !== undefined && <Message title="Sent" text={sent} />}
      {received !== undefined && <Message title="Received" text={received} />}
      {(subscription !== undefined || notifications.length > 0) && (
        <>
          <div class="row">
            <h3>Notifications</h3>
            <span class="muted">{notifications.length === 0 ? "none yet" : "the newest first"}</span>
            <span class="grow" />
            {subscription !== undefined && (
              <Button small onClick={() => exchange.close()}>
                Unsubscribe
              </Button>
            )}
          </div>
          {notifications.map((text, n) => (
            <Message key={notifications.length - n} title={`Notification ${notifications.length - n}`} text={text} />
          ))}
        </>
      )}
    </section>
  );
}

/** A message as it was on the wire, with line breaks. */
function Message({ title, text }: { title: string; text: string }) {
  const shown = text.length <= MOST_SHOWN ? pretty(text) : `${text.slice(0, MOST_SHOWN)}…`;
  return (
    <div class="api-message">
      <div class="row">
        <h3>{title}</h3>
        <span class="muted">{text.length.toLocaleString("en")} characters</span>
        <CopyButton text={text} label={`Copy: ${title.toLowerCase()}`} />
      </div>
      <Pre text={shown} label={title} />
    </div>
  );
}
