import { useState } from "preact/hooks";
import { may, type Session } from "../../session.js";
import { Button } from "../../ui/button.js";
import { ErrorNote } from "../../ui/error.js";
import { Field, TextInput } from "../../ui/field.js";
import { Time } from "../../ui/time.js";
import { toast } from "../../ui/toast.js";
import { EXPIRE } from "./scripts.js";

/** When a key expires, and a form to change that. */
export function Expiry({ session, name, expires }: { session: Session; name: string; expires: number | null }) {
  const [ttl, setTtl] = useState("");
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const mayPlay = may(session, "play");
  const why = mayPlay.ok ? undefined : mayPlay.why;
  const set = async (ttl: string) => {
    setBusy(true);
    setError(undefined);
    try {
      const { value: had } = await session.circle.play<boolean>(EXPIRE, { key: name, ttl });
      if (had) setTtl("");
      toast(!had ? "The key is gone" : ttl ? `It expires in ${ttl}` : "It doesn't expire any more");
    } catch (error) {
      setError(error);
    }
    setBusy(false);
  };
  return (
    <form
      class="store-expiry"
      onSubmit={(event) => {
        event.preventDefault();
        if (ttl.trim() && !why) void set(ttl.trim());
      }}
    >
      <p class="muted">
        {expires === null ? (
          "Doesn't expire"
        ) : (
          <>
            Expires <Time at={expires} />
          </>
        )}
      </p>
      <Field label="Lives for" hideLabel>
        <TextInput value={ttl} onInput={setTtl} placeholder="90s, 1h, 30d" disabled={Boolean(why)} mono />
      </Field>
      <Button type="submit" disabled={!ttl.trim()} why={why} busy={isBusy}>
        Set
      </Button>
      {expires !== null && (
        <Button onClick={() => set("")} why={why} busy={isBusy}>
          Keep for good
        </Button>
      )}
      <ErrorNote error={error} />
    </form>
  );
}
