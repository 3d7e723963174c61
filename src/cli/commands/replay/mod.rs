//! `tmesh-cli replay`: a dataset, sent in rounds at every concurrency level.

mod cut;
mod dataset;
mod debug_log;
mod metrics;
mod options;
mod round_file;
mod sessions;

use std::sync::Arc;

use self::debug_log::DebugLog;
use self::metrics::{Metrics, over};
pub use self::options::Options;
use self::options::{Source, place};
use self::sessions::Sessions;
use crate::cli::args::Args;
use crate::cli::checks;
use crate::cli::connect::{Connection, Server};
use crate::cli::discover::{Ready, announce, model};
use crate::cli::output::{Folder, ROUNDS};
use crate::cli::reset;
use crate::cli::run::Run;
use crate::cli::step::{Sending, Sent, Step};
use crate::cli::terminal::{print, stdout_screen};
use crate::cli::verdict::{Ending, verdict};
use crate::client::api::Api;
use crate::client::body::{BodyShape, Optional, Sampling};
use crate::collect::Extent;
use crate::error::{Error, Result};
use crate::mock;
use crate::plan::dataset::{Dataset, load, made};
use crate::report::layout::common::MOCK;
use crate::report::layout::{kv_cache, notes, replay as layout};
use crate::report::{csv, text};
use crate::stats::facts::Facts;
use crate::stats::pass::Pass;
use crate::stats::records::Records;

/// A replay, ready to send.
struct Replay {
    run: Run,
    ready: Ready,
    options: Options,
    dataset: Dataset,
    folder: Folder,
    /// The folder of the debug logs, if they are wanted.
    debug_folder: Option<Folder>,
    metrics: Metrics,
}

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let asked = mock_server(args)?;
    let server = Server::parse(args, asked)?;
    let connection = Connection::parse(args, server)?;
    let options = Options::parse(args)?;
    let mut replay = Replay::open(connection, options)?;
    let levels = replay.levels();
    match levels {
        // Rounds that were measured are shown whatever happened after them.
        Err(error) if replay.run.report.passes.is_empty() => Err(error),
        levels => replay.end(levels.err()),
    }
}

/// Parses `--mock-server` and its address.
fn mock_server(args: &Args) -> Result<Option<(&'static str, mock::Options)>> {
    args.only_with(&[
        ("--mock-host", "--mock-server"),
        ("--mock-port", "--mock-server"),
    ])?;
    let mut options = mock::Options {
        chat_tags: true,
        ..mock::Options::default()
    };
    for (flag, name) in [("--mock-host", "host"), ("--mock-port", "port")] {
        args.value(flag, |value| options.set(name, value))?;
    }
    let is_on = args.has("--mock-server");
    Ok(is_on.then_some(("--mock-server", options)))
}

impl Replay {
    /// Checks all that can be checked, cheapest first, and says what will be sent.
    fn open(connection: Connection, options: Options) -> Result<Replay> {
        let has_mock = connection.is_mock();
        let most = options.most_concurrency();
        checks::in_flight(&format!("--concurrency {most}"), most, has_mock)?;
        let (most, seed) = (options.most_samples(), options.common.seed);
        let mut dataset = match &options.dataset {
            Source::File(path) => load(path, most, seed),
            Source::Synthetic(records) => made(*records, most, seed),
        }?;
        let folder = Folder::open("--output-dir", &options.output_dir)?;
        let debug_dir = options.debug_dir.as_deref();
        let debug_folder = debug_dir.map(|dir| Folder::open("--debug-log-dir", dir));
        let debug_folder = debug_folder.transpose()?;
        folder.check_earlier(ROUNDS)?;
        let opened = connection.open()?;
        if let Some(reset) = &options.reset {
            reset.url.warn_unencrypted();
        }
        announce(&opened)?;
        let api = opened.endpoint.api.unwrap_or(Api::Chat);
        dataset::check_api(&options, &dataset, api)?;
        let model = model(&opened)?;
        let body = BodyShape {
            optional: Optional {
                ignore_eos: false,
                min_tokens: options.min_output_tokens.is_some(),
                ..Optional::ALL
            },
            sampling: Sampling {
                temperature: options.temperature,
                top_p: options.top_p,
                min_tokens: options.min_output_tokens,
            },
            sends_metadata: has_mock || options.sends_metadata,
            ..BodyShape::new(api, model.id)
        };
        dataset::check_settings(&options, &dataset, &body)?;
        let mut ready = Ready::ask(opened, body, None, options.common.clone())?;
        ready.max_model_len = model.max_model_len;
        let longest = sessions::first_line(&options, options.most_concurrency());
        ready.note_line(longest.map_or(0, |line| line.len()));
        let metrics = Metrics::open(&options.prometheus, &ready.opened)?;
        print(&dataset::specification(&options, &dataset, &ready))?;
        if let Some(limit) = options.max_input_tokens {
            let said = cut::to_length(&mut dataset, limit, &ready);
            print(&format!("{said}\n\n"))?;
        }
        let samples = folder.samples(options.keep_gaps);
        let header = dataset::header(&options, &dataset);
        Ok(Replay {
            run: Run::begin(&ready, header, &samples)?,
            ready,
            options,
            dataset,
            folder,
            debug_folder,
            metrics,
        })
    }

    /// Runs every level, and shows and writes each round as it ends.
    fn levels(&mut self) -> Result<()> {
        for level in self.options.levels.clone() {
            self.reset_if(|reset| reset.between_levels)?;
            let sessions = Sessions::new(level, &self.dataset, &self.options, &self.ready);
            for round in 1..=self.options.rounds {
                if round > 1 {
                    self.reset_if(|reset| reset.between_rounds)?;
                }
                if self.run.stop.is_set() {
                    return Ok(());
                }
                self.round(&sessions, round)?;
            }
        }
        Ok(())
    }

    fn reset_if(&self, is_due: fn(&options::Reset) -> bool) -> Result<()> {
        match self.options.reset.as_ref().filter(|reset| is_due(reset)) {
            Some(reset) if !self.run.stop.is_set() => {
                let emptied = reset::reset(&reset.url, &self.ready.opened, &self.run.stop);
                let what = format!("--reset-cache-url {}", reset.url.shown);
                emptied.map_err(|why| match self.run.report.passes.is_empty() {
                    true => Error::input(what, why),
                    false => Error::missed(what, why),
                })
            }
            _ => Ok(()),
        }
    }

    /// Sends every session of the level once, then writes and shows the round.
    fn round(&mut self, sessions: &Sessions, round: u64) -> Result<()> {
        let Sent {
            mut records, facts, ..
        } = self.send(sessions, round)?;
        self.run.count(&self.ready, &mut records);
        let is_stopped = self.run.stop.is_set();
        let concurrency = sessions.level.concurrency;
        let planned = self.run.own(&facts, sessions.requests);
        let part = self.run.shard.map(|shard| shard.within(concurrency));
        let is_own = |session| part.is_none_or(|part| part.takes(session));
        let turns_not_sent = sessions.turns_not_sent(&records.list, is_stopped, is_own);
        let measured = records.list.iter().filter(|record| record.is_measured());
        let is_complete = measured.count() as u64 + turns_not_sent == planned;
        let own = self.metrics.own();
        let facts = Facts {
            round: Some(round),
            concurrency: Some(concurrency),
            planned: Some(planned),
            turns_not_sent,
            is_complete: Some(is_complete),
            shortened: sessions.shortened(),
            metrics: own.map_or(Vec::new(), |own| over(own, &records.list, concurrency)),
            ..facts
        };
        self.run.end_pass(facts, records);
        let name = format!("{}.json", place(concurrency, round));
        let text = round_file::text(&self.run, &self.options, sessions, self.metrics.own());
        self.folder.write(&mut self.run.log, &name, &text);
        // The records were only needed for the file.
        if let Some(pass) = self.run.report.passes.last_mut() {
            pass.records.details = None;
        }
        let passes = &self.run.report.passes;
        let rows = csv::render(&layout::csv(passes));
        self.folder.write(&mut self.run.log, ROUNDS, &rows);
        let shown = layout::round(passes, passes.len() - 1);
        print(&text::section(&shown, stdout_screen()))
    }

    fn send(&mut self, sessions: &Sessions, round: u64) -> Result<Sent> {
        let concurrency = sessions.level.concurrency;
        let mut debug = debug(&mut self.run, self.debug_folder.as_ref(), sessions, round);
        let label = format!("Concurrency {concurrency}, round {round}");
        let in_flight = concurrency.min(sessions.dialogues.len() as u64);
        let step = Step {
            records: Records::kept().with_details(false),
            counters: Some(self.metrics.beside(concurrency)),
            on_sample: Box::new(move |sample| {
                debug.as_mut().map_or(Ok(()), |debug| debug.write(sample))
            }),
            ..Step::new(label, Extent::Requests(sessions.requests), in_flight)
        };
        let first_id = self.run.next_id;
        let seed = self.options.shuffles.then_some(self.options.common.seed);
        let plan = sessions.plan(round, first_id, seed);
        let sent = self.run.pass(step, Sending::Closed(Box::new(plan)))?;
        self.run.next_id = first_id + sessions.requests;
        Ok(sent)
    }

    /// Prints the end of the report and returns the exit code. `died`: why the run ended before its plan.
    fn end(&mut self, died: Option<Error>) -> Result<u8> {
        let passes = &self.run.report.passes;
        let mut end = match self.metrics.own().is_some() && !passes.is_empty() {
            true => text::section(&layout::closing(passes), stdout_screen()),
            false => String::new(),
        };
        if !passes.is_empty() {
            end += &format!("Results in {}\n", self.folder.dir().display());
        }
        if self.ready.is_mock() {
            end += &format!("{MOCK}\n");
        }
        let (answer, conflict) = kv_cache::told(&self.run.report);
        let notes = notes::cut(&self.run.report.about, passes);
        for note in notes.into_iter().chain(conflict) {
            end.push_str(&format!("\nNote: {note}\n"));
        }
        end += &text::answer(answer.as_ref());
        print(&end)?;
        let ending = Ending {
            died,
            missed: self.missed(),
            ..Ending::default()
        };
        verdict(&self.run, ending)
    }

    /// Returns the limits that were missed, each with the reason.
    fn missed(&self) -> Vec<(String, String)> {
        let passes = &self.run.report.passes;
        if self.options.limits.is_empty() {
            return Vec::new();
        }
        let places = self.options.places().map(|(concurrency, round)| {
            let is_it = |pass: &&Pass| {
                (pass.facts.concurrency, pass.facts.round) == (Some(concurrency), Some(round))
            };
            (place(concurrency, round), passes.iter().find(is_it))
        });
        let places: Vec<_> = places.collect();
        self.options.limits.missed(&places, self.run.kv_cache())
    }
}

/// Returns the debug log of a round, if it was requested and can be written.
fn debug(
    run: &mut Run,
    folder: Option<&Folder>,
    sessions: &Sessions,
    round: u64,
) -> Option<DebugLog> {
    let name = place(sessions.level.concurrency, round);
    let path = folder?.path(&format!("{name}.jsonl"));
    let log = DebugLog::create(&path, Arc::clone(&run.target), sessions.dialogues.clone());
    if let Err(error) = &log {
        let why = format!("{}: {error}", path.display());
        run.log.lose("debug log", why);
    }
    log.ok()
}
