//! The options of `run`, as typed and checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use super::engine::Launch;
use crate::backend::presets::{PRESETS, Preset, free_port};
use crate::backend::words::split;
use crate::cli::args::{Args, above_zero, at_least_one};
use crate::cli::commands::mock;
use crate::cli::common::Common;
use crate::cli::condition::Limits;
use crate::cli::connect::Server;
use crate::cli::counters::PageUrl;
use crate::error::{Error, Result};
use crate::plan::fixed::{Fixed, named};
use crate::report::layout::run::KEYS;

/// The options of `run`: what is sent, to which server, and where the results go.
pub struct Options {
    /// The workload option as typed.
    pub workload: String,
    pub workloads: Vec<Fixed>,
    pub server: Server,
    /// How to start the server, if it is started for the run.
    pub launch: Option<Launch>,
    /// The engine whose metric names to read; `None`: the one found on the page.
    pub names: Option<String>,
    /// The server's page of metrics.
    pub page: PageUrl,
    pub output: PathBuf,
    pub is_verbose: bool,
    pub keep_gaps: bool,
    pub common: Common,
    pub bytes_per_token: Option<u64>,
    pub limits: Limits,
}

impl Options {
    pub fn parse(args: &Args) -> Result<Options> {
        let workload = args.text("--workload");
        let workload = workload.unwrap_or_else(|| "year1".to_string());
        let requests = args.value("--requests", at_least_one)?;
        let fixed = named(&workload).ok_or_else(|| {
            let what = format!("--workload {workload}");
            Error::input(what, "no such workload; want year1, short, long or stress")
        })?;
        let mut workloads = fixed.to_vec();
        for fixed in &mut workloads {
            fixed.requests = requests.unwrap_or(fixed.requests);
        }
        let output = args.text("--output");
        let limits = limits(args, &workloads)?;
        let (server, launch) = server(args)?;
        let names = match (&server, &launch) {
            (Server::Mock(_), _) => Some("mock".to_string()),
            (_, Some(launch)) => Some(launch.preset.name.to_string()),
            (_, None) => args.text("--backend"),
        };
        Ok(Options {
            workload,
            limits,
            workloads,
            server,
            launch,
            names,
            page: PageUrl::parse(args)?,
            output: output.map_or("./benchmark_results".into(), PathBuf::from),
            is_verbose: args.has("--verbose"),
            keep_gaps: !args.has("--no-gaps"),
            common: Common::parse(args)?,
            bytes_per_token: args.value("--bytes-per-token", at_least_one)?,
        })
    }
}

/// The limits of each year's contract, applied to each workload's own figures.
const CONTRACTS: [(&str, &str); 3] = [
    (
        "year1",
        "avg_ttft_ms>100 avg_tbt_ms>20 avg_tpot_ms>20 avg_throughput_tps<50 error_rate>0.05 peak_mem_mb>32768",
    ),
    (
        "year2",
        "avg_ttft_ms>50 avg_tbt_ms>10 avg_tpot_ms>10 avg_throughput_tps<100 error_rate>0.02 peak_mem_mb>24576 \
         avg_prefix_hit_rate<0.7",
    ),
    (
        "year3",
        "avg_ttft_ms>30 avg_tbt_ms>5 avg_tpot_ms>5 avg_throughput_tps<200 error_rate>0.01 peak_mem_mb>16384 \
         avg_prefix_hit_rate<0.85 avg_spec_accept_rate<0.6",
    ),
];

/// Parses `--fail-if` and `--contract`.
fn limits(args: &Args, workloads: &[Fixed]) -> Result<Limits> {
    let names = workloads.iter().map(|fixed| fixed.workload.name());
    let names: Vec<String> = names.map(str::to_string).collect();
    let mut limits = Limits::parse(args, &KEYS, "workload", &names)?;
    let contract = args.value("--contract", |name| {
        let mut known = CONTRACTS.into_iter().filter(|(known, _)| *known == name);
        known
            .next()
            .ok_or("no such contract; want year1, year2 or year3")
    })?;
    if let Some((name, conditions)) = contract {
        for condition in conditions.split_whitespace() {
            limits.add(format!("--contract {name}: {condition}"), condition);
        }
    }
    Ok(limits)
}

/// The options of the mock that differ from its defaults: a prefill so fast that it does not queue.
pub const OWN_MOCK: &str = "base=10ms,itl=5ms,prefill_rate=1000000000";

/// The options that only matter for a server that is started.
const STARTING: [&str; 4] = [
    "--backend-command",
    "--backend-args",
    "--port",
    "--start-timeout",
];

/// Returns the server to ask, and how to start it if the run starts it.
fn server(args: &Args) -> Result<(Server, Option<Launch>)> {
    let url = args.text("--endpoint");
    let name = args.text("--backend");
    let mut preset = name.as_deref().and_then(Preset::find);
    match &name {
        Some(name) if preset.is_none() && name != "mock" => {
            let names = PRESETS.iter().map(|preset| preset.name);
            let names: Vec<&str> = std::iter::once("mock").chain(names).collect();
            let why = format!("no such backend; want one of {}", names.join(", "));
            return Err(Error::input(format!("--backend {name}"), why));
        }
        None if url.is_none() && args.has("--backend-command") => preset = Preset::find("command"),
        _ => {}
    }
    let starting = STARTING.into_iter().find(|flag| args.has(flag));
    if let Some(flag) = starting.filter(|_| preset.is_none() || url.is_some()) {
        let error = Error::input(flag, "only for a backend that is started");
        return Err(error.next("Try: tmesh-cli run --help"));
    }
    let list = args.text("--mock");
    if list.is_some() && (url.is_some() || preset.is_some()) {
        return Err(Error::input("--mock", "only with --backend mock"));
    }
    match (url, preset) {
        (Some(url), _) => Ok((Server::Url(url), None)),
        (None, Some(preset)) => {
            // Each shard would start a server.
            args.only_with(&[("--shard", "--endpoint")])?;
            let launch = launch(preset, args)?;
            Ok((Server::Url(launch.url()), Some(launch)))
        }
        (None, None) => {
            let own = mock::options("--mock", crate::mock::Options::default(), OWN_MOCK)?;
            let mock = mock::options("--mock", own, list.as_deref().unwrap_or(""))?;
            Ok((Server::Mock(Box::new(mock)), None))
        }
    }
}

fn launch(preset: &'static Preset, args: &Args) -> Result<Launch> {
    let template = args.text("--backend-command");
    let extra = args.text("--backend-args").unwrap_or_default();
    let extra = split(&extra).map_err(|why| Error::input("--backend-args", why))?;
    let port = args.value("--port", port)?;
    if let Some(template) = template.as_ref().filter(|_| port.is_none())
        && !template.contains("{port}")
    {
        let why = "has no {port}, so the server would not listen on the free port that is chosen";
        return Err(Error::input("--backend-command", why)
            .next("Put {port} where the command takes its port, or name the port with --port."));
    }
    let port = port.map_or_else(free_port, Ok)?;
    let timeout = args.value("--start-timeout", above_zero)?;
    let model = args.text("--model");
    Ok(Launch {
        preset,
        words: preset.words(model.as_deref(), port, template.as_deref(), &extra)?,
        port,
        timeout: timeout.unwrap_or(Duration::from_secs(600)),
    })
}

fn port(text: &str) -> std::result::Result<u16, &'static str> {
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or("not a port; want 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::RUN_FIXED;
    use crate::stats::kv_cache::Verdict;

    /// Returns the conditions of a year's contract. A workload that was not run misses all of its conditions.
    fn contract(year: &str) -> Result<Vec<String>> {
        let words = ["--contract", year].map(str::to_string).to_vec();
        let workloads = named("short").expect("a workload");
        let limits = limits(&Args::new(&RUN_FIXED, words)?, workloads)?;
        let missed = limits.missed(&[("short_input".to_string(), None)], Verdict::Unknown);
        Ok(missed.into_iter().map(|(option, _)| option).collect())
    }

    #[test]
    fn each_years_contract_has_the_limits_of_the_format() {
        let wanted = |year: &str, limits: &[&str]| -> Vec<String> {
            let limits = limits.iter();
            limits
                .map(|limit| format!("--contract {year}: {limit}"))
                .collect()
        };
        let year1 = [
            "avg_ttft_ms>100",
            "avg_tbt_ms>20",
            "avg_tpot_ms>20",
            "avg_throughput_tps<50",
            "error_rate>0.05",
            "peak_mem_mb>32768",
        ];
        assert_eq!(contract("year1").expect("year1"), wanted("year1", &year1));
        let year2 = contract("year2").expect("year2");
        assert_eq!(year2[6..], wanted("year2", &["avg_prefix_hit_rate<0.7"]));
        let year3 = contract("year3").expect("year3");
        assert_eq!(year3[..1], wanted("year3", &["avg_ttft_ms>30"]));
        let last = ["avg_prefix_hit_rate<0.85", "avg_spec_accept_rate<0.6"];
        assert_eq!(year3[6..], wanted("year3", &last));
        assert!(contract("year4").is_err());
    }
}
