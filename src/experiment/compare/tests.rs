use super::*;
use crate::sample::{FailKind, Failure, Sample};

const MS: u64 = 1_000_000;

/// A machine with `concurrency` in flight whose default figures decide.
fn machine(pairs: u64, concurrency: u64) -> Compare {
    Compare::new(&Settings {
        figures: vec![Name::TtftMean, Name::ItlMean, Name::ErrorRate],
        margin: 0.03,
        pairs,
        concurrency,
        seed: 7,
    })
}

/// A reply with a TTFT of `ttft_ms`, and ten tokens that are 10 ms apart.
fn reply(ttft_ms: u64) -> Sample {
    Sample {
        t_first_ns: Some(ttft_ms * MS),
        t_last_ns: Some((ttft_ms + 90) * MS),
        t_end_ns: (ttft_ms + 90) * MS,
        prompt_tokens: Some(100),
        completion_tokens: Some(10),
        ..Sample::default()
    }
}

fn failure() -> Sample {
    Sample {
        failure: Some(Failure::new(FailKind::Http, "no")),
        t_end_ns: MS,
        ..Sample::default()
    }
}

/// Answers all requests, one after the other, and returns what was found.
fn run(mut machine: Compare, reply: impl Fn(Ask) -> Sample) -> Findings {
    let mut in_flight = Vec::new();
    let mut now_ns = 0;
    loop {
        match machine.next() {
            Next::Send(ask) => in_flight.push(ask),
            Next::Wait => {
                let ask = in_flight.remove(0);
                let mut sample = reply(ask);
                sample.t_send_ns = now_ns;
                sample.t_first_ns = sample.t_first_ns.map(|ns| ns + now_ns);
                sample.t_last_ns = sample.t_last_ns.map(|ns| ns + now_ns);
                sample.t_end_ns += now_ns;
                now_ns = sample.t_end_ns;
                machine.tell(ask, &Record::from(&sample));
            }
            Next::End => return machine.findings(),
        }
    }
}

fn figure(findings: &Findings, name: Name) -> &Figure {
    let mut figures = findings.figures.iter();
    figures
        .find(|figure| figure.name == name)
        .expect("all figures are shown")
}

/// A TTFT of 90 to 110 ms, which is not the same in any two neighbouring pairs.
fn noisy(pair: u64) -> u64 {
    90 + pair * 7919 % 21
}

#[test]
fn single_requests_alternate_in_random_order_within_each_pair() {
    let mut machine = machine(200, 1);
    let mut first = [0; 2];
    for pair in 0..100 {
        let mut sides = Vec::new();
        for _ in 0..2 {
            let Next::Send(ask) = machine.next() else {
                panic!("nothing is in flight");
            };
            assert_eq!(ask.pair, pair);
            assert_eq!(machine.next(), Next::Wait);
            machine.tell(ask, &Record::from(&reply(noisy(pair) + ask.side as u64)));
            sides.push(ask.side);
        }
        first[sides[0]] += 1;
        sides.sort_unstable();
        assert_eq!(sides, [0, 1]);
    }
    // Of 100 fair coins 30 to 70 show one side in all but 3 of 100,000 cases.
    assert!(first[0] >= 30 && first[1] >= 30, "{first:?}");
}

#[test]
fn windows_have_twenty_requests_for_each_in_flight_and_are_drained() {
    // 200 pairs fill two windows of 80 a side with 4 in flight.
    let mut machine = machine(200, 4);
    let mut in_flight: Vec<Ask> = Vec::new();
    let mut sent = Vec::new();
    loop {
        match machine.next() {
            Next::Send(ask) => {
                in_flight.push(ask);
                sent.push(ask);
                assert!(in_flight.len() <= 4);
                assert!(in_flight.iter().all(|one| one.side == ask.side));
            }
            Next::Wait => {
                let ask = in_flight.remove(0);
                machine.tell(ask, &Record::from(&reply(100)));
            }
            Next::End => break,
        }
    }
    assert_eq!(sent.len(), 4 * 80);
    for (k, window) in sent.chunks(80).enumerate() {
        assert!(window.iter().all(|ask| ask.side == window[0].side));
        let pairs = window.iter().map(|ask| ask.pair);
        assert!(pairs.eq(k as u64 / 2 * 80..k as u64 / 2 * 80 + 80));
    }
    assert_ne!(sent[0].side, sent[80].side);
    assert_ne!(sent[160].side, sent[240].side);
    assert_eq!(
        (default_pairs(1), default_pairs(2), default_pairs(8)),
        (2000, 2000, 6400)
    );
}

#[test]
fn a_plain_difference_is_found_at_an_early_look_with_the_ratio_worked_by_hand() {
    // The new side takes 1.5 times as long. The first look is at six batches of 20 pairs; the error rate is not yet known
    // to 3 points then, but no request has failed.
    let slow = |ask: Ask| reply(noisy(ask.pair) * [2, 3][ask.side]);
    let found = run(machine(2000, 1), slow);
    assert_eq!(found.verdict, Verdict::Slower);
    let ttft = figure(&found, Name::TtftMean);
    assert_eq!(
        (ttft.verdict, ttft.confidence),
        (Verdict::Slower, Some(0.995))
    );
    assert!((ttft.ratio.expect("both sides") - 1.5).abs() < 1e-9);
    let (low, high) = (ttft.low.expect("low"), ttft.high.expect("high"));
    assert!((1.4999..=1.5 + 1e-9).contains(&low) && (1.5 - 1e-9..1.5001).contains(&high));
    assert_eq!(ttft.pairs, 120);
    assert_eq!(figure(&found, Name::ItlMean).verdict, Verdict::Same);
    let errors = figure(&found, Name::ErrorRate);
    assert_eq!(errors.verdict, Verdict::Same);
    assert!(errors.high.is_some_and(|high| high > 0.03));
    // A request of 2 x and 90 ms has ten tokens: the sides have the throughputs of their mean latencies, 10 tokens each.
    let mean = (0..ttft.pairs).map(noisy).sum::<u64>() as f64 / ttft.pairs as f64;
    let throughput = figure(&found, Name::OutputThroughput);
    let wanted = (2.0 * mean + 90.0) / (3.0 * mean + 90.0);
    assert!((throughput.ratio.expect("both sides") - wanted).abs() < 1e-9);
    assert_eq!(
        (throughput.verdict, throughput.decides),
        (Verdict::Slower, false)
    );
    assert_eq!((found.stopped, found.notes.len()), (None, 0));
    assert_eq!(found.sides[0].ttft_ms.len(), 101);
    assert_eq!(
        (found.sides[0].ttft_ms[0], found.sides[1].ttft_ms[100]),
        (180.0, 330.0)
    );
    let other = run(machine(2000, 1), |ask| {
        reply(noisy(ask.pair) * [3, 2][ask.side])
    });
    assert_eq!(other.verdict, Verdict::Faster);
}

#[test]
fn one_token_has_no_itl_which_then_decides_nothing() {
    let one = |ask: Ask| Sample {
        completion_tokens: Some(1),
        ..reply(noisy(ask.pair))
    };
    let found = run(machine(2000, 1), one);
    let itl = figure(&found, Name::ItlMean);
    assert_eq!(
        (itl.verdict, itl.decides, itl.base),
        (Verdict::Unclear, false, None)
    );
    assert!(itl.why.is_some());
    assert_eq!(found.verdict, Verdict::Same);
}

#[test]
fn errors_alone_do_not_make_sides_the_same_that_have_no_times() {
    let plain = |ask: Ask| Sample {
        t_first_ns: None,
        ..reply(noisy(ask.pair))
    };
    let found = run(machine(400, 1), plain);
    assert_eq!(figure(&found, Name::ErrorRate).verdict, Verdict::Same);
    assert_eq!(found.verdict, Verdict::Unclear);
}

#[test]
fn a_figure_that_one_side_lacks_is_unclear_and_ends_the_wait_for_it() {
    let plain = |ask: Ask| Sample {
        t_first_ns: Some(noisy(ask.pair) * MS).filter(|_| ask.side == 0),
        ..reply(noisy(ask.pair))
    };
    let found = run(machine(2000, 1), plain);
    assert_eq!(found.verdict, Verdict::Unclear);
    let ttft = figure(&found, Name::TtftMean);
    assert_eq!(
        (ttft.decides, ttft.verdict, ttft.needed),
        (true, Verdict::Unclear, None)
    );
    assert!(found.sides[0].requests < 300, "{}", found.sides[0].requests);
}

#[test]
fn a_server_that_fails_on_and_on_ends_the_comparison_and_is_the_slower_one() {
    for (dead, wanted) in [(1, Verdict::Slower), (0, Verdict::Unclear)] {
        let found = run(machine(2000, 1), |ask| {
            match ask.side == dead && ask.pair >= 50 {
                true => failure(),
                false => reply(noisy(ask.pair)),
            }
        });
        assert_eq!(found.verdict, wanted, "side {dead}");
        assert_eq!(found.sides[dead].failed, 20);
        assert!(found.stopped.is_some());
    }
    let found = run(machine(2000, 1), |_| failure());
    assert_eq!(found.verdict, Verdict::Unclear);
}

#[test]
fn more_errors_are_slower_though_all_times_are_the_same() {
    // Every fifth request to the new side fails: 24 of 120 up to the first look.
    let found = run(machine(400, 1), |ask| {
        match ask.side == 1 && ask.pair % 5 == 0 {
            true => failure(),
            false => reply(noisy(ask.pair)),
        }
    });
    let errors = figure(&found, Name::ErrorRate);
    assert_eq!(
        (errors.base, errors.new, errors.ratio),
        (Some(0.0), Some(0.2), None)
    );
    assert_eq!(
        (errors.difference, errors.verdict),
        (Some(0.2), Verdict::Slower)
    );
    assert_eq!(found.verdict, Verdict::Slower);
    // A fifth of the pairs has no time, which is too many.
    let ttft = figure(&found, Name::TtftMean);
    assert_eq!((ttft.verdict, ttft.pairs), (Verdict::Unclear, 96));
}

#[test]
fn longer_prompts_on_one_side_are_told_and_ttft_decides_nothing() {
    let longer = |ask: Ask| Sample {
        prompt_tokens: Some([100, 110][ask.side]),
        ..reply(noisy(ask.pair) * [2, 3][ask.side])
    };
    let found = run(machine(400, 1), longer);
    let ttft = figure(&found, Name::TtftMean);
    assert_eq!((ttft.decides, ttft.verdict), (false, Verdict::Unclear));
    assert_eq!(found.notes.len(), 1);
    assert!(found.notes[0].contains("100.0") && found.notes[0].contains("110.0"));
    assert_eq!(figure(&found, Name::ItlMean).verdict, Verdict::Same);
}

#[test]
fn hits_are_shares_of_prompt_tokens_and_fewer_are_slower() {
    let hits = |ask: Ask| Sample {
        cached_tokens: Some([80, 40][ask.side]),
        ..reply(noisy(ask.pair))
    };
    let found = run(machine(400, 1), hits);
    let rate = figure(&found, Name::HitRate);
    assert_eq!((rate.base, rate.new), (Some(0.8), Some(0.4)));
    assert_eq!((rate.verdict, rate.decides), (Verdict::Slower, false));
}

#[test]
fn a_comparison_that_is_cut_tells_why_and_how_many_pairs_are_needed() {
    let mut machine = machine(2000, 1);
    for _ in 0..60 {
        let Next::Send(ask) = machine.next() else {
            panic!("nothing is in flight");
        };
        // Pairs that are in no relation to each other, of 50 to 250 ms.
        let ttft_ms = 50 + (ask.pair * 2 + ask.side as u64) * 7919 % 201;
        machine.tell(ask, &Record::from(&reply(ttft_ms)));
    }
    machine.stop("interrupted");
    assert_eq!(machine.next(), Next::End);
    let found = machine.findings();
    assert_eq!(
        (found.verdict, found.stopped.as_deref()),
        (Verdict::Unclear, Some("interrupted"))
    );
    // Thirty pairs are one batch, and an interval takes two of twenty.
    let ttft = figure(&found, Name::TtftMean);
    assert_eq!((ttft.pairs, ttft.low, ttft.needed), (30, None, Some(10)));
    let empty = Compare::new(&machine.settings).findings();
    assert_eq!(
        (empty.verdict, empty.sides[0].requests),
        (Verdict::Unclear, 0)
    );
}
