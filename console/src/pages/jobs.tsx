import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function JobsPage(_: { session: Session }) {
  return <Page title="Jobs">…</Page>;
}
