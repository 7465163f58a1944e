import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function ScriptsPage(_: { session: Session }) {
  return <Page title="Scripts">…</Page>;
}
