//! The open loop: every request is sent at its scheduled time, whatever became of earlier ones.
//!
//! The calling thread is the pacer: it hands each session to the worker that became idle last. So there are no more
//! connections than requests were in flight at once, and most requests find an open one. A session that follows a reply
//! waits for its end in the pacer (`replies`) and occupies no worker.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select};

use super::pool::{self, Shared, Worker};
use super::replies::Replies;
pub use super::replies::{Due, Order};
use super::stop::Stop;
use crate::client::Client;
use crate::error::Result;
use crate::plan::Session;
use crate::units::{Epoch, nanoseconds};

/// Connections that are opened before the first scheduled time.
const WARM: usize = 8;
/// Time from the moment that all is ready to the first scheduled time.
const LEAD_NS: u64 = 1_000_000;

/// A worker's next session and its due time, from the run's epoch.
type Job = (u64, Session);

/// A worker's number, and the time from the run's epoch at which its last reply ended.
type Idle = (usize, u64);

/// An open loop that has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ran {
    /// Sessions that found no idle worker and were sent late.
    pub exhausted: u64,
    /// The stamp from which due times count.
    pub base_ns: u64,
}

impl Ran {
    /// Returns the stamps of the first and the last due time.
    pub fn stamps_ns(self, (first_ns, last_ns): (u64, u64)) -> (u64, u64) {
        let at = |due_ns| self.base_ns.saturating_add(due_ns);
        (at(first_ns), at(last_ns))
    }
}

/// Sends every session at its due time, with one worker for each client, until the plan ends, sessions are due later
/// than `duration`, or `stop` is set; then waits for requests in flight.
///
/// # Errors
/// Fails when the system refuses a thread.
pub fn run(
    plan: impl Iterator<Item = Due>,
    clients: Vec<Client>,
    shared: Shared,
    duration: Option<Duration>,
) -> Result<Ran> {
    let stop = shared.stop.clone();
    let Some(epoch) = clients.first().map(Client::epoch) else {
        return Ok(Ran::default());
    };
    let pool = start(clients, &shared)?;
    let base_ns = match &shared.start {
        Some(start) => start.wait(epoch, &stop)?,
        None => epoch.now_ns() + LEAD_NS,
    };
    // The workers hold the only senders: once they have ended, the samples are complete.
    drop(shared);
    let last_ns = duration.map_or(u64::MAX, |duration| {
        base_ns.saturating_add(nanoseconds(duration))
    });
    let mut pacer = Pacer {
        pool,
        stop,
        epoch,
        replies: Replies::default(),
        exhausted: 0,
        last_ns,
        over: duration.map_or_else(never, |_| at(epoch.instant(last_ns))),
        is_over: false,
    };
    let is_done = pacer.pace(plan.map(|due| Due {
        due_ns: base_ns.saturating_add(due.due_ns),
        ..due
    }));
    if is_done.is_some() {
        pacer.pool.jobs.clear();
        select! {
            recv(pacer.pool.gone) -> _ => {}
            recv(pacer.stop.woken()) -> _ => {}
        }
    }
    Ok(Ran {
        exhausted: pacer.exhausted,
        base_ns,
    })
}

/// Hands out sessions at their due times.
struct Pacer {
    pool: Pool,
    stop: Stop,
    epoch: Epoch,
    replies: Replies,
    exhausted: u64,
    /// Nothing is sent after this time, whatever was due before.
    last_ns: u64,
    /// Receives at that time.
    over: Receiver<Instant>,
    is_over: bool,
}

impl Pacer {
    /// Sends the whole plan, or the part for which there is time; `None`: the run was stopped, or the workers have ended.
    fn pace(&mut self, mut plan: impl Iterator<Item = Due>) -> Option<()> {
        let mut next = plan.next();
        loop {
            let is_freed = self.replies.is_first(next.as_ref());
            let due_ns = match is_freed {
                true => self.replies.first_due_ns(),
                false => next.as_ref().map(|due| due.due_ns),
            };
            let is_late = due_ns.is_some_and(|due_ns| due_ns > self.last_ns);
            let is_done = due_ns.is_none() && !self.replies.is_awaited();
            if is_done || is_late || self.is_over {
                return Some(());
            }
            if !self.wait(due_ns)? {
                continue;
            }
            if is_freed {
                let due = self.replies.pop()?;
                self.send(due)?;
                continue;
            }
            if let Some(due) = next.take().and_then(|due| self.replies.hold(due)) {
                self.send(due)?;
            }
            next = plan.next();
        }
    }

    /// Waits for a time or, if sessions wait for replies, for the end of a reply; returns whether the time has come.
    fn wait(&mut self, due_ns: Option<u64>) -> Option<bool> {
        let until = due_ns.map(|due_ns| self.epoch.instant(due_ns));
        let is_due = if self.replies.is_awaited() {
            let timer = until.map_or_else(never, at);
            select! {
                recv(self.pool.became_idle) -> worker => {
                    self.idle(worker.ok()?);
                    false
                }
                recv(self.stop.woken()) -> _ => return None,
                recv(self.over) -> _ => {
                    self.is_over = true;
                    false
                }
                recv(timer) -> _ => true,
            }
        } else {
            // This channel never has a message: it times out, or disconnects when the run is stopped.
            let woken = self.stop.woken().recv_deadline(until?);
            if !woken.is_err_and(|error| error.is_timeout()) {
                return None;
            }
            true
        };
        while let Ok(worker) = self.pool.became_idle.try_recv() {
            self.idle(worker);
        }
        Some(is_due)
    }

    fn idle(&mut self, (worker, ended_ns): Idle) {
        self.pool.idle.push((worker, ended_ns));
        if let Some(place) = self.pool.places[worker].take() {
            self.replies.end(place, ended_ns);
        }
    }

    /// Hands a session to an idle worker, or to the next that becomes idle; `None`: all workers have ended.
    fn send(&mut self, due: Due) -> Option<()> {
        if self.pool.idle.is_empty() {
            select! {
                recv(self.pool.became_idle) -> worker => self.idle(worker.ok()?),
                recv(self.stop.woken()) -> _ => return None,
                recv(self.over) -> _ => self.is_over = true,
            }
        }
        // A pacer that woke too late sends nothing either.
        self.is_over |= self.epoch.now_ns() > self.last_ns;
        if self.is_over {
            return Some(());
        }
        let (worker, is_short) = take_idle(&mut self.pool.idle, due.due_ns)?;
        self.exhausted += u64::from(is_short);
        self.pool.places[worker] = due.order.map(|order| order.place);
        // The send cannot block: an idle worker waits for its job.
        let _ = self.pool.jobs[worker].send((due.due_ns, due.session));
        Some(())
    }
}

/// Takes a worker for a request, and whether none was idle when it was due, however late the pacer looks. A worker that
/// was idle then is the one that became so last, so that few connections are in use; else it is the first to have
/// become idle, as if the request had waited for it. `None`: no worker is idle.
fn take_idle(idle: &mut Vec<Idle>, due_ns: u64) -> Option<(usize, bool)> {
    let in_time = idle.iter().rposition(|&(_, ended_ns)| ended_ns <= due_ns);
    let first = || (0..idle.len()).min_by_key(|&at| idle[at].1);
    let (worker, _) = idle.remove(in_time.or_else(first)?);
    Some((worker, in_time.is_none()))
}

/// The pacer's view of the workers, by number.
struct Pool {
    jobs: Vec<Sender<Job>>,
    /// The place of each worker's current session, if another may follow it.
    places: Vec<Option<u64>>,
    /// Idle workers; the one that became idle last is on top.
    idle: Vec<Idle>,
    became_idle: Receiver<Idle>,
    /// Disconnects when the last worker has ended.
    gone: Receiver<()>,
}

/// Starts the workers and waits until all are idle, or the run is stopped.
fn start(clients: Vec<Client>, shared: &Shared) -> Result<Pool> {
    let workers = clients.len();
    let (tell_idle, became_idle) = bounded(workers);
    let mut jobs = Vec::new();
    let gone = pool::start(clients, shared, None, |number| {
        let (job_sender, own_jobs) = bounded::<Job>(1);
        jobs.push(job_sender);
        let tell_idle = tell_idle.clone();
        move |worker: &mut Worker| {
            if number < WARM {
                worker.client.warm_up();
            }
            // The pacer ends only with the run.
            let mut ended_ns = 0;
            while tell_idle.send((number, ended_ns)).is_ok() {
                let Ok((due_ns, session)) = own_jobs.recv() else {
                    break;
                };
                worker.session(session, Some(due_ns), None);
                ended_ns = worker.client.now_ns();
            }
        }
    })?;
    let mut idle = Vec::with_capacity(workers);
    while idle.len() < workers {
        select! {
            recv(became_idle) -> worker => idle.extend(worker),
            recv(shared.stop.woken()) -> _ => break,
        }
    }
    // Workers with an open connection are on top.
    idle.sort_by_cached_key(|&(worker, _)| usize::MAX - worker);
    Ok(Pool {
        places: vec![None; jobs.len()],
        jobs,
        idle,
        became_idle,
        gone,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use crossbeam_channel::unbounded;

    use super::*;
    use crate::client::Target;
    use crate::client::api::Api;
    use crate::client::body::BodyShape;
    use crate::client::endpoint::Endpoint;
    use crate::client::http::Link;
    use crate::client::wire::Timeouts;
    use crate::load::stop::Reason;
    use crate::mock::testing::start as mock;
    use crate::plan::{Prompt, Turn};
    use crate::sample::{Labels, Phase, Sample};

    const MS: u64 = 1_000_000;

    fn sessions(due_ms: impl IntoIterator<Item = u64>) -> Vec<Due> {
        let due = (0..).zip(due_ms).map(|(id, due_ms)| Due {
            due_ns: due_ms * MS,
            order: None,
            session: Session::single(Turn::alone(
                id,
                Labels::default(),
                Prompt::Text(vec![format!("p{id}").into()]),
                Some(1),
            )),
        });
        due.collect()
    }

    struct Ran {
        /// The samples, by id.
        samples: Vec<Sample>,
        exhausted: u64,
    }

    /// Sends to a mock whose answers take `base`, with this many workers.
    fn ran(
        base: &str,
        workers: usize,
        plan: Vec<Due>,
        duration: Option<Duration>,
        stop: &Stop,
    ) -> Ran {
        let mock = mock(&[("base", base), ("itl", "0s")]);
        let endpoint = Endpoint::parse(&mock.url()).expect("an endpoint");
        let hurry = Duration::from_secs(10);
        let addrs = vec![std::net::SocketAddr::from(([127, 0, 0, 1], endpoint.port))];
        let link = Link::bare(addrs, Timeouts::all(hurry), Epoch::start());
        let body = BodyShape::new(Api::Completions, "tiny");
        let target = Arc::new(Target::new(link, &endpoint, body).expect("a target"));
        let clients = (0..workers).map(|_| Client::new(target.clone())).collect();
        let (sender, samples) = unbounded();
        let shared = Shared::new(sender, stop.clone(), Arc::default(), "tiny");
        let ran = run(plan.into_iter(), clients, shared, duration).expect("threads");
        let exhausted = ran.exhausted;
        let mut samples: Vec<Sample> = samples.iter().collect();
        samples.sort_by_key(|sample| sample.id);
        Ran { samples, exhausted }
    }

    #[test]
    fn nothing_is_sent_after_the_duration_though_it_was_due_before() {
        // One worker, 200 ms a reply: of 50 requests that are due within 500 ms, it takes those at 0, 200 and 400 ms.
        let plan = sessions((0..50).map(|k| k * 10));
        let limit = Duration::from_millis(500);
        let Ran { samples, exhausted } = ran("200ms", 1, plan, Some(limit), &Stop::new());
        let start_ns = samples[0].t_due_ns.expect("it was due");
        let last_ns = samples.iter().map(|sample| sample.t_send_ns).max();
        assert!(last_ns.is_some_and(|last_ns| last_ns <= start_ns + 501 * MS));
        assert!((2..=3).contains(&samples.len()), "{}", samples.len());
        assert!(
            samples.iter().all(Sample::is_success),
            "they are waited for"
        );
        // Only what was sent counts: the others are not sent.
        assert_eq!(exhausted, samples.len() as u64 - 1);
    }

    #[test]
    fn a_turn_that_waits_for_a_reply_is_not_sent_after_the_duration() {
        let plan = followers(&[(0, None), (0, Some(0))]);
        let limit = Duration::from_millis(30);
        let Ran { samples, .. } = ran("60ms", 4, plan, Some(limit), &Stop::new());
        assert_eq!(samples.len(), 1);
    }

    #[test]
    fn requests_without_an_idle_worker_are_those_that_wait_in_a_queue_worked_out_apart() {
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let workers = rng.usize(1..6);
            let mut due_ns = 10;
            let requests: Vec<(u64, u64)> = (0..60)
                .map(|_| {
                    due_ns += rng.u64(0..20);
                    (due_ns, rng.u64(1..60))
                })
                .collect();
            // The twin: first come, first served, by whoever is free first.
            let mut free_ns = vec![0; workers];
            let waits = requests.iter().filter(|&&(due_ns, takes_ns)| {
                let free_ns = free_ns.iter_mut().min().expect("a worker");
                let waits = *free_ns > due_ns;
                *free_ns = due_ns.max(*free_ns) + takes_ns;
                waits
            });
            let wanted = waits.count();
            // The pacer looks at any time after a request is due, and sees all that have become idle until then.
            let mut busy: Vec<Idle> = (0..workers).map(|worker| (worker, 0)).collect();
            let (mut idle, mut now_ns, mut short) = (Vec::new(), 0, 0);
            for (due_ns, takes_ns) in requests {
                let first_ns = busy.iter().map(|&(_, ended_ns)| ended_ns).min();
                now_ns = u64::max(now_ns, due_ns + rng.u64(0..25));
                if idle.is_empty() {
                    now_ns = now_ns.max(first_ns.unwrap_or(0));
                }
                busy.sort_by_key(|&(_, ended_ns)| ended_ns);
                let ended = busy.partition_point(|&(_, ended_ns)| ended_ns <= now_ns);
                idle.extend(busy.drain(..ended));
                let ended_ns = |idle: &[Idle], of: usize| {
                    let mut all = idle.iter().copied();
                    all.find(|&(worker, _)| worker == of)
                        .expect("it was idle")
                        .1
                };
                let before = idle.clone();
                let (worker, is_short) = take_idle(&mut idle, due_ns).expect("an idle worker");
                short += usize::from(is_short);
                let begun_ns = due_ns.max(ended_ns(&before, worker));
                busy.push((worker, begun_ns + takes_ns));
            }
            assert_eq!(short, wanted, "seed {seed}");
        }
    }

    fn late_ms(sample: &Sample) -> u64 {
        (sample.t_send_ns - sample.t_due_ns.expect("it was due")) / MS
    }

    #[test]
    fn every_request_goes_out_once_and_not_before_it_is_due() {
        let plan = sessions((0..40).map(|k| k * 5));
        let Ran { samples, exhausted } = ran("1ms", 16, plan, None, &Stop::new());
        assert_eq!(exhausted, 0);
        let ids: Vec<u64> = samples.iter().map(|sample| sample.id).collect();
        assert_eq!(ids, (0..40).collect::<Vec<_>>());
        let first_ns = samples[0].t_due_ns.expect("it was due");
        for sample in &samples {
            assert!(sample.is_success(), "{:?}", sample.failure);
            assert_eq!(sample.t_due_ns, Some(first_ns + sample.id * 5 * MS));
            assert!(sample.t_send_ns >= first_ns + sample.id * 5 * MS);
        }
        // 8 connections were open before, and only one request is in flight at a time.
        assert!(samples.iter().all(|sample| sample.reused));
    }

    #[test]
    fn requests_without_an_idle_worker_are_counted_and_late() {
        // Two workers, 60 ms each, the second 30 ms after the first: request k is sent at 30 k ms, when the other
        // worker is busy for 30 ms more.
        let due_ms = [0, 30, 40, 42, 44, 46, 48, 50];
        let Ran { samples, exhausted } = ran("60ms", 2, sessions(due_ms), None, &Stop::new());
        assert_eq!(exhausted, 6);
        for sample in &samples {
            let wanted = 30 * sample.id - due_ms[sample.id as usize];
            let late = late_ms(sample);
            assert!(
                (wanted..wanted + 150).contains(&late),
                "{}: {late}, want {wanted}",
                sample.id
            );
        }
    }

    #[test]
    fn a_request_was_without_an_idle_worker_though_two_become_idle_before_its_turn() {
        // Both workers are busy from 0 to 60 ms, and again until 120 ms.
        let Ran { exhausted, .. } = ran(
            "60ms",
            2,
            sessions([0, 0, 10, 20, 30, 40]),
            None,
            &Stop::new(),
        );
        assert_eq!(exhausted, 4);
    }

    /// Makes sessions, each with the place whose reply it follows.
    fn followers(turns: &[(u64, Option<u64>)]) -> Vec<Due> {
        let due_ms = turns.iter().map(|(due_ms, _)| *due_ms);
        let sessions = sessions(due_ms).into_iter();
        let order = (0..).zip(turns).map(|(place, (_, after))| Order {
            place,
            after: *after,
        });
        let followers = sessions.zip(order).map(|(due, order)| Due {
            order: Some(order),
            ..due
        });
        followers.collect()
    }

    #[test]
    fn a_turn_goes_out_after_the_reply_before_it_and_not_before_its_own_time() {
        for workers in [1, 8] {
            // A reply takes 40 ms. 1 follows 0 and is due before its end, 2 follows 1 and is due long after; 3 and 4
            // both follow 0; 5 follows nothing.
            let plan = followers(&[
                (0, None),
                (5, Some(0)),
                (200, Some(1)),
                (201, Some(0)),
                (202, Some(0)),
                (203, None),
            ]);
            let Ran { samples, exhausted } = ran("40ms", workers, plan, None, &Stop::new());
            assert_eq!(samples.len(), 6);
            let start_ns = samples[0].t_due_ns.expect("it was due");
            let due_ns = |id: usize| samples[id].t_due_ns.expect("it was due") - start_ns;
            assert!(
                samples
                    .iter()
                    .all(|sample| Some(sample.t_send_ns) >= sample.t_due_ns)
            );
            assert!(samples[1].t_due_ns >= Some(samples[0].t_end_ns));
            assert!((40 * MS..140 * MS).contains(&due_ns(1)), "{}", due_ns(1));
            for (id, due_ms) in [(2, 200), (3, 201), (4, 202), (5, 203)] {
                assert_eq!(due_ns(id), due_ms * MS, "{id}");
            }
            assert_eq!(exhausted > 0, workers == 1);
        }
    }

    #[test]
    fn turns_that_wait_when_the_plan_has_ended_go_out_one_after_the_other() {
        let plan = followers(&[(0, None), (0, Some(0)), (1, Some(1)), (2, Some(2))]);
        let Ran { samples, exhausted } = ran("20ms", 4, plan, None, &Stop::new());
        assert_eq!((samples.len(), exhausted), (4, 0));
        for pair in samples.windows(2) {
            assert!(pair[1].t_send_ns >= pair[0].t_end_ns);
            // Lateness counts from the end of the reply before it, so the request's own latency contains none of it.
            assert!(late_ms(&pair[1]) < 20, "{}", late_ms(&pair[1]));
        }
    }

    #[test]
    fn a_stop_ends_a_run_whose_turns_wait() {
        let stop = Stop::new();
        let stopping = stop.clone();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(60));
            stopping.request(Reason::Signal);
        });
        let plan = followers(&[(0, None), (1, Some(0))]);
        let Ran { samples, .. } = ran("5s", 4, plan, None, &stop);
        stopper.join().expect("it stopped the run");
        assert_eq!(samples.len(), 1);
    }

    #[test]
    fn the_duration_ends_the_sending_and_waits() {
        let plan = sessions((0..1000).map(|k| k * 100));
        let duration = Some(Duration::from_millis(450));
        let Ran { samples, .. } = ran("600ms", 16, plan, duration, &Stop::new());
        // Five are due within the duration: at 0, 100, … 400 ms.
        assert_eq!(samples.len(), 5);
        assert!(samples.iter().all(Sample::is_success));
    }

    #[test]
    fn a_stop_cuts_what_is_in_flight_and_sends_no_more() {
        let stop = Stop::new();
        let stopping = stop.clone();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(60));
            stopping.request(Reason::Signal);
        });
        let plan = sessions([0, 1, 5_000]);
        let Ran { samples, .. } = ran("5s", 16, plan, None, &stop);
        stopper.join().expect("it stopped the run");
        let phases: Vec<Phase> = samples.iter().map(|sample| sample.phase).collect();
        assert_eq!(phases, [Phase::Cut, Phase::Cut]);
    }
}
