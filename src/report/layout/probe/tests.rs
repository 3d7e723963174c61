use serde_json::json;

use super::advice::commands;
use super::*;
use crate::report::layout::of_file;
use crate::report::text::{self, Screen};
use crate::report::{csv, html, markdown};
use crate::stats::probe::Cost;

fn step(name: &str, answer: &str, is_clear: bool) -> Value {
    json!({"name": name, "answer": answer, "is_clear": is_clear, "is_lie": false,
        "cost": {"requests": 10, "prompt_tokens": 61_234, "uncached_tokens": 5, "seconds": 1.25}})
}

fn about() -> Value {
    json!({"command": "probe", "model": "m", "endpoint": "http://h:8000/v1/", "backend": "attached",
        "options": {"steps": ["separability", "capacity", "order"], "max_context_tokens": 32_000,
            "ignores_usage": false, "budget_tokens": 1_000_000}})
}

/// What was found of two tiers.
fn two_tiers() -> Value {
    json!({
        "cache": "present",
        "usage": {"verdict": "honest", "why": ""},
        "reuse": {"shape": "prefix", "minimum_tokens": 16},
        "block": {"tokens": 16, "at_most_tokens": null, "by": "usage"},
        "tiers": [
            {"capacity_tokens": 61_000, "low_tokens": 60_000, "high_tokens": 62_000, "ttft_ms": 5.2},
            {"capacity_tokens": 2_004_000, "low_tokens": 1_970_000, "high_tokens": 2_050_000, "ttft_ms": 9.0},
        ],
        "order": {"name": "lru", "odds": 50.0},
        "same_answer": true,
        "reset": {"emptied": false, "left_share": 0.5},
        "ttl": {"at_least_s": 32.0, "at_most_s": 64.0, "sliding": true},
        "shared_between_keys": false,
        "cost": {"requests": 20, "prompt_tokens": 122_468, "uncached_tokens": 10, "seconds": 2.5},
        "steps": [step("separability", "clear", true), step("capacity", "two", true)],
        "rereads": [
            {"distance_tokens": 0, "tokens": 1000, "ttft_ms": 5.0},
            {"distance_tokens": 70_000, "tokens": 1000, "ttft_ms": 9.0},
        ],
        "stopped": null,
    })
}

fn report(findings: Value) -> Report {
    Report {
        about: about(),
        passes: Vec::new(),
        findings,
        notes: Vec::new(),
    }
}

#[test]
fn the_line_of_a_step_has_its_answer_and_its_cost() {
    let step = StepDone {
        name: "block",
        answer: "16 tokens".to_string(),
        is_clear: true,
        is_lie: false,
        cost: Cost {
            requests: 1,
            prompt_tokens: 61_234,
            uncached_tokens: 0,
            seconds: 0.07,
        },
    };
    let wanted = "block         16 tokens  (1 request, 61.2 k tokens, 0.1 s)\n";
    assert_eq!(line(&step), wanted);
}

#[test]
fn the_conclusion_is_one_line() {
    let wanted = "2 tiers: 61 k tokens on the device (60 to 62 k), 2 M in all (1.97 to 2.05 M); blocks of 16; LRU; \
        usage honest; the reset leaves 50 % of the contexts warm; forgets after 32.0 to 64.0 s; API keys do not share it";
    assert_eq!(conclusion(&two_tiers()), wanted);
    for (found, wanted) in [
        (json!({}), "nothing found out"),
        (
            json!({"cache": "absent", "usage": {"verdict": "absent"}}),
            "none found; usage absent",
        ),
        (
            json!({"tiers": [{"capacity_tokens": 9000, "low_tokens": 8000, "high_tokens": null}],
                "block": {"tokens": null, "at_most_tokens": 64}, "order": {"name": null, "odds": 2.0},
                "same_answer": false, "reuse": {"shape": "units"}}),
            "1 tier: more than 8000 tokens; blocks of at most 64; reuses prefixes in units; order of eviction unclear; \
             answers differ cold and warm",
        ),
        (
            json!({"tiers": [{"capacity_tokens": 1020, "low_tokens": 990, "high_tokens": 1050, "contexts": 4}],
                "order": null}),
            "1 tier: 4 contexts of any length",
        ),
        (
            json!({"order": {"name": "random", "odds": 50.0}, "block": {"tokens": 1},
                "ttl": {"at_least_s": 4.0, "at_most_s": null}}),
            "single tokens; evicts at random; keeps contexts for 4.0 s or more",
        ),
    ] {
        assert_eq!(conclusion(&found), wanted);
    }
}

#[test]
fn the_next_commands_fill_nine_tenths_of_each_tier() {
    // 54,900 tokens: four contexts of 13,725, less 128 beside each. 1,803,600 tokens: 56 of 32,000.
    let server = "tmesh-cli benchmark --endpoint http://h:8000/v1 --model m";
    let wanted = [
        format!("{server} --contexts 4 --input-length 13597 --rotations 3"),
        format!("{server} --contexts 56 --input-length 31872 --rotations 3"),
    ];
    assert_eq!(commands(&about(), &two_tiers()), wanted);
    let slots = json!({"tiers": [{"capacity_tokens": 1020, "contexts": 4}]});
    let of_slots = format!("{server} --contexts 4 --input-length 1872 --rotations 3");
    assert_eq!(commands(&about(), &slots), [of_slots]);
    let tiny = json!({"tiers": [{"capacity_tokens": 500}]});
    assert!(commands(&about(), &tiny).is_empty());
    let again = "tmesh-cli probe --endpoint http://h:8000/v1 --model m --budget-tokens 2000000 --ignore-usage";
    let next = |found: Value| next(&report(found)).command;
    assert_eq!(next(json!({})).as_deref(), Some(again));
    // Usage that tells the truth is better than times.
    let honest = json!({"usage": {"verdict": "honest"}});
    let larger = again.strip_suffix(" --ignore-usage");
    assert_eq!(next(honest).as_deref(), larger);
}

#[test]
fn unclear_and_untaken_steps_are_noted() {
    let mut found = two_tiers();
    found["steps"][0]["is_clear"] = false.into();
    found["steps"][1]["is_clear"] = false.into();
    found["stopped"] = "the budget is spent".into();
    let wanted = [
        "the budget is spent; the step capacity is not complete, and these were not taken: order",
        "Unclear (separability): times do not tell cold prompts from warm ones; try longer contexts (--max-context), \
         while nobody else uses the server",
    ];
    assert_eq!(warnings(&about(), &found), wanted);
}

#[test]
fn every_format_shows_the_findings_and_pages_the_chart() {
    let document = document(&report(two_tiers()));
    let screen = text::render(&document, Screen::FILE);
    for part in [
        "Step            Requests",
        "capacity        10          61.2 k    1.2        two",
        "Tier  ",
        "To fill nine tenths of each tier:",
        "\nPrefix cache: 2 tiers: ",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    let page = html::render(&document);
    assert!(page.contains("TTFT over stack distance"), "{page}");
    assert_eq!(page.matches("<circle class=\"mark c0\"").count(), 2);
    assert!(!page.contains("class=\"line"), "{page}");
    assert!(markdown::render(&document).contains("| capacity | 10 | 61.2 k | 1.2 | two |"));
    assert!(csv::render(&document).contains("\ncapacity,10,61.2 k,1.2,two\n"));
}

#[test]
fn the_result_file_gives_the_report_again() {
    let first = document(&report(two_tiers()));
    let file = serde_json::to_value(&first.data).expect("JSON");
    let again = of_file(&file).expect("a probe");
    assert_eq!(again.data, first.data);
    assert_eq!(
        text::render(&again, Screen::FILE),
        text::render(&first, Screen::FILE)
    );
    assert!(of_file(&json!({"schema": "tmesh-cli/load/1"})).is_none());
}

#[test]
fn odd_findings_give_a_report_without_a_panic() {
    for found in [
        json!(null),
        json!([1]),
        json!({"tiers": 5, "steps": [1, {"cost": "x"}], "rereads": [{}], "cost": []}),
        json!({"tiers": [{"capacity_tokens": -1}, {"capacity_tokens": 1u64 << 60}], "stopped": "x"}),
    ] {
        let document = document(&report(found));
        html::render(&document);
        text::render(&document, Screen::FILE);
    }
}
