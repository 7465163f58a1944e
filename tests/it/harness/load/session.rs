//! A session whose server may end at any time, and which gets one reply to each call whatever happens.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use circled_protocol::{PublicKey, Scheme, sign};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::GONE;
use crate::harness::{
    redis::circle,
    server::{Answer, TestServer, eventually, key, within},
};

/// The server is gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// A session with one call under way at a time. Results are `None` if the server is gone.
pub(crate) struct Session {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    /// Events that came before a reply.
    early: VecDeque<Value>,
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
        let mut session = Self {
            socket,
            last_id: 0,
            early: VecDeque::new(),
        };
        let me = key(3);
        let whom = json!({ "pubkey": me.public() });
        let text = session.reply("fetch_nonce", whom).await?;
        let signature = sign(Scheme::Eip191, &me, text.as_str().unwrap()).unwrap();
        let credentials = json!({ "pubkey": me.public(), "signature": signature });
        let logged_in = session.reply("authenticate", credentials).await?;
        assert_eq!(logged_in, json!(true));
        Some(session)
    }

    /// Returns the result of a call; `None` also if the server is about to go.
    async fn reply(&mut self, method: &str, params: Value) -> Option<Value> {
        match self.call(method, params).await? {
            Ok(result) => Some(result),
            Err(error) => {
                assert_eq!(error["code"], -32007, "{method}: {error}");
                None
            }
        }
    }

    /// Calls a method. The next message but for events must be the reply: an additional one would be noticed at the
    /// next call.
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
                let mut message = self.message().await.ok()?;
                if message["method"] != "event" {
                    return Some(message);
                }
                self.early.push_back(message["params"].take());
            }
        };
        let mut answer = within(&format!("an answer to {call}"), exchange).await?;
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

    /// Returns the next event; `None` if there is none for so long.
    pub(crate) async fn event(&mut self, most: Duration) -> Result<Option<Value>, Gone> {
        if let Some(event) = self.early.pop_front() {
            return Ok(Some(event));
        }
        // A message is read whole or not at all, whenever this ends.
        let Ok(message) = timeout(most, self.message()).await else {
            return Ok(None);
        };
        let mut message = message?;
        assert_eq!(message["method"], "event", "no event: {message}");
        Ok(Some(message["params"].take()))
    }

    async fn message(&mut self) -> Result<Value, Gone> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(circled_json::parse(&text).unwrap()),
                Some(Ok(Message::Ping(_))) => {}
                _ => return Err(Gone),
            }
        }
    }
}

/// Returns the value of a script, once it runs.
pub(crate) async fn ask(server: &TestServer, number: u8, script: &str) -> Value {
    let mut value = Value::Null;
    let mut session = Session::open(server.address, circle(number)).await.unwrap();
    eventually("a play to run", async || {
        match session.play(script, Value::Null).await.unwrap() {
            Ok(mut answer) => {
                value = answer["value"].take();
                true
            }
            Err(error) => {
                assert!(is_one_of(&error, GONE), "{error}");
                false
            }
        }
    })
    .await;
    value
}

/// Returns whether an error has one of these codes.
pub(crate) fn is_one_of(error: &Value, codes: &[i64]) -> bool {
    codes.contains(&error["code"].as_i64().unwrap())
}
