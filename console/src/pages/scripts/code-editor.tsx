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

/** A text without the editor. */
function PlainText(props: { text: string; label: string; isReadOnly: boolean; onInput?: (text: string) => void }) {
  return (
    <textarea
      class="code-plain"
      aria-label={props.label}
      value={props.text}
      readOnly={props.isReadOnly}
      spellcheck={false}
      autocapitalize="off"
      onInput={(event) => props.onInput?.(event.currentTarget.value)}
    />
  );
}

function NotLoaded({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  if (!error) return <div class="code-loading">Loading the editor…</div>;
  return (
    <div class="code-loading stack tight">
      <p>The editor doesn't work here. This is the text, without it.</p>
      <ErrorNote error={error} />
      <Button onClick={onRetry}>Try again</Button>
    </div>
  );
}

/** An editor for a script. Where it can't be made, or breaks, it is a plain text. */
export function CodeEditor({ text, label, marks, isReadOnly = false, onInput, onReady }: EditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor>(undefined);
  const onChange = useRef(onInput);
  onChange.current = onInput;
  const { module, error, load } = useEditorModule();
  const [broken, setBroken] = useState<unknown>();
  const isBroken = broken !== undefined;

  useEffect(() => {
    if (!module || !host.current || isBroken) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    let own: Editor;
    try {
      own = module.createEditor(root, {
        text: text.peek(),
        label,
        isReadOnly,
        onChange: (typed) => onChange.current(typed),
        onFail: setBroken,
      });
    } catch (error) {
      root.replaceChildren();
      setBroken(error);
      return;
    }
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
  }, [module, text, isBroken]);
  useEffect(() => editor.current?.setMarks(marks), [marks]);
  useEffect(() => editor.current?.setReadOnly(isReadOnly), [isReadOnly]);

  const fault = broken ?? error;
  const retry = () => (isBroken ? setBroken(undefined) : load());
  return (
    <div class="code-editor">
      {(!module || isBroken) && <NotLoaded error={fault} onRetry={retry} />}
      {fault !== undefined && <PlainText text={text.value} label={label} isReadOnly={isReadOnly} onInput={onInput} />}
      <div class="code-host" ref={host} hidden={fault !== undefined} />
    </div>
  );
}

/** The least width for two texts side by side, in pixels. */
const WIDE = 560;

/** Two texts and their differences. */
export function Compare(props: { before: string; after: string; labels: [string, string] }) {
  const host = useRef<HTMLDivElement>(null);
  const [isWide, setWide] = useState<boolean>();
  const [tries, setTries] = useState(0);
  const { module, error, load } = useEditorModule();
  const { before, after, labels } = props;
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWide((entry?.contentRect.width ?? 0) >= WIDE));
    if (host.current) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  const [broken, setBroken] = useState<unknown>();
  useEffect(() => {
    if (!module || !host.current || isWide === undefined) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    setBroken(undefined);
    try {
      return module.createCompare(root, { before, after, labels, isWide });
    } catch (error) {
      root.replaceChildren();
      setBroken(error);
      return;
    }
  }, [module, before, after, isWide, tries, ...labels]);
  const fault = broken ?? error;
  return (
    <div class="compare">
      <div class={isWide ? "compare-names wide" : "compare-names"}>
        <span>{isWide ? labels[0] : `− ${labels[0]}`}</span>
        <span>{isWide ? labels[1] : `+ ${labels[1]}`}</span>
      </div>
      {(!module || fault !== undefined) && (
        <NotLoaded error={fault} onRetry={() => (module ? setTries(tries + 1) : load())} />
      )}
      {fault !== undefined && (
        <>
          <PlainText text={before} label={labels[0]} isReadOnly />
          <PlainText text={after} label={labels[1]} isReadOnly />
        </>
      )}
      <div class="code-host" ref={host} hidden={fault !== undefined} />
    </div>
  );
}
