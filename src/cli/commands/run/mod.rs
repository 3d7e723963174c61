//! `tmesh-cli run`: fixed workloads against the mock, a running server, or one started for the run.

mod beside;
mod engine;
mod options;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use self::beside::Beside;
use self::engine::Launch;
pub use self::options::{OWN_MOCK, Options};
use crate::backend::kill_all;
use crate::backend::memory::Of;
use crate::backend::process;
use crate::cli::args::Args;
use crate::cli::checks;
use crate::cli::connect::{Connection, Server};
use crate::cli::counters::Counters;
use crate::cli::discover::{Ready, announce, models, pick};
use crate::cli::output::{Folder, SUMMARY};
use crate::cli::run::Run;
use crate::cli::scrapes::span;
use crate::cli::step::{Sending, Step};
use crate::cli::terminal::{print, print_last, stdout_screen};
use crate::cli::verdict::{Ending, verdict};
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::client::discovery::Listed;
use crate::collect::{Extent, OnSample};
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::plan::fixed::Fixed;
use crate::plan::models::Table;
use crate::prom::kv::Watch;
use crate::report::layout::{notes, run as layout};
use crate::report::{html, json, markdown, text};
use crate::sample::Workload;
use crate::stats::facts::Facts;
use crate::stats::record::Record;

/// Time between two readings of the server's counters: a workload may last less than a second.
const READ_EVERY: Duration = Duration::from_millis(250);

/// Fixed workloads, ready to be sent.
struct Workloads {
    run: Run,
    ready: Ready,
    options: Options,
    folder: Folder,
    beside: Beside,
    counters: Counters,
}

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let options = Options::parse(args)?;
    let mut connection = Connection::parse(args, options.server.clone())?;
    if let (Server::Mock(mock), Some(model)) = (&mut connection.server, &connection.model) {
        mock.model.clone_from(model);
        if !model.contains(',') {
            connection.given.add_mock(&format!("model={model}"));
        }
    }
    if connection.is_mock() {
        connection.given.add_mock(OWN_MOCK);
    }
    let folder = Folder::open("--output", &options.output)?;
    folder.check_earlier(SUMMARY)?;
    engine::name_orphan(&folder);
    let stop = Stop::new();
    stop.before_leaving(kill_all);
    stop.on_signals()?;
    kill_on_panic();
    let mut backend = None;
    if let Some(launch) = &options.launch {
        backend = engine::start(launch, &folder, &stop, options.is_verbose)?;
        if backend.is_none() {
            return Ok(stopped_early());
        }
    }
    let is_open = Arc::new(AtomicBool::new(false));
    leave_unless(&is_open, &stop);
    let workloads = Workloads::open(connection, options, folder, &stop, backend.as_ref())?;
    is_open.store(true, Relaxed);
    workloads.measure(backend)
}

/// Returns the exit code of a run that a signal ended before it sent anything.
fn stopped_early() -> u8 {
    eprintln!("stopped before the first request; nothing was measured");
    130
}

/// Ends the process at a signal before `is_open`: a server that hangs would not answer a set-up request, and there is
/// nothing to report.
fn leave_unless(is_open: &Arc<AtomicBool>, stop: &Stop) {
    let (is_open, stop) = (Arc::clone(is_open), stop.clone());
    std::thread::spawn(move || {
        // This channel disconnects at the signal; nothing is sent on it.
        let _ = stop.woken().recv();
        if !is_open.load(Relaxed) {
            let code = stopped_early();
            kill_all();
            std::process::exit(code.into());
        }
    });
}

/// Kills started servers on a panic, which in a release build ends the process without dropping them.
fn kill_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        kill_all();
        before(panic);
    }));
}

impl Workloads {
    /// Finds the model, asks the set-up questions, looks for metrics, and says what will be sent.
    fn open(
        connection: Connection,
        options: Options,
        folder: Folder,
        stop: &Stop,
        backend: Option<&process::Server>,
    ) -> Result<Workloads> {
        let most = options.workloads.iter().map(|fixed| fixed.in_flight).max();
        let most = most.unwrap_or(1);
        let what = format!("--workload {} ({most} requests at once)", options.workload);
        checks::in_flight(&what, most, connection.is_mock())?;
        let opened = connection.open()?;
        announce(&opened)?;
        let listed = models(&opened)?;
        let named = asked_for(
            opened.connection.model.as_deref(),
            &listed,
            options.launch.as_ref(),
        );
        let model = pick(named, &listed)?;
        let chosen = opened.endpoint.api;
        let body = BodyShape::new(chosen.unwrap_or(Api::Completions), model.id);
        let fallback = chosen.is_none().then_some(Api::Chat);
        let mut ready = Ready::ask(opened, body, fallback, options.common.clone())?;
        ready.max_model_len = model.max_model_len;
        let memory_of = match backend {
            Some(backend) => Some(Of::Group(backend.group())),
            None => ready.opened.mock.as_ref().map(|_| Of::ThisProcess),
        };
        let token_bytes = token_bytes(&options, &ready.target.body.model);
        let beside = Beside::new(&ready.opened, memory_of, token_bytes);
        let names = options.names.as_deref();
        let counters = Counters::open(&options.page, &[], names, &ready.opened)?;
        name_engine(&mut ready, &options, counters.watch());
        print(&specification(&options, &ready))?;
        let header = json!({
            "workload": options.workload,
            "bytes_per_token": options.bytes_per_token,
        });
        let samples = folder.samples(options.keep_gaps);
        Ok(Workloads {
            run: Run::open(&ready, stop, header, &samples)?,
            ready,
            options,
            folder,
            beside,
            counters,
        })
    }

    /// Sends every workload, writes and shows the results, stops the backend, and returns the exit code.
    fn measure(mut self, mut backend: Option<process::Server>) -> Result<u8> {
        let mut died = None;
        for fixed in self.options.workloads.clone() {
            if self.run.stop.is_set() || died.is_some() {
                break;
            }
            self.workload(fixed)?;
            died = backend.as_mut().and_then(process::Server::has_died);
        }
        if self.run.stop.is_signalled() && self.run.report.passes.is_empty() {
            return Ok(stopped_early());
        }
        let log = self.folder.path(engine::LOG);
        let died = died.map(|how| {
            let why = format!("the server ended with {how} during the run");
            Error::missed("backend", why).next(format!("Its log: {}", log.display()))
        });
        self.show()?;
        if let Some(backend) = &mut backend {
            backend.stop();
        }
        let places = self.options.workloads.iter().map(|fixed| {
            let mut passes = self.run.report.passes.iter();
            let pass = passes.find(|pass| pass.facts.workload == Some(fixed.workload));
            (fixed.workload.name().to_string(), pass)
        });
        let places: Vec<_> = places.collect();
        let missed = self.options.limits.missed(&places, self.run.kv_cache());
        let ending = Ending {
            died,
            missed,
            ..Ending::default()
        };
        verdict(&self.run, ending)
    }

    /// Sends one workload, then writes its file and the summary, since the run may be killed in the next one.
    fn workload(&mut self, fixed: Fixed) -> Result<()> {
        let name = fixed.workload.name();
        let extent = Extent::Requests(fixed.requests);
        let mut step = Step {
            series: self.beside.begin()?,
            counters: Some((&self.counters, Some(READ_EVERY))),
            ..Step::new(name.to_string(), extent, fixed.in_flight)
        };
        if self.options.is_verbose {
            step.label.clear();
            step.on_sample = said();
        }
        let Ready { writer, setup, .. } = &self.ready;
        let sessions = fixed.sessions(self.run.next_id, writer, &setup.lengths);
        let mut sent = self.run.pass(step, Sending::Closed(Box::new(sessions)))?;
        let span = span(&sent.records.list).unwrap_or_default();
        self.beside.add(&mut sent.facts.told, span);
        // A shard may have no part of a workload, which ends for it as well.
        let is_idle = self.run.shard.is_some() && !self.run.stop.is_set();
        if sent.ended == 0 && !is_idle {
            return Ok(());
        }
        self.run.count(&self.ready, &mut sent.records);
        let facts = Facts {
            workload: Some(fixed.workload),
            concurrency: Some(fixed.in_flight),
            planned: Some(self.run.own(&sent.facts, fixed.requests)),
            ..sent.facts
        };
        self.run.end_pass(facts, sent.records);
        let report = &self.run.report;
        let own = layout::workload_file(&report.about, &report.passes[report.passes.len() - 1]);
        let all = layout::summary_file(report);
        for (name, data) in [(&*format!("{name}_metrics.json"), own), (SUMMARY, all)] {
            let text = json::pretty(&data);
            self.folder.write(&mut self.run.log, name, &text);
        }
        Ok(())
    }

    /// Writes the reports and shows the table.
    fn show(&mut self) -> Result<()> {
        let report = &mut self.run.report;
        report.notes = notes::cut(&report.about, &report.passes);
        let mut document = layout::document(report);
        let (page, markdown) = (html::render(&document), markdown::render(&document));
        for (name, text) in [("REPORT.md", markdown), ("report.html", page)] {
            self.folder.write(&mut self.run.log, name, &text);
        }
        let answer = document.answer.take();
        let mut shown = text::render(&document, stdout_screen());
        shown.push_str(&format!("\nResults in {}\n", self.folder.dir().display()));
        print_last(&(shown + &text::answer(answer.as_ref())))
    }
}

/// Returns the name of the model to ask for; `None`: the first of the list.
///
/// A backend may list its model under another name than it was started with, such as the path's last part.
fn asked_for<'a>(
    named: Option<&'a str>,
    listed: &[Listed],
    launch: Option<&Launch>,
) -> Option<&'a str> {
    let renames = launch.is_some_and(|launch| launch.preset.lists_models);
    let is_listed = |name: &str| listed.iter().any(|model| model.id == name);
    named.filter(|name| !renames || listed.is_empty() || is_listed(name))
}

/// Returns the KV cache bytes of one token, and their source.
fn token_bytes(options: &Options, model: &str) -> Option<(u64, String)> {
    if let Some(bytes) = options.bytes_per_token {
        return Some((bytes, "--bytes-per-token".to_string()));
    }
    let table = Table::builtin();
    let entry = table.find(model)?;
    let source = format!("model_configs.json, {}", entry.model_name);
    Some((entry.bytes_per_token, source))
}

/// Stores which engine answers: from its page of metrics, else from its own answers.
fn name_engine(ready: &mut Ready, options: &Options, watch: Option<&Watch>) {
    if let Some(launch) = &options.launch {
        ready.backend = launch.preset.name;
    }
    if let Some(version) = ready.opened.mock_version() {
        ready.engine_version = Some(version.to_string());
        ready.engine = Some("mock".to_string());
        return;
    }
    let engine = watch.and_then(Watch::engine).or(options.names.as_deref());
    ready.engine = engine.map(str::to_string);
    let version = watch.and_then(Watch::engine_version).map(str::to_string);
    ready.engine_version = version.or_else(|| engine::version(&ready.opened));
}

fn specification(options: &Options, ready: &Ready) -> String {
    let mut text = "\nWorkloads:\n".to_string();
    for fixed in &options.workloads {
        let tokens = fixed.workload.tokens();
        let order = match fixed.in_flight {
            1 => "one after the other".to_string(),
            n => format!("{n} at once"),
        };
        text.push_str(&format!(
            "  {}: {} requests, {order}, about {tokens} tokens in, {tokens} out\n",
            fixed.workload.name(),
            fixed.requests
        ));
    }
    text + &ready.lines("")
}

/// Prints to stderr how each request ended.
fn said() -> OnSample<'static> {
    Box::new(|sample| {
        let name = sample.labels.workload.map_or("", Workload::name);
        if let Some(failure) = &sample.failure {
            note!("{name} request {}: failed: {failure}", sample.id);
            return Ok(());
        }
        let record = Record::from(sample);
        let ms = |ns: Option<f64>| ns.map_or("n/a".to_string(), |ns| format!("{:.2} ms", ns / 1e6));
        note!(
            "{name} request {}: TTFT {}, TBT {}, latency {}, {} tokens",
            sample.id,
            ms(record.ttft_ns().map(|ns| ns as f64)),
            ms(record.itl_ns()),
            ms(Some(record.latency_ns() as f64)),
            sample.completion_tokens.unwrap_or(0)
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::presets::Preset;

    #[test]
    fn a_backend_is_asked_for_the_model_it_was_started_with_by_the_name_on_its_list() {
        let listed = |ids: &[&str]| -> Vec<Listed> {
            let models = ids.iter().map(|id| Listed {
                id: id.to_string(),
                max_model_len: None,
            });
            models.collect()
        };
        let started = |name| Launch {
            preset: Preset::find(name).expect("it is in the table"),
            words: Vec::new(),
            port: 1,
            timeout: Duration::ZERO,
        };
        for (backend, named, ids, wanted) in [
            ("command", Some("b"), &["a", "b"][..], Some("b")),
            ("command", Some("/m/b"), &["b"], None),
            ("command", Some("b"), &[], Some("b")),
            ("command", None, &["a"], None),
            // The backend lists every model that was ever downloaded.
            ("cpu", Some("/m/b"), &["a"], Some("/m/b")),
        ] {
            let got = asked_for(named, &listed(ids), Some(&started(backend)));
            assert_eq!(got, wanted, "{backend} {named:?} {ids:?}");
        }
        let got = asked_for(Some("c"), &listed(&["a"]), None);
        assert_eq!(got, Some("c"));
    }
}
