//! The watches of a session: the newest value of each that its client hasn't been sent.

use std::sync::{Arc, Weak};

use circled_protocol::{DeviceKey, PublicKey, Role};
use tokio::sync::oneshot;

use super::{
    Inner,
    notice::{self, NoticeBatch},
};
use crate::rpc::watches::{Answer, Content, Ended, WatchGuard, Watcher};

/// The watches of one session.
#[derive(Debug, Default)]
pub(super) struct Values {
    list: Vec<Value>,
}

/// One watch.
#[derive(Debug)]
struct Value {
    name: u64,
    /// The caller who watches, if they had logged in.
    caller: Option<PublicKey>,
    /// The device key by which they act, if they do.
    device: Option<DeviceKey>,
    /// Ends the watch when it is dropped; nothing while it begins.
    guard: Option<WatchGuard>,
    /// The digest of the value that the client was sent last; nothing until the watch has begun.
    sent: Option<[u8; 32]>,
    pending: Option<Pending>,
}

/// The message that is to be sent next.
#[derive(Debug)]
enum Pending {
    /// An answer, and the commit at which it is so.
    Answer(Arc<Answer>, u64),
    /// The end, with the role that is needed.
    Ended(Option<Role>),
}

/// The first answer of a watch, or why there is none.
pub(in crate::rpc) type First = Result<FirstAnswer, Ended>;

/// The first answer of a watch.
#[derive(Debug)]
pub(in crate::rpc) struct FirstAnswer {
    pub(in crate::rpc) answer: Arc<Answer>,
    /// True if the client has it already.
    pub(in crate::rpc) is_known: bool,
    /// The commit at which it is so.
    pub(in crate::rpc) at: u64,
}

/// One watch, as its query sees it.
pub(in crate::rpc) struct SessionWatch {
    session: Weak<Inner>,
    name: u64,
    first: Option<oneshot::Sender<First>>,
}

impl Values {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn add(&mut self, name: u64, caller: Option<PublicKey>, device: Option<DeviceKey>) {
        self.list.push(Value {
            name,
            caller,
            device,
            guard: None,
            sent: None,
            pending: None,
        });
    }

    /// Keeps what ends a watch. Returns it if there is no such watch any more.
    pub(super) fn hold(&mut self, name: u64, guard: WatchGuard) -> Option<WatchGuard> {
        match self.find(name) {
            Some(value) => value.guard.replace(guard),
            None => Some(guard),
        }
    }

    /// Notes that the client is about to be sent the first answer. Returns false if the watch has ended.
    pub(super) fn begin(&mut self, name: u64, sent: [u8; 32]) -> bool {
        let value = self.find(name);
        let value = value.filter(|value| !matches!(value.pending, Some(Pending::Ended(_))));
        value.map(|value| value.sent = Some(sent)).is_some()
    }

    /// Removes a watch. Returns true if there was one of this name.
    pub(super) fn end(&mut self, name: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|value| value.name.to_string() != name);
        self.list.len() < before
    }

    /// Ends the watches of other callers and devices.
    pub(super) fn end_of_others(&mut self, caller: &PublicKey, device: Option<DeviceKey>) {
        for value in &mut self.list {
            let is_other = |other| other != *caller || value.device != device;
            if value.caller.is_some_and(is_other) {
                value.guard = None;
                value.pending = Some(Pending::Ended(None));
            }
        }
    }

    /// Adds what clients haven't been sent, as far as there is memory for it.
    pub(super) fn gather(&mut self, batch: &mut NoticeBatch<'_>) {
        self.list.retain_mut(|value| {
            let Some(sent) = &mut value.sent else {
                // The reply comes first.
                return true;
            };
            match &value.pending {
                None => {}
                Some(Pending::Ended(needs)) => {
                    batch.push(notice::watch_ended(value.name, *needs));
                    return false;
                }
                // It has changed back meanwhile.
                Some(Pending::Answer(answer, _)) if answer.digest() == *sent => {
                    value.pending = None;
                }
                Some(Pending::Answer(answer, at)) => {
                    let text = || match &answer.content {
                        Content::Value(json) => notice::value(value.name, json, *at),
                        Content::Failed(error) => notice::failed(value.name, error.clone(), *at),
                    };
                    // Most sessions have one watch, and all of those get the same text.
                    let text = match value.name {
                        1 => answer.shared(*at, text),
                        _ => text(),
                    };
                    if batch.try_push(text) {
                        *sent = answer.digest();
                        value.pending = None;
                    }
                }
            }
            true
        });
    }

    fn find(&mut self, name: u64) -> Option<&mut Value> {
        self.list.iter_mut().find(|value| value.name == name)
    }
}

impl SessionWatch {
    pub(super) fn new(session: Weak<Inner>, name: u64) -> (Self, oneshot::Receiver<First>) {
        let (sender, first) = oneshot::channel();
        let watch = Self {
            session,
            name,
            first: Some(sender),
        };
        (watch, first)
    }

    fn set(&self, pending: Pending) {
        if let Some(session) = self.session.upgrade() {
            if let Some(value) = session.state().values.find(self.name) {
                value.pending = Some(pending);
            }
            session.changed.notify_one();
        }
    }
}

impl Watcher for SessionWatch {
    fn begin(&mut self, answer: &Arc<Answer>, is_known: bool, at: u64) {
        if let Some(first) = self.first.take() {
            // The client may have left.
            let _ = first.send(Ok(FirstAnswer {
                answer: answer.clone(),
                is_known,
                at,
            }));
        }
    }

    fn tell(&mut self, answer: &Arc<Answer>, at: u64) {
        self.set(Pending::Answer(answer.clone(), at));
    }

    fn end(&mut self, why: Ended) {
        match self.first.take() {
            Some(first) => drop(first.send(Err(why))),
            None => self.set(Pending::Ended(match why {
                Ended::Needs(needs) => Some(needs),
                Ended::Failed(_) => None,
            })),
        }
    }
}
