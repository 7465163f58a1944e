//! Enough of Redis's protocol to query a server: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::{
    fmt::{self, Display, Formatter},
    io,
    net::Ipv4Addr,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A server's reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, a number or a string.
    Text(Vec<u8>),
    Nil,
    List(Vec<Reply>),
    Error(String),
}

impl Reply {
    /// Returns the items of a list; nothing for anything else.
    pub(crate) fn items(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            _ => &[],
        }
    }
}

/// Displays like `redis-cli` without a terminal: nil is empty, a list has an item a line.
impl Display for Reply {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).fmt(f),
            Self::Nil => Ok(()),
            Self::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    let between = if n == 0 { "" } else { "\n" };
                    write!(f, "{between}{item}")?;
                }
                Ok(())
            }
            Self::Error(message) => message.fmt(f),
        }
    }
}

/// Sends one command over a connection of its own, because servers come and go here, and waits without a limit.
pub(crate) async fn ask(port: u16, command: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(&request(command)).await?;
    let mut received = Vec::new();
    loop {
        if let Some((reply, _)) = parse(&received) {
            return Ok(reply);
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

pub(crate) fn request(command: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        let word = word.as_ref();
        request.extend(format!("${}\r\n", word.len()).as_bytes());
        request.extend(word);
        request.extend(b"\r\n");
    }
    request
}

/// Returns the first reply and the rest, once it has come as a whole.
fn parse(received: &[u8]) -> Option<(Reply, &[u8])> {
    let end = received.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, mut rest) = (&received[..end], &received[end + 2..]);
    let (kind, text) = (line[0], &line[1..]);
    let length = || std::str::from_utf8(text).unwrap().parse().ok();
    let reply = match kind {
        b'+' | b':' => Reply::Text(text.to_vec()),
        b'-' => Reply::Error(String::from_utf8_lossy(text).into_owned()),
        b'$' => match length() {
            Some(length) => {
                let text = rest.get(..length)?;
                rest = rest.get(length + 2..)?;
                Reply::Text(text.to_vec())
            }
            // Their length is -1.
            None => Reply::Nil,
        },
        b'*' => match length() {
            Some(length) => {
                let mut items = Vec::new();
                for _ in 0..length {
                    let (item, after) = parse(rest)?;
                    items.push(item);
                    rest = after;
                }
                Reply::List(items)
            }
            None => Reply::Nil,
        },
        _ => panic!("no reply of Redis: {}", String::from_utf8_lossy(line)),
    };
    Some((reply, rest))
}
