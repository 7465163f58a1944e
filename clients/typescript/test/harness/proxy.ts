/** A network that fails: passes connections on, and cuts each of them after a random number of bytes. */

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Returns random numbers from 0 to 1, the same ones for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A proxy that cuts connections until it has done so often enough. */
export class CuttingProxy {
  readonly #server: Server;
  readonly #target: number;
  readonly #sockets = new Set<Socket>();
  readonly #random: () => number;
  readonly #longest: number;
  /** How many connections are still to be cut. */
  left: number;

  private constructor(target: number, cuts: number, longest: number, seed: number) {
    this.#target = target;
    this.left = cuts;
    this.#longest = longest;
    this.#random = randomNumbers(seed);
    this.#server = createServer((client) => this.#pass(client));
  }

  /** Cuts `cuts` connections to the port `target`, each after at most `longest` bytes in both directions together. */
  static async start(target: number, cuts: number, longest: number, seed: number): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target, cuts, longest, seed);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #pass(client: Socket): void {
    const server = connect(this.#target, "127.0.0.1");
    let budget = Math.ceil(this.#random() * this.#longest);
    let isCut = false;
    const end = (): void => {
      client.destroy();
      server.destroy();
    };
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay();
      from.on("close", () => {
        this.#sockets.delete(from);
        end();
      });
      from.on("error", end);
      from.on("data", (bytes) => {
        if (isCut) return;
        if (this.left <= 0 || bytes.length < budget) {
          budget -= bytes.length;
          to.write(bytes);
          return;
        }
        // What is left of the budget still arrives, so messages end anywhere.
        this.left -= 1;
        isCut = true;
        to.end(bytes.subarray(0, budget), end);
      });
    }
  }
}
