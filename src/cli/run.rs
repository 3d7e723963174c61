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
use super::step::{Sending, Sent, Step};
use crate::client::count::count_texts;
use crate::client::{Client, Target};
use crate::collect::{self, Collected, Collector, Extent, Feed, Log};
use crate::error::{Error, Result};
use crate::load::pool::Shared;
use crate::load::start::Start;
use crate::load::stop::{Reason, Stop};
use crate::plan::shard::{Divider, Shard};
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
            log: Log::new("--samples"),
            report: Report::default(),
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

    /// Opens a run, as `open` does, which signals end from now on.
    ///
    /// # Errors
    /// Fails when the file cannot be written, or the system refuses to tell of signals.
    pub fn begin(ready: &Ready, options: Value, samples: &Samples) -> Result<Run> {
        let stop = Stop::new();
        let run = Run::open(ready, &stop, options, samples)?;
        stop.on_signals()?;
        Ok(run)
    }

    /// Sends a plan until it ends, the extent is reached or the run is stopped.
    ///
    /// # Errors
    /// Fails when the system refuses a thread, or the server refuses every request.
    pub fn pass(&mut self, step: Step<'_>, plan: Sending<'_>) -> Result<Sent> {
        let (part, step) = step.own_part(self.shard, plan.is_open());
        let start = self.start.take_if(|_| step.warmup.is_some());
        if let Some(start) = &start {
            self.wait_for(start, step.in_flight);
        }
        let (sender, samples) = bounded(WAITING_SAMPLES);
        let gauge = Arc::new(Gauge::default());
        let (beside, scraping) = match step.counters {
            Some((counters, interval)) => counters.begin(interval)?,
            None => (None, None),
        };
        let model = &self.target.body.model;
        let shared = Shared {
            any_success: Arc::clone(&self.succeeded),
            beside,
            warmup_ns: step.warmup.map_or(u64::MAX, nanoseconds),
            begun_ns: self.target.link.epoch.now_ns(),
            start,
            patience: (!step.is_patient).then_some(PATIENCE),
            ..Shared::new(sender, self.stop.clone(), Arc::clone(&gauge), model)
        };
        let (in_flight, limit) = step.limits();
        let clients = self.clients(in_flight);
        let (is_window, is_endless) = (step.is_window, step.is_patient);
        let counters = step.counters.map(|(counters, _)| counters);
        let divider = self.shard.zip(part);
        let divider = RefCell::new(divider.map(|(of_run, part)| Divider::new(of_run, part)));
        let collector = self.collector(step, samples, gauge)?;
        let (ran, collected) = thread::scope(|scope| {
            let collecting = scope.spawn(move || collect::run(collector));
            let ran = plan.send(clients, shared, limit, &divider);
            (ran, collecting.join())
        });
        let ran = ran?;
        let panicked = |_| Error::missed("collector", "it panicked; this is a bug");
        let mut collected = collected.map_err(panicked)?;
        let divider = divider.into_inner();
        let next_id = divider.as_ref().map_or(collected.next_id, Divider::next_id);
        self.next_id = self.next_id.max(next_id);
        self.end_sending()?;
        drop(scraping);
        if let Some(counters) = counters {
            counters.end(self.stop.is_set());
        }
        for (name, line) in (collected.series)() {
            self.log.write(|file| file.write_series(name, &line));
        }
        let mut sent = self.sent(collected, is_window);
        let facts = &mut sent.facts;
        facts.was_stopped = self.stop.was_early(is_endless);
        facts.exhausted = ran.map(|ran| ran.exhausted);
        let due_ns = divider.as_ref().and_then(Divider::due_ns);
        facts.schedule_ns = ran.zip(due_ns).map(|(ran, due_ns)| ran.stamps_ns(due_ns));
        facts.shares = divider.and_then(|divider| divider.requests());
        if let Some(counters) = counters {
            sent.facts.told.extend(counters.told(sent.t_end_ns()));
        }
        Ok(sent)
    }

    /// Makes so many clients for each side.
    fn clients(&self, in_flight: u64) -> Vec<Vec<Client>> {
        let sides = std::iter::once(&self.target).chain(&self.against);
        let clients = sides.map(|target| {
            let of_side = (0..in_flight).map(|_| Client::new(Arc::clone(target)));
            of_side.collect()
        });
        clients.collect()
    }

    /// Finds out whether the server still answers, after a pass.
    ///
    /// # Errors
    /// Fails when the server refused every request.
    fn end_sending(&mut self) -> Result<()> {
        self.stop.forget();
        if let Some(Reason::Refused(status, failure)) = self.stop.reason() {
            let error = refused(&self.target, *status, failure);
            return Err(error.next("No request has succeeded, so the run was ended."));
        }
        let link = &self.target.link;
        self.gone = self.silence.verdict(|| link.connect_time().is_some());
        Ok(())
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
        mut step: Step<'a>,
        samples: Receiver<Sample>,
        gauge: Arc<Gauge>,
    ) -> Result<Collector<'a>> {
        let epoch = self.target.link.epoch;
        let watch = watchdog::start(epoch)?;
        let view = step.view();
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

    fn sent(&self, collected: Collected, is_window: bool) -> Sent {
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
                ended: Some(self.stop.words()),
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
}
