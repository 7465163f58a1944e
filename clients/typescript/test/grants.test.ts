/** The proof of the real server, by a grant that `circled grant` has made. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { WebSocket } from "ws";
import { connect, type LoginExchange, ServerProofError } from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { failure, serve } from "./harness/circle.js";
import { binary, environment } from "./harness/server.js";

const ORIGIN = "wss://circles.example.org";
const owner = SecretKey.generate();

test("a server that was granted a circle proves it, and at no other origin", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "circled-grant-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const circled = (...args: string[]) =>
    execFileSync(binary(), args, { cwd: folder, env: environment(), encoding: "utf8" }).trim();
  writeFileSync(join(folder, "circle.key"), owner.revealHex(), { mode: 0o600 });
  const key = circled("keygen", "server.key");
  const grant = circled("grant", "--key", "circle.key", "--server", key, "--origin", ORIGIN);
  const server = await serve(t, {
    server: `public_url = "${ORIGIN}"\nkey = "file:${join(folder, "server.key")}"`,
    rest: `[[circle]]\nkey = "${owner.pubkey}"\n${grant}`,
  });

  let asked = 0;
  const signer = {
    login: (exchange: LoginExchange) => {
      asked += 1;
      return keySigner(owner).login(exchange);
    },
  };
  const url = `${server.origin}/${owner.pubkey}`;
  const circle = await connect({ url, origin: ORIGIN, requireProof: true, signer, WebSocket });
  assert.equal((await circle.whoami()).role, "owner");
  circle.close();
  assert.equal(asked, 1);

  // This server is none for the name that was dialled.
  const error = await failure(connect({ url, signer, WebSocket }));
  assert.ok(error instanceof ServerProofError, String(error));
  assert.match(error.message, /its grant is for wss:\/\/circles.example.org/);
  assert.equal(asked, 1);
});
