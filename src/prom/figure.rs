//! One figure over the scrapes of a workload, from one source, with a text that names the source.

use std::collections::{HashMap, HashSet};

use super::catalog::{HIT_RATE, Pair};
use super::change::{Observation, Unknown, increase, quotient, ratio, reading};
use super::engine::{How, Source, spellings};
use super::parse::Exposition;
use super::series::{PairReading, Reading};
use super::size::Scale;

/// One figure of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct PageFigure {
    /// The value, in the unit of its quantity.
    pub value: Option<f64>,
    /// The exposed names and how the value was made of them; without a value, the reason for its absence.
    pub source: String,
}

impl PageFigure {
    pub fn absent(why: String) -> PageFigure {
        PageFigure {
            value: None,
            source: why,
        }
    }

    fn of(value: Result<f64, Unknown>, of: &str, note: &str) -> PageFigure {
        match value {
            Err(unknown) => PageFigure::absent(format!("{of}: {}", why(unknown))),
            Ok(value) => PageFigure {
                value: Some(value),
                source: match note {
                    "" => of.to_string(),
                    note => format!("{of} ({note})"),
                },
            },
        }
    }
}

/// The names that are watched on a page.
#[derive(Debug, Default)]
pub struct Names {
    /// The names, in the order of the readings.
    pub asked: Vec<&'static str>,
    /// The pairs of counters that the hit rate may be made of.
    pub pairs: Vec<&'static Pair>,
    /// The spellings on the first page of those names that were on it, those of the pairs included.
    pub exposed: HashMap<&'static str, String>,
}

impl Names {
    /// Looks up which names are on a page, and in which spelling.
    pub fn note_exposed(&mut self, page: &Exposition) {
        let on_page: HashSet<&str> = page.samples.iter().map(|sample| sample.name).collect();
        let of_pairs = self
            .pairs
            .iter()
            .flat_map(|pair| pair.hits.iter().chain(pair.of));
        for name in self.asked.iter().chain(of_pairs) {
            let exposed = spellings(name)
                .into_iter()
                .find(|name| on_page.contains(name.as_str()));
            self.exposed.extend(exposed.map(|exposed| (*name, exposed)));
        }
    }

    fn place(&self, name: &str) -> usize {
        let mut asked = self.asked.iter();
        // No reading has the place of a name that is not watched.
        asked.position(|asked| *asked == name).unwrap_or(usize::MAX)
    }

    fn exposed<'a>(&'a self, name: &'a str) -> &'a str {
        self.exposed.get(name).map_or(name, String::as_str)
    }

    /// Returns the text of a sum, such as "Δ a + Δ b".
    fn deltas(&self, names: &[&str]) -> String {
        let deltas = names.iter().map(|name| format!("Δ {}", self.exposed(name)));
        deltas.collect::<Vec<_>>().join(" + ")
    }
}

/// The scrapes of a workload: the one before it, those during it, the one after it.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    pub names: &'a Names,
    pub seen: &'a [Observation],
    pub t_start_ns: u64,
    pub t_end_ns: u64,
}

impl Span<'_> {
    /// Works out the figure; `None`: no scrape has its metrics. `scale` is that of a gauge, `None` if the page tells
    /// none.
    pub fn figure(&self, source: &Source, scale: Option<&Scale>) -> Option<PageFigure> {
        if !source.names().all(|name| self.shows(name)) {
            return None;
        }
        let Source { how, note, .. } = source;
        let increase = |name| increase(self.seen, self.names.place(name));
        let deltas = |names: &[&str]| self.names.deltas(names);
        Some(match *how {
            How::Peak(name) | How::PeakOf(name, _) => self.peak(name, scale, note),
            How::Mean(name) => self.mean(name, note),
            How::MeanInUse(name) => self.mean_in_use(name, note),
            How::Increase(name) => PageFigure::of(increase(name), &deltas(&[name]), note),
            How::IncreaseMs(name) => {
                let ms = increase(name).map(|seconds| seconds * 1e3);
                PageFigure::of(ms, &deltas(&[name]), note)
            }
            How::Share { part, whole } => {
                let share = quotient(increase(part), increase(whole));
                let of = format!("{} / {}", deltas(&[part]), deltas(&[whole]));
                PageFigure::of(share, &of, note)
            }
            How::HitRate => {
                let best = self.best_pair()?;
                let rate = ratio(self.seen, self.names.place(HIT_RATE), best);
                let Pair { hits, of, .. } = best.pair;
                PageFigure::of(rate, &format!("{} / {}", deltas(hits), deltas(of)), note)
            }
        })
    }

    fn shows(&self, name: &str) -> bool {
        let place = self.names.place(name);
        let mut seen = self.seen.iter();
        seen.any(|seen| *reading(seen, place) != Reading::Absent)
    }

    /// Returns the reading of the last scrape.
    fn best_pair(&self) -> Option<&PairReading> {
        match reading(self.seen.last()?, self.names.place(HIT_RATE)) {
            Reading::Ratio(pairs) => {
                let mut pairs = pairs.iter().filter(|pair| pair.is_whole());
                pairs.find(|pair| self.names.pairs.contains(&pair.pair))
            }
            _ => None,
        }
    }

    fn peak(&self, name: &str, scale: Option<&Scale>, note: &str) -> PageFigure {
        let levels = self.levels(name);
        let name = self.names.exposed(name);
        // Before and after the workload nothing was in use: that says nothing of the workload.
        let is_idle = !levels.is_empty() && levels.iter().all(|level| *level == 0.0);
        if is_idle && !self.has_reading_within() {
            let why = format!("no reading of {name} while requests were in flight");
            return PageFigure::absent(why);
        }
        let Some(scale) = scale else {
            return PageFigure::absent(format!(
                "{name}: the page does not tell of how many tokens"
            ));
        };
        let peak = levels
            .iter()
            .copied()
            .reduce(f64::max)
            .ok_or(Unknown::NoNumber);
        let of = format!("peak of {}{}", readings(levels.len(), name), scale.text);
        PageFigure::of(peak.map(|peak| peak * scale.factor), &of, note)
    }

    fn mean(&self, name: &str, note: &str) -> PageFigure {
        let levels = self.levels(name);
        let of = format!(
            "mean of {}",
            readings(levels.len(), self.names.exposed(name))
        );
        PageFigure::of(mean(&levels), &of, note)
    }

    /// Returns the readings without the scrape before the workload, which shows what earlier work left.
    fn mean_in_use(&self, name: &str, note: &str) -> PageFigure {
        let during = Span {
            seen: self.seen.get(1..).unwrap_or_default(),
            ..*self
        };
        let levels = during.levels(name);
        let in_use: Vec<f64> = levels.into_iter().filter(|level| *level > 0.0).collect();
        let name = self.names.exposed(name);
        if in_use.is_empty() {
            return PageFigure::absent(format!("{name}: 0 in every reading"));
        }
        let of = format!("mean of {} above 0", readings(in_use.len(), name));
        PageFigure::of(mean(&in_use), &of, note)
    }

    /// Whether a scrape lies between the start and the end of the workload.
    fn has_reading_within(&self) -> bool {
        let mut seen = self.seen.iter();
        seen.any(|seen| seen.t_begin_ns >= self.t_start_ns && seen.t_end_ns <= self.t_end_ns)
    }

    /// Returns the readings that are numbers; no gauge that is read here can be below 0.
    fn levels(&self, name: &str) -> Vec<f64> {
        let place = self.names.place(name);
        let levels = self
            .seen
            .iter()
            .filter_map(|seen| match reading(seen, place) {
                Reading::Gauge(value) | Reading::Counter(value) => *value,
                _ => None,
            });
        let levels = levels.filter(|level| level.is_finite() && *level >= 0.0);
        levels.collect()
    }
}

fn readings(count: usize, name: &str) -> String {
    match count {
        1 => format!("1 reading of {name}"),
        count => format!("{count} readings of {name}"),
    }
}

fn mean(levels: &[f64]) -> Result<f64, Unknown> {
    match levels.len() {
        0 => Err(Unknown::NoNumber),
        count => Ok(levels.iter().sum::<f64>() / count as f64),
    }
}

pub fn why(unknown: Unknown) -> &'static str {
    match unknown {
        Unknown::NoBefore => "no reading of the page before the workload",
        Unknown::NoAfter => "no reading of the page after the workload",
        Unknown::Absent => "not on the page at the end",
        Unknown::Reset => "it fell: the server restarted",
        Unknown::NoNumber => "not a number",
        Unknown::NoCounter => "a gauge, not a counter",
        Unknown::Zero => "the latter is 0",
    }
}
