//! The verdict on the KV cache where times decide, or are a part of it.

use crate::alone;
use crate::util::verdict::{CYCLE, NO_CACHE, check, mock};
use crate::util::{Cmd, Dir, Server};

#[test]
fn a_cache_that_holds_all_is_working_and_makes_repeats_faster() {
    let _machine = alone();
    let working = "KV cache: WORKING. 98 % of repeated prompt tokens cached; TTFT 12";
    let answer = check(&mock(&[]), CYCLE, (working, ", n 23", "working"));
    assert_eq!(answer["source"], "usage");
    // 12 ms cold; warm, the last block of a context and the question are left to compute, 2 to 3 ms in all.
    let speed_up = answer["speed_up"].as_f64().expect("it was measured");
    assert!((4.0..6.2).contains(&speed_up), "{answer}");
    assert!(answer["speed_up_low"].as_f64() > Some(3.5), "{answer}");
}

/// A server that hides its cache. A prefill of 1,000 tokens takes 5 ms.
fn dark_mock(base: &str, words: &[&str]) -> Server {
    let times = ["--itl", "1ms", "--base", base, "--prefill-rate", "200k"];
    let dark = ["--usage-cached", "absent", "--metrics", "off"];
    Server::start(&[&times[..], &dark, words].concat())
}

#[test]
fn times_tell_where_nothing_else_does() {
    let _machine = alone();
    // 640 requests leave room for 16 pairs of controls.
    let long = "--contexts 40 --max-inflight 1 --rotations 16";
    let works = "KV cache: WORKING. ";
    let answer = check(&dark_mock("2ms", &[]), long, (works, "", "working"));
    assert_eq!(answer["source"], "times");
    assert!(answer["hit_share_low"].as_f64() > Some(0.8), "{answer}");
    let slow =
        "KV cache: NOT HELPING: nothing reports hits, and repeats take as long as new prompts, ";
    let none = dark_mock("2ms", &NO_CACHE);
    check(&none, long, (slow, ", n 599", "off"));
    // Too few requests for controls: TTFT of repeats at least.
    let faster = "KV cache: WORKING, by its times: TTFT ";
    let end = ". Nothing reports how much was hit";
    check(&dark_mock("2ms", &[]), CYCLE, (faster, end, "working"));
    // A prefill of 4 ms beside 100 ms shows no cache.
    let blind =
        "KV cache: NOT KNOWN: neither the replies nor a page of metrics tell of cached tokens; ";
    let short = "--contexts 6 --max-inflight 1 --rotations 2";
    check(&dark_mock("100ms", &[]), short, (blind, ", n 5", "unknown"));
}

#[test]
fn a_usage_that_times_contradict_is_not_believed() {
    let _machine = alone();
    let zero = ["--usage-cached", "zero", "--metrics", "off"];
    let working = "KV cache: WORKING, by its times: TTFT 12";
    let end = "do not fit these times: usage reports 0 % cached";
    check(&mock(&zero), CYCLE, (working, end, "working"));
    let claims = ["--usage-cached", "all", "--metrics", "off"];
    let claims = [&claims[..], &NO_CACHE].concat();
    let claimed = "KV cache: NOT HELPING: usage reports 100 % cached, also for prompts that were \
                   never sent before; TTFT is no faster: 12";
    check(&mock(&claims), CYCLE, (claimed, ", n 23", "off"));
}

#[test]
fn the_verdict_of_a_replay_has_no_interval_where_its_rounds_have_none() {
    let _machine = alone();
    let dir = Dir::new();
    // Twenty requests in turn last twenty latencies: two stretches of ten, of twenty that an interval takes.
    let words = "replay --backend mock --synthetic 20 --max-output-tokens 4";
    let output = Cmd::new(&dir).args(words.split(' ')).ok();
    let lines = [
        "(20 pairs; no interval: ",
        "x (too few for an interval), n 20",
    ];
    for line in lines {
        assert!(output.stdout.contains(line), "{line}\n{output}");
    }
}

#[test]
fn the_counters_of_a_load_are_not_said_to_have_later_turns() {
    let _machine = alone();
    let dir = Dir::new();
    let words = "load --backend mock --mock faults=no_usage --requests 20 --max-tokens 4";
    let output = Cmd::new(&dir).args(words.split(' ')).ok();
    let why = "KV cache: NOT KNOWN: the replies tell neither cached nor prompt tokens, so the engine's hits cannot be set against the repeats";
    let said = output
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains(why), "{output}");
}
