//! The server of a run: starts and stops it, and finds its version.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::backend::orphan::orphan;
use crate::backend::presets::{Preset, is_taken};
use crate::backend::process::{Server, Start, Waited};
use crate::cli::connect::Opened;
use crate::cli::output::Folder;
use crate::client::http::{Link, Small};
use crate::client::wire::Timeouts;
use crate::error::{Error, Result};
use crate::load::stop::Stop;
use crate::tty::StatusLine;
use crate::units::Epoch;

const PID_FILE: &str = "server.pid";
pub const LOG: &str = "server.log";
/// Timeout of each question for the server's version, which few servers answer.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of one health check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// A server to start.
pub struct Launch {
    pub preset: &'static Preset,
    pub words: Vec<String>,
    pub port: u16,
    pub timeout: Duration,
}

impl Launch {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Names the server that an earlier run in this folder has left behind.
pub fn name_orphan(folder: &Folder) {
    if let Some(orphan) = orphan(&folder.path(PID_FILE)) {
        eprintln!("warning: a server of an earlier run is still running: {orphan}");
    }
}

/// Starts a server and waits until it is healthy; `None`: the run was stopped before.
pub fn start(
    launch: &Launch,
    folder: &Folder,
    stop: &Stop,
    is_verbose: bool,
) -> Result<Option<Server>> {
    let (log, port) = (folder.path(LOG), launch.port);
    // Otherwise another server's answers would pass for those of the started one.
    if is_taken(port) {
        let error = Error::input(
            format!("--port {port}"),
            "another server already listens on it",
        );
        let next = "Stop that server, or leave --port out to use a free port.";
        return Err(error.next(next));
    }
    if is_verbose {
        // The command line itself is not printed, since it may contain a key.
        let (program, log) = (&launch.words[0], log.display());
        note!("starting {program} on port {port}; its output goes to {log}");
    }
    let mut server = Server::start(&Start {
        words: launch.words.clone(),
        port,
        log,
        pid_file: folder.path(PID_FILE),
        preset: launch.preset,
    })?;
    let addrs = vec![(Ipv4Addr::LOCALHOST, port).into()];
    let link = Link::bare(addrs, Timeouts::all(HEALTH_TIMEOUT), Epoch::start());
    let small = Small::within(link, HEALTH_TIMEOUT);
    let mut health = || is_healthy(&small, launch);
    let mut status = StatusLine::new();
    let waited = server.wait_healthy(
        launch.timeout,
        &mut health,
        stop.woken(),
        &mut say_waiting(launch, &mut status),
    );
    status.clear();
    Ok((waited? == Waited::Healthy).then_some(server))
}

/// Asks the health route or, if there is none, the list of models. A server that asks for a key is up.
fn is_healthy(small: &Small, launch: &Launch) -> bool {
    let status = |path: &str| {
        let page = small.get(&(launch.url() + path));
        page.map_or(0, |page| page.status)
    };
    let health = match launch.preset.health {
        "" => "/health",
        health => health,
    };
    is_up(health, status)
}

/// Judges by the status of paths; 0: no answer.
fn is_up(health: &str, status: impl Fn(&str) -> u16) -> bool {
    let is_up = |status| matches!(status, 200..300 | 401 | 403);
    match status(health) {
        404 => is_up(status("/v1/models")),
        status => is_up(status),
    }
}

/// Says how long the server has been waited for, and its last line of output.
fn say_waiting<'a>(
    launch: &Launch,
    status: &'a mut StatusLine,
) -> impl FnMut(Duration, &str) + use<'a> {
    let (name, port) = (launch.preset.name, launch.port);
    let most = launch.timeout.as_secs_f64();
    move |waited, last_line| {
        status.show(|| {
            let seconds = waited.as_secs();
            let line = format!("waiting {seconds} s for {name} on port {port}, up to {most} s");
            match last_line {
                "" => line,
                last_line => format!("{line}: {last_line}"),
            }
        });
    }
}

/// Returns the server's version; `None`: it does not tell.
pub fn version(opened: &Opened) -> Option<String> {
    // The routes of vLLM, llama.cpp and SGLang, in this order.
    let routes = [
        ("version", "version"),
        ("props", "build_info"),
        ("get_server_info", "version"),
    ];
    let small = Small::within(opened.link.clone(), VERSION_TIMEOUT);
    routes.into_iter().find_map(|(route, key)| {
        let page = small.get(&opened.endpoint.root(route)).ok()?;
        let reply: Value = serde_json::from_str(&page.text).ok()?;
        let version = reply[key].as_str().filter(|_| page.status == 200)?;
        Some(opened.link.redact(version))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_asks_for_a_key_is_up_and_one_that_loads_is_not() {
        for (health, models, wanted) in [
            (200, 0, true),
            (503, 200, false),
            (0, 200, false),
            (404, 200, true),
            (404, 401, true),
            (404, 404, false),
            (403, 404, true),
        ] {
            let status = |path: &str| match path {
                "/health" => health,
                _ => models,
            };
            assert_eq!(is_up("/health", status), wanted, "{health} {models}");
        }
    }
}
