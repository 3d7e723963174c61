//! Verdicts on figures whose estimates are known, and the verdict of the whole.

use super::interval::{Estimate, holm};
use super::{Figure, Name, SIDES, Verdict};

/// One figure of both sides before it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    pub name: Name,
    pub point: Option<String>,
    pub base: Option<f64>,
    pub new: Option<f64>,
    /// The logarithm of new over base; of shares it is new less base. `None` where it cannot be told how sure it is.
    pub estimate: Option<Estimate>,
    /// Pairs of requests that have the figure, or the runs of the side that has fewer.
    pub pairs: u64,
    /// Independent units: batches or windows, or the runs of both sides.
    pub units: u64,
    pub bar: Option<Bar>,
    /// Pairs or runs that are known to be missing before there can be an estimate.
    pub missing: Option<u64>,
}

/// Why a figure has no verdict, whatever its numbers, with the reason in words.
#[derive(Debug, Clone, PartialEq)]
pub enum Bar {
    /// It does not apply to these sides, and decides nothing.
    Inapplicable(String),
    /// More requests do not change it.
    Lasting(String),
    /// It may go away with more requests.
    Passing(String),
}

impl Bar {
    /// Tells why a figure has no verdict that the replies to these sides do not have.
    pub fn of_absent(name: Name, is_absent: [bool; 2]) -> Option<Bar> {
        let lacking = name.lacking();
        let of_side =
            |side: usize| Bar::Lasting(format!("replies of the {} side {lacking}", SIDES[side]));
        match is_absent {
            [true, true] => Some(Bar::Inapplicable(format!("replies {lacking}"))),
            [true, false] => Some(of_side(0)),
            [false, true] => Some(of_side(1)),
            [false, false] => None,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Bar::Inapplicable(reason) | Bar::Lasting(reason) | Bar::Passing(reason) => reason,
        }
    }
}

/// How figures are judged.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// The figures that decide.
    pub figures: &'a [Name],
    /// A change of less than this share counts as none, 0..1.
    pub margin: f64,
    /// The level of significance, 0..1. A difference must be significant among all figures that decide (Holm), but for
    /// shares that are 0 or 1 on both sides, which cannot be significant (Tarone 1990). "Same" needs no such correction,
    /// since the whole is the same only where all figures are.
    pub alpha: f64,
}

impl Rule<'_> {
    /// Judges all figures of a comparison together.
    pub fn judge(&self, measures: &[Measure]) -> Vec<Figure> {
        let decides = |one: &Measure| {
            self.figures.contains(&one.name) && !matches!(one.bar, Some(Bar::Inapplicable(_)))
        };
        let p = |one: &Measure| match (&one.bar, &one.estimate) {
            (None, Some(estimate)) => estimate.p(),
            _ => 1.0,
        };
        let family = |one: &&Measure| decides(one) && can_differ(one);
        let all: Vec<f64> = measures.iter().filter(family).map(p).collect();
        let mut together = holm(&all, self.alpha).into_iter();
        let figures = measures.iter().map(|one| {
            let is_significant = match family(&one) {
                true => together.next().unwrap_or(false),
                false => !decides(one) && p(one) < self.alpha,
            };
            self.figure(one, decides(one).then_some(all.len()), is_significant)
        });
        figures.collect()
    }

    /// Judges one figure; `among` is the number of those that decide, if this one does.
    fn figure(&self, one: &Measure, among: Option<usize>, is_significant: bool) -> Figure {
        let is_share = one.name.is_share();
        let scale = |value: f64| {
            if is_share {
                value.clamp(-1.0, 1.0)
            } else {
                value.exp()
            }
        };
        let confidence = 1.0 - self.alpha;
        let ends = one.estimate.as_ref().map(|of| of.interval(confidence));
        let verdict = match (&one.estimate, &one.bar) {
            // The interval still says how many there may be.
            (_, None) if !can_differ(one) => Verdict::Same,
            (Some(estimate), None) => self.verdict(one.name, estimate, is_significant),
            _ => Verdict::Unclear,
        };
        let is_unclear = verdict == Verdict::Unclear;
        // A difference that is significant alone, but not among the figures that decide.
        let is_held_back = || {
            let estimate = one.estimate.as_ref()?;
            let alone = self.verdict(one.name, estimate, estimate.p() < self.alpha);
            let among = among.filter(|_| alone != Verdict::Unclear)?;
            Some(format!(
                "not significant among the {among} figures that decide"
            ))
        };
        let why = match &one.bar {
            Some(bar) => Some(bar.reason().to_string()),
            None => is_unclear.then(is_held_back).flatten(),
        };
        let change = one.base.zip(one.new).map(|(base, new)| match is_share {
            true => new - base,
            false => new / base,
        });
        let change = change.filter(|change| change.is_finite());
        Figure {
            name: one.name,
            point: one.point.clone(),
            decides: among.is_some(),
            base: one.base,
            new: one.new,
            ratio: change.filter(|_| !is_share),
            difference: change.filter(|_| is_share),
            low: ends.map(|(low, _)| scale(low)),
            high: ends.map(|(_, high)| scale(high)),
            confidence: ends.map(|_| confidence),
            verdict,
            pairs: one.pairs,
            needed: is_unclear
                .then(|| self.needed(one, among.unwrap_or(1)))
                .flatten(),
            why,
        }
    }

    /// The margin in the unit of the estimate. A ratio is within it between 1 / (1 + margin) and 1 + margin, so that
    /// exchanging the sides exchanges "slower" and "faster".
    fn margin(&self, name: Name) -> f64 {
        match name.is_share() {
            true => self.margin,
            false => self.margin.ln_1p(),
        }
    }

    fn verdict(&self, name: Name, estimate: &Estimate, is_significant: bool) -> Verdict {
        let margin = self.margin(name);
        let (low, high) = estimate.interval(1.0 - self.alpha);
        let is_up = low > 0.0 && estimate.value > margin;
        let is_down = high < 0.0 && estimate.value < -margin;
        match (is_up, is_down) {
            _ if low > -margin && high < margin => Verdict::Same,
            (false, false) => Verdict::Unclear,
            _ if !is_significant => Verdict::Unclear,
            (is_up, _) if is_up == name.is_better_low() => Verdict::Slower,
            _ => Verdict::Faster,
        }
    }

    /// The pairs or runs that an answer takes beyond those there are, if the estimate is right: in four of five
    /// repetitions the interval is then inside the margin, or leaves out 0.
    fn needed(&self, one: &Measure, among: usize) -> Option<u64> {
        match &one.bar {
            Some(Bar::Inapplicable(_) | Bar::Lasting(_)) => return None,
            Some(Bar::Passing(_)) => return one.missing,
            None => {}
        }
        let estimate = one.estimate.as_ref()?;
        let (margin, size) = (self.margin(one.name), estimate.value.abs());
        let (distance, alpha) = match size > margin {
            true => (size, self.alpha / among.max(1) as f64),
            false => (margin - size, self.alpha),
        };
        let times = estimate.times_needed(distance, 1.0 - alpha, one.units)?;
        Some(((times - 1.0) * one.pairs as f64).ceil().max(1.0) as u64)
    }
}

/// Whether there can be a significant difference: not of shares that are 0 on both sides, or 1.
fn can_differ(one: &Measure) -> bool {
    let is_end = |share: f64| share <= 0.0 || share >= 1.0;
    !one.name.is_share() || one.base != one.new || !one.base.is_some_and(is_end)
}

/// Whether more requests cannot change that this figure has no verdict.
pub fn is_settled(one: &Measure, figure: &Figure) -> bool {
    !figure.decides
        || figure.verdict != Verdict::Unclear
        || matches!(one.bar, Some(Bar::Lasting(_)))
}

/// The verdict of the whole, from the figures that decide. It is unclear where none of the figures of speed that were
/// `asked` for can decide, for errors and hits alone do not tell that the speed is the same.
pub fn overall(figures: &[Figure], asked: &[Name]) -> Verdict {
    let is_speed = |name: &&Name| !name.is_share();
    let mut deciding = figures.iter().filter(|figure| figure.decides);
    let has = |verdict| {
        let mut deciding = figures.iter().filter(|figure| figure.decides);
        deciding.any(|figure| figure.verdict == verdict)
    };
    let is_blind =
        asked.iter().any(|name| is_speed(&name)) && deciding.all(|figure| !is_speed(&&figure.name));
    match () {
        () if has(Verdict::Slower) => Verdict::Slower,
        () if is_blind || has(Verdict::Unclear) => Verdict::Unclear,
        () if has(Verdict::Faster) => Verdict::Faster,
        () if has(Verdict::Same) => Verdict::Same,
        () => Verdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A measure whose interval at 95 % is `value` ± 1.96 `error`.
    fn measure(name: Name, value: f64, error: f64) -> Measure {
        Measure {
            name,
            point: None,
            base: Some(1.0),
            new: Some(1.0 + value),
            estimate: Estimate::new(value, error, f64::INFINITY),
            pairs: 400,
            units: 20,
            bar: None,
            missing: None,
        }
    }

    fn rule(figures: &[Name]) -> Rule<'_> {
        Rule {
            figures,
            margin: 0.03,
            alpha: 0.05,
        }
    }

    #[test]
    fn verdicts_hang_on_the_interval_and_the_margin() {
        use Verdict::{Faster, Same, Slower, Unclear};
        // The margin of ratios is ln 1.03 = 0.02956.
        for (value, error, of_time, of_throughput) in [
            (0.10, 0.02, Slower, Faster),
            (-0.10, 0.02, Faster, Slower),
            (0.01, 0.005, Same, Same),
            // Significant, but under the margin; its interval is within it, then not.
            (0.02, 0.002, Same, Same),
            (0.02, 0.008, Unclear, Unclear),
            // Above the margin, but not significant.
            (0.10, 0.06, Unclear, Unclear),
            (0.0, 0.02, Unclear, Unclear),
        ] {
            for (name, wanted) in [
                (Name::TtftMean, of_time),
                (Name::OutputThroughput, of_throughput),
            ] {
                let figures = rule(&[name]).judge(&[measure(name, value, error)]);
                assert_eq!(figures[0].verdict, wanted, "{name:?} {value} {error}");
                assert_eq!(overall(&figures, &[name]), wanted);
            }
        }
    }

    #[test]
    fn a_difference_must_be_significant_among_the_figures_that_decide() {
        // 2.1 errors away: p = .036, under .05 alone and over .05 / 2 among two.
        let both = [Name::TtftMean, Name::ItlMean];
        let measures = [
            measure(Name::TtftMean, 0.105, 0.05),
            measure(Name::ItlMean, 0.0, 0.01),
        ];
        let alone = rule(&both[..1]).judge(&measures);
        assert_eq!(alone[0].verdict, Verdict::Slower);
        let figures = rule(&both).judge(&measures);
        assert_eq!(figures[0].verdict, Verdict::Unclear);
        let why = figures[0].why.as_deref();
        assert_eq!(why, Some("not significant among the 2 figures that decide"));
        // No errors on either side cannot be significant, and takes no share of the level.
        let errors = Measure {
            base: Some(0.0),
            new: Some(0.0),
            ..measure(Name::ErrorRate, 0.0, 0.01)
        };
        let with_errors = [measures[0].clone(), errors];
        let figures = rule(&[Name::TtftMean, Name::ErrorRate]).judge(&with_errors);
        assert_eq!(figures[0].verdict, Verdict::Slower);
        assert_eq!(figures[1].verdict, Verdict::Same);
    }

    #[test]
    fn pairs_needed_are_those_that_make_the_answer_clear_in_four_of_five_cases() {
        // A ratio of e^0.10, 60 % of its error at 400 pairs: (1.96 + 0.84) · 0.06 / √times < 0.10 takes 2.8224 times as
        // many, 729 more, within a step of 5 % and the t of 19 degrees.
        let one = Measure {
            estimate: Estimate::new(0.10, 0.06, 19.0),
            ..measure(Name::TtftMean, 0.10, 0.06)
        };
        let figures = rule(&[Name::TtftMean]).judge(&[one]);
        let needed = figures[0].needed.expect("in reach");
        assert!((729..880).contains(&needed), "{needed}");
        // A ratio at the margin is neither.
        let at = measure(Name::TtftMean, 0.0295, 0.06);
        assert_eq!(rule(&[Name::TtftMean]).judge(&[at])[0].needed, None);
    }

    #[test]
    fn the_whole_is_slower_then_unclear_then_faster_then_the_same() {
        use Verdict::{Faster, Same, Slower, Unclear};
        let asked = [Name::TtftMean, Name::ItlMean];
        for (two, wanted) in [
            ([Slower, Unclear], Slower),
            ([Faster, Unclear], Unclear),
            ([Faster, Same], Faster),
            ([Slower, Faster], Slower),
            ([Same, Same], Same),
        ] {
            let measures = asked.map(|name| measure(name, 0.0, 0.01));
            let mut figures = rule(&asked).judge(&measures);
            for (figure, verdict) in figures.iter_mut().zip(two) {
                figure.verdict = verdict;
            }
            assert_eq!(overall(&figures, &asked), wanted, "{two:?}");
        }
        assert_eq!(overall(&[], &asked), Unclear);
    }
}
