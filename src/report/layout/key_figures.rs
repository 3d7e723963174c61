//! The key figures that a page begins with: the number of requests, then figures over all passes of the run.

use super::failures::Failed;
use super::kv_cache::ratio;
use crate::report::document::{Cell, Pair};
use crate::stats::catalog::{self, Datum};
use crate::stats::pass::Pass;

/// The most key figures of a report; the last of a layout's list are left out where there are more.
const MOST: usize = 8;

/// Returns the number of measured requests and of failures, unless there is none, then as many of the figures as a page
/// begins with; absent ones are left out.
pub fn with_requests(of: &Failed, figures: impl IntoIterator<Item = Option<Pair>>) -> Vec<Pair> {
    let (requests, failed) = (of.requests, of.failed);
    let counts = || Pair::new("Requests", format!("{requests} ({failed} failed)"));
    let counts = (requests > 0).then(counts);
    let all = std::iter::once(counts).chain(figures);
    all.flatten().take(MOST).collect()
}

/// Returns the unit that the catalogue gives to a key; empty for a key that it does not know.
pub fn unit(key: &str) -> &'static str {
    catalog::find(key).map_or("", |figure| figure.definition.unit)
}

/// Returns a figure over several places, such as the points of a sweep: its value, or the least and the greatest value
/// with the place of each. `None` if it is absent in all places.
pub fn range(
    name: impl Into<String>,
    unit: &'static str,
    values: impl IntoIterator<Item = (String, Option<f64>)>,
) -> Option<Pair> {
    let all: Vec<(String, Option<f64>)> = values.into_iter().collect();
    let known = all.iter();
    let known = known.filter_map(|(place, value)| Some((place, (*value)?)));
    let known: Vec<(&String, f64)> = known.collect();
    let order = |(_, one): &&(_, f64), (_, other): &&(_, f64)| one.total_cmp(other);
    let (first, least) = *known.iter().min_by(order)?;
    let (last, greatest) = *known.iter().max_by(order)?;
    let (low, high) = (shown(least, unit), shown(greatest, unit));
    let value = match (low == high, known.len() == all.len()) {
        (true, true) => low,
        (true, false) if known.len() == 1 => Cell::Text(format!("{low} ({first})")),
        (true, false) => low,
        (false, _) => Cell::Text(format!("{low} ({first}) to {high} ({last})")),
    };
    Some(Pair::new(name, value))
}

/// Returns the figure with a key of the catalogue over these passes, as `range` does; `place` names a pass.
pub fn of<'a>(
    name: impl Into<String>,
    key: &str,
    passes: impl IntoIterator<Item = &'a Pass>,
    place: fn(&Pass) -> String,
) -> Option<Pair> {
    let value = |pass| catalog::value(pass, key).map(Datum::as_f64);
    let values = passes.into_iter().map(|pass| (place(pass), value(pass)));
    range(name, unit(key), values)
}

/// Returns a figure of the whole run; `None` if it is absent.
pub fn single(name: &str, unit: &'static str, value: Option<f64>) -> Option<Pair> {
    Some(Pair::new(name, shown(value?, unit)))
}

fn shown(value: f64, unit: &'static str) -> Cell {
    match unit {
        "share" => Cell::percent(value),
        "ratio" => Cell::Text(format!("{}x", ratio(value))),
        unit => Cell::fixed(value, 1).unit(unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[Pair]) -> Vec<String> {
        pairs.iter().map(Pair::to_string).collect()
    }

    #[test]
    fn a_range_names_the_places_of_its_ends() {
        let of = |unit, values: &[Option<f64>]| {
            let places = ["a", "b", "c"].map(str::to_string);
            let pair = range("X", unit, places.into_iter().zip(values.iter().copied()));
            pair.map(|pair| pair.to_string())
        };
        for (unit, values, wanted) in [
            (
                "ms",
                &[Some(20.0), Some(8.126), Some(9.0)][..],
                Some("X: 8.13 ms (b) to 20.0 ms (a)"),
            ),
            ("share", &[Some(0.5), Some(0.5)], Some("X: 50.0 %")),
            ("ratio", &[Some(16.3)], Some("X: 16x")),
            ("ms", &[None, Some(7.0)], Some("X: 7.00 ms (b)")),
            ("ms", &[None, None], None),
        ] {
            assert_eq!(of(unit, values).as_deref(), wanted);
        }
    }

    #[test]
    fn there_are_at_most_eight_key_figures_and_absent_ones_are_left_out() {
        let failed = Failed {
            requests: 11,
            failed: 1,
            ..Failed::default()
        };
        let figure = |at: usize| single("X", "", (at != 1).then_some(at as f64));
        let pairs = with_requests(&failed, (0..20).map(figure));
        assert_eq!(pairs.len(), 8);
        let wanted = ["Requests: 11 (1 failed)", "X: 0.0", "X: 2.00"];
        assert_eq!(texts(&pairs)[..3], wanted);
    }
}
