//! `compare`, live: asks for pairs of requests, one to each side, until it is clear how the new side stands to the base:
//! a figure that decides is slower, or all of them are clear.
//!
//! With one request in flight, single requests alternate in random order within each pair. With more, windows of one
//! side, drained at their end, take the place of single requests, since requests in flight together delay one another.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use fastrand::Rng;

use crate::sample::Phase;
use crate::stats::compare::paired::{Cut, Pair, measures};
use crate::stats::compare::side::bar_unlike;
use crate::stats::compare::verdict::{Rule, is_settled, overall};
use crate::stats::compare::{DEFAULT_PAIRS, Figure, Findings, Name, Side, Unit, Verdict};
use crate::stats::record::Record;

/// Mean latencies that a window lasts: requests of a window for each one in flight.
const WINDOW: u64 = 20;
/// Pairs of windows that there are by default, at least.
const DEFAULT_WINDOWS: u64 = 40;
/// Units, batches or pairs of windows, at the first look, and from one look to the next.
const FIRST_LOOK: usize = 6;
const LOOKS_EVERY: usize = 2;
/// The level of significance of a look, and of the last pair.
const LOOK_ALPHA: f64 = 0.005;
const LAST_ALPHA: f64 = 0.05;
/// Failures of one side in a row that end a comparison; more with many requests in flight.
const MOST_FAILURES: u64 = 20;
/// Failures from its first request on that do so: the client waits longer after each of them.
const MOST_FIRST_FAILURES: u64 = 6;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The figures that decide.
    pub figures: Vec<Name>,
    /// A change of less than this share counts as none, 0..1.
    pub margin: f64,
    /// Most pairs of requests. With several in flight, as many whole windows as they fill, but at least one of each side.
    pub pairs: u64,
    /// Requests in flight on one side.
    pub concurrency: u64,
    /// Seeds the order within each pair.
    pub seed: u64,
}

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    Send(Ask),
    /// Wait for a reply in flight and tell it, then call `next` again.
    Wait,
    End,
}

/// A request to send. Those of one pair shall have prompts of equal length and different text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// 0: the base; 1: the new side.
    pub side: usize,
    pub pair: u64,
}

/// How far a comparison has come.
#[derive(Debug)]
pub struct Status<'a> {
    /// Pairs of which both requests have ended, and the most that there will be.
    pub pairs: u64,
    pub most: u64,
    /// The figures at the last look; empty before the first one.
    pub figures: &'a [Figure],
}

/// The machine.
pub struct Compare {
    settings: Settings,
    rng: Rng,
    /// The replies of both sides, by the number of the pair.
    pairs: Vec<[Option<Record>; 2]>,
    most: usize,
    cut: Cut,
    /// Pairs whose requests to one side are sent before those to the other side.
    turn: usize,
    /// Turns that have ended, the side of the current one, its requests that were sent, and those in flight.
    turns: usize,
    side: usize,
    sent: usize,
    in_flight: u64,
    /// Whole pairs, from the first on without a gap.
    whole: usize,
    failures_in_row: [u64; 2],
    has_answered: [bool; 2],
    looked: Vec<Figure>,
    is_ended: bool,
    stopped: Option<String>,
}

/// Returns how many requests of a side follow one another above one in flight.
pub fn window(concurrency: u64) -> u64 {
    WINDOW * concurrency
}

/// Returns the most pairs for this concurrency where the user names none: 2,000, or forty pairs of windows if these are
/// more.
pub fn default_pairs(concurrency: u64) -> u64 {
    match concurrency {
        0 | 1 => DEFAULT_PAIRS,
        n => DEFAULT_PAIRS.max(DEFAULT_WINDOWS * window(n)),
    }
}

impl Compare {
    pub fn new(settings: &Settings) -> Compare {
        let concurrency = settings.concurrency.max(1);
        let window = window(concurrency) as usize;
        let asked = settings.pairs.max(1) as usize;
        let (cut, turn, most) = match concurrency {
            1 => (Cut::Batches, 1, asked),
            _ => (
                Cut::Windows(window),
                window,
                (asked / window).max(1) * window,
            ),
        };
        let mut rng = Rng::with_seed(settings.seed);
        Compare {
            settings: settings.clone(),
            side: rng.usize(..2),
            rng,
            pairs: Vec::new(),
            most,
            cut,
            turn,
            turns: 0,
            sent: 0,
            in_flight: 0,
            whole: 0,
            failures_in_row: [0; 2],
            has_answered: [false; 2],
            looked: Vec::new(),
            is_ended: false,
            stopped: None,
        }
    }

    pub fn next(&mut self) -> Next {
        if self.is_ended {
            return Next::End;
        }
        if self.sent == self.turn {
            if self.in_flight > 0 {
                return Next::Wait;
            }
            self.end_turn();
            if self.is_ended {
                return Next::End;
            }
        }
        if self.in_flight >= self.settings.concurrency.max(1) {
            return Next::Wait;
        }
        let pair = self.turns / 2 * self.turn + self.sent;
        self.pairs.resize(self.pairs.len().max(pair + 1), [None; 2]);
        self.sent += 1;
        self.in_flight += 1;
        Next::Send(Ask {
            side: self.side,
            pair: pair as u64,
        })
    }

    /// Takes the record of a request that was asked for. One that the end of the run cut is in no figure.
    pub fn tell(&mut self, ask: Ask, record: &Record) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let place = self.pairs.get_mut(ask.pair as usize);
        let Some(place) = place.and_then(|pair| pair.get_mut(ask.side)) else {
            return;
        };
        if record.phase() != Phase::Measured {
            return;
        }
        *place = Some(*record);
        let is_whole = |pair: &[Option<Record>; 2]| pair.iter().all(Option::is_some);
        while self.pairs.get(self.whole).is_some_and(is_whole) {
            self.whole += 1;
        }
        let in_row = &mut self.failures_in_row[ask.side];
        *in_row = if record.failure.is_some() {
            *in_row + 1
        } else {
            0
        };
        self.has_answered[ask.side] |= record.failure.is_none();
        let most = self.most_failures(ask.side);
        if self.failures_in_row[ask.side] >= most && !self.is_ended {
            let why = match self.dead() {
                Some(0) => "requests in a row to the base side failed",
                Some(_) => "requests in a row to the new side failed",
                None => "requests in a row to both sides failed",
            };
            self.stop(&format!("{most} {why}"));
        }
    }

    /// Ends the comparison before its last pair.
    pub fn stop(&mut self, why: &str) {
        self.is_ended = true;
        self.stopped.get_or_insert_with(|| why.to_string());
    }

    pub fn status(&self) -> Status<'_> {
        Status {
            pairs: self.whole as u64,
            most: self.most as u64,
            figures: &self.looked,
        }
    }

    /// The findings from all whole pairs, and from whole windows only; the names and models of the sides are empty.
    pub fn findings(&self) -> Findings {
        let (figures, notes, _) = self.figures();
        let [base, new] = [0, 1].map(|side| Side::of(&self.told(side), 1));
        let mut findings = Findings {
            verdict: overall(&figures, &self.settings.figures),
            unit: Unit::Pairs,
            margin: self.settings.margin,
            figures,
            sides: [base, new],
            notes,
            stopped: self.stopped.clone(),
        };
        if let Some(side) = self.dead() {
            self.judge_dead(side, &mut findings);
        }
        findings
    }

    /// Ends the turn of a side; at the end of both turns it looks whether all is clear.
    fn end_turn(&mut self) {
        self.turns += 1;
        self.sent = 0;
        if self.turns % 2 == 1 {
            self.side = 1 - self.side;
            return;
        }
        self.side = self.rng.usize(..2);
        let sent = self.turns / 2 * self.turn;
        if sent >= self.most {
            self.is_ended = true;
        }
        let units = sent / self.cut.pairs();
        let is_look = sent.is_multiple_of(self.cut.pairs())
            && units >= FIRST_LOOK
            && (units - FIRST_LOOK).is_multiple_of(LOOKS_EVERY);
        if is_look || self.is_ended {
            let (figures, _, is_clear) = self.figures();
            self.looked = figures;
            // The whole is slower as soon as one figure is.
            let is_slower = overall(&self.looked, &self.settings.figures) == Verdict::Slower;
            self.is_ended |= is_clear || is_slower;
        }
    }

    /// Returns the figures, the notes on them, and whether more pairs would change nothing.
    fn figures(&self) -> (Vec<Figure>, Vec<String>, bool) {
        let whole = self.whole / self.turn * self.turn;
        let both = |pair: &[Option<Record>; 2]| Some([pair[0]?, pair[1]?]);
        let pairs: Vec<Pair> = self.pairs[..whole].iter().filter_map(both).collect();
        let mut measures = measures(&pairs, self.cut);
        let notes = bar_unlike(&self.told(0), &self.told(1), &mut measures);
        let is_last = whole == self.most;
        let rule = Rule {
            figures: &self.settings.figures,
            margin: self.settings.margin,
            alpha: if is_last { LAST_ALPHA } else { LOOK_ALPHA },
        };
        let figures = rule.judge(&measures);
        let is_clear = measures
            .iter()
            .zip(&figures)
            .all(|(measure, figure)| is_settled(measure, figure));
        (figures, notes, is_clear)
    }

    fn told(&self, side: usize) -> Vec<&Record> {
        self.pairs
            .iter()
            .filter_map(|pair| pair[side].as_ref())
            .collect()
    }

    fn most_failures(&self, side: usize) -> u64 {
        let most = match self.has_answered[side] {
            true => MOST_FAILURES,
            false => MOST_FIRST_FAILURES,
        };
        most.max(2 * self.settings.concurrency)
    }

    /// Returns the side whose last requests have all failed while the other side answered.
    fn dead(&self) -> Option<usize> {
        (0..2).find(|&side| {
            let (most, other) = (self.most_failures(side), self.failures_in_row[1 - side]);
            self.failures_in_row[side] >= most && other < most / 2
        })
    }

    /// Lets the errors of a side that answers no more decide, whatever figures were asked for.
    fn judge_dead(&self, side: usize, findings: &mut Findings) {
        let rates = findings.sides.each_ref();
        let [base, new] = rates.map(|side| side.failed as f64 / side.requests.max(1) as f64);
        let errors = findings.figures.iter_mut();
        for figure in errors.filter(|figure| figure.name == Name::ErrorRate) {
            figure.decides = true;
            (figure.base, figure.new) = (Some(base), Some(new));
            figure.difference = Some(new - base);
            figure.verdict = [Verdict::Faster, Verdict::Slower][side];
            figure.needed = None;
            figure.why.clone_from(&self.stopped);
        }
        findings.verdict = overall(&findings.figures, &self.settings.figures);
    }
}
