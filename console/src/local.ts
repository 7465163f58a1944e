/** Small settings of this browser, in localStorage; nothing secret. A browser that keeps nothing goes on without. */

/** The console by the path of its address: other consoles at the same origin have names of their own. */
export const PLACE = `circled-console:${new URL("./", location.href).pathname}`;

const PREFIX = `${PLACE}:`;

/** Returns what is kept under a name. */
export function kept(name: string): string | undefined {
  try {
    return localStorage.getItem(PREFIX + name) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a text under a name. */
export function keep(name: string, text: string): void {
  try {
    localStorage.setItem(PREFIX + name, text);
  } catch {}
}
