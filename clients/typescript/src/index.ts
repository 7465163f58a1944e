export type { CallOptions } from "./calls.js";
export type { Circle, CircleMethods, Client, Connection, NamedRunOptions, RunOptions, WithValue } from "./circle.js";
export { type ConnectOptions, connect } from "./connect.js";
export {
  AuthenticationRequiredError,
  CancelledError,
  CircleError,
  ClosedError,
  ConflictError,
  EndedError,
  ExecutionError,
  ForbiddenError,
  InvalidCredentialsError,
  InvalidParamsError,
  LimitExceededError,
  LoginTextError,
  NotFoundError,
  OtherCallerError,
  RefusedError,
  ReplyDroppedError,
  RpcError,
  TimeoutError,
  UnansweredError,
  UnavailableError,
} from "./errors.js";
export type { CircleEvent, EventOptions, Events, Gap } from "./events.js";
export type * from "./generated.js";
export type { Integers, Json } from "./json.js";
export { ServerProofError } from "./prove.js";
export type { AuthenticateParams, FetchNonceParams, LoginExchange, Signer } from "./signer.js";
export type { SocketClass, SocketLike } from "./socket.js";
export type { Phase } from "./state.js";
export type { Query, Snapshot, Watch } from "./watch.js";
