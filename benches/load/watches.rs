//! Live queries: what sessions that watch cost the plays of others.

use circled_protocol::SecretKey;
use serde_json::json;

use crate::{
    Subject,
    audience::Audience,
    server::{Process, Server},
    session::Session,
};

/// A server whose sessions watch keys that nobody writes, each another one.
pub(super) struct Watched {
    name: String,
    pub(super) server: Server,
    _audience: Option<Audience>,
}

impl Watched {
    /// Starts a server where nobody watches, and one where so many sessions do.
    pub(super) async fn all(circle: &SecretKey, sessions: usize) -> [Self; 2] {
        let nobody = Self {
            name: "nobody watches".to_owned(),
            server: Server::circled(circle),
            _audience: None,
        };
        let server = Server::circled(circle);
        let guest = SecretKey::generate().expect("randomness");
        let mut sockets = Vec::new();
        for n in 0..sessions {
            let mut session = Session::open(&server.url).await;
            session.login(&guest).await;
            let watch = json!({ "script": "store.get(`w${ARGS}`)", "args": n });
            session.call("watch", watch).await;
            sockets.push(session.into_stream());
        }
        let watched = Self {
            name: format!("{sessions} watch"),
            server,
            _audience: Some(Audience::new(sockets)),
        };
        [nobody, watched]
    }
}

impl Subject for Watched {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&self) -> Option<Process> {
        self.server.process()
    }
}
