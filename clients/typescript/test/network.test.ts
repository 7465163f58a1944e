import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { type Circle, connect } from "../dist/index.js";
import { keySigner, SecretKey } from "../dist/keys.js";
import { CuttingProxy } from "./harness/proxy.js";
import { TestServer } from "./harness/server.js";

const CLIENTS = 60;
const CUTS = 1000;
/** About twice what a login takes: some connections are cut before it, some in the midst of events and replies. */
const LONGEST = 6000;

const COUNT = `
  let count = store.incr("count/" + CALLER_ID, 1);
  emit("count", #{ who: CALLER_ID, number: ARGS.number, count: count });
  count`;

interface Counted {
  who: string;
  number: number;
  count: number;
}

test("through a network that is cut 1,000 times, each event comes once, in order, and each call happens once", async (t) => {
  const server = await TestServer.start();
  const proxy = await CuttingProxy.start(server.port, CUTS, LONGEST, 20_261_130);
  const circle = SecretKey.fromHex("11".repeat(32)).pubkey;
  const keys = Array.from({ length: CLIENTS }, (_, at) => SecretKey.fromHex((at + 1).toString(16).padStart(64, "0")));
  const url = `ws://127.0.0.1:${proxy.port}/${circle}`;
  // The server is dialled by another name than its own.
  const open = (key: SecretKey) => connect({ url, origin: server.origin, signer: keySigner(key), WebSocket });
  const clients: Circle[] = [];
  try {
    clients.push(...(await Promise.all(keys.map(open))));
    const received = clients.map((client) => client.events<Counted>("count", { since: 0 }));

    const made = await Promise.all(
      clients.map(async (client) => {
        let calls = 0;
        const callUntilCut = async (): Promise<void> => {
          while (proxy.left > 0) await client.play(COUNT, { number: calls++ });
        };
        await Promise.all([callUntilCut(), callUntilCut()]);
        return calls;
      }),
    );
    assert.equal(proxy.left, 0);

    const total = made.reduce((sum, calls) => sum + calls, 0);
    t.diagnostic(`${total} calls, ${total * CLIENTS} events`);
    for (const events of received) {
      const ids: number[] = [];
      const seen = new Map(keys.map(({ pubkey }) => [pubkey, { calls: new Set<number>(), count: 0 }]));
      for await (const event of events) {
        assert.ok(!("gap" in event));
        ids.push(event.id);
        const of = seen.get(event.data.who);
        assert.ok(of);
        // In the order of the commits, so the counts go up by one.
        of.count += 1;
        assert.equal(event.data.count, of.count);
        of.calls.add(event.data.number);
        if (ids.length === total) break;
      }
      assert.deepEqual(
        ids,
        Array.from({ length: total }, (_, at) => at + 1),
      );
      const perClient = keys.map(({ pubkey }) => [seen.get(pubkey)?.count, seen.get(pubkey)?.calls.size]);
      assert.deepEqual(
        perClient,
        made.map((calls) => [calls, calls]),
      );
    }
  } finally {
    for (const client of clients) client.close();
    await proxy.stop();
    await server.stop();
  }
});
