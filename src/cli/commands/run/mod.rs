//! `tmesh-cli run`: fixed workloads against the mock, a server that is there, or one that is started for them.

mod beside;
mod engine;
mod host;
mod limits;
mod measure;
mod options;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use self::engine::Engine;
use self::measure::Run;
pub use self::options::Options;
use crate::backend::kill_all;
use crate::backend::process::Server;
use crate::cli::args::Args;
use crate::cli::conditions;
use crate::cli::connect::Connection;
use crate::cli::discover::refused;
use crate::cli::folder::Folder;
use crate::error::{Error, Result};
use crate::load::stop::{Reason, Stop};

/// Runs the command; the exit code.
pub fn run(mut args: Args) -> Result<u8> {
    let options = Options::parse(&mut args)?;
    let connection = connection(&mut args, &options)?;
    let folder = Folder::open("--output", &options.output)?;
    folder.note_earlier(measure::SUMMARY);
    engine::name_orphan(&folder);
    let stop = Stop::new();
    stop.before_leaving(kill_all);
    stop.on_signals()?;
    kill_on_panic();
    let server = match &options.engine {
        Engine::Started(launch) => {
            match engine::start(launch, &folder, &stop, options.is_verbose)? {
                Some(server) => Some(server),
                None => return Ok(stopped_early()),
            }
        }
        Engine::Mock(_) | Engine::Attached { .. } => None,
    };
    let is_open = Arc::new(AtomicBool::new(false));
    leave_unless(&is_open, &stop);
    let run = start::open(connection, options, folder, &stop, server.as_ref())?;
    is_open.store(true, Relaxed);
    end(run, server)
}

/// The exit code of a run that a signal ended before it sent anything.
fn stopped_early() -> u8 {
    eprintln!("stopped before the first request; nothing was measured");
    130
}

/// Ends the process at a signal that comes before `is_open`: a server that hangs would answer no set-up request,
/// and there is nothing to report.
fn leave_unless(is_open: &Arc<AtomicBool>, stop: &Stop) {
    let (is_open, stop) = (Arc::clone(is_open), stop.clone());
    std::thread::spawn(move || {
        // Disconnects at the signal; nothing is ever sent on it.
        let _ = stop.woken().recv();
        if !is_open.load(Relaxed) {
            let code = stopped_early();
            kill_all();
            std::process::exit(code.into());
        }
    });
}

fn connection(args: &mut Args, options: &Options) -> Result<Connection> {
    let mut connection = match &options.engine {
        Engine::Mock(mock) => Connection::parse_to(args, None, Some((**mock).clone()))?,
        Engine::Attached { url, .. } => Connection::parse_to(args, Some(url.clone()), None)?,
        Engine::Started(launch) => {
            let url = format!("http://127.0.0.1:{}", launch.port);
            Connection::parse_to(args, Some(url), None)?
        }
    };
    match &options.engine {
        Engine::Started(launch) => connection.model = launch.model.clone(),
        Engine::Mock(_) => connection.name_mock_model(),
        Engine::Attached { .. } => {}
    }
    Ok(connection)
}

/// In a release a panic ends the process without dropping its servers.
fn kill_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        kill_all();
        before(panic);
    }));
}

/// Measures, writes and shows; then stops the server and judges.
fn end(mut run: Run, mut server: Option<Server>) -> Result<u8> {
    let died = run.workloads(server.as_mut())?;
    if let Some(Reason::Refused(status, failure)) = run.stop.reason() {
        return Err(refused(&run.target, *status, failure));
    }
    // A signal that comes later finds all measured.
    let is_cut = matches!(run.stop.reason(), Some(Reason::Signal));
    if is_cut && run.summaries.is_empty() {
        return Ok(stopped_early());
    }
    run.finish()?;
    if let Some(server) = &mut server {
        server.stop();
    }
    verdict(&run, died, is_cut)
}

/// The exit code, once all that was measured is shown and written.
fn verdict(run: &Run, died: Option<String>, is_cut: bool) -> Result<u8> {
    if let Some(how) = died.filter(|_| !is_cut) {
        let log = run.folder.path(engine::LOG);
        return Err(Error::missed(
            "backend",
            format!("the server ended with {how} during the run"),
        )
        .next(format!("Its log: {}", log.display())));
    }
    if let Some(Reason::Gone(failure)) = run.stop.reason() {
        let why = format!("nothing has answered for a minute: {}", failure.reason);
        return Err(Error::missed(&run.target.uri, why));
    }
    if !run.lost.is_empty() {
        return Err(Error::missed("output", run.lost.join("; ")));
    }
    if is_cut {
        return Ok(130);
    }
    if !run.any_success() {
        let why = "see the failures above";
        return Err(Error::missed("no measured request succeeded", why));
    }
    let missed = run
        .options
        .limits
        .missed(&run.options.workloads, &run.summaries);
    conditions::error(missed).map_or(Ok(0), Err)
}
