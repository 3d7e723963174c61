//! The faults: which requests are answered badly, and how.
//!
//! Parses the `faults` option and draws the faults of a request from its number. What each one does to
//! an answer is done where the answer is made (`answer`, `script`, `stream`).

use super::tokens::mix;

pub const HELP: &str = "answer badly: KIND[:N][@WHEN], several joined by ';'. WHEN: request numbers such as 3+17, \
    or a rate such as 5%; without it every request. Kinds: refuse (close without a byte), \
    http:STATUS (500), busy:SECONDS (1; a 429 with Retry-After), reset:K (1; close after K tokens, the body cut), \
    stall:K (1; fall silent after K tokens), error:K (1; error event and [DONE] after K tokens), \
    bad_json:K (1; the event after K tokens is broken), stop:K (8; end by itself after K tokens), no_done, no_usage, \
    zero_usage (all zeros, on every event), no_role (no role-only first event), chunk:N (4; N tokens an event after the \
    first), split:N (7; events written in pieces of N bytes), keepalive:N (3; N comments before the first token)";

/// A way to answer badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Refuse,
    Http,
    Busy,
    Reset,
    Stall,
    Error,
    BadJson,
    Stop,
    NoDone,
    NoUsage,
    ZeroUsage,
    NoRole,
    Chunk,
    Split,
    Keepalive,
}

/// Name, kind, and default and least number, where it takes one.
type Row = (&'static str, Kind, Option<(u64, u64)>);

const KINDS: [Row; 15] = [
    ("refuse", Kind::Refuse, None),
    ("http", Kind::Http, Some((500, 400))),
    ("busy", Kind::Busy, Some((1, 0))),
    ("reset", Kind::Reset, Some((1, 0))),
    ("stall", Kind::Stall, Some((1, 0))),
    ("error", Kind::Error, Some((1, 0))),
    ("bad_json", Kind::BadJson, Some((1, 0))),
    ("stop", Kind::Stop, Some((8, 1))),
    ("no_done", Kind::NoDone, None),
    ("no_usage", Kind::NoUsage, None),
    ("zero_usage", Kind::ZeroUsage, None),
    ("no_role", Kind::NoRole, None),
    ("chunk", Kind::Chunk, Some((4, 1))),
    ("split", Kind::Split, Some((7, 1))),
    ("keepalive", Kind::Keepalive, Some((3, 1))),
];

#[derive(Debug, Clone, PartialEq)]
enum When {
    Always,
    Numbers(Vec<u64>),
    /// The share of requests, 0..=1.
    Rate(f64),
}

/// A kind with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    name: &'static str,
    kind: Kind,
    /// 0 where the kind takes no number.
    number: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    fault: Fault,
    when: When,
}

/// The rules of the `faults` option; none by default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults(Vec<Rule>);

impl Faults {
    /// Parses such as `http:503@3+17;reset@5%;no_usage`; the empty text is no faults.
    pub fn parse(text: &str) -> Result<Faults, String> {
        let rules = text
            .split(';')
            .map(str::trim)
            .filter(|rule| !rule.is_empty());
        Ok(Faults(rules.map(parse_rule).collect::<Result<_, _>>()?))
    }

    /// The faults of request `number` (from 1, in the order in which requests were read).
    pub fn pick(&self, number: u64, seed: u64) -> Picked {
        let hits = |(index, rule): &(usize, &Rule)| match &rule.when {
            When::Always => true,
            When::Numbers(numbers) => numbers.contains(&number),
            When::Rate(rate) => draw(seed, number, *index) < *rate,
        };
        let rules = self.0.iter().enumerate().filter(hits);
        Picked(rules.map(|(_, rule)| rule.fault).collect())
    }
}

/// A number of 0..1 for one rule and one request.
fn draw(seed: u64, number: u64, rule: usize) -> f64 {
    fastrand::Rng::with_seed(mix(mix(seed) ^ number).wrapping_add(rule as u64)).f64()
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let (what, when) = match text.split_once('@') {
        Some((what, when)) => (what, parse_when(when)?),
        None => (text, When::Always),
    };
    let (name, number) = match what.split_once(':') {
        Some((name, number)) => (name, Some(number)),
        None => (what, None),
    };
    let Some((name, kind, range)) = KINDS.iter().find(|row| row.0 == name) else {
        let names: Vec<&str> = KINDS.iter().map(|row| row.0).collect();
        return Err(format!(
            "no such fault: {name}; want one of {}",
            names.join(", ")
        ));
    };
    let number = match (number, range) {
        (None, None) => 0,
        (None, Some((default, _))) => *default,
        (Some(_), None) => return Err(format!("{name} takes no number")),
        (Some(text), Some((_, least))) => match text.parse() {
            Ok(number) if number >= *least && (*kind != Kind::Http || number <= 599) => number,
            _ => return Err(format!("{name}:{text}: not a number that {name} takes")),
        },
    };
    let kind = *kind;
    Ok(Rule {
        fault: Fault { name, kind, number },
        when,
    })
}

fn parse_when(text: &str) -> Result<When, String> {
    let wrong = || format!("@{text}: want request numbers such as @3+17, or a rate such as @5%");
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(When::Rate(percent / 100.0)),
            _ => Err(wrong()),
        };
    }
    let numbers = text
        .split('+')
        .map(|number| number.parse().map_err(|_| wrong()));
    Ok(When::Numbers(numbers.collect::<Result<_, _>>()?))
}

/// The faults of one request.
pub struct Picked(Vec<Fault>);

impl Picked {
    pub fn has(&self, kind: Kind) -> bool {
        self.number(kind).is_some()
    }

    /// The number given with this fault; `None` if the request does not have it.
    pub fn number(&self, kind: Kind) -> Option<u64> {
        self.0
            .iter()
            .find(|fault| fault.kind == kind)
            .map(|fault| fault.number)
    }

    /// The names, joined by `+`; `None` if there are none.
    pub fn name(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().map(|fault| fault.name).collect();
        (!names.is_empty()).then(|| names.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_requests_it_names() {
        let faults = Faults::parse("http:503@3+17; reset@17;no_usage").expect("it is well formed");
        assert_eq!(faults.pick(3, 0).number(Kind::Http), Some(503));
        assert_eq!(faults.pick(3, 0).number(Kind::Reset), None);
        assert_eq!(faults.pick(17, 0).number(Kind::Reset), Some(1));
        assert_eq!(
            faults.pick(17, 0).name().as_deref(),
            Some("http+reset+no_usage")
        );
        assert_eq!(faults.pick(4, 0).name().as_deref(), Some("no_usage"));
        assert_eq!(Faults::default().pick(4, 0).name(), None);
    }

    #[test]
    fn a_rate_hits_about_its_share_and_the_same_requests_for_a_seed() {
        let faults = Faults::parse("reset@5%;stall@5%").expect("it is well formed");
        let hit = |kind, seed| -> Vec<u64> {
            (1..=10_000)
                .filter(|&number| faults.pick(number, seed).has(kind))
                .collect()
        };
        // 500 expected, standard deviation √(10,000 · 0.05 · 0.95) = 22.
        assert!((400..=600).contains(&hit(Kind::Reset, 1).len()));
        assert_eq!(hit(Kind::Reset, 1), hit(Kind::Reset, 1));
        assert_ne!(hit(Kind::Reset, 1), hit(Kind::Reset, 2));
        assert_ne!(hit(Kind::Reset, 1), hit(Kind::Stall, 1));
    }

    #[test]
    fn help_names_every_kind_with_its_default() {
        for (name, _, range) in KINDS {
            assert!(HELP.contains(name), "{name}");
            if let Some((default, _)) = range {
                let rest = HELP
                    .split_once(&format!("{name}:"))
                    .map_or("", |(_, rest)| rest);
                let shown = rest.split_once('(').map_or("", |(_, rest)| rest);
                assert!(shown.starts_with(&default.to_string()), "{name}: {shown}");
            }
        }
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for (text, why) in [
            ("crash", "no such fault: crash; want one of refuse, http, "),
            ("refuse:3", "refuse takes no number"),
            ("http:200", "http:200: not a number that http takes"),
            ("http:600", "http:600: not a number that http takes"),
            ("chunk:0", "chunk:0: not a number that chunk takes"),
            ("reset@", "@: want request numbers such as @3+17"),
            ("reset@101%", "@101%: want request numbers"),
        ] {
            let error = Faults::parse(text).expect_err(text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
