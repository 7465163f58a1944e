import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function ApiPage(_: { session: Session }) {
  return <Page title="Api">…</Page>;
}
