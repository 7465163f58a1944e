import type { Json } from "@circled/client";
import { useState } from "preact/hooks";
import type { Session } from "../../session.js";
import { CopyButton } from "../../ui/copy.js";
import { Pre } from "../../ui/pre.js";
import { snippets } from "./snippets.js";

/** A call as code, to be copied. */
export function Code(props: { session: Session; method: string; params: { [name: string]: Json } }) {
  const [title, setTitle] = useState("JSON");
  const { circle, wsUrl } = props.session;
  const all = snippets(props.method, props.params, wsUrl, circle);
  const shown = all.find((one) => one.title === title) ?? all[0];
  if (!shown) return null;
  return (
    <section class="api-code" aria-label="As code">
      <div class="tabs" role="group" aria-label="As code">
        {all.map((one) => (
          <button key={one.title} type="button" aria-pressed={one === shown} onClick={() => setTitle(one.title)}>
            {one.title}
          </button>
        ))}
        <span class="grow" />
        <CopyButton text={shown.code} label={`Copy as ${shown.title}`} />
      </div>
      <Pre text={shown.code} label={shown.title} />
      {shown.note && <p class="muted">{shown.note}</p>}
    </section>
  );
}
