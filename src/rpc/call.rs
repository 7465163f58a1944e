//! From a text to its reply: finding the method, refusing what may not be, and writing the answer.

use std::{future::Future, pin::Pin};

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

use super::{Context, Error, Id, Incoming, Invalid, Method, Request};

/// A future of a call that is under way.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a method answers.
pub enum Answer<T> {
    /// At once.
    Now(Result<T, Error>),
    /// When it is done.
    Later(Pending<Result<T, Error>>),
}

/// What is to be sent for a text, if anything.
pub enum Reply {
    /// This.
    Now(Option<String>),
    /// To come. Dropping it cancels the call.
    Later(Pending<Option<String>>),
}

/// Handles one message: runs what can be run at once, begins the rest.
pub fn on_text(context: &mut Context, text: &str) -> Reply {
    match Incoming::parse(text) {
        Err(error) => Reply::Now(Some(failed(&error, &Id::NULL))),
        Ok(Incoming::Single(Err(invalid))) => Reply::Now(Some(invalid.reply())),
        Ok(Incoming::Single(Ok(request))) => on_request(context, request),
        Ok(Incoming::Batch(batch)) if batch.len() > context.shared.limits.max_batch => {
            let error = Error::LimitExceeded {
                limit: "session.max_batch".into(),
                retry_after_ms: None,
            };
            Reply::Now(Some(failed(&error, &Id::NULL)))
        }
        Ok(Incoming::Batch(batch)) => {
            let replies = batch.requests().map(|request| match request {
                Ok(request) => on_request(context, request),
                Err(invalid) => Reply::Now(Some(invalid.reply())),
            });
            gather(replies.collect())
        }
    }
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

impl Invalid<'_> {
    fn reply(&self) -> String {
        failed(&self.error, &self.id)
    }
}

/// Turns a method's answer into the reply for `id`; a notification's answer goes nowhere.
pub(super) fn reply<T: Serialize + Send + 'static>(answer: Answer<T>, id: Option<Id<'_>>) -> Reply {
    match answer {
        Answer::Now(result) => Reply::Now(id.map(|id| finished(result, &id))),
        Answer::Later(pending) => {
            let id = id.map(Id::into_owned);
            Reply::Later(Box::pin(async move {
                let result = pending.await;
                id.map(|id| finished(result, &id))
            }))
        }
    }
}

fn on_request(context: &mut Context, request: Request<'_>) -> Reply {
    let refuse = |id: Option<Id<'_>>, error: Error| Reply::Now(id.map(|id| failed(&error, &id)));
    let Some(method) = Method::find(&request.method) else {
        let error = Error::MethodNotFound {
            reason: "rpc.discover lists the methods of this server".to_owned(),
        };
        return refuse(request.id, error);
    };
    let admitted = match context.permits(method.needs) {
        Ok(admitted) => admitted,
        Err(error) => return refuse(request.id, error),
    };
    if !context.has_room() {
        let error = Error::LimitExceeded {
            limit: "session.max_in_flight".into(),
            retry_after_ms: Some(100),
        };
        return refuse(request.id, error);
    }
    let quota = match context.count(method.needs, admitted) {
        Ok(quota) => quota,
        Err(error) => return refuse(request.id, error),
    };
    match (method.call)(context, admitted, request.id, request.params) {
        Reply::Later(pending) => {
            let permit = (context.begin(), quota);
            Reply::Later(Box::pin(async move {
                let _permit = permit;
                pending.await
            }))
        }
        now @ Reply::Now(_) => now,
    }
}

/// Makes one reply of a batch's: an array, in any order, or nothing where all were notifications.
fn gather(replies: Vec<Reply>) -> Reply {
    let mut now = Vec::new();
    let mut later = Vec::new();
    for reply in replies {
        match reply {
            Reply::Now(text) => now.extend(text),
            Reply::Later(pending) => later.push(pending),
        }
    }
    if later.is_empty() {
        return Reply::Now(array(&now));
    }
    Reply::Later(Box::pin(async move {
        now.extend(join_all(later).await.into_iter().flatten());
        array(&now)
    }))
}

fn array(replies: &[String]) -> Option<String> {
    (!replies.is_empty()).then(|| format!("[{}]", replies.join(",")))
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
