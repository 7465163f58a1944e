/**
 * The methods of a circle's server, with their parameters and results.
 *
 * Made from `rpc.discover` by scripts/types.mjs (`npm run types`). Don't change it by hand: `npm run types:check` compares.
 */

import type {Json} from "./json.js";

export type JobId = string;
/**
 * The kind of a write in the store. A later version may have more.
 */
export type WriteOp = "set" | "delete" | "add" | "push" | "delete_range";
/**
 * Something of a circle that can be watched, besides scripts. A later version may have more.
 */
export type View = "activity";
/**
 * A scheme of logins: what is signed, and how.
 */
export type Scheme = "eip191" | "sha256" | "schnorr" | "siwe" | "nostr" | "es256";
/**
 * A secp256k1 public key: 66 or 130 hex digits. Results have 66 lowercase hex digits.
 */
export type PublicKey = string;
/**
 * A P-256 public key: 66 or 130 hex digits. Results have 66 lowercase hex digits.
 */
export type DeviceKey = string;
/**
 * The role of a caller in a circle. A later role may do all that an earlier one may.
 */
export type Role = "guest" | "member" | "owner";
/**
 * The rule of a named script: who may call it.
 */
export type CallRule = "auto" | "guest" | "member" | "owner";
/**
 * The scope of a device key: `play`, `subscribe`, `jobs`, `call` (all named scripts), `call:<name>` (one of them).
 *
 * @minItems 1
 * @maxItems 32
 */
export type Scope = string[];
/**
 * The state of a durable job.
 */
export type JobStatus = "pending" | "running" | "finished" | "failed" | "cancelled" | "dead";
/**
 * The reason why a script failed.
 */
export type FailureKind = "compile" | "runtime" | "operations" | "memory" | "size" | "depth";
/**
 * The kind of a durable job. A later version may have more.
 */
export type JobKind = "delivery" | "submitted";
/**
 * An OpenRPC document.
 */
export type Document = Json;

/**
 * All methods.
 */
export interface Methods {
  /**
   * Plays a script: runs its source as the caller, in the session's circle.
   */
  play: {
    params: PlayParams;
    result: Played;
  };
  /**
   * Calls a named script of the circle: runs it as the caller.
   */
  call: {
    params: CallParams;
    result: Called;
  };
  /**
   * Watches what a script that only reads returns: other values come as notifications `value`. `unsubscribe` ends it.
   */
  watch: {
    params: WatchParams;
    result: Watched;
  };
  /**
   * Returns the login text, or what else the scheme has to be signed. To log in, sign it and call `authenticate`.
   */
  fetch_nonce: {
    params: FetchNonceParams;
    result: string;
  };
  /**
   * Logs the session in, with a signature over what `fetch_nonce` returned.
   */
  authenticate: {
    params: AuthenticateParams;
    result: boolean;
  };
  /**
   * Returns who the caller is in this session.
   */
  whoami: {
    params: WhoamiParams;
    result: Identity;
  };
  /**
   * Proves that this server speaks for the circle, before the client signs anything.
   */
  prove: {
    params: ProveParams;
    result: Proof;
  };
  /**
   * Puts a script under a name, if it compiles. Its version is the SHA-256 of its source.
   */
  put_script: {
    params: PutScriptParams;
    result: ScriptPut;
  };
  /**
   * Compiles a script. The error, if there is one, is that of put_script.
   */
  check_script: {
    params: CheckScriptParams;
    result: ScriptChecked;
  };
  /**
   * Returns a named script of the circle.
   */
  get_script: {
    params: GetScriptParams;
    result: Script;
  };
  /**
   * Lists the circle's named scripts, sorted by name.
   */
  list_scripts: {
    params: ListScriptsParams;
    result: Scripts;
  };
  /**
   * Deletes a named script with all its versions.
   */
  delete_script: {
    params: DeleteScriptParams;
    result: Deleted;
  };
  /**
   * Puts and deletes several named scripts as one change, if all of them compile and all are as their caller has seen them.
   */
  deploy_scripts: {
    params: DeployScriptsParams;
    result: Deployed;
  };
  /**
   * Lists keys of the circle's store with their values, sorted by key.
   */
  store_list: {
    params: StoreListParams;
    result: StorePage;
  };
  /**
   * Returns the value of a key of the circle's store.
   */
  store_get: {
    params: StoreGetParams;
    result: StoreEntry;
  };
  /**
   * Returns how much the circle has: keys, bytes, events and jobs.
   */
  usage: {
    params: UsageParams;
    result: CircleUsage;
  };
  /**
   * Makes the holder of a key a member of the circle.
   */
  add_member: {
    params: AddMemberParams;
    result: Added;
  };
  /**
   * Removes a member of the circle, at once and in all their sessions.
   */
  remove_member: {
    params: RemoveMemberParams;
    result: Removed;
  };
  /**
   * Lists the members of the circle.
   */
  list_members: {
    params: ListMembersParams;
    result: Members;
  };
  /**
   * Has a device's key act for the caller, within a scope and until a time.
   */
  add_device_key: {
    params: AddDeviceKeyParams;
    result: Device;
  };
  /**
   * Lists the device keys of the caller.
   */
  list_device_keys: {
    params: ListDeviceKeysParams;
    result: Devices;
  };
  /**
   * Removes a device key of the caller's, at once and in all its sessions.
   */
  remove_device_key: {
    params: RemoveDeviceKeyParams;
    result: DeviceRemoved;
  };
  /**
   * Submits a durable job: its script runs as the caller, now or later, even if the caller leaves. Returns once the job is kept. A script needs the rule `play`, a name the rule `call`.
   */
  submit_job: {
    params: SubmitJobParams;
    result: Submitted;
  };
  /**
   * Returns a durable job of the caller, at once or when it has ended. The owner may ask for every job.
   */
  get_job: {
    params: GetJobParams;
    result: Job;
  };
  /**
   * Lists the caller's durable jobs, the newest first. The owner gets all callers' jobs, or the circle's deliveries.
   */
  list_jobs: {
    params: ListJobsParams;
    result: Jobs;
  };
  /**
   * Cancels a durable job of the caller that is not over. A run that is under way commits nothing.
   */
  stop_job: {
    params: StopJobParams;
    result: Stopped;
  };
  /**
   * Runs a dead or cancelled job of the caller again, with its script as it is now. The job has `max_tries` tries again.
   */
  retry_job: {
    params: RetryJobParams;
    result: Retried;
  };
  /**
   * Counts the circle's dead jobs, deliveries too; or runs them again, each as `retry_job` does, if they are no more than were seen.
   */
  retry_dead: {
    params: RetryDeadParams;
    result: RetriedDead;
  };
  /**
   * Lists the circle's deliveries, the newest first, without their payloads.
   */
  list_deliveries: {
    params: ListDeliveriesParams;
    result: Deliveries;
  };
  /**
   * Returns a delivery with its payload.
   */
  get_delivery: {
    params: GetDeliveryParams;
    result: DeliveryDetails;
  };
  /**
   * Runs a delivery once more, as a new job, with the script as it is now.
   */
  redeliver: {
    params: RedeliverParams;
    result: Redelivered;
  };
  /**
   * Subscribes to events of the circle: they come as notifications `event`, from now on or after an earlier one.
   */
  subscribe: {
    params: SubscribeParams;
    result: Subscribed;
  };
  /**
   * Ends a subscription. Returns false if there was none.
   */
  unsubscribe: {
    params: UnsubscribeParams;
    result: boolean;
  };
  /**
   * Returns this document: the methods of this server, in OpenRPC 1.3.
   */
  "rpc.discover": {
    params: RpcDiscoverParams;
    result: Document;
  };
}
/**
 * The result of a script.
 */
export interface Played {
  /**
   * The script's value as Rhai prints it; empty if there is none.
   */
  output: string;
  /**
   * The script's value as JSON.
   */
  value: Json;
  /**
   * The lines of `print` and `debug`.
   */
  logs: string[];
  /**
   * The id of the run's job, as in the server's log.
   */
  job_id: JobId;
  /**
   * True if this is the result of an earlier run, for the same `request_id`.
   */
  replayed?: boolean;
  /**
   * What the run has read and changed, if that was asked for; not with the result of an earlier run.
   */
  effects?: RunEffects | null;
}
/**
 * The effects of a run: what it has read and changed. Of each kind, the first ones are listed, and `more` counts the others. What belongs to the circle itself, such as its members and scripts, is left out.
 */
export interface RunEffects {
  /**
   * The keys and ranges that it has read.
   */
  reads: KeysTouched[];
  /**
   * The keys and ranges that it has written: deletes of ranges, then the others by their keys, then pushes.
   */
  writes: WriteEffect[];
  /**
   * The topics of the events that it has emitted, in order.
   */
  events: string[];
  /**
   * The number of durable jobs that it has submitted.
   */
  jobs: number;
  /**
   * The numbers of effects that are not listed; missing if all are.
   */
  more?: MoreEffects | null;
}
/**
 * A key, or a range of keys in the order of their bytes.
 */
export interface KeysTouched {
  /**
   * The key, if it is one.
   */
  key?: string | null;
  /**
   * The first key that may be in the range.
   */
  start?: string | null;
  /**
   * The key behind the last one that may be in the range.
   */
  end?: string | null;
  /**
   * In place of `end`: the range goes on to the last key that begins like this.
   */
  prefix?: string | null;
}
/**
 * A write of a run.
 */
export interface WriteEffect {
  /**
   * The kind of write.
   */
  op: WriteOp;
  /**
   * The key, if it is one.
   */
  key?: string | null;
  /**
   * The first key that may be in the range.
   */
  start?: string | null;
  /**
   * The key behind the last one that may be in the range.
   */
  end?: string | null;
  /**
   * In place of `end`: the range goes on to the last key that begins like this.
   */
  prefix?: string | null;
}
/**
 * The numbers of effects that are not listed.
 */
export interface MoreEffects {
  /**
   * Of `reads`.
   */
  reads: number;
  /**
   * Of `writes`.
   */
  writes: number;
  /**
   * Of `events`.
   */
  events: number;
}
/**
 * The result of a named script.
 */
export interface Called {
  /**
   * The script's value as Rhai prints it; empty if there is none.
   */
  output: string;
  /**
   * The script's value as JSON.
   */
  value: Json;
  /**
   * The lines of `print` and `debug`.
   */
  logs: string[];
  /**
   * The id of the run's job, as in the server's log.
   */
  job_id: JobId;
  /**
   * True if this is the result of an earlier run, for the same `request_id`.
   */
  replayed?: boolean;
  /**
   * What the run has read and changed, if that was asked for; not with the result of an earlier run.
   */
  effects?: RunEffects | null;
  /**
   * The version that ran.
   */
  version: string;
}
/**
 * A watch that has begun.
 */
export interface Watched {
  /**
   * The id of the watch among the subscriptions of this session.
   */
  subscription: string;
  /**
   * The script's value as JSON; absent if it is unchanged since the commit `since`.
   */
  value?: Json;
  /**
   * The number of a commit of the circle at which the value is so.
   */
  at: number;
}
/**
 * A signed event (NIP-01).
 */
export interface NostrEvent {
  /**
   * The SHA-256 of the other fields but the signature, 64 hex digits.
   */
  id: string;
  /**
   * The x coordinate of the signer's key, 64 hex digits.
   */
  pubkey: string;
  /**
   * The time, in seconds since 1970.
   */
  created_at: number;
  /**
   * The kind; 22242 to log in.
   */
  kind: number;
  /**
   * The tags. To log in, `["relay", "<origin>/<circle_pk>"]` and `["challenge", "<challenge>"]`.
   */
  tags: string[][];
  /**
   * Any text.
   */
  content: string;
  /**
   * The BIP-340 signature over the id, 128 hex digits.
   */
  sig: string;
}
/**
 * The result of `whoami`.
 */
export interface Identity {
  /**
   * True once the caller has logged in.
   */
  authenticated: boolean;
  /**
   * The caller's key.
   */
  pubkey?: PublicKey | null;
  /**
   * The device key by which the caller has logged in; null if it wasn't one.
   */
  device?: DeviceKey | null;
  /**
   * The circle that the session is in.
   */
  circle: PublicKey;
  /**
   * The caller's role in the circle.
   */
  role?: Role | null;
  /**
   * What this session may do, sorted: `call`, `call:<name>` (by a device key), `jobs`, `manage`, `play`, `subscribe`. A named script's own rule may permit or forbid its calls all the same; and some methods are the owner's alone.
   */
  permissions?: string[];
  /**
   * The id of this session, as in the server's log.
   */
  session_id: string;
  /**
   * The server's name and version.
   */
  server: string;
}
/**
 * The proof of a server that it has the key of a grant: the result of `prove`.
 */
export interface Proof {
  /**
   * The grant of the circle's owner.
   */
  grant: Grant;
  /**
   * The signature of the server's key over the text `circled proof v1`: ECDSA over SHA-256, 64 bytes hex.
   */
  signature: string;
}
/**
 * The grant of a circle's owner: a server's key speaks for the circle, at an origin and until a time. The circle's own key signs it, offline.
 */
export interface Grant {
  /**
   * The server's key.
   */
  server: PublicKey;
  /**
   * The origin by which clients know the server.
   */
  origin: string;
  /**
   * The time from which the grant counts no more, in whole seconds.
   */
  expires: string;
  /**
   * The signature of the circle's key over the text `circled grant v1`: ECDSA over SHA-256, 64 bytes hex.
   */
  signature: string;
}
/**
 * A script that was stored under a name.
 */
export interface ScriptPut {
  /**
   * The name.
   */
  name: string;
  /**
   * The SHA-256 of the source, in hex.
   */
  version: string;
  /**
   * False if this was already the newest version.
   */
  created: boolean;
}
/**
 * A script that compiles.
 */
export interface ScriptChecked {
  /**
   * The SHA-256 of the source, in hex: the version that it would have.
   */
  version: string;
}
/**
 * A script at one of its versions.
 */
export interface Script {
  /**
   * The name.
   */
  name: string;
  /**
   * The SHA-256 of the source, in hex.
   */
  version: string;
  /**
   * The time at which it was last put.
   */
  put_at: string;
  /**
   * The key of the caller who put it; `anonymous` if there was no login.
   */
  put_by: string;
  /**
   * The script, in Rhai.
   */
  source: string;
  /**
   * The least role that may call it, if it has a rule of its own.
   */
  call?: Role | null;
  /**
   * All stored versions, the newest first.
   */
  versions: ScriptVersion[];
}
/**
 * A version of a script.
 */
export interface ScriptVersion {
  /**
   * The SHA-256 of the source, in hex.
   */
  version: string;
  /**
   * The time at which it was last put.
   */
  put_at: string;
  /**
   * The key of the caller who put it; `anonymous` if there was no login.
   */
  put_by: string;
}
/**
 * All scripts of a circle.
 */
export interface Scripts {
  /**
   * The newest version of each.
   */
  scripts: ScriptEntry[];
}
/**
 * A script in a list of them.
 */
export interface ScriptEntry {
  /**
   * The name.
   */
  name: string;
  /**
   * The SHA-256 of the source, in hex.
   */
  version: string;
  /**
   * The time at which it was last put.
   */
  put_at: string;
  /**
   * The key of the caller who put it; `anonymous` if there was no login.
   */
  put_by: string;
  /**
   * The least role that may call it, if it has a rule of its own.
   */
  call?: Role | null;
}
/**
 * The result of `delete_script`.
 */
export interface Deleted {
  /**
   * False if there was no such script.
   */
  deleted: boolean;
}
/**
 * A script to delete.
 */
export interface ScriptToDelete {
  /**
   * The name.
   */
  name: string;
  /**
   * The script as it is now. If that isn't so, nothing is done.
   */
  was: ScriptState;
}
/**
 * A script to put.
 */
export interface ScriptToPut {
  /**
   * The name: 1 to 64 letters, digits and `_`, `-`, `.`, `/`, the first a letter or `_`.
   */
  name: string;
  /**
   * The script, in Rhai.
   */
  source: string;
  /**
   * The least role of its callers, in place of the circle's rule `call`. Default: as before.
   */
  call?: CallRule | null;
  /**
   * The script as it is now; nothing if there is none. If that isn't so, nothing is done.
   */
  was?: ScriptState | null;
}
/**
 * The state of a named script, as `list_scripts` tells it.
 */
export interface ScriptState {
  /**
   * The newest version.
   */
  version: string;
  /**
   * The least role that may call it, if it has a rule of its own.
   */
  call?: Role | null;
}
/**
 * The result of `deploy_scripts`.
 */
export interface Deployed {
  /**
   * The scripts that were put.
   */
  put: ScriptPut[];
  /**
   * The names of the scripts that were deleted.
   */
  deleted: string[];
}
/**
 * Some entries of a circle's store.
 */
export interface StorePage {
  /**
   * The entries, sorted by key.
   */
  entries: StoreEntry[];
  /**
   * The cursor of the next page, if there is one.
   */
  cursor?: string | null;
}
/**
 * A key and its value.
 */
export interface StoreEntry {
  /**
   * The key.
   */
  key: string;
  /**
   * The value as JSON.
   */
  value: Json;
  /**
   * The time when the key expires, if it does.
   */
  expires_at?: string | null;
}
/**
 * The result of `usage`.
 */
export interface CircleUsage {
  /**
   * The keys of the store.
   */
  keys: number;
  /**
   * The bytes that count in the quota: keys and values, and the circle's own members and scripts.
   */
  bytes: number;
  /**
   * `store.quota`, in bytes.
   */
  quota: number;
  /**
   * The events that are kept.
   */
  events: number;
  /**
   * The id of the last event; 0 if there was none.
   */
  last_event: number;
  /**
   * The durable jobs that are kept, deliveries too.
   */
  jobs: JobCounts;
}
/**
 * The numbers of a circle's durable jobs.
 */
export interface JobCounts {
  /**
   * Those that are not over: `pending`, `running` or `failed`.
   */
  open: number;
  /**
   * Those that are `finished` or `cancelled`.
   */
  ended: number;
  /**
   * Those that are `dead`.
   */
  dead: number;
}
/**
 * The result of `add_member`.
 */
export interface Added {
  /**
   * False if they were already a member.
   */
  added: boolean;
}
/**
 * The result of `remove_member`.
 */
export interface Removed {
  /**
   * False if they were not a member.
   */
  removed: boolean;
  /**
   * The number of their jobs that were cancelled, with `stop_jobs`.
   */
  stopped?: number | null;
  /**
   * The number of their jobs that could not be cancelled, if any. It is safe to try again.
   */
  failed?: number | null;
}
/**
 * The members of a circle, beside its owner.
 */
export interface Members {
  /**
   * Members that were added, sorted by key.
   */
  members: Member[];
  /**
   * Members in the server's settings.
   */
  fixed: PublicKey[];
}
/**
 * A member that was added.
 */
export interface Member {
  /**
   * Their key.
   */
  pubkey: PublicKey;
  /**
   * The name of their role, if the server doesn't know it (a later version has stored it): they have the rights of a guest.
   */
  unknown_role?: string | null;
  /**
   * The time at which they were added.
   */
  added_at: string;
}
/**
 * A device key that acts for a caller.
 */
export interface Device {
  /**
   * The device's public key.
   */
  pubkey: DeviceKey;
  /**
   * Its name for people.
   */
  label: string;
  /**
   * What it may do.
   */
  scope: Scope;
  /**
   * The time from which it counts no more.
   */
  expires_at: string;
  /**
   * When it was added.
   */
  added_at: string;
  /**
   * When a session logged in by it last, to the hour; null if none did.
   */
  last_used_at?: string | null;
}
/**
 * The result of `list_device_keys`.
 */
export interface Devices {
  /**
   * The device keys, in the order of their keys.
   */
  device_keys: Device[];
}
/**
 * The result of `remove_device_key`.
 */
export interface DeviceRemoved {
  /**
   * False if the caller had no such key.
   */
  removed: boolean;
}
/**
 * A job that was submitted.
 */
export interface Submitted {
  /**
   * The job's id; that of the first one if it is a duplicate.
   */
  job_id: JobId;
  /**
   * True if it was submitted before, with the same key.
   */
  duplicate: boolean;
}
/**
 * A durable job, in the same form for its caller, the circle's owner and the operator.
 */
export interface Job {
  /**
   * The job's id.
   */
  job_id: JobId;
  /**
   * The circle that it runs in.
   */
  circle: PublicKey;
  /**
   * The caller: a public key, or `webhook:<provider>`.
   */
  caller: string;
  /**
   * The device key by which the caller has submitted it, or retried it, if it was one.
   */
  device?: DeviceKey | null;
  /**
   * Its status.
   */
  status: JobStatus;
  /**
   * The script's name, if it has one.
   */
  name?: string | null;
  /**
   * The script's version.
   */
  version?: string | null;
  /**
   * The event's id, if it is a delivery.
   */
  event_id?: string | null;
  /**
   * The event's type.
   */
  event_type?: string | null;
  /**
   * The time of its submission or receipt.
   */
  submitted_at: string;
  /**
   * The requested time.
   */
  run_at?: string | null;
  /**
   * The earliest time of its next run.
   */
  due?: string | null;
  /**
   * The time of its end.
   */
  ended_at?: string | null;
  /**
   * The number of the script's runs that ended, successful or not.
   */
  tries: number;
  /**
   * The number of servers that died while they ran it, since its last run that ended.
   */
  crashes?: number;
  /**
   * The script's value as Rhai prints it.
   */
  output?: string | null;
  /**
   * The script's value as JSON.
   */
  value?: Json;
  /**
   * The last error.
   */
  error?: JobError | null;
  /**
   * The printed lines of the last run that ended.
   */
  logs?: string[];
  /**
   * The bytes of what it runs on: `args` or the delivery, and the script. Only in lists.
   */
  input_bytes?: number | null;
  /**
   * What was submitted. Only of `get_job` that asks for it; missing for a delivery, and if it is kept no more.
   */
  input?: JobInput | null;
}
/**
 * The error of a job.
 */
export interface JobError {
  /**
   * The kind of failure; null if it was not the script's.
   */
  kind?: FailureKind | null;
  /**
   * The message.
   */
  message: string;
  /**
   * Line in the script, from 1.
   */
  line?: number | null;
  /**
   * Column in the line, from 1.
   */
  column?: number | null;
}
/**
 * What a job was submitted with.
 */
export interface JobInput {
  /**
   * The script, if it was submitted as a source.
   */
  script?: string | null;
  /**
   * The script's ARGS.
   */
  args?: Json;
}
/**
 * A page of jobs.
 */
export interface Jobs {
  /**
   * The newest first.
   */
  jobs: Job[];
  /**
   * Pass this to get the next page; null after the last one. A page of large jobs may be short, and so may one that has looked at very many other jobs.
   */
  cursor?: JobId | null;
}
/**
 * The result of `stop_job`.
 */
export interface Stopped {
  /**
   * False if it was already over.
   */
  stopped: boolean;
}
/**
 * The result of `retry_job`.
 */
export interface Retried {
  /**
   * False if it was neither dead nor cancelled.
   */
  retried: boolean;
  /**
   * The version that it runs, if its script has a name.
   */
  version?: string | null;
}
/**
 * The result of `retry_dead`.
 */
export interface RetriedDead {
  /**
   * The number of jobs that were dead when the call began. Not if it goes on from a cursor.
   */
  dead?: number | null;
  /**
   * The number of those that run again.
   */
  retried: number;
  /**
   * The number of those that stay dead, because their script doesn't compile or isn't there, or something that they need can't be read.
   */
  failed: number;
  /**
   * The first reason for that, with the job's id.
   */
  error?: string | null;
  /**
   * Pass this to go on; null if all are done.
   */
  cursor?: string | null;
}
/**
 * A page of deliveries.
 */
export interface Deliveries {
  /**
   * The newest first.
   */
  deliveries: Delivery[];
  /**
   * Pass this to get the next page; null after the last one. A short page need not be the last one.
   */
  cursor?: JobId | null;
}
/**
 * A delivery: one webhook request, without its payload.
 */
export interface Delivery {
  /**
   * The id of its job.
   */
  job_id: JobId;
  /**
   * The provider that sent it.
   */
  provider: string;
  /**
   * The event's id, if it has one.
   */
  event_id?: string | null;
  /**
   * The event's type.
   */
  event_type?: string | null;
  /**
   * The time of its receipt.
   */
  received_at: string;
  /**
   * The status of its job.
   */
  status: JobStatus;
  /**
   * Runs of the script that came to an end, well or not.
   */
  tries: number;
  /**
   * The last error.
   */
  error?: JobError | null;
}
/**
 * A delivery with its payload.
 */
export interface DeliveryDetails {
  /**
   * The id of its job.
   */
  job_id: JobId;
  /**
   * The provider that sent it.
   */
  provider: string;
  /**
   * The event's id, if it has one.
   */
  event_id?: string | null;
  /**
   * The event's type.
   */
  event_type?: string | null;
  /**
   * The time of its receipt.
   */
  received_at: string;
  /**
   * The status of its job.
   */
  status: JobStatus;
  /**
   * Runs of the script that came to an end, well or not.
   */
  tries: number;
  /**
   * The last error.
   */
  error?: JobError | null;
  /**
   * The printed lines of the last run that ended.
   */
  logs?: string[];
  /**
   * The body that the provider sent, as JSON.
   */
  payload: Json;
}
/**
 * A delivery that runs once more.
 */
export interface Redelivered {
  /**
   * The id of the new job.
   */
  job_id: JobId;
}
/**
 * A subscription that has begun.
 */
export interface Subscribed {
  /**
   * The id of the subscription in this session.
   */
  subscription: string;
  /**
   * The id of the event after which it begins.
   */
  since: number;
}
/**
 * The parameters of `play`.
 */
export interface PlayParams {
  /**
   * The script, in Rhai.
   */
  script: string;
  /**
   * The value that the script sees as ARGS.
   */
  args?: unknown;
  /**
   * The longest that the call may take, in milliseconds, waiting included: 1 to `dispatch.job_timeout`, the default.
   */
  timeout_ms?: number | null;
  /**
   * A name that the caller gives the request: 1 to 64 of `A-Za-z0-9_.:-`. If a request with this name has changed anything, its result is returned, and nothing runs.
   */
  request_id?: string | null;
  /**
   * Tells the run's effects in the result. Only for callers who may `manage`, by their own key.
   */
  effects?: boolean;
}
/**
 * The parameters of `call`.
 */
export interface CallParams {
  /**
   * The script's name.
   */
  name: string;
  /**
   * The value that the script sees as ARGS.
   */
  args?: unknown;
  /**
   * The version: the SHA-256 of the source, or its first digits. Only for callers who may `manage`; default: the newest.
   */
  version?: string | null;
  /**
   * The longest that the call may take, in milliseconds, waiting included: 1 to `dispatch.job_timeout`, the default.
   */
  timeout_ms?: number | null;
  /**
   * A name that the caller gives the request: 1 to 64 of `A-Za-z0-9_.:-`. If a request with this name has changed anything, its result is returned, and nothing runs.
   */
  request_id?: string | null;
  /**
   * Tells the run's effects in the result. Only for callers who may `manage`, by their own key.
   */
  effects?: boolean;
}
/**
 * The parameters of `watch`.
 */
export interface WatchParams {
  /**
   * The script, in Rhai. Either this, or `name`, or `view`.
   */
  script?: string | null;
  /**
   * The name of a script of the circle.
   */
  name?: string | null;
  /**
   * The value that the script sees as ARGS.
   */
  args?: unknown;
  /**
   * The version of a named script: the SHA-256 of the source, or its first digits. Only for callers who may `manage`; default: the newest, whichever that is at each run.
   */
  version?: string | null;
  /**
   * The `at` of the last value that the client has: the result has no value if that is known to be unchanged.
   */
  since?: number | null;
  /**
   * In place of a script: what else is watched. Only for callers who may `manage`, by their own key.
   */
  view?: View | null;
}
/**
 * The parameters of `fetch_nonce`.
 */
export interface FetchNonceParams {
  /**
   * The caller's secp256k1 public key: 66 or 130 hex digits; or, for the schemes `schnorr` and `nostr`, the 64 of its x coordinate. For `es256`, the device's P-256 key: 66 hex digits.
   */
  pubkey?: string | null;
  /**
   * The signature scheme. Without it, one of those that sign the login text with the caller's own key; `siwe` with an `address`.
   */
  scheme?: Scheme | null;
  /**
   * In place of a key, for `siwe`: the address of an Ethereum account.
   */
  address?: string | null;
  /**
   * With an address: the chain of the account; 1 if missing.
   */
  chain_id?: number | null;
}
/**
 * The parameters of `authenticate`.
 */
export interface AuthenticateParams {
  /**
   * The key that `fetch_nonce` was called with.
   */
  pubkey?: string | null;
  /**
   * The signature over all that `fetch_nonce` returned, in hex.
   */
  signature?: string | null;
  /**
   * The signature scheme. Without it, `siwe` with an `address`, `nostr` with an `event`, else `eip191`.
   */
  scheme?: Scheme | null;
  /**
   * In place of a key, for `siwe`: the address that `fetch_nonce` was called with.
   */
  address?: string | null;
  /**
   * In place of all else, for `nostr`: the signed event.
   */
  event?: NostrEvent | null;
}
/**
 * The parameters of `whoami`.
 */
export interface WhoamiParams {}
/**
 * The parameters of `prove`.
 */
export interface ProveParams {
  /**
   * 32 random bytes of the client, in hex.
   */
  challenge: string;
}
/**
 * The parameters of `put_script`.
 */
export interface PutScriptParams {
  /**
   * The name: 1 to 64 letters, digits and `_`, `-`, `.`, `/`, the first a letter or `_`.
   */
  name: string;
  /**
   * The script, in Rhai.
   */
  source: string;
  /**
   * The version that must be the newest one; else nothing is done.
   */
  if_version?: string | null;
  /**
   * The least role of its callers, in place of the circle's rule `call`. Default: as before.
   */
  call?: CallRule | null;
}
/**
 * The parameters of `check_script`.
 */
export interface CheckScriptParams {
  /**
   * The script, in Rhai.
   */
  source: string;
}
/**
 * The parameters of `get_script`.
 */
export interface GetScriptParams {
  /**
   * The name.
   */
  name: string;
  /**
   * The version: the SHA-256 of the source, or its first digits. Default: the newest.
   */
  version?: string | null;
}
/**
 * The parameters of `list_scripts`.
 */
export interface ListScriptsParams {}
/**
 * The parameters of `delete_script`.
 */
export interface DeleteScriptParams {
  /**
   * The name.
   */
  name: string;
  /**
   * The version that must be the newest one; else nothing is done.
   */
  if_version?: string | null;
}
/**
 * The parameters of `deploy_scripts`.
 */
export interface DeployScriptsParams {
  /**
   * The scripts to put.
   */
  put: ScriptToPut[];
  /**
   * The scripts to delete. Default: none.
   */
  delete?: ScriptToDelete[] | null;
  /**
   * A name of the caller's for this request: 1 to 64 of `A-Za-z0-9_.:-`. If it was done before, the result is that of then.
   */
  request_id?: string | null;
}
/**
 * The parameters of `store_list`.
 */
export interface StoreListParams {
  /**
   * The beginning of the keys. Default: all keys.
   */
  prefix?: string | null;
  /**
   * The cursor of the page before.
   */
  cursor?: string | null;
  /**
   * The most entries of the page: from 1 to 500, 50 by default. Large values make it shorter.
   */
  limit?: number | null;
}
/**
 * The parameters of `store_get`.
 */
export interface StoreGetParams {
  /**
   * The key.
   */
  key: string;
}
/**
 * The parameters of `usage`.
 */
export interface UsageParams {}
/**
 * The parameters of `add_member`.
 */
export interface AddMemberParams {
  pubkey: PublicKey;
}
/**
 * The parameters of `remove_member`.
 */
export interface RemoveMemberParams {
  pubkey: PublicKey;
  /**
   * True to cancel their jobs that are not over, too.
   */
  stop_jobs?: boolean;
}
/**
 * The parameters of `list_members`.
 */
export interface ListMembersParams {}
/**
 * The parameters of `add_device_key`.
 */
export interface AddDeviceKeyParams {
  pubkey: DeviceKey;
  /**
   * A name for people: 1 to 64 characters.
   */
  label: string;
  /**
   * The time from which the key counts no more, in whole seconds.
   */
  expires_at: string;
  scope: Scope;
  /**
   * The signature of the device's key over the text `circled device v1`, in hex.
   */
  proof: string;
}
/**
 * The parameters of `list_device_keys`.
 */
export interface ListDeviceKeysParams {}
/**
 * The parameters of `remove_device_key`.
 */
export interface RemoveDeviceKeyParams {
  pubkey: DeviceKey;
}
/**
 * The parameters of `submit_job`.
 */
export interface SubmitJobParams {
  /**
   * The script, in Rhai; give this or `name`.
   */
  script?: string | null;
  /**
   * The name of a script of the circle.
   */
  name?: string | null;
  /**
   * The value that the script sees as ARGS.
   */
  args?: unknown;
  /**
   * A key of the caller's choice. For `dispatch.durable.dedupe_for`, a second job of the caller with the same key runs nothing.
   */
  idempotency_key?: string | null;
  /**
   * The earliest time to run, as in RFC 3339; at most 366 days from now.
   */
  run_at?: string | null;
  /**
   * The version of the named script, as in `call`.
   */
  version?: string | null;
}
/**
 * The parameters of `get_job`.
 */
export interface GetJobParams {
  /**
   * The job's id, as submit_job returned it.
   */
  job_id: string;
  /**
   * The milliseconds to wait for its end; at most `dispatch.job_timeout`.
   */
  wait?: number | null;
  /**
   * Tells what was submitted, too.
   */
  input?: boolean;
}
/**
 * The parameters of `list_jobs`.
 */
export interface ListJobsParams {
  /**
   * Only jobs with this status.
   */
  status?: JobStatus | null;
  /**
   * The most jobs to return: 1 to 500, default 50.
   */
  limit?: number | null;
  /**
   * The `cursor` of the page before.
   */
  cursor?: string | null;
  /**
   * Only jobs of this kind. Default: all but deliveries.
   */
  kind?: JobKind | null;
  /**
   * Only jobs of the circle's script of this name.
   */
  name?: string | null;
}
/**
 * The parameters of `stop_job`.
 */
export interface StopJobParams {
  /**
   * The job's id, as submit_job returned it.
   */
  job_id: string;
}
/**
 * The parameters of `retry_job`.
 */
export interface RetryJobParams {
  /**
   * The job's id, as submit_job returned it.
   */
  job_id: string;
  /**
   * The version of its named script, as in `call`. Default: the newest.
   */
  version?: string | null;
}
/**
 * The parameters of `retry_dead`.
 */
export interface RetryDeadParams {
  /**
   * The most that may be dead: with more, nothing happens. Without this and `cursor`, the call only counts.
   */
  expect?: number | null;
  /**
   * Only jobs of this kind.
   */
  kind?: JobKind | null;
  /**
   * Only jobs of the circle's script of this name.
   */
  name?: string | null;
  /**
   * The `cursor` of the call before: goes on with the jobs that were dead when that began.
   */
  cursor?: string | null;
}
/**
 * The parameters of `list_deliveries`.
 */
export interface ListDeliveriesParams {
  /**
   * Only deliveries of this provider.
   */
  provider?: string | null;
  /**
   * The most deliveries to return: 1 to 500, default 50.
   */
  limit?: number | null;
  /**
   * The `cursor` of the page before.
   */
  cursor?: string | null;
  /**
   * Only deliveries whose jobs have this status.
   */
  status?: JobStatus | null;
}
/**
 * The parameters of `get_delivery`.
 */
export interface GetDeliveryParams {
  /**
   * The id of the delivery's job.
   */
  job_id: string;
}
/**
 * The parameters of `redeliver`.
 */
export interface RedeliverParams {
  /**
   * The id of the delivery's job.
   */
  job_id: string;
}
/**
 * The parameters of `subscribe`.
 */
export interface SubscribeParams {
  /**
   * Only events whose topic begins with this. Default: all events.
   */
  topic?: string;
  /**
   * The id of an event: begins with those after it. Default: begins with new events.
   */
  since?: number | null;
}
/**
 * The parameters of `unsubscribe`.
 */
export interface UnsubscribeParams {
  /**
   * The id of the subscription, as subscribe returned it.
   */
  subscription: string;
}
/**
 * The parameters of `rpc.discover`.
 */
export interface RpcDiscoverParams {}

/**
 * The methods that have no form of their own in the client; true: it changes nothing, and so can be asked again.
 */
export const METHODS = {
  whoami: true,
  prove: true,
  put_script: false,
  check_script: true,
  get_script: true,
  list_scripts: true,
  delete_script: false,
  deploy_scripts: false,
  store_list: true,
  store_get: true,
  usage: true,
  add_member: false,
  remove_member: false,
  list_members: true,
  add_device_key: false,
  list_device_keys: true,
  remove_device_key: false,
  get_job: true,
  list_jobs: true,
  stop_job: false,
  retry_job: false,
  retry_dead: false,
  list_deliveries: true,
  get_delivery: true,
  redeliver: false,
} as const satisfies { [M in keyof Methods]?: boolean };
