//! Files of samples: what was written is read, and any other bytes are a clean error or samples.

use fastrand::Rng;

use super::super::{Line, Series, TokensLine};
use super::line::TOKENS_LIMIT;
use super::*;
use crate::fuzz;
use crate::sample::{FailKind, Failure, Labels, Phase, Side, Workload};

const SEEDS: [&str; 5] = [
    include_str!("../../../tests/data/report/benchmark.jsonl"),
    include_str!("../../../tests/data/report/load.jsonl"),
    include_str!("../../../tests/data/report/load_sweep.jsonl"),
    include_str!("../../../tests/data/report/replay.jsonl"),
    include_str!("../../../tests/data/report/run.jsonl"),
];
const WORDS: &[&str] = &[
    "{\"series\":\"client\",",
    "{\"series\":\"pass\",",
    "{\"series\":\"tokens\",\"id\":1,\"completion_tokens\":3,\"token_source\":\"tokenize\"}\n",
    "\"phase\":\"cut\"",
    "\"ok\":false",
    "\"error_kind\":\"http\"",
    "\"t_end_ns\":",
    "\"gaps_us\":[",
    "\"workload\":\"long_input\"",
    "72057594037927935",
];

/// The content of a file, except its header.
#[derive(Debug, Default)]
pub struct Saved {
    pub header: Value,
    pub samples: Vec<Sample>,
    pub vitals: Vec<Vitals>,
    pub tokens: Vec<(u64, u64, TokenSource)>,
    pub passes: Vec<Value>,
    pub torn: bool,
}

pub fn collected(mut reader: Reader<impl BufRead>) -> Result<Saved> {
    let mut saved = Saved::default();
    while let Some(entry) = reader.next()? {
        match entry {
            Entry::Sample(sample) => saved.samples.push(*sample),
            Entry::Vitals(seen) => saved.vitals.push(seen),
            Entry::Tokens(id, tokens, source) => saved.tokens.push((id, tokens, source)),
            Entry::Pass(line) => saved.passes.push(line),
            Entry::Clock(_) | Entry::Merge(_) | Entry::Findings(_) | Entry::Other => {}
        }
    }
    saved.torn = reader.is_torn;
    saved.header = reader.header;
    Ok(saved)
}

fn read_from(what: &str, file: impl BufRead) -> Result<Saved> {
    collected(Reader::new(what, file)?)
}

/// Returns the header and some of the lines of a file that a command wrote.
pub fn some_lines(rng: &mut Rng) -> Vec<u8> {
    let mut lines = SEEDS[rng.usize(..SEEDS.len())].lines();
    let header = lines.next().unwrap_or_default();
    let share = rng.u8(1..=4);
    let chosen = lines.filter(|_| rng.u8(..4) < share);
    let lines: Vec<&str> = std::iter::once(header).chain(chosen).collect();
    (lines.join("\n") + "\n").into_bytes()
}

pub fn broken(rng: &mut Rng) -> Vec<u8> {
    fuzz::input(rng, WORDS, some_lines)
}

fn maybe<T>(rng: &mut Rng, value: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| value(rng))
}

fn count(rng: &mut Rng) -> u64 {
    rng.u64(..COUNT_LIMIT) >> rng.u32(..56)
}

fn tokens(rng: &mut Rng) -> u64 {
    rng.u64(..TOKENS_LIMIT) >> rng.u32(..32)
}

fn labels(rng: &mut Rng) -> Labels {
    Labels {
        session: maybe(rng, count),
        turn: maybe(rng, count),
        round: maybe(rng, count),
        concurrency: maybe(rng, count),
        // Eighths are exact in decimal.
        rate_per_s: maybe(rng, |rng| f64::from(rng.u32(..1 << 20)) / 8.0),
        repeat: maybe(rng, Rng::bool),
        wanted_prompt_tokens: maybe(rng, count),
        wanted_output_tokens: maybe(rng, count),
        context: maybe(rng, count),
        question: maybe(rng, count),
        rotation: maybe(rng, count),
        workload: maybe(rng, |rng| Workload::NAMES[rng.usize(..3)].0),
        side: maybe(rng, |rng| Side::NAMES[rng.usize(..2)].0),
        is_control: false,
    }
}

/// Makes a sample with a random choice of several values for every key, absent ones among them.
pub fn sample(rng: &mut Rng) -> Sample {
    let phase = Phase::NAMES[rng.usize(..Phase::NAMES.len())].0;
    Sample {
        id: count(rng),
        labels: Labels {
            is_control: phase == Phase::Control,
            ..labels(rng)
        },
        phase,
        failure: maybe(rng, |rng| {
            Failure::new(
                FailKind::NAMES[rng.usize(..FailKind::NAMES.len())].0,
                fuzz::string(rng).0,
            )
        }),
        status: maybe(rng, |rng| rng.u16(..)),
        t_due_ns: maybe(rng, count),
        t_send_ns: count(rng),
        t_headers_ns: maybe(rng, count),
        t_event_ns: maybe(rng, count),
        t_first_ns: maybe(rng, count),
        t_answer_ns: maybe(rng, count),
        t_last_ns: maybe(rng, count),
        t_end_ns: count(rng),
        connect_ns: maybe(rng, count),
        reused: rng.bool(),
        resent: rng.bool(),
        t_first_send_ns: maybe(rng, count),
        prompt_tokens: maybe(rng, tokens),
        cached_tokens: maybe(rng, tokens),
        completion_tokens: maybe(rng, tokens),
        reasoning_tokens: maybe(rng, tokens),
        token_source: maybe(rng, |rng| {
            TokenSource::NAMES[rng.usize(..TokenSource::NAMES.len())].0
        }),
        streamed_tokens: maybe(rng, tokens),
        token_events: tokens(rng),
        token_reads: tokens(rng),
        unread: maybe(rng, |rng| (tokens(rng), fuzz::string(rng).0)),
        gaps_us: (0..rng.usize(..4)).map(|_| rng.u32(..)).collect(),
        finish_reason: maybe(rng, |rng| fuzz::string(rng).0),
        prompt_bytes: count(rng),
        response_cached: maybe(rng, Rng::bool),
        text_bytes: count(rng),
        answer: None,
        text: None,
    }
}

#[test]
fn written_samples_are_read_back() {
    fuzz::run("samples (written)", 2000, |rng| {
        let samples: Vec<Sample> = (0..3)
            .map(|number| Sample {
                id: number,
                ..sample(rng)
            })
            .collect();
        let mut lines = vec![format!("{{\"schema\":\"{SCHEMA}\",\"a\":1}}")];
        let json = |line: serde_json::Result<String>| line.expect("a line");
        lines.extend(samples.iter().map(|sample| {
            let with_gaps = true;
            json(serde_json::to_string(&Line { sample, with_gaps }))
        }));
        let counted = (0, tokens(rng), TokenSource::Tokenize);
        let series = Series {
            series: "tokens",
            seen: &TokensLine::new(counted.0, counted.1, counted.2),
        };
        lines.push(json(serde_json::to_string(&series)));
        let text = lines.join("\n") + "\n";
        let saved = read_from("f", text.as_bytes()).expect(&text);
        assert_eq!(saved.samples, samples, "{text}");
        assert_eq!((saved.tokens, saved.torn), (vec![counted], false));
    });
}

#[test]
fn any_bytes_are_a_clean_error_or_samples() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("samples", 3000, |rng| {
        match read_from("f", &broken(rng)[..]) {
            Ok(saved) => {
                read += 1;
                assert!(saved.header.is_object());
            }
            Err(error) => {
                refused += 1;
                fuzz::assert_shown(&error.to_string());
            }
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn a_file_cut_anywhere_lacks_its_last_line_at_the_most() {
    for whole in SEEDS {
        let header = whole.find('\n').expect("a header") + 1;
        let lines = read_from("f", whole.as_bytes())
            .expect("a file")
            .samples
            .len();
        for cut in (header..whole.len()).step_by(61) {
            let saved = read_from("f", &whole.as_bytes()[..cut]).expect("cut behind its header");
            let left = memchr::memchr_iter(b'\n', &whole.as_bytes()[cut..]).count();
            assert!(saved.samples.len() + left >= lines, "cut at {cut}");
        }
    }
}

#[test]
fn a_line_as_deep_as_it_gets_is_an_error() {
    let header = SEEDS[0].lines().next().expect("a header");
    for key in ["series", "gaps_us", "metrics", "id"] {
        for deep in fuzz::deep_json(key) {
            for text in [
                format!("{deep}\n"),
                format!("{header}\n{deep}\n"),
                format!("{header}\n{{\"{key}\":{deep}}}\n"),
            ] {
                let error = read_from("f", text.as_bytes()).expect_err("too deep");
                fuzz::assert_shown(&error.to_string());
            }
        }
    }
}

#[test]
fn time_is_linear_in_the_file() {
    let mut lines = SEEDS[0].lines();
    let header = lines.next().expect("a header").to_string() + "\n";
    let sample = lines.next().expect("a sample").to_string() + "\n";
    for piece in [
        &sample[..],
        "{}\n",
        " ",
        "[",
        "{\"series\":\"x\"}\n",
        "{\"a\":\"",
    ] {
        let make =
            |bytes: usize| (header.clone() + &piece.repeat(bytes / piece.len())).into_bytes();
        fuzz::assert_linear(piece, make, |file| {
            let _ = read_from("f", file);
        });
    }
}
