//! One worker: takes sessions, sends their turns one after the other, hands out the samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::start::Start;
use super::stop::{Reason, Stop};
use crate::client::Client;
use crate::client::wire::Wire;
use crate::error::{Error, Result};
use crate::plan::{Reply, Session, Turn};
use crate::sample::{FailKind, Failure, Gauge, Phase, Place, Sample, is_overload};
use crate::units::nanoseconds;

/// A worker's stack: enough for the TLS and JSON of one request.
const STACK_BYTES: usize = 256 << 10;
/// Longest wait for a `Retry-After`; a server that asks for more is asked again after this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The state that the workers of a run share.
#[derive(Clone)]
pub struct Shared {
    pub samples: Sender<Sample>,
    pub stop: Stop,
    pub gauge: Arc<Gauge>,
    /// Whether a request has succeeded; from then on a refusal is a failure like any other.
    pub any_success: Arc<AtomicBool>,
    /// Requests sent within this time after the first are warm-up; `u64::MAX`: all are.
    pub warmup_ns: u64,
    /// The requested model, used to recognise an "unknown model" in a 400.
    pub model: String,
    /// Called after every request, outside its latency and before the next request.
    pub beside: Option<Arc<dyn Fn() + Send + Sync>>,
    /// The number of the connection on which the last reply was a refusal; 0: the last reply was no refusal.
    pub refused_on: Arc<AtomicU64>,
    /// When the run began.
    pub begun_ns: u64,
    /// When the first request goes out; `None`: as soon as all workers are ready.
    pub start: Option<Start>,
    /// How long the server may be down before the run is ended; `None`: no limit.
    pub patience: Option<Duration>,
}

impl Shared {
    /// Makes the state of a run without warm-up that waits for its server without limit.
    pub fn new(samples: Sender<Sample>, stop: Stop, gauge: Arc<Gauge>, model: &str) -> Shared {
        Shared {
            samples,
            stop,
            gauge,
            any_success: Arc::default(),
            warmup_ns: 0,
            model: model.to_string(),
            beside: None,
            refused_on: Arc::default(),
            begun_ns: 0,
            start: None,
            patience: None,
        }
    }

    /// Ends the run when a request got no answer and no worker has heard a byte for too long; `heard_ns` are the
    /// stamps at which each of them heard the last one.
    fn listen(&self, sample: &Sample, heard_ns: impl Iterator<Item = u64>) {
        let Some((failure, patience)) = is_down(sample).zip(self.patience) else {
            return;
        };
        let heard_ns = heard_ns.fold(self.begun_ns, u64::max);
        if sample.t_end_ns.saturating_sub(heard_ns) > nanoseconds(patience) {
            self.stop.request(Reason::Gone(failure.clone()));
        }
    }

    /// Whether every further request would fail the same way: before the first success, two refusals in a row came on
    /// different connections. A load balancer may have one bad server behind it.
    fn refusal(&self, sample: &Sample, connection: u64) -> Option<Reason> {
        let status = sample.status.filter(|_| !self.any_success.load(Relaxed))?;
        let failure = sample.failure.as_ref();
        let refused = failure.filter(|f| is_refusal(status, &f.reason, &self.model));
        let before = self
            .refused_on
            .swap(refused.map_or(0, |_| connection), Relaxed);
        let failure = refused.filter(|_| before != 0 && before != connection)?;
        Some(Reason::Refused(status, failure.clone()))
    }
}

/// Returns the failure of a request that got no answer.
pub fn is_down(sample: &Sample) -> Option<&Failure> {
    sample
        .failure
        .as_ref()
        .filter(|failure| match failure.kind {
            FailKind::Dns | FailKind::Connect | FailKind::Tls | FailKind::TimeoutConnect => true,
            FailKind::Truncated | FailKind::Malformed => sample.status.is_none(),
            _ => false,
        })
}

/// One worker thread's part of a run.
pub struct Worker {
    pub client: Client,
    pub shared: Shared,
    /// The wires of all workers of the run, and the index of this worker's own.
    wires: Arc<[Arc<Wire>]>,
    number: usize,
    place: Place,
    /// The worker that sends the run's first request reports it here; the channel has room for one message.
    pub first_send: Option<Sender<Instant>>,
}

/// Starts a thread for each client, which does the `work` made for its number. The returned receiver disconnects when
/// the last thread has ended.
///
/// # Errors
/// Fails when the system refuses a thread.
pub fn start<Work: FnOnce(&mut Worker) + Send + 'static>(
    clients: Vec<Client>,
    shared: &Shared,
    first_send: Option<&Sender<Instant>>,
    mut work: impl FnMut(usize) -> Work,
) -> Result<Receiver<()>> {
    let threads = clients.len();
    let (here, gone) = bounded::<()>(0);
    let wires: Arc<[Arc<Wire>]> = clients.iter().map(Client::wire).collect();
    for (number, client) in clients.into_iter().enumerate() {
        shared.stop.cuts(&client.cutter());
        // Boxed, since the start of a thread has several copies of its closure on the stack.
        let mut worker = Box::new(Worker {
            client,
            shared: shared.clone(),
            wires: Arc::clone(&wires),
            number,
            place: Place::new(&shared.gauge),
            first_send: first_send.cloned(),
        });
        let (work, here) = (work(number), here.clone());
        let started = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                work(&mut worker);
                drop(worker);
                drop(here);
            });
        started.map_err(|e| too_many(threads, &e))?;
    }
    Ok(gone)
}

fn too_many(threads: usize, error: &std::io::Error) -> Error {
    Error::input(format!("{threads} threads"), error)
        .next("Ask for fewer requests at once with --max-inflight or --concurrency, or raise the limit that is too low:")
        .next("ulimit -u, the container's limit of processes (pids.max), or kernel.threads-max")
}

/// The source of a closed loop's sessions.
pub struct Queue {
    pub jobs: Receiver<Session>,
    /// Workers signal here when few sessions wait; the channel has room for one message.
    pub ask_for_more: Sender<()>,
}

impl Worker {
    /// Takes sessions from the queue until there are no more.
    pub fn run(&mut self, queue: &Queue) {
        let mut backoff = Backoff::default();
        loop {
            let session = select! {
                recv(queue.jobs) -> job => job,
                recv(self.shared.stop.woken()) -> _ => return,
            };
            let Ok(session) = session else { return };
            if queue.jobs.len() <= queue.jobs.capacity().unwrap_or(0) / 2 {
                // If the channel is full, an earlier signal is still unread and serves as well.
                let _ = queue.ask_for_more.try_send(());
            }
            self.session(session, None, Some(&mut backoff));
        }
    }

    /// Sends the turns of a session whose first turn was due at `due_ns`. Without a `backoff`, failures cause no wait.
    pub fn session(
        &mut self,
        mut session: Session,
        mut due_ns: Option<u64>,
        mut backoff: Option<&mut Backoff>,
    ) {
        let mut reply = None;
        while let Some(turn) = session.next(reply.take()) {
            if self.shared.stop.is_set() {
                return;
            }
            let (answered, wait) = self.turn(&turn, due_ns.take(), backoff.as_deref_mut());
            if wait.is_some_and(|wait| self.shared.stop.woken().recv_timeout(wait).is_ok()) {
                return;
            }
            // Without a reply the next turn cannot be made.
            if answered.is_none() {
                return;
            }
            reply = answered;
        }
    }

    /// Sends one turn. Returns its reply if it succeeded, and how long to wait before the next one.
    fn turn(
        &mut self,
        turn: &Turn,
        due_ns: Option<u64>,
        backoff: Option<&mut Backoff>,
    ) -> (Option<Reply>, Option<Duration>) {
        let shared = &self.shared;
        let is_first = self.place.enter(self.client.now_ns());
        if let Some(first_send) = self.first_send.as_ref().filter(|_| is_first) {
            // The channel has room for one message, and only this worker sends.
            let _ = first_send.try_send(Instant::now());
        }
        let mut sample = self.client.send(turn);
        self.place.leave();
        sample.t_due_ns = due_ns;
        let warm_ns = shared.gauge.started_ns().saturating_add(shared.warmup_ns);
        if sample.labels.is_control {
            sample.phase = Phase::Control;
        } else if self.client.was_cut(&sample) {
            sample.phase = Phase::Cut;
            sample.failure = None;
        } else if sample.t_send_ns < warm_ns {
            sample.phase = Phase::Warmup;
        }
        if sample.is_success() {
            shared.any_success.store(true, Relaxed);
        }
        let wire = &self.wires[self.number];
        if let Some(reason) = shared.refusal(&sample, wire.connection()) {
            shared.stop.request(reason);
        } else if shared.refused_on.load(Relaxed) == wire.connection() {
            // The next request may find a server that does not refuse.
            wire.leave_connection();
        }
        if sample.phase != Phase::Cut {
            shared.listen(&sample, self.wires.iter().map(|wire| wire.heard_ns()));
        }
        let wait = backoff.and_then(|backoff| backoff.after(&sample));
        let reply = sample.is_success().then(|| Reply {
            text: self.client.take_answer(),
            prompt_tokens: sample.prompt_tokens,
            completion_tokens: sample.completion_tokens,
        });
        // The collector ends only with the program.
        let _ = self.shared.samples.send(sample);
        if let Some(beside) = &self.shared.beside {
            beside();
        }
        (reply, wait)
    }
}

/// Returns whether a status is 401, 403 or 404, or a 400 or 422 whose text names the model.
pub fn is_refusal(status: u16, reason: &str, model: &str) -> bool {
    matches!(status, 401 | 403 | 404) || (matches!(status, 400 | 422) && names(reason, model))
}

/// Returns whether the text has the model's name as a separate word.
fn names(text: &str, model: &str) -> bool {
    // An empty model name matches nothing.
    if model.is_empty() {
        return false;
    }
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
    text.match_indices(model).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + model.len()..]);
        !before.ends_with(inside) && !after.starts_with(inside)
    })
}

/// In a closed loop, waits before a server that is down or overloaded is asked again: 100 ms, doubling to 5 s, or its
/// `Retry-After`, a minute at most. The wait lies between requests, never inside a latency.
///
/// A server that accepts the connection and closes it without a status line is down too: it may be a port forwarder or
/// a load balancer whose server is gone.
#[derive(Default)]
pub struct Backoff {
    in_a_row: u32,
}

impl Backoff {
    fn after(&mut self, sample: &Sample) -> Option<Duration> {
        let busy =
            |failure: &&Failure| failure.kind == FailKind::Http && is_overload(sample.status);
        let busy = sample.failure.as_ref().filter(busy);
        let Some(failure) = is_down(sample).or(busy) else {
            self.in_a_row = 0;
            return None;
        };
        let doubled = Duration::from_millis(100 << self.in_a_row.min(6));
        self.in_a_row += 1;
        let asked = failure.retry_after.map(|wait| wait.min(LONGEST_WAIT));
        Some(asked.unwrap_or(doubled.min(Duration::from_secs(5))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Target;
    use crate::client::api::Api;
    use crate::client::body::BodyShape;
    use crate::client::endpoint::Endpoint;
    use crate::client::http::Link;
    use crate::client::wire::Timeouts;
    use crate::units::Epoch;

    fn failed(kind: FailKind, status: Option<u16>, retry_after: Option<u64>) -> Sample {
        let retry_after = retry_after.map(Duration::from_secs);
        let failure = Some(Failure {
            retry_after,
            ..Failure::new(kind, "x")
        });
        Sample {
            failure,
            status,
            ..Sample::default()
        }
    }

    #[test]
    fn waits_double_from_100_ms_to_5_s_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let refused = failed(FailKind::Connect, None, None);
        let waits: Vec<u128> = (0..8)
            .filter_map(|_| backoff.after(&refused))
            .map(|w| w.as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(&Sample::default()), None);
        assert_eq!(backoff.after(&refused), Some(Duration::from_millis(100)));
    }

    #[test]
    fn retry_after_is_honoured_and_other_failures_do_not_wait() {
        let mut backoff = Backoff::default();
        assert_eq!(
            backoff.after(&failed(FailKind::Http, Some(429), Some(2))),
            Some(Duration::from_secs(2))
        );
        assert_eq!(
            backoff.after(&failed(FailKind::Http, Some(429), Some(3600))),
            Some(Duration::from_secs(60))
        );
        backoff = Backoff::default();
        backoff.after(&failed(FailKind::Http, Some(429), Some(2)));
        assert_eq!(
            backoff.after(&failed(FailKind::Http, Some(503), None)),
            Some(Duration::from_millis(200))
        );
        assert_eq!(
            backoff.after(&failed(FailKind::Http, Some(400), None)),
            None
        );
        assert_eq!(
            backoff.after(&failed(FailKind::Truncated, Some(200), None)),
            None
        );
    }

    #[test]
    fn a_connection_closed_without_an_answer_waits_as_one_that_was_refused() {
        let mut backoff = Backoff::default();
        for (kind, wait_ms) in [(FailKind::Truncated, 100), (FailKind::Malformed, 200)] {
            assert_eq!(
                backoff.after(&failed(kind, None, None)),
                Some(Duration::from_millis(wait_ms))
            );
        }
    }

    #[test]
    fn a_failure_of_the_server_after_the_stop_keeps_its_reason() {
        let mock = crate::mock::testing::start(&[("faults", "http:500@1")]);
        let endpoint = Endpoint::parse(&mock.url()).expect("an endpoint");
        let addrs = vec![std::net::SocketAddr::from(([127, 0, 0, 1], endpoint.port))];
        let link = Link::bare(
            addrs,
            Timeouts::all(Duration::from_secs(10)),
            Epoch::start(),
        );
        let body = BodyShape::new(Api::Completions, "tiny");
        let client = Client::new(Arc::new(
            Target::new(link, &endpoint, body).expect("a target"),
        ));
        let (sender, samples) = bounded(1);
        let gauge = Arc::default();
        let mut worker = Worker {
            place: Place::new(&gauge),
            wires: [client.wire()].into(),
            number: 0,
            client,
            shared: Shared::new(sender, Stop::new(), gauge, "tiny"),
            first_send: None,
        };
        // The reply comes after the stop, and before the shutdown reaches this worker.
        worker.shared.stop.request(Reason::Signal);
        let text = crate::plan::Prompt::Text(vec!["p".into()]);
        let turn = Turn::alone(0, crate::sample::Labels::default(), text, Some(1));
        worker.turn(&turn, None, None);
        let sample = samples.recv().expect("a sample");
        let kind = sample.failure.map(|failure| failure.kind);
        assert_eq!(
            (sample.phase, kind),
            (Phase::Measured, Some(FailKind::Http))
        );
    }

    #[test]
    fn a_server_that_answers_nothing_for_too_long_ends_the_run() {
        let shared = |patience| Shared {
            begun_ns: 1_000_000_000,
            patience,
            ..Shared::new(bounded(1).0, Stop::new(), Arc::default(), "m")
        };
        let refused = |at_s: u64| Sample {
            t_end_ns: at_s * 1_000_000_000,
            ..failed(FailKind::Connect, None, None)
        };
        const S: u64 = 1_000_000_000;
        let patient = shared(Some(Duration::from_secs(60)));
        patient.listen(&refused(61), [0, 0].into_iter());
        assert!(!patient.stop.is_set(), "60 s are not more than 60");
        // One of the others has a long prefill or a long stream, and bytes of it came at 62 s.
        patient.listen(&refused(122), [0, 62 * S].into_iter());
        assert!(!patient.stop.is_set());
        // An answer, if only a 503, says that something is there.
        let busy = Sample {
            t_end_ns: 200 * S,
            ..failed(FailKind::Http, Some(503), None)
        };
        patient.listen(&busy, [0, 62 * S].into_iter());
        assert!(!patient.stop.is_set());
        patient.listen(&refused(123), [0, 62 * S].into_iter());
        assert!(matches!(patient.stop.reason(), Some(Reason::Gone(_))));
        let endless = shared(None);
        endless.listen(&refused(10_000), [0].into_iter());
        assert!(!endless.stop.is_set());
    }

    #[test]
    fn two_refusals_in_a_row_on_different_connections_end_the_run() {
        let refused = || failed(FailKind::Http, Some(404), None);
        let busy = || failed(FailKind::Http, Some(503), None);
        let silent = || failed(FailKind::Connect, None, None);
        let ends = |replies: &[(Sample, u64)]| {
            let shared = Shared::new(bounded(1).0, Stop::new(), Arc::default(), "m");
            let mut reasons = replies
                .iter()
                .filter_map(|(sample, connection)| shared.refusal(sample, *connection));
            reasons.next()
        };
        let wanted = Some(Reason::Refused(404, Failure::new(FailKind::Http, "x")));
        assert_eq!(ends(&[(refused(), 1), (refused(), 2)]), wanted);
        // What does not answer says nothing of the others.
        let around = [(refused(), 1), (silent(), 2), (refused(), 3)];
        assert_eq!(ends(&around), wanted);
        // One bad server of several.
        assert_eq!(ends(&[(refused(), 1)]), None);
        assert_eq!(ends(&[(refused(), 1), (refused(), 1)]), None);
        let between = [(refused(), 1), (busy(), 2), (refused(), 3)];
        assert_eq!(ends(&between), None);
        let served = [
            (refused(), 1),
            (
                Sample {
                    status: Some(200),
                    ..Sample::default()
                },
                2,
            ),
        ];
        assert_eq!(ends(&served), None);
    }

    #[test]
    fn a_bad_request_is_a_refusal_only_when_it_names_the_model() {
        assert!(is_refusal(404, "x", "m"));
        assert!(is_refusal(
            400,
            "Server is pinned to 'a'; requested 'no-such-model'.",
            "no-such-model"
        ));
        assert!(!is_refusal(400, "prompt too long", "no-such-model"));
        assert!(!is_refusal(400, "maximum context length", "m"));
        assert!(!is_refusal(400, "bad  request", ""));
        assert!(!is_refusal(500, "no-such-model", "no-such-model"));
    }
}
