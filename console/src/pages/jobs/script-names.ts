import { may, type Session } from "../../session.js";
import { useAsync } from "../../ui/use-query.js";

/** Returns the names of the circle's scripts, for those who may call them. */
export function useScriptNames(session: Session): readonly string[] {
  const isPermitted = may(session, "call").ok;
  const { value = [] } = useAsync(async () => {
    if (!isPermitted) return [];
    return (await session.circle.listScripts()).scripts.map(({ name }) => name);
  }, [session.circle, isPermitted]);
  return value;
}
