import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff, type Input, type Phase, START, type State, step } from "../dist/state.js";

const why = new Error("why");

/** Feeds inputs from the start, with the middle of all random numbers. Returns the state, and the last effects. */
function after(...inputs: (Input | Input["type"])[]) {
  let state: State = START;
  let effects: unknown = [];
  for (const input of inputs) {
    const full = (typeof input === "string" ? { type: input, error: why } : input) as Input;
    ({ state, effects } = step(state, full, 0.5));
  }
  return { state, effects };
}

const LOGIN = ["due", "opened"] as const;
const READY = [...LOGIN, "loggedIn"] as const;
const PHASES: Record<Phase, readonly Input["type"][]> = {
  waiting: [],
  dialling: ["due"],
  login: LOGIN,
  ready: READY,
  closed: ["close"],
};

test("each input does what the table says, in each phase", () => {
  const table: Record<Input["type"], Partial<Record<Phase, [Phase, ...unknown[]]>>> = {
    due: { waiting: ["dialling", "dial"] },
    wake: {
      waiting: ["dialling", "dial"],
      dialling: ["dialling", "redial"],
      login: ["login", "check"],
      ready: ["ready", "check"],
    },
    opened: { dialling: ["login", "login"] },
    loggedIn: { login: ["ready", "ready"] },
    heard: {},
    late: { waiting: ["closed", "drop", "end"], dialling: ["closed", "drop", "end"] },
    lost: {
      dialling: ["waiting", "drop", { wait: 375 }],
      login: ["waiting", "drop", { wait: 375 }],
      ready: ["waiting", "drop", { wait: 375 }],
    },
    refused: {
      dialling: ["closed", "drop", "end"],
      login: ["closed", "drop", "end"],
      ready: ["closed", "drop", "end"],
    },
    close: {
      waiting: ["closed", "drop", "end"],
      dialling: ["closed", "drop", "end"],
      login: ["closed", "drop", "end"],
      ready: ["closed", "drop", "end"],
    },
  };
  for (const [input, cells] of Object.entries(table)) {
    for (const [phase, before] of Object.entries(PHASES) as [Phase, Input["type"][]][]) {
      const { state, effects } = after(...before, input as Input["type"]);
      const [expected, ...todo] = cells[phase] ?? [phase];
      assert.deepEqual([state.phase, effects], [expected, todo], `${input} in ${phase}`);
      if (state.phase === "closed") assert.equal(state.error, why);
    }
  }
});

test("who is late may still finish a login that is under way, once", () => {
  assert.equal(after(...LOGIN, "late", "loggedIn").state.phase, "ready");
  assert.deepEqual(after(...LOGIN, "late", "lost"), {
    state: { phase: "closed", failures: 0, wasReady: false, isLate: true, error: why },
    effects: ["drop", "end"],
  });
  assert.equal(after(...READY, "late", "lost").state.phase, "waiting");
  assert.equal(after(...LOGIN, "late", "loggedIn", "lost").state.phase, "waiting");
  assert.equal(after(...READY, "lost", "late").state.phase, "waiting");
  const last = new Error("last");
  assert.equal(after("due", { type: "lost", error: last }, "late").state.error, last);
});

test("waits double, from a quarter of a second to half a minute, until a message comes", () => {
  const most = Array.from({ length: 9 }, (_, n) => backoff(n + 1, 1));
  assert.deepEqual(most, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  for (const failures of [1, 5, 1e9]) assert.equal(backoff(failures, 0), 250);
  const twice = after("due", "lost", "due", "lost");
  assert.deepEqual(twice.effects, ["drop", { wait: 625 }]);
  assert.deepEqual(after("due", "lost", "due", "opened", "loggedIn", "lost").effects, ["drop", { wait: 625 }]);
  assert.deepEqual(after("due", "lost", "due", "opened", "loggedIn", "heard", "lost").effects, ["drop", { wait: 375 }]);
  assert.deepEqual(
    after("due", { type: "lost", error: Object.assign(new Error("busy"), { retryAfter: 5000 }) }).effects,
    ["drop", { wait: 5000 }],
  );
  assert.equal(after("due", "lost", "lost", "wake").state.failures, 0);
});

test("no inputs in any order lead out of closed, or to a second socket", () => {
  const inputs: Input["type"][] = ["due", "wake", "opened", "loggedIn", "heard", "late", "lost", "refused", "close"];
  let seed = 1;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  for (let run = 0; run < 500; run++) {
    let state = START;
    let sockets = 0;
    let ends = 0;
    for (let n = 0; n < 60; n++) {
      const type = inputs[Math.floor(random() * inputs.length * (n < 40 ? 0.8 : 1))] as Input["type"];
      const next = step(state, { type, error: why } as Input, random());
      for (const effect of next.effects) {
        if (effect === "dial") sockets++;
        if (effect === "drop") sockets = 0;
        if (effect === "end") ends++;
        if (typeof effect === "object") assert.ok(effect.wait >= 250 && effect.wait <= 30_000);
      }
      assert.ok(sockets <= 1 && ends <= 1);
      if (state.phase === "closed") assert.equal(next.state, state);
      assert.equal(next.state.phase === "closed", ends === 1);
      state = next.state;
    }
  }
});
