import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { dial, type SocketLike } from "../dist/socket.js";

/** A socket that does nothing by itself. */
class StillSocket implements SocketLike {
  static last: StillSocket | undefined;
  bufferedAmount = 0;
  isClosed = false;
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;

  constructor() {
    StillSocket.last = this;
  }

  send(): void {}

  close(): void {
    this.isClosed = true;
  }
}

function open(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const told: string[] = [];
  const socket = dial("ws://127.0.0.1/", StillSocket, {
    onOpen: () => void told.push("open"),
    onText: (text) => void told.push(text),
    onEnd: (error) => void told.push(`${error.message} ${error.mayPass}`),
  });
  const { last } = StillSocket;
  assert.ok(last);
  return { socket, last, told };
}

const event = (fields: object) => fields as never;

test("a server that doesn't accept the connection in ten seconds is given up", (t) => {
  const { last, told } = open(t);
  t.mock.timers.tick(9999);
  assert.deepEqual([told, last.isClosed], [[], false]);
  t.mock.timers.tick(1);
  assert.deepEqual([told, last.isClosed], [["the server took too long true"], true]);
});

test("a connection that was accepted in time stays", (t) => {
  const { last, told } = open(t);
  last.onopen?.(event({}));
  t.mock.timers.tick(60_000);
  last.onmessage?.(event({ data: "text" }));
  last.onmessage?.(event({ data: new ArrayBuffer(1) }));
  last.onclose?.(event({ code: 1001, reason: "stopping" }));
  last.onclose?.(event({ code: 1006, reason: "" }));
  assert.deepEqual(told, ["open", "text", "the server closed the connection (1001: stopping) true"]);
});

test("a socket that was given up says nothing more", (t) => {
  const { socket, last, told } = open(t);
  last.onopen?.(event({}));
  socket.drop();
  assert.ok(last.isClosed);
  last.onmessage?.(event({ data: "text" }));
  last.onerror?.(event({}));
  last.onclose?.(event({ code: 1000, reason: "" }));
  assert.deepEqual(told, ["open"]);
});
