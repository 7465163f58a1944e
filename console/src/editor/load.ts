/** Loads `editor.js`, once, when a page first needs it. */

import type * as Editor from "./main.js";

let loading: Promise<typeof Editor> | undefined;

/** Returns what `editor.js` exports. If it could not be loaded, the next call tries again. */
export function loadEditor(): Promise<typeof Editor> {
  loading ??= (import(new URL("./editor.js", import.meta.url).href) as Promise<typeof Editor>).catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}
