import { href, navigate, route, setQuery } from "../router.js";
import type { Session } from "../session.js";
import { Empty } from "../ui/empty.js";
import { ErrorNote } from "../ui/error.js";
import { SearchInput } from "../ui/field.js";
import { Icon } from "../ui/icon.js";
import { Page, Split } from "../ui/panel.js";
import { useAsync } from "../ui/use-query.js";
import { MethodPanel } from "./api/method.js";
import { readApi, whyNotCall } from "./api/methods.js";
import { Prose } from "./api/prose.js";
import "./tabs.css";
import "./api.css";

/** Every method of the server, to read about and to call: `#/<circle>/api/<method>?params=&q=`. */
export function ApiPage({ session }: { session: Session }) {
  const { rest, query } = route.value;
  const search = query.get("q") ?? "";
  const { value: api, error } = useAsync(async () => readApi(await session.circle.discover()), [session.circle]);
  const wanted = search.trim().toLowerCase();
  const methods = (api?.methods ?? []).filter(
    ({ name, summary = "" }) => name.includes(wanted.replaceAll(" ", "_")) || summary.toLowerCase().includes(wanted),
  );
  const [opened] = rest;
  const method = api?.methods.find(({ name }) => name === opened);
  return (
    <Page title="API" fill>
      <Split
        onClose={() => navigate("api", [], { q: search })}
        list={
          <div class="api-side">
            <div class="api-bar">
              <SearchInput value={search} onInput={(q) => setQuery({ q })} placeholder="Search methods" />
            </div>
            <ErrorNote error={error} />
            <nav class="api-list" aria-label="Methods">
              {methods.map((one) => {
                const why = whyNotCall(session, one);
                return (
                  <a
                    key={one.name}
                    href={href("api", [one.name], { q: search })}
                    aria-current={one.name === opened ? "page" : undefined}
                    title={why}
                  >
                    <code>
                      {one.name}
                      {why && <Icon name="lock" />}
                    </code>
                    {why && <span class="hidden">not permitted</span>}
                    <span class="api-summary">
                      <Prose text={one.summary ?? ""} />
                    </span>
                  </a>
                );
              })}
              {api && methods.length === 0 && (
                <Empty title="No method fits">Search for a part of a name, or of what it does.</Empty>
              )}
            </nav>
          </div>
        }
        detail={
          method && api ? (
            <MethodPanel key={method.name} session={session} method={method} api={api} />
          ) : (
            api &&
            opened && <Empty title="There is no such method">The server doesn't have it. Choose one of the list.</Empty>
          )
        }
      />
    </Page>
  );
}
