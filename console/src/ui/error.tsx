import { explain } from "./explain.js";

/** An error, where it has happened. */
export function ErrorNote({ error }: { error: unknown }) {
  if (!error) return null;
  const { title, detail } = explain(error);
  return (
    <div class="error-note" role="alert">
      <strong>{title}</strong>
      {detail && <span>{detail}</span>}
    </div>
  );
}
