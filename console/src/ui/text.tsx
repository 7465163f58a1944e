/** Characters that can't be seen, or that change the order of others: controls, format characters, line separators. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\u115f\u1160\u3164\uffa0]/u;
const EACH = new RegExp(INVISIBLE, "gu");

/** Returns a visible name of a character: `␀`, `⟨U+202E⟩`. */
function nameOf(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** Returns a text with all its invisible characters named, for titles and labels. `lines`: newlines and tabs stay. */
export function visible(text: string, lines = false): string {
  return text.replace(EACH, (one) => (lines && /[\n\t]/.test(one) ? one : nameOf(one)));
}

/**
 * An untrusted text, as text: isolated from what is around it, invisible characters named. `lines`: newlines and tabs are shown
 * as such.
 */
export function Text({ value, lines = false }: { value: string; lines?: boolean }) {
  if (!INVISIBLE.test(value)) return <bdi>{value}</bdi>;
  const parts: (string | { name: string })[] = [];
  let at = 0;
  for (const match of value.matchAll(EACH)) {
    if (lines && /[\n\t]/.test(match[0])) continue;
    parts.push(value.slice(at, match.index), { name: nameOf(match[0]) });
    at = match.index + match[0].length;
  }
  parts.push(value.slice(at));
  return (
    <bdi>{parts.map((part) => (typeof part === "string" ? part : <span class="invisible">{part.name}</span>))}</bdi>
  );
}
