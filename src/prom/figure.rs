//! One figure over the scrapes of a workload, from one source, with a text that names the source.

use std::collections::{HashMap, HashSet};

use super::catalog::{HIT_RATE, Pair, Unit};
use super::change::{Unknown, quotient};
use super::course::{Course, PairTrack, Track, Tracks};
use super::engine::{How, Source, spellings};
use super::parse::{Exposition, split_name};
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
        for asked in self.asked.iter().chain(of_pairs) {
            let (name, labels) = split_name(asked);
            let exposed = spellings(name)
                .into_iter()
                .find(|name| on_page.contains(name.as_str()));
            let exposed = exposed.map(|name| name + labels);
            self.exposed
                .extend(exposed.map(|exposed| (*asked, exposed)));
        }
    }

    /// Returns a course of scrapes of these names.
    pub fn course(&self) -> Course {
        Course::new(self.asked.len(), self.place(HIT_RATE), &self.pairs)
    }

    pub fn place(&self, name: &str) -> usize {
        let mut asked = self.asked.iter();
        // No reading has the place of a name that is not watched.
        asked.position(|asked| *asked == name).unwrap_or(usize::MAX)
    }

    fn exposed<'a>(&'a self, name: &'a str) -> &'a str {
        self.exposed.get(name).map_or(name, String::as_str)
    }

    /// Returns the text of a sum as a part of a formula, such as "Δ a" or "(Δ a + Δ b)".
    fn term(&self, names: &[&str]) -> String {
        match names.len() {
            1 => self.deltas(names),
            _ => format!("({})", self.deltas(names)),
        }
    }

    /// Returns the text of a sum, such as "Δ a + Δ b".
    fn deltas(&self, names: &[&str]) -> String {
        let deltas = names.iter().map(|name| format!("Δ {}", self.exposed(name)));
        deltas.collect::<Vec<_>>().join(" + ")
    }
}

/// The scrapes of a workload under their names.
#[derive(Clone, Copy)]
pub struct Readings<'a> {
    pub names: &'a Names,
    pub tracks: &'a Tracks,
}

impl Readings<'_> {
    /// Works out the figure; `None`: no scrape has its metrics. `scale` is that of a gauge, `None` if the page tells
    /// none.
    pub fn figure(&self, source: &Source, scale: Option<&Scale>) -> Option<PageFigure> {
        let Source { how, note, .. } = source;
        let mut needed = source.needed().into_iter();
        if !needed.all(|name| self.track(name).is_some_and(|track| track.is_shown)) {
            return None;
        }
        let increase = |name: &str| self.increase(name);
        let deltas = |names: &[&str]| self.names.deltas(names);
        Some(match *how {
            How::Peak(name) | How::PeakOf(name, _) => self.peak(name, scale, note),
            How::Mean(name) => self.mean(name, note),
            How::MeanInUse(name) => self.mean_in_use(name, note),
            How::MeanInside(name) => self.mean_inside(name, scale, note),
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
            How::Rest { all, less, whole } => self.rest(all, less, whole, note),
            How::HitRate | How::HitTokens | How::LookupTokens => {
                return self.of_pair(how, self.tracks.best_pair()?, note);
            }
        })
    }

    fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.of(self.names.place(name))
    }

    fn increase(&self, name: &str) -> Result<f64, Unknown> {
        self.track(name)
            .map_or(Err(Unknown::Absent), |track| track.rise.get())
    }

    /// Returns what an increase leaves of another one's share: counters that are not on the page yet did not rise.
    fn rest(&self, all: &str, less: &[&str], whole: &str, note: &str) -> PageFigure {
        let less_or_0 = |name: &&str| match self.increase(name) {
            Err(Unknown::Absent) => Ok(0.0),
            increase => increase,
        };
        let less_by: Result<f64, Unknown> = less.iter().map(less_or_0).sum();
        let rest = self
            .increase(all)
            .and_then(|all| Ok((all - less_by?).max(0.0)));
        let term = |names: &[&str]| self.names.term(names);
        let of = format!(
            "({} less {}) / {}",
            term(&[all]),
            term(less),
            term(&[whole])
        );
        PageFigure::of(quotient(rest, self.increase(whole)), &of, note)
    }

    fn of_pair(&self, how: &How, best: &PairTrack, note: &str) -> Option<PageFigure> {
        let Pair { hits, of, .. } = *best.pair;
        let rate = [hits, of].map(|names| self.names.term(names)).join(" / ");
        let [hits, of] = [hits, of].map(|names| self.names.deltas(names));
        let tokens = |value, names: &str| match best.pair.unit {
            Unit::Tokens => PageFigure::of(value, names, note),
            Unit::Blocks => PageFigure::absent(format!("{names}: counts blocks")),
            Unit::Unsure => PageFigure::absent(format!("{names}: counts blocks in some versions")),
        };
        Some(match how {
            How::HitTokens => tokens(best.hits(), &hits),
            How::LookupTokens => tokens(best.lookups(), &of),
            _ => PageFigure::of(best.rate(), &rate, note),
        })
    }

    fn peak(&self, name: &str, scale: Option<&Scale>, note: &str) -> PageFigure {
        let all = self.track(name).map(|track| track.all).unwrap_or_default();
        let name = self.names.exposed(name);
        // Before and after the workload nothing was in use: that says nothing of the workload.
        if all.count > 0 && all.peak == 0.0 && !self.tracks.has_inside {
            return none_inside(name);
        }
        let Some(scale) = scale else {
            return PageFigure::absent(format!(
                "{name}: the page does not tell of how many tokens"
            ));
        };
        let of = format!("peak of {}{}", readings(all.count, name), scale.text);
        PageFigure::of(all.peak().map(|peak| peak * scale.factor), &of, note)
    }

    fn mean(&self, name: &str, note: &str) -> PageFigure {
        let all = self.track(name).map(|track| track.all).unwrap_or_default();
        let of = format!("mean of {}", readings(all.count, self.names.exposed(name)));
        PageFigure::of(all.mean(), &of, note)
    }

    fn mean_in_use(&self, name: &str, note: &str) -> PageFigure {
        let track = self.track(name);
        let in_use = track.map(|track| track.in_use).unwrap_or_default();
        let name = self.names.exposed(name);
        if in_use.count == 0 {
            return PageFigure::absent(format!("{name}: 0 in every reading"));
        }
        let of = format!("mean of {} above 0", readings(in_use.count, name));
        PageFigure::of(in_use.mean(), &of, note)
    }

    fn mean_inside(&self, name: &str, scale: Option<&Scale>, note: &str) -> PageFigure {
        let track = self.track(name);
        let inside = track.map(|track| track.inside).unwrap_or_default();
        let name = self.names.exposed(name);
        if inside.count == 0 {
            return none_inside(name);
        }
        let (factor, text) = scale.map_or((1.0, ""), |scale| (scale.factor, &scale.text));
        let of = format!("mean of {}{text}", readings(inside.count, name));
        PageFigure::of(inside.mean().map(|mean| mean * factor), &of, note)
    }
}

fn none_inside(name: &str) -> PageFigure {
    PageFigure::absent(format!(
        "no reading of {name} while requests were in flight"
    ))
}

fn readings(count: u64, name: &str) -> String {
    match count {
        1 => format!("1 reading of {name}"),
        count => format!("{count} readings of {name}"),
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
