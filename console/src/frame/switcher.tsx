import { circles } from "../login/circles.js";
import { formatHash, openLogin } from "../router.js";
import type { Session } from "../session.js";
import { Icon } from "../ui/icon.js";
import { shortKey } from "../ui/key.js";

const OTHER = "other";

/** Shows the circle, and goes to another one of those used before. */
export function CircleSwitcher({ session }: { session: Session }) {
  const known = [session.pk, ...circles.value.map(({ pk }) => pk).filter((pk) => pk !== session.pk)];
  return (
    <div class="switcher">
      <select
        class="input select mono"
        aria-label="Circle"
        title={session.pk}
        value={session.pk}
        onChange={(event) => {
          const { value } = event.currentTarget;
          event.currentTarget.value = session.pk;
          if (value === OTHER) openLogin();
          else location.hash = formatHash(value, "overview");
        }}
      >
        {known.map((pk) => (
          <option key={pk} value={pk} selected={pk === session.pk}>
            {shortKey(pk)}
          </option>
        ))}
        <option value={OTHER}>Another circle…</option>
      </select>
      <Icon name="chevron" />
    </div>
  );
}
