//! `tmesh-cli load`: N requests, or as many as fit a duration, in a closed loop, at a rate or by a trace.

mod options;
mod outputs;
mod points;
pub mod prompts;

pub use self::options::Options;
pub use self::points::{Point, Way};
pub use self::prompts::Plans;
use std::sync::Arc;

use crate::cli::args::Args;
use crate::cli::checks;
use crate::cli::connect::{Connection, Server};
use crate::cli::counters::{Counters, EVERY};
use crate::cli::discover::{Ready, announce};
use crate::cli::output::{self, Samples};
use crate::cli::run::Run;
use crate::cli::step::{Sending, Sent, Step};
use crate::cli::terminal::{print, print_last, stdout_screen};
use crate::cli::verdict::{Ending, verdict};
use crate::collect::Extent;
use crate::error::Result;
use crate::file::is_stdout;
use crate::load::open::{Due, Order};
use crate::plan::Session;
use crate::plan::arrival::Arrivals;
use crate::plan::counted::Counted;
use crate::plan::requests::Batch;
use crate::report::layout::{load as layout, notes};
use crate::report::{json, text, vllm};
use crate::stats::counts::possible;
use crate::stats::facts::Facts;
use crate::stats::pass::Pass;
use crate::stats::records::Records;

/// A run of `load`, ready to send.
struct Load {
    run: Run,
    ready: Ready,
    options: Options,
    plans: Plans,
    counters: Counters,
}

/// Returns the number of requests that a point sends; `None`: as many as a duration allows.
fn planned(point: Point, options: &Options) -> Option<u64> {
    let of_rate = |rate| Some(Arrivals::within(rate, options.duration?));
    let of_duration = point.rate_per_s().and_then(of_rate);
    options.requests.or(of_duration)
}

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let server = Server::parse(args, None)?;
    let connection = Connection::parse(args, server)?;
    let options = Options::parse(args)?;
    let mut load = Load::open(connection, options)?;
    for at in 0..load.options.points.len() {
        load.point(at)?;
        if load.run.stop.is_set() {
            break;
        }
    }
    load.end()
}

impl Load {
    /// Checks all that can be checked, cheapest first, and says what will be sent.
    fn open(connection: Connection, mut options: Options) -> Result<Load> {
        let (flag, most) = options.most_in_flight();
        checks::in_flight(&format!("{flag} {most}"), most, connection.is_mock())?;
        options.check_shard()?;
        let source = prompts::source(&options)?;
        if let Some(most) = source.requests() {
            options.requests = prompts::extent(&options, most);
        }
        options.outputs.check()?;
        let opened = connection.open()?;
        announce(&opened)?;
        let model = prompts::model(&opened)?;
        let points = options.points.len().to_string();
        let mut ready = prompts::ready(opened, &model, &options, &source, &points)?;
        ready.max_model_len = model.max_model_len;
        let counters = Counters::open(&options.page, &[], None, &ready.opened)?;
        let plans = Plans::new(source, &options, &ready);
        print(&prompts::specification(&options, &plans, &ready))?;
        let samples = Samples::named(options.outputs.samples.as_ref(), !options.outputs.no_gaps);
        let run = Run::begin(&ready, prompts::header(&options), &samples)?;
        Ok(Load {
            run,
            ready,
            options,
            plans,
            counters,
        })
    }

    /// Sends a point, counts missing tokens, writes and shows its figures.
    fn point(&mut self, at: usize) -> Result<()> {
        let point = self.options.points[at];
        let records = self.warm_up(at, point)?;
        if self.run.stop.is_set() {
            return Ok(());
        }
        let batch = Batch {
            name: at.to_string(),
            requests: self.options.requests,
            gap: self.options.gap(point),
            first_id: self.run.next_id,
            labels: point.labels(),
        };
        let template_tokens = self.ready.setup.template_tokens.unwrap_or(0);
        let mut counted = Counted::new(batch.first_id, template_tokens);
        let mut sent = self.measure(point, &batch, records, &mut counted)?;
        let source = Arc::clone(&self.plans.measured.source);
        source.check()?;
        let sent_requests = sent.ended + sent.facts.in_flight;
        // A shard may have no part of a point, which ends for it as well.
        let is_idle = self.run.shard.is_some() && !self.run.stop.is_set();
        if sent_requests == 0 && !is_idle {
            return Ok(());
        }
        self.run.count(&self.ready, &mut sent.records);
        // The cache holds what other shards have sent, too.
        let reached = match (self.run.shard, &sent.facts.shares) {
            (_, Some(shares)) => shares.iter().sum(),
            (Some(_), None) => sent.end_id.saturating_sub(batch.first_id),
            (None, None) => sent_requests,
        };
        let perfect = self.plans.measured.perfect(&batch, reached, &counted);
        source.check()?;
        let planned = planned(point, &self.options);
        let planned = planned.map(|planned| self.run.own(&sent.facts, planned));
        let facts = Facts {
            concurrency: point.concurrency(),
            rate_per_s: point.rate_per_s(),
            run: point.run,
            planned,
            not_sent: planned.map_or(0, |planned| planned.saturating_sub(sent_requests)),
            perfect_response_rate: perfect.response,
            perfect_prefix_rate: perfect.prefix,
            perfect_prefix_by_plan: perfect.is_by_plan,
            ..sent.facts
        };
        let shown = layout::point(self.run.end_pass(facts, sent.records));
        self.export(at);
        // The run may be killed at its next point.
        self.write_output(false);
        match self.options.points.len() {
            1 => Ok(()),
            // A sweep shows each point as it ends.
            _ => print(&text::section(&shown, stdout_screen())),
        }
    }

    /// Sends warm-up requests with prompts of their own, which are in no figure.
    fn warm_up(&mut self, at: usize, point: Point) -> Result<Records> {
        let requests = self.options.warmup;
        let mut records = Records::kept();
        if !self.options.outputs.vllm.is_empty() {
            records = records.with_details(true);
        }
        let batch = Batch {
            name: format!("warmup/{at}"),
            requests: Some(requests),
            gap: 1,
            first_id: self.run.next_id,
            labels: point.labels(),
        };
        let label = format!("{}, warm-up", point.title());
        let in_flight = self.options.in_flight(point);
        let turns = self.plans.warmup.turns(&batch);
        self.run.warm_up(label, requests, in_flight, records, turns)
    }

    fn measure(
        &mut self,
        point: Point,
        batch: &Batch,
        records: Records,
        counted: &mut Counted,
    ) -> Result<Sent> {
        let extent = match self.options.duration {
            Some(duration) => Extent::Duration(duration),
            None => Extent::Requests(batch.requests.unwrap_or(0)),
        };
        let step = Step {
            records,
            counters: Some((&self.counters, Some(EVERY))),
            on_sample: Box::new(|sample| {
                counted.add(&possible(sample));
                Ok(())
            }),
            ..Step::new(point.title(), extent, self.options.in_flight(point))
        };
        let plan = &self.plans.measured;
        let sessions = plan.turns(batch).map(Session::single);
        let options = &self.options;
        let sending = match point.way {
            Way::Concurrency(_) => Sending::Closed(Box::new(sessions)),
            Way::Rate(rate) => {
                let count = planned(point, options).unwrap_or(u64::MAX);
                let times = Arrivals::new(rate, options.burstiness, options.common.seed, count);
                let due = |(due_ns, session)| Due {
                    due_ns,
                    order: None,
                    session,
                };
                Sending::Open(Box::new(times.zip(sessions).map(due)))
            }
            Way::Trace => {
                let source = &plan.source;
                let due = |(place, session)| {
                    let k = usize::try_from(place).ok()?;
                    let after = source.after(k);
                    Some(Due {
                        due_ns: source.due_ns(k, options.speed)?,
                        order: after.map(|after| Order { place, after }),
                        session,
                    })
                };
                Sending::Open(Box::new((0..).zip(sessions).map_while(due)))
            }
        };
        self.run.pass(step, sending)
    }

    fn export(&mut self, at: usize) {
        let path = self.options.outputs.vllm.get(at);
        if let Some((path, pass)) = path.zip(self.run.report.passes.last()) {
            let text = json::line(&vllm::result(&self.run.report.about, pass));
            output::write(&mut self.run.log, "--export vllm", path.as_ref(), &text);
        }
    }

    /// Writes the figures so far as JSON: to a file after each point, to stdout only at the end.
    fn write_output(&mut self, is_end: bool) {
        let path = self.options.outputs.output.as_ref();
        if let Some(path) = path.filter(|path| is_stdout(path.as_ref()) == is_end) {
            let text = json::pretty(&layout::file(&self.run.report));
            output::write(&mut self.run.log, "--output", path.as_ref(), &text);
        }
    }

    /// Shows the rest of the report and returns the exit code.
    fn end(mut self) -> Result<u8> {
        if self.run.report.passes.is_empty() && self.run.stop.is_signalled() {
            eprintln!("stopped before the first measured request; nothing was measured");
            return verdict(&self.run, Ending::default());
        }
        self.write_output(true);
        let report = &mut self.run.report;
        report.notes = notes::cut(&report.about, &report.passes);
        let mut document = match self.options.points.len() {
            1 => layout::document(report),
            _ => layout::closing(report),
        };
        let answer = document.answer.take();
        let mut shown = text::render(&document, stdout_screen());
        let outputs = &self.options.outputs;
        let named = [
            ("Figures", "--output", &outputs.output),
            ("Samples", "--samples", &outputs.samples),
        ];
        for (what, flag, path) in named {
            if let Some(path) = path.as_ref().filter(|_| !self.run.log.has_lost(flag)) {
                shown.push_str(&format!("\n{what} in {path}"));
            }
        }
        let shown = shown.trim_end().to_string() + "\n" + &text::answer(answer.as_ref());
        print_last(&shown)?;
        let ending = Ending {
            missed: self.missed(),
            ..Ending::default()
        };
        verdict(&self.run, ending)
    }

    /// Returns the limits that were missed, each with the reason.
    fn missed(&self) -> Vec<(String, String)> {
        let mut missed = Vec::new();
        let passes = &self.run.report.passes;
        let is_plain = |pass: &Pass| pass.figures.is_not_streamed();
        if self.options.limits_ttft() && passes.iter().any(is_plain) {
            let why = "a limit on ttft_ms, but the server did not stream: no request has a TTFT";
            missed.push(("--slo-file".to_string(), why.to_string()));
        }
        let points = self.options.points.iter().enumerate();
        let places = points.map(|(at, point)| (point.name(), passes.get(at)));
        let places: Vec<_> = places.collect();
        missed.extend(self.options.limits.missed(&places, self.run.kv_cache()));
        missed
    }
}
