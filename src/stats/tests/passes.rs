//! Passes as they are read from the lines of a file, and requests whose tokens are counted after they ended.

use serde_json::json;

use super::*;
use crate::sample::Workload;
use crate::stats::facts::Metric;
use crate::stats::pass::{Passes, peak_of};

fn sample(id: u64) -> Sample {
    Sample {
        id,
        ..Sample::default()
    }
}

#[test]
fn the_peak_counts_overlapping_requests_and_one_that_ends_makes_room() {
    for (spans, wanted) in [
        (&[][..], 0),
        (&[(0, 10), (10, 20), (20, 30)], 1),
        (&[(5, 15), (0, 10), (9, 12), (11, 13)], 3),
        (&[(0, 9), (1, 8), (2, 7)], 3),
        // A span that ends before it begins is impossible, but causes no panic.
        (&[(9, 1)], 0),
    ] {
        assert_eq!(peak_of(spans.iter().copied()), wanted, "{spans:?}");
    }
}

#[test]
fn facts_read_from_a_line_are_those_that_were_written() {
    let wanted = Facts {
        workload: Some(Workload::Long),
        round: Some(2),
        concurrency: Some(4),
        rate_per_s: Some(2.5),
        run: Some(3),
        t_start_ns: 11,
        window_ns: Some((12, 13)),
        schedule_ns: Some((12, 14)),
        overlap_ns: Some((13, 14)),
        planned: Some(50),
        shares: Some(vec![20, 30]),
        not_sent: 9,
        turns_not_sent: 8,
        concurrency_peak: 3,
        in_flight: 6,
        exhausted: Some(7),
        perfect_response_rate: Some(0.25),
        perfect_prefix_rate: Some(0.125),
        ended: Some("all requests were sent".to_string()),
        controls_hit_rate: Some(0.375),
        was_stopped: true,
        is_complete: Some(true),
        shortened: Some((5, 4)),
        metrics: vec![Metric {
            name: "m".to_string(),
            spread: Spread::of(vec![1.0, 3.0]),
            over_pass: Some(2.0),
            source: "gauge".to_string(),
            shared: true,
        }],
        told: BTreeMap::from([("evict_ms".to_string(), Told::new(1.5, "the page"))]),
        ..Facts::default()
    };
    let line = serde_json::to_value(&wanted).expect("JSON");
    for (key, told) in line.as_object().expect("an object") {
        assert!(!told.is_null() && *told != 0, "{key} is not set");
    }
    assert_eq!(format!("{:?}", Facts::read(&line)), format!("{wanted:?}"));
}

#[test]
fn a_pass_without_its_line_has_the_facts_that_its_requests_tell() {
    let mut passes = Passes::new(&json!({"command": "load"}));
    let labels = Labels {
        rate_per_s: Some(2.5),
        ..Labels::default()
    };
    passes.sample(Sample {
        labels,
        t_end_ns: 1,
        ..sample(1)
    });
    let passes = passes.finish();
    let facts = &passes[0].facts;
    assert_eq!(
        (facts.rate_per_s, facts.concurrency, facts.concurrency_peak),
        (Some(2.5), None, 1)
    );
    assert_eq!((facts.planned, facts.exhausted), (None, None));
}

#[test]
fn a_pass_has_the_samples_before_its_line() {
    // Returns the number of requests of each pass and whether its line is there; `lines` says after how many samples
    // each line stands.
    let read = |samples: &[Sample], lines: &[usize]| -> Vec<(usize, bool)> {
        let mut passes = Passes::new(&json!({"command": "load"}));
        let line = json!({"ended": "all requests were sent"});
        for (at, sample) in samples.iter().enumerate() {
            if lines.contains(&at) {
                passes.pass(&line);
            }
            passes.sample(sample.clone());
        }
        if lines.contains(&samples.len()) {
            passes.pass(&line);
        }
        let passes = passes.finish();
        let passes = passes.iter();
        passes
            .map(|pass| (pass.records.list.len(), pass.facts.ended.is_some()))
            .collect()
    };
    let five: Vec<Sample> = (0..5).map(sample).collect();
    assert_eq!(read(&five, &[2, 5]), [(2, true), (3, true)]);
    assert_eq!(read(&five, &[3]), [(3, true), (2, false)]);
    assert_eq!(read(&five, &[]), [(5, false)]);
    // The run ended in the warm-up of a point, which therefore has nothing to show.
    let warmup = Sample {
        phase: Phase::Warmup,
        ..sample(5)
    };
    assert_eq!(read(&[sample(4), warmup], &[1]), [(1, true)]);
}

#[test]
fn only_successes_that_nobody_counted_are_counted_after_their_requests() {
    let plain = |id, sample| Sample {
        id,
        text: Some("a b".into()),
        ..sample
    };
    let uncounted = || Sample {
        completion_tokens: None,
        token_source: None,
        ..success(0, 1)
    };
    let mut passes = Passes::new(&json!({}));
    for sample in [
        plain(1, uncounted()),
        plain(2, failed(uncounted())),
        plain(3, success(0, 1)),
        plain(4, uncounted()),
    ] {
        passes.sample(sample);
    }
    for id in 1..=3 {
        passes.tokens(id, 70, TokenSource::Tokenize);
    }
    let records = passes.finish().remove(0).records;
    let ids: Vec<u64> = records.uncounted.iter().map(|reply| reply.id).collect();
    assert_eq!(ids, [1, 4]);
    let told = records
        .list
        .iter()
        .map(|record| record.completion_tokens.get());
    assert_eq!(told.collect::<Vec<_>>(), [Some(70), None, Some(11), None]);
    let sources = records.list.iter().map(|record| record.token_source);
    let (by_server, usage) = (Some(TokenSource::Tokenize), Some(TokenSource::Usage));
    assert_eq!(sources.collect::<Vec<_>>(), [by_server, None, usage, None]);
}
