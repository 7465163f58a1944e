import type { CircleUsage } from "@circled/client";
import { href } from "../../router.js";
import { Panel } from "../../ui/panel.js";

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** Returns a size, for people: "1.5 MiB". */
export function formatBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const size = bytes / 1024 ** power;
  return `${size >= 100 || power === 0 ? Math.round(size) : size.toFixed(1)} ${UNITS[power]}`;
}

const count = (number: number) => number.toLocaleString("en");

/** How much the circle has. */
export function UsageFacts({ usage }: { usage: CircleUsage }) {
  const { bytes, quota, keys, events, jobs } = usage;
  const share = quota > 0 ? bytes / quota : 0;
  return (
    <Panel title="Usage">
      <div class="stack-small">
        <div>
          <div class="quota">
            <span>Storage</span>
            <span>
              {formatBytes(bytes)} <span class="muted">of {formatBytes(quota)}</span>
            </span>
          </div>
          <meter class="meter" aria-label="Storage used" min={0} max={1} high={0.8} optimum={0} value={share} />
        </div>
        <div class="counts">
          <a href={href("store")}>
            <strong>{count(keys)}</strong> keys
          </a>
          <a href={href("live")}>
            <strong>{count(events)}</strong> events kept
          </a>
          <a href={href("jobs")}>
            <strong>{count(jobs.open)}</strong> open jobs
          </a>
          <a href={href("jobs")}>
            <strong>{count(jobs.ended)}</strong> ended jobs
          </a>
        </div>
      </div>
    </Panel>
  );
}
