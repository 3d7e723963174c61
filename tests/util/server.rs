//! Servers for the binary: the mock as a separate process, and a raw one played by a closure.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Cmd, Dir, Running};

const TRUTH_LOG: &str = "truth.jsonl";

/// `tmesh-cli mock` on a free port; killed when dropped.
pub struct Server {
    process: Running,
    dir: Dir,
    addr: String,
}

impl Server {
    /// Starts the mock; returns once it has printed its address.
    pub fn start(options: &[&str]) -> Server {
        let dir = Dir::new();
        let mut process = Cmd::new(&dir)
            .args(["mock", "--port", "0", "--truth-log", TRUTH_LOG])
            .args(options)
            .deadline(Duration::from_secs(300))
            .start();
        let line = process.wait_for_line(|line| line.contains("http://127.0.0.1:"));
        let port = line.split("http://127.0.0.1:").nth(1).unwrap_or_default();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Server {
            process,
            dir,
            addr: format!("127.0.0.1:{port}"),
        }
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends the mock with SIGTERM, so that its log is complete, and returns the log: one value a request.
    pub fn truth(self) -> Vec<serde_json::Value> {
        self.process.signal("TERM");
        self.process.wait();
        let log = self.dir.read(TRUTH_LOG);
        log.lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

/// Runs `connection` in a thread for each connection to a free loopback port, until the test run ends.
///
/// Its errors are ignored, since some tests want clients that hang up early.
pub fn serve(
    connection: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = connection.clone();
            thread::spawn(move || connection(stream));
        }
    });
    addr
}

/// One HTTP request as received.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// The headers, with names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body without its chunk framing.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the first header with that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A server on a free port whose answers are made by a closure, to imitate odd servers.
///
/// A connection is kept until the client closes it or the closure shuts it down. Its threads end with the test run.
pub struct RawServer {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl RawServer {
    /// Starts the server. `answer` runs on the connection's thread and writes the whole response, including the status
    /// line.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> RawServer {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&requests));
        let addr = serve(move |mut stream| {
            while let Some(request) = read_request(&mut stream)? {
                log.lock()
                    .expect("no closure runs under the lock")
                    .push(request.clone());
                answer(&request, &mut stream);
            }
            Ok(())
        });
        RawServer { addr, requests }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .expect("no closure runs under the lock")
            .clone()
    }
}

/// Reads one request; `None` when the connection ended before its first byte.
///
/// The head is read byte by byte, so that nothing after the request is taken.
pub fn read_request(stream: &mut impl Read) -> io::Result<Option<Request>> {
    let Some(first) = read_line(stream)? else {
        return Ok(None);
    };
    let mut words = first.split(' ').map(str::to_string);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = Vec::new();
    while let Some(line) = read_line(stream)?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    let mut request = Request {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    if request.header("transfer-encoding") == Some("chunked") {
        request.body = read_chunks(stream)?;
    } else if let Some(length) = request.header("content-length") {
        request.body = vec![0; length.parse().map_err(io::Error::other)?];
        stream.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

fn read_chunks(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(stream)?.unwrap_or_default();
        let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        read_line(stream)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Reads one line without its CRLF; `None` at the end of the stream.
fn read_line(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        if byte[0] == b'\n' {
            let line = String::from_utf8(line).map_err(io::Error::other)?;
            return Ok(Some(line.trim_end_matches('\r').to_string()));
        }
        line.push(byte[0]);
    }
    if line.is_empty() {
        Ok(None)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
