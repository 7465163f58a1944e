/** A text of the server's description: what it has between backticks is code. */
export function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((part, n) => (n % 2 ? <code key={n}>{part}</code> : part))}</>;
}
