//! The options of `run`, as typed and checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use super::engine::{Engine, Launch};
use super::limits::Limits;
use crate::backend::presets::{PRESETS, Preset, free_port};
use crate::backend::words::split;
use crate::cli::args::{Args, above_zero, at_least_one};
use crate::cli::commands::mock;
use crate::error::{Error, Result};
use crate::plan::fixed::{Fixed, named};
use crate::units::parse_count;

/// What is sent, to whom, and what is made of it.
pub struct Options {
    /// As typed.
    pub workload: String,
    pub workloads: Vec<Fixed>,
    pub engine: Engine,
    pub output: PathBuf,
    pub is_verbose: bool,
    pub seed: u64,
    pub nonce: String,
    pub bytes_per_token: Option<u64>,
    pub limits: Limits,
}

impl Options {
    pub fn parse(args: &mut Args) -> Result<Options> {
        let workload = args.text("--workload")?;
        let workload = workload.unwrap_or_else(|| "year1".to_string());
        let requests = args.value("--requests", at_least_one)?;
        let fixed = named(&workload).ok_or_else(|| {
            Error::input(
                format!("--workload {workload}"),
                "no such workload; want year1, short, long or stress",
            )
        })?;
        let workloads: Vec<Fixed> = fixed
            .iter()
            .map(|fixed| Fixed {
                requests: requests.unwrap_or(fixed.requests),
                ..*fixed
            })
            .collect();
        let random = || format!("{:08x}", fastrand::u32(..));
        Ok(Options {
            workload,
            limits: Limits::parse(args, &workloads)?,
            workloads,
            engine: engine(args)?,
            output: args
                .text("--output")?
                .unwrap_or_else(|| "./benchmark_results".to_string())
                .into(),
            is_verbose: args.switch("--verbose"),
            seed: args.value("--seed", parse_count)?.unwrap_or(0),
            nonce: args.text("--nonce")?.unwrap_or_else(random),
            bytes_per_token: args.value("--bytes-per-token", at_least_one)?,
        })
    }
}

/// The options of a server that is started.
struct Starting {
    template: Option<String>,
    args: Option<String>,
    port: Option<u16>,
    timeout: Option<Duration>,
}

impl Starting {
    /// The first that was given, for errors.
    fn given(&self) -> Option<&'static str> {
        let given = [
            (self.template.is_some(), "--backend-command"),
            (self.args.is_some(), "--backend-args"),
            (self.port.is_some(), "--port"),
            (self.timeout.is_some(), "--start-timeout"),
        ];
        let given = given.into_iter().find(|(is_given, _)| *is_given);
        given.map(|(_, flag)| flag)
    }
}

fn engine(args: &mut Args) -> Result<Engine> {
    let url = args.text("--endpoint")?;
    let name = args.text("--backend")?;
    let mock_list = args.text("--mock")?;
    let starting = Starting {
        template: args.text("--backend-command")?,
        args: args
            .list("--backend-args", |text| Ok::<_, String>(text.to_string()))?
            .pop(),
        port: args.value("--port", port)?,
        timeout: args.value("--start-timeout", above_zero)?,
    };
    let preset = name.as_deref().and_then(Preset::find);
    let is_mock = name.as_deref() == Some("mock");
    if let Some(name) = name.as_ref().filter(|_| preset.is_none() && !is_mock) {
        let names = PRESETS.iter().map(|preset| preset.name);
        let names: Vec<&str> = std::iter::once("mock").chain(names).collect();
        let why = format!("no such backend; want one of {}", names.join(", "));
        return Err(Error::input(format!("--backend {name}"), why));
    }
    let preset = match (&starting.template, preset) {
        (Some(_), None) if name.is_none() && url.is_none() => Preset::find("command"),
        (_, preset) => preset,
    };
    let starts = preset.filter(|_| url.is_none());
    if let Some(flag) = starting.given().filter(|_| starts.is_none()) {
        return Err(
            Error::input(flag, "only where a backend is started").next("Try: tmesh-cli run --help")
        );
    }
    if mock_list.is_some() && (url.is_some() || preset.is_some()) {
        return Err(Error::input("--mock", "only with --backend mock"));
    }
    match (url, starts) {
        (Some(url), _) => Ok(Engine::Attached { url, names: name }),
        (None, Some(preset)) => launch(preset, args, &starting).map(Engine::Started),
        (None, None) => {
            let own = crate::mock::Options {
                base: Duration::from_millis(10),
                itl: Duration::from_millis(5),
                // No queue for prefill.
                prefill_rate: 1_000_000_000,
                ..crate::mock::Options::default()
            };
            let mock = mock::options(own, mock_list.as_deref().unwrap_or(""))?;
            Ok(Engine::Mock(Box::new(mock)))
        }
    }
}

fn launch(preset: &'static Preset, args: &mut Args, starting: &Starting) -> Result<Launch> {
    let template = starting.template.as_deref();
    let extra = starting.args.as_deref().map(split).transpose();
    let extra = extra.map_err(|why| Error::input("--backend-args", why))?;
    if let Some(template) = template.filter(|_| starting.port.is_none())
        && !template.contains("{port}")
    {
        let why = "has no {port}, and a free port is chosen";
        return Err(Error::input("--backend-command", why)
            .next("Put {port} where the command takes its port, or name the port with --port."));
    }
    let port = starting.port.map_or_else(free_port, Ok)?;
    let model = args.text("--model")?;
    Ok(Launch {
        preset,
        words: preset.words(model.as_deref(), port, template, &extra.unwrap_or_default())?,
        port,
        timeout: starting.timeout.unwrap_or(Duration::from_secs(600)),
        model,
    })
}

fn port(text: &str) -> std::result::Result<u16, &'static str> {
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or("not a port; want 1 to 65535")
}
