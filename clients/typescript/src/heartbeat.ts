/**
 * Notices a connection that is gone without having said so: within 9 seconds, from the last message that came. A browser
 * can't send a ping of WebSockets, so it is a small request.
 *
 * A page in the background gets its timers late (up to a minute), and what has come in the meantime may not have been handed
 * over yet. So who is late asks once more. A large reply comes as a whole, and keeps others waiting on a slow line: so if a
 * connection was given up soon after it was made, while replies were due, the next one waits for twice as long for them.
 */

/** Nothing came for so long: ask. */
const QUIET = 5000;
/** The least and the longest wait for the answer. */
const PATIENCE = 4000;
const MOST_PATIENCE = 30_000;
/** A timer that is later than this was held back. */
const LATE = 2000;
/** A connection that lived for so long was not given up too early. */
const STEADY = 60_000;

/** What a heartbeat needs. */
export interface Pulse {
  /** Asks the server for any message. */
  ask(): void;
  /** Bytes that wait to be sent: if they get fewer, somebody takes them. */
  unsent(): number;
  /** There are requests without a reply. */
  isOwed(): boolean;
  /** There is no answer. */
  onSilent(): void;
}

export class Heartbeat {
  readonly #now: () => number;
  #pulse: Pulse | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #patience = PATIENCE;
  #begun = 0;
  #heard = 0;
  /** When it asked, if there is no answer yet. */
  #asked: number | undefined;
  #askedAgain = false;
  #unsent = 0;
  /** A reply was due when it asked, so a large one may be on its way. */
  #isOwed = false;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Begins with a new connection. */
  start(pulse: Pulse): void {
    this.stop();
    this.#pulse = pulse;
    this.#begun = this.#now();
    this.heard();
    this.#wait(QUIET);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#pulse = undefined;
  }

  /** Notes that a message has come. */
  heard(): void {
    this.#heard = this.#now();
    this.#asked = undefined;
    this.#askedAgain = false;
  }

  /** Asks at once: the page may have slept. */
  check(): void {
    if (this.#asked === undefined) this.#ask();
  }

  #ask(): void {
    const pulse = this.#pulse;
    if (!pulse) return;
    if (this.#isSteady()) this.#patience = PATIENCE;
    this.#asked = this.#now();
    this.#unsent = pulse.unsent();
    // When it asks once more, its own first question has no reply yet.
    if (!this.#askedAgain) this.#isOwed = pulse.isOwed();
    this.#wait(this.#isOwed ? this.#patience : PATIENCE);
    pulse.ask();
  }

  #isSteady(): boolean {
    return this.#now() - this.#begun > STEADY;
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    const due = this.#now() + ms;
    this.#timer = setTimeout(() => this.#onTimer(this.#now() - due > LATE), ms);
  }

  #onTimer(isLate: boolean): void {
    const now = this.#now();
    if (this.#asked === undefined) {
      const rest = this.#heard + QUIET - now;
      if (rest > 0) this.#wait(rest);
      else this.#ask();
      return;
    }
    const unsent = this.#pulse?.unsent() ?? 0;
    if (unsent < this.#unsent || (isLate && !this.#askedAgain)) {
      this.#askedAgain = true;
      this.#ask();
      return;
    }
    if (this.#isOwed && !this.#isSteady()) this.#patience = Math.min(this.#patience * 2, MOST_PATIENCE);
    this.#pulse?.onSilent();
  }
}
