import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function StorePage(_: { session: Session }) {
  return <Page title="Store">…</Page>;
}
