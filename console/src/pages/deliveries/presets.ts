/** How well-known providers sign their webhooks, as src/webhooks/presets.toml has it, with a body to try each. */

/** What a signature is made of. */
export interface Signed {
  readonly body: string;
  /** The event's id, for providers that have it in a header. */
  readonly id: string;
  /** The event's type, for providers that have it in a header. */
  readonly type: string;
  /** Seconds since 1970. */
  readonly time: number;
}

/** An HMAC over a text, by the secret. */
export type Hmac = (text: string) => Promise<Uint8Array>;

export interface Preset {
  readonly name: string;
  readonly title: string;
  /** How the key is written in the secret. */
  readonly key: "text" | "base64";
  /** Which secret it is, as a sentence. */
  readonly secret: string;
  /** The event's type is in a header: such a type. */
  readonly type?: string;
  /** Returns an example of an event, which has this id if its body has one. */
  body(id: string): object;
  headers(signed: Signed, hmac: Hmac): Promise<Record<string, string>>;
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));

export const PRESETS: readonly Preset[] = [
  {
    name: "stripe",
    title: "Stripe",
    key: "text",
    secret: "The endpoint's signing secret: it begins with whsec_.",
    body: (id) => ({
      id: `evt_${id}`,
      object: "event",
      type: "payment_intent.succeeded",
      data: {
        object: { id: `pi_${id}`, object: "payment_intent", amount: 1999, currency: "eur", status: "succeeded" },
      },
    }),
    headers: async ({ body, time }, hmac) => ({
      "Stripe-Signature": `t=${time},v1=${hex(await hmac(`${time}.${body}`))}`,
    }),
  },
  {
    name: "github",
    title: "GitHub",
    key: "text",
    secret: "The webhook's secret.",
    type: "push",
    body: () => ({
      ref: "refs/heads/main",
      repository: { id: 1, full_name: "octo/hello" },
      pusher: { name: "octocat" },
      commits: [{ message: "Say hello" }],
    }),
    headers: async ({ body, id, type }, hmac) => ({
      "X-GitHub-Delivery": id,
      "X-GitHub-Event": type,
      "X-Hub-Signature-256": `sha256=${hex(await hmac(body))}`,
    }),
  },
  {
    name: "shopify",
    title: "Shopify",
    key: "text",
    secret: "The app's client secret.",
    type: "orders/create",
    body: () => ({ id: 450789469, email: "bob@example.com", total_price: "19.99", currency: "EUR" }),
    headers: async ({ body, id, type }, hmac) => ({
      "X-Shopify-Webhook-Id": id,
      "X-Shopify-Topic": type,
      "X-Shopify-Hmac-SHA256": base64(await hmac(body)),
    }),
  },
  {
    name: "slack",
    title: "Slack",
    key: "text",
    secret: "The app's signing secret.",
    body: (id) => ({
      type: "event_callback",
      event_id: `Ev${id}`,
      team_id: "T0001",
      event: { type: "message", channel: "C0001", user: "U0001", text: "Hello" },
    }),
    headers: async ({ body, time }, hmac) => ({
      "X-Slack-Request-Timestamp": String(time),
      "X-Slack-Signature": `v0=${hex(await hmac(`v0:${time}:${body}`))}`,
    }),
  },
  {
    name: "idenfy",
    title: "iDenfy",
    key: "text",
    secret: "The callback signing key.",
    body: (id) => ({
      final: true,
      scanRef: id,
      clientId: "client-1",
      status: { overall: "APPROVED", autoDocument: "DOC_VALIDATED", autoFace: "FACE_MATCH" },
    }),
    headers: async ({ body }, hmac) => ({ "Idenfy-Signature": hex(await hmac(body)) }),
  },
  {
    name: "standard",
    title: "Standard Webhooks, Svix",
    key: "base64",
    secret: "The endpoint's secret: it begins with whsec_.",
    body: () => ({ type: "invoice.paid", data: { id: "inv_1", total: 1999 } }),
    headers: async ({ body, id, time }, hmac) => ({
      "webhook-id": id,
      "webhook-timestamp": String(time),
      "webhook-signature": `v1,${base64(await hmac(`${id}.${time}.${body}`))}`,
    }),
  },
];
