/** Scripts to begin with. */

/** A script to begin with. */
export interface Template {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  /** The name that the script gets, unless one chooses another. */
  readonly name: string;
  readonly source: string;
}

/** Names that the server takes. */
export const NAME = /^[A-Za-z_][A-Za-z0-9_./-]{0,63}$/;

export const TEMPLATES: readonly Template[] = [
  {
    id: "hello",
    title: "Hello",
    about: "Greets whoever calls it.",
    name: "hello",
    source: `// Run it with ARGS such as {"name": "Ada"}.
let name = ARGS?.name ?? "world";
print(\`\${CALLER_ROLE} \${CALLER_ID} says hello\`);
\`Hello, \${name}!\`
`,
  },
  {
    id: "counter",
    title: "Counter",
    about: "Counts how often it was called, for all and for each caller.",
    name: "visit",
    source: `// A run is a transaction: no visit is lost, however many call at the same time.
let visits = store.incr("visits", 1);
let mine = store.incr(\`visits/\${CALLER_ID}\`, 1);
emit("visits", #{ visits: visits });
#{ visits: visits, mine: mine }
`,
  },
  {
    id: "stripe",
    title: "Stripe webhook",
    about: "Runs for each event that Stripe sends. A script named on_<provider> is that provider's.",
    name: "on_stripe",
    source: `// The server has checked Stripe's signature. If this script fails, the server runs it again later.
let object = EVENT.payload.data.object;
switch EVENT.type {
    "payment_intent.succeeded" => {
        store.set(\`payments/\${object.id}\`, #{
            amount: object.amount,
            currency: object.currency,
            at: EVENT.received_at,
        });
        store.incr("payments", 1);
        emit("webhook.stripe.paid", #{ id: object.id, amount: object.amount });
    }
    _ => print(\`nothing to do for \${EVENT.type}\`)
}
`,
  },
  {
    id: "chat",
    title: "Chat",
    about: "Posts a message. Whoever watches or subscribes sees it at once.",
    name: "post",
    source: `// Run it with ARGS such as {"text": "Hi!"}. The last 50 messages, for a watch:
// store.scan(#{ prefix: "chat/", limit: 50, reverse: true })
require("guest");
let text = ARGS?.text ?? "";
text.trim();
if text == "" { throw "there is no text" }
if text.len() > 1000 { throw "the text is too long" }
let message = #{ by: CALLER_ID, text: text, at: now() };
store.push("chat/", message);
emit("chat", message);
`,
  },
];

/** The script for events of another provider than Stripe: it keeps them. */
export function hookSource(provider: string): string {
  return `// Runs for each event of ${provider}. If it fails, the server runs it again later.
store.set(\`${provider}/\${EVENT.id ?? JOB_ID}\`, #{ type: EVENT.type, at: EVENT.received_at, payload: EVENT.payload });
emit("webhook.${provider}", #{ id: EVENT.id, type: EVENT.type });
`;
}
