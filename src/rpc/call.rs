//! Turns a message into its reply: finds the method, checks permissions and limits, writes the result.

use std::{future::Future, pin::Pin, time::Instant};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde::Serialize;
use serde_json::Value;
use tokio::task::yield_now;

use super::{
    Batch, Context, Error, Id, Incoming, Method, Needs, Request,
    counted::{self, CountedCall},
    methods,
};
use crate::memory::{MemoryBudget, OverBudget, Reservation, SMALL, SMALL_CALL};

/// A future of a call that is under way.
pub type PendingCall<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The result of a call, now or later.
pub enum Answer<T> {
    /// The call is done.
    Now(Result<T, Error>),
    /// The call is under way.
    Later(PendingCall<Result<T, Error>>),
    /// The call is under way; its result comes with memory that was reserved before the job ran.
    Reserved(PendingCall<(Result<T, Error>, Option<Reservation>)>),
}

/// A reply to be sent, with its memory.
#[derive(Debug)]
pub struct ReplyText {
    /// The reply, or an array of replies.
    pub text: String,
    /// The memory that counts as held until the reply is sent; `None` for a small reply.
    pub reservation: Option<Reservation>,
}

/// The reply to a message, if it gets one.
pub enum Reply {
    /// The reply is ready.
    Now(Option<ReplyText>),
    /// The reply comes later. Dropping the future cancels the call.
    Later(PendingCall<Option<ReplyText>>),
}

/// The result of handling a message.
pub enum Handled<'a> {
    /// The whole message has been handled.
    Done(Reply),
    /// The rest is handled when its turn comes, and the session's next message after it.
    InTurn(BoxFuture<'a, Reply>),
}

/// The reason why a request has to wait for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Costly {
    /// The request shows credentials, or a proof.
    Login,
    /// The request's parameters are long.
    Long,
}

/// The size of a usual reply in bytes.
const USUAL: usize = 192;

/// The size in bytes above which a message waits for its turn to be read, and a batch's request to have its parameters
/// read.
const LONG: usize = 16 << 10;

/// Handles one message: runs what can be run at once and begins the rest. Most messages wait for nothing; a long one
/// isn't even parsed before its turn.
pub fn on_text<'a>(context: &'a mut Context, text: &'a str) -> Handled<'a> {
    if text.len() > LONG {
        Handled::InTurn(Box::pin(on_long_text(context, text)))
    } else {
        read(context, text)
    }
}

async fn on_long_text(context: &mut Context, text: &str) -> Reply {
    let turn = match context.turn_to_read().await {
        Ok(turn) => turn,
        Err(error) => return refuse(None, Some(Id::NULL), &error, &context.memory),
    };
    let handled = read(context, text);
    // Let others on this thread have their turn before the place is free for the next.
    yield_now().await;
    drop(turn);
    match handled {
        Handled::Done(reply) => reply,
        Handled::InTurn(handling) => handling.await,
    }
}

/// Reads a message, and handles all of it that needs no turn (or that has its turn).
fn read<'a>(context: &'a mut Context, text: &'a str) -> Handled<'a> {
    Handled::Done(
        match Incoming::parse(text, context.shared.limits.max_batch) {
            Err(error) => refuse(None, Some(Id::NULL), &error, &context.memory),
            Ok(Incoming::Single(Err(invalid))) => {
                refuse(None, Some(invalid.id), &invalid.error, &context.memory)
            }
            Ok(Incoming::Single(Ok(request))) => {
                let method = Method::find(&request.method);
                if Costly::of(method, &request) != Some(Costly::Login) {
                    return Handled::Done(on_request(context, method, request));
                }
                let Some(turn) = context.try_turn_to_log_in() else {
                    let login = in_turn(context, Costly::Login, method, request);
                    return Handled::InTurn(Box::pin(login));
                };
                let reply = on_request(context, method, request);
                if context.exceeds_a_login() {
                    turn.end_after_others();
                }
                if context.is_logging_in() {
                    return Handled::InTurn(Box::pin(after_login(context, reply)));
                }
                reply
            }
            Ok(Incoming::Batch(batch)) => {
                return Handled::InTurn(Box::pin(on_batch(context, batch)));
            }
        },
    )
}

/// Begins the requests of a batch, one after another, while there is memory for their replies. Now and then, other
/// sessions get their turn.
async fn on_batch(context: &mut Context, batch: Batch<'_>) -> Reply {
    let most = context.shared.limits.max_reply;
    let budget = context.memory.part("session.max_reply", most, 0);
    let whole = std::mem::replace(&mut context.memory, budget.clone());
    let mut gathered = BatchReplies::new(budget.clone());
    let mut later = Vec::new();
    let mut full = None;
    for request in batch.requests() {
        if context.is_turn_over() {
            yield_now().await;
            context.begin_turn(Instant::now());
        }
        let reply = match (request, full) {
            (Ok(request), None) => {
                let method = Method::find(&request.method);
                match Costly::of(method, &request) {
                    Some(costly) => in_turn(context, costly, method, request).await,
                    None => on_request(context, method, request),
                }
            }
            (Ok(request), Some(over)) => {
                let method = Method::find(&request.method);
                refuse(method, request.id, &Error::from(over), &budget)
            }
            (Err(invalid), _) => refuse(None, Some(invalid.id), &invalid.error, &budget),
        };
        match reply {
            Reply::Now(None) => {}
            // Once a reply found no memory, no other request is run.
            Reply::Now(Some(written)) => full = full.or(gathered.add(written).err()),
            Reply::Later(pending) => later.push(pending),
        }
    }
    context.memory = whole;
    if later.is_empty() {
        return Reply::Now(gathered.finish());
    }
    Reply::Later(Box::pin(async move {
        let mut later: FuturesUnordered<_> = later.into_iter().collect();
        while let Some(written) = later.next().await {
            if let Some(written) = written {
                // All of the requests are under way already.
                let _ = gathered.add(written);
            }
        }
        gathered.finish()
    }))
}

/// Returns the error reply to a message that is no text, or no call.
pub(crate) fn failed(error: &Error, id: &Id<'_>) -> String {
    write(
        0,
        "error",
        &ErrorObject {
            code: error.code(),
            message: error.to_string(),
            data: error.data(),
        },
        id,
    )
}

/// Turns a method's result into the reply for `id`, which counts in `memory`. A notification gets no reply.
pub(super) fn reply<T: Serialize + Send + 'static>(
    answer: Answer<T>,
    counted: CountedCall,
    id: Option<Id<'_>>,
    memory: &MemoryBudget,
) -> Reply {
    let pending = match answer {
        Answer::Now(result) => {
            counted.end(&result);
            return Reply::Now(id.map(|id| ReplyText::new(finished(result, &id), &id, memory)));
        }
        Answer::Later(pending) => {
            let (id, memory) = (id.map(Id::into_owned), memory.clone());
            return Reply::Later(Box::pin(async move {
                let result = pending.await;
                counted.end(&result);
                let id = id?;
                Some(ReplyText::new(finished(result, &id), &id, &memory))
            }));
        }
        Answer::Reserved(pending) => pending,
    };
    let (id, memory) = (id.map(Id::into_owned), memory.clone());
    Reply::Later(Box::pin(async move {
        let (result, reservation) = pending.await;
        counted.end(&result);
        let id = id?;
        let about = reservation.as_ref().map_or(0, Reservation::bytes);
        let text = finished_in(about, result, &id);
        let Some(mut reservation) = reservation else {
            return Some(ReplyText::new(text, &id, &memory));
        };
        // Everything but the id was reserved. The result of a run that has happened is always sent.
        let _ = reservation.resize(text.len());
        let reservation = Some(reservation);
        Some(ReplyText { text, reservation })
    }))
}

fn refuse(
    method: Option<&Method>,
    id: Option<Id<'_>>,
    error: &Error,
    memory: &MemoryBudget,
) -> Reply {
    counted::refused(method, error);
    Reply::Now(id.map(|id| ReplyText::new(failed(error, &id), &id, memory)))
}

impl Costly {
    fn of(method: Option<&Method>, request: &Request<'_>) -> Option<Self> {
        let shows = [Needs::Credentials, Needs::Proof];
        if method.is_some_and(|method| shows.contains(&method.needs)) {
            Some(Self::Login)
        } else if request.params.is_some_and(|params| params.len() > LONG) {
            Some(Self::Long)
        } else {
            None
        }
    }
}

/// Handles a request when its turn comes. Of all sessions' requests that show credentials, a few are handled at a time,
/// each for a moment; so are long requests. Verifying a signature takes tens of microseconds (of a device key, hundreds) and
/// long parameters take milliseconds, so small requests must not wait behind many of them.
async fn in_turn(
    context: &mut Context,
    costly: Costly,
    method: Option<&'static Method>,
    request: Request<'_>,
) -> Reply {
    let refused = match method {
        Some(method) => context.admits(method).err(),
        None => Some(Error::no_method()),
    };
    if let Some(error) = refused {
        return refuse(method, request.id, &error, &context.memory);
    }
    let turn = match costly {
        Costly::Login => context.turn_to_log_in().await,
        Costly::Long => context.turn_to_read().await,
    };
    let turn = match turn {
        Ok(turn) => turn,
        Err(error) => return refuse(method, request.id, &error, &context.memory),
    };
    let reply = on_request(context, method, request);
    if costly == Costly::Long || context.exceeds_a_login() {
        // Let others on this thread have their turn before the place is free for the next.
        yield_now().await;
    }
    drop(turn);
    match context.is_logging_in() {
        true => after_login(context, reply).await,
        false => reply,
    }
}

/// Waits for the end of a login that has to read something first: what the client sends next is the new caller's.
async fn after_login(context: &mut Context, reply: Reply) -> Reply {
    let reply = match reply {
        Reply::Later(pending) => Reply::Now(pending.await),
        now @ Reply::Now(_) => now,
    };
    methods::end_login(context);
    reply
}

fn on_request(
    context: &mut Context,
    method: Option<&'static Method>,
    request: Request<'_>,
) -> Reply {
    let Some(method) = method else {
        return refuse(None, request.id, &Error::no_method(), &context.memory);
    };
    context.begun = Instant::now();
    let admitted = match context.admits(method) {
        Ok(admitted) => admitted,
        Err(error) => return refuse(Some(method), request.id, &error, &context.memory),
    };
    if let Err(error) = context.check_in_flight() {
        return refuse(Some(method), request.id, &error, &context.memory);
    }
    let quota = match context.count(method.needs, admitted) {
        Ok(quota) => quota,
        Err(error) => return refuse(Some(method), request.id, &error, &context.memory),
    };
    // A call that isn't done at once keeps its id.
    let id = request.id.as_ref().map_or(0, |id| id.as_json().len());
    let held = match hold(
        &context.requests,
        request.params.map_or(0, crate::weight::of_json) + id,
    ) {
        Ok(held) => held,
        Err(error) => return refuse(Some(method), request.id, &error, &context.memory),
    };
    let counted = CountedCall::begin(method, context.begun);
    match (method.call)(context, admitted, counted, request.id, request.params) {
        Reply::Later(pending) => {
            let permit = (context.begin(), quota, held);
            Reply::Later(Box::pin(async move {
                let _permit = permit;
                pending.await
            }))
        }
        now @ Reply::Now(_) => now,
    }
}

/// Reserves memory for what a call keeps until it is done. Small calls need none.
pub(super) fn hold(requests: &MemoryBudget, bytes: usize) -> Result<Option<Reservation>, Error> {
    if bytes <= SMALL_CALL {
        return Ok(None);
    }
    Ok(Some(requests.try_reserve(bytes)?))
}

impl ReplyText {
    /// Creates the reply for `id`, with memory for it. Without memory, a small error takes its place, with the id null
    /// if the id is long.
    fn new(text: String, id: &Id<'_>, memory: &MemoryBudget) -> Self {
        if text.len() <= SMALL {
            return Self {
                text,
                reservation: None,
            };
        }
        match memory.try_reserve(text.len()) {
            Ok(reservation) => Self {
                text,
                reservation: Some(reservation),
            },
            Err(over) => {
                let error = Error::from(over);
                let mut text = failed(&error, id);
                if text.len() > SMALL {
                    text = failed(&error, &Id::NULL);
                }
                Self {
                    text,
                    reservation: None,
                }
            }
        }
    }
}

/// Collects the replies of a batch into an array, in any order; into nothing if all requests were notifications.
struct BatchReplies {
    memory: MemoryBudget,
    text: String,
    reservation: Option<Reservation>,
}

impl BatchReplies {
    /// Creates an empty collection whose replies count in `memory`.
    fn new(memory: MemoryBudget) -> Self {
        Self {
            memory,
            text: String::new(),
            reservation: None,
        }
    }

    /// Adds a reply and reserves memory for all of it, even if it is small: a batch can have many. The reply is added
    /// even without memory, because its run has happened.
    ///
    /// # Errors
    /// [`OverBudget`] if there is no memory for it.
    fn add(&mut self, ReplyText { text, reservation }: ReplyText) -> Result<(), OverBudget> {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        self.text.push_str(&text);
        let (reservation, reserved) = match reservation {
            Some(mut reservation) => {
                let reserved = reservation.resize(text.len());
                (reservation, reserved)
            }
            None => (self.memory.try_reserve(text.len())?, Ok(())),
        };
        match &mut self.reservation {
            Some(all) => all.absorb(reservation),
            none @ None => *none = Some(reservation),
        }
        reserved
    }

    fn finish(mut self) -> Option<ReplyText> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(ReplyText {
            text: self.text,
            reservation: self.reservation,
        })
    }
}

#[derive(Serialize)]
struct ErrorObject {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

fn finished<T: Serialize>(result: Result<T, Error>, id: &Id<'_>) -> String {
    finished_in(0, result, id)
}

/// Writes the response object for a result, of about so many bytes.
fn finished_in<T: Serialize>(about: usize, result: Result<T, Error>, id: &Id<'_>) -> String {
    match result {
        Ok(value) => write(about, "result", &value, id),
        Err(error) => failed(&error, id),
    }
}

/// Writes a response object of about so many bytes: `member` is `result` or `error`.
fn write<T: Serialize>(about: usize, member: &str, value: &T, id: &Id<'_>) -> String {
    let mut text = Vec::with_capacity(if about > LONG { about } else { USUAL });
    text.extend_from_slice(br#"{"jsonrpc":"2.0",""#);
    text.extend_from_slice(member.as_bytes());
    text.extend_from_slice(br#"":"#);
    let start = text.len();
    if let Err(error) = serde_json::to_writer(&mut text, value) {
        // Only maps with odd keys and failing `Serialize`s can't be written; we have neither.
        tracing::error!(%error, "failed to write a reply");
        text.truncate(start);
        text.extend_from_slice(b"null");
    }
    text.extend_from_slice(br#","id":"#);
    text.extend_from_slice(id.as_json().as_bytes());
    text.push(b'}');
    // serde_json writes only UTF-8, and ids come from a `str`.
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: usize, id: usize, budget: usize) -> (String, usize) {
        let memory = MemoryBudget::new("session.max_buffered", budget);
        let request = format!(
            r#"{{"jsonrpc":"2.0","method":"m","id":"{}"}}"#,
            "i".repeat(id)
        );
        let Ok(Incoming::Single(Ok(request))) = Incoming::parse(&request, 1) else {
            panic!("no request: {request}");
        };
        let id = request.id.unwrap();
        let ReplyText { text, reservation } = ReplyText::new("x".repeat(text), &id, &memory);
        (
            text,
            reservation.map_or(0, |reservation| reservation.bytes()),
        )
    }

    #[test]
    fn replies_of_a_batch_have_memory_and_are_sent_without() {
        let memory = MemoryBudget::new("session.max_reply", 10_000);
        let small = |reservation| ReplyText {
            text: "x".repeat(1000),
            reservation,
        };
        let mut gathered = BatchReplies::new(memory.clone());
        // Less is reserved than the reply needs, as if only a small reply had found memory.
        let reservation = [Some(200), Some(0), None, None].map(|reservation| {
            let reservation = reservation.map(|bytes| memory.try_reserve(bytes).unwrap());
            gathered.add(small(reservation)).unwrap();
            memory.used()
        });
        assert_eq!(reservation, [1000, 2000, 3000, 4000]);
        let told = (0..9).map(|_| gathered.add(small(None)));
        let told: Vec<_> = told.map(|told| told.is_ok()).collect();
        assert_eq!(told, [[true; 6].as_slice(), &[false; 3]].concat());
        let reservation = memory.try_reserve_answer(0, 0).ok();
        assert!(gathered.add(small(reservation)).is_err());
        let written = gathered.finish().unwrap();
        assert_eq!(written.text.len(), 14 * 1001 + 1);
        assert_eq!(
            written.reservation.map(|reservation| reservation.bytes()),
            Some(10_000)
        );
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn small_replies_need_no_memory_and_others_are_refused_without() {
        assert_eq!(written(SMALL, 1, 0), ("x".repeat(SMALL), 0));
        assert_eq!(written(5000, 1, 5000), ("x".repeat(5000), 5000));
        let (refused, reservation) = written(5000, 1, 4999);
        assert!(refused.contains("session.max_buffered") && refused.ends_with("\"i\"}"));
        assert_eq!(reservation, 0);
        let (refused, _) = written(5000, 4000, 4999);
        assert!(refused.len() <= SMALL && refused.ends_with("\"id\":null}"));
    }
}
