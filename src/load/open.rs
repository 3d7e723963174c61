//! The open loop: every request goes out when it is due, whatever became of those before it.
//!
//! A pacer, the calling thread, hands each one to the worker that became idle last. So there are no more
//! connections than requests were in flight at once, and most requests find one open.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::pool::{self, Shared, Worker};
use crate::client::Client;
use crate::error::Result;
use crate::plan::Session;
use crate::units::nanoseconds;

/// Connections that are open before the first request is due.
const WARM: usize = 8;
/// From the moment that all is ready to the first due time.
const LEAD_NS: u64 = 1_000_000;

/// A session with the time at which its first turn is due, in nanoseconds after the first of all.
pub struct Due {
    pub due_ns: u64,
    pub session: Session,
}

/// What a worker is to do: its due time counts from the run's epoch.
type Job = (u64, Session);

/// Sends every session when it is due, with one worker a client, until the plan ends, what is due later than
/// `duration`, or `stop` is set; then waits for what is in flight. Returns how many found no idle worker and went
/// out late.
///
/// # Errors
/// When the system does not give the threads.
pub fn run(
    plan: impl Iterator<Item = Due>,
    clients: Vec<Client>,
    shared: Shared,
    duration: Option<Duration>,
) -> Result<u64> {
    let stop = shared.stop.clone();
    let Some(epoch) = clients.first().map(Client::epoch) else {
        return Ok(0);
    };
    let mut pool = start(clients, &shared)?;
    // The workers hold the only ends that count: when they are gone, samples are complete.
    drop(shared);
    let base_ns = epoch.now_ns() + LEAD_NS;
    let last_ns = duration.map_or(u64::MAX, nanoseconds);
    let mut exhausted = 0;
    // Until then no worker was idle, whoever has become so since.
    let mut busy_until_ns = 0;
    for Due { due_ns, session } in plan.take_while(|due| due.due_ns <= last_ns) {
        let due_ns = base_ns.saturating_add(due_ns);
        // Nothing is ever sent on it: it times out, or the run is stopped.
        if !stop
            .woken()
            .recv_deadline(epoch.instant(due_ns))
            .is_err_and(|e| e.is_timeout())
        {
            return Ok(exhausted);
        }
        pool.idle.extend(pool.became_idle.try_iter());
        let is_busy = pool.idle.is_empty();
        exhausted += u64::from(is_busy || due_ns < busy_until_ns);
        if is_busy {
            select! {
                recv(pool.became_idle) -> worker => pool.idle.extend(worker),
                recv(stop.woken()) -> _ => return Ok(exhausted),
            }
            busy_until_ns = epoch.now_ns();
        }
        let Some(worker) = pool.idle.pop() else {
            return Ok(exhausted); // The workers are gone.
        };
        // An idle worker waits for its job.
        let _ = pool.jobs[worker].send((due_ns, session));
    }
    pool.jobs.clear();
    select! {
        recv(pool.gone) -> _ => {}
        recv(stop.woken()) -> _ => {}
    }
    Ok(exhausted)
}

/// The workers as the pacer sees them, by number.
struct Pool {
    jobs: Vec<Sender<Job>>,
    /// The one that became idle last is on top.
    idle: Vec<usize>,
    became_idle: Receiver<usize>,
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
        move |mut worker: Worker| {
            if number < WARM {
                worker.client.warm_up();
            }
            // The pacer is gone only when the run is.
            while tell_idle.send(number).is_ok() {
                let Ok((due_ns, session)) = own_jobs.recv() else {
                    break;
                };
                worker.session(session, Some(due_ns), None);
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
    // Those with a connection are on top.
    idle.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Pool {
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
    use crate::load::stop::{Reason, Stop};
    use crate::mock::testing::start as mock;
    use crate::plan::{Prompt, Turn};
    use crate::sample::{Labels, Phase, Sample};
    use crate::units::Epoch;

    const MS: u64 = 1_000_000;

    fn sessions(due_ms: impl IntoIterator<Item = u64>) -> Vec<Due> {
        let due = (0..).zip(due_ms).map(|(id, due_ms)| Due {
            due_ns: due_ms * MS,
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
        /// By id.
        samples: Vec<Sample>,
        exhausted: u64,
    }

    /// Sends to a mock whose answers take `base`, with so many workers.
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
        let exhausted = run(plan.into_iter(), clients, shared, duration).expect("threads");
        let mut samples: Vec<Sample> = samples.iter().collect();
        samples.sort_by_key(|sample| sample.id);
        Ran { samples, exhausted }
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
        // 8 connections were open before, and one request is in flight at a time.
        assert!(samples.iter().all(|sample| sample.reused));
    }

    #[test]
    fn requests_without_an_idle_worker_are_counted_and_late() {
        // Two workers, 60 ms each, the second 30 ms behind the first: request k goes out at 30 k ms, when the other
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
        // Both workers are busy from 0 to 60 ms, and again to 120 ms.
        let Ran { exhausted, .. } = ran(
            "60ms",
            2,
            sessions([0, 0, 10, 20, 30, 40]),
            None,
            &Stop::new(),
        );
        assert_eq!(exhausted, 4);
    }

    #[test]
    fn the_duration_ends_the_sending_and_waits() {
        let plan = sessions((0..1000).map(|k| k * 10));
        let duration = Some(Duration::from_millis(45));
        let Ran { samples, .. } = ran("60ms", 16, plan, duration, &Stop::new());
        // Due at 0, 10, … 40 ms.
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
