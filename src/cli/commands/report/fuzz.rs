//! Files broken in any way: they yield a clean error, or a report that is fit for every format.

use fastrand::Rng;

use super::input::{ResultFile, of_reader};
use crate::fuzz;
use crate::report::document::Document;
use crate::report::summary_file;
use crate::report::text::Screen;
use crate::samples_file::{Reader, broken, keep_countable, some_lines};
use crate::stats::facts::Facts;
use crate::stats::pass::Pass;
use crate::stats::records::Records;

const RESULTS: [&str; 5] = [
    include_str!("../../../../tests/golden/benchmark_result.json"),
    include_str!("../../../../tests/golden/replay_round.json"),
    include_str!("../../../../tests/golden/report_run.json"),
    include_str!("../../../../tests/golden/report_load.json"),
    "{\"schema\":\"tmesh-cli/workload/1\",\"avg_ttft_ms\":1.5}",
];
const WORDS: &[&str] = &[
    "<script>alert(1)</script>",
    "|",
    "null",
    "[]",
    "{}",
    "72057594037927935",
    "-1",
    "1e308",
    "\"workloads\":",
    "\"metric_sources\":",
];

/// Renders in every format, and checks only that the text suits its destination.
fn rendered(rng: &mut Rng, document: &Document) {
    let screen = Screen {
        width: rng.bool().then(|| rng.usize(..300)),
        is_utf8: rng.bool(),
    };
    for (name, render) in super::FORMATS {
        let text = render(document, screen);
        match name {
            "json" => drop(serde_json::from_str::<serde_json::Value>(&text).expect(&text)),
            "html" => assert!(!text.contains("<script>"), "{text}"),
            _ => {
                let is_plain = |c: char| !c.is_control() || c == '\n';
                assert!(text.chars().all(is_plain), "{text:?}");
            }
        }
        assert!(text.len() < 4 << 20, "{name}: {} bytes", text.len());
    }
}

fn samples(file: &[u8]) -> Option<Document> {
    let reader = Reader::new("f", file);
    match reader.and_then(|reader| of_reader("f", reader, |_| true)) {
        Ok(document) => Some(document),
        Err(error) => {
            fuzz::assert_shown(&error.to_string());
            None
        }
    }
}

#[test]
fn any_samples_are_a_clean_error_or_a_report() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("report (samples)", 500, |rng| match samples(&broken(rng)) {
        Some(document) => {
            read += 1;
            rendered(rng, &document);
        }
        None => refused += 1,
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn any_lines_of_a_file_are_a_report() {
    fuzz::run("report (lines)", 300, |rng| {
        let document = samples(&some_lines(rng)).expect("whole lines");
        rendered(rng, &document);
    });
}

#[test]
fn any_result_is_no_result_or_a_report() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("report (results)", 500, |rng| {
        let input = fuzz::input(rng, WORDS, |rng: &mut Rng| {
            RESULTS[rng.usize(..RESULTS.len())].into()
        });
        let file = serde_json::from_slice(&input).ok().map(|mut file| {
            keep_countable(&mut file);
            file
        });
        if let Some(result) = file.as_ref().and_then(ResultFile::of) {
            result.is_about(&Pass::new(Facts::default(), Records::kept()));
        }
        match file.and_then(|file| summary_file::document(&file)) {
            Some(document) => {
                read += 1;
                rendered(rng, &document);
            }
            None => refused += 1,
        }
    });
    fuzz::assert_both(read, refused);
}
