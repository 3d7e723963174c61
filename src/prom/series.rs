//! The asked-for names on a page: which exist, of which kind, and their readings in each scrape.
//!
//! Series of one name are one value: the sum for a counter, the mean for a gauge.

use std::collections::HashMap;

use super::catalog::{HIT_RATE, PAIRS, Pair};
use super::engine::spellings;
use super::nearest::nearest;
use super::parse::{Exposition, MetricSample, Type, split_name};
use super::selector::Selector;
use crate::units::steers;

/// What a name's values mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A counter: it only rises, and differences count.
    Counter,
    Gauge,
    /// Two counters' differences, one over the other; names as exposed, `a + b` for a sum.
    Ratio {
        engine: &'static str,
        hits: String,
        of: String,
    },
}

/// An asked-for name that is exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The name as asked for.
    pub name: String,
    pub kind: Kind,
    /// How many of the page's series it covers.
    pub series: usize,
}

/// The result of looking up one asked-for name on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Metric(Metric),
    /// `nearest`: five exposed names at the most; of a name whose labels did not fit, its series.
    Missing {
        name: String,
        nearest: Vec<String>,
    },
}

/// One asked-for name in one scrape.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// No series of the name is on the page.
    Absent,
    /// The sum of the series; `None` when all of them are NaN.
    Counter(Option<f64>),
    /// The mean of the series; `None` when all of them are NaN.
    Gauge(Option<f64>),
    /// The catalog's pairs that are on the page, the best first.
    Ratio(Vec<PairReading>),
}

/// The counters of one pair, each `Absent` or `Counter`.
#[derive(Debug, Clone, PartialEq)]
pub struct PairReading {
    pub pair: &'static Pair,
    pub hits: Vec<Reading>,
    pub of: Vec<Reading>,
}

impl PairReading {
    /// Returns whether all counters of the pair are on the page.
    pub fn is_whole(&self) -> bool {
        !self.hits.contains(&Reading::Absent) && !self.of.contains(&Reading::Absent)
    }
}

/// The asked-for names, ready to be looked up in one pass over a page.
#[derive(Debug)]
pub struct Wanted {
    asked: Vec<Asked>,
    /// The selectors; `by_name` holds indices into them.
    selectors: Vec<Selector>,
    by_name: HashMap<String, Vec<usize>>,
}

#[derive(Debug)]
struct Asked {
    selector: Selector,
    term: Term,
    /// The pairs, for the alias only.
    pairs: Vec<PairTerms>,
}

/// Places in `Wanted::selectors`: the name's spellings, the best first.
#[derive(Debug)]
struct Term(Vec<usize>);

#[derive(Debug)]
struct PairTerms {
    pair: &'static Pair,
    hits: Vec<Term>,
    of: Vec<Term>,
}

/// The series of one selector on one page.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    series: usize,
    /// How many series are not NaN, and their sum.
    numbers: usize,
    sum: f64,
}

impl Tally {
    fn add(&mut self, value: f64) {
        self.series += 1;
        if !value.is_nan() {
            self.numbers += 1;
            self.sum += value;
        }
    }

    fn read(self, kind: &Kind) -> Reading {
        let sum = Some(self.sum).filter(|sum| self.numbers > 0 && !sum.is_nan());
        match kind {
            _ if self.series == 0 => Reading::Absent,
            Kind::Counter => Reading::Counter(sum),
            _ => Reading::Gauge(sum.map(|sum| sum / self.numbers as f64)),
        }
    }
}

impl Wanted {
    pub fn new(selectors: Vec<Selector>) -> Wanted {
        let mut wanted = Wanted {
            asked: Vec::new(),
            selectors: Vec::new(),
            by_name: HashMap::new(),
        };
        for selector in selectors {
            let asked = wanted.asked(selector);
            wanted.asked.push(asked);
        }
        wanted
    }

    fn asked(&mut self, selector: Selector) -> Asked {
        if selector.name != HIT_RATE {
            return Asked {
                term: self.term(&selector),
                selector,
                pairs: Vec::new(),
            };
        }
        let mut terms = |names: &[&str]| -> Vec<Term> {
            let of_pair = names.iter().map(|name| {
                let mut own = Selector::parse(name).expect("a name of the table");
                own.labels.extend(selector.labels.iter().cloned());
                own
            });
            of_pair.map(|selector| self.term(&selector)).collect()
        };
        let pairs = PAIRS.iter().map(|pair| PairTerms {
            pair,
            hits: terms(pair.hits),
            of: terms(pair.of),
        });
        Asked {
            pairs: pairs.collect(),
            term: Term(vec![self.place(selector.clone())]),
            selector,
        }
    }

    fn term(&mut self, selector: &Selector) -> Term {
        let names = spellings(&selector.name).into_iter();
        Term(
            names
                .map(|name| self.place(selector.renamed(&name)))
                .collect(),
        )
    }

    fn place(&mut self, selector: Selector) -> usize {
        let place = self.selectors.len();
        let places = self.by_name.entry(selector.name.clone()).or_default();
        places.push(place);
        self.selectors.push(selector);
        place
    }

    /// Looks each name up as before a run: with its kind, or with what it may have meant.
    pub fn find(&self, page: &Exposition) -> Vec<Found> {
        let tallies = self.tally(page);
        let found = self.asked.iter().map(|asked| {
            self.metric(asked, page, &tallies)
                .map_or_else(|| missing(&asked.selector, page), Found::Metric)
        });
        found.collect()
    }

    /// Returns the reading of each name, also of names that appear only now. Costs one hash a sample.
    pub fn read(&self, page: &Exposition) -> Vec<Reading> {
        let tallies = self.tally(page);
        let readings = self.asked.iter().map(|asked| {
            let place = asked.term.exposed(&tallies);
            match place {
                Some(place) => tallies[place].read(&kind(page, &self.selectors[place].name)),
                None if asked.pairs.is_empty() => Reading::Absent,
                None => ratio(&asked.pairs, &tallies),
            }
        });
        readings.collect()
    }

    fn tally(&self, page: &Exposition) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.selectors.len()];
        for sample in &page.samples {
            // The time at which a series was made is no value of it.
            if sample.name.ends_with("_created") {
                continue;
            }
            for &place in self.by_name.get(sample.name).into_iter().flatten() {
                if self.selectors[place].takes(sample) {
                    tallies[place].add(sample.value);
                }
            }
        }
        tallies
    }

    fn metric(&self, asked: &Asked, page: &Exposition, tallies: &[Tally]) -> Option<Metric> {
        if let Some(place) = asked.term.exposed(tallies) {
            return Some(Metric {
                name: asked.selector.asked.clone(),
                kind: kind(page, &self.selectors[place].name),
                series: tallies[place].series,
            });
        }
        asked.pairs.iter().find_map(|terms| {
            let places = |terms: &[Term]| -> Option<Vec<usize>> {
                terms.iter().map(|term| term.exposed(tallies)).collect()
            };
            let (hits, of) = (places(&terms.hits)?, places(&terms.of)?);
            let names = |places: &[usize], of_pair: &[&str]| {
                let labels = of_pair.iter().map(|name| split_name(name).1);
                let names = places.iter().zip(labels);
                let names =
                    names.map(|(&place, labels)| format!("{}{labels}", self.selectors[place].name));
                names.collect::<Vec<_>>().join(" + ")
            };
            let pair = terms.pair;
            Some(Metric {
                name: asked.selector.asked.clone(),
                kind: Kind::Ratio {
                    engine: pair.engine,
                    hits: names(&hits, pair.hits),
                    of: names(&of, pair.of),
                },
                series: hits.iter().chain(&of).map(|&at| tallies[at].series).sum(),
            })
        })
    }
}

impl Term {
    /// Returns the place of its series.
    fn exposed(&self, tallies: &[Tally]) -> Option<usize> {
        let mut places = self.0.iter().copied();
        places.find(|&place| tallies[place].series > 0)
    }

    fn read(&self, tallies: &[Tally]) -> Reading {
        self.exposed(tallies)
            .map_or(Reading::Absent, |place| tallies[place].read(&Kind::Counter))
    }
}

fn ratio(pairs: &[PairTerms], tallies: &[Tally]) -> Reading {
    let read = |terms: &[Term]| terms.iter().map(|term| term.read(tallies)).collect();
    let shown: Vec<PairReading> = pairs
        .iter()
        .filter(|pair| {
            let mut terms = pair.hits.iter().chain(&pair.of);
            terms.any(|term| term.exposed(tallies).is_some())
        })
        .map(|terms| PairReading {
            pair: terms.pair,
            hits: read(&terms.hits),
            of: read(&terms.of),
        })
        .collect();
    match shown.is_empty() {
        true => Reading::Absent,
        false => Reading::Ratio(shown),
    }
}

/// Tells the kind by `# TYPE`; an untyped name is a counter if it ends in `_total`, `_count` or `_sum`.
pub fn kind(page: &Exposition, name: &str) -> Kind {
    let is_counter = match page.type_of(name) {
        (Type::Counter, _) => true,
        (Type::Gauge, _) => false,
        // The bare name of a summary is a quantile.
        (Type::Histogram | Type::Summary, is_family) => !is_family,
        (Type::Untyped, _) => ["_total", "_count", "_sum"]
            .iter()
            .any(|suffix| name.ends_with(suffix)),
    };
    match is_counter {
        true => Kind::Counter,
        false => Kind::Gauge,
    }
}

fn missing(selector: &Selector, page: &Exposition) -> Found {
    let shown = |sample: &MetricSample| !sample.name.ends_with("_created");
    let spellings = spellings(&selector.name);
    let is_same = |sample: &&MetricSample| spellings.iter().any(|name| name == sample.name);
    let same: Vec<String> = page
        .samples
        .iter()
        .filter(|sample| shown(sample) && is_same(sample))
        .take(5)
        .map(|sample| {
            // A server could steer the terminal with them.
            let labels = sample.labels.text().replace(steers, " ");
            format!("{}{{{labels}}}", sample.name)
        })
        .collect();
    let names = page.samples.iter().filter(|sample| shown(sample));
    Found::Missing {
        name: selector.asked.clone(),
        nearest: match same.is_empty() {
            true => nearest(&selector.name, unique(names.map(|sample| sample.name))),
            false => same,
        },
    }
}

/// Removes repetitions, so that each name is compared once.
fn unique<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut seen = std::collections::HashSet::new();
    names.filter(move |name| seen.insert(*name))
}

/// One name of a page, its series together.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    pub name: &'a str,
    pub kind: Type,
    pub value: Reading,
    pub series: usize,
}

/// Returns every name of a page in its order, except `_created` and `_bucket`, whose sums mean nothing.
pub fn lines<'a>(page: &Exposition<'a>) -> Vec<Line<'a>> {
    let mut order: Vec<(&str, Tally)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for sample in &page.samples {
        if sample.name.ends_with("_created") || sample.name.ends_with("_bucket") {
            continue;
        }
        let place = *places.entry(sample.name).or_insert(order.len());
        if place == order.len() {
            order.push((sample.name, Tally::default()));
        }
        order[place].1.add(sample.value);
    }
    let line = |(name, tally): (&'a str, Tally)| Line {
        name,
        kind: page.type_of(name).0,
        value: tally.read(&kind(page, name)),
        series: tally.series,
    };
    order.into_iter().map(line).collect()
}
