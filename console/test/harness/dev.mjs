/**
 * A web server before a circled server, as a proxy would be: passes all on without the prefix. If the server's binary has no
 * console, or CONSOLE_DIST is set, it serves dist/ at `<prefix>/console/` with the server's headers; with CONSOLE_EMBEDDED set, the
 * tests fail instead (see server.ts). By hand: `node test/harness/dev.mjs [port]` starts both, with a folder of their own.
 */

import { createReadStream, existsSync } from "node:fs";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { extname, join } from "node:path";

export const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const HEADERS = {
  "content-security-policy": CSP,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain" };
const DIST = join(process.cwd(), "dist");

/** Starts it on `port`, before the server at `target`. Returns the server. */
export async function startProxy({ port, target, prefix = "" }) {
  let isOwn = Boolean(process.env.CONSOLE_DIST);
  const server = createServer((incoming, response) => {
    const path = new URL(incoming.url, "http://localhost").pathname;
    if (isOwn && path.startsWith(`${prefix}/console/`)) {
      const file = join(DIST, path.slice(`${prefix}/console/`.length) || "index.html");
      const isThere = file.startsWith(DIST) && existsSync(file);
      response.writeHead(isThere ? 200 : 404, { ...HEADERS, "content-type": `${TYPES[extname(file)]}; charset=utf-8` });
      if (isThere) createReadStream(file).pipe(response);
      else response.end();
      return;
    }
    if (!path.startsWith(prefix)) {
      response.writeHead(404).end();
      return;
    }
    const { method, headers } = incoming;
    const onward = request({
      port: target,
      host: "127.0.0.1",
      method,
      headers,
      path: incoming.url.slice(prefix.length),
    });
    onward.on("response", (reply) => {
      if (path === `${prefix}/console/` && reply.statusCode === 404 && !process.env.CONSOLE_EMBEDDED) {
        isOwn = true;
        reply.resume();
        response.writeHead(307, { location: path }).end();
        return;
      }
      response.writeHead(reply.statusCode, reply.headers);
      reply.pipe(response);
    });
    onward.on("error", () => response.writeHead(502).end());
    incoming.pipe(onward);
  });
  server.on("upgrade", (incoming, socket, head) => {
    const onward = connect(target, "127.0.0.1");
    const lines = [`${incoming.method} ${incoming.url.slice(prefix.length)} HTTP/1.1`];
    for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
      lines.push(`${incoming.rawHeaders[at]}: ${incoming.rawHeaders[at + 1]}`);
    }
    onward.write(`${lines.join("\r\n")}\r\n\r\n`);
    onward.write(head);
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ]) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  await new Promise((resolve, reject) => server.on("error", reject).listen(port, "127.0.0.1", resolve));
  return server;
}

/** Starts both, until it is interrupted. */
async function main() {
  const { spawn } = await import("node:child_process");
  const { mkdtempSync } = await import("node:fs");
  const { tmpdir } = await import("node:os");
  const port = Number(process.argv[2] ?? 8090);
  const { CIRCLED_TEST_BINARY: binary = "../target/debug/circled", ...env } = process.env;
  spawn(binary, ["serve"], {
    stdio: "inherit",
    env: {
      ...env,
      STRIPE_WEBHOOK_SECRET: "whsec_test",
      CIRCLED_SERVER__LISTEN: `127.0.0.1:${port + 1}`,
      CIRCLED_SERVER__ADMIN_LISTEN: "",
      CIRCLED_SERVER__PUBLIC_URL: `ws://127.0.0.1:${port}`,
      CIRCLED_DISPATCH__EMBEDDED__DATA_DIR: mkdtempSync(join(tmpdir(), "circled-console-")),
    },
  }).on("exit", (code) => process.exit(code ?? 1));
  await startProxy({ port, target: port + 1 });
  process.stdout.write(`http://127.0.0.1:${port}/console/\n`);
}

if (process.argv[1]?.endsWith("dev.mjs")) await main();
