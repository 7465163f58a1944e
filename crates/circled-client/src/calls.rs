//! The calls of a connection that are under way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use circled_json::Json;
use circled_protocol::methods::{self, Notification, ValueNotification};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::{
    Closed, Error,
    routes::{Feed, Routes, ValueFeed},
};

/// The waiting calls, and the routes of events. Once the connection is closed, nothing can wait any more.
#[derive(Debug)]
pub(crate) struct Calls {
    waiting: Mutex<HashMap<u64, Waiting>>,
    closed: OnceLock<Closed>,
    routes: Routes,
}

#[derive(Debug)]
enum Waiting {
    Reply(oneshot::Sender<Result<Reply, serde_json::Error>>),
    /// A call of `subscribe`: the subscription exists from the moment of the reply. If nobody waits any more, dropping
    /// it ends it.
    Subscription(oneshot::Sender<Result<Subscribed, Error>>),
    /// The same for a call of `watch`.
    Watch(oneshot::Sender<WatchResult>),
}

/// The first value of a watch, and those that follow.
type WatchResult = Result<(Json, ValueFeed), Error>;

/// A subscription that has begun.
#[derive(Debug)]
pub(crate) struct Subscribed {
    /// Its notices.
    pub(crate) feed: Feed,
    /// The event after which it begins.
    pub(crate) since: u64,
}

/// The server's reply to one call.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The result of a call that succeeded. The caller parses it, so an unreadable one becomes the caller's error.
    pub(crate) result: Option<Box<RawValue>>,
    /// The error of a call that failed.
    pub(crate) error: Option<Box<RawValue>>,
}

/// Removes the call from the list when it is answered or dropped.
#[derive(Debug)]
pub(crate) struct CallGuard {
    calls: Arc<Calls>,
    id: u64,
    reply: oneshot::Receiver<Result<Reply, serde_json::Error>>,
}

impl Calls {
    pub(crate) fn new(routes: Routes) -> Self {
        Self {
            waiting: Mutex::default(),
            closed: OnceLock::new(),
            routes,
        }
    }

    /// Returns the routes of events.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Returns the reason for the close, once the connection is closed.
    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.closed.get()
    }

    /// Adds a call to the list, before it is sent.
    pub(crate) fn begin(self: &Arc<Self>, id: u64) -> Result<CallGuard, Closed> {
        let (sender, reply) = oneshot::channel();
        self.wait(id, Waiting::Reply(sender))?;
        let calls = self.clone();
        Ok(CallGuard { calls, id, reply })
    }

    /// Adds a call of `subscribe` to the list. It stays there until the reply, even if the caller gives up, because the
    /// server may have accepted it.
    pub(crate) fn begin_subscribe(
        &self,
        id: u64,
    ) -> Result<oneshot::Receiver<Result<Subscribed, Error>>, Closed> {
        let (sender, reply) = oneshot::channel();
        self.wait(id, Waiting::Subscription(sender))?;
        Ok(reply)
    }

    /// Does the same for a call of `watch`.
    pub(crate) fn begin_watch(&self, id: u64) -> Result<oneshot::Receiver<WatchResult>, Closed> {
        let (sender, reply) = oneshot::channel();
        self.wait(id, Waiting::Watch(sender))?;
        Ok(reply)
    }

    /// Hands a reply to the waiting call, or an event to its subscription. Other messages are ignored.
    pub(crate) fn on_text(&self, text: &str) {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            result: Option<Box<RawValue>>,
            error: Option<Box<RawValue>>,
            #[serde(borrow)]
            method: Option<&'a RawValue>,
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let message = match circled_json::borrowed(text) {
            Ok(message) => message,
            Err(error) => return self.on_odd(text, error),
        };
        match message {
            Message {
                id: Some(id),
                method: None,
                result,
                error,
                ..
            } => {
                if let Ok(id) = id.get().parse() {
                    self.on_reply(id, Ok(Reply { result, error }));
                }
            }
            Message {
                method: Some(method),
                params: Some(params),
                ..
            } if names(method, <Notification>::NAME) => self.routes.on_event(params, text.len()),
            Message {
                method: Some(method),
                params: Some(params),
                ..
            } if names(method, <ValueNotification>::NAME) => self.routes.on_value(params),
            Message { .. } => {}
        }
    }

    /// Handles an unreadable message: the waiting call gets the error, if the message has its id.
    fn on_odd(&self, text: &str, error: serde_json::Error) {
        #[derive(Deserialize)]
        struct Identified {
            id: u64,
        }
        if let Ok(Identified { id }) = circled_json::from_str(text) {
            self.on_reply(id, Err(error));
        }
    }

    fn on_reply(&self, id: u64, reply: Result<Reply, serde_json::Error>) {
        // A caller that gave up in this moment doesn't need it.
        match self.waiting().remove(&id) {
            Some(Waiting::Reply(sender)) => drop(sender.send(reply)),
            Some(Waiting::Subscription(sender)) => drop(sender.send(self.subscribed(reply))),
            Some(Waiting::Watch(sender)) => drop(sender.send(self.watched(reply))),
            None => {}
        }
    }

    fn subscribed(&self, reply: Result<Reply, serde_json::Error>) -> Result<Subscribed, Error> {
        let answer = reply.map_err(Error::Answer).and_then(Reply::read);
        let answer = answer.inspect_err(|_| {
            self.routes.answered(None);
        })?;
        let methods::Subscribed {
            subscription,
            since,
        } = answer;
        match self.routes.answered(Some(subscription)) {
            Some(feed) => Ok(Subscribed { feed, since }),
            None => Err(self.gone().into()),
        }
    }

    fn watched(&self, reply: Result<Reply, serde_json::Error>) -> WatchResult {
        let watched: methods::Watched = reply.map_err(Error::Answer)?.read()?;
        let feed = self.routes.watch(watched.subscription);
        // Without `since`, there is a value.
        Ok((watched.value.unwrap_or_default(), feed))
    }

    /// Ends all calls and subscriptions.
    pub(crate) fn close(&self, closed: Closed) {
        // Only the first reason counts.
        let closed = self.closed.get_or_init(|| closed);
        self.waiting().clear();
        self.routes.close(closed);
    }

    /// Returns the reason why there is no reply.
    pub(crate) fn gone(&self) -> Closed {
        self.closed.get().cloned().unwrap_or_else(Closed::silently)
    }

    fn wait(&self, id: u64, who: Waiting) -> Result<(), Closed> {
        let mut waiting = self.waiting();
        // This is done under the lock, because closing sets the reason first and then empties the list.
        if let Some(closed) = self.closed.get() {
            return Err(closed.clone());
        }
        if matches!(who, Waiting::Subscription(_)) {
            self.routes.ask();
        }
        waiting.insert(id, who);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(method: &RawValue, name: &str) -> bool {
    circled_json::borrowed::<&str>(method.get()).is_ok_and(|method| method == name)
}

impl Reply {
    /// Returns the server's result, or its error.
    pub(crate) fn read<R: DeserializeOwned>(self) -> Result<R, Error> {
        match self.error {
            Some(error) => Err(Error::Rpc(circled_json::from_str(error.get())?)),
            None => {
                let result = self.result.as_deref().unwrap_or(RawValue::NULL);
                Ok(circled_json::from_str(result.get())?)
            }
        }
    }
}

impl CallGuard {
    /// Waits for the reply.
    pub(crate) async fn reply(mut self) -> Result<Reply, Error> {
        let reply = (&mut self.reply).await;
        Ok(reply.map_err(|_| self.calls.gone())??)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.calls.waiting().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use circled_json::Json;
    use futures_util::{FutureExt, future::poll_fn};
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    use super::{
        super::{Notice, routes::Command},
        *,
    };

    fn calls() -> (Arc<Calls>, mpsc::UnboundedReceiver<Command>) {
        let (sender, commands) = mpsc::unbounded_channel();
        (Arc::new(Calls::new(Routes::new(sender))), commands)
    }

    #[tokio::test]
    async fn replies_find_their_calls() {
        let (calls, _commands) = calls();
        let (one, two) = (calls.begin(1).unwrap(), calls.begin(2).unwrap());
        calls.on_text("no JSON");
        calls.on_text(r#"{"jsonrpc":"2.0","id":"1","result":0}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":3,"result":3}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":2,"result":2}"#);
        calls.on_text(r#"{"jsonrpc":"2.0","id":1,"error":"odd"}"#);
        let two: u64 = two.reply().await.unwrap().read().unwrap();
        assert_eq!(two, 2);
        let one = one.reply().await.unwrap().read::<u64>();
        assert!(matches!(one, Err(Error::Answer(_))), "{one:?}");
    }

    #[tokio::test]
    async fn a_reply_that_cannot_be_read_is_an_error_of_that_call_alone() {
        let (calls, _commands) = calls();
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for (id, reply) in [
            r#""result":1,"result":2"#,
            r#""error":{"code":"x"}"#,
            &format!(r#""result":{deep}"#),
        ]
        .into_iter()
        .enumerate()
        {
            let id = u64::try_from(id).unwrap();
            let (odd, next) = (calls.begin(id).unwrap(), calls.begin(100).unwrap());
            calls.on_text(&format!(r#"{{"jsonrpc":"2.0","id":{id},{reply}}}"#));
            calls.on_text(r#"{"jsonrpc":"2.0","id":100,"result":7}"#);
            let odd = odd.reply().await.and_then(Reply::read::<Json>);
            assert!(matches!(odd, Err(Error::Answer(_))), "{reply}: {odd:?}");
            assert_eq!(next.reply().await.unwrap().read::<u64>().unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn a_closed_connection_answers_nobody() {
        let (calls, _commands) = calls();
        let waiting = calls.begin(1).unwrap();
        calls.close(Closed {
            code: Some(1001),
            reason: "stopping".into(),
        });
        calls.close(Closed::silently());
        let Err(Error::Closed(closed)) = waiting.reply().await else {
            panic!("it was closed")
        };
        assert_eq!(closed.code, Some(1001));
        assert_eq!(calls.begin(2).unwrap_err(), closed);
    }

    #[test]
    fn a_call_that_is_given_up_leaves_nothing() {
        let (calls, _commands) = calls();
        drop(calls.begin(1).unwrap());
        assert!(calls.waiting().is_empty());
    }

    fn event(subscription: &str, id: u64) -> String {
        let params = json!({
            "subscription": subscription, "id": id, "topic": "t", "data": null, "at": "2026-11-25T10:00:00Z", "more": [],
        });
        json!({ "jsonrpc": "2.0", "method": "event", "params": params }).to_string()
    }

    fn subscribed(id: u64, name: &str, since: u64) -> String {
        let result = json!({ "subscription": name, "since": since });
        json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()
    }

    /// Returns the notices until now; `end` for an end without an error.
    fn read(feed: &mut Feed) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(next) = poll_fn(|context| feed.poll_next(context)).now_or_never() {
            match next {
                Some(Ok(Notice::Event(event))) => read.push(event.id.to_string()),
                Some(Ok(notice)) => read.push(format!("{notice:?}")),
                Some(Err(error)) => read.push(error.to_string()),
                None => {
                    read.push("end".to_owned());
                    break;
                }
            }
        }
        read
    }

    #[test]
    fn events_before_the_reply_are_kept_for_whose_they_are() {
        let (calls, mut commands) = calls();
        calls.on_text(&event("1", 1));
        let mut one = calls.begin_subscribe(1).unwrap();
        let mut two = calls.begin_subscribe(2).unwrap();
        for (name, id) in [("2", 7), ("1", 7), ("x", 7), ("1", 8)] {
            calls.on_text(&event(name, id));
        }
        calls.on_text(&subscribed(1, "1", 6));
        calls.on_text(&event("1", 9));
        calls.on_text(&subscribed(2, "2", 6));
        let mut one = one.try_recv().unwrap().unwrap();
        let mut two = two.try_recv().unwrap().unwrap();
        assert_eq!(
            (one.since, read(&mut one.feed)),
            (6, vec!["7".to_owned(), "8".to_owned(), "9".to_owned()])
        );
        assert_eq!(read(&mut two.feed), ["7"]);
        // Nobody had asked for that one.
        assert_eq!(
            commands.try_recv(),
            Ok(Command::Unsubscribe("x".to_owned()))
        );
        drop(two);
        assert_eq!(
            commands.try_recv(),
            Ok(Command::Unsubscribe("2".to_owned()))
        );
        calls.on_text(&event("3", 10));
        assert!(commands.try_recv().is_err() && read(&mut one.feed).is_empty());
    }

    #[test]
    fn a_subscription_that_nobody_waits_for_is_ended() {
        let (calls, mut commands) = calls();
        let early = calls.begin_subscribe(1).unwrap();
        drop(early);
        calls.on_text(&subscribed(1, "1", 0));
        assert_eq!(
            commands.try_recv(),
            Ok(Command::Unsubscribe("1".to_owned()))
        );
        let late = calls.begin_subscribe(2).unwrap();
        calls.on_text(&subscribed(2, "2", 0));
        drop(late);
        assert_eq!(
            commands.try_recv(),
            Ok(Command::Unsubscribe("2".to_owned()))
        );
    }

    #[test]
    fn a_subscription_tells_how_it_ended() {
        let (calls, mut commands) = calls();
        let mut feeds: Vec<Feed> = (1..=4)
            .map(|id| {
                let mut reply = calls.begin_subscribe(id).unwrap();
                calls.on_text(&subscribed(id, &id.to_string(), 0));
                reply.try_recv().unwrap().unwrap().feed
            })
            .collect();
        let told = |params: Value| {
            json!({ "jsonrpc": "2.0", "method": "event", "params": params }).to_string()
        };
        calls.on_text(&told(
            json!({ "subscription": "1", "gap": true, "since": 40 }),
        ));
        calls.on_text(&told(json!({ "subscription": "1", "later": "things" })));
        calls.on_text(&told(
            json!({ "subscription": "1", "ended": true, "needs": "member" }),
        ));
        calls.on_text(&event("1", 41));
        assert_eq!(
            read(&mut feeds[0]),
            [
                "Gap { since: 40 }",
                "Ended { needs: Some(\"member\") }",
                "end"
            ]
        );
        for id in 1..=5000 {
            calls.on_text(&event("3", id));
        }
        let behind = read(&mut feeds[2]);
        assert_eq!((behind.len(), behind[4095].as_str()), (4098, "4096"));
        assert_eq!(behind[4096], Error::Behind.to_string());
        assert_eq!(
            commands.try_recv(),
            Ok(Command::Unsubscribe("3".to_owned()))
        );
        calls.on_text(&event("4", 1));
        calls.close(Closed {
            code: Some(1013),
            reason: "slow".into(),
        });
        let closed = read(&mut feeds[3]);
        assert!(
            closed[0] == "1" && closed[1].contains("1013") && closed[2] == "end",
            "{closed:?}"
        );
        drop(feeds);
        assert!(commands.try_recv().is_err(), "there is nothing to end");
    }

    #[test]
    fn an_event_that_cannot_be_read_is_passed_over_and_told() {
        let (calls, mut commands) = calls();
        let mut reply = calls.begin_subscribe(1).unwrap();
        calls.on_text(&subscribed(1, "1", 0));
        let mut feed = reply.try_recv().unwrap().unwrap().feed;
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        calls.on_text(&event("1", 1));
        calls.on_text(&event("1", 2).replace("null", &deep));
        calls.on_text(&event("1", 3).replace("2026-11-25", "some day"));
        calls.on_text(&event("1", 4).replace("\"id\":4", "\"id\":\"?\""));
        calls.on_text(&event("1", 5));
        let read = read(&mut feed);
        assert_eq!((read[0].as_str(), read[4].as_str()), ("1", "5"));
        for (notice, id) in read[1..4].iter().zip(["Some(2)", "Some(3)", "None"]) {
            assert!(
                notice.starts_with(&format!("Unreadable {{ id: {id}, why: ")),
                "{notice}"
            );
        }
        assert!(commands.try_recv().is_err(), "the subscription goes on");
    }

    #[test]
    fn unread_events_are_bounded_in_bytes_too() {
        let (calls, _commands) = calls();
        let mut reply = calls.begin_subscribe(1).unwrap();
        calls.on_text(&subscribed(1, "1", 0));
        let mut feed = reply.try_recv().unwrap().unwrap().feed;
        let long = "x".repeat(1 << 20);
        for id in 1..=20 {
            calls.on_text(&event("1", id).replace("null", &format!("{long:?}")));
        }
        let read = read(&mut feed);
        assert_eq!(
            (read.len(), read[15].as_str()),
            (17, &*Error::Behind.to_string())
        );
    }
}
