/** Who the caller is, and their public key to give to others. */

import type { Session } from "../../session.js";
import { Badge } from "../../ui/badge.js";
import { CopyButton } from "../../ui/copy.js";
import { Panel } from "../../ui/panel.js";

export function You({ session }: { session: Session }) {
  const { pubkey, role } = session.me;
  if (!pubkey) {
    return (
      <Panel title="You">
        <p>You have not logged in, so you have no key here.</p>
      </Panel>
    );
  }
  return (
    <Panel title="You" actions={role && <Badge>{role}</Badge>}>
      <div class="stack">
        <div class="row own-key">
          <code>{pubkey}</code>
          <CopyButton text={pubkey} label="Copy your public key" />
        </div>
        <p class="hint">
          {role === "owner"
            ? "This is the circle's own key: its public half names the circle."
            : "This is your public key. Give it to the owner, who can add you as a member."}
        </p>
      </div>
    </Panel>
  );
}
