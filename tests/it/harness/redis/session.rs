//! A session whose server may end at any time, and which gets one reply to each call whatever happens.

use std::net::SocketAddr;

use circled_protocol::{PublicKey, Scheme, sign};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::fleet::circle;
use crate::harness::server::{Answer, TestServer, eventually, key, within};

/// The errors that a play may get while something is gone.
const REFUSALS: [i64; 2] = [-32007, -32004];

/// A session with one call under way at a time. Results are `None` if the server is gone.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
}

impl Session {
    /// Connects and logs in.
    pub(crate) async fn open(address: SocketAddr, circle: PublicKey) -> Option<Self> {
        let connecting = async {
            let stream = TcpStream::connect(address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let url = format!("ws://{address}/{circle}");
            client_async(url, stream).await.ok()
        };
        let (socket, _) = within("a session", connecting).await?;
        let mut session = Self { socket, last_id: 0 };
        let me = key(3);
        let whom = json!({ "pubkey": me.public() });
        let text = session.call("fetch_nonce", whom).await?.unwrap();
        let signature = sign(Scheme::Eip191, &me, text.as_str().unwrap()).unwrap();
        let credentials = json!({ "pubkey": me.public(), "signature": signature });
        let logged_in = session.call("authenticate", credentials).await?;
        assert_eq!(logged_in, Ok(json!(true)));
        Some(session)
    }

    /// Calls a method. The next message must be the reply: an additional one would be noticed at the next call.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Option<Answer> {
        self.last_id += 1;
        let call =
            json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        let exchange = async {
            self.socket
                .send(Message::text(call.to_string()))
                .await
                .ok()?;
            loop {
                match self.socket.next().await?.ok()? {
                    Message::Text(text) => return Some(text),
                    Message::Ping(_) => {}
                    _ => return None,
                }
            }
        };
        let text = within(&format!("an answer to {call}"), exchange).await?;
        let mut answer: Value = circled_json::parse(&text).unwrap();
        assert_eq!(answer["id"], self.last_id, "an answer to nothing: {answer}");
        match answer.get("error") {
            None => Some(Ok(answer["result"].take())),
            Some(_) => Some(Err(answer["error"].take())),
        }
    }

    pub(crate) async fn play(&mut self, script: &str, args: Value) -> Option<Answer> {
        let params = json!({ "script": script, "args": args });
        self.call("play", params).await
    }
}

/// Returns the value of a script, once it runs.
pub(crate) async fn ask(gateway: &TestServer, number: u8, script: &str) -> Value {
    let mut value = Value::Null;
    let mut session = Session::open(gateway.address, circle(number))
        .await
        .unwrap();
    eventually("a play to run", async || {
        match session.play(script, Value::Null).await.unwrap() {
            Ok(mut answer) => {
                value = answer["value"].take();
                true
            }
            Err(error) => {
                assert!(is_refusal(&error), "{error}");
                false
            }
        }
    })
    .await;
    value
}

pub(crate) fn is_refusal(error: &Value) -> bool {
    REFUSALS.contains(&error["code"].as_i64().unwrap())
}
