//! Drives a run: worker threads, a bounded channel that feeds them sessions, and the end of the run.
//!
//! Sessions and clients go in, samples come out of a channel. This module knows no statistics.

pub mod open;
pub mod pool;
mod replies;
pub mod start;
pub mod stop;

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select};

use self::pool::{Queue, Shared, Worker};
use self::stop::{Reason, Stop};
use crate::client::Client;
use crate::error::Result;
use crate::plan::Session;
use crate::sample::Side;

/// Sessions that may wait for each worker. The queue is refilled when it is half empty: waking the feeder for each
/// session would cost every request two system calls and a thread switch.
const QUEUED: usize = 4;
/// The most that may wait for all workers together: the feeder fills so many much faster than servers answer them.
const MOST_QUEUED: usize = 1024;
/// Time between the first sessions of two workers. Workers started together would delay one another, and the client's
/// own CPU time (0.1 ms at each end of a request) would be measured as server latency.
const RAMP: Duration = Duration::from_micros(250);

/// The condition that ends a run before its plan does; times count from the first send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    None,
    /// Requests in flight at that time are cut.
    Cut(Duration),
    /// Requests in flight at that time are completed.
    Drain(Duration),
}

impl Limit {
    /// Returns the time after which nothing is sent.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Limit::None => None,
            Limit::Cut(duration) | Limit::Drain(duration) => Some(duration),
        }
    }
}

/// Runs the plan with one worker for each client, until the plan ends, the limit is reached or `stop` is set. The
/// clients of each server are a list of their own; sessions of the new side go to the last of them.
///
/// The workers are not joined, since one inside `connect(2)` cannot be woken and the final report does not wait for it.
/// The receiver of the samples disconnects when the last worker ends.
///
/// # Errors
/// Fails when the system refuses a thread.
pub fn run(
    plan: impl Iterator<Item = Session>,
    clients: Vec<Vec<Client>>,
    shared: Shared,
    limit: Limit,
) -> Result<()> {
    let stop = shared.stop.clone();
    let most = clients.iter().map(Vec::len).max().unwrap_or(0);
    let queues = clients
        .iter()
        .map(|of| bounded((QUEUED * of.len()).min(MOST_QUEUED)));
    let (senders, jobs): (Vec<_>, Vec<_>) = queues.unzip();
    let ramp_steps = u32::try_from(most).unwrap_or(u32::MAX);
    let epoch = clients.iter().flatten().next().map(Client::epoch);
    let workers = start(clients, &jobs, &shared)?;
    if let Some((start, epoch)) = shared.start.as_ref().zip(epoch) {
        start.wait(epoch, &stop)?;
    }
    // The workers hold the only senders: once they have ended, the samples are complete.
    drop(shared);
    let mut feeder = Feeder {
        limit,
        end: never(),
        stop,
        workers,
    };
    let ended = feeder.feed(plan, &senders, ramp_steps);
    drop(senders);
    let ended = match ended {
        Waited::Ready => feeder.wait_for(&feeder.workers.gone),
        ended => ended,
    };
    if ended == Waited::Over {
        // Sessions that no worker has taken are dropped.
        jobs.iter().for_each(|jobs| jobs.try_iter().for_each(drop));
        feeder.end = never();
        feeder.wait_for(&feeder.workers.gone);
    }
    Ok(())
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Ready,
    /// The run must end at once.
    Stopped,
    /// Nothing more may be sent.
    Over,
}

/// Keeps the queue filled until the plan, the limit or the run ends.
struct Feeder {
    limit: Limit,
    /// Fires when the limit is reached.
    end: Receiver<Instant>,
    stop: Stop,
    workers: Workers,
}

impl Feeder {
    fn feed(
        &mut self,
        plan: impl Iterator<Item = Session>,
        queues: &[Sender<Session>],
        ramp_steps: u32,
    ) -> Waited {
        let mut duration = self.limit.duration();
        let begun = Instant::now();
        for (step, mut session) in (0..).zip(plan) {
            let jobs = match session.side() {
                Some(Side::New) => queues.last(),
                Some(Side::Base) | None => queues.first(),
            };
            let Some(jobs) = jobs else {
                return Waited::Over;
            };
            if (1..ramp_steps).contains(&step) {
                let waited = self.wait_for(&at(begun + RAMP * step));
                if waited != Waited::Ready {
                    return waited;
                }
            }
            while let Err(error) = jobs.try_send(session) {
                session = error.into_inner();
                let waited = self.wait_for(&self.workers.running_low);
                if waited != Waited::Ready {
                    return waited;
                }
            }
            // The duration counts from the first send, like the elapsed time.
            if let Some(duration) = duration.take() {
                select! {
                    recv(self.workers.first_send) -> begun => if let Ok(begun) = begun {
                        self.end = at(begun + duration);
                    },
                    recv(self.stop.woken()) -> _ => return Waited::Stopped,
                }
            }
        }
        Waited::Ready
    }

    /// Waits for `ready`, for the end of the run, or for its limit, at which a `Cut` run is stopped.
    fn wait_for<T>(&self, ready: &Receiver<T>) -> Waited {
        select! {
            recv(ready) -> _ => Waited::Ready,
            recv(self.stop.woken()) -> _ => Waited::Stopped,
            recv(self.end) -> _ => match self.limit {
                Limit::Drain(_) => Waited::Over,
                Limit::None | Limit::Cut(_) => {
                    self.stop.request(Reason::Duration);
                    Waited::Stopped
                }
            }
        }
    }
}

/// The channels on which the workers report.
struct Workers {
    /// The instant of the run's first send.
    first_send: Receiver<Instant>,
    /// A worker signals here when it finds few sessions waiting.
    running_low: Receiver<()>,
    /// Disconnects when the last worker has ended.
    gone: Receiver<()>,
}

/// Starts the workers and waits until each has opened its connection, or the run is stopped.
fn start(
    clients: Vec<Vec<Client>>,
    jobs: &[Receiver<Session>],
    shared: &Shared,
) -> Result<Workers> {
    let mut queues = Vec::new();
    for (of, jobs) in clients.iter().zip(jobs) {
        queues.extend(of.iter().map(|_| jobs.clone()));
    }
    let clients: Vec<Client> = clients.into_iter().flatten().collect();
    let workers = clients.len();
    let (is_ready, ready) = bounded(workers);
    let (tell_first, first_send) = bounded(1);
    let (ask_for_more, running_low) = bounded(1);
    let gone = pool::start(clients, shared, Some(&tell_first), |number| {
        let queue = Queue {
            jobs: queues[number].clone(),
            ask_for_more: ask_for_more.clone(),
        };
        let is_ready = is_ready.clone();
        move |worker: &mut Worker| {
            worker.client.warm_up();
            // Nobody receives this after the run was stopped.
            let _ = is_ready.send(());
            worker.run(&queue);
        }
    })?;
    for _ in 0..workers {
        select! {
            recv(ready) -> _ => {}
            recv(shared.stop.woken()) -> _ => break,
        }
    }
    Ok(Workers {
        first_send,
        running_low,
        gone,
    })
}
