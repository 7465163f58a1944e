/** The errors, a class each. */

/** The base of all errors of this package. */
export class CircleError extends Error {
  /** True if the same may succeed later: the connection was lost, or the server is busy or stopping. */
  readonly mayPass: boolean = false;
  /** How many milliseconds to wait before the same is tried again, if the server has said so. */
  readonly retryAfter: number = 0;

  // A name stays when code is minified.
  override name = "CircleError";
}

/** The server has answered with an error. There is a class for each code. */
export class RpcError extends CircleError {
  override name = "RpcError";
  /** The code, as docs/PROTOCOL.md lists them. */
  readonly code: number;
  /** More facts: `reason`, `needs`, `limit` and the like. */
  // biome-ignore lint/suspicious/noExplicitAny: the members depend on the code, and later versions add some
  readonly data: any;
  override readonly mayPass: boolean;
  override readonly retryAfter: number;

  constructor(code: number, message: string, data?: unknown) {
    super(`${message} (${code})`);
    this.code = code;
    this.data = data ?? null;
    const { reason, retry_after_ms: after } = this.data ?? {};
    this.retryAfter = Number(after) || 0;
    this.mayPass =
      PASSING.has(code) ||
      // Without a time, it doesn't fit at all.
      (code === -32005 && this.retryAfter > 0) ||
      // The text to sign may have expired on the way.
      (code === -32002 && (reason === "no_nonce" || reason === "expired"));
  }
}

/** Internal, Timeout, Unavailable, Cancelled, Conflict. */
const PASSING = new Set([-32603, -32004, -32007, -32008, -32009]);

const CLASSES: Record<number, typeof RpcError> = {};

/** Returns the class of a code. */
function classOf(code: number, name: string): typeof RpcError {
  CLASSES[code] = class extends RpcError {
    override name = name;
  };
  return CLASSES[code];
}

/** -32602 */
export const InvalidParamsError = classOf(-32602, "InvalidParamsError");
/** -32000: the script failed. `data` has `kind`, `line`, `column`, `logs`, and `thrown` if it threw a value that is no text. */
export const ExecutionError = classOf(-32000, "ExecutionError");
/** -32001 */
export const AuthenticationRequiredError = classOf(-32001, "AuthenticationRequiredError");
/** -32002: `data.reason` says what is wrong with the login. */
export const InvalidCredentialsError = classOf(-32002, "InvalidCredentialsError");
/** -32003: `data.needs` is the role that is needed. */
export const ForbiddenError = classOf(-32003, "ForbiddenError");
/** -32004: `data.timeout_ms` is the limit that was passed. */
export const TimeoutError = classOf(-32004, "TimeoutError");
/** -32005: `data.limit` is the setting. Nothing has happened. */
export const LimitExceededError = classOf(-32005, "LimitExceededError");
/** -32006: `data.what` is missing. */
export const NotFoundError = classOf(-32006, "NotFoundError");
/** -32007 */
export const UnavailableError = classOf(-32007, "UnavailableError");
/** -32008 */
export const CancelledError = classOf(-32008, "CancelledError");
/** -32009 */
export const ConflictError = classOf(-32009, "ConflictError");

/** -32602: this `play` or `call` has happened, but the server no longer has its reply. Don't send it again under another id. */
export class ReplyDroppedError extends InvalidParamsError {
  override name = "ReplyDroppedError";
}

/** Returns the error of a reply, in the class of its code. */
export function rpcError({ code, message, data }: Pick<RpcError, "code" | "message" | "data">): RpcError {
  if (data?.reason === "reply_dropped") {
    return new ReplyDroppedError(code, "the request has happened, but its reply is not kept", data);
  }
  return new (CLASSES[code] ?? RpcError)(code, message, data);
}

/** The close code for a message that is too large. */
export const TOO_LARGE = 1009;
/** The close code of this client's own `close`. */
export const OWN_CLOSE = 1000;

/** There is no connection any more. */
export class ClosedError extends CircleError {
  override name = "ClosedError";
  override readonly mayPass: boolean = true;
  /** The close code; undefined if the connection broke without one. */
  readonly code: number | undefined;

  constructor(message: string, code?: number) {
    super(message);
    this.code = code;
  }
}

/** Returns whether it is this client that has closed the connection. */
export function isOwnClose(error: Error): boolean {
  return error instanceof ClosedError && error.code === OWN_CLOSE;
}

/** The server doesn't take connections of this page (403), or doesn't serve the circle (404). */
export class RefusedError extends CircleError {
  override name = "RefusedError";
  /** The status of the response. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A subscription or a watch has ended: the caller may not have it any more. */
export class EndedError extends CircleError {
  override name = "EndedError";
  /** The role that is needed, if the server has named it. */
  readonly needs: string | undefined;

  constructor(needs?: string) {
    super(`the subscription has ended${needs ? `: it needs the role ${needs}` : ""}`);
    this.needs = needs;
  }
}

/** The last reply to a request was lost, and its time is over: it may have happened, or not. `cause` is the last error. */
export class UnansweredError extends CircleError {
  override name = "UnansweredError";
  /** The same `play` or `call` with this `requestId` finds out whether it has happened, and has it happen if not. */
  readonly requestId: string | undefined;

  constructor(cause: Error, requestId?: string) {
    super(`the request may have happened, or not: ${cause.message}`, { cause });
    this.requestId = requestId;
  }
}

/** The signer has logged in as another caller than before. What was under way is not asked again; connect anew. */
export class OtherCallerError extends CircleError {
  override name = "OtherCallerError";

  constructor(now: string, before: string) {
    super(`the caller is ${now} now, and not ${before}`);
  }
}

/** Refuses a text that a server has sent to be signed. Nothing has been signed. */
export class LoginTextError extends CircleError {
  override name = "LoginTextError";
}
