import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function LivePage(_: { session: Session }) {
  return <Page title="Live">…</Page>;
}
