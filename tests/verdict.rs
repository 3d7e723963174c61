//! The verdict on the KV cache, for servers that tell of it in different ways.

use serde_json::Value;

use crate::util::verdict::{CYCLE, NO_CACHE, benchmark, check, mock, sentence};
use crate::util::{Cmd, Dir, Samples, json_file};

#[test]
fn a_cache_that_is_off_is_told_from_one_that_is_too_small() {
    let off = "KV cache: NOT HELPING: 0 % hits; it is off";
    check(&mock(&NO_CACHE), CYCLE, (off, off, "off"));
    // Half of the contexts fit, so that each is evicted before its turn comes again.
    let small = ["--tier1-tokens", "12k", "--tier2-tokens", "0"];
    let too_small = "KV cache: NOT HELPING: 0 % hits in the cycle, but a repeat at once hits: \
                     it is smaller than 24 contexts";
    let wanted = (too_small, too_small, "too_small");
    let answer = check(&mock(&small), CYCLE, wanted);
    let half = answer["next"].as_str().expect("a command");
    assert!(
        half.contains("--contexts 12 --input-length 1000 "),
        "{half}"
    );
}

#[test]
fn a_cache_that_every_second_request_misses_works_in_part() {
    let server = mock(&["--misses", "50"]);
    let cycle = "--contexts 24 --max-inflight 1 --rotations 6";
    let partly = "KV cache: PARTLY WORKING. ";
    let answer = check(&server, cycle, (partly, "", "partly"));
    // Of 120 repeats half hit: four deviations are 0.18.
    let share = answer["hit_share"].as_f64().expect("a share");
    assert!((0.32..0.68).contains(&share), "{answer}");
    let ends = ["hit_share_low", "hit_share_high"].map(|key| answer[key].as_f64());
    assert!(ends[0] < Some(share) && Some(share) < ends[1], "{answer}");
}

#[test]
fn counters_stand_in_for_a_usage_that_tells_nothing() {
    let absent = ["--usage-cached", "absent"];
    let working = "KV cache: WORKING. 98 % of repeated prompt tokens cached (engine's counters); ";
    let answer = check(&mock(&absent), CYCLE, (working, "", "working"));
    assert_eq!(answer["source"], "counters");
    let off = "KV cache: NOT HELPING: 0 % hits; it is off";
    let none = [&absent[..], &NO_CACHE].concat();
    check(&mock(&none), CYCLE, (off, off, "off"));
    let small = [
        &absent[..],
        &["--tier1-tokens", "12k", "--tier2-tokens", "0"],
    ]
    .concat();
    let too_small = "KV cache: NOT HELPING: 0 % hits in the cycle, but a repeat at once hits: ";
    check(&mock(&small), CYCLE, (too_small, "", "too_small"));
}

#[test]
fn a_usage_of_0_is_refuted_by_counters() {
    let zero = ["--usage-cached", "zero"];
    let working = "KV cache: WORKING. 98 % of repeated prompt tokens cached (engine's counters); ";
    let (output, answer) = benchmark(&mock(&zero), CYCLE);
    assert!(sentence(&output).starts_with(working), "{output}");
    assert_eq!(answer["verdict"], "working");
    let note = "usage is likely wrong: some servers always report 0 cached tokens";
    assert!(output.stdout.contains(note), "{output}");
}

#[test]
fn a_usage_that_claims_all_tokens_is_not_believed() {
    let claims = [&["--usage-cached", "all"][..], &NO_CACHE].concat();
    let off = "KV cache: NOT HELPING: 0 % hits; it is off";
    let (output, answer) = benchmark(&mock(&claims), CYCLE);
    assert_eq!(sentence(&output), off, "{output}");
    assert_eq!(
        (&answer["verdict"], &answer["source"]),
        (&"off".into(), &"counters".into())
    );
    let note = "usage is likely wrong: it claims hits for prompts that were never sent before";
    assert!(output.stdout.contains(note), "{output}");
}

#[test]
fn one_rotation_tells_nothing() {
    let once = "--contexts 40 --max-inflight 4 --rotations 1";
    let unknown =
        "KV cache: NOT KNOWN: the first rotation is not over, so no context was sent twice";
    let answer = check(&mock(&[]), once, (unknown, unknown, "unknown"));
    for key in ["hit_share", "speed_up", "source"] {
        assert!(answer[key].is_null(), "{answer}");
    }
    let next = answer["next"].as_str().expect("a command");
    assert!(next.ends_with(" --rotations 3"), "{next}");
}

#[test]
fn an_endless_run_sends_its_controls_after_two_rotations_and_in_no_figure() {
    let server = mock(&[]);
    let dir = Dir::new();
    let words = "benchmark --contexts 6 --input-length 1000 --output-length 2 --max-inflight 2 \
                 --samples s.jsonl --output r.json --duration 2s --endpoint";
    Cmd::new(&dir)
        .args(words.split_whitespace())
        .arg(server.url())
        .ok();
    let samples = Samples::read(&dir, "s.jsonl");
    let requests: Vec<&Value> = samples.requests().collect();
    let controls = requests.iter().filter(|one| one["phase"] == "control");
    let places: Vec<(u64, u64)> = controls
        .map(|one| (one["context"].as_u64(), one["turn"].as_u64()))
        .map(|(context, turn)| (context.expect("a context"), turn.expect("a turn")))
        .collect();
    assert_eq!(
        places,
        [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (2, 0),
            (2, 1),
            (3, 0),
            (3, 1)
        ]
    );
    let measured = requests
        .iter()
        .filter(|one| one["phase"] == "measured" && one["ok"] == true);
    let result = json_file(&dir, "r.json");
    assert_eq!(result["summary"]["averages"]["requests"], measured.count());
}

#[test]
fn a_condition_on_the_verdict_fails_the_run() {
    let server = mock(&NO_CACHE);
    let dir = Dir::new();
    let words = "benchmark --contexts 6 --input-length 1000 --output-length 2 --rotations 2 \
                 --fail-if kv_cache!=working --endpoint";
    let output = Cmd::new(&dir)
        .args(words.split_whitespace())
        .arg(server.url())
        .fails(1);
    assert!(output.stderr.contains("kv_cache is off"), "{output}");
    let wrong = Cmd::new(&dir)
        .args(["load", "--fail-if", "kv_cache!=fine", "--backend", "mock"])
        .fails(2);
    assert!(
        wrong
            .stderr
            .contains("working, partly, off, too_small, unknown"),
        "{wrong}"
    );
}

#[test]
fn replay_and_load_end_with_the_verdict_and_run_says_that_it_repeats_nothing() {
    let server = mock(&[]);
    let none = mock(&NO_CACHE);
    for (words, good, bad) in [
        (
            "replay --synthetic 30 --concurrency 1 --rounds 2 --max-output-tokens 2 --endpoint",
            "KV cache: WORKING. ",
            "KV cache: NOT HELPING: 0 % hits; it is off",
        ),
        (
            "load --requests 80 --repeat-ratio 0.5 --warmup 0 --concurrency 1 --input-tokens 1000 --max-tokens 2 --endpoint",
            "KV cache: WORKING. ",
            "KV cache: NOT HELPING: 0 % hits; it is off",
        ),
        (
            "run --workload short --requests 3 --endpoint",
            "KV cache: NOT KNOWN: the fixed workloads send no prompt twice",
            "KV cache: NOT KNOWN: the fixed workloads send no prompt twice",
        ),
    ] {
        for (server, wanted) in [(&server, good), (&none, bad)] {
            let dir = Dir::new();
            let output = Cmd::new(&dir).args(words.split(' ')).arg(server.url()).ok();
            assert!(sentence(&output).starts_with(wanted), "{output}");
            let last = output.stdout.lines().last().unwrap_or_default();
            assert!(last.starts_with("Next: tmesh-cli "), "{output}");
        }
    }
}
