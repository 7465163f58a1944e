import { SecretKey } from "@circled/client/keys";
import { useId, useState } from "preact/hooks";
import { Icon } from "../ui/icon.js";

/** The largest file that may be a key, in bytes. */
const MAX_FILE = 1024;

interface KeyFileProps {
  readonly label: string;
  /** Why it can't be used. */
  readonly why?: string | undefined;
  readonly onKey: (key: SecretKey) => void;
}

/** A button that has the user choose a key file. Says beside it if the file is none. */
export function KeyFile({ label, why, onKey }: KeyFileProps) {
  const [isWrong, setWrong] = useState(false);
  const id = useId();
  const read = async (input: HTMLInputElement) => {
    const file = input.files?.[0];
    if (!file) return;
    const text = file.size <= MAX_FILE ? await file.text() : "";
    // The same file may be chosen again.
    input.value = "";
    let key: SecretKey | undefined;
    try {
      key = SecretKey.fromHex(text);
    } catch {}
    setWrong(!key);
    if (key) onKey(key);
  };
  return (
    <div class="key-file">
      <label class={why ? "button file off" : "button file"} title={why}>
        <Icon name="key" />
        {label}
        <input
          type="file"
          class="hidden"
          disabled={why !== undefined}
          aria-describedby={isWrong ? id : undefined}
          onChange={(event) => void read(event.currentTarget)}
        />
      </label>
      {isWrong && (
        <div id={id} class="field-error" role="alert">
          This file is no key file: it should have 64 hex digits
        </div>
      )}
    </div>
  );
}
