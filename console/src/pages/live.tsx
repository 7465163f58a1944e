import { href, route } from "../router.js";
import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";
import { EventsTab } from "./live/events-tab.js";
import { QueriesTab } from "./live/queries-tab.js";
import "./tabs.css";
import "./live.css";

const TABS = [
  ["events", "Events"],
  ["queries", "Queries"],
] as const;

/** The events and queries of right now: `#/<circle>/live/events?topic=&since=&event=` and `#/<circle>/live/queries?w=`. */
export function LivePage({ session }: { session: Session }) {
  const { rest, query } = route.value;
  const tab = rest[0] === "queries" ? "queries" : "events";
  const filters = Object.fromEntries(query);
  return (
    <Page title="Live" fill>
      <nav class="tabs" aria-label="Live">
        {TABS.map(([name, title]) => (
          <a key={name} href={href("live", [name], filters)} aria-current={name === tab ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      {/* Both go on while one is shown. */}
      <div class="live-tab" hidden={tab !== "events"}>
        <EventsTab key={session.pk} session={session} />
      </div>
      <div class="live-tab" hidden={tab !== "queries"}>
        <QueriesTab key={session.pk} session={session} />
      </div>
    </Page>
  );
}
