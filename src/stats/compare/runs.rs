//! Saved runs of two sides: the run is the unit, since runs differ by more than their requests tell.

use super::interval::{Estimate, Uncertainty, moments, welch};
use super::paired::hit;
use super::share::Share;
use super::side::bar_unlike;
use super::verdict::{Bar, Measure, Rule, overall};
use super::{Figure, Findings, MOST_FAILED, Name, SIDES, Side, Unit, Verdict};
use crate::stats::pass::Pass;
use crate::stats::record::Record;
use crate::stats::time::{HitBy, Time};
use crate::units::counted;

/// The level of significance.
const ALPHA: f64 = 0.05;
/// Runs a side that find a difference of 10 % in 90 % of cases where runs differ by 3 % and one figure decides, and in
/// 81 % among the default figures (`make verdict-sim`).
const ENOUGH_RUNS: usize = 5;

/// A saved run: a pass of a samples file.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// A text that tells the run of its file from others.
    pub id: &'a str,
    /// The number of the pass in its file.
    pub number: usize,
    pub pass: &'a Pass,
}

impl Run<'_> {
    fn key(&self) -> (&str, usize) {
        (self.id, self.number)
    }

    fn records(&self) -> &[Record] {
        &self.pass.records.list
    }

    /// Milliseconds, tokens per second, or a share 0..=1; `None` where the run does not have the figure.
    fn value(&self, name: Name) -> Option<f64> {
        let figures = &self.pass.figures;
        let time = |time| figures.time(time);
        match name {
            Name::TtftMean => time(Time::Ttft).map(|of| of.avg),
            Name::TtftP95 => time(Time::Ttft).map(|of| of.p95),
            Name::ItlMean => time(Time::Itl).map(|of| of.avg),
            Name::LatencyMean => time(Time::Latency).map(|of| of.avg),
            Name::LatencyP95 => time(Time::Latency).map(|of| of.p95),
            Name::OutputThroughput => figures.token_throughput,
            Name::ErrorRate => figures.error_rate(),
            Name::HitRate => match figures.reported.hit_by()? {
                HitBy::Response => figures.response_cache_hit_rate,
                HitBy::Prefix => figures.all.prefix_cache_hit_rate,
            },
        }
    }
}

/// Compares the runs of two sides, those of each point of a sweep with each other. `figures` decide, and a change of less
/// than `margin` (0..1) counts as none. The names and models of the sides are empty.
pub fn runs(base: &[Run], new: &[Run], figures: &[Name], margin: f64) -> Findings {
    let mut notes = Vec::new();
    let all = [once(base, "base", &mut notes), once(new, "new", &mut notes)];
    let is_in = |side: &[Run], run: &Run| side.iter().any(|other| other.key() == run.key());
    let common = all[1].iter().filter(|run| is_in(&all[0], run)).count();
    let is_itself = common > 0 && common == all[0].len() && common == all[1].len();
    let sides = [0, 1].map(|side| {
        let runs = all[side].iter().copied();
        let is_kept = |run: &Run| is_itself || !is_in(&all[1 - side], run);
        runs.filter(is_kept).collect::<Vec<Run>>()
    });
    if is_itself {
        notes.push("both sides are the same runs".to_string());
    } else if common > 0 {
        let runs = counted(common as u64, "run");
        notes.push(format!("{runs} on both sides left out"));
    }
    for (runs, side) in sides.iter().zip(SIDES) {
        notes.extend(shared_hour(runs, side));
    }
    let points = common_points(&sides, &mut notes);
    let mut measures = Vec::new();
    for point in &points {
        let at = sides.each_ref().map(|runs| at_point(runs, point));
        let label = (points.len() > 1).then_some(point);
        measures.extend(measures_at(label, &at, &mut notes));
    }
    let rule = Rule {
        figures,
        margin,
        alpha: ALPHA,
    };
    let mut judged = rule.judge(&measures);
    if is_itself {
        judged.iter_mut().for_each(judge_itself);
    }
    let [base, new] = sides.map(|runs| {
        let is_compared = |run: &&Run| points.contains(&run.pass.facts.point());
        let compared: Vec<Run> = runs.iter().filter(is_compared).copied().collect();
        side(&compared)
    });
    Findings {
        verdict: overall(&judged, figures),
        unit: Unit::Runs,
        margin,
        figures: judged,
        sides: [base, new],
        notes,
        stopped: None,
    }
}

fn at_point<'a>(runs: &[Run<'a>], point: &str) -> Vec<Run<'a>> {
    let is_at = |run: &&Run| run.pass.facts.point() == point;
    runs.iter().filter(is_at).copied().collect()
}

/// Works out all figures of the runs of one point, and notes where prompts or outputs are unlike. `point` is its name
/// where there are several.
fn measures_at(
    point: Option<&String>,
    sides: &[Vec<Run>; 2],
    notes: &mut Vec<String>,
) -> Vec<Measure> {
    let names = Name::NAMES.iter().map(|(name, _)| *name);
    let mut measures: Vec<Measure> = names.map(|name| measure(name, point, sides)).collect();
    let [of_base, of_new] = sides.each_ref().map(|runs| records(runs));
    let unlike = bar_unlike(&of_base, &of_new, &mut measures).into_iter();
    notes.extend(unlike.map(|note| match point {
        Some(point) => format!("{point}: {note}"),
        None => note,
    }));
    measures
}

/// Leaves out runs that a side has twice.
fn once<'a>(runs: &[Run<'a>], side: &str, notes: &mut Vec<String>) -> Vec<Run<'a>> {
    let mut kept: Vec<Run> = Vec::new();
    for run in runs {
        if kept.iter().all(|other| other.key() != run.key()) {
            kept.push(*run);
        }
    }
    if kept.len() < runs.len() {
        let twice = counted((runs.len() - kept.len()) as u64, "run");
        notes.push(format!(
            "{twice} given more than once for the {side} side counted once"
        ));
    }
    kept
}

/// Says so where all runs of a side were made one after the other by one process.
fn shared_hour(runs: &[Run], side: &str) -> Option<String> {
    let first = runs.first()?;
    let point = first.pass.facts.point();
    let of_point = at_point(runs, &point).len();
    let is_one = runs.iter().all(|run| run.id == first.id);
    (of_point > 1 && is_one).then(|| {
        format!(
            "the runs of the {side} side were made one after the other by one process and share its hour: runs of \
             another day may differ by more than the interval"
        )
    })
}

/// Returns the names of the points of runs, each once.
pub fn points(runs: &[Run]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in runs {
        let name = run.pass.facts.point();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Returns the points that both sides have, and names the others in notes.
fn common_points(sides: &[Vec<Run>; 2], notes: &mut Vec<String>) -> Vec<String> {
    let of = sides.each_ref().map(|runs| points(runs));
    for side in 0..2 {
        let only = of[side].iter().filter(|name| !of[1 - side].contains(name));
        let only: Vec<&str> = only.map(String::as_str).collect();
        if !only.is_empty() {
            notes.push(format!(
                "only the {} side has {}",
                SIDES[side],
                only.join(", ")
            ));
        }
    }
    let [base, new] = of;
    base.into_iter().filter(|name| new.contains(name)).collect()
}

fn records<'a>(runs: &[Run<'a>]) -> Vec<&'a Record> {
    runs.iter()
        .flat_map(|run| run.pass.records.list.iter())
        .collect()
}

/// Returns how many requests failed, and of how many.
fn failures(runs: &[Run]) -> (u64, u64) {
    let figures = runs.iter().map(|run| &run.pass.figures);
    figures.fold((0, 0), |(failed, requests), of| {
        (failed + of.failed, requests + of.requests)
    })
}

/// The side of these runs; its counts of requests are those of the figures, which an endless run has, too.
fn side(runs: &[Run]) -> Side {
    let (failed, requests) = failures(runs);
    Side {
        requests,
        failed,
        ..Side::of(&records(runs), runs.len() as u64)
    }
}

/// Works out one figure of the runs of one point.
fn measure(name: Name, point: Option<&String>, sides: &[Vec<Run>; 2]) -> Measure {
    let values = sides.each_ref().map(|runs| {
        let values = runs.iter().filter_map(|run| run.value(name));
        let is_usable = |value: &f64| value.is_finite() && (name.is_share() || *value > 0.0);
        let values = values.filter(is_usable);
        values
            .map(|value| if name.is_share() { value } else { value.ln() })
            .collect::<Vec<f64>>()
    });
    let means = values.each_ref().map(|values| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mean = if name.is_share() { mean } else { mean.exp() };
        (!values.is_empty()).then_some(mean)
    });
    let [base, new] = &values;
    let fewer = base.len().min(new.len());
    let mut estimate = welch(base, new);
    if let Some((estimate, floor)) = estimate.as_mut().zip(share_floor(name, sides)) {
        estimate.uncertainties.push(floor);
    }
    let bar = bar(name, sides, &values, estimate.as_ref());
    Measure {
        name,
        point: point.cloned(),
        base: means[0],
        new: means[1],
        estimate,
        pairs: fewer as u64,
        units: (base.len() + new.len()) as u64,
        missing: (fewer == 1).then_some((ENOUGH_RUNS - 1) as u64),
        bar,
    }
}

/// The uncertainty of a difference of shares from the requests of all runs, which is never 0.
fn share_floor(name: Name, sides: &[Vec<Run>; 2]) -> Option<Uncertainty> {
    let share = |runs: &[Run]| match name {
        Name::ErrorRate => {
            let (failed, requests) = failures(runs);
            Share::counted(failed, requests)
        }
        Name::HitRate => {
            let by = runs.first()?.pass.figures.reported.hit_by()?;
            let good = runs
                .iter()
                .flat_map(Run::records)
                .filter(|record| record.is_good());
            let trials = good.filter_map(|record| hit(record, by));
            Share::of(&trials.collect::<Vec<(f64, f64)>>())
        }
        _ => None,
    };
    Some(share(&sides[1])?.less(&share(&sides[0])?))
}

/// Tells why a figure has no verdict.
fn bar(
    name: Name,
    sides: &[Vec<Run>; 2],
    values: &[Vec<f64>; 2],
    estimate: Option<&Estimate>,
) -> Option<Bar> {
    for (runs, side) in sides.iter().zip(SIDES) {
        let (failed, requests) = failures(runs);
        if name != Name::ErrorRate && failed as f64 > MOST_FAILED * requests as f64 {
            let of = counted(requests, "request");
            return Some(Bar::Passing(format!(
                "{failed} of {of} to the {side} side failed"
            )));
        }
    }
    let none = values.each_ref().map(Vec::is_empty);
    if let Some(absent) = Bar::of_absent(name, none) {
        return Some(absent);
    }
    let by = sides.each_ref().map(|runs| {
        let reported = runs.iter().map(|run| run.pass.figures.reported);
        reported.into_iter().find_map(|of| of.hit_by())
    });
    if name == Name::HitRate && by[0] != by[1] {
        return Some(Bar::Lasting(
            "the sides report hits of another kind".to_string(),
        ));
    }
    if estimate.is_none() {
        let why = "one run a side does not tell how much runs differ".to_string();
        return Some(Bar::Passing(why));
    }
    let is_certain = estimate.is_some_and(|of| of.uncertainties.iter().all(|one| one.error <= 0.0));
    let is_copied = |values: &[f64]| moments(values).is_some_and(|(_, variance)| variance <= 0.0);
    let copied = (0..2).find(|&side| !name.is_share() && is_copied(&values[side]));
    match copied {
        Some(side) => Some(Bar::Lasting(format!(
            "the runs of the {} side agree to the last digit: they are no runs of their own",
            SIDES[side]
        ))),
        None => is_certain
            .then(|| Bar::Lasting("the runs do not tell how much they differ".to_string())),
    }
}

/// Judges a figure of runs that are compared with themselves.
fn judge_itself(figure: &mut Figure) {
    if figure.base.is_some() {
        figure.verdict = Verdict::Same;
        (figure.low, figure.high, figure.confidence) = (None, None, None);
        figure.needed = None;
        figure.why = Some("both sides are the same runs".to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::stats::facts::Facts;
    use crate::stats::records::Records;

    const TIMES: [Name; 2] = [Name::TtftMean, Name::ErrorRate];

    /// A run of a hundred requests with this TTFT at a concurrency.
    fn pass(concurrency: u64, ttft_ms: f64) -> Pass {
        let first_ns = (ttft_ms * 1e6) as u64;
        let sample = Sample {
            t_first_ns: Some(first_ns),
            t_last_ns: Some(first_ns + 90_000_000),
            t_end_ns: first_ns + 90_000_000,
            prompt_tokens: Some(100),
            completion_tokens: Some(10),
            ..Sample::default()
        };
        let mut records = Records::kept();
        records.list = vec![Record::from(&sample); 100].into();
        let facts = Facts {
            concurrency: Some(concurrency),
            ..Facts::default()
        };
        Pass::new(facts, records)
    }

    fn passes(concurrency: u64, ttft_ms: &[f64]) -> Vec<Pass> {
        ttft_ms.iter().map(|&ms| pass(concurrency, ms)).collect()
    }

    fn of<'a>(id: &'a str, passes: &'a [Pass]) -> Vec<Run<'a>> {
        let run = |(number, pass)| Run { id, number, pass };
        passes.iter().enumerate().map(run).collect()
    }

    fn ttft(findings: &Findings) -> &Figure {
        &findings.figures[Name::TtftMean as usize]
    }

    #[test]
    fn runs_of_two_sides_have_the_ratio_and_the_interval_worked_by_hand() {
        // Logarithms −h, 0, h around ln 100 and ln 120 with h = ln 1.02 = 0.0198026: each variance is h², the error is
        // h √(2/3) = 0.0161688 with 4 degrees of freedom, whose t is 2.776445: ± 0.0448918 around ln 1.2.
        let (base, new) = (
            passes(1, &[100.0 / 1.02, 100.0, 102.0]),
            passes(1, &[120.0 / 1.02, 120.0, 122.4]),
        );
        let found = runs(&of("a", &base), &of("b", &new), &TIMES, 0.03);
        let ttft = ttft(&found);
        let near =
            |got: Option<f64>, wanted: f64| (got.expect("a value") / wanted - 1.0).abs() < 1e-5;
        assert!(near(ttft.ratio, 1.2) && near(ttft.base, 100.0) && near(ttft.new, 120.0));
        assert!(near(ttft.low, 1.2 * (-0.044_891_8_f64).exp()));
        assert!(near(ttft.high, 1.2 * 0.044_891_8_f64.exp()));
        assert_eq!(
            (ttft.verdict, ttft.pairs, ttft.needed),
            (Verdict::Slower, 3, None)
        );
        assert_eq!(found.verdict, Verdict::Slower);
        assert_eq!((found.sides[0].runs, found.sides[1].requests), (3, 300));
        // Both sides come from one process each.
        assert_eq!(found.notes.len(), 2);
    }

    #[test]
    fn one_run_a_side_is_unclear_however_far_apart() {
        let (base, new) = (passes(1, &[100.0]), passes(1, &[300.0, 310.0]));
        let one = runs(&of("a", &base), &of("b", &new[..1]), &TIMES, 0.03);
        assert_eq!(one.verdict, Verdict::Unclear);
        assert_eq!(
            (ttft(&one).verdict, ttft(&one).needed),
            (Verdict::Unclear, Some(4))
        );
        assert!((ttft(&one).ratio.expect("both sides") - 3.0).abs() < 1e-9);
        let two = runs(&of("a", &base), &of("b", &new), &TIMES, 0.03);
        assert_eq!((two.verdict, ttft(&two).low), (Verdict::Unclear, None));
        let none = runs(&[], &of("b", &new), &TIMES, 0.03);
        assert_eq!((none.verdict, none.figures.len()), (Verdict::Unclear, 0));
    }

    #[test]
    fn a_file_against_itself_is_the_same() {
        let base = passes(1, &[100.0]);
        let found = runs(&of("a", &base), &of("a", &base), &TIMES, 0.03);
        assert_eq!(
            (found.verdict, ttft(&found).verdict),
            (Verdict::Same, Verdict::Same)
        );
        assert!(
            found
                .notes
                .contains(&"both sides are the same runs".to_string())
        );
        // One of two runs is on both sides: it says nothing of a difference.
        let two = passes(1, &[100.0, 101.0]);
        let found = runs(&of("a", &two), &of("a", &base), &TIMES, 0.03);
        assert_eq!(found.verdict, Verdict::Unclear);
    }

    #[test]
    fn copies_of_a_run_under_other_names_are_not_certain() {
        let (base, new) = (passes(1, &[100.0, 100.0]), passes(1, &[120.0, 120.0]));
        let found = runs(&of("a", &base), &of("b", &new), &TIMES, 0.03);
        assert_eq!(
            (found.verdict, ttft(&found).verdict),
            (Verdict::Unclear, Verdict::Unclear)
        );
        let once = [of("a", &base[..1]), of("a", &base[..1])].concat();
        let found = runs(&once, &of("b", &new), &TIMES, 0.03);
        assert_eq!((ttft(&found).pairs, found.sides[0].runs), (1, 1));
    }

    #[test]
    fn points_are_compared_with_each_other_and_those_of_one_side_are_named() {
        let mut base = passes(1, &[100.0, 101.0, 102.0]);
        base.extend(passes(8, &[200.0, 202.0, 204.0]));
        base.extend(passes(16, &[300.0]));
        let mut new = passes(8, &[300.0, 303.0, 306.0]);
        new.extend(passes(1, &[100.0, 101.0, 102.0]));
        let found = runs(&of("a", &base), &of("b", &new), &TIMES, 0.03);
        let ttft: Vec<_> = found
            .figures
            .iter()
            .filter(|of| of.name == Name::TtftMean)
            .collect();
        let points: Vec<_> = ttft.iter().map(|of| of.point.as_deref()).collect();
        assert_eq!(points, [Some("concurrency 1"), Some("concurrency 8")]);
        assert_eq!(
            [ttft[0].verdict, ttft[1].verdict],
            [Verdict::Same, Verdict::Slower]
        );
        assert_eq!(found.verdict, Verdict::Slower);
        assert!(
            found
                .notes
                .contains(&"only the base side has concurrency 16".to_string())
        );
        assert_eq!(found.sides[0].requests, 600);
    }
}
