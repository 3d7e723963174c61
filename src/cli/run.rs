//! A run: opened once, then one pass after the other, each with a plan from the command.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use serde_json::Value;

use super::counters::{Counters, EVERY};
use super::discover::{Ready, refused};
use super::host;
use super::output::Samples;
use super::silence::Silence;
use crate::client::count::count_texts;
use crate::client::{Client, Target};
use crate::collect::{
    self, Blocks, Collected, Collector, Extent, Feed, Log, OnSample, Progress, Series, Tell, View,
};
use crate::error::{Error, Result};
use crate::load::open::Due;
use crate::load::pool::Shared;
use crate::load::start::Start;
use crate::load::stop::{Reason, Stop};
use crate::load::{self, Limit};
use crate::plan::shard::{Divider, Shard, divided};
use crate::plan::{Session, Turn};
use crate::report::layout::report::Report;
use crate::sample::{Gauge, Sample};
use crate::samples_file::TokensLine;
use crate::stats::catalog::HIT_RATE;
use crate::stats::evidence;
use crate::stats::facts::Facts;
use crate::stats::goodput::Slo;
use crate::stats::kv_cache::{Evidence, Verdict};
use crate::stats::pass::{Pass, reported};
use crate::stats::records::Records;
use crate::units::nanoseconds;
use crate::watchdog;

/// Samples that may wait for the collector; if more do, workers wait, which costs load but no data.
const WAITING_SAMPLES: usize = 1024;
/// How long the server may answer nothing before the run is ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time before a set start in which connections are opened, besides a millisecond for each. Servers close those that
/// stay idle for longer.
const OPENING: Duration = Duration::from_secs(1);

/// The state that all passes of a run share, and their results so far.
pub struct Run {
    pub target: Arc<Target>,
    /// The new side of a comparison.
    pub against: Option<Arc<Target>>,
    pub stop: Stop,
    pub slo: Option<Slo>,
    /// The tokens that all prompts have in common before their texts; `None`: nobody counted them.
    pub common_tokens: Option<u64>,
    /// Whether the mock server runs in this process.
    pub mock_in_process: bool,
    pub log: Log,
    /// The header of the samples, and the passes that have ended.
    pub report: Report,
    /// The id of the next request.
    pub next_id: u64,
    /// The part of the run that this process is; `None`: it is the whole run.
    pub shard: Option<Shard>,
    /// When the first pass that is no warm-up begins; `None`: as soon as all is ready.
    start: Option<Start>,
    /// Whether a request of the run has succeeded.
    succeeded: Arc<AtomicBool>,
    silence: Silence,
    /// Why the server counts as gone at the end of the last pass; `None`: it answered.
    pub gone: Option<String>,
}

/// One pass, as a command asks for it.
pub struct Step<'a> {
    /// The beginning of the progress line; empty: no progress line.
    pub label: String,
    pub extent: Extent,
    /// Requests in flight at once.
    pub in_flight: u64,
    pub records: Records,
    /// Requests sent within this time after the first are in no figure; `None`: no request is in any figure.
    pub warmup: Option<Duration>,
    /// Rates are over the duration of the pass, not from the first send to the last end; requests that are in flight at
    /// the end of a duration are cut.
    pub is_window: bool,
    /// Waits for a server that does not answer for as long as it takes.
    pub is_patient: bool,
    /// The server's counters to read during the requests, and the interval; without one they are read after every
    /// request.
    pub counters: Option<(&'a Counters, Option<Duration>)>,
    pub on_sample: OnSample<'a>,
    /// The lines of other series.
    pub series: Series,
    pub blocks: Option<Blocks<'a>>,
    /// Takes the place of the progress line.
    pub tell: Option<Tell<'a>>,
}

/// The plan of a pass.
pub enum Sending<'a> {
    Closed(Box<dyn Iterator<Item = Session> + 'a>),
    Open(Box<dyn Iterator<Item = Due> + 'a>),
}

/// The result of a pass: its requests, and the facts that every command has.
pub struct Sent {
    pub records: Records,
    pub facts: Facts,
    /// Requests that ended, including those that were cut.
    pub ended: u64,
    /// An id above those of its samples.
    pub end_id: u64,
}

impl Sent {
    /// The end of the window, or of the last request.
    fn t_end_ns(&self) -> u64 {
        let Records { list, controls, .. } = &self.records;
        let ends_ns = list.iter().chain(controls).map(|record| record.t_end_ns());
        let window_end_ns = self.facts.window_ns.map(|(_, end_ns)| end_ns);
        window_end_ns.or(ends_ns.max()).unwrap_or_default()
    }
}

impl<'a> Step<'a> {
    pub fn new(label: String, extent: Extent, in_flight: u64) -> Step<'a> {
        Step {
            label,
            extent,
            in_flight,
            records: Records::kept(),
            warmup: Some(Duration::ZERO),
            is_window: false,
            is_patient: false,
            counters: None,
            on_sample: Box::new(|_| Ok(())),
            series: Box::new(Vec::new),
            blocks: None,
            tell: None,
        }
    }
}

impl Run {
    /// Creates a run without a file of samples.
    pub fn new(target: Arc<Target>, stop: Stop, mock_in_process: bool) -> Run {
        Run {
            target,
            against: None,
            stop,
            slo: None,
            common_tokens: None,
            mock_in_process,
            log: Log {
                name: "--samples",
                file: None,
                lost: Vec::new(),
            },
            report: Report {
                about: Value::Null,
                passes: Vec::new(),
                findings: Value::Null,
                notes: Vec::new(),
            },
            next_id: 0,
            shard: None,
            start: None,
            succeeded: Arc::default(),
            silence: Silence::default(),
            gone: None,
        }
    }

    /// Opens a run against a server that is ready, and writes its header to the file of samples, if there is one.
    /// `options` are the command's.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn open(ready: &Ready, stop: &Stop, options: Value, samples: &Samples) -> Result<Run> {
        let mock_in_process = ready.opened.mock.is_some();
        let mut run = Run::new(Arc::clone(&ready.target), stop.clone(), mock_in_process);
        run.slo = ready.common.slo;
        run.shard = ready.common.shard();
        run.start.clone_from(&ready.common.start);
        run.common_tokens = ready.common_tokens;
        run.report.about = ready.header(options);
        run.log.name = samples.name;
        run.log.file = samples.create(&run.report.about)?;
        Ok(run)
    }

    /// Sends a plan until it ends, the extent is reached or the run is stopped.
    ///
    /// # Errors
    /// Fails when the system refuses a thread, or the server refuses every request.
    pub fn pass(&mut self, step: Step<'_>, plan: Sending<'_>) -> Result<Sent> {
        let is_open = matches!(plan, Sending::Open(_));
        let (part, step) = self.own_part(step, is_open);
        let start = self.start.take_if(|_| step.warmup.is_some());
        if let Some(start) = &start {
            self.wait_for(start, step.in_flight);
        }
        let (sender, samples) = bounded(WAITING_SAMPLES);
        let gauge = Arc::new(Gauge::default());
        let epoch = self.target.link.epoch;
        let (after_each, scraping) = match step.counters {
            Some((counters, interval)) => counters.begin(interval)?,
            None => (None, None),
        };
        let shared = Shared {
            any_success: Arc::clone(&self.succeeded),
            beside: after_each,
            warmup_ns: step.warmup.map_or(u64::MAX, nanoseconds),
            begun_ns: epoch.now_ns(),
            start,
            patience: (!step.is_patient).then_some(PATIENCE),
            ..Shared::new(
                sender,
                self.stop.clone(),
                Arc::clone(&gauge),
                &self.target.body.model,
            )
        };
        let (in_flight, limit) = match step.extent {
            Extent::Requests(requests) => (step.in_flight.min(requests), Limit::None),
            Extent::Duration(duration) if step.is_window => (step.in_flight, Limit::Cut(duration)),
            Extent::Duration(duration) => (step.in_flight, Limit::Drain(duration)),
        };
        let clients = |target: &Arc<Target>| {
            let clients = (0..in_flight).map(|_| Client::new(Arc::clone(target)));
            clients.collect::<Vec<Client>>()
        };
        let (base, against) = (clients(&self.target), self.against.as_ref().map(clients));
        let (is_window, is_endless) = (step.is_window, step.is_patient);
        let counters = step.counters;
        let divider = self.shard.zip(part);
        let divider = RefCell::new(divider.map(|(of_run, part)| Divider::new(of_run, part)));
        let collector = self.collector(step, samples, gauge)?;
        let (ran, collected) = thread::scope(|scope| {
            let collecting = scope.spawn(move || collect::run(collector));
            let ran = match plan {
                Sending::Closed(plan) => {
                    let clients = std::iter::once(base).chain(against).collect();
                    let plan = divided(plan, &divider, |divider, session| {
                        divider.takes(session, None)
                    });
                    load::run(plan, clients, shared, limit).map(|()| None)
                }
                Sending::Open(plan) => {
                    let plan = divided(plan, &divider, |divider, due: &Due| {
                        let chain = due.order.map(|order| (order.place, order.after));
                        divider.due(due.due_ns);
                        divider.takes(&due.session, chain)
                    });
                    load::open::run(plan, base, shared, limit.duration()).map(Some)
                }
            };
            (ran, collecting.join())
        });
        let ran = ran?;
        let panicked = |_| Error::missed("collector", "it panicked; this is a bug");
        let mut collected = collected.map_err(panicked)?;
        self.stop.forget();
        let divider = divider.into_inner();
        let next_id = divider.as_ref().map_or(collected.next_id, Divider::next_id);
        self.next_id = self.next_id.max(next_id);
        if let Some(Reason::Refused(status, failure)) = self.stop.reason() {
            let error = refused(&self.target, *status, failure);
            return Err(error.next("No request has succeeded, so the run was ended."));
        }
        let link = &self.target.link;
        self.gone = self.silence.verdict(|| link.connect_time().is_some());
        drop(scraping);
        if let Some((counters, _)) = counters {
            counters.end(self.stop.is_set());
        }
        for (name, line) in (collected.series)() {
            self.log.write(|file| file.write_series(name, &line));
        }
        let exhausted = ran.map(|ran| ran.exhausted);
        let mut sent = self.sent(collected, exhausted, is_window);
        sent.facts.was_stopped = self.was_stopped(is_endless);
        if let Some(divider) = divider {
            sent.facts.shares = divider.requests();
            let schedule = ran.zip(divider.due_ns());
            sent.facts.schedule_ns = schedule.map(|(ran, (first_ns, last_ns))| {
                let at = |due_ns| ran.base_ns.saturating_add(due_ns);
                (at(first_ns), at(last_ns))
            });
        }
        if let Some((counters, _)) = counters {
            sent.facts.told.extend(counters.told(sent.t_end_ns()));
        }
        Ok(sent)
    }

    /// Returns the part of a pass that is this process's own, and the pass with its own numbers of requests.
    fn own_part<'a>(&self, step: Step<'a>, is_open: bool) -> (Option<Shard>, Step<'a>) {
        let part = self.shard.map(|shard| match is_open {
            // Every process has all threads of an open loop.
            true => shard,
            false => shard.within(step.in_flight),
        });
        let own_in_flight = part
            .filter(|_| !is_open)
            .map(|part| part.part(step.in_flight));
        let own = Step {
            in_flight: own_in_flight.unwrap_or(step.in_flight),
            extent: match (step.extent, part) {
                (Extent::Requests(n), Some(part)) if n < u64::MAX => Extent::Requests(part.part(n)),
                (extent, _) => extent,
            },
            ..step
        };
        (part, own)
    }

    /// Returns how many of the planned requests of a pass are this process's own.
    pub fn own(&self, facts: &Facts, planned: u64) -> u64 {
        let Some(shard) = self.shard else {
            return planned;
        };
        let own = |shares: &Vec<u64>| shares.get(shard.index as usize).copied();
        let of_plan = facts.shares.as_ref().and_then(own);
        of_plan.unwrap_or(shard.part(planned))
    }

    /// Waits until shortly before the start: the rest of the time is for threads and connections.
    fn wait_for(&self, start: &Start, in_flight: u64) {
        let lead = OPENING + Duration::from_millis(in_flight);
        let left = start.left();
        if left > lead {
            note!(
                "note: all is ready; {} is in {:.0} s",
                start.what,
                left.as_secs_f64()
            );
        }
        start.wait_until_before(lead, &self.stop);
    }

    /// Sends requests that are in no figure, so many of them, and returns the `records` that they were added to.
    ///
    /// # Errors
    /// Fails as `pass` does.
    pub fn warm_up(
        &mut self,
        label: String,
        requests: u64,
        in_flight: u64,
        records: Records,
        turns: impl Iterator<Item = Turn>,
    ) -> Result<Records> {
        if requests == 0 {
            return Ok(records);
        }
        let step = Step {
            records,
            warmup: None,
            ..Step::new(label, Extent::Requests(requests), in_flight)
        };
        let turns = turns.take(usize::try_from(requests).unwrap_or(usize::MAX));
        let plan = Sending::Closed(Box::new(turns.map(Session::single)));
        Ok(self.pass(step, plan)?.records)
    }

    /// Makes the collector of a pass, with a watchdog.
    fn collector<'a>(
        &'a mut self,
        step: Step<'a>,
        samples: Receiver<Sample>,
        gauge: Arc<Gauge>,
    ) -> Result<Collector<'a>> {
        let epoch = self.target.link.epoch;
        let watch = watchdog::start(epoch)?;
        let view = match (step.blocks, step.tell) {
            (Some(blocks), _) => View::Blocks(blocks),
            (None, Some(tell)) => View::Told(tell),
            (None, None) if !step.label.is_empty() => View::Progress(Progress {
                label: step.label,
                extent: step.extent,
            }),
            (None, None) => View::Nothing,
        };
        let (silence, mut on_sample) = (&mut self.silence, step.on_sample);
        let mut own = step.series;
        let warmup_ns = nanoseconds(step.warmup.unwrap_or_default());
        let begun = Arc::clone(&gauge);
        let start = move || Some(begun.started_ns() + warmup_ns).filter(|_| begun.started_ns() > 0);
        let counters = step.counters.map(|(counters, _)| counters);
        let mut scraped = counters.and_then(|counters| counters.lines(Box::new(start)));
        let series = move || {
            let mut lines = own();
            lines.extend(scraped.iter_mut().flat_map(|scraped| scraped()));
            lines
        };
        Ok(Collector {
            feed: Feed {
                samples,
                vitals: watch.vitals,
                end_watch: watch.end,
                stopped: self.stop.woken().clone(),
                gauge,
                epoch,
            },
            log: &mut self.log,
            view,
            series: Box::new(series),
            records: step.records,
            warmup: step.warmup.unwrap_or_default(),
            on_sample: Box::new(move |sample| {
                silence.note(sample);
                on_sample(sample)
            }),
        })
    }

    fn sent(&self, collected: Collected, exhausted: Option<u64>, is_window: bool) -> Sent {
        let end = collected.end;
        Sent {
            records: collected.records,
            ended: collected.ended,
            end_id: collected.next_id,
            facts: Facts {
                t_start_ns: end.t_start_ns,
                window_ns: is_window.then_some((end.measured_ns, end.now_ns)),
                concurrency_peak: end.peak,
                in_flight: end.in_flight,
                in_flight_ns: end.in_flight_ns,
                exhausted,
                ended: Some(self.why_ended()),
                reported: reported(&self.report.passes),
                slo: self.slo,
                common_tokens: self.common_tokens,
                client: collected
                    .client
                    .summary(end.t_start_ns, self.mock_in_process),
                ..Facts::default()
            },
        }
    }

    /// Whether something else than its plan or its duration ended the pass; a signal is the regular end of an endless
    /// one.
    fn was_stopped(&self, is_endless: bool) -> bool {
        match self.stop.reason() {
            None | Some(Reason::Duration) => false,
            Some(Reason::Signal) => !is_endless,
            Some(_) => true,
        }
    }

    fn why_ended(&self) -> String {
        match self.stop.reason() {
            Some(Reason::Signal) => "stopped by a signal".to_string(),
            Some(Reason::Closed) => "stdout was closed".to_string(),
            Some(Reason::Gone(failure)) => format!("nothing answers: {}", failure.reason),
            Some(Reason::Duration) => "the duration is over".to_string(),
            Some(Reason::Refused(..)) => "the server refuses every request".to_string(),
            None => "all requests were sent".to_string(),
        }
    }

    /// Counts the tokens of plain replies without `usage`, and writes a line for each.
    pub fn count(&mut self, ready: &Ready, records: &mut Records) {
        let replies = std::mem::take(&mut records.uncounted);
        if replies.is_empty() {
            return;
        }
        let texts = replies.iter().map(|reply| &reply.text);
        let tokenizer = ready.opened.tokenizer(&ready.target);
        let of_prompts = ready.setup.lengths.tokens_per_byte();
        let tokens_per_byte = records.tokens_per_byte().unwrap_or(of_prompts);
        let counts = count_texts(&tokenizer, texts, tokens_per_byte);
        for (reply, (tokens, source)) in replies.iter().zip(counts) {
            records.count(reply.at, tokens, source);
            let line = TokensLine::new(reply.id, tokens, source);
            self.log.write(|file| file.write_series("tokens", &line));
        }
    }

    /// Computes the figures of a pass and writes its line.
    pub fn end_pass(&mut self, facts: Facts, records: Records) -> &Pass {
        self.report.passes.push(Pass::new(facts, records));
        self.end_last()
    }

    /// Ends a pass that repeats texts. If its figures leave open whether the cache is off or only too small, `controls`
    /// are sent first, alone and one after the other.
    pub fn end_repeats(
        &mut self,
        facts: Facts,
        records: Records,
        counters: &Counters,
        controls: impl FnOnce() -> Session,
    ) -> &Pass {
        self.report.passes.push(Pass::new(facts, records));
        let evidence = Evidence::of(&self.report.about, &self.report.passes);
        // Other shards would send at the time of these controls.
        let is_alone = self.shard.is_none() && !self.stop.is_set() && self.gone.is_none();
        if evidence.asks_for_repeats_at_once() && is_alone {
            let controls = controls();
            let step = Step {
                counters: Some((counters, Some(EVERY))),
                ..Step::new(String::new(), Extent::Requests(1), 1)
            };
            let plan = Sending::Closed(Box::new(std::iter::once(controls)));
            let gone = self.gone.take();
            // The pass is measured: a control that cannot be sent takes nothing from it.
            if let (Ok(sent), Some(pass)) = (self.pass(step, plan), self.report.passes.last_mut()) {
                pass.records.controls.extend(sent.records.controls);
                let rate = sent.facts.told.get(HIT_RATE);
                pass.facts.controls_hit_rate = rate.and_then(|rate| rate.value);
            }
            self.gone = gone;
        }
        self.end_last()
    }

    /// The verdict on the KV cache by the passes so far.
    pub fn kv_cache(&self) -> Verdict {
        evidence::verdict(&self.report.about, &self.report.passes)
    }

    fn end_last(&mut self) -> &Pass {
        let pass = self.report.passes.last().expect("a pass has just ended");
        let clock = host::clock(&self.target, self.shard);
        self.log
            .write(|file| file.write_series("pass", &pass.facts));
        self.log.write(|file| file.write_series("clock", &clock));
        pass
    }

    pub fn is_signalled(&self) -> bool {
        matches!(self.stop.reason(), Some(Reason::Signal))
    }
}
