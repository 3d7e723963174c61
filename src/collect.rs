//! The collector: the one receiver of samples and vitals. It appends them to the samples file and hands them to the
//! records of the pass. Only the collector writes to the terminal while requests are in flight.

mod log;
mod progress;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};
use serde_json::Value;

pub use self::log::Log;
pub use self::progress::{Extent, Progress};
use crate::sample::{Gauge, Phase, Sample};
use crate::stats::client::ClientStats;
use crate::stats::records::Records;
use crate::tty::StatusLine;
use crate::units::{Epoch, nanoseconds};
use crate::vitals::Vitals;

/// How long to wait for requests that were cut.
const CUT_WAIT: Duration = Duration::from_millis(700);
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How often the figures so far are saved.
const SAVED_EVERY: Duration = Duration::from_secs(60);
/// How often the collector looks for the first send, from which intervals count.
const START_POLL: Duration = Duration::from_millis(50);
/// From the end of an interval to its block: the time that samples which ended before it take to arrive.
const ARRIVAL: Duration = Duration::from_millis(5);

/// The channels that are read while requests are in flight.
pub struct Feed {
    /// Disconnects when the last worker is gone.
    pub samples: Receiver<Sample>,
    pub vitals: Receiver<Vitals>,
    /// Ends the watchdog, which then sends its last vitals and disconnects.
    pub end_watch: Sender<()>,
    /// Disconnects when the run is to end.
    pub stopped: Receiver<()>,
    pub gauge: Arc<Gauge>,
    pub epoch: Epoch,
}

/// Called with every sample; the error says which output could not be written.
pub type OnSample<'a> = Box<dyn FnMut(&Sample) -> Result<(), String> + Send + 'a>;
/// Returns the lines of other series that came since the last call, each with the name of its series.
pub type Series = Box<dyn FnMut() -> Vec<(&'static str, Value)> + Send>;

/// A pass while it runs.
pub struct Collector<'a> {
    pub feed: Feed,
    pub log: &'a mut Log,
    pub records: Records,
    /// Requests sent within this time after the first send are left out of the figures.
    pub warmup: Duration,
    pub view: View<'a>,
    pub on_sample: OnSample<'a>,
    pub series: Series,
}

/// The view on the terminal.
pub enum View<'a> {
    Nothing,
    Progress(Progress),
    Blocks(Blocks<'a>),
    /// The plan itself tells what it has found and how far it is, twice a second and at the end of the pass.
    Told(Tell<'a>),
}

/// Prints lines above the status line, and shows that line.
pub type Tell<'a> = Box<dyn FnMut(&mut StatusLine) + Send + 'a>;

/// Prints figures so far at every interval, and saves them once a minute.
pub struct Blocks<'a> {
    pub interval: Duration,
    pub print: Print<'a>,
    pub save: Save<'a>,
}

type Print<'a> = Box<dyn FnMut(&mut Records, &Moment) + Send + 'a>;
type Save<'a> = Box<dyn FnMut(&Records, &ClientStats, &Moment) + Send + 'a>;

/// The clock and the counts at one moment of the pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moment {
    /// The stamp of the first send; 0 if nothing was sent.
    pub t_start_ns: u64,
    /// The stamp from which figures count.
    pub measured_ns: u64,
    pub now_ns: u64,
    pub in_flight: u64,
    /// How long those requests have been in flight, added up.
    pub in_flight_ns: u64,
    pub peak: u64,
}

/// The result of a pass.
pub struct Collected {
    pub records: Records,
    pub client: ClientStats,
    /// The series that was handed in; its last lines may come after the pass.
    pub series: Series,
    /// An id greater than those of all samples.
    pub next_id: u64,
    /// Requests that ended, including those of the warm-up and those that were cut.
    pub ended: u64,
    /// The moment at which the pass ended; the wait for requests that were cut is not part of it.
    pub end: Moment,
}

struct State<'a> {
    collector: Collector<'a>,
    client: ClientStats,
    begun: Instant,
    status: StatusLine,
    /// The stamp at which the next block is due.
    boundary_ns: Option<u64>,
    /// Samples that ended after it.
    early: Vec<Sample>,
    saved: Instant,
    next_id: u64,
    ended: u64,
    failed: u64,
}

/// Collects until the last worker has ended, or for `CUT_WAIT` after the run was stopped.
pub fn run(collector: Collector<'_>) -> Collected {
    let mut state = State::new(collector);
    let ended_ns = state.until_the_end();
    let end = state.moment(ended_ns);
    Collected {
        end: Moment {
            // Whichever way they were cut, or are still to come back: none has a line.
            in_flight: state.collector.feed.gauge.begun() - state.ended,
            ..end
        },
        records: state.collector.records,
        client: state.client,
        series: state.collector.series,
        next_id: state.next_id,
        ended: state.ended,
    }
}

impl<'a> State<'a> {
    fn new(collector: Collector<'a>) -> State<'a> {
        State {
            collector,
            client: ClientStats::default(),
            begun: Instant::now(),
            status: StatusLine::new(),
            boundary_ns: None,
            early: Vec::new(),
            saved: Instant::now(),
            next_id: 0,
            ended: 0,
            failed: 0,
        }
    }

    fn until_the_end(&mut self) -> u64 {
        let samples = self.collector.feed.samples.clone();
        let mut vitals = self.collector.feed.vitals.clone();
        let stopped = self.collector.feed.stopped.clone();
        let mut wake = at(Instant::now());
        loop {
            select! {
                recv(samples) -> sample => match sample {
                    Ok(sample) => self.arrive(sample),
                    Err(_) => break,
                },
                recv(vitals) -> seen => match seen {
                    Ok(seen) => self.watch(&seen),
                    // The watchdog is gone; the pass does not need it.
                    Err(_) => vitals = never(),
                },
                recv(stopped) -> _ => break,
                recv(wake) -> _ => wake = at(self.tick()),
            }
        }
        let ended_ns = self.collector.feed.epoch.now_ns();
        // Blocks that are due exactly at the end are always printed.
        self.boundary_ns = self.boundary_ns.or_else(|| self.first_boundary());
        while self.boundary_ns.is_some_and(|due| due <= ended_ns) {
            self.block();
        }
        for sample in std::mem::take(&mut self.early) {
            self.take(&sample);
        }
        self.take_last_reports();
        self.write_series();
        if let View::Told(tell) = &mut self.collector.view {
            tell(&mut self.status);
        }
        self.status.clear();
        ended_ns
    }

    /// Collects what cut requests and the watchdog still send. Both return at once; a request that hangs in connect(2)
    /// is not waited for.
    fn take_last_reports(&mut self) {
        let feed = &self.collector.feed;
        // The channel has room for this one message; a watchdog that has ended needs none.
        let _ = feed.end_watch.try_send(());
        let deadline = Instant::now() + CUT_WAIT;
        let (samples, vitals) = (feed.samples.clone(), feed.vitals.clone());
        while let Ok(sample) = samples.recv_deadline(deadline) {
            self.take(&sample);
        }
        while let Ok(seen) = vitals.recv_deadline(deadline) {
            self.watch(&seen);
        }
    }

    /// Takes a sample, or keeps it where it ended after the interval whose block is due next.
    fn arrive(&mut self, sample: Sample) {
        self.boundary_ns = self.boundary_ns.or_else(|| self.first_boundary());
        match self.boundary_ns {
            Some(boundary_ns) if sample.t_end_ns > boundary_ns => self.early.push(sample),
            _ => self.take(&sample),
        }
    }

    /// Takes the samples that have arrived.
    fn arrive_all(&mut self) {
        let samples = self.collector.feed.samples.clone();
        while let Ok(sample) = samples.try_recv() {
            self.arrive(sample);
        }
    }

    fn take(&mut self, sample: &Sample) {
        let collector = &mut self.collector;
        collector.log.write(|file| file.write(sample));
        if let Err(why) = (collector.on_sample)(sample) {
            collector.log.lose("debug log", why);
        }
        self.next_id = self.next_id.max(sample.id.saturating_add(1));
        self.ended += 1;
        self.failed += u64::from(sample.failure.is_some() && sample.phase == Phase::Measured);
        collector.records.add(sample);
    }

    fn watch(&mut self, seen: &Vitals) {
        self.collector.log.write(|file| file.write_vitals(seen));
        self.write_series();
        let is_save_due = self.saved.elapsed() >= SAVED_EVERY;
        if is_save_due {
            self.arrive_all();
        }
        let moment = self.moment(self.collector.feed.epoch.now_ns());
        // Before the first send nothing is measured yet.
        if moment.t_start_ns > 0 {
            self.client.add(seen, moment.measured_ns);
        }
        if let View::Blocks(blocks) = &mut self.collector.view
            && is_save_due
            // Else it is due again in a second: figures lack those that ended just now.
            && self.early.is_empty()
        {
            self.saved += SAVED_EVERY;
            (blocks.save)(&self.collector.records, &self.client, &moment);
        }
    }

    /// Shows what is due, and returns when to tick again.
    fn tick(&mut self) -> Instant {
        if !matches!(self.collector.view, View::Blocks(_)) {
            self.show_progress();
            return Instant::now() + PROGRESS_EVERY;
        }
        let epoch = self.collector.feed.epoch;
        let now_ns = epoch.now_ns();
        let has_passed = |due_ns| due_ns + nanoseconds(ARRIVAL) <= now_ns;
        self.boundary_ns = self.boundary_ns.or_else(|| self.first_boundary());
        if self.boundary_ns.is_some_and(has_passed) {
            self.block();
        }
        match self.boundary_ns {
            Some(boundary_ns) => epoch.instant(boundary_ns) + ARRIVAL,
            None => Instant::now() + START_POLL,
        }
    }

    /// Returns the end of the first interval, once a request has been sent.
    fn first_boundary(&self) -> Option<u64> {
        let View::Blocks(blocks) = &self.collector.view else {
            return None;
        };
        let moment = self.moment(0);
        (moment.t_start_ns > 0).then(|| moment.measured_ns + nanoseconds(blocks.interval))
    }

    /// Prints the block of the interval whose end has come, and begins the next one with the samples that ended later.
    fn block(&mut self) {
        self.write_series();
        self.arrive_all();
        let Some(boundary_ns) = self.boundary_ns else {
            return;
        };
        let begun = |sample: &&Sample| sample.t_send_ns <= boundary_ns;
        let ended_since = self.early.iter().filter(begun).count() as u64;
        let (in_flight, _) = self.collector.feed.gauge.in_flight_at(boundary_ns);
        let moment = Moment {
            in_flight: in_flight + ended_since,
            ..self.moment(boundary_ns)
        };
        if let View::Blocks(blocks) = &mut self.collector.view {
            (blocks.print)(&mut self.collector.records, &moment);
            self.boundary_ns = Some(boundary_ns + nanoseconds(blocks.interval));
        }
        for sample in std::mem::take(&mut self.early) {
            self.arrive(sample);
        }
    }

    fn moment(&self, now_ns: u64) -> Moment {
        let gauge = &self.collector.feed.gauge;
        let t_start_ns = gauge.started_ns();
        let (in_flight, in_flight_ns) = gauge.in_flight_at(now_ns);
        Moment {
            t_start_ns,
            measured_ns: t_start_ns + nanoseconds(self.collector.warmup),
            // Before the first send no time has passed.
            now_ns: if t_start_ns == 0 { 0 } else { now_ns },
            in_flight,
            in_flight_ns,
            peak: gauge.peak(),
        }
    }

    fn write_series(&mut self) {
        for (name, line) in (self.collector.series)() {
            self.collector
                .log
                .write(|file| file.write_series(name, &line));
        }
    }

    fn show_progress(&mut self) {
        match &mut self.collector.view {
            View::Progress(progress) => {
                let elapsed_s = self.begun.elapsed().as_secs_f64();
                let (ended, failed) = (self.ended, self.failed);
                self.status.show(|| progress.line(ended, failed, elapsed_s));
            }
            View::Told(tell) => tell(&mut self.status),
            View::Nothing | View::Blocks(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::sample::Place;
    use crate::stats::facts::Facts;

    fn feed(samples: Receiver<Sample>, gauge: &Arc<Gauge>) -> Feed {
        Feed {
            samples,
            vitals: crossbeam_channel::bounded(0).1,
            end_watch: crossbeam_channel::bounded(1).0,
            stopped: never(),
            gauge: Arc::clone(gauge),
            epoch: Epoch::start(),
        }
    }

    fn no_file() -> Log {
        Log::new("--samples")
    }

    fn collector<'a>(feed: Feed, log: &'a mut Log, view: View<'a>) -> Collector<'a> {
        Collector {
            feed,
            log,
            records: Records::live(true, 0),
            warmup: Duration::ZERO,
            view,
            on_sample: Box::new(|_| Ok(())),
            series: Box::new(Vec::new),
        }
    }

    #[test]
    fn requests_that_leave_no_line_are_counted_as_in_flight() {
        let (sender, samples) = crossbeam_channel::unbounded();
        let gauge = Arc::new(Gauge::default());
        // Three were sent. One has its line, one hangs, and one has left just now: its line comes too late.
        let places = [1, 2, 3].map(|at_ns| {
            let place = Place::new(&gauge);
            place.enter(at_ns);
            place
        });
        places[0].leave();
        places[1].leave();
        sender.send(Sample::default()).expect("room");
        drop(sender);
        let mut log = no_file();
        let collected = run(collector(feed(samples, &gauge), &mut log, View::Nothing));
        assert_eq!((collected.ended, collected.end.in_flight), (1, 2));
    }

    /// Requests of some workers, one behind the other on each: when they are sent and when they end.
    fn schedule(rng: &mut Rng) -> Vec<Vec<(u64, u64)>> {
        let worker = |rng: &mut Rng| {
            let mut at_ns = 1;
            let requests = (0..rng.usize(1..12)).map(|_| {
                let send_ns = at_ns + rng.u64(0..40);
                at_ns = send_ns + rng.u64(1..60);
                (send_ns, at_ns)
            });
            requests.collect()
        };
        (0..rng.usize(1..6)).map(|_| worker(rng)).collect()
    }

    #[test]
    fn the_mean_concurrency_of_a_moment_is_that_of_a_count_at_every_instant() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let workers = schedule(&mut rng);
            let start_ns = workers.iter().map(|requests| requests[0].0).min();
            let start_ns = start_ns.expect("a worker");
            let now_ns = start_ns + rng.u64(1..400);
            let all = || workers.iter().flatten();
            let at = |t_ns| {
                all()
                    .filter(|&&(send, end)| send <= t_ns && t_ns < end)
                    .count() as u64
            };
            let wanted = (start_ns..now_ns).map(at).sum::<u64>() as f64;

            let gauge = Arc::new(Gauge::default());
            let mut records = Records::live(true, 0);
            for requests in &workers {
                let place = Place::new(&gauge);
                for &(send_ns, end_ns) in requests.iter().filter(|(send, _)| *send < now_ns) {
                    place.enter(send_ns);
                    if end_ns <= now_ns {
                        place.leave();
                        records.add(&Sample {
                            t_send_ns: send_ns,
                            t_end_ns: end_ns,
                            ..Sample::default()
                        });
                    }
                }
            }
            let (_, in_flight_ns) = gauge.in_flight_at(now_ns);
            let facts = Facts {
                t_start_ns: start_ns,
                window_ns: Some((start_ns, now_ns)),
                in_flight_ns,
                ..Facts::default()
            };
            let got = records.live_figures(&facts).concurrency_mean;
            let wanted = wanted / (now_ns - start_ns) as f64;
            assert!(
                got.is_some_and(|got| (got - wanted).abs() < 1e-9),
                "{seed}: {got:?} {wanted}"
            );
        }
    }

    const INTERVAL_NS: u64 = 50;
    const INTERVALS: u64 = 20;

    /// Successes of each interval, and requests in flight at its end, as the collector shows them.
    fn shown(samples: Vec<Sample>, start_ns: u64) -> Vec<(u64, u64)> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        for sample in samples {
            sender.send(sample).expect("room");
        }
        let gauge = Arc::new(Gauge::default());
        let place = Place::new(&gauge);
        place.enter(start_ns);
        place.leave();
        let mut blocks = Vec::new();
        let mut log = no_file();
        let view = View::Blocks(Blocks {
            interval: Duration::from_nanos(INTERVAL_NS),
            print: Box::new(|records, moment| {
                blocks.push((records.end_interval().requests, moment.in_flight));
            }),
            save: Box::new(|_, _, _| ()),
        });
        let mut state = State::new(collector(feed(receiver, &gauge), &mut log, view));
        state.arrive_all();
        (0..INTERVALS).for_each(|_| state.block());
        drop(state);
        blocks
    }

    #[test]
    fn every_interval_has_the_requests_that_ended_in_it() {
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let mut requests = schedule(&mut rng).concat();
            let start_ns = requests.iter().map(|(send_ns, _)| *send_ns).min();
            let start_ns = start_ns.expect("a request");
            let count = |is_in: &dyn Fn(u64, u64) -> bool| {
                let counted = requests.iter().filter(|(send, end)| is_in(*send, *end));
                counted.count() as u64
            };
            let wanted: Vec<(u64, u64)> = (0..INTERVALS)
                .map(|k| {
                    let from_ns = start_ns + k * INTERVAL_NS;
                    let to_ns = from_ns + INTERVAL_NS;
                    let ended = count(&|_, end_ns| from_ns < end_ns && end_ns <= to_ns);
                    let in_flight = count(&|send_ns, end_ns| send_ns <= to_ns && to_ns < end_ns);
                    (ended, in_flight)
                })
                .collect();
            // They arrive in any order, before the collector looks at its clock.
            rng.shuffle(&mut requests);
            let samples = requests.iter().map(|&(send_ns, end_ns)| Sample {
                t_send_ns: send_ns,
                t_end_ns: end_ns,
                ..Sample::default()
            });
            assert_eq!(shown(samples.collect(), start_ns), wanted, "seed {seed}");
        }
    }
}
