//! The verdict on the KV cache where times decide, or are a part of it.

use crate::alone;
use crate::util::Server;
use crate::util::verdict::{CYCLE, NO_CACHE, check, mock};

#[test]
fn a_cache_that_holds_all_is_working_and_makes_repeats_faster() {
    let _machine = alone();
    let working = "KV cache: WORKING. 98 % of repeated prompt tokens cached; TTFT 22";
    let answer = check(&mock(&[]), CYCLE, (working, ", n 39", "working"));
    assert_eq!(answer["source"], "usage");
    // 22 ms cold; warm, the last block of a context and the question are left to compute, 2 to 3 ms in all.
    let speed_up = answer["speed_up"].as_f64().expect("it was measured");
    assert!((6.0..11.5).contains(&speed_up), "{answer}");
    assert!(answer["speed_up_low"].as_f64() > Some(4.0), "{answer}");
}

#[test]
fn times_tell_where_nothing_else_does() {
    let _machine = alone();
    let dark = ["--usage-cached", "absent", "--metrics", "off"];
    // 640 requests leave room for 16 pairs of controls.
    let long = "--contexts 40 --max-inflight 1 --rotations 16";
    let works = "KV cache: WORKING. ";
    let answer = check(&mock(&dark), long, (works, "", "working"));
    assert_eq!(answer["source"], "times");
    assert!(answer["hit_share_low"].as_f64() > Some(0.8), "{answer}");
    let none = [&dark[..], &NO_CACHE].concat();
    let slow =
        "KV cache: NOT HELPING: nothing reports hits, and repeats take as long as new prompts, ";
    check(&mock(&none), long, (slow, ", n 599", "off"));
    // Too few requests for controls: TTFT of repeats at least.
    let faster = "KV cache: WORKING, by its times: TTFT 22";
    let end = ". Nothing reports how much was hit";
    check(&mock(&dark), CYCLE, (faster, end, "working"));
    // A prefill of 16 ms beside 200 ms shows no cache.
    let server = Server::start(&[
        "--usage-cached",
        "absent",
        "--metrics",
        "off",
        "--base",
        "200ms",
        "--prefill-rate",
        "50k",
    ]);
    let blind =
        "KV cache: NOT KNOWN: neither the replies nor a page of metrics tell of cached tokens; ";
    let short = "--contexts 6 --max-inflight 1 --rotations 2";
    check(&server, short, (blind, ", n 5", "unknown"));
}

#[test]
fn a_usage_that_times_contradict_is_not_believed() {
    let _machine = alone();
    let zero = ["--usage-cached", "zero", "--metrics", "off"];
    let working = "KV cache: WORKING, by its times: TTFT 22";
    let end = "do not fit these times: usage reports 0 % cached";
    check(&mock(&zero), CYCLE, (working, end, "working"));
    let claims = ["--usage-cached", "all", "--metrics", "off"];
    let claims = [&claims[..], &NO_CACHE].concat();
    let claimed = "KV cache: NOT HELPING: usage reports 100 % cached, also for prompts that were \
                   never sent before; TTFT is no faster: 22";
    check(&mock(&claims), CYCLE, (claimed, ", n 39", "off"));
}
