import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Heartbeat } from "../dist/heartbeat.js";

/** A heartbeat with a clock of the test's own, and what it did. */
class Fixture {
  now = 0;
  unsent = 0;
  isOwed = true;
  readonly did: string[] = [];
  readonly heart = new Heartbeat(() => this.now);
  readonly #tick: (ms: number) => void;

  constructor(t: TestContext) {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    this.#tick = (ms) => t.mock.timers.tick(ms);
    this.start();
  }

  start(): void {
    this.heart.start({
      ask: () => void this.did.push(`ask ${this.now}`),
      unsent: () => this.unsent,
      isOwed: () => this.isOwed,
      onSilent: () => {
        this.did.push(`silent ${this.now}`);
        this.heart.stop();
      },
    });
  }

  /** Returns how long each connection was, of those that began 100 s after each other and went silent. */
  silences(): number[] {
    return this.did.filter((line) => line.startsWith("silent")).map((line) => Number(line.split(" ")[1]) % 100_000);
  }

  /** Lets time pass, a second at a time. */
  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 1000) {
      this.now += 1000;
      this.#tick(1000);
    }
  }

  /** Lets time pass while timers are held back: then all that were due in `ms` come at once. */
  sleep(time: number, ms: number): void {
    this.now += time;
    this.#tick(ms);
  }
}

test("a connection without a word is given up within ten seconds", (t) => {
  const fixture = new Fixture(t);
  fixture.pass(3000);
  fixture.heart.heard();
  fixture.pass(60_000);
  assert.deepEqual(fixture.did, ["ask 8000", "silent 12000"]);
});

test("any message is an answer, and while some come nothing is asked", (t) => {
  const fixture = new Fixture(t);
  fixture.pass(5000);
  fixture.heart.heard();
  for (let n = 0; n < 20; n++) {
    fixture.pass(4000);
    fixture.heart.heard();
  }
  assert.deepEqual(fixture.did, ["ask 5000"]);
  fixture.pass(8000);
  assert.deepEqual(fixture.did, ["ask 5000", "ask 90000"]);
});

test("it asks at once when the page is back", (t) => {
  const fixture = new Fixture(t);
  fixture.pass(1000);
  fixture.heart.check();
  fixture.heart.check();
  fixture.pass(4000);
  assert.deepEqual(fixture.did, ["ask 1000", "silent 5000"]);
  fixture.heart.check();
  assert.equal(fixture.did.length, 2, "it has stopped");
});

test("a timer that was held back is no proof", (t) => {
  const fixture = new Fixture(t);
  fixture.pass(5000);
  // The page slept for a minute, and its timers come all at once.
  fixture.sleep(60_000, 4000);
  assert.deepEqual(fixture.did, ["ask 5000", "ask 65000"]);
  fixture.sleep(60_000, 4000);
  assert.deepEqual(fixture.did, ["ask 5000", "ask 65000", "silent 125000"]);
});

test("a server that takes what is sent is there", (t) => {
  const fixture = new Fixture(t);
  fixture.unsent = 300;
  fixture.pass(5000);
  fixture.unsent = 200;
  fixture.pass(4000);
  assert.deepEqual(fixture.did, ["ask 5000", "ask 9000"]);
  fixture.pass(4000);
  assert.deepEqual(fixture.did, ["ask 5000", "ask 9000", "silent 13000"]);
});

test("where no reply is due, one after the other is given up within ten seconds", (t) => {
  const fixture = new Fixture(t);
  for (const isOwed of [true, true, false, false, true]) {
    fixture.isOwed = isOwed;
    fixture.pass(100_000);
    fixture.start();
  }
  assert.deepEqual(fixture.silences(), [9000, 13_000, 9000, 9000, 21_000]);
});

test("a connection that is given up soon while replies are due gets more patience the next time, until one has lived", (t) => {
  const fixture = new Fixture(t);
  for (let n = 0; n < 6; n++) {
    fixture.pass(100_000);
    fixture.start();
  }
  assert.deepEqual(fixture.silences(), [9000, 13_000, 21_000, 35_000, 35_000, 35_000]);
  for (let n = 0; n < 20; n++) {
    fixture.pass(4000);
    fixture.heart.heard();
  }
  fixture.did.length = 0;
  const last = fixture.now;
  fixture.pass(20_000);
  assert.deepEqual(fixture.did, [`ask ${last + 5000}`, `silent ${last + 9000}`]);
});
