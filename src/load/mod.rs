//! Drives a run: workers on OS threads, a bounded channel of sessions to them, and the end.
//!
//! Sessions and clients go in, samples come out of a channel. Knows nothing of statistics.

pub mod pool;
pub mod stop;

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, at, bounded, never, select};

use self::pool::{Shared, Worker};
use self::stop::{Reason, Stop};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::plan::Session;

/// A worker's stack: TLS and JSON of one request, with room to spare.
const STACK_BYTES: usize = 256 << 10;
/// Sessions that may wait for each worker. Below half of that the queue is filled up again: waking the
/// feeder for each session would cost every request two system calls and a switch of threads.
const QUEUED: usize = 4;
/// From one worker's first session to the next one's. All at once would be measured as each other's delay,
/// and again where their answers end together: a request's begin and end take about 0.1 ms of CPU.
const RAMP: Duration = Duration::from_micros(250);

/// Runs the plan with one worker a client, until it ends, `duration` is over or `stop` is set.
///
/// The workers are not joined: one that is inside `connect(2)` cannot be woken, and the final report
/// does not wait for it. Whoever holds the receiver of the samples sees the last worker go.
///
/// # Errors
/// When the system does not give the threads.
pub fn run(
    plan: impl Iterator<Item = Session>,
    clients: Vec<Client>,
    shared: Shared,
    mut duration: Option<Duration>,
) -> Result<()> {
    let stop = shared.stop.clone();
    let (job_sender, jobs) = bounded(QUEUED * clients.len());
    let ramp_steps = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    let workers = start(clients, &jobs, &shared)?;
    // The workers hold the only ends that count: when they are gone, samples are complete.
    drop((jobs, shared));
    let mut end = never();
    let begun = Instant::now();
    for (step, mut session) in (0..).zip(plan) {
        if (1..ramp_steps).contains(&step) && !wait_for(&at(begun + RAMP * step), &stop, &end) {
            return Ok(());
        }
        loop {
            session = match job_sender.try_send(session) {
                Ok(()) => break,
                Err(TrySendError::Full(waiting)) => waiting,
                // The workers go before the plan does only when the run is stopped.
                Err(TrySendError::Disconnected(_)) => return Ok(()),
            };
            if !wait_for(&workers.running_low, &stop, &end) {
                return Ok(());
            }
        }
        // The duration counts from the first send, as the elapsed time does.
        if let Some(duration) = duration.take() {
            select! {
                recv(workers.first_send) -> begun => if let Ok(begun) = begun {
                    end = at(begun + duration);
                },
                recv(stop.woken()) -> _ => return Ok(()),
            }
        }
    }
    drop(job_sender);
    wait_for(&workers.gone, &stop, &end);
    Ok(())
}

/// Waits for `ready`; false when the run is to end before it, and at `end` it is told to.
fn wait_for<T>(ready: &Receiver<T>, stop: &Stop, end: &Receiver<Instant>) -> bool {
    select! {
        recv(ready) -> _ => true,
        recv(stop.woken()) -> _ => false,
        recv(end) -> _ => {
            stop.request(Reason::Duration);
            false
        }
    }
}

/// What is heard of the workers together.
struct Workers {
    /// When the first request of the run was sent.
    first_send: Receiver<Instant>,
    /// Said by a worker that finds few sessions waiting.
    running_low: Receiver<()>,
    /// Disconnects when the last worker has ended.
    gone: Receiver<()>,
}

/// Starts the workers and waits until each has had its connection opened, or the run is stopped.
fn start(clients: Vec<Client>, jobs: &Receiver<Session>, shared: &Shared) -> Result<Workers> {
    let (here, gone): (Sender<()>, _) = bounded(0);
    let workers = clients.len();
    let (is_ready, ready) = bounded(workers);
    let (tell_first, first_send) = bounded(1);
    let (ask_for_more, running_low) = bounded(1);
    for client in clients {
        shared.stop.cuts(client.agent());
        let worker = Worker {
            client,
            jobs: jobs.clone(),
            shared: shared.clone(),
            first_send: tell_first.clone(),
            ask_for_more: ask_for_more.clone(),
        };
        let (is_ready, here) = (is_ready.clone(), here.clone());
        let started = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || {
                worker.client.warm_up();
                // Nobody waits any more when the run was stopped.
                let _ = is_ready.send(());
                worker.run();
                drop(here);
            });
        started.map_err(|e| {
            Error::input(format!("{workers} threads"), e)
                .next("Ask for fewer requests at once with --max-inflight")
        })?;
    }
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
