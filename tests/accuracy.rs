//! Figures against the truth: compares what the client measured with the mock's truth log.

use serde_json::{Value, json};

use crate::alone;
use crate::util::{Cmd, Dir, Samples, Server, errors_ms, json_file, median};

/// One run of `benchmark` against a mock in a process of its own: samples and truth by request.
struct Joined {
    pairs: Vec<(Value, Value)>,
    stdout: String,
}

fn run(mock: &[&str], options: &[&str]) -> Joined {
    let server = Server::start(mock);
    let dir = Dir::new();
    let output = Cmd::new(&dir)
        .args(["benchmark", "--endpoint", &server.url()])
        .args(["--samples", "samples.jsonl"])
        .args(options)
        .ok();
    Joined {
        pairs: Samples::read(&dir, "samples.jsonl").with_truth(server.truth()),
        stdout: output.stdout,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn ttft_and_itl_agree_with_the_truth_log_at_64_streams() {
    let _machine = alone();
    let joined = run(
        // The jitter keeps streams from beginning and ending together, which would measure how two cores are shared.
        &[
            "--base",
            "50ms",
            "--prefill-rate",
            "100M",
            "--itl",
            "20ms",
            "--jitter",
            "200ms",
        ],
        &[
            "--contexts",
            "64",
            "--max-inflight",
            "64",
            "--input-length",
            "64",
            "--output-length",
            "50",
            "--rotations",
            "3",
        ],
    );
    assert_eq!(joined.pairs.len(), 192);
    let errors = joined.pairs.iter().map(|(sample, truth)| {
        assert_eq!(sample["ok"], true, "{sample}");
        errors_ms(sample, truth)
    });
    let (ttft, itl): (Vec<f64>, Vec<f64>) = errors.unzip();
    let figures = [
        ("mean TTFT", mean(&ttft), 1.0),
        ("median TTFT", median(&ttft), 1.0),
        ("mean ITL", mean(&itl), 0.1),
        ("median ITL", median(&itl), 0.1),
    ];
    for (name, error_ms, limit_ms) in figures {
        assert!(
            error_ms.abs() <= limit_ms,
            "{name} is off by {error_ms} ms: {figures:?}"
        );
    }
}

#[test]
fn the_latencies_of_both_rounds_of_a_replay_agree_with_the_truth_log() {
    let _machine = alone();
    let dir = Dir::new();
    let prompt = |k: usize| format!("{}\n", json!({"text": format!("w{k} ").repeat(400)}));
    let dataset = dir.write("prompts.jsonl", (0..60).map(prompt).collect::<String>());
    let server = Server::start(&["--base", "40ms", "--prefill-rate", "4M", "--itl", "10ms"]);
    Cmd::new(&dir)
        .args(["replay", "--endpoint", &server.url(), "--dataset"])
        .arg(dataset)
        .args(["--concurrency", "20", "--max-output-tokens", "24"])
        .args(["--output-dir", "out"])
        .ok();
    let pairs = Samples::read(&dir, "out/samples.jsonl").with_truth(server.truth());
    for round in [1, 2] {
        let of_round = pairs.iter().filter(|(sample, _)| sample["round"] == round);
        let times = of_round.map(|(_, truth)| {
            let ns = |stamp: &Value| stamp.as_f64().expect("a stamp");
            let written = truth["t_written_ns"].as_array().expect("a stamp a token");
            let (first, last) = (ns(&written[0]), ns(&written[written.len() - 1]));
            let ttft = (first - ns(&truth["t_read_ns"])) / 1e6;
            (ttft, (last - first) / 1e6 / (written.len() - 1) as f64)
        });
        let (ttft, itl): (Vec<f64>, Vec<f64>) = times.unzip();
        assert_eq!(ttft.len(), 60);
        let file = json_file(&dir, &format!("out/concurrency_20_round_{round}.json"));
        for (key, wanted, limit_ms) in [
            ("avg_ttft", mean(&ttft), 1.0),
            ("p50_ttft", median(&ttft), 1.0),
            ("avg_itl", mean(&itl), 0.1),
            ("p50_itl", median(&itl), 0.1),
        ] {
            let got = file["summary"][key].as_f64().expect("a number");
            let off = (got - wanted).abs();
            assert!(off <= limit_ms, "round {round}, {key}: {got} for {wanted}");
        }
    }
}

/// Checks that the cached prompt tokens told to the client are those of the mock's log.
fn check_hits(joined: &Joined) {
    for (sample, truth) in &joined.pairs {
        let hits = truth["hit_tier1_tokens"].as_u64().expect("hits")
            + truth["hit_tier2_tokens"].as_u64().expect("hits");
        assert_eq!(
            sample["cached_tokens"].as_u64(),
            Some(hits),
            "{sample} {truth}"
        );
        assert_eq!(
            sample["prompt_tokens"], truth["prompt_tokens"],
            "{sample} {truth}"
        );
        assert_eq!(
            sample["completion_tokens"], truth["output_tokens"],
            "{sample} {truth}"
        );
    }
}

const BLOCK: u64 = 16;
const CONTEXTS: u64 = 12;
const IN_FLIGHT: u64 = 4;
/// Tokens of a context: whole blocks, so that a block never mixes context and question.
const INPUT: u64 = 40 * BLOCK;

fn cycle(tier1: u64, tier2: u64) -> Joined {
    let mut joined = run(
        &[
            "--tier1-tokens",
            &tier1.to_string(),
            "--tier2-tokens",
            &tier2.to_string(),
            "--block-tokens",
            &BLOCK.to_string(),
            "--itl",
            "1ms",
            "--prefill-rate",
            "2M",
        ],
        &[
            "--contexts",
            &CONTEXTS.to_string(),
            "--max-inflight",
            &IN_FLIGHT.to_string(),
            "--input-length",
            &INPUT.to_string(),
            "--output-length",
            "10",
            "--rotations",
            "4",
        ],
    );
    check_hits(&joined);
    // Where nothing hits, controls follow.
    let pairs = &mut joined.pairs;
    pairs.retain(|(sample, _)| sample["phase"] != "control");
    assert_eq!(pairs.len() as u64, 4 * CONTEXTS);
    joined
}

fn hits_of_rotation(joined: &Joined, wanted: impl Fn(u64) -> bool) -> Vec<u64> {
    let rotation = |sample: &Value| sample["rotation"].as_u64().expect("a rotation");
    let chosen = joined
        .pairs
        .iter()
        .filter(|(sample, _)| wanted(rotation(sample)));
    chosen
        .map(|(sample, _)| sample["cached_tokens"].as_u64().expect("hits"))
        .collect()
}

#[test]
fn a_cache_smaller_than_contexts_minus_in_flight_gives_no_hit_in_any_rotation() {
    let _machine = alone();
    // Exact LRU over a cycle: a context is evicted before its turn comes again.
    let joined = cycle(2 * INPUT, (CONTEXTS - IN_FLIGHT - 3) * INPUT);
    let hits = hits_of_rotation(&joined, |_| true);
    assert!(hits.iter().all(|&hit| hit == 0), "{hits:?}");
    assert!(
        joined.stdout.contains("hit rate 0.0 %"),
        "{}",
        joined.stdout
    );
}

#[test]
fn a_cache_that_holds_contexts_questions_and_outputs_gives_every_block_of_every_context() {
    let _machine = alone();
    // A question and its answer take at most 3 blocks of 16 beside the context.
    let one_rotation = CONTEXTS * (INPUT + 3 * BLOCK);
    let joined = cycle(2 * INPUT, one_rotation);
    assert!(
        hits_of_rotation(&joined, |r| r == 0)
            .iter()
            .all(|&hit| hit == 0)
    );
    let warm = hits_of_rotation(&joined, |r| r > 0);
    assert_eq!(warm.len() as u64, 3 * CONTEXTS);
    // The whole context is cached; an earlier question adds its own full blocks.
    assert!(
        warm.iter()
            .all(|&hit| (INPUT..=INPUT + 2 * BLOCK).contains(&hit)),
        "{warm:?}"
    );
}
