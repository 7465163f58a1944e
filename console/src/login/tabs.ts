/** Sessions that end in all tabs of this browser: who logs out in one, or has a key forgotten, is out in the others. */

import { PLACE } from "../local.js";
import { openLogin } from "../router.js";
import { cancelOpeningBy, closeSession, type LoginKind, session } from "../session.js";
import { forgetTexts } from "../tab-texts.js";
import { toast } from "../ui/toast.js";
import { readKeptKeys } from "./key-store.js";

/** The sessions of a caller by one kind of login: in one circle, or in all. */
export interface Ended {
  readonly login: LoginKind;
  readonly caller: string;
  readonly circle?: string;
}

const channel = new BroadcastChannel(PLACE);
channel.onmessage = ({ data }: MessageEvent<Ended>) => {
  void readKeptKeys();
  if (end(data)) toast("Logged out in another tab");
};

/** Ends these sessions, here and in the other tabs. A key of a file is in one tab's memory: that is a session of its own. */
export function endSessions(ended: Ended): void {
  if (ended.login !== "file") channel.postMessage(ended);
  end(ended);
}

/** Ends the session of this tab, if it is one of them. Returns true if it is. */
function end({ login, caller, circle }: Ended): boolean {
  cancelOpeningBy(login, circle);
  const now = session.peek();
  if (now?.login !== login || now.me.pubkey !== caller || (circle && now.pk !== circle)) return false;
  openLogin();
  closeSession();
  forgetTexts(now.pk);
  return true;
}
