//! The calls that are under way in a connection, and who waits for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::Closed;

/// Who waits for which reply; nobody can any more once the connection has closed.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    closed: OnceLock<Closed>,
}

/// What the server answered to one call.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    /// Where the call succeeded.
    #[serde(default)]
    pub(super) result: Value,
    /// Where it failed. Looked at by the caller, so that a senseless one reaches them too.
    pub(super) error: Option<Value>,
}

/// Takes the call off the list when it is answered or given up.
#[derive(Debug)]
pub(super) struct CallGuard {
    calls: Arc<Calls>,
    id: u64,
    reply: oneshot::Receiver<Reply>,
}

impl Calls {
    /// Puts a call on the list, to be sent then.
    pub(super) fn begin(self: &Arc<Self>, id: u64) -> Result<CallGuard, Closed> {
        let (sender, reply) = oneshot::channel();
        let mut waiting = self.waiting();
        // Under the lock: closing says why, then empties the list.
        if let Some(closed) = self.closed.get() {
            return Err(closed.clone());
        }
        waiting.insert(id, sender);
        let calls = self.clone();
        Ok(CallGuard { calls, id, reply })
    }

    /// Hands a reply to who waits for it. Whatever else a server sends is for nobody.
    pub(super) fn on_text(&self, text: &str) {
        #[derive(Deserialize)]
        struct Answer {
            id: Option<u64>,
            #[serde(flatten)]
            reply: Reply,
        }
        let Ok(Answer {
            id: Some(id),
            reply,
        }) = serde_json::from_str(text)
        else {
            return;
        };
        let waiting = self.waiting().remove(&id);
        if let Some(waiting) = waiting {
            // Whoever gave up in this moment doesn't want it.
            let _ = waiting.send(reply);
        }
    }

    /// There will be no more replies.
    pub(super) fn close(&self, frame: Option<CloseFrame>) {
        let closed = frame.map_or_else(went_away, |frame| Closed {
            code: Some(frame.code.into()),
            reason: frame.reason.as_str().to_owned(),
        });
        // Only the first reason counts.
        let _ = self.closed.set(closed);
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallGuard {
    /// Waits for the reply.
    pub(super) async fn reply(mut self) -> Result<Reply, Closed> {
        let reply = (&mut self.reply).await;
        reply.map_err(|_| self.calls.closed.get().cloned().unwrap_or_else(went_away))
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.calls.waiting().remove(&self.id);
    }
}

fn went_away() -> Closed {
    Closed {
        code: None,
        reason: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_find_their_calls() {
        let calls = Arc::new(Calls::default());
        let (one, two) = (calls.begin(1).unwrap(), calls.begin(2).unwrap());
        calls.on_text("no JSON");
        calls.on_text(r#"{"jsonrpc":"2.0","id":"1","result":0}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":3,"result":3}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":2,"result":2}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":1,"error":"odd"}"#);
        assert_eq!(two.reply().await.unwrap().result, 2);
        assert_eq!(one.reply().await.unwrap().error, Some("odd".into()));
    }

    #[tokio::test]
    async fn a_closed_connection_answers_nobody() {
        let calls = Arc::new(Calls::default());
        let waiting = calls.begin(1).unwrap();
        calls.close(Some(CloseFrame {
            code: 1001.into(),
            reason: "stopping".into(),
        }));
        calls.close(None);
        let closed = waiting.reply().await.unwrap_err();
        assert_eq!(closed.code, Some(1001));
        assert_eq!(calls.begin(2).unwrap_err(), closed);
    }

    #[test]
    fn a_call_that_is_given_up_leaves_nothing() {
        let calls = Arc::new(Calls::default());
        drop(calls.begin(1).unwrap());
        assert!(calls.waiting().is_empty());
    }
}
