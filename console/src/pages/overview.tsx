import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function OverviewPage(_: { session: Session }) {
  return <Page title="Overview">…</Page>;
}
