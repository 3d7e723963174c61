//! Reports of broken results: no panic, no figure out of nowhere, nothing that moves a terminal.

use std::path::Path;

use fastrand::Rng;

use super::input::{of_result, of_saved};
use crate::fuzz;
use crate::report::render::{Format, Screen, render};
use crate::report::saved::Report;
use crate::samples_file::{broken, read_from, some_lines};

const RESULTS: [&str; 4] = [
    include_str!("../../../../tests/golden/benchmark_result.json"),
    include_str!("../../../../tests/golden/replay_round.json"),
    include_str!("../../../../tests/golden/report_run.json"),
    include_str!("../../../../tests/golden/report_load.json"),
];
const WORDS: &[&str] = &[
    "<script>alert(1)</script>",
    "|",
    "\"schema\":",
    "\"samples\":",
    "null,",
    "\"count\":0",
    "\"concurrency\":",
    "\"round\":",
    "e300",
];

/// In every format; what one of them says is not checked, but that it is fit for where it goes.
fn rendered(rng: &mut Rng, report: &Report) {
    let screen = Screen {
        width: rng.bool().then(|| rng.usize(..300)),
        is_utf8: rng.bool(),
    };
    for format in [Format::Table, Format::Json, Format::Markdown, Format::Html] {
        let text = render(report, format, screen).expect("a String takes all");
        match format {
            Format::Json => drop(serde_json::from_str::<serde_json::Value>(&text).expect(&text)),
            Format::Html => assert!(!text.contains("<script>"), "{text}"),
            Format::Table | Format::Markdown => {
                let is_plain = |c: char| !c.is_control() || c == '\n';
                assert!(text.chars().all(is_plain), "{text:?}");
            }
        }
        assert!(text.len() < 4 << 20, "{format:?}: {} bytes", text.len());
    }
}

#[test]
fn any_samples_are_a_clean_error_or_a_report_in_every_format() {
    let nowhere = Path::new("/nowhere/samples.jsonl");
    let (mut shown, mut refused) = (0, 0);
    fuzz::run("report", 300, |rng| {
        let bytes = broken(rng);
        let saved = read_from("f", &bytes[..]);
        match saved.and_then(|saved| of_saved("f", nowhere, saved)) {
            Ok(report) => {
                shown += 1;
                rendered(rng, &report);
            }
            Err(error) => {
                refused += 1;
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(shown, refused);
}

#[test]
fn lines_in_any_order_and_number_make_a_report() {
    let nowhere = Path::new("/nowhere/samples.jsonl");
    fuzz::run("report (lines)", 100, |rng| {
        let bytes = some_lines(rng);
        let saved = read_from("f", &bytes[..]).expect("whole lines");
        let report = of_saved("f", nowhere, saved).expect("a known command");
        rendered(rng, &report);
    });
}

#[test]
fn any_result_file_is_none_or_a_report_in_every_format() {
    let nowhere = Path::new("/nowhere/result.json");
    let (mut shown, mut refused) = (0, 0);
    fuzz::run("report (results)", 300, |rng| {
        let valid = |rng: &mut Rng| RESULTS[rng.usize(..RESULTS.len())].as_bytes().to_vec();
        let text = fuzz::text(&fuzz::input(rng, WORDS, valid));
        match of_result(nowhere, &text) {
            Some(report) => {
                shown += 1;
                rendered(rng, &report);
            }
            None => refused += 1,
        }
    });
    fuzz::assert_both(shown, refused);
}
