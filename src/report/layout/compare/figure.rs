//! The figures of a comparison, read from its findings.

use serde_json::Value;

use crate::report::document::Cell;
use crate::report::layout::findings::{count, list, share};
use crate::sample::find;
use crate::stats::compare::{Name, Unit, Verdict};
use crate::units::counted;

/// The names of the sides, in the order of the findings.
pub const SIDES: [&str; 2] = ["Base", "New"];

/// A figure of the findings.
pub struct Figure<'a> {
    pub of: &'a Value,
    pub name: Name,
    pub verdict: Verdict,
}

impl Figure<'_> {
    pub fn all(found: &Value) -> Vec<Figure<'_>> {
        let figures = list(&found["figures"]).filter_map(|of| {
            let name = find(&Name::NAMES, of["name"].as_str()?)?;
            let verdict = verdict(of);
            Some(Figure { of, name, verdict })
        });
        figures.collect()
    }

    pub fn decides(&self) -> bool {
        self.of["decides"] == true
    }

    /// Whether it is a share, whose change is a difference.
    pub fn is_share(&self) -> bool {
        self.name.is_share()
    }

    /// Returns its name in a sentence, and its name with its unit.
    pub fn names(&self) -> (&'static str, &'static str) {
        match self.name {
            Name::TtftMean => ("TTFT", "TTFT mean, ms"),
            Name::TtftP95 => ("TTFT p95", "TTFT p95, ms"),
            Name::ItlMean => ("ITL", "ITL mean, ms"),
            Name::LatencyMean => ("latency", "Latency mean, ms"),
            Name::LatencyP95 => ("latency p95", "Latency p95, ms"),
            Name::OutputThroughput => ("output throughput", "Output, tokens/s"),
            Name::ErrorRate => ("error rate", "Error rate"),
            Name::HitRate => ("hit rate", "Hit rate"),
        }
    }

    /// Returns its name in a sentence, with its point.
    pub fn name(&self) -> String {
        let (name, _) = self.names();
        match self.of["point"].as_str() {
            Some(point) => format!("{name} at {point}"),
            None => name.to_string(),
        }
    }

    /// Returns the word for the new side.
    pub fn word(&self) -> &'static str {
        match (self.name, self.verdict) {
            (Name::ErrorRate, Verdict::Slower) => "more",
            (Name::ErrorRate, Verdict::Faster) => "fewer",
            (Name::HitRate, Verdict::Slower) => "lower",
            (Name::HitRate, Verdict::Faster) => "higher",
            (_, verdict) => verdict.name(),
        }
    }

    /// Returns the value of a side.
    pub fn side(&self, key: &str) -> Cell {
        let value = self.of[key].as_f64();
        match self.is_share() {
            true => Cell::percent(value),
            false => Cell::fixed(value, 1),
        }
    }

    /// Returns the change in percent, or of a share in points.
    pub fn change(&self) -> Option<String> {
        match self.is_share() {
            true => Some(signed(self.of["difference"].as_f64()?)),
            false => Some(signed(self.of["ratio"].as_f64()? - 1.0)),
        }
    }

    /// Returns the unit of the change, after a blank.
    pub fn unit(&self) -> &'static str {
        match self.is_share() {
            true => " points",
            false => " %",
        }
    }

    /// Returns the interval of the change, without the unit.
    pub fn interval(&self) -> Option<String> {
        let equal = if self.is_share() { 0.0 } else { 1.0 };
        let end = |key: &str| Some(signed(self.of[key].as_f64()? - equal));
        Some(format!("{} to {}", end("low")?, end("high")?))
    }

    /// Returns its name with the change and the interval, such as `TTFT +10.3 % (+8.1 to +12.6 %)`.
    pub fn sentence(&self) -> String {
        let (name, unit) = (self.name(), self.unit());
        let interval = self.interval();
        let interval = interval.map_or(String::new(), |of| format!(" ({of}{unit})"));
        match self.change() {
            Some(change) => format!("{name} {change}{unit}{interval}"),
            None => format!("{name} not measured"),
        }
    }

    /// Returns its name with the values of both sides and the verdict.
    pub fn values(&self) -> String {
        let [base, new] = ["base", "new"].map(|key| self.side(key));
        let unit = match self.name {
            Name::ErrorRate | Name::HitRate => "",
            Name::OutputThroughput => " tokens/s",
            _ => " ms",
        };
        format!("{} {base} to {new}{unit} ({})", self.name(), self.word())
    }

    pub fn pairs(&self) -> u64 {
        count(self.of, "pairs").unwrap_or(0)
    }

    pub fn needed(&self) -> Option<u64> {
        count(self.of, "needed")
    }
}

/// Returns the verdict of the whole or of a figure.
pub fn verdict(of: &Value) -> Verdict {
    find(&Verdict::NAMES, text(of, "verdict")).unwrap_or(Verdict::Unclear)
}

/// Whether runs were compared, not pairs of requests.
pub fn is_of_runs(found: &Value) -> bool {
    found["unit"] == Unit::Runs.name()
}

pub fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Formats a change of 0.103 as `+10.3`.
pub fn signed(change: f64) -> String {
    match format!("{:+.1}", change * 100.0).as_str() {
        "-0.0" => "+0.0".to_string(),
        text => text.to_string(),
    }
}

/// Formats the margin, such as `3 %`.
pub fn margin(found: &Value) -> String {
    share(found["margin"].as_f64().unwrap_or(0.0))
}

/// Returns the figures that made the verdict.
pub fn telling<'a, 'b>(all: &'a [Figure<'b>], verdict: Verdict) -> Vec<&'a Figure<'b>> {
    let deciding = all.iter().filter(|figure| figure.decides());
    deciding
        .filter(|figure| figure.verdict == verdict)
        .collect()
}

/// Returns the number of pairs, or of runs of a side.
pub fn sample_size(found: &Value, pairs: u64) -> String {
    match is_of_runs(found) {
        true => format!("{} a side", counted(pairs, "run")),
        false => counted(pairs, "pair"),
    }
}

/// Returns the confidence of the intervals, such as `95 % confidence`; `None` without an interval.
pub fn confidence(all: &[Figure]) -> Option<String> {
    let shares = || {
        let shares = all.iter().map(|figure| figure.of["confidence"].as_f64());
        shares.flatten()
    };
    let (low, high) = (shares().reduce(f64::min)?, shares().reduce(f64::max)?);
    let [from, to] = [low, high].map(|share| (share * 1000.0).round() / 10.0);
    Some(match low < high {
        true => format!("{from} to {to} % confidence"),
        false => format!("{from} % confidence"),
    })
}
