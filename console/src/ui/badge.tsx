const TONES: Record<string, string> = {
  done: "ok",
  ok: "ok",
  live: "ok",
  running: "info",
  accepted: "info",
  waiting: "info",
  queued: "info",
  scheduled: "info",
  dead: "danger",
  failed: "danger",
  error: "danger",
  rejected: "danger",
  retrying: "warn",
  stale: "warn",
  cancelled: "muted",
};

/** A state, in its colour: of a job, a delivery, a watch. `tone` chooses another colour. */
export function Status({ value, tone }: { value: string; tone?: "ok" | "info" | "warn" | "danger" | "muted" }) {
  return <span class={`status ${tone ?? TONES[value] ?? "muted"}`}>{value}</span>;
}

/** A small label or number. */
export function Badge({ children }: { children: string | number }) {
  return <span class="badge">{children}</span>;
}
