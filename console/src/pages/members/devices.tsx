/** The device keys of the caller: keys of browsers and programs that act for them. */

import type { Device } from "@circled/client";
import { thisDevice } from "../../login/login.js";
import type { Session } from "../../session.js";
import { Badge } from "../../ui/badge.js";
import { Button } from "../../ui/button.js";
import { confirmByName } from "../../ui/dialog.js";
import { ErrorNote } from "../../ui/error.js";
import { Key } from "../../ui/key.js";
import { Panel } from "../../ui/panel.js";
import { Text, visible } from "../../ui/text.js";
import { now, Time } from "../../ui/time.js";
import { toast, toastError } from "../../ui/toast.js";
import { useLive } from "../../ui/use-live.js";

export function Devices({ session }: { session: Session }) {
  const { circle, me } = session;
  const { value, error, reload } = useLive(session, "circle.device_key_", async () => await circle.listDeviceKeys(), [
    circle,
    me.device,
  ]);
  const devices = [...(value?.device_keys ?? [])].sort((a, b) => b.added_at.localeCompare(a.added_at));
  return (
    <Panel title="Your device keys">
      <div class="stack">
        <ErrorNote error={error} />
        {value && devices.length === 0 && (
          <p class="hint">
            None. A device key logs in for you without a prompt: after a login by a wallet, a browser keeps one, and so
            does <code>circled login</code>. It can't manage the circle.
          </p>
        )}
        {devices.length > 0 && (
          <ul class="devices" aria-label="Device keys">
            {devices.map((device) => (
              <li key={device.pubkey}>
                <DeviceCard device={device} isThis={device.pubkey === thisDevice()} />
                <Button small kind="quiet" onClick={() => remove(session, device, reload)}>
                  Remove…
                </Button>
              </li>
            ))}
          </ul>
        )}
        {me.device && (
          <p class="hint">
            This session is by a device key, which sees itself alone. Log in by your own key to see all.
          </p>
        )}
      </div>
    </Panel>
  );
}

function DeviceCard({ device, isThis }: { device: Device; isThis: boolean }) {
  const { pubkey, label, scope, added_at, last_used_at, expires_at } = device;
  const isOver = Date.parse(expires_at) <= now.value;
  return (
    <div class="device">
      <div class="row">
        <strong>
          <Text value={label} />
        </strong>
        {isThis && <Badge>this browser</Badge>}
        {isOver && <Badge>expired</Badge>}
      </div>
      <Key pubkey={pubkey} />
      <span class="hint">
        may <Text value={scope.join(", ")} />
      </span>
      <span class="hint">
        added <Time at={added_at} /> · last used {last_used_at ? <Time at={last_used_at} /> : "never"} ·{" "}
        {isOver ? "expired" : "expires"} <Time at={expires_at} />
      </span>
    </div>
  );
}

async function remove({ circle, me }: Session, { pubkey, label }: Device, onRemoved: () => void): Promise<void> {
  const isThis = pubkey === me.device;
  const body = (
    <p>
      {isThis ? "This is the key of this browser: its sessions end now." : "Its sessions end now, on all servers."} What
      it has submitted ends when it is due.
    </p>
  );
  // A label that nobody can type.
  const name = visible(label) === label ? label : pubkey.slice(-8);
  if (!(await confirmByName({ title: "Remove a device key", body, name, action: "Remove" }))) return;
  try {
    await circle.removeDeviceKey({ pubkey });
    toast("The device key is removed");
  } catch (error) {
    toastError(error);
  }
  onRemoved();
}
