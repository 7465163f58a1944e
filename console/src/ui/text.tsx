import { EACH_INVISIBLE, INVISIBLE, nameOf } from "./invisible.js";

export { visible } from "./invisible.js";

/**
 * An untrusted text, as text: isolated from what is around it, invisible characters named. `lines`: newlines and tabs are shown
 * as such.
 */
export function Text({ value, lines = false }: { value: string; lines?: boolean }) {
  if (!INVISIBLE.test(value)) return <bdi>{value}</bdi>;
  const parts: (string | { name: string })[] = [];
  let at = 0;
  for (const match of value.matchAll(EACH_INVISIBLE)) {
    if (lines && /[\n\t]/.test(match[0])) continue;
    parts.push(value.slice(at, match.index), { name: nameOf(match[0]) });
    at = match.index + match[0].length;
  }
  parts.push(value.slice(at));
  return (
    <bdi>{parts.map((part) => (typeof part === "string" ? part : <span class="invisible">{part.name}</span>))}</bdi>
  );
}
