//! Very many subscribers at little cost: one thread reads all their sockets and counts frames.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use tokio::sync::Notify;

/// The most ready sockets that are handled at once.
const READY: usize = 256;
/// The interval at which the thread checks if it must end.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// A pong without a payload, as clients write it.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// The subscribers of one server.
pub(super) struct Audience {
    pub(super) count: usize,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

/// The arrival of one event at one subscriber.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// The index of the event, from 0.
    pub(super) event: usize,
    pub(super) at: Instant,
}

#[derive(Default)]
struct Shared {
    arrivals: Mutex<Vec<Arrival>>,
    arrived: AtomicU64,
    gone: AtomicUsize,
    /// Notified when all have received as many more events as there are subscribers.
    progress: Notify,
    stop: AtomicBool,
}

impl Audience {
    /// Creates an audience from sockets that receive nothing but events.
    pub(super) fn new(sockets: Vec<TcpStream>) -> Self {
        let count = sockets.len();
        let shared = Arc::new(Shared::default());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
        let subscribers = (0..).zip(sockets).map(|(n, socket)| {
            let data = epoll::EventData::new_u64(n);
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN).expect("to be added");
            Subscriber {
                socket,
                frames: Frames::default(),
                events: 0,
            }
        });
        let subscribers = subscribers.collect();
        let reader = std::thread::spawn({
            let shared = shared.clone();
            move || read(&epoll, subscribers, &shared)
        });
        Self {
            count,
            shared,
            reader: Some(reader),
        }
    }

    /// Returns the events at all subscribers together, so far.
    pub(super) fn arrived(&self) -> u64 {
        self.shared.arrived.load(Relaxed)
    }

    /// Returns the number of subscribers whose sockets the server has closed.
    pub(super) fn gone(&self) -> usize {
        self.shared.gone.load(Relaxed)
    }

    /// Waits until there are more. May return early.
    pub(super) async fn progress(&self) {
        self.shared.progress.notified().await;
    }

    /// Returns the arrivals since the last call, in order.
    pub(super) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.shared.arrivals())
    }
}

impl Shared {
    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().expect("no panic")
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

struct Subscriber {
    socket: TcpStream,
    frames: Frames,
    events: usize,
}

fn read(epoll: &OwnedFd, mut subscribers: Vec<Subscriber>, shared: &Shared) {
    let mut ready: Vec<epoll::Event> = Vec::with_capacity(READY);
    let mut buffer = vec![0; 64 << 10];
    let count = subscribers.len() as u64;
    while !shared.stop.load(Relaxed) {
        epoll::wait(epoll, spare_capacity(&mut ready), Some(&LOOK)).expect("an epoll");
        let mut arrivals = shared.arrivals();
        let mut arrived = 0;
        for event in ready.drain(..) {
            let n = usize::try_from(event.data.u64()).expect("an index");
            let subscriber = &mut subscribers[n];
            let before = subscriber.events;
            if !subscriber.read(&mut buffer) {
                epoll::delete(epoll, &subscriber.socket).expect("to be there");
                shared.gone.fetch_add(1, Relaxed);
            }
            let at = Instant::now();
            arrivals.extend((before..subscriber.events).map(|event| Arrival { event, at }));
            arrived += (subscriber.events - before) as u64;
        }
        drop(arrivals);
        let before = shared.arrived.fetch_add(arrived, Relaxed);
        if before / count != (before + arrived) / count {
            shared.progress.notify_one();
        }
    }
}

impl Subscriber {
    /// Reads the available bytes. Returns false if the socket has ended.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let read = match self.socket.read(buffer) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let mut is_open = true;
        let (socket, events) = (&mut self.socket, &mut self.events);
        self.frames.push(&buffer[..read], |opcode| match opcode {
            1 => *events += 1,
            9 => is_open &= socket.write_all(&PONG).is_ok(),
            _ => is_open = false,
        });
        is_open
    }
}

/// The frames of a stream of bytes (RFC 6455, section 5.2) in the form of servers: without masks.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 10],
    /// The bytes of the head that have come.
    known: usize,
    /// The bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Takes bytes, and calls `ended` with the opcode of each frame that ends in them.
    fn push(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u8)) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = bytes
                    .len()
                    .min(usize::try_from(self.left).expect("64 bits"));
                bytes = &bytes[taken..];
                self.left -= taken as u64;
            } else {
                bytes = rest;
                self.head[self.known] = first;
                self.known += 1;
                let Some(length) = self.length() else {
                    continue;
                };
                (self.known, self.left) = (0, length);
            }
            if self.left == 0 {
                ended(self.head[0] & 0x0f);
            }
        }
    }

    /// Returns the length of the payload, once the head is whole.
    fn length(&self) -> Option<u64> {
        let [_, short, long @ ..] = self.head;
        match (self.known, short) {
            (2, 0..=125) => Some(short.into()),
            (4, 126) => Some(u16::from_be_bytes([long[0], long[1]]).into()),
            (10, 127) => Some(u64::from_be_bytes(long)),
            _ => None,
        }
    }
}

/// The time in which every subscriber must get the events.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
