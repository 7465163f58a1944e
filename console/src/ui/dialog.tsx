import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Button } from "./button.js";
import { Field, TextInput } from "./field.js";
import { Text, visible } from "./text.js";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  /** For what has two columns or an editor. */
  readonly wide?: boolean;
}

/** A dialog over the page. Escape closes it, and the focus goes back to where it was. */
export function Dialog({ title, onClose, children, wide = false }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    const element = dialog.current;
    if (element && !element.open) element.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      // A browser may close it without asking: at a second Escape, say. It tells of our own closing, too, after the end.
      onClose={() => dialog.current && onClose()}
    >
      <header class="dialog-head">
        <h2 id={id}>{title}</h2>
        <Button kind="quiet" small label="Close" class="icon-only" onClick={onClose}>
          ✕
        </Button>
      </header>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

export interface Confirmation {
  readonly title: string;
  readonly body: ComponentChildren;
  /** What has to be typed. */
  readonly name: string;
  /** The button's text: "Delete". */
  readonly action: string;
}

const asked = signal<(Confirmation & { answer(yes: boolean): void }) | undefined>(undefined);

/** Asks before something is deleted: the user types its name. */
export function confirmByName(confirmation: Confirmation): Promise<boolean> {
  asked.peek()?.answer(false);
  return new Promise((resolve) => {
    const answer = (yes: boolean) => {
      asked.value = undefined;
      resolve(yes);
    };
    asked.value = { ...confirmation, answer };
  });
}

/** The dialog of `confirmByName`, once in the app. */
export function Confirmations() {
  const confirmation = asked.value;
  return confirmation ? <Confirm key={confirmation.name} {...confirmation} /> : null;
}

function Confirm({ title, body, name, action, answer }: Confirmation & { answer(yes: boolean): void }) {
  const [typed, setTyped] = useState("");
  // What can't be typed is typed as it is shown.
  const fits = typed === name || typed === visible(name);
  return (
    <Dialog title={title} onClose={() => answer(false)}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (fits) answer(true);
        }}
      >
        <div>{body}</div>
        <p class="confirm-name">
          Type{" "}
          <code>
            <Text value={name} />
          </code>{" "}
          to confirm.
        </p>
        <Field label="Name">
          <TextInput value={typed} onInput={setTyped} mono autofocus />
        </Field>
        <div class="row end">
          <Button onClick={() => answer(false)}>Cancel</Button>
          <Button kind="danger" type="submit" disabled={!fits}>
            {action}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
