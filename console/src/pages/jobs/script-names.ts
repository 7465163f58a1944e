import { may, type Session } from "../../session.js";
import { useLive } from "../../ui/use-live.js";

/** Returns the names of the circle's scripts, for those who may call them. */
export function useScriptNames(session: Session): readonly string[] {
  const isPermitted = may(session, "call").ok;
  const { value = [] } = useLive(
    session,
    "circle.script_",
    async () => {
      if (!isPermitted) return [];
      return (await session.circle.listScripts()).scripts.map(({ name }) => name);
    },
    [session.circle, isPermitted],
  );
  return value;
}
