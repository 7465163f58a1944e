//! From a text to its reply: finding the method, refusing what may not be, and writing the answer.

use std::{future::Future, pin::Pin};

use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::Serialize;
use serde_json::Value;

use super::{Batch, Context, Error, Id, Incoming, Method, Request};
use crate::memory::{MemoryBudget, Reservation, SMALL};

/// A future of a call that is under way.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a method answers.
pub enum Answer<T> {
    /// At once.
    Now(Result<T, Error>),
    /// When it is done.
    Later(Pending<Result<T, Error>>),
    /// The same, with room for it that was reserved before it happened.
    Reserved(Pending<(Result<T, Error>, Option<Reservation>)>),
}

/// What is to be sent, with its room.
#[derive(Debug)]
pub struct Written {
    /// A reply, or an array of them.
    pub text: String,
    /// What it counts as held, until it is sent. What is small needs none.
    pub room: Option<Reservation>,
}

/// What is to be sent for a text, if anything.
pub enum Reply {
    /// This.
    Now(Option<Written>),
    /// To come. Dropping it cancels the call.
    Later(Pending<Option<Written>>),
}

/// What each value within parameters takes in memory, about.
const VALUE: usize = 72;

/// Handles one message: runs what can be run at once, begins the rest.
pub fn on_text(context: &mut Context, text: &str) -> Reply {
    match Incoming::parse(text) {
        Err(error) => refuse(Some(Id::NULL), &error, &context.memory),
        Ok(Incoming::Single(Err(invalid))) => {
            refuse(Some(invalid.id), &invalid.error, &context.memory)
        }
        Ok(Incoming::Single(Ok(request))) => on_request(context, request),
        Ok(Incoming::Batch(batch)) if batch.len() > context.shared.limits.max_batch => {
            let error = Error::LimitExceeded {
                limit: "session.max_batch".into(),
                retry_after_ms: None,
            };
            refuse(Some(Id::NULL), &error, &context.memory)
        }
        Ok(Incoming::Batch(batch)) => on_batch(context, &batch),
    }
}

/// Begins the elements of a batch, one after another, for as long as there is room for what they answer.
fn on_batch(context: &mut Context, batch: &Batch<'_>) -> Reply {
    let most = context.shared.limits.max_reply;
    let room = context.memory.part("session.max_reply", most, 0);
    let whole = std::mem::replace(&mut context.memory, room.clone());
    let mut gathered = Gathered::default();
    let mut later = Vec::new();
    let mut full = None;
    for request in batch.requests() {
        let reply = match (request, full) {
            (Ok(request), None) => on_request(context, request),
            (Ok(request), Some(over)) => refuse(request.id, &Error::from(over), &room),
            (Err(invalid), _) => refuse(Some(invalid.id), &invalid.error, &room),
        };
        match reply {
            Reply::Now(None) => {}
            Reply::Now(Some(mut written)) => {
                if written.room.is_none() {
                    match room.try_reserve(written.text.len()) {
                        Ok(room) => written.room = Some(room),
                        // This one has happened, and is told. No other does.
                        Err(over) => full = Some(over),
                    }
                }
                gathered.add(written);
            }
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
                gathered.add(written);
            }
        }
        gathered.finish()
    }))
}

/// The reply to a message that is no text, or no call.
pub(crate) fn failed(error: &Error, id: &Id<'_>) -> String {
    write(
        "error",
        &ErrorObject {
            code: error.code(),
            message: error.to_string(),
            data: error.data(),
        },
        id,
    )
}

/// Turns a method's answer into the reply for `id`, which counts in `memory`; a notification's answer goes nowhere.
pub(super) fn reply<T: Serialize + Send + 'static>(
    answer: Answer<T>,
    id: Option<Id<'_>>,
    memory: &MemoryBudget,
) -> Reply {
    match answer {
        Answer::Now(result) => {
            Reply::Now(id.map(|id| Written::new(finished(result, &id), &id, memory)))
        }
        Answer::Later(pending) => {
            let Some(id) = id.map(Id::into_owned) else {
                return unheard(pending);
            };
            let memory = memory.clone();
            Reply::Later(Box::pin(async move {
                let result = pending.await;
                Some(Written::new(finished(result, &id), &id, &memory))
            }))
        }
        Answer::Reserved(pending) => {
            let Some(id) = id.map(Id::into_owned) else {
                return unheard(pending);
            };
            let memory = memory.clone();
            Reply::Later(Box::pin(async move {
                let (result, room) = pending.await;
                let text = finished(result, &id);
                let Some(mut room) = room else {
                    return Some(Written::new(text, &id, &memory));
                };
                // It was reserved for all but the id. What has happened is told.
                let _ = room.resize(text.len());
                let room = Some(room);
                Some(Written { text, room })
            }))
        }
    }
}

fn unheard<T: Send + 'static>(pending: Pending<T>) -> Reply {
    Reply::Later(Box::pin(async move {
        pending.await;
        None
    }))
}

fn refuse(id: Option<Id<'_>>, error: &Error, memory: &MemoryBudget) -> Reply {
    Reply::Now(id.map(|id| Written::new(failed(error, &id), &id, memory)))
}

fn on_request(context: &mut Context, request: Request<'_>) -> Reply {
    let Some(method) = Method::find(&request.method) else {
        let error = Error::MethodNotFound {
            reason: "rpc.discover lists the methods of this server".to_owned(),
        };
        return refuse(request.id, &error, &context.memory);
    };
    let admitted = match context.permits(method.needs) {
        Ok(admitted) => admitted,
        Err(error) => return refuse(request.id, &error, &context.memory),
    };
    if let Err(error) = context.has_room() {
        return refuse(request.id, &error, &context.memory);
    }
    let quota = match context.count(method.needs, admitted) {
        Ok(quota) => quota,
        Err(error) => return refuse(request.id, &error, &context.memory),
    };
    let params = match request.params.map_or(0, weight) {
        little if little <= SMALL => None,
        bytes => match context.requests.try_reserve(bytes) {
            Ok(room) => Some(room),
            Err(over) => return refuse(request.id, &Error::from(over), &context.memory),
        },
    };
    match (method.call)(context, admitted, request.id, request.params) {
        Reply::Later(pending) => {
            let permit = (context.begin(), quota, params);
            Reply::Later(Box::pin(async move {
                let _permit = permit;
                pending.await
            }))
        }
        now @ Reply::Now(_) => now,
    }
}

/// Returns what parameters take in memory, about: what they are written in, and a value for each that may be in them.
fn weight(params: &str) -> usize {
    let values = params
        .bytes()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'));
    params.len() + VALUE * values.count()
}

impl Written {
    /// The reply for `id`, with room for it. Where there is none, an error takes its place, which is small: an id that
    /// isn't stands in it as null.
    fn new(text: String, id: &Id<'_>, memory: &MemoryBudget) -> Self {
        if text.len() <= SMALL {
            return Self { text, room: None };
        }
        match memory.try_reserve(text.len()) {
            Ok(room) => Self {
                text,
                room: Some(room),
            },
            Err(over) => {
                let error = Error::from(over);
                let mut text = failed(&error, id);
                if text.len() > SMALL {
                    text = failed(&error, &Id::NULL);
                }
                Self { text, room: None }
            }
        }
    }
}

/// Makes one reply of a batch's: an array, in any order, or nothing where all were notifications.
#[derive(Default)]
struct Gathered {
    text: String,
    room: Option<Reservation>,
}

impl Gathered {
    fn add(&mut self, written: Written) {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        self.text.push_str(&written.text);
        match (&mut self.room, written.room) {
            (Some(room), Some(more)) => room.absorb(more),
            (room @ None, more) => *room = more,
            (Some(_), None) => {}
        }
    }

    fn finish(mut self) -> Option<Written> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(Written {
            text: self.text,
            room: self.room,
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
    match result {
        Ok(value) => write("result", &value, id),
        Err(error) => failed(&error, id),
    }
}

/// Writes a response object: `member` is `result` or `error`.
fn write<T: Serialize>(member: &str, value: &T, id: &Id<'_>) -> String {
    let mut text = Vec::with_capacity(192);
    text.extend_from_slice(br#"{"jsonrpc":"2.0",""#);
    text.extend_from_slice(member.as_bytes());
    text.extend_from_slice(br#"":"#);
    let start = text.len();
    if let Err(error) = serde_json::to_writer(&mut text, value) {
        // Maps with odd keys and failing `Serialize`s can't be written; none of ours are.
        tracing::error!(%error, "failed to write a reply");
        text.truncate(start);
        text.extend_from_slice(b"null");
    }
    text.extend_from_slice(br#","id":"#);
    text.extend_from_slice(id.as_json().as_bytes());
    text.push(b'}');
    // serde_json writes UTF-8 only, and ids come from a `str`.
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
        let Ok(Incoming::Single(Ok(request))) = Incoming::parse(&request) else {
            panic!("no request: {request}");
        };
        let id = request.id.unwrap();
        let Written { text, room } = Written::new("x".repeat(text), &id, &memory);
        (text, room.map_or(0, |room| room.bytes()))
    }

    #[test]
    fn what_is_small_needs_no_room_and_the_rest_is_refused_without() {
        assert_eq!(written(SMALL, 1, 0), ("x".repeat(SMALL), 0));
        assert_eq!(written(5000, 1, 5000), ("x".repeat(5000), 5000));
        let (refused, room) = written(5000, 1, 4999);
        assert!(refused.contains("session.max_buffered") && refused.ends_with("\"i\"}"));
        assert_eq!(room, 0);
        let (refused, _) = written(5000, 4000, 4999);
        assert!(refused.len() <= SMALL && refused.ends_with("\"id\":null}"));
    }
}
