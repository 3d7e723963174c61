//! Writes the events of all streams when they are due, in one thread.
//!
//! A thread a stream that sleeps until each of its events costs a switch of threads an event. Here the streams
//! wait in one map by absolute due time. A connection's thread gives its answer away and gets it back when nothing
//! is left to wait for, when the client is slow or has hung up, when this thread is late, or when the server stops.
//! Nothing but the wait for the next due time blocks this thread: a connection does not block while it is here.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::clock::Clock;
use super::stream::Answer;

/// How late an event may be and still be written here.
///
/// To be later is to be short of CPU, in which one thread has only one thread's share: threads of their own
/// get the streams more of it.
const MAX_LATE_NS: u64 = 5_000_000;

/// An answer after the pacer has had it; fails if the client has hung up or the server stops.
type Returned = (Box<Answer>, io::Result<()>);

/// An answer that waits for its next event, and the way back.
struct Paced {
    answer: Box<Answer>,
    back: Sender<Returned>,
}

/// By the due time of the next event, and by request.
type Waiting = BTreeMap<(u64, u64), Paced>;

/// What connections have given away and the pacing thread has not yet seen.
struct Inbox {
    arrived: Vec<((u64, u64), Paced)>,
    /// Until when the pacing thread sleeps; 0 if it does not.
    sleeps_until_ns: u64,
    is_stopping: bool,
}

/// The pacing thread's side (`run`) and the connections' (`pace`).
pub struct Pacer {
    clock: Clock,
    inbox: Mutex<Inbox>,
    /// Not a channel: crossbeam's spins and yields before it sleeps, here before almost every event.
    changed: Condvar,
}

impl Pacer {
    pub fn new(clock: Clock) -> Pacer {
        Pacer {
            clock,
            inbox: Mutex::new(Inbox {
                arrived: Vec::new(),
                sleeps_until_ns: 0,
                is_stopping: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Has the events written that are still to be waited for; returns when the answer comes back.
    ///
    /// What is left then, the end of a half-written event included, is for the caller to write.
    pub fn pace(&self, answer: Box<Answer>) -> Returned {
        let Some(due_ns) = answer.due_ns() else {
            return (answer, Ok(()));
        };
        if let Err(error) = answer.connection.set_nonblocking(true) {
            return (answer, Err(error));
        }
        let (back, returned) = bounded(1);
        let mut inbox = self.inbox();
        if inbox.is_stopping {
            return (answer, Err(ErrorKind::ConnectionAborted.into()));
        }
        let key = (due_ns, answer.script.plan.id);
        inbox.arrived.push((key, Paced { answer, back }));
        let wake = due_ns < inbox.sleeps_until_ns;
        drop(inbox);
        if wake {
            self.changed.notify_one();
        }
        let (answer, result) = returned.recv().expect("what is taken is given back");
        let result = result.and_then(|()| answer.connection.set_nonblocking(false));
        (answer, result)
    }

    /// Paces until `stop` is called; what it has then goes back as failed.
    pub fn run(&self) {
        let mut waiting = Waiting::new();
        while self.wait(&mut waiting) {
            self.write_first(&mut waiting);
        }
        for Paced { answer, back } in waiting.into_values() {
            give_back(&back, answer, Err(ErrorKind::ConnectionAborted.into()));
        }
    }

    pub fn stop(&self) {
        self.inbox().is_stopping = true;
        self.changed.notify_one();
    }

    /// Takes in what arrives, and returns true once an event is due; false when the server stops.
    fn wait(&self, waiting: &mut Waiting) -> bool {
        let mut inbox = self.inbox();
        loop {
            waiting.extend(inbox.arrived.drain(..));
            if inbox.is_stopping {
                return false;
            }
            let first_ns = waiting.first_key_value().map_or(u64::MAX, |(key, _)| key.0);
            let left_ns = first_ns.saturating_sub(self.clock.now_ns());
            if left_ns == 0 {
                return true;
            }
            inbox.sleeps_until_ns = first_ns;
            let left = Duration::from_nanos(left_ns);
            let woken = self.changed.wait_timeout(inbox, left);
            inbox = woken.expect("no holder panics").0;
            inbox.sleeps_until_ns = 0;
        }
    }

    /// Writes the event that is due first.
    fn write_first(&self, waiting: &mut Waiting) {
        let Some(((due_ns, id), Paced { mut answer, back })) = waiting.pop_first() else {
            return;
        };
        let now_ns = self.clock.now_ns();
        if let Some(end_ns) = answer.freeze.end_at(now_ns) {
            waiting.insert((end_ns, id), Paced { answer, back });
            return;
        }
        // As after a base without an ITL: so many events at once would delay the other streams.
        let is_unpaced = answer.is_rest_due(now_ns);
        if is_unpaced || now_ns - due_ns > MAX_LATE_NS {
            return give_back(&back, answer, Ok(()));
        }
        match (answer.write_next(), answer.due_ns()) {
            (Ok(()), Some(due_ns)) => {
                waiting.insert((due_ns, id), Paced { answer, back });
            }
            // A client that does not read may make its own thread wait, but not this one.
            (Err(error), _) if error.kind() != ErrorKind::WouldBlock => {
                give_back(&back, answer, Err(error));
            }
            _ => give_back(&back, answer, Ok(())),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no holder panics")
    }
}

fn give_back(back: &Sender<Returned>, answer: Box<Answer>, result: io::Result<()>) {
    let _ = back.send((answer, result)); // Its thread waits for nothing else.
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use crate::mock::Mock;
    use crate::mock::testing::{Reply, TruthFile, ask, post, reply, send, start};

    const COMPLETIONS: &str = "/v1/completions";
    const SLOW_TOKENS: usize = 500;

    fn streamed(tokens: usize) -> String {
        format!(r#"{{"prompt":"a b","max_tokens":{tokens},"stream":true}}"#)
    }

    /// A mock whose events are of 64 KiB, because each carries the model's name.
    fn start_large(truth: &TruthFile) -> Mock {
        start(&[
            ("model", &"m".repeat(64 << 10)),
            ("truth_log", truth.path()),
        ])
    }

    /// Asks for 32 MB, many times what a connection's buffers take, at an event a millisecond.
    fn ask_slowly(mock: &Mock) -> TcpStream {
        let line = format!("POST {COMPLETIONS}");
        ask(
            mock,
            &line,
            "x-request-id: slow\r\n",
            &streamed(SLOW_TOKENS),
        )
    }

    /// Reads one answer after another until the slow client's would have ended.
    fn read_others(mock: &Mock) -> Vec<Reply> {
        let asked = Instant::now();
        let mut replies = Vec::new();
        while asked.elapsed() < Duration::from_millis(SLOW_TOKENS as u64 + 50) {
            replies.push(post(mock, COMPLETIONS, &streamed(20)));
        }
        replies
    }

    fn text_of(reply: &Reply) -> String {
        let events = reply.events();
        let texts = events
            .iter()
            .filter_map(|event| event["choices"][0]["text"].as_str());
        texts.collect()
    }

    fn times_ns(line: &Value, key: &str) -> Vec<u64> {
        let times = line[key].as_array().into_iter().flatten();
        times.filter_map(Value::as_u64).collect()
    }

    #[test]
    fn streams_keep_their_schedule_while_a_client_does_not_read() {
        let truth = TruthFile::new();
        let mock = start_large(&truth);
        let slow = ask_slowly(&mock);
        let replies = read_others(&mock);
        assert!(replies.iter().all(|reply| reply.is_whole));
        let lines = truth.lines();
        assert_eq!(lines.len(), replies.len(), "the slow one has not ended");
        let mut late_ns: Vec<u64> = lines
            .iter()
            .flat_map(|line| {
                let (due, written) = (times_ns(line, "t_due_ns"), times_ns(line, "t_written_ns"));
                assert_eq!((due.len(), written.len()), (20, 20));
                written.into_iter().zip(due)
            })
            .map(|(written, due)| written - due)
            .collect();
        late_ns.sort_unstable();
        let median_ns = late_ns[late_ns.len() / 2];
        assert!(median_ns < 50_000_000, "{median_ns} ns late");
        drop(slow);
    }

    #[test]
    fn a_client_that_reads_late_gets_every_byte() {
        let truth = TruthFile::new();
        let mock = start_large(&truth);
        let slow = ask_slowly(&mock);
        let others = read_others(&mock).len();
        assert_eq!(truth.lines().len(), others, "its answer waits for it");
        let slow = reply(slow);
        let body = streamed(SLOW_TOKENS).replace(",\"stream\":true", "");
        let whole = post(&mock, COMPLETIONS, &body).json();
        assert!(slow.is_whole && slow.body.ends_with("\n\ndata: [DONE]\n\n"));
        assert_eq!(slow.chunks.len(), SLOW_TOKENS + 1);
        assert!(
            slow.chunks
                .iter()
                .all(|chunk| chunk.starts_with(b"data: ") && chunk.ends_with(b"\n\n"))
        );
        assert_eq!(whole["choices"][0]["text"], text_of(&slow));
        let lines = truth.lines();
        let line = lines.iter().find(|line| line["id"] == "slow");
        let line = line.expect("it is in the log once its answer is whole");
        assert_eq!(times_ns(line, "t_written_ns").len(), SLOW_TOKENS);
        assert_eq!(line["aborted"], false);
    }

    #[test]
    fn an_answer_is_whole_whatever_its_pace() {
        for (base, itl, jitter) in [
            ("0s", "0s", "0s"),
            ("0s", "1ms", "0s"),
            ("5ms", "0s", "0s"),
            ("1ms", "10us", "1ms"),
        ] {
            let mock = start(&[("base", base), ("itl", itl), ("jitter", jitter)]);
            let body = streamed(40);
            let whole = post(&mock, COMPLETIONS, &body.replace(",\"stream\":true", ""));
            let stream = post(&mock, COMPLETIONS, &body);
            assert!(stream.is_whole, "{base} {itl} {jitter}");
            assert_eq!(whole.json()["choices"][0]["text"], text_of(&stream));
        }
    }

    #[test]
    fn what_waits_when_the_server_stops_is_logged_as_aborted() {
        let truth = TruthFile::new();
        let mock = start(&[("base", "1h"), ("truth_log", truth.path())]);
        let waiting = ask(
            &mock,
            &format!("POST {COMPLETIONS}"),
            "x-request-id: waiting\r\n",
            &streamed(5),
        );
        let running = "num_requests_running{engine=\"0\",model_name=\"tiny\"} 1.0\n";
        wait_until(|| send(&mock, "GET /metrics", "", "").body.contains(running));
        drop(mock);
        wait_until(|| !truth.lines().is_empty());
        let line = &truth.lines()[0];
        assert_eq!(
            (&line["id"], &line["aborted"]),
            (&"waiting".into(), &true.into())
        );
        drop(waiting);
    }

    fn wait_until(is_so: impl Fn() -> bool) {
        let given_up = Instant::now() + Duration::from_secs(4);
        while !is_so() {
            assert!(Instant::now() < given_up, "it does not come to pass");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
