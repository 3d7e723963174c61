//! The floor: blocking reads on as many threads, which only stamp and count.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{Events, HEAD, Request};

const STACK_BYTES: usize = 64 << 10;
/// Time between the first requests of two streams: the client's.
const RAMP: Duration = Duration::from_micros(250);

/// The requests that are sent, and how often.
#[derive(Clone, Copy)]
pub struct Load {
    pub addr: SocketAddr,
    pub streams: usize,
    pub requests: usize,
    pub prompt_bytes: usize,
    pub tokens: usize,
}

/// The times at which the request was sent and its first and last token were read.
struct Stamps {
    id: usize,
    send: Instant,
    first: Instant,
    last: Instant,
}

/// Sends all requests and writes a line `ID SEND FIRST LAST` a request, in nanoseconds.
pub fn run(load: Load, samples_file: &str) {
    let epoch = Instant::now();
    let next = AtomicUsize::new(0);
    let connected = Barrier::new(load.streams);
    let stamps: Vec<Stamps> = thread::scope(|scope| {
        let readers: Vec<_> = (0..load.streams)
            .map(|number| {
                let reader = thread::Builder::new().stack_size(STACK_BYTES);
                let (next, connected) = (&next, &connected);
                let reading = move || {
                    let connection = TcpStream::connect(load.addr).expect("the server listens");
                    connected.wait();
                    thread::sleep(RAMP * u32::try_from(number).expect("few streams"));
                    stream(load, connection, next)
                };
                reader.spawn_scoped(scope, reading).expect("a thread")
            })
            .collect();
        let done = readers.into_iter().map(|reader| reader.join());
        done.flat_map(|stamps| stamps.expect("no reader panics"))
            .collect()
    });
    let mut text = String::new();
    for one in &stamps {
        let ns = |at: Instant| (at - epoch).as_nanos();
        let (send, first, last) = (ns(one.send), ns(one.first), ns(one.last));
        writeln!(text, "{:08} {send} {first} {last}", one.id).expect("a String takes all");
    }
    fs::write(samples_file, text).expect("a file that can be written");
}

fn stream(load: Load, mut connection: TcpStream, next: &AtomicUsize) -> Vec<Stamps> {
    connection.set_nodelay(true).expect("a TCP socket");
    let events = Events::new();
    let mut request = Request::new(load.prompt_bytes, load.tokens);
    let total = events.reply_bytes(load.tokens);
    let tail = Events::tail(0, load.tokens).len();
    let (first_end, last_end) = (HEAD.len() + events.token.len(), total - tail);
    let mut buffer = vec![0; 16 << 10];
    let mut stamps = Vec::new();
    loop {
        let id = next.fetch_add(1, Relaxed);
        if id >= load.requests {
            return stamps;
        }
        request.set_id(id);
        let send = Instant::now();
        connection.write_all(&request.bytes).expect("it reads");
        let (mut first, mut last, mut read) = (None, None, 0);
        while read < total {
            let n = connection.read(&mut buffer).expect("it writes");
            let now = Instant::now();
            assert!(n > 0, "the reply ended after {read} of {total} bytes");
            read += n;
            if read >= first_end {
                first.get_or_insert(now);
            }
            if read >= last_end {
                last.get_or_insert(now);
            }
        }
        stamps.push(Stamps {
            id,
            send,
            first: first.expect("all was read"),
            last: last.expect("all was read"),
        });
    }
}
