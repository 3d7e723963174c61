//! A run that was saved: from what its files hold to its figures, by the code that the run itself used.
//!
//! Reads no file. What no file tells is said in `notes`.

use serde_json::Value;

use super::{read_back, saved_load, saved_replay, saved_run};
use crate::sample::{Phase, Sample};
use crate::stats::bootstrap::Comparison;
use crate::stats::client::{ClientStats, ClientSummary};
use crate::stats::goodput::Slo;
use crate::stats::load::LoadSummary;
use crate::stats::round::RoundSummary;
use crate::stats::workload::WorkloadSummary;
use crate::stats::{Clock, Stats, Summary, ttft_from_due_ns};
use crate::units::nanoseconds;
use crate::vitals::Vitals;

/// A saved run, ready to be shown.
pub struct Report {
    /// What stands in front of the figures in its file, an object: command, model, options.
    pub about: Value,
    pub figures: Figures,
    /// What a reader must know of the input.
    pub notes: Vec<String>,
    /// Requests for charts, in the order of their ends; empty: the input has none.
    pub groups: Vec<Group>,
}

pub enum Figures {
    Benchmark {
        summary: Box<Summary>,
        /// What ended the run.
        why: String,
    },
    Replay(Vec<Round>),
    Run(Vec<WorkloadSummary>),
    /// Points; several are a sweep.
    Load(Vec<LoadSummary>),
}

/// One round of a replay.
pub struct Round {
    pub summary: RoundSummary,
    /// With the level's first round.
    pub comparison: Option<Comparison>,
    /// `None`: not known, as of a run that was killed.
    pub is_cut_short: Option<bool>,
}

/// Requests that are drawn as one: a round, or the rotations of one kind.
pub struct Group {
    pub name: String,
    /// Of the warm-up none.
    pub samples: Vec<Sample>,
}

/// What a file of samples holds.
pub struct Samples {
    pub about: Value,
    pub samples: Vec<Sample>,
    pub vitals: Vec<Vitals>,
    /// Lines of the series `metrics`.
    pub metrics: Vec<Value>,
    /// Lines of the series `workload`.
    pub workloads: Vec<Value>,
    /// Lines of the series `point`, each behind the number of samples before it.
    pub points: Vec<(usize, Value)>,
}

/// So many parts without samples are named.
const MISSING: usize = 8;
pub(super) const NO_SAMPLES: &str = "The input has no samples: no charts of TTFT, of gaps, of latency, of tokens per second and of requests in flight";

impl Report {
    pub fn is_mock(&self) -> bool {
        self.about["mock"] == true
    }

    /// Notes the first parts of what was asked for that have no samples.
    pub fn note_missing(&mut self) {
        let options = &self.about["options"];
        let mut planned: Box<dyn Iterator<Item = String>> = match &self.figures {
            Figures::Benchmark { .. } => return,
            // A file may ask for any number of rounds.
            Figures::Replay(_) => Box::new(saved_replay::planned(options)),
            Figures::Run(_) => Box::new(saved_run::planned(options)),
            Figures::Load(_) => Box::new(saved_load::planned(options).into_iter()),
        };
        let is_missing = |name: &String| self.groups.iter().all(|group| group.name != *name);
        let missing: Vec<String> = planned.by_ref().filter(is_missing).take(MISSING).collect();
        if !missing.is_empty() {
            let more = if planned.any(|name| is_missing(&name)) {
                " and more"
            } else {
                ""
            };
            let missing = missing.join("; ");
            self.notes.push(format!(
                "The samples end before the first of {missing}{more}"
            ));
        }
    }

    /// Of samples of `benchmark`; `end`: clock and reason from the last line of a run that came to its end.
    pub fn of_benchmark(saved: Samples, end: Option<(Clock, String)>) -> Report {
        let Samples {
            about,
            mut samples,
            vitals,
            ..
        } = saved;
        let options = &about["options"];
        let wanted_tokens = options["output_length_tokens"].as_u64();
        let mut stats = Stats::default();
        let mut notes = Vec::new();
        let (mut clock, why) = end.unwrap_or_else(|| {
            notes.push("The run has no end in this file: elapsed time is that of its last request, and requests in flight then are not counted".to_string());
            (clock_of(&samples), "the samples end here".to_string())
        });
        let warmup_s = options["warmup_s"].as_f64().unwrap_or(0.0);
        let warmup = std::time::Duration::try_from_secs_f64(warmup_s).unwrap_or_default();
        clock.measured_ns = clock.started_ns.saturating_add(nanoseconds(warmup));
        clock.mock_in_process = about["mock"] == true;
        for sample in &mut samples {
            sample.labels.wanted_output_tokens = wanted_tokens;
            stats.add(sample);
        }
        for seen in vitals
            .iter()
            .filter(|seen| seen.t_end_ns > clock.started_ns)
        {
            stats.add_vitals(seen, clock.measured_ns);
        }
        notes.extend(no_gaps(samples.iter()));
        let summary = stats.summary(&clock).ended();
        Report {
            groups: rotations(samples),
            about,
            figures: Figures::Benchmark {
                summary: Box::new(summary),
                why,
            },
            notes,
        }
    }

    /// Of a file that `benchmark --output` wrote; `None`: it is none.
    pub fn of_benchmark_result(mut file: Value) -> Option<Report> {
        let about = file.as_object_mut()?;
        let summary = about.remove("summary")?;
        let ended = about.remove("ended")?;
        about.remove("schema");
        about.remove("tool_version");
        let why = ended.as_str().unwrap_or("the run goes on, or was killed");
        Some(Report {
            figures: Figures::Benchmark {
                summary: Box::new(read_back::summary(&summary)?),
                why: why.to_string(),
            },
            about: file,
            notes: vec![NO_SAMPLES.to_string()],
            groups: Vec::new(),
        })
    }
}

/// Of the seconds that end behind `start_ns`, and not behind `until_ns`.
pub(super) fn client_between(
    vitals: &[Vitals],
    start_ns: u64,
    until_ns: u64,
    mock_in_process: bool,
) -> ClientSummary {
    let mut client = ClientStats::default();
    let is_between = |seen: &&Vitals| seen.t_end_ns > start_ns && seen.t_end_ns <= until_ns;
    for seen in vitals.iter().filter(is_between) {
        client.add(seen, start_ns);
    }
    client.summary(start_ns, mock_in_process)
}

/// Said of samples whose gaps were left out.
pub(super) fn no_gaps<'a>(mut samples: impl Iterator<Item = &'a Sample> + Clone) -> Option<String> {
    let several = |sample: &Sample| sample.is_success() && sample.token_events > 1;
    let is_absent = samples.clone().any(several) && samples.all(|s| s.gaps_us.is_empty());
    is_absent.then(|| "The samples were written without gaps between tokens (--no-gaps): no figures and no chart of them".to_string())
}

fn rotations(samples: Vec<Sample>) -> Vec<Group> {
    let counted = samples
        .into_iter()
        .filter(|sample| sample.phase != Phase::Warmup);
    let (cold, warm): (Vec<Sample>, Vec<Sample>) =
        counted.partition(|sample| sample.labels.rotation == Some(0));
    let named = [
        ("first rotation (cold)", cold),
        ("later rotations (warm)", warm),
    ];
    let groups = named.into_iter().filter(|(_, samples)| !samples.is_empty());
    groups
        .map(|(name, samples)| Group {
            name: name.to_string(),
            samples,
        })
        .collect()
}

pub(super) fn start_ns(samples: &[Sample]) -> u64 {
    let starts = samples.iter().map(|sample| sample.t_send_ns);
    starts.min().unwrap_or(0)
}

/// As far as the samples tell.
fn clock_of(samples: &[Sample]) -> Clock {
    let ends = samples.iter().map(|sample| sample.t_end_ns);
    Clock {
        started_ns: start_ns(samples),
        now_ns: ends.max().unwrap_or(0),
        peak: peak(samples),
        ..Clock::default()
    }
}

/// The most requests in flight at once; one that ends as another is sent was not beside it.
pub(super) fn peak(samples: &[Sample]) -> u64 {
    let mut sent: Vec<u64> = samples.iter().map(|sample| sample.t_send_ns).collect();
    let mut ended: Vec<u64> = samples.iter().map(|sample| sample.t_end_ns).collect();
    sent.sort_unstable();
    ended.sort_unstable();
    let mut gone = 0;
    let in_flight = sent.iter().enumerate().map(|(before, sent_ns)| {
        gone += ended[gone..]
            .iter()
            .take_while(|&end_ns| end_ns <= sent_ns)
            .count();
        (before + 1).saturating_sub(gone) as u64
    });
    in_flight.max().unwrap_or(0)
}

pub(super) fn slo(value: &Value) -> Option<Slo> {
    value.as_object().map(|limits| {
        let limit = |key: &str| limits.get(key).and_then(Value::as_f64);
        Slo {
            ttft_ms: limit("ttft_ms"),
            itl_ms: limit("itl_ms"),
            latency_ms: limit("latency_ms"),
        }
    })
}

impl Group {
    fn measured(&self) -> impl Iterator<Item = &Sample> {
        let counts = |sample: &&Sample| sample.is_success() && sample.phase == Phase::Measured;
        self.samples.iter().filter(counts)
    }

    /// Of successes, sorted, in milliseconds; from the due times in an open loop.
    pub(super) fn ttft_ms(&self) -> Vec<f64> {
        sorted(
            self.measured()
                .filter_map(ttft_from_due_ns)
                .map(|ns| ns as f64 / 1e6),
        )
    }

    /// Between token events, as above.
    pub(super) fn gaps_ms(&self) -> Vec<f64> {
        let gaps = self.measured().flat_map(|sample| &sample.gaps_us);
        sorted(gaps.map(|&us| f64::from(us) / 1e3))
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_peak_is_of_requests_that_overlap_and_one_that_ends_makes_room() {
        let samples = |spans: &[(u64, u64)]| -> Vec<Sample> {
            let spans = spans.iter();
            spans
                .map(|&(t_send_ns, t_end_ns)| Sample {
                    t_send_ns,
                    t_end_ns,
                    ..Sample::default()
                })
                .collect()
        };
        for (spans, wanted) in [
            (&[][..], 0),
            (&[(0, 10), (10, 20), (20, 30)], 1),
            (&[(5, 15), (0, 10), (9, 12), (11, 13)], 3),
            (&[(0, 9), (1, 8), (2, 7)], 3),
            // Not possible, and no panic.
            (&[(9, 1)], 0),
        ] {
            assert_eq!(peak(&samples(spans)), wanted, "{spans:?}");
        }
    }

    #[test]
    fn of_the_parts_without_samples_the_first_are_named_however_many_were_asked_for() {
        let note = |concurrency: &[u64], rounds: u64, there: &[&str]| {
            let mut report = Report {
                about: json!({"options": {"concurrency": concurrency, "rounds": rounds}}),
                figures: Figures::Replay(Vec::new()),
                notes: Vec::new(),
                groups: there
                    .iter()
                    .map(|name| Group {
                        name: (*name).to_string(),
                        samples: Vec::new(),
                    })
                    .collect(),
            };
            report.note_missing();
            report.notes.pop()
        };
        let first = "concurrency 4, round 1";
        assert_eq!(note(&[4], 1, &[first]), None);
        let said = "The samples end before the first of ";
        let wanted =
            format!("{said}concurrency 4, round 2; concurrency 8, round 1; concurrency 8, round 2");
        assert_eq!(note(&[4, 8], 2, &[first]), Some(wanted));
        let names: Vec<String> = (2..10)
            .map(|n| format!("concurrency 4, round {n}"))
            .collect();
        let wanted = format!("{said}{} and more", names.join("; "));
        assert_eq!(note(&[4], u64::MAX, &[first]), Some(wanted));
    }
}
