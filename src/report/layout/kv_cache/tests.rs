//! Every form of the answer, as text and as JSON.

use serde_json::{Value, json};

use super::*;
use crate::stats::kv_cache::Counters;
use crate::stats::pass::Passes;
use crate::stats::separation::{NoShare, Refusal};

fn share(share: f64) -> Share {
    Share {
        share,
        interval: Some((share - 0.05, share + 0.05)),
    }
}

/// Returns a ratio of TTFT with its 95 % interval; 459 repeats took 310 ms.
fn ratio_of(ratio: f64, interval: Option<(f64, f64)>) -> SpeedUp {
    SpeedUp {
        ratio,
        cold_median: ratio * 310e6,
        warm_median: 310e6,
        interval,
        cold: 60,
        warm: 459,
    }
}

fn faster() -> Option<SpeedUp> {
    Some(ratio_of(4.9, Some((4.6, 5.2))))
}

fn no_faster() -> Option<SpeedUp> {
    Some(ratio_of(1.02, Some((0.98, 1.06))))
}

/// Returns the evidence of repeats of which no source tells anything.
fn nothing() -> Evidence {
    Evidence {
        repeats: 459,
        no_speed_up: "no warm request has a TTFT",
        were_alone: true,
        ..Evidence::default()
    }
}

fn usage(of: f64) -> Evidence {
    Evidence {
        usage: Some(share(of)),
        ..nothing()
    }
}

fn counted(of: f64) -> Evidence {
    let counters = Counters {
        rate: of,
        of_repeated: Some(of),
        load: None,
    };
    Evidence {
        counters: Some(counters),
        ..nothing()
    }
}

fn timed(times: Result<f64, Refusal>) -> Evidence {
    let times = times.map(share).map_err(NoShare::Refused);
    Evidence {
        times: Some(times),
        ..nothing()
    }
}

/// Returns the evidence of a `usage` that reports all tokens as cached, those of new prompts too.
fn claiming() -> Evidence {
    Evidence {
        of_fresh: Some(1.0),
        ..usage(1.0)
    }
}

/// Checks the sentence on 61 contexts.
#[track_caller]
fn says(evidence: &Evidence, wanted: &str) {
    let got = sentence(evidence, &evidence.decide(), Some(61));
    assert_eq!(got, wanted);
    // Words with a sign that only code has are none of plain English.
    let mut words = got.split_whitespace();
    let is_code = |word: &str| word.contains(['_', '{', '"', '`']) || word.contains("::");
    assert!(!words.any(is_code) && !got.ends_with('.'), "{got}");
}

#[test]
fn a_working_cache_is_told_with_its_source_and_with_ttft() {
    let with = |speed_up, evidence| Evidence {
        speed_up,
        ..evidence
    };
    let cached = "of repeated prompt tokens cached";
    let fast = "TTFT 1.52 s -> 0.310 s, 4.9x faster (4.6 to 5.2), n 459";
    says(
        &with(faster(), usage(0.97)),
        &format!("WORKING. 97 % {cached}; {fast}"),
    );
    says(
        &with(faster(), counted(0.97)),
        &format!("WORKING. 97 % {cached} (engine's counters); {fast}"),
    );
    says(
        &with(faster(), timed(Ok(0.9))),
        &format!("WORKING. 90 % of repeats hit (estimated from times, 85 to 95 %); {fast}"),
    );
    says(
        &with(no_faster(), usage(0.4)),
        &format!(
            "PARTLY WORKING. 40 % {cached}; TTFT is no faster: 316.2 ms -> 310.0 ms, 1.0x (1.0 to 1.1), n 459"
        ),
    );
    says(
        &with(Some(ratio_of(12.4, None)), usage(0.97)),
        &format!(
            "WORKING. 97 % {cached}; TTFT 3.84 s -> 0.310 s, 12x (too few for an interval), n 459"
        ),
    );
    says(
        &usage(0.97),
        &format!("WORKING. 97 % {cached}; TTFT is not compared: no warm request has a TTFT"),
    );
    let limited = Evidence {
        is_client_limited: true,
        ..with(faster(), usage(0.97))
    };
    says(
        &limited,
        &format!("WORKING. 97 % {cached}; TTFT is not compared, since this client was too slow"),
    );
}

#[test]
fn a_cache_that_does_not_help_is_told_with_what_is_known_of_the_reason() {
    let at_once = |at_once, were_alone| Evidence {
        at_once,
        were_alone,
        ..usage(0.0)
    };
    let off = "NOT HELPING: 0 % hits; it is off";
    says(&at_once(Some(0.0), true), off);
    says(
        &at_once(Some(0.0), false),
        "NOT HELPING: 0 % hits; it is off, or smaller than the requests in flight",
    );
    says(
        &at_once(None, true),
        "NOT HELPING: 0 % hits; it is off, or smaller than 61 contexts",
    );
    let small = "NOT HELPING: 0 % hits in the cycle, but a repeat at once hits: it is smaller than";
    let too_small = at_once(Some(0.9), true);
    says(&too_small, &format!("{small} 61 contexts"));
    let without_contexts = sentence(&too_small, &too_small.decide(), None);
    let between = "what was sent between a prompt and its repeat";
    assert_eq!(without_contexts, format!("{small} {between}"));
    let hidden = Evidence {
        speed_up: faster(),
        ..counted(0.03)
    };
    says(
        &hidden,
        "NOT HELPING: 3 % hits; it is off, or smaller than 61 contexts; yet repeats are faster: TTFT 1.52 s -> 0.310 \
         s, 4.9x faster (4.6 to 5.2), n 459",
    );
    let limited = Evidence {
        is_client_limited: true,
        ..hidden
    };
    says(
        &limited,
        "NOT HELPING: 3 % hits; it is off, or smaller than 61 contexts",
    );
    let no_faster = Evidence {
        speed_up: no_faster(),
        ..at_once(Some(0.0), true)
    };
    says(&no_faster, off);
}

#[test]
fn a_usage_that_is_not_believed_is_told_with_what_it_claims() {
    let with = |speed_up, evidence| Evidence {
        speed_up,
        ..evidence
    };
    let fast = "TTFT 1.52 s -> 0.310 s, 4.9x faster (4.6 to 5.2), n 459";
    let by_times = format!(
        "WORKING, by its times: {fast}. The hits that the server reports do not fit these times: usage reports"
    );
    let new_too = "also for prompts that were never sent before";
    says(
        &with(faster(), usage(0.0)),
        &format!("{by_times} 0 % cached"),
    );
    says(
        &with(faster(), claiming()),
        &format!("{by_times} 100 % cached, {new_too}"),
    );
    let claims = format!("usage reports 100 % cached, {new_too}");
    says(
        &with(no_faster(), claiming()),
        &format!(
            "NOT HELPING: {claims}; TTFT is no faster: 316.2 ms -> 310.0 ms, 1.0x (1.0 to 1.1), n 459"
        ),
    );
    says(&claiming(), &format!("NOT KNOWN: {claims}"));
    let perhaps = Some(ratio_of(1.2, Some((1.1, 1.31))));
    says(
        &with(perhaps, claiming()),
        &format!("NOT KNOWN: {claims}; TTFT 372.0 ms -> 310.0 ms, 1.2x faster (1.1 to 1.3), n 459"),
    );
    let limited = Evidence {
        is_client_limited: true,
        ..claiming()
    };
    says(
        &limited,
        &format!("NOT KNOWN: {claims}, and this client was too slow for its times to tell"),
    );
}

#[test]
fn what_is_not_known_is_told_with_the_reason() {
    let none = Evidence {
        repeats: 0,
        no_repeats: "no prompt was sent twice",
        ..nothing()
    };
    says(&none, "NOT KNOWN: no prompt was sent twice");
    let why = "neither the replies nor a page of metrics tell of cached tokens";
    says(&nothing(), &format!("NOT KNOWN: {why}"));
    let slow = "TTFT is no faster: 316.2 ms -> 310.0 ms, 1.0x (1.0 to 1.1), n 459";
    let compared = Evidence {
        speed_up: no_faster(),
        ..nothing()
    };
    says(&compared, &format!("NOT KNOWN: {why}; {slow}"));
    let visible = Evidence {
        prefill_ratio: Some(3.0),
        ..compared
    };
    let new = "repeats take as long as new prompts, which take 3.0x as long as a short one";
    says(
        &visible,
        &format!("NOT HELPING: nothing reports hits, and {new}; {slow}"),
    );
    let fast = Evidence {
        speed_up: faster(),
        ..nothing()
    };
    says(
        &fast,
        "WORKING, by its times: TTFT 1.52 s -> 0.310 s, 4.9x faster (4.6 to 5.2), n 459. Nothing reports how much was \
         hit",
    );
    says(
        &timed(Err(Refusal::TooFew { cold: 1, warm: 2 })),
        "NOT KNOWN: times do not tell: too few controls: 1 cold and 2 warm; want at least 15 of each",
    );
    let others = counted(0.9);
    let others = Evidence {
        counters: others.counters.map(|counters| Counters {
            load: Some(1.05),
            ..counters
        }),
        ..others
    };
    says(
        &others,
        "NOT KNOWN: the replies do not tell of cached tokens, and the engine's counters have requests of others in \
         them",
    );
    let limited = Evidence {
        is_client_limited: true,
        ..nothing()
    };
    says(
        &limited,
        "NOT KNOWN: no reply tells of cached tokens, and this client was too slow for its times to tell",
    );
}

fn decision(verdict: Verdict, reason: Reason) -> Decision {
    Decision {
        verdict,
        hits: None,
        reason,
        conflict: None,
    }
}

fn next_command(decision: &Decision, about: &Value) -> String {
    next(decision, about).command.expect("a command")
}

#[test]
fn the_next_command_follows_from_the_verdict() {
    let about = json!({
        "command": "benchmark",
        "endpoint": "http://h:8000/",
        "model": "m/7b",
        "options": {"contexts": 61, "input_length_tokens": 32000, "output_length_tokens": 100},
    });
    let to = "--endpoint http://h:8000 --model m/7b";
    let cycle = |contexts: u64, input: u64| {
        format!(
            "tmesh-cli benchmark {to} --contexts {contexts} --input-length {input} --output-length 100 --rotations 3"
        )
    };
    let untold = Reason::NotReported("x".to_string());
    let few = Reason::TooFewControls("x".to_string());
    // 11 x 61 are 671 requests, of which one in 40 has a pair of controls beside it: 16.
    let longer = cycle(61, 32_000).replace("--rotations 3", "--rotations 11");
    for (verdict, reason, wanted) in [
        (
            Verdict::Working,
            Reason::Hits,
            format!("tmesh-cli load {to} --concurrency 1,4,16 --requests 100"),
        ),
        (
            Verdict::Working,
            Reason::FasterWithoutHits,
            format!("tmesh-cli load {to} --concurrency 1,4,16 --requests 100"),
        ),
        (Verdict::Unknown, few, longer),
        (Verdict::Partly, Reason::Hits, cycle(30, 32_000)),
        (Verdict::TooSmall, Reason::Hits, cycle(30, 32_000)),
        (
            Verdict::Off,
            Reason::Hits,
            "tmesh-cli check endpoint http://h:8000 --model m/7b".to_string(),
        ),
        (Verdict::Off, Reason::OffOrTooSmall, cycle(61, 32_000)),
        (
            Verdict::Off,
            Reason::AsSlowAsNew(3.0),
            "tmesh-cli check endpoint http://h:8000 --model m/7b".to_string(),
        ),
        (Verdict::Off, Reason::HitsOfFresh, cycle(61, 128_000)),
        (Verdict::Unknown, Reason::HitsOfFresh, cycle(61, 128_000)),
        (Verdict::Unknown, untold, cycle(61, 128_000)),
        (
            Verdict::Unknown,
            Reason::NothingRepeated("x"),
            cycle(61, 32_000),
        ),
        (
            Verdict::Unknown,
            Reason::ClientLimited,
            "tmesh-cli check client".to_string(),
        ),
    ] {
        let decision = decision(verdict, reason);
        assert_eq!(next_command(&decision, &about), wanted, "{decision:?}");
    }
}

#[test]
fn the_next_command_is_safe_to_paste_and_names_the_mock_as_it_was_named() {
    let partly = decision(Verdict::Partly, Reason::Hits);
    let odd = json!({
        "endpoint": "http://h/v1?a=1&b=2",
        "model": "it's a $(model); rm",
        "options": {"contexts": 1},
    });
    assert_eq!(
        next_command(&partly, &odd),
        r"tmesh-cli benchmark --endpoint 'http://h/v1?a=1&b=2' --model 'it'\''s a $(model); rm' --contexts 1 --rotations 3"
    );
    let mock = json!({"backend": "mock", "endpoint": "http://127.0.0.1:1", "model": "mock"});
    let wanted = "tmesh-cli benchmark --backend mock --contexts 10 --rotations 3";
    assert_eq!(next_command(&partly, &mock), wanted);
    let off = decision(Verdict::Off, Reason::Hits);
    // The same cycle on a cache that is off would find the same.
    let next = next(&off, &mock);
    assert_eq!(
        next.command.as_deref(),
        Some("tmesh-cli probe --backend mock")
    );
    let switch = "Switch prefix caching on in the server, then run this again.";
    assert_eq!(next.advice, [switch]);
    // A file whose header says nothing, and one whose numbers are odd.
    let untold = decision(Verdict::Unknown, Reason::NotReported("x".to_string()));
    let blank = "tmesh-cli benchmark --endpoint URL --contexts 20 --rotations 3";
    assert_eq!(next_command(&untold, &Value::Null), blank);
    let huge = json!({"options": {"input_length_tokens": u64::MAX}});
    assert!(next_command(&untold, &huge).contains(&format!(" --input-length {}", u64::MAX)));
}

#[test]
fn the_next_command_is_not_the_command_that_was_just_run() {
    let cycle = json!({"command": "benchmark", "endpoint": "http://h/v1", "options":
        {"contexts": 20, "input_length_tokens": 500, "output_length_tokens": 5, "rotations": 3}});
    let off_or_small = decision(Verdict::Off, Reason::OffOrTooSmall);
    let probe = "tmesh-cli probe --endpoint http://h/v1 --budget-tokens 2M";
    assert_eq!(next_command(&off_or_small, &cycle), probe);
    let working = decision(Verdict::Working, Reason::Hits);
    let load = |points: &[u64], slo: Option<&str>| {
        json!({"command": "load", "endpoint": "http://h/v1", "options":
            {"concurrency": points, "slo_file": slo, "prompts": {"input_tokens": "64"}}})
    };
    let sweep = "tmesh-cli load --endpoint http://h/v1 --concurrency 1,4,16 --requests 100";
    assert_eq!(next_command(&working, &load(&[5], None)), sweep);
    assert_eq!(next_command(&working, &load(&[1, 4], None)), probe);
    let find = "tmesh-cli find-rate --endpoint http://h/v1 --slo-file s.yaml --input-tokens 64";
    assert_eq!(next_command(&working, &load(&[1, 4], Some("s.yaml"))), find);
}

#[test]
fn where_benchmark_cannot_run_a_load_with_longer_prompts_is_next() {
    let untold = decision(Verdict::Unknown, Reason::NotReported("x".to_string()));
    let of = |tokens: &str| {
        json!({"command": "load", "endpoint": "http://h/v1", "model": "", "options":
            {"api": "generate", "prompts": {"input_tokens": tokens}}})
    };
    let load = |tokens: u64| {
        format!(
            "tmesh-cli load --endpoint http://h/v1 --api generate --input-tokens {tokens} \
             --repeat-ratio 0.5 --requests 200"
        )
    };
    // Four times as long, from 2,000 to 8,000 tokens.
    for (tokens, wanted) in [("128", 2000), ("1000", 4000), ("3000", 8000), ("1:9", 2000)] {
        assert_eq!(next_command(&untold, &of(tokens)), load(wanted));
    }
    assert_eq!(next(&untold, &of("8000")).command, None);
}

#[test]
fn the_object_in_json_has_every_key_and_null_where_nothing_is_known() {
    let of = |evidence: &Evidence| -> String {
        let data = data(
            evidence,
            &evidence.decide(),
            "why",
            &Next::of("command".to_string()),
        );
        serde_json::to_string(&data).expect("JSON")
    };
    let known = Evidence {
        speed_up: Some(ratio_of(4.5, Some((4.25, 5.0)))),
        usage: Some(Share {
            share: 0.5,
            interval: Some((0.25, 0.75)),
        }),
        ..nothing()
    };
    assert_eq!(
        of(&known),
        r#"{"verdict":"partly","hit_share":0.5,"hit_share_low":0.25,"hit_share_high":0.75,"source":"usage","speed_up":4.5,"speed_up_low":4.25,"speed_up_high":5.0,"reason":"why","next":"command"}"#
    );
    assert_eq!(
        of(&nothing()),
        r#"{"verdict":"unknown","hit_share":null,"hit_share_low":null,"hit_share_high":null,"source":null,"speed_up":null,"speed_up_low":null,"speed_up_high":null,"reason":"why","next":"command"}"#
    );
    let counted = of(&counted(0.9));
    let wanted = r#"{"verdict":"working","hit_share":0.9,"hit_share_low":null,"hit_share_high":null,"source":"counters","speed_up":null,"#;
    assert!(counted.starts_with(wanted), "{counted}");
}

#[test]
fn a_run_without_a_pass_and_a_load_that_was_told_to_repeat_nothing_have_no_answer() {
    let answer_of = |about: Value| {
        let mut passes = Passes::new(&about);
        passes.sample(crate::report::golden::five_tokens(0, 0, 10, 0));
        let report = Report {
            about,
            passes: passes.finish(),
            findings: Value::Null,
            notes: Vec::new(),
        };
        told(&report).0.map(|answer| answer.sentence)
    };
    let load =
        |ratio: f64| json!({"command": "load", "options": {"prompts": {"repeat_ratio": ratio}}});
    assert_eq!(answer_of(load(0.0)), None);
    let unknown = "KV cache: NOT KNOWN: no prompt was sent twice";
    assert_eq!(answer_of(load(0.5)).as_deref(), Some(unknown));
    let empty = Report {
        about: load(0.5),
        passes: Vec::new(),
        findings: Value::Null,
        notes: Vec::new(),
    };
    assert!(told(&empty).0.is_none());
}
