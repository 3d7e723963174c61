//! The scrapes of one pass, folded as they come: first reading, peaks, sums and increases, so that memory does not
//! grow with the length of the pass.

use super::catalog::Pair;
use super::change::{Observation, Rise, Unknown, quotient, reading};
use super::series::{PairReading, Reading};

/// How many of the newest scrapes are kept as they are: the end of the pass, known only later, may lie before the
/// newest one or within the one before it.
const HELD: usize = 2;

/// The scrapes of a pass: the last one that had ended by its start, and all later ones.
#[derive(Debug, Clone)]
pub struct Course {
    /// The stamp from which the pass counts, once it is known.
    start_ns: Option<u64>,
    /// Whether every scrape lies between requests, so that none tells what happens during one.
    is_between: bool,
    folded: Tracks,
    held: Vec<Observation>,
}

impl Course {
    /// Creates a course without scrapes. `names` is how many of a scrape's readings are followed, from the first one on;
    /// `hit_rate` is the place of the one that has the counters of `pairs`.
    pub fn new(names: usize, hit_rate: usize, pairs: &[&'static Pair]) -> Course {
        let of_pair = |&pair| PairTrack {
            pair,
            hits: vec![Rise::default(); pair.hits.len()],
            of: vec![Rise::default(); pair.of.len()],
        };
        Course {
            start_ns: None,
            is_between: false,
            folded: Tracks {
                scrapes: 0,
                has_inside: false,
                tracks: vec![Track::default(); names],
                hit_rate,
                pairs: pairs.iter().map(of_pair).collect(),
                best: None,
            },
            held: Vec::new(),
        }
    }

    /// Returns the course of scrapes of which each lies between two requests.
    pub fn between_requests(self) -> Course {
        Course {
            is_between: true,
            ..self
        }
    }

    /// Adds the next scrape. `start_ns` is the stamp from which the pass counts; `None`: nothing has been sent yet.
    pub fn add(&mut self, seen: Observation, start_ns: Option<u64>) {
        let Some(start_ns) = start_ns.filter(|&start_ns| seen.t_end_ns > start_ns) else {
            self.folded.clear();
            self.folded.add(&seen, false);
            return;
        };
        self.start_ns = Some(start_ns);
        // Without a scrape before the start nothing is known of any change.
        if self.folded.scrapes == 0 {
            return;
        }
        self.held.push(seen);
        if self.held.len() > HELD {
            let oldest = self.held.remove(0);
            let is_inside = !self.is_between && oldest.t_begin_ns >= start_ns;
            self.folded.add(&oldest, is_inside);
        }
    }

    /// Returns the readings up to the first scrape that began at or after the end of the pass.
    ///
    /// # Errors
    /// There is no scrape before the start, or none after the end.
    pub fn until(&self, t_end_ns: u64) -> Result<Tracks, Unknown> {
        if self.folded.scrapes == 0 {
            return Err(Unknown::NoBefore);
        }
        let ends = |seen: &Observation| seen.t_begin_ns >= t_end_ns;
        let last = self.held.iter().position(ends).ok_or(Unknown::NoAfter)?;
        Ok(self.with(&self.held[..=last], t_end_ns))
    }

    /// Returns when the newest scrape ended; `None`: none has since the pass began.
    pub fn newest_ns(&self) -> Option<u64> {
        self.held.last().map(|seen| seen.t_end_ns)
    }

    /// Returns the readings so far, while the pass goes on.
    pub fn so_far(&self) -> Tracks {
        self.with(&self.held, u64::MAX)
    }

    fn with(&self, held: &[Observation], t_end_ns: u64) -> Tracks {
        let mut tracks = self.folded.clone();
        let start_ns = self.start_ns.unwrap_or(u64::MAX);
        for seen in held {
            let is_inside = seen.t_begin_ns >= start_ns && seen.t_end_ns <= t_end_ns;
            tracks.add(seen, is_inside && !self.is_between);
        }
        tracks
    }
}

/// The readings of several scrapes, the first of which lies before the pass.
#[derive(Debug, Clone)]
pub struct Tracks {
    scrapes: u64,
    /// Whether a scrape lies between the start and the end of the pass.
    pub has_inside: bool,
    tracks: Vec<Track>,
    hit_rate: usize,
    pairs: Vec<PairTrack>,
    /// The best pair that was whole in the last scrape, as a place in `pairs`.
    best: Option<usize>,
}

/// The readings of one name.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// Whether any scrape has the name.
    pub is_shown: bool,
    pub rise: Rise,
    /// All readings that are numbers; no gauge that is read here can be below 0.
    pub all: Levels,
    /// Readings above 0 without the first one, which shows what earlier work left.
    pub in_use: Levels,
    /// Readings from scrapes between the start and the end of the pass.
    pub inside: Levels,
    /// The last reading.
    pub latest: Option<f64>,
}

/// The increases of a pair's counters.
#[derive(Debug, Clone)]
pub struct PairTrack {
    pub pair: &'static Pair,
    hits: Vec<Rise>,
    of: Vec<Rise>,
}

/// Numbers of which only count, sum and peak are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Levels {
    pub count: u64,
    sum: f64,
    /// 0 without numbers.
    pub peak: f64,
}

impl Levels {
    fn add(&mut self, level: f64) {
        self.count += 1;
        self.sum += level;
        self.peak = self.peak.max(level);
    }

    /// # Errors
    /// There is no number.
    pub fn mean(&self) -> Result<f64, Unknown> {
        match self.count {
            0 => Err(Unknown::NoNumber),
            count => Ok(self.sum / count as f64),
        }
    }

    /// # Errors
    /// There is no number.
    pub fn peak(&self) -> Result<f64, Unknown> {
        self.mean().map(|_| self.peak)
    }
}

impl Tracks {
    /// Returns the readings of the name at a place; `None`: it is not followed.
    pub fn of(&self, place: usize) -> Option<&Track> {
        self.tracks.get(place)
    }

    /// Returns the best pair that was whole in the last scrape.
    pub fn best_pair(&self) -> Option<&PairTrack> {
        self.pairs.get(self.best?)
    }

    fn clear(&mut self) {
        let pairs = self.pairs.iter().map(|track| track.pair);
        let pairs: Vec<&'static Pair> = pairs.collect();
        *self = Course::new(self.tracks.len(), self.hit_rate, &pairs).folded;
    }

    fn add(&mut self, seen: &Observation, is_inside: bool) {
        let is_first = self.scrapes == 0;
        self.scrapes += 1;
        self.has_inside |= is_inside;
        for (place, track) in self.tracks.iter_mut().enumerate() {
            track.add(reading(seen, place), is_first, is_inside);
        }
        let pairs = match reading(seen, self.hit_rate) {
            Reading::Ratio(pairs) => pairs.as_slice(),
            _ => &[],
        };
        let of = |track: &PairTrack| pairs.iter().find(|seen| seen.pair == track.pair);
        let is_whole = |track: &PairTrack| of(track).is_some_and(PairReading::is_whole);
        self.best = self.pairs.iter().position(is_whole);
        for track in &mut self.pairs {
            let seen = of(track);
            add_all(&mut track.hits, seen.map(|seen| &*seen.hits));
            add_all(&mut track.of, seen.map(|seen| &*seen.of));
        }
    }
}

/// Adds the readings of several counters; `None`: none of them is on the page.
fn add_all(rises: &mut [Rise], seen: Option<&[Reading]>) {
    for (place, rise) in rises.iter_mut().enumerate() {
        let reading = seen.and_then(|seen| seen.get(place));
        rise.add(reading.unwrap_or(&Reading::Absent));
    }
}

impl Track {
    fn add(&mut self, reading: &Reading, is_first: bool, is_inside: bool) {
        self.is_shown |= *reading != Reading::Absent;
        self.rise.add(reading);
        self.latest = match reading {
            Reading::Gauge(value) | Reading::Counter(value) => {
                value.filter(|level| level.is_finite() && *level >= 0.0)
            }
            Reading::Absent | Reading::Ratio(_) => None,
        };
        let Some(level) = self.latest else {
            return;
        };
        self.all.add(level);
        if !is_first && level > 0.0 {
            self.in_use.add(level);
        }
        if is_inside {
            self.inside.add(level);
        }
    }
}

impl PairTrack {
    /// Returns the increase of the hits.
    ///
    /// # Errors
    /// The reason why one of the counters has no increase.
    pub fn hits(&self) -> Result<f64, Unknown> {
        self.hits.iter().map(Rise::get).sum()
    }

    /// Returns the increase of the lookups.
    ///
    /// # Errors
    /// The reason why one of the counters has no increase.
    pub fn lookups(&self) -> Result<f64, Unknown> {
        self.of.iter().map(Rise::get).sum()
    }

    /// Returns hits over lookups.
    ///
    /// # Errors
    /// The reasons of `hits` and `lookups`, and lookups that did not rise.
    pub fn rate(&self) -> Result<f64, Unknown> {
        quotient(self.hits(), self.lookups())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// A scrape of a gauge and a counter, from this second on for a quarter of a second.
    fn seen(second: u64, gauge: f64, counter: f64) -> Observation {
        Observation {
            t_begin_ns: second * S,
            t_end_ns: second * S + S / 4,
            values: vec![
                Reading::Gauge(Some(gauge)),
                Reading::Counter(Some(counter)),
                Reading::Absent,
            ],
        }
    }

    fn course(scrapes: &[(u64, f64, f64)], start_ns: u64) -> Course {
        let mut course = Course::new(3, 2, &[]);
        for &(second, gauge, counter) in scrapes {
            course.add(seen(second, gauge, counter), Some(start_ns));
        }
        course
    }

    #[test]
    fn the_pass_counts_from_the_last_scrape_before_its_start_to_the_first_after_its_end() {
        let scrapes = [
            (1, 9.0, 1.0),
            (2, 7.0, 5.0),
            // The pass begins at 2.5 s and ends at 5 s.
            (3, 2.0, 10.0),
            (4, 4.0, 20.0),
            (5, 0.0, 45.0),
            (6, 8.0, 99.0),
        ];
        let course = course(&scrapes, 2 * S + S / 2);
        let tracks = course.until(5 * S).expect("before and after");
        let [gauge, counter] = [0, 1].map(|place| tracks.of(place).expect("followed"));
        // 45 − 5.
        assert_eq!(counter.rise.get(), Ok(40.0));
        // 7, 2, 4 and 0; inside are 2 and 4.
        assert_eq!((gauge.all.peak(), gauge.all.mean()), (Ok(7.0), Ok(3.25)));
        assert_eq!(
            (gauge.inside.peak(), gauge.inside.mean()),
            (Ok(4.0), Ok(3.0))
        );
        assert_eq!((gauge.in_use.count, gauge.in_use.mean()), (2, Ok(3.0)));
        assert!(tracks.has_inside && !tracks.of(2).expect("followed").is_shown);
        // So far: up to the newest one.
        let so_far = course.so_far();
        assert_eq!(so_far.of(1).expect("followed").rise.get(), Ok(94.0));
        assert_eq!(so_far.of(0).expect("followed").latest, Some(8.0));
    }

    #[test]
    fn without_a_scrape_before_or_after_nothing_is_known() {
        let late = course(&[(3, 1.0, 1.0), (4, 1.0, 2.0)], 2 * S);
        assert_eq!(late.until(4 * S).err(), Some(Unknown::NoBefore));
        let early = course(&[(1, 1.0, 1.0), (3, 1.0, 2.0)], 2 * S);
        assert_eq!(early.until(4 * S).err(), Some(Unknown::NoAfter));
        let alone = course(&[(1, 1.0, 1.0)], 2 * S);
        assert_eq!(alone.until(4 * S).err(), Some(Unknown::NoAfter));
    }

    #[test]
    fn a_scrape_across_an_edge_is_not_inside() {
        for (start_ns, end_ns) in [(2 * S + S / 8, 3 * S), (S + S / 2, 2 * S + S / 8)] {
            let course = course(&[(1, 0.0, 1.0), (2, 5.0, 2.0), (3, 0.0, 3.0)], start_ns);
            let tracks = course.until(end_ns).expect("before and after");
            assert!(!tracks.has_inside, "{start_ns} {end_ns}");
        }
    }

    #[test]
    fn scrapes_between_requests_tell_changes_and_no_levels_of_a_request() {
        let mut course = Course::new(3, 2, &[]).between_requests();
        for second in 1..=5 {
            course.add(seen(second, 0.0, second as f64), Some(2 * S));
        }
        let tracks = course.until(5 * S).expect("before and after");
        assert!(!tracks.has_inside);
        let [gauge, counter] = [0, 1].map(|place| tracks.of(place).expect("followed"));
        assert_eq!((gauge.inside.count, counter.rise.get()), (0, Ok(4.0)));
    }

    #[test]
    fn a_day_of_scrapes_takes_the_memory_of_a_few() {
        let mut course = Course::new(3, 2, &[]);
        course.add(seen(0, 0.0, 0.0), None);
        for second in 1..=86_400 {
            course.add(seen(second, (second % 5) as f64, second as f64), Some(1));
        }
        assert_eq!(course.held.len(), HELD);
        let tracks = course.so_far();
        let gauge = tracks.of(0).expect("followed");
        // 0, 1, 2, 3, 4 over and over, and the one before the start.
        assert_eq!((gauge.all.peak(), gauge.inside.mean()), (Ok(4.0), Ok(2.0)));
        assert_eq!(tracks.of(1).expect("followed").rise.get(), Ok(86_400.0));
    }
}
