import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Component, createElement, type ReactNode, StrictMode } from "react";
import { create, type ReactTestRenderer } from "react-test-renderer";
import { type Circle, type CircleEvent, ClosedError, type Gap } from "../dist/index.js";
import { CircleProvider, useCircle, useEvents, useWatch } from "../dist/react.js";
import { newCircle, serve } from "./harness/circle.js";
import { reports } from "./harness/reports.js";
import { eventually } from "./harness/server.js";

/** Renders components below a circle, as React does while an app is developed: everything begins twice. */
function render(t: TestContext, circle: Circle, ...children: ReactNode[]): ReactTestRenderer {
  const element = createElement(StrictMode, null, createElement(CircleProvider, { circle }, ...children));
  const rendered = create(element);
  t.after(() => rendered.unmount());
  return rendered;
}

/** Waits for what is shown. */
async function shows(rendered: ReactTestRenderer, expected: string): Promise<void> {
  const shown = () => [rendered.toJSON()].flat().join(" ");
  await eventually(`${expected}, not ${shown()}`, () => shown() === expected);
}

function Count({ by = 2 }: { readonly by?: number }): string {
  const { value, status } = useWatch<number>({ script: 'store.get("n", 0) * ARGS.by' }, { by });
  return `${status} ${value}`;
}

/** Shows nothing of the events, and hands them on. */
function Chat(props: { readonly seen?: unknown[]; readonly ends: Error[] }): string {
  const onEvent = (event: CircleEvent | Gap) => void props.seen?.push("gap" in event ? event : event.data);
  useEvents("chat.", onEvent, { since: 0, onEnd: (error) => void props.ends.push(error) });
  return "chat";
}

/** Fails at the first event. */
function Picky({ seen }: { readonly seen: unknown[] }): string {
  const onEvent = (event: CircleEvent | Gap) => {
    if ("gap" in event || event.data === 1) throw new Error("of the page");
    seen.push(event.data);
  };
  useEvents("chat.", onEvent, { since: 0 });
  return "picky";
}

/** Shows the error of what is in it. */
class Boundary extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};
  static getDerivedStateFromError = (error: Error) => ({ error });
  override render = () => this.state.error?.message ?? this.props.children;
}

function Phase(): string {
  return useCircle().connection.phase;
}

test("components show the value, again whenever it changes, and how the connection is", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const rendered = render(t, circle, createElement(Count), createElement(Count), createElement(Phase));
  await shows(rendered, "live 0 live 0 ready");
  await circle.play('store.set("n", 21)');
  await shows(rendered, "live 42 live 42 ready");
  await server.kill();
  await shows(rendered, "stale 42 stale 42 waiting");
  await server.restart();
  await shows(rendered, "live 42 live 42 ready");
  circle.close();
  await shows(rendered, "ended 42 ended 42 closed");
});

test("a component with other arguments shows their value", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  await circle.play('store.set("n", 7)');
  const rendered = render(t, circle, createElement(Count, { by: 2 }));
  await shows(rendered, "live 14");
  rendered.update(
    createElement(StrictMode, null, createElement(CircleProvider, { circle }, createElement(Count, { by: 3 }))),
  );
  await shows(rendered, "live 21");
});

test("components get events while they are there", async (t) => {
  const server = await serve(t, { rest: "[session]\nmax_subscriptions = 1" });
  const circle = await newCircle(t, server).connect(server.port);
  const seen: unknown[] = [];
  const ends: Error[] = [];
  await circle.play('emit("chat.a", 1); emit("other", 2)');
  const rendered = render(t, circle, createElement(Chat, { seen, ends }));
  await eventually("an event", () => seen.length > 0);
  rendered.update(createElement(StrictMode, null, createElement(CircleProvider, { circle })));
  await circle.play('emit("chat.a", 3)');
  // The place is free again, and the component has seen nothing more.
  assert.equal(await circle.events().started, 3);
  assert.deepEqual([seen, ends], [[1], []]);
});

test("a component that fails at one event gets the next one", async (t) => {
  const server = await serve(t);
  const circle = await newCircle(t, server).connect(server.port);
  const reported = reports(t);
  const seen: unknown[] = [];
  await circle.play('emit("chat.a", 1); emit("chat.a", 2)');
  render(t, circle, createElement(Picky, { seen }));
  await eventually("the next event", () => seen.length > 0);
  assert.deepEqual([seen, reported.map(String)], [[2], ["Error: of the page"]]);
});

test("the end of a subscription is told", async (t) => {
  const server = await serve(t, { rest: '[circles]\nsubscribe = "owner"' });
  const own = newCircle(t, server);
  const circle = await own.connect(server.port, { signer: undefined });
  const ends: Error[] = [];
  render(t, circle, createElement(Chat, { ends }));
  await eventually("the end", () => ends.length > 0);
  assert.equal(ends[0]?.name, "AuthenticationRequiredError");
  assert.ok(!(ends[0] instanceof ClosedError));
});

test("without a provider, the error says so", async (t) => {
  // React tells of the error, too.
  t.mock.method(console, "error", () => {});
  const rendered = create(createElement(Boundary, null, createElement(Phase)));
  await shows(rendered, "there is no <CircleProvider> above this component");
});
