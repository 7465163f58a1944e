/** A network between the client and the server that can go silent, be cut, or lose a reply. */

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A TCP proxy. */
export class Network {
  readonly #server: Server;
  readonly #pairs = new Set<[client: Socket, server: Socket]>();
  /** How many connections it has had. */
  connections = 0;
  /** Called with what the server sends; if it returns true, the connection is cut instead. */
  losesReply: ((text: string) => boolean) | undefined;
  /** Called with what the client sends. */
  onRequest: ((text: string) => void) | undefined;

  private constructor(target: number) {
    this.#server = createServer((client) => this.#pass(client, connect(target, "127.0.0.1")));
  }

  /** Starts a proxy to this port. */
  static async start(target: number): Promise<Network> {
    const network = new Network(target);
    network.#server.listen(0, "127.0.0.1");
    await once(network.#server, "listening");
    return network;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** From now on, the connections that there are pass nothing on, without a word. New ones do. */
  silence(): void {
    for (const [client, server] of this.#pairs) {
      for (const socket of [client, server]) {
        socket.removeAllListeners("data");
        socket.removeAllListeners("close");
        socket.resume();
      }
    }
  }

  /** Cuts all connections. */
  cut(): void {
    for (const [client] of this.#pairs) client.destroy();
  }

  async stop(): Promise<void> {
    for (const [client, server] of this.#pairs) {
      client.destroy();
      server.destroy();
    }
    this.#server.close();
    await once(this.#server, "close");
  }

  #pass(client: Socket, server: Socket): void {
    this.connections++;
    const pair: [Socket, Socket] = [client, server];
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of pair) {
      socket.setNoDelay();
      socket.on("error", () => {});
      socket.on("close", end);
    }
    client.on("data", (bytes) => {
      this.onRequest?.(unmask(bytes));
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      if (this.losesReply?.(bytes.toString("latin1"))) end();
      else client.write(bytes);
    });
  }
}

/** Returns the text of a frame from a client, if it is one: its bytes are masked. */
function unmask(bytes: Buffer): string {
  const length = (bytes[1] ?? 0) & 127;
  const at = length < 126 ? 2 : length === 126 ? 4 : 10;
  const mask = bytes.subarray(at, at + 4);
  return bytes
    .subarray(at + 4)
    .map((byte, n) => byte ^ (mask[n % 4] ?? 0))
    .toString();
}
