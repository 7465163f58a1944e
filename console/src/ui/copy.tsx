import { useState } from "preact/hooks";
import { Button } from "./button.js";
import { Icon } from "./icon.js";
import { toastError } from "./toast.js";

/** Copies a text. Pages that aren't secure have no clipboard. */
async function copyText(text: string): Promise<void> {
  if (!navigator.clipboard) throw new Error("browsers copy on https:// and on localhost only: select the text instead");
  await navigator.clipboard.writeText(text);
}

/** A small button that copies a text. `label` says what: "Copy the key". */
export function CopyButton({ text, label }: { text: string | (() => string); label: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    await copyText(typeof text === "string" ? text : text());
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <Button
      kind="quiet"
      small
      label={isDone ? "Copied" : label}
      onClick={() => copy().catch(toastError)}
      class="icon-only"
    >
      <Icon name={isDone ? "check" : "copy"} />
    </Button>
  );
}
