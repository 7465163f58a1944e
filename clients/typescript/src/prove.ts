/** Asks a server to prove itself, before anything is signed. */

import { CircleError, ClosedError } from "./errors.js";
import { randomHex } from "./random.js";
import type { LoginExchange } from "./signer.js";

/** A server that doesn't prove that it speaks for the circle. Nothing has been signed. */
export class ServerProofError extends CircleError {
  override name = "ServerProofError";
}

/**
 * Has the server prove that the circle's owner lets it speak for the circle. A wrong proof is refused; a server without one
 * is, too, if `required`. Throws a `ServerProofError` then.
 */
export async function checkServer(
  exchange: Pick<LoginExchange, "origin" | "circle" | "call">,
  required: boolean,
): Promise<void> {
  const challenge = randomHex(32);
  let proof: import("./proof.js").Proof;
  try {
    proof = await exchange.call("prove", { challenge });
  } catch (error) {
    // There is no grant for this circle, or the server is one of before there were any.
    const { code } = error as { code?: unknown };
    if (code !== -32006 && code !== -32601) throw error;
    if (required) throw new ServerProofError("the server has no grant of the circle's owner");
    return;
  }
  const { findFault } = await import("./proof.js").catch((cause) => {
    // It may be the network: this is a file of its own.
    throw new ClosedError(`the server's proof could not be checked: ${cause.message}`);
  });
  const fault = await findFault(proof, { ...exchange, challenge, now: Date.now() });
  if (fault !== undefined) throw new ServerProofError(`the server does not speak for this circle: ${fault}`);
}
