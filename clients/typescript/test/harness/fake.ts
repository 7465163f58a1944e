/** A server that says what a test has it say. */

import { once } from "node:events";
import type { TestContext } from "node:test";
import { type WebSocket, WebSocketServer } from "ws";

/** What it does with a request. Returns the reply's `result` or `error`; nothing, if it doesn't reply. */
export type Answer = (
  method: string,
  params: Record<string, unknown>,
  socket: WebSocket,
  id: number,
) => { result?: unknown; error?: unknown } | undefined;

const NO_PROOF = { error: { code: -32006, message: "Not Found", data: { what: "grant" } } };

/** A WebSocket server with such replies, which has no proof. */
export class FakeServer {
  readonly #server: WebSocketServer;
  /** The methods that were called, pings of the heartbeat aside. */
  readonly methods: string[] = [];
  connections = 0;
  answer: Answer;
  proof: ReturnType<Answer> = NO_PROOF;

  private constructor(server: WebSocketServer, answer: Answer) {
    this.#server = server;
    this.answer = answer;
    server.on("connection", (socket) => {
      this.connections++;
      socket.on("message", (data) => {
        const { id, method, params } = JSON.parse(String(data));
        if (method !== "unsubscribe" || params[0] !== "") this.methods.push(method);
        const reply = method === "prove" ? this.proof : this.answer(method, params, socket, id);
        if (reply) socket.send(JSON.stringify({ jsonrpc: "2.0", id, ...reply }));
      });
    });
  }

  static async start(t: TestContext, answer: Answer = () => ({ result: true })): Promise<FakeServer> {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    t.after(() => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    });
    return new FakeServer(server, answer);
  }

  get origin(): string {
    return `ws://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  get url(): string {
    return `${this.origin}/02${"ab".repeat(32)}`;
  }

  /** Sends a notification to all. */
  notify(method: string, params: object): void {
    for (const socket of this.#server.clients) socket.send(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  /** Closes all connections. */
  close(code: number, reason: string): void {
    for (const socket of this.#server.clients) socket.close(code, reason);
  }
}
