//! Notifications to a session about its subscriptions.

use circled_protocol::{
    Role, RpcError, Word,
    methods::{self, Notification, ValueNotice, ValueNotification},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    memory::{MemoryBudget, Reservation},
    rpc::Error,
    script::RunError,
    store::Event,
};

/// A notification to be sent, with its memory.
#[derive(Debug)]
pub struct Notice {
    /// The notification.
    pub text: Utf8Bytes,
    /// The memory that counts as held until it is sent; `None` for a small one.
    pub reservation: Option<Reservation>,
}

/// Notifications that are sent together, as far as there is memory for them.
pub(super) struct NoticeBatch<'a> {
    memory: &'a MemoryBudget,
    notices: Vec<Notice>,
    is_full: bool,
}

impl From<Utf8Bytes> for Notice {
    fn from(small: Utf8Bytes) -> Self {
        Self {
            text: small,
            reservation: None,
        }
    }
}

impl<'a> NoticeBatch<'a> {
    pub(super) fn new(memory: &'a MemoryBudget) -> Self {
        Self {
            memory,
            notices: Vec::new(),
            is_full: false,
        }
    }

    /// Adds a small notification, which needs no memory.
    pub(super) fn push(&mut self, small: Utf8Bytes) {
        self.notices.push(small.into());
    }

    /// Adds a notification. Returns true if there was memory for it, and for all before it.
    pub(super) fn try_push(&mut self, text: Utf8Bytes) -> bool {
        if self.is_full {
            return false;
        }
        match self.memory.try_reserve(text.len()) {
            Ok(reservation) => self.notices.push(Notice {
                text,
                reservation: Some(reservation),
            }),
            Err(_) => self.is_full = true,
        }
        !self.is_full
    }

    /// Returns true if an event found no memory.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.notices.iter().map(|notice| notice.text.len()).sum()
    }

    pub(super) fn into_notices(self) -> Vec<Notice> {
        self.notices
    }
}

/// Returns the notification of an event.
pub(super) fn event(subscription: u64, event: &Event) -> Utf8Bytes {
    let notice = methods::Notice::Event(methods::Event {
        id: event.id,
        topic: &*event.topic,
        data: &*event.data,
        at: event.at,
    });
    notification(subscription, notice)
}

/// Returns the notification that the events up to `since` are missing.
pub(super) fn gap(subscription: u64, since: u64) -> Utf8Bytes {
    notification(subscription, methods::Notice::Gap { gap: true, since })
}

/// Returns the notification that a subscription has ended, with the role that it needs.
pub(super) fn ended(subscription: u64, needs: Option<Role>) -> Utf8Bytes {
    let needs = needs.map(Word::Known);
    notification(subscription, methods::Notice::Ended { ended: true, needs })
}

fn notification(subscription: u64, notice: methods::Notice<&RawValue, &str>) -> Utf8Bytes {
    let params = Notification {
        subscription: &*subscription.to_string(),
        notice,
    };
    message(<Notification>::NAME, &params)
}

/// Returns the notification of another value of a watch.
pub(super) fn value(watch: u64, value: &RawValue, at: u64) -> Utf8Bytes {
    of_watch(watch, ValueNotice::Value { value, at })
}

/// Returns the notification that the script of a watch fails.
pub(super) fn failed(watch: u64, error: RunError, at: u64) -> Utf8Bytes {
    let error = Error::from(error);
    let error = RpcError {
        code: error.code(),
        message: error.to_string(),
        data: error.data().unwrap_or_default(),
    };
    of_watch(watch, ValueNotice::Failed { error, at })
}

/// Returns the notification that a watch has ended, with the role that it needs.
pub(super) fn watch_ended(watch: u64, needs: Option<Role>) -> Utf8Bytes {
    let needs = needs.map(Word::Known);
    of_watch(watch, ValueNotice::Ended { ended: true, needs })
}

fn of_watch(watch: u64, notice: ValueNotice<&RawValue>) -> Utf8Bytes {
    let params = ValueNotification {
        subscription: &*watch.to_string(),
        notice,
    };
    message(<ValueNotification>::NAME, &params)
}

fn message(method: &'static str, params: &impl Serialize) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Message<'a, P> {
        jsonrpc: &'static str,
        method: &'static str,
        params: &'a P,
    }
    let message = Message {
        jsonrpc: "2.0",
        method,
        params,
    };
    // Names, numbers and stored JSON can always be written.
    serde_json::to_string(&message).unwrap_or_default().into()
}
