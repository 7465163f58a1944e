import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function MembersPage(_: { session: Session }) {
  return <Page title="Members">…</Page>;
}
