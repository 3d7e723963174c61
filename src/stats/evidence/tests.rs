//! Evidence of small passes made by hand.

use serde_json::json;

use super::*;
use crate::sample::{FailKind, Failure, Labels, Sample};
use crate::stats::client::{ClientSummary, Limit};
use crate::stats::facts::{Facts, Told};
use crate::stats::kv_cache::Reason;
use crate::stats::records::Records;
use crate::stats::spread::Spread;

const MS: u64 = 1_000_000;

/// Returns a success of 1250 prompt tokens sent at this millisecond, with its TTFT in milliseconds and its cached tokens.
fn sent(at_ms: u64, ttft_ms: u64, cached: Option<u64>) -> Sample {
    Sample {
        t_send_ns: at_ms * MS,
        t_first_ns: Some((at_ms + ttft_ms) * MS),
        t_end_ns: (at_ms + ttft_ms) * MS,
        prompt_tokens: Some(1250),
        cached_tokens: cached,
        ..Sample::default()
    }
}

fn labelled(sample: Sample, labels: Labels) -> Sample {
    Sample { labels, ..sample }
}

fn failed(sample: Sample) -> Sample {
    Sample {
        failure: Some(Failure::new(FailKind::Http, "x")),
        prompt_tokens: None,
        ..sample
    }
}

fn with_counters(facts: Facts, hits: f64, prompts: f64) -> Facts {
    let told = [("hit", hits), ("prompt", prompts)].map(|(name, tokens)| {
        let key = format!("counter_{name}_tokens");
        (key, Told::new(tokens, "the page"))
    });
    Facts {
        told: told.into(),
        ..facts
    }
}

fn pass(facts: Facts, samples: &[Sample]) -> Pass {
    Pass::new(facts, Records::kept().with(samples))
}

#[track_caller]
fn near(got: Option<f64>, wanted: f64) {
    assert!(
        got.is_some_and(|got| (got - wanted).abs() < 1e-9),
        "{got:?} instead of {wanted}"
    );
}

fn of_benchmark(pass: Pass) -> Evidence {
    let about = json!({
        "command": "benchmark",
        "is_nonce_fresh": true,
        "options": {"input_length_tokens": 1000, "rotations": 2},
    });
    Evidence::of(&about, &[pass])
}

/// Returns a request of `benchmark`: a context of 1000 tokens and a question of 250.
fn request(rotation: u64, at_ms: u64, cached: Option<u64>) -> Sample {
    let labels = Labels {
        rotation: Some(rotation),
        ..Labels::default()
    };
    labelled(sent(at_ms, 10, cached), labels)
}

/// Returns two rotations of four contexts, 100 ms apart from 0 to 700 ms.
fn rotations(cold: Option<u64>, warm: Option<u64>) -> Vec<Sample> {
    let of = |k: u64| request(k / 4, k * 100, if k < 4 { cold } else { warm });
    (0..8).map(of).collect()
}

/// Returns a control: the first or the second request with a text, which was sent before or not.
fn control(at_ms: u64, turn: u64, session: Option<u64>, cached: Option<u64>) -> Sample {
    let labels = Labels {
        session,
        turn: Some(turn),
        repeat: Some(session.is_none() || turn > 0),
        is_control: true,
        ..Labels::default()
    };
    Sample {
        phase: Phase::Control,
        ..labelled(sent(at_ms, 10, cached), labels)
    }
}

fn window() -> Facts {
    Facts {
        window_ns: Some((0, 1000 * MS)),
        concurrency_peak: 1,
        ..Facts::default()
    }
}

#[test]
fn a_question_is_no_part_of_what_a_rotation_repeats() {
    let got = of_benchmark(pass(window(), &rotations(Some(0), Some(800))));
    // Each of four repeats hit 800 of the 1000 tokens of its context. These are 0.8 of 1250.
    assert_eq!((got.repeats, got.were_alone), (4, true));
    near(got.usage.map(|of| of.share), 0.8);
    near(got.usage_rate, 3200.0 / 10_000.0);
    // Half of the requests repeat 0.8 of their prompts.
    near(got.repeated_share, 0.4);
    assert_eq!((got.of_fresh, got.at_once), (Some(0.0), None));
    assert!(got.times.is_none() && got.counters.is_none());
    // A template of 250 tokens before every prompt is in each hit, and in no hit of a text.
    let mut templated = rotations(Some(250), Some(1050));
    let prompts = templated.iter_mut();
    prompts.for_each(|one| one.prompt_tokens = Some(1500));
    let facts = Facts {
        common_tokens: Some(250),
        ..window()
    };
    let got = of_benchmark(pass(facts, &templated));
    near(got.usage.map(|of| of.share), 0.8);
    near(got.of_fresh, 0.0);
}

#[test]
fn requests_that_failed_or_were_cut_or_sent_again_are_no_repeats() {
    let mut samples = rotations(Some(0), Some(800));
    samples[4].resent = true;
    samples[4].cached_tokens = Some(0);
    samples[5].phase = Phase::Cut;
    samples[6] = failed(samples[6].clone());
    let got = of_benchmark(pass(window(), &samples));
    assert_eq!(got.repeats, 1);
    near(got.usage.map(|of| of.share), 0.8);
    // They were sent all the same.
    near(got.repeated_share, 0.4);
    samples[7] = failed(samples[7].clone());
    let got = of_benchmark(pass(window(), &samples));
    assert_eq!((got.repeats, got.no_repeats), (0, ALL_FAILED));
    let got = of_benchmark(pass(window(), &samples[..4]));
    assert_eq!((got.repeats, got.no_repeats), (0, ONE_ROTATION));
    assert_eq!(
        Evidence::of(&json!({"command": "benchmark"}), &[]).repeats,
        0
    );
}

#[test]
fn counters_begin_after_a_warm_up() {
    let mut samples = rotations(None, None);
    let cold = samples[..4].iter_mut();
    cold.for_each(|one| one.phase = Phase::Warmup);
    // The four repeats have 5000 prompt tokens, 4000 of them in contexts, of which 1600 hit.
    let facts = with_counters(window(), 1600.0, 5000.0);
    let got = of_benchmark(pass(facts, &samples));
    near(got.repeated_share, 0.8);
    let counters = got.counters.expect("counters");
    near(counters.of_repeated, 0.4);
    near(Some(counters.rate), 0.32);
    // Scrapes may have some of the warm-up between them: all eight requests had 10,000 tokens.
    near(counters.load, 0.5);
}

#[test]
fn controls_are_in_no_figure_but_say_what_a_repeat_at_once_hits() {
    let mut samples = rotations(Some(0), Some(0));
    // Of the second requests one failed; the others hit 1000 and 1200 of 1250.
    samples.push(control(1000, 0, None, Some(0)));
    samples.push(control(1100, 1, None, Some(1000)));
    samples.push(control(1200, 0, None, Some(1200)));
    samples.push(control(1300, 1, None, Some(1200)));
    samples.push(failed(control(1400, 1, None, None)));
    let pass = pass(with_counters(window(), 0.0, 10_000.0), &samples);
    assert_eq!((pass.figures.requests, pass.figures.failed), (8, 0));
    let got = of_benchmark(pass);
    near(got.at_once, 2200.0 / 2500.0);
    near(got.usage.map(|of| of.share), 0.0);
    near(got.usage_rate, 0.0);
    // They came after the end of the window, at 1 s: neither counters nor load have them.
    assert!(got.were_alone);
    near(got.repeated_share, 0.4);
    let counters = got.counters.expect("counters");
    near(counters.of_repeated, 0.0);
    near(counters.load, 1.0);
}

#[test]
fn counters_of_an_endless_run_have_its_controls() {
    let samples = |cached: Option<u64>| {
        let mut samples = rotations(cached.map(|_| 0), cached.map(|_| 0));
        let turns = 0..8;
        samples.extend(turns.map(|k| control(800 + k, k % 2, None, cached.filter(|_| k % 2 > 0))));
        samples
    };
    // Sixteen requests have 20,000 prompt tokens. Twelve of them repeat 0.8 of their prompts: 12,000. The second ones of
    // the controls hit 1000 each.
    let facts = || with_counters(window(), 4000.0, 20_000.0);
    let got = of_benchmark(pass(facts(), &samples(None)));
    assert!(!got.were_alone);
    near(got.repeated_share, 0.6);
    let counters = got.counters.expect("counters");
    near(counters.of_repeated, 4000.0 / 12_000.0);
    near(counters.load, 1.0);
    // By `usage` all hits are those of controls: the rotation hit nothing.
    let got = of_benchmark(pass(facts(), &samples(Some(1000))));
    let counters = got.counters.expect("counters");
    near(counters.of_repeated, 0.0);
    near(Some(counters.rate), 0.2);
}

#[test]
fn half_of_the_fresh_pairs_repeat_nothing() {
    let mut samples = rotations(None, None);
    samples.extend((0..8).map(|k| control(800 + k, k % 2, Some(k / 2), None)));
    let facts = with_counters(window(), 8000.0, 20_000.0);
    let got = of_benchmark(pass(facts, &samples));
    // Four repeats of contexts and four of new texts are half of sixteen requests.
    near(got.repeated_share, 0.4);
    near(got.counters.expect("counters").of_repeated, 1.0);
    // Repeats at once came after them, alone.
    assert!(got.were_alone);
    assert!(got.times.is_some_and(|times| times.is_err()));
}

#[test]
fn a_control_that_was_sent_again_tells_no_time() {
    let mut samples = rotations(None, None);
    // The warm requests that count are those after the first one.
    samples[4].t_first_ns = Some(460 * MS);
    for pair in 0..15 {
        samples.push(control(800 + 2 * pair, 0, Some(pair), None));
        let warm = control(801 + 2 * pair, 1, Some(pair), None);
        samples.push(Sample {
            t_first_ns: Some((801 + 2 * pair + 1) * MS),
            ..warm
        });
    }
    let times = |samples: &[Sample]| of_benchmark(pass(window(), samples)).times;
    // Repeats take 10 ms, as new texts do: none of them hit.
    let share = times(&samples).and_then(Result::ok).map(|of| of.share);
    near(share, 0.0);
    samples[8].resent = true;
    let refused = times(&samples).and_then(Result::err);
    let why = "times do not tell: too few controls: 14 cold and 15 warm; want at least 15 of each";
    assert_eq!(refused.map(|why| why.to_string()).as_deref(), Some(why));
}

#[test]
fn short_texts_tell_how_much_of_a_ttft_is_prefill() {
    let short = |at_ms, ttft_ms| Sample {
        t_first_ns: Some((at_ms + ttft_ms) * MS),
        ..control(at_ms, 2, Some(at_ms), None)
    };
    let mut samples = rotations(None, None);
    samples.extend([short(1000, 2), short(1010, 4), failed(short(1020, 9))]);
    let got = of_benchmark(pass(window(), &samples));
    let new_ns = got.speed_up.expect("both sides have times").cold_median;
    near(got.prefill_ratio, new_ns / 3e6);
}

#[test]
fn a_lag_that_is_short_beside_the_ttft_of_repeats_moves_no_median() {
    let limited = |reasons: &[Limit], p99_ms| {
        let client = ClientSummary {
            limited: Some(true),
            reasons: reasons.to_vec(),
            lag: Spread::of(vec![p99_ms; 100]),
            ..ClientSummary::default()
        };
        distorts(&client, Some(200e6))
    };
    // A twentieth of 200 ms.
    assert!(!limited(&[Limit::Lag, Limit::LagMax], 9.9));
    assert!(limited(&[Limit::Lag], 10.1));
    assert!(limited(&[Limit::Lag, Limit::Cpu], 9.9));
    assert!(limited(&[Limit::Throttled], 0.1));
    assert!(!distorts(&ClientSummary::default(), Some(200e6)));
}

#[test]
fn the_engines_counters_around_controls_count_both_halves_of_them() {
    let of = |rate| {
        let facts = Facts {
            controls_hit_rate: rate,
            ..window()
        };
        of_benchmark(pass(facts, &rotations(None, None))).at_once_counted
    };
    assert_eq!(of(Some(0.375)), Some(0.75));
    assert_eq!(of(Some(0.75)), Some(1.0));
    assert_eq!(of(None), None);
}

/// Returns a round of sessions, each with two turns if `has_later_turns`; the cached tokens of a session's turns are told.
fn round(level: u64, round: u64, sessions: &[[u64; 2]], has_later_turns: bool) -> Pass {
    let facts = Facts {
        round: Some(round),
        concurrency: Some(level),
        ..Facts::default()
    };
    let turns = if has_later_turns { 2 } else { 1 };
    let samples = (0..).zip(sessions).flat_map(|(session, cached)| {
        (0..).zip(&cached[..turns]).map(move |(turn, cached)| {
            let labels = Labels {
                session: Some(session),
                turn: Some(turn),
                ..Labels::default()
            };
            labelled(sent(session * 10 + turn, 10 / round, Some(*cached)), labels)
        })
    });
    pass(facts, &samples.collect::<Vec<_>>())
}

fn of_replay(passes: &[Pass]) -> Evidence {
    Evidence::of(&json!({"command": "replay"}), passes)
}

#[test]
fn a_round_repeats_the_first_turns_of_the_first_round_of_its_level() {
    let passes = [
        round(4, 1, &[[0, 1000], [0, 1000]], true),
        round(8, 1, &[[250, 1000]], true),
        round(4, 2, &[[1250, 1000], [0, 1000]], true),
        round(8, 2, &[[500, 1000]], true),
    ];
    let got = of_replay(&passes);
    // Three first turns of second rounds hit 1250, 0 and 500 of 1250 tokens.
    assert_eq!(got.repeats, 3);
    near(got.usage.map(|of| of.share), 1750.0 / 3750.0);
    // All twelve turns hit 2000 + 1250 + 3250 + 1500.
    near(got.usage_rate, 8000.0 / 15_000.0);
    assert_eq!((got.repeated_share, got.of_fresh), (None, None));
    // The level with most first turns is compared: 10 ms against 5.
    let speed_up = got.speed_up.expect("both have times");
    assert_eq!((speed_up.ratio, speed_up.cold, speed_up.warm), (2.0, 2, 2));
    let once = of_replay(&passes[..2]);
    assert_eq!((once.repeats, once.no_repeats), (0, ONE_ROUND));
}

#[test]
fn the_counters_of_the_first_round_say_nothing_about_repeats() {
    let single = |number, hits| {
        let mut pass = round(4, number, &[[0, 0]], false);
        pass.facts = with_counters(pass.facts, hits, 1250.0);
        pass
    };
    let mut passes = [single(1, 500.0), single(2, 750.0)];
    let counters = of_replay(&passes).counters.expect("counters");
    near(counters.of_repeated, 0.6);
    near(Some(counters.rate), 0.5);
    near(counters.load, 1.0);
    passes[0].facts.told.clear();
    assert_eq!(of_replay(&passes).counters, None);
    // With later turns, most hits may be those of a session on its own history.
    let mut later = [round(4, 1, &[[0, 0]], true), round(4, 2, &[[0, 0]], true)];
    for pass in &mut later {
        pass.facts = with_counters(pass.facts.clone(), 1000.0, 2500.0);
    }
    let counters = of_replay(&later).counters.expect("counters");
    assert_eq!(counters.of_repeated, None);
    near(Some(counters.rate), 0.4);
}

#[test]
fn a_cache_that_was_emptied_between_rounds_repeats_nothing() {
    let passes = [round(4, 1, &[[0, 0]], false), round(4, 2, &[[0, 0]], false)];
    let about = json!({"command": "replay", "options": {"resets_between_rounds": true}});
    let got = Evidence::of(&about, &passes);
    assert_eq!((got.repeats, got.no_repeats), (0, RESET));
    assert_eq!(of_replay(&passes).repeats, 1);
}

/// Returns a request of `load` that repeats an earlier one or not.
fn of_load(at_ms: u64, ttft_ms: u64, repeat: bool, cached: u64) -> Sample {
    let labels = Labels {
        repeat: Some(repeat),
        ..Labels::default()
    };
    labelled(sent(at_ms, ttft_ms, Some(cached)), labels)
}

#[test]
fn a_load_compares_without_its_warm_up_and_without_its_ramp() {
    let warmup = |at_ms| Sample {
        phase: Phase::Warmup,
        ..of_load(at_ms, 500, false, 0)
    };
    // Two were in flight: the first two after the warm-up met an idle server.
    let samples = [
        warmup(0),
        warmup(1),
        of_load(600, 7, false, 0),
        of_load(601, 9, false, 0),
        of_load(620, 40, false, 0),
        of_load(670, 10, true, 1000),
        of_load(690, 40, false, 0),
        of_load(740, 10, true, 500),
        Sample {
            resent: true,
            ..of_load(750, 1, true, 1250)
        },
        failed(of_load(760, 1, true, 0)),
    ];
    let facts = Facts {
        concurrency_peak: 2,
        ..Facts::default()
    };
    // Seven prompts were counted, and the failed request may have been.
    let pass = pass(with_counters(facts, 2750.0, 10_000.0), &samples);
    let about = json!({"command": "load"});
    let got = Evidence::of(&about, &[pass]);
    let speed_up = got.speed_up.expect("both sides have times");
    assert_eq!(got.prefill_ratio, None);
    assert_eq!((speed_up.ratio, speed_up.cold, speed_up.warm), (4.0, 2, 2));
    assert_eq!(got.repeats, 2);
    near(got.usage.map(|of| of.share), 1500.0 / 2500.0);
    // Three repeats of seven counted prompts; the warm-up was over before the counters were read first.
    near(got.repeated_share, 3.0 / 7.0);
    let counters = got.counters.expect("counters");
    near(counters.load, 1.0);
    near(counters.of_repeated, 2750.0 / (10_000.0 * 3.0 / 7.0));
}

#[test]
fn repeats_of_all_points_count_and_nothing_repeated_is_told_from_nothing_succeeded() {
    let of = |samples: &[Sample]| pass(Facts::default(), samples);
    let about = json!({"command": "load"});
    let points = [
        of(&[of_load(0, 5, false, 0), of_load(9, 5, true, 1250)]),
        of(&[of_load(20, 5, false, 0), of_load(29, 5, true, 0)]),
    ];
    let got = Evidence::of(&about, &points);
    assert_eq!(got.repeats, 2);
    near(got.usage.map(|of| of.share), 0.5);
    let fresh = of(&[of_load(0, 5, false, 0)]);
    assert_eq!(Evidence::of(&about, &[fresh]).no_repeats, NO_REPEATS);
    let failures = of(&[of_load(0, 5, false, 0), failed(of_load(9, 5, true, 0))]);
    let got = Evidence::of(&about, &[failures]);
    assert_eq!((got.repeats, got.no_repeats), (0, ALL_FAILED));
}

#[test]
fn one_limited_pass_makes_the_client_limited() {
    let of = |limited| {
        let client = ClientSummary {
            limited,
            ..ClientSummary::default()
        };
        let facts = Facts {
            client,
            ..Facts::default()
        };
        pass(facts, &[of_load(0, 5, false, 0)])
    };
    let about = json!({"command": "load"});
    let is_limited = |passes: &[Pass]| -> bool { Evidence::of(&about, passes).is_client_limited };
    assert!(is_limited(&[of(Some(true)), of(Some(false))]));
    assert!(!is_limited(&[of(None), of(Some(false))]));
}

#[test]
fn run_repeats_nothing() {
    let pass = pass(Facts::default(), &[sent(0, 5, Some(600))]);
    let got = Evidence::of(&json!({"command": "run"}), &[pass]);
    assert_eq!((got.repeats, got.no_repeats), (0, NOT_IN_THIS_COMMAND));
    near(got.usage_rate, 0.48);
}

#[test]
fn an_odd_file_gives_no_panic_and_no_share_outside_0_to_1() {
    let odd_options = json!({"input_length_tokens": -5, "requests": "many"});
    for command in ["benchmark", "replay", "load", "run", "probe", ""] {
        for about in [
            json!(null),
            json!({"command": command}),
            json!({"command": command, "options": odd_options}),
            json!({"command": command, "options": {"input_length_tokens": 1}}),
        ] {
            for (hits, prompts) in [(-5.0, 10.0), (10.0, 0.0), (1e300, 1.0), (5.0, -10.0)] {
                let facts = || with_counters(window(), hits, prompts);
                let mut samples = rotations(Some(0), Some(1250));
                samples.push(control(500, 1, None, Some(1250)));
                // A first token at the send, and a prompt without tokens.
                samples[7].t_first_ns = Some(700 * MS);
                samples[6].prompt_tokens = Some(0);
                samples[6].cached_tokens = Some(0);
                let passes = [pass(facts(), &samples), pass(facts(), &[])];
                let got = Evidence::of(&about, &passes);
                let of_counters = got.counters.and_then(|of| of.of_repeated);
                let shares = [got.usage.map(|of| of.share), of_counters, got.at_once];
                for share in shares.into_iter().flatten() {
                    assert!((0.0..=1.0).contains(&share), "{got:?}");
                }
                assert!(got.speed_up.is_none_or(|of| of.ratio.is_finite()));
                got.decide();
            }
        }
    }
}

/// Returns a prompt of 40 tokens of `load`, sent at this millisecond.
fn short_prompt(at_ms: u64, is_repeat: bool, cached: u64) -> Sample {
    let labels = Labels {
        repeat: Some(is_repeat),
        ..Labels::default()
    };
    let sample = Sample {
        prompt_tokens: Some(40),
        ..sent(at_ms, 10, Some(cached))
    };
    labelled(sample, labels)
}

fn decided(about: &Value, facts: Facts, samples: &[Sample]) -> (Verdict, Reason) {
    let decision = Evidence::of(about, &[pass(facts, samples)]).decide();
    (decision.verdict, decision.reason)
}

/// 32 of 40 tokens, less than 0.8 of those beyond 4 that all prompts have in common, are all whole blocks.
#[test]
fn a_cache_that_holds_all_whole_blocks_works() {
    let about = json!({"command": "load"});
    let facts = || Facts {
        common_tokens: Some(4),
        ..Facts::default()
    };
    let samples: Vec<Sample> = (0..8)
        .map(|k| short_prompt(k, k > 3, if k > 3 { 32 } else { 0 }))
        .collect();
    let evidence = Evidence::of(&about, &[pass(facts(), &samples)]);
    near(evidence.usage.map(|of| of.share), 28.0 / 36.0);
    near(evidence.in_blocks, 28.0 / 36.0);
    assert_eq!(
        decided(&about, facts(), &samples),
        (Verdict::Working, Reason::Hits)
    );
    // Half of them hit.
    let samples: Vec<Sample> = (0..8)
        .map(|k| short_prompt(k, k > 3, if k > 5 { 32 } else { 0 }))
        .collect();
    assert_eq!(
        decided(&about, facts(), &samples),
        (Verdict::Partly, Reason::Hits)
    );
}

#[test]
fn prompts_of_less_than_a_block_tell_nothing() {
    let short = |sample| Sample {
        prompt_tokens: Some(12),
        ..sample
    };
    let samples: Vec<Sample> = (0..8).map(|k| short(short_prompt(k, k > 3, 0))).collect();
    let (verdict, reason) = decided(&json!({"command": "load"}), Facts::default(), &samples);
    assert_eq!(verdict, Verdict::Unknown);
    let why = "the prompts that were repeated have hardly a block of their own to hit";
    assert_eq!(reason, Reason::NothingRepeated(why));
}

/// Half of the first uses failed, so half of the repeats had nothing to hit.
#[test]
fn a_cache_is_not_blamed_for_first_uses_that_failed() {
    let about = json!({"command": "load"});
    let all = (0..16).map(|k| match k {
        0..4 => failed(short_prompt(k, false, 0)),
        4..8 => short_prompt(k, false, 0),
        8..12 => short_prompt(k, true, 0),
        _ => short_prompt(k, true, 32),
    });
    let samples: Vec<Sample> = all.collect();
    let evidence = Evidence::of(&about, &[pass(Facts::default(), &samples)]);
    near(evidence.first_uses, 0.5);
    near(evidence.usage.map(|of| of.share), 0.4);
    assert_eq!(
        decided(&about, Facts::default(), &samples).0,
        Verdict::Working
    );
    let all: Vec<Sample> = samples
        .into_iter()
        .map(|one| match one.labels.repeat {
            Some(false) => failed(one),
            _ => one,
        })
        .collect();
    let why = "the first uses of the prompts that were repeated have failed";
    assert_eq!(
        decided(&about, Facts::default(), &all),
        (Verdict::Unknown, Reason::NothingRepeated(why))
    );
}

#[test]
fn a_part_of_the_shards_of_a_load_does_not_tell() {
    let samples: Vec<Sample> = (0..8).map(|k| short_prompt(k, k > 3, 32)).collect();
    let about = |held: &[u64]| json!({"command": "load", "shard": {"of": 2, "held": held}});
    let unknown = Reason::NothingRepeated(
        "other shards send the first uses of the prompts that this one repeats; merge them all",
    );
    let of_one = decided(&about(&[1]), Facts::default(), &samples);
    assert_eq!(of_one, (Verdict::Unknown, unknown));
    let of_both = decided(&about(&[0, 1]), Facts::default(), &samples);
    assert_eq!(of_both, (Verdict::Working, Reason::Hits));
    // They overlapped by less than 95 %.
    let apart = Facts {
        overlap_ns: Some((0, 1)),
        ..Facts::default()
    };
    assert_eq!(
        decided(&about(&[0, 1]), apart, &samples).0,
        Verdict::Unknown
    );
}
