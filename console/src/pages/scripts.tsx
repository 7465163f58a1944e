/** The page of scripts: the list, a script, a new one, or the scratch pad. */

import "./tabs.css";
import "./scripts.css";
import { route } from "../router.js";
import type { Session } from "../session.js";
import { SCRATCH } from "./scripts/drafts.js";
import { ScriptList } from "./scripts/list.js";
import { NewScript } from "./scripts/new.js";
import { Scratch } from "./scripts/scratch.js";
import { ScriptView } from "./scripts/view.js";

export function ScriptsPage({ session }: { session: Session }) {
  const [name] = route.value.rest;
  if (!name) return <ScriptList session={session} />;
  if (name === "-new") return <NewScript session={session} />;
  if (name === SCRATCH) return <Scratch session={session} />;
  return <ScriptView key={name} session={session} name={name} />;
}
