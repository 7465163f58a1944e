/** The page of members and keys: who belongs to the circle, and the keys of whoever looks. */

import "./members.css";
import type { Session } from "../session.js";
import { Page } from "../ui/panel.js";
import { Devices } from "./members/devices.js";
import { MemberList } from "./members/list.js";
import { You } from "./members/you.js";

export function MembersPage({ session }: { session: Session }) {
  return (
    <Page title="Members and keys">
      <div class="members">
        <MemberList session={session} />
        <div class="stack">
          <You session={session} />
          {session.me.authenticated && <Devices session={session} />}
        </div>
      </div>
    </Page>
  );
}
