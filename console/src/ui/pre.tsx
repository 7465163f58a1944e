import { Text } from "./text.js";

/** A text with its line breaks, in a box that scrolls, by the keyboard, too. */
export function Pre({ text, label }: { text: string; label: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: who has no pointer scrolls it by the keyboard
    <section class="code" aria-label={label} tabIndex={0}>
      <pre>
        <Text value={text} lines />
      </pre>
    </section>
  );
}
