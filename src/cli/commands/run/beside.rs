//! Readings during the requests of a workload: memory, and the server's page of metrics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::backend::memory::{Memory, Of, Reading, during};
use crate::cli::connect::Opened;
use crate::cli::scrapes::Scrapes;
use crate::client::http::Small;
use crate::collect::Series;
use crate::error::Result;
use crate::lock::lock;
use crate::prom::engine::Quantity;
use crate::prom::kv::Watch;
use crate::prom::parse::parse;
use crate::prom::scrape::{Scraper, fetch};
use crate::stats::catalog::{HIT_RATE, told_figures};
use crate::stats::facts::{Told, ToldFigures};
use crate::units::Epoch;

/// Time between two scrapes while requests are in flight.
const SCRAPE_EVERY: Duration = Duration::from_millis(250);
const MIB: f64 = (1 << 20) as f64;
/// Keys of the figures that are computed here.
const PEAK_MEMORY: &str = "peak_mem_mb";
const MEAN_MEMORY: &str = "avg_mem_mb";
const KV_TOKENS: &str = "total_kv_used_tokens";
const KV_BYTES: &str = "kv_used_bytes";

pub struct Beside {
    /// The processes whose memory is read; `None`: the server was not started by us.
    memory_of: Option<Of>,
    /// The server's metrics, or why there are none.
    pub page: std::result::Result<Page, String>,
    /// KV cache bytes of one token, and their source.
    token_bytes: Option<(u64, String)>,
    epoch: Epoch,
    /// The memory readings of the current workload.
    memory: Option<Arc<Memory>>,
    readings: Arc<Mutex<Vec<Reading>>>,
}

/// A page of metrics.
pub struct Page {
    pub watch: Watch,
    scrapes: Scrapes,
}

impl Beside {
    /// Looks for a page of metrics; `names` is the engine whose names to read on it.
    pub fn open(
        opened: &Opened,
        names: Option<&str>,
        memory_of: Option<Of>,
        token_bytes: Option<(u64, String)>,
    ) -> Beside {
        Beside {
            memory_of,
            page: Page::open(opened, names),
            token_bytes,
            epoch: opened.link.epoch,
            memory: None,
            readings: Arc::default(),
        }
    }

    /// Starts reading memory. The returned series yields the readings since its last call.
    pub fn begin(&mut self) -> Result<Series> {
        lock(&self.readings).clear();
        let Some(of) = self.memory_of else {
            return Ok(Box::new(Vec::new));
        };
        let memory = Arc::new(Memory::start(of, self.epoch)?);
        self.memory = Some(Arc::clone(&memory));
        let readings = Arc::clone(&self.readings);
        Ok(Box::new(move || {
            let fresh = memory.take();
            lock(&readings).extend_from_slice(&fresh);
            let line = |seen: &Reading| json!({"t_ns": seen.t_ns, "rss_bytes": seen.bytes});
            fresh.iter().map(|seen| ("memory", line(seen))).collect()
        }))
    }

    /// Returns the scrapes and their interval.
    pub fn scrapes(&self) -> Option<(&Scrapes, Option<Duration>)> {
        let page = self.page.as_ref().ok()?;
        Some((&page.scrapes, Some(SCRAPE_EVERY)))
    }

    /// Returns the figures of a workload whose requests lie between the two stamps.
    pub fn told(&mut self, (t_start_ns, t_end_ns): (u64, u64)) -> ToldFigures {
        self.memory = None;
        let mut told: ToldFigures = match &self.page {
            Ok(page) => page.told(t_start_ns, t_end_ns),
            Err(why) => told_figures()
                .map(|figure| (figure.key.to_string(), Told::absent(why.clone())))
                .collect(),
        };
        if let Some(of) = self.memory_of {
            let [peak, mean] = self.memory(of, t_start_ns, t_end_ns);
            told.insert(PEAK_MEMORY.to_string(), peak);
            told.insert(MEAN_MEMORY.to_string(), mean);
        }
        told.insert(KV_BYTES.to_string(), self.kv_bytes(&told[KV_TOKENS]));
        told
    }

    /// Returns the peak and the mean between the two stamps.
    fn memory(&self, of: Of, t_start_ns: u64, t_end_ns: u64) -> [Told; 2] {
        let readings = lock(&self.readings);
        let told_of = during(&readings, t_start_ns, t_end_ns).iter();
        let mib: Vec<f64> = told_of.map(|seen| seen.bytes as f64 / MIB).collect();
        let Some(peak) = mib.iter().copied().reduce(f64::max) else {
            return [(); 2].map(|()| Told::absent("no reading during the workload"));
        };
        let whose = match of {
            Of::ThisProcess => "this process, which contains the mock",
            Of::Group(_) => {
                "the backend's process group; shared pages count twice, GPU memory not at all"
            }
        };
        let source = format!("resident set from /proc every 100 ms, of {whose}");
        let mean = mib.iter().sum::<f64>() / mib.len() as f64;
        [peak, mean].map(|value| Told::new(value, source.clone()))
    }

    fn kv_bytes(&self, tokens: &Told) -> Told {
        match (tokens.value, &self.token_bytes) {
            (None, _) => Told::absent("used tokens are not reported"),
            (Some(_), None) => {
                Told::absent("model_configs.json has no such model: give --bytes-per-token")
            }
            (Some(tokens), Some((bytes, source))) => Told::new(
                tokens * *bytes as f64,
                format!("used tokens × {bytes} bytes a token ({source})"),
            ),
        }
    }
}

impl Page {
    /// # Errors
    /// Fails with the reason why there is no page.
    fn open(opened: &Opened, names: Option<&str>) -> std::result::Result<Page, String> {
        let url = opened.endpoint.root("metrics");
        let text = fetch(&opened.small, &url);
        let shown = opened.endpoint.shown_root("metrics");
        let text = text.map_err(|why| format!("no page of metrics at {shown}: {why}"))?;
        let page =
            parse(&text).map_err(|why| format!("{shown} is not a page of metrics: {why}"))?;
        if let Some(skipped) = &page.skipped {
            let skipped = opened.link.redact(skipped.to_string());
            eprintln!("warning: {shown}: {skipped}");
        }
        let watch = Watch::choose(&page, names);
        let small = Small::new(opened.link.clone());
        let scraper = Scraper::new(small, url, watch.wanted(), opened.link.epoch);
        Ok(Page {
            scrapes: Scrapes::new(scraper, watch.names()),
            watch,
        })
    }

    fn told(&self, t_start_ns: u64, t_end_ns: u64) -> ToldFigures {
        let seen = self.scrapes.seen();
        if let Some(why) = &seen.first_error {
            eprintln!("warning: the server's metrics could not be read: {why}");
        }
        let told = self.watch.told(&seen.observations, t_start_ns, t_end_ns);
        let figures = told.into_iter().map(|(quantity, figure)| {
            let (key, scale) = key(quantity);
            let value = figure.value.map(|value| value * scale);
            let source = figure.source;
            (key.to_string(), Told { value, source })
        });
        figures.collect()
    }
}

/// Returns the format's key, and the factor from the page's unit to the format's.
fn key(quantity: Quantity) -> (&'static str, f64) {
    match quantity {
        Quantity::KvUsedTokens => (KV_TOKENS, 1.0),
        Quantity::PrefixHitRate => (HIT_RATE, 1.0),
        Quantity::Evictions => ("total_evict_count", 1.0),
        Quantity::EvictMs => ("evict_ms", 1.0),
        Quantity::Preemptions => ("total_preemption_count", 1.0),
        Quantity::SpecAcceptRate => ("avg_spec_accept_rate", 1.0),
        Quantity::ResidentBytesPeak => (PEAK_MEMORY, 1.0 / MIB),
        Quantity::ResidentBytesMean => (MEAN_MEMORY, 1.0 / MIB),
    }
}
