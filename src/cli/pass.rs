//! One pass over a plan whose every sample is kept: channels, watchdog, collector and workers put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use crossbeam_channel::bounded;

use super::terminal_width;
use crate::client::{Client, Target};
use crate::collect::round::{self, Collected, Collector, Extent, OnSample, Progress, Series};
use crate::collect::{Feed, Log};
use crate::error::{Error, Result};
use crate::load::open::Due;
use crate::load::pool::Shared;
use crate::load::stop::Stop;
use crate::load::{self, Limit};
use crate::plan::Session;
use crate::sample::{Gauge, Sample};
use crate::stats::client::ClientSummary;
use crate::watchdog;

/// Samples that may wait for the collector; beyond that workers wait, which costs load, not data.
const WAITING_SAMPLES: usize = 4096;

/// How long nothing may answer before the run is ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a pass needs beside its plan.
pub struct Pass<'a> {
    pub target: &'a Arc<Target>,
    pub stop: &'a Stop,
    /// A request of the run has succeeded.
    pub succeeded: &'a Arc<AtomicBool>,
    pub extent: Extent,
    /// Requests at once.
    pub in_flight: u64,
    /// Called after every request, before the worker's next one.
    pub beside: Option<Arc<dyn Fn() + Send + Sync>>,
    pub log: Log,
    /// How the line on the terminal begins; `None`: there is to be none.
    pub label: Option<String>,
    pub on_sample: OnSample,
    pub series: Series,
    pub keeps_gaps: bool,
    /// Its requests are in no figure.
    pub is_warmup: bool,
    pub mock_in_process: bool,
}

/// What has come of it.
pub struct Passed {
    /// In the order of their ends.
    pub samples: Vec<Sample>,
    pub client: ClientSummary,
    /// The most requests in flight at once.
    pub peak: u64,
    /// Of an open loop: requests that found no idle worker when they were due.
    pub exhausted: Option<u64>,
    pub log: Log,
    /// As it was handed in: its last lines may come after the pass.
    pub series: Series,
}

impl Pass<'_> {
    /// Sends the plan in a closed loop, or what of it goes out until the extent is reached or the run is stopped.
    pub fn run(self, plan: impl Iterator<Item = Session>) -> Result<Passed> {
        let limit = match self.extent {
            Extent::Requests(_) => Limit::None,
            Extent::Duration(duration) => Limit::Drain(duration),
        };
        self.drive(|clients, shared| load::run(plan, clients, shared, limit).map(|()| None))
    }

    /// The same in an open loop.
    pub fn run_open(self, plan: impl Iterator<Item = Due>) -> Result<Passed> {
        let duration = match self.extent {
            Extent::Requests(_) => None,
            Extent::Duration(duration) => Some(duration),
        };
        self.drive(|clients, shared| load::open::run(plan, clients, shared, duration).map(Some))
    }

    fn drive(
        self,
        send: impl FnOnce(Vec<Client>, Shared) -> Result<Option<u64>>,
    ) -> Result<Passed> {
        let (sender, samples) = bounded(WAITING_SAMPLES);
        let gauge = Arc::new(Gauge::default());
        let epoch = self.target.link.epoch;
        let watch = watchdog::start(epoch)?;
        let feed = Feed {
            samples,
            vitals: watch.vitals,
            end_watch: watch.end,
            stopped: self.stop.woken().clone(),
            gauge: gauge.clone(),
            epoch,
        };
        let width = terminal_width(std::io::stderr());
        let collector = Collector {
            feed,
            log: self.log,
            extent: self.extent,
            progress: self
                .label
                .zip(width)
                .map(|(label, width)| Progress { label, width }),
            on_sample: self.on_sample,
            series: self.series,
            keeps_gaps: self.keeps_gaps,
        };
        let model = &self.target.body.model;
        let shared = Shared {
            any_success: self.succeeded.clone(),
            beside: self.beside,
            warmup_ns: if self.is_warmup { u64::MAX } else { 0 },
            heard_ns: Arc::new(AtomicU64::new(epoch.now_ns())),
            patience: Some(PATIENCE),
            ..Shared::new(sender, self.stop.clone(), gauge.clone(), model)
        };
        let in_flight = match self.extent {
            Extent::Requests(requests) => self.in_flight.min(requests),
            Extent::Duration(_) => self.in_flight,
        };
        let clients = (0..in_flight)
            .map(|_| Client::new(self.target.clone()))
            .collect();
        let collecting = std::thread::spawn(move || round::run(collector));
        let exhausted = send(clients, shared)?;
        let collected = collecting.join();
        let Collected {
            samples,
            client,
            log,
            series,
        } = collected.map_err(|_| Error::missed("collector", "it panicked; this is a bug"))?;
        self.stop.forget();
        Ok(Passed {
            samples,
            client: client.summary(gauge.started_ns(), self.mock_in_process),
            peak: gauge.peak(),
            exhausted,
            log,
            series,
        })
    }
}
