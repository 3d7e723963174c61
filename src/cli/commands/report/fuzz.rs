//! Files that are broken in any way: a clean error, or a report in every format.

use fastrand::Rng;

use super::input::of_reader;
use crate::fuzz;
use crate::report::document::Document;
use crate::report::text::Screen;
use crate::report::{html, json, markdown, summary_file, text};
use crate::samples_file::{Reader, broken, keep_countable, some_lines};

const RESULTS: [&str; 2] = [
    include_str!("../../../../tests/golden/report_run.json"),
    "{\"schema\":\"tmesh-cli/workload/1\",\"avg_ttft_ms\":1.5}",
];
const WORDS: &[&str] = &[
    "null",
    "[]",
    "{}",
    "72057594037927935",
    "-1",
    "1e308",
    "\"workloads\":",
    "\"metric_sources\":",
];

/// In every format, whatever the document holds.
fn rendered(document: &Document) {
    let screen = Screen {
        width: Some(80),
        is_utf8: false,
    };
    let table = text::render(document, screen);
    assert!(!table.contains(|c: char| c.is_control() && c != '\n'));
    for page in [
        json::render(document),
        markdown::render(document),
        html::render(document),
    ] {
        assert!(!page.is_empty());
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
            rendered(&document);
        }
        None => refused += 1,
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn any_lines_of_a_file_are_a_report() {
    fuzz::run("report (lines)", 300, |rng| {
        let document = samples(&some_lines(rng)).expect("whole lines");
        rendered(&document);
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
        match file.and_then(|file| summary_file::document(&file)) {
            Some(document) => {
                read += 1;
                rendered(&document);
            }
            None => refused += 1,
        }
    });
    fuzz::assert_both(read, refused);
}
