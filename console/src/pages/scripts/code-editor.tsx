/** The editor in a page: loads `editor.js` when it is first shown. */

import { effect, type ReadonlySignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { loadEditor } from "../../editor/load.js";
import type { Editor, Mark } from "../../editor/main.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";

interface EditorProps {
  /** A signal, so that the editor has it at once: a render that comes later would undo what was typed meanwhile. */
  readonly text: ReadonlySignal<string>;
  readonly label: string;
  readonly marks: readonly Mark[];
  readonly isReadOnly?: boolean;
  readonly onInput: (text: string) => void;
  /** Is given the editor, to move its cursor. */
  readonly onReady?: (editor: Editor) => void;
}

/** Returns what `editor.js` exports, once it is loaded, and a function that tries again. */
function useEditorModule() {
  const [state, setState] = useState<{ module?: Awaited<ReturnType<typeof loadEditor>>; error?: unknown }>({});
  const load = () =>
    loadEditor().then(
      (module) => setState({ module }),
      (error) => setState({ error }),
    );
  useEffect(() => void load(), []);
  return { ...state, load };
}

function NotLoaded({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  if (!error) return <div class="code-loading">Loading the editor…</div>;
  return (
    <div class="code-loading">
      <ErrorNote error={error} />
      <Button onClick={onRetry}>Try again</Button>
    </div>
  );
}

/** An editor for a script. */
export function CodeEditor({ text, label, marks, isReadOnly = false, onInput, onReady }: EditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor>(undefined);
  const onChange = useRef(onInput);
  onChange.current = onInput;
  const { module, error, load } = useEditorModule();

  useEffect(() => {
    if (!module || !host.current) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    const own = module.createEditor(root, {
      text: text.peek(),
      label,
      isReadOnly,
      onChange: (typed) => onChange.current(typed),
    });
    editor.current = own;
    own.setMarks(marks);
    onReady?.(own);
    const stop = effect(() => own.setText(text.value));
    return () => {
      editor.current = undefined;
      stop();
      own.destroy();
    };
    // What changes later is told to the editor that is there.
  }, [module, text]);
  useEffect(() => editor.current?.setMarks(marks), [marks]);
  useEffect(() => editor.current?.setReadOnly(isReadOnly), [isReadOnly]);

  return (
    <div class="code-editor">
      {!module && <NotLoaded error={error} onRetry={load} />}
      <div class="code-host" ref={host} />
    </div>
  );
}

/** The least width for two texts side by side, in pixels. */
const WIDE = 560;

/** Two texts and their differences. */
export function Compare(props: { before: string; after: string; labels: [string, string] }) {
  const host = useRef<HTMLDivElement>(null);
  const [isWide, setWide] = useState<boolean>();
  const { module, error, load } = useEditorModule();
  const { before, after, labels } = props;
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWide((entry?.contentRect.width ?? 0) >= WIDE));
    if (host.current) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!module || !host.current || isWide === undefined) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    return module.createCompare(root, { before, after, labels, isWide });
  }, [module, before, after, isWide, ...labels]);
  return (
    <div class="compare">
      <div class={isWide ? "compare-names wide" : "compare-names"}>
        <span>{isWide ? labels[0] : `− ${labels[0]}`}</span>
        <span>{isWide ? labels[1] : `+ ${labels[1]}`}</span>
      </div>
      {!module && <NotLoaded error={error} onRetry={load} />}
      <div class="code-host" ref={host} />
    </div>
  );
}
