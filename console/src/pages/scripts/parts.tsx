/** Small parts of the pages with scripts. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Mark } from "../../editor/main.js";
import { Badge } from "../../ui/badge.js";
import { Key } from "../../ui/key.js";
import { Text } from "../../ui/text.js";
import type { CheckState } from "./check.js";

/** The first digits of a version; all of them as its title. */
export function Version({ version }: { version: string }) {
  return <code title={version}>{shortVersion(version)}</code>;
}

/** Returns the first digits of a version. */
export function shortVersion(version: string): string {
  return version.slice(0, 8);
}

/** Who has put a script. */
export function By({ pubkey, me }: { pubkey: string; me: string | null | undefined }) {
  if (pubkey === me) return <span title={pubkey}>you</span>;
  return /^[0-9a-f]{66}$/.test(pubkey) ? <Key pubkey={pubkey} copy={false} /> : <Text value={pubkey} />;
}

/** A part of what has come of a run. */
export function Part({ title, count, children }: { title: string; count?: number; children: ComponentChildren }) {
  return (
    <div class="part">
      <h3>
        {title} {count !== undefined && <Badge>{count}</Badge>}
      </h3>
      {children}
    </div>
  );
}

const WORDS: Record<CheckState, string> = {
  none: "",
  checking: "Checking…",
  good: "It compiles",
  bad: "",
  failed: "It could not be checked now",
};

/** Says of the text in the editor that it compiles, or where its fault is. */
export function CheckNote({
  check,
  mark,
  onJump,
}: {
  check: CheckState;
  mark: Mark | undefined;
  onJump: (mark: Mark) => void;
}) {
  return (
    <div class={`check ${check}`} aria-live="polite">
      {mark ? (
        <button type="button" class="link" onClick={() => onJump(mark)}>
          Line {mark.line}
          {mark.column === undefined ? "" : `, column ${mark.column}`}: <Text value={mark.message} />
        </button>
      ) : (
        WORDS[check]
      )}
    </div>
  );
}

const CTRL = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘" : "Ctrl";

/** The keys of the editor, for those who don't know them. */
export function Shortcuts({ save = false }: { save?: boolean }) {
  return (
    <p class="code-keys hint">
      {save && (
        <span>
          <kbd>{CTRL} S</kbd> saves
        </span>
      )}
      <span>
        <kbd>{CTRL} Enter</kbd> runs
      </span>
      <span>
        <kbd>{CTRL} F</kbd> searches
      </span>
      <span>
        <kbd>Esc</kbd> <kbd>Tab</kbd> leaves the editor
      </span>
    </p>
  );
}

/** Listens to the shortcuts, wherever the focus is: Ctrl-S, Ctrl-Enter; on a Mac with ⌘. */
export function useShortcuts(actions: { readonly save?: () => void; readonly run: () => void }): void {
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
      const { save, run } = latest.current;
      const action = event.key === "s" ? save : event.key === "Enter" ? run : undefined;
      if (!action) return;
      event.preventDefault();
      // A dialog has the page's keys.
      if (!document.querySelector("dialog[open]")) action();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}
