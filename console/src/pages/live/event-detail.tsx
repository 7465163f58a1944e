import type { CircleEvent } from "@circled/client";
import { stringify } from "@circled/client/json";
import { useState } from "preact/hooks";
import { href, route } from "../../router.js";
import { Button } from "../../ui/button.js";
import { CopyButton } from "../../ui/copy.js";
import { Empty } from "../../ui/empty.js";
import { formatJson, JsonView } from "../../ui/json.js";
import { Text } from "../../ui/text.js";
import { Time } from "../../ui/time.js";

/** Data with more characters is shown on demand. */
const LARGE = 4096;

/** An event with its data. Without `item`, it isn't among those that were received. */
export function EventDetail({ item, id, onClose }: { item: CircleEvent | undefined; id: number; onClose: () => void }) {
  return (
    <div class="live-detail">
      <header class="live-card-head">
        <h2>Event {id}</h2>
        <Button kind="quiet" small label="Close" class="icon-only" onClick={onClose}>
          ✕
        </Button>
      </header>
      {item ? (
        <Shown key={item.id} item={item} />
      ) : (
        <Empty title="This event isn't in the list">
          It may be older than the server's log, of another topic, or for somebody else.
        </Empty>
      )}
    </div>
  );
}

function Shown({ item }: { item: CircleEvent }) {
  const size = stringify(item.data).length;
  const [isOpen, setOpen] = useState(size <= LARGE);
  const filters = Object.fromEntries(route.value.query);
  return (
    <>
      <dl class="facts live-event">
        <dt>Topic</dt>
        <dd class="row">
          <code>
            <Text value={item.topic} />
          </code>
          <CopyButton text={item.topic} label="Copy the topic" />
          <a href={href("live", ["events"], { ...filters, topic: item.topic })}>only this topic</a>
        </dd>
        <dt>Sent</dt>
        <dd>
          <Time at={item.at} /> <span class="muted">{item.at}</span>
        </dd>
      </dl>
      <div class="row">
        <h3>Data</h3>
        <span class="muted">{size.toLocaleString("en")} characters</span>
        <CopyButton text={() => formatJson(item.data)} label="Copy the data" />
      </div>
      {isOpen ? (
        <div class="live-value">
          <JsonView value={item.data} />
        </div>
      ) : (
        <div>
          <Button onClick={() => setOpen(true)}>Show the data</Button>
        </div>
      )}
    </>
  );
}
