/** A call as a command of `circled`. */

import type { Json } from "@circled/client";
import { stringify } from "@circled/client/json";
import { pretty } from "../store/text.js";
import { quote } from "./snippets.js";

type Params = { [name: string]: Json };

/** The parts of a command: its words, which parameters come after the URL, and which are options. */
interface Command {
  readonly words: string;
  readonly after?: readonly string[];
  readonly options?: Readonly<Record<string, string>>;
  /** The parameter that is read from standard input. */
  readonly input?: string;
  readonly more?: string;
}

const RUN = { args: "--args", timeout_ms: "--timeout", request_id: "--request-id" };
const COMMANDS: Record<string, Command> = {
  play: { words: "play", after: ["script"], options: RUN },
  call: { words: "call", after: ["name"], options: { ...RUN, version: "--version" } },
  watch: { words: "watch", after: ["name"], options: { script: "--script", args: "--args", version: "--version" } },
  subscribe: { words: "events", after: ["topic"], options: { since: "--since" }, more: "--follow" },
  put_script: {
    words: "script put",
    after: ["name"],
    input: "source",
    options: { if_version: "--if-version", call: "--call" },
  },
  check_script: { words: "script check", input: "source" },
  get_script: { words: "script get", after: ["name"], options: { version: "--version" } },
  list_scripts: { words: "script list" },
  delete_script: { words: "script delete", after: ["name"], options: { if_version: "--if-version" } },
  usage: { words: "usage" },
  add_member: { words: "members add", after: ["pubkey"] },
  remove_member: { words: "members remove", after: ["pubkey"], options: { stop_jobs: "--stop-jobs" } },
  list_members: { words: "members list" },
  submit_job: {
    words: "jobs submit",
    after: ["script"],
    options: {
      name: "--name",
      args: "--args",
      run_at: "--run-at",
      idempotency_key: "--idempotency-key",
      version: "--version",
    },
  },
  get_job: { words: "jobs show", after: ["job_id"] },
  list_jobs: {
    words: "jobs list",
    options: { status: "--status", kind: "--kind", name: "--script", limit: "--limit" },
  },
  stop_job: { words: "jobs stop", after: ["job_id"] },
  retry_job: { words: "jobs retry", after: ["job_id"], options: { version: "--version" } },
  list_deliveries: { words: "deliveries list", options: { provider: "--provider", limit: "--limit" } },
  get_delivery: { words: "deliveries show", after: ["job_id"] },
  redeliver: { words: "deliveries redeliver", after: ["job_id"] },
};

/** Returns the command for a call; undefined if there is none, or it can't say all of the parameters. */
export function command(method: string, params: Params, url: string): string | undefined {
  const found = Object.hasOwn(COMMANDS, method) ? COMMANDS[method] : undefined;
  if (!found) return undefined;
  const { words, after = [], options = {}, input, more } = found;
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== false);
  const isKnown = (name: string) => after.includes(name) || Object.hasOwn(options, name) || name === input;
  if (!given.every(([name]) => isKnown(name))) return undefined;
  const values = Object.fromEntries(given);
  const option = (name: string): string[] => {
    const [flag = "", value] = [options[name], values[name]];
    if (value === undefined) return [];
    if (value === true) return [flag];
    if (name === "args") return [flag, quote(pretty(stringify(value)).replace(/\s*\n\s*/g, " "))];
    return [`${flag}=${quote(name === "timeout_ms" ? `${value}ms` : String(value))}`];
  };
  const places = after.filter((name) => values[name] !== undefined).map((name) => String(values[name]));
  // Names before the input, which stands for a file.
  const ends = [...places.map(quote), ...(input ? ["-"] : [])];
  const dashes = places.some((place) => place.startsWith("-")) ? ["--"] : [];
  const flags = ["--key me.key", ...Object.keys(options).flatMap(option), ...(more ? [more] : [])];
  const line = ["circled", words, ...flags, ...dashes, quote(url), ...ends].join(" ");
  return input ? `printf %s ${quote(String(values[input] ?? ""))} | ${line}` : line;
}
