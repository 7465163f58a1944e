import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";

export function DeliveriesPage(_: { session: Session }) {
  return <Page title="Deliveries">…</Page>;
}
