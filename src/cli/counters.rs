//! The server's own counters: its page of metrics, read before, during and after the requests of every pass.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::args::Args;
use super::connect::Opened;
use super::scrapes::{AfterEach, Names, Scrapes, Start};
use super::side::SideUrl;
use crate::client::http::Small;
use crate::collect::Series;
use crate::error::{Error, Result};
use crate::prom::engine::Quantity;
use crate::prom::kv::{Now, Watch};
use crate::prom::parse::parse;
use crate::prom::scrape::{Scraper, fetch};
use crate::prom::selector::Selector;
use crate::prom::series::{Found, Wanted};
use crate::stats::catalog::{HIT_RATE, told_figures};
use crate::stats::facts::Told;
use crate::units::{counted, quoted};

/// Time between two scrapes while requests are in flight.
pub const EVERY: Duration = Duration::from_secs(1);
pub const MIB: f64 = (1 << 20) as f64;
/// Keys of figures that `run` has from the system, too.
pub const PEAK_MEMORY: &str = "peak_mem_mb";
pub const MEAN_MEMORY: &str = "avg_mem_mb";
pub const KV_TOKENS: &str = "total_kv_used_tokens";

const FLAG: &str = "--metrics-url";
const OFF: &str = "off";

/// The page to read.
pub enum PageUrl {
    /// `/metrics` beside the endpoint, if it answers.
    Beside,
    /// The page that the user named with this option, which must answer.
    Named(&'static str, SideUrl),
    Off,
}

impl PageUrl {
    /// Parses `--metrics-url`, and `--prometheus-url` where the command has it.
    ///
    /// # Errors
    /// Fails when both are given, or the URL is none.
    pub fn parse(args: &Args) -> Result<PageUrl> {
        const SAME: &str = "--prometheus-url";
        args.apart(&[(FLAG, SAME, "; both name the page of metrics")])?;
        if args.texts(FLAG).any(|url| url == OFF) {
            return Ok(PageUrl::Off);
        }
        for flag in [FLAG, SAME] {
            if let Some(url) = SideUrl::of_flag(args, flag, "/metrics")? {
                return Ok(PageUrl::Named(flag, url));
            }
        }
        Ok(PageUrl::Beside)
    }
}

/// The counters of one server, or why there are none.
pub struct Counters {
    page: std::result::Result<Page, String>,
}

/// A page of metrics.
struct Page {
    watch: Watch,
    scrapes: Scrapes,
}

impl Counters {
    /// Reads the page once. `own` are the metrics that the user named beside those that every command follows; `names`
    /// is the engine whose names to read, as `--backend` has it.
    ///
    /// # Errors
    /// Fails when a page that the user asked for does not answer, or is not a page of metrics.
    pub fn open(
        url: &PageUrl,
        own: &[Selector],
        names: Option<&str>,
        opened: &Opened,
    ) -> Result<Counters> {
        let page = match url {
            PageUrl::Off => Err(format!("the page of metrics is not read ({FLAG} {OFF})")),
            PageUrl::Named(flag, url) => Ok(Page::named(flag, url, own, names, opened)?),
            PageUrl::Beside => Page::beside(own, names, opened),
        };
        match (&page, url) {
            (Err(why), PageUrl::Beside) if !own.is_empty() => {
                let error = Error::input("--prometheus-metrics", why);
                return Err(error.next(format!("Name the page with {FLAG} URL.")));
            }
            (Err(why), PageUrl::Beside) => {
                note!("note: {why}; figures that only the server reports are n/a");
            }
            _ => {}
        }
        Ok(Counters { page })
    }

    /// Returns the names that the page has; `None`: there is no page.
    pub fn watch(&self) -> Option<&Watch> {
        self.page.as_ref().ok().map(|page| &page.watch)
    }

    /// Whether the page counts hits of the prefix cache.
    pub fn counts_hits(&self) -> bool {
        self.watch().is_some_and(Watch::counts_hits)
    }

    /// Returns the scrapes; `None`: there is no page.
    pub fn scrapes(&self) -> Option<&Scrapes> {
        self.page.as_ref().ok().map(|page| &page.scrapes)
    }

    /// Begins a pass: see `Scrapes::begin`. Without a page nothing happens.
    ///
    /// # Errors
    /// Fails when the system refuses a thread.
    pub fn begin(
        &self,
        interval: Option<Duration>,
    ) -> Result<(Option<AfterEach>, Option<Sender<()>>)> {
        match &self.page {
            Ok(page) => page.scrapes.begin(interval, page.watch.course()),
            Err(_) => Ok((None, None)),
        }
    }

    /// Returns the series of the readings of a pass, which has to be called for the figures to follow them.
    pub fn lines(&self, start: Start) -> Option<Series> {
        Some(self.scrapes()?.lines(start))
    }

    /// Ends a pass: see `Scrapes::end`.
    pub fn end(&self, is_stopped: bool) {
        if let Some(scrapes) = self.scrapes() {
            scrapes.end(is_stopped);
        }
    }

    /// Returns what the page tells while requests are in flight.
    pub fn now(&self) -> Now {
        let page = self.page.as_ref().ok();
        page.map_or(Now::default(), |page| {
            page.watch.now(&page.scrapes.course())
        })
    }

    /// Returns the prompt tokens that the server has counted from the beginning of the pass to a stamp, and that stamp;
    /// `None`: the page does not tell.
    pub fn prompt_tokens(&self) -> Option<(f64, u64)> {
        let page = self.page.as_ref().ok()?;
        let course = page.scrapes.course();
        page.watch.so_far(Quantity::LookupTokens, &course)
    }

    /// Returns the figures of a pass that ended at this stamp, and warns of scrapes that failed.
    pub fn told(&self, t_end_ns: u64) -> Vec<(String, Told)> {
        let page = match &self.page {
            Ok(page) => page,
            Err(why) => {
                let absent = told_figures().map(|figure| figure.key);
                let absent = absent.map(|key| (key.to_string(), Told::absent(why.clone())));
                return absent.collect();
            }
        };
        let seen = page.scrapes.seen();
        if let Some(why) = &seen.first_error {
            let times = counted(seen.errors, "time");
            eprintln!("warning: the server's metrics could not be read {times}: {why}");
        }
        let told = page.watch.told(&page.scrapes.course(), t_end_ns);
        let figures = told.into_iter().map(|(quantity, figure)| {
            let (key, scale) = key(quantity);
            let value = figure.value.map(|value| value * scale);
            let source = figure.source;
            (key.to_string(), Told { value, source })
        });
        figures.collect()
    }
}

impl Page {
    /// Opens the page that the user named with this option.
    fn named(
        flag: &str,
        url: &SideUrl,
        own: &[Selector],
        names: Option<&str>,
        opened: &Opened,
    ) -> Result<Page> {
        url.warn_unencrypted();
        let what = format!("{flag} {}", url.shown);
        let hint = format!("Try: tmesh-cli check prometheus {}", quoted(&url.shown));
        let small = url.open_beside(opened);
        let small = small.map_err(|failure| Error::input(&what, failure).next(&hint))?;
        let at = (small, url.text.clone(), what.as_str());
        let page = Page::open(at, own, names, opened);
        page.map_err(|why| Error::input(&what, why).next(&hint))
    }

    /// Opens the page beside the endpoint.
    ///
    /// # Errors
    /// The reason why there is none, with its URL.
    fn beside(
        own: &[Selector],
        names: Option<&str>,
        opened: &Opened,
    ) -> std::result::Result<Page, String> {
        let shown = opened.endpoint.shown_root("metrics");
        let small = Small::new(opened.link.clone());
        let at = (small, opened.endpoint.root("metrics"), shown.as_str());
        let page = Page::open(at, own, names, opened);
        page.map_err(|why| format!("no page of metrics at {shown}: {why}"))
    }

    /// Reads a page once, chooses the names by it, and warns of its lines that were not understood. `shown` is the page
    /// in warnings.
    ///
    /// # Errors
    /// The reason why there is no page.
    fn open(
        (small, url, shown): (Small, String, &str),
        own: &[Selector],
        names: Option<&str>,
        opened: &Opened,
    ) -> std::result::Result<Page, String> {
        let redact = |text: String| opened.link.redact(text);
        let text = fetch(&small, &url)?;
        let page = parse(&text).map_err(redact)?;
        if let Some(skipped) = &page.skipped {
            eprintln!("warning: {shown}: {}", redact(skipped.to_string()));
        }
        let watch = Watch::choose(&page, names);
        let mut selectors = watch.selectors();
        let followed = selectors.len();
        selectors.extend_from_slice(own);
        let all = selectors.iter().map(|selector| selector.asked.clone());
        let names = Names {
            all: all.collect(),
            own: followed,
        };
        let wanted = Wanted::new(selectors);
        for found in wanted.find(&page).into_iter().skip(followed) {
            warn_missing(&found, shown);
        }
        let scraper = Scraper::new(small, url, wanted, opened.link.epoch);
        Ok(Page {
            scrapes: Scrapes::new(scraper, names, watch.course()),
            watch,
        })
    }
}

/// Warns of a metric that the user named and that is not on the page.
fn warn_missing(found: &Found, shown: &str) {
    let Found::Missing { name, nearest } = found else {
        return;
    };
    let near = match nearest.is_empty() {
        true => String::new(),
        false => format!("; the nearest: {}", nearest.join(", ")),
    };
    eprintln!("warning: --prometheus-metrics {name}: not on {shown} (so far){near}");
}

/// Returns the key of a quantity in `catalog::told_figures`, and the factor from the page's unit to the figure's.
fn key(quantity: Quantity) -> (&'static str, f64) {
    match quantity {
        Quantity::KvUsedTokens => (KV_TOKENS, 1.0),
        Quantity::KvUse => ("kv_cache_use_peak", 1.0),
        Quantity::PrefixHitRate => (HIT_RATE, 1.0),
        Quantity::HitTokens => ("counter_hit_tokens", 1.0),
        Quantity::LookupTokens => ("counter_prompt_tokens", 1.0),
        Quantity::DeviceHitRate => ("device_hit_rate", 1.0),
        Quantity::HostHitRate => ("host_hit_rate", 1.0),
        Quantity::RemoteHitRate => ("remote_hit_rate", 1.0),
        Quantity::RunningMean => ("running_requests_mean", 1.0),
        Quantity::RunningPeak => ("running_requests_peak", 1.0),
        Quantity::WaitingMean => ("waiting_requests_mean", 1.0),
        Quantity::WaitingPeak => ("waiting_requests_peak", 1.0),
        Quantity::Evictions => ("total_evict_count", 1.0),
        Quantity::EvictMs => ("evict_ms", 1.0),
        Quantity::Preemptions => ("total_preemption_count", 1.0),
        Quantity::SpecAcceptRate => ("avg_spec_accept_rate", 1.0),
        Quantity::ResidentBytesPeak => (PEAK_MEMORY, 1.0 / MIB),
        Quantity::ResidentBytesMean => (MEAN_MEMORY, 1.0 / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_of_a_page_is_a_figure_of_the_catalogue() {
        let known: Vec<&str> = told_figures().map(|figure| figure.key).collect();
        for quantity in Quantity::ALL {
            assert!(known.contains(&key(quantity).0), "{quantity:?}");
        }
    }
}
