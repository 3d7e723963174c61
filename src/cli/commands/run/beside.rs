//! What is read beside the requests of a workload: memory, and the server's page of metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use serde_json::{Value, json};

use crate::backend::memory::{Memory, Of, Reading, during};
use crate::cli::connect::Opened;
use crate::cli::scrape_lines;
use crate::collect::round::Series;
use crate::error::Result;
use crate::prom::engine::Quantity;
use crate::prom::kv::Watch;
use crate::prom::parse::parse;
use crate::prom::scrape::{Recorder, Scraper, Seen, fetch, start};
use crate::stats::workload::{
    ACCEPT_RATE, EVICT_MS, EVICTIONS, HIT_RATE, KV_BYTES, KV_TOKENS, MEAN_MEMORY, PEAK_MEMORY,
    PREEMPTIONS, TOLD, Told, ToldFigures,
};
use crate::units::Epoch;

/// Between two looks at the page while requests are in flight.
const SCRAPE_EVERY: Duration = Duration::from_millis(250);
const MIB: f64 = (1 << 20) as f64;

/// KV cache bytes of one token, and who says so.
pub struct TokenBytes {
    pub bytes: u64,
    pub source: String,
}

pub struct Beside {
    /// Whose memory is read; `None`: the server is somebody else's.
    memory_of: Option<Of>,
    page: std::result::Result<Page, String>,
    token_bytes: Option<TokenBytes>,
    epoch: Epoch,
    /// Of the workload under way.
    memory: Option<Arc<Memory>>,
    readings: Arc<Mutex<Vec<Reading>>>,
    end_scrapes: Option<Sender<()>>,
}

/// A page of metrics.
struct Page {
    watch: Watch,
    recorder: Arc<Recorder>,
}

impl Beside {
    /// Looks for a page of metrics; `names` says whose names to read on it.
    pub fn open(
        opened: &Opened,
        names: Option<&str>,
        memory_of: Option<Of>,
        token_bytes: Option<TokenBytes>,
    ) -> Beside {
        Beside {
            memory_of,
            page: Page::open(opened, names),
            token_bytes,
            epoch: opened.link.epoch,
            memory: None,
            readings: Arc::default(),
            end_scrapes: None,
        }
    }

    pub fn watch(&self) -> Option<&Watch> {
        self.page.as_ref().ok().map(|page| &page.watch)
    }

    /// Why there is no page; `None`: there is one.
    pub fn no_page(&self) -> Option<&str> {
        self.page.as_ref().err().map(String::as_str)
    }

    /// The edge of a workload, before its first request.
    pub fn begin(&mut self) -> Result<()> {
        lock(&self.readings).clear();
        if let Some(of) = self.memory_of {
            self.memory = Some(Arc::new(Memory::start(of, self.epoch)?));
        }
        if let Ok(page) = &self.page {
            *page.recorder.seen() = Seen::default();
            page.recorder.scrape_now();
            self.end_scrapes = Some(start(Arc::clone(&page.recorder), SCRAPE_EVERY)?);
        }
        Ok(())
    }

    /// The edge of a workload, behind its last request.
    pub fn end(&mut self, is_stopped: bool) {
        self.end_scrapes = None;
        if let Ok(page) = &self.page {
            page.recorder.scrape_last(is_stopped);
            if let Some(why) = &page.recorder.seen().first_error {
                eprintln!("warning: the server's metrics could not be read: {why}");
            }
        }
    }

    /// What has been read since the last call, as lines of their series.
    pub fn lines(&self) -> Series {
        let memory = self.memory.clone();
        let readings = Arc::clone(&self.readings);
        let mut scrapes = self
            .page
            .as_ref()
            .ok()
            .map(|page| scrape_lines::lines(Arc::clone(&page.recorder), page.watch.names()));
        Box::new(move || {
            let fresh = memory.as_ref().map(|memory| memory.take());
            let fresh = fresh.unwrap_or_default();
            lock(&readings).extend_from_slice(&fresh);
            let line = |seen: &Reading| -> (&'static str, Value) {
                let line = json!({"t_ns": seen.t_ns, "rss_bytes": seen.bytes});
                ("memory", line)
            };
            let mut lines: Vec<_> = fresh.iter().map(line).collect();
            lines.extend(scrapes.iter_mut().flat_map(|scrapes| scrapes()));
            lines
        })
    }

    /// The figures of a workload whose requests lie between the two stamps.
    pub fn told(&mut self, t_start_ns: u64, t_end_ns: u64) -> ToldFigures {
        self.memory = None;
        let mut told = ToldFigures::new();
        match &self.page {
            Ok(page) => {
                let seen = page.recorder.seen();
                for (quantity, figure) in page.watch.told(&seen.observations, t_start_ns, t_end_ns)
                {
                    let (key, scale) = key(quantity);
                    let value = figure.value.map(|value| value * scale);
                    let source = figure.source;
                    told.insert(key, Told { value, source });
                }
            }
            Err(why) => {
                told.extend(TOLD.map(|key| (key, Told::absent(why.clone()))));
            }
        }
        if self.memory_of.is_some() {
            self.memory(&mut told, t_start_ns, t_end_ns);
        }
        told.insert(KV_BYTES, self.kv_bytes(&told[KV_TOKENS]));
        told
    }

    fn memory(&self, told: &mut ToldFigures, t_start_ns: u64, t_end_ns: u64) {
        let readings = lock(&self.readings);
        let told_of = during(&readings, t_start_ns, t_end_ns).iter();
        let mib: Vec<f64> = told_of.map(|seen| seen.bytes as f64 / MIB).collect();
        let Some(peak) = mib.iter().copied().reduce(f64::max) else {
            let why = "no reading during the workload";
            told.extend([PEAK_MEMORY, MEAN_MEMORY].map(|key| (key, Told::absent(why))));
            return;
        };
        let whose = match self.memory_of {
            Some(Of::ThisProcess) => "this process, which the mock is in",
            _ => "the backend's process group; shared pages count twice, GPU memory not at all",
        };
        let source = format!("resident set from /proc every 100 ms, of {whose}");
        let mean = mib.iter().sum::<f64>() / mib.len() as f64;
        told.insert(PEAK_MEMORY, Told::new(peak, source.clone()));
        told.insert(MEAN_MEMORY, Told::new(mean, source));
    }

    fn kv_bytes(&self, tokens: &Told) -> Told {
        match (tokens.value, &self.token_bytes) {
            (None, _) => Told::absent("used tokens are not reported"),
            (Some(_), None) => {
                Told::absent("model_configs.json has no such model: give --bytes-per-token")
            }
            (Some(tokens), Some(TokenBytes { bytes, source })) => Told::new(
                tokens * *bytes as f64,
                format!("used tokens × {bytes} bytes a token ({source})"),
            ),
        }
    }
}

impl Page {
    /// # Errors
    /// Why there is none.
    fn open(opened: &Opened, names: Option<&str>) -> std::result::Result<Page, String> {
        let url = opened.endpoint.root("metrics");
        let text = fetch(&opened.small, &url);
        let text = text.map_err(|why| format!("no page of metrics at {url}: {why}"))?;
        let page = parse(&text).map_err(|why| format!("{url} is no page of metrics: {why}"))?;
        let watch = Watch::choose(&page, names);
        let small = crate::client::http::Small::new(opened.link.clone());
        let scraper = Scraper::new(small, url, watch.wanted(), opened.link.epoch);
        Ok(Page {
            watch,
            recorder: Recorder::new(scraper),
        })
    }
}

/// The format's key, and what its unit is in that of the page.
fn key(quantity: Quantity) -> (&'static str, f64) {
    match quantity {
        Quantity::KvUsedTokens => (KV_TOKENS, 1.0),
        Quantity::PrefixHitRate => (HIT_RATE, 1.0),
        Quantity::Evictions => (EVICTIONS, 1.0),
        Quantity::EvictMs => (EVICT_MS, 1.0),
        Quantity::Preemptions => (PREEMPTIONS, 1.0),
        Quantity::SpecAcceptRate => (ACCEPT_RATE, 1.0),
        Quantity::ResidentBytesPeak => (PEAK_MEMORY, 1.0 / MIB),
        Quantity::ResidentBytesMean => (MEAN_MEMORY, 1.0 / MIB),
    }
}

/// A thread that panicked has left whole readings behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
