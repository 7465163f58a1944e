/** The login was given up, because the user has begun another one, gone elsewhere, or logged out: nobody needs to be told. */
export class SupersededError extends Error {
  override name = "SupersededError";
}
