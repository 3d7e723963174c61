//! Outputs that would destroy something: inputs of the same command are refused before the first request, samples that
//! were measured before are moved aside; and outputs that go to a stdout which nobody reads.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::util::{Cmd, Dir, RawServer, Server};

const SMALL: &str = "--backend mock --requests 2 --warmup 0 --max-tokens 2";
/// Samples that a command of an earlier run has measured.
const MEASURED: &str = "{\"schema\":\"tmesh-cli/samples/2\",\"command\":\"load\",\"started_at\":\"2026-01-02T03:04:05Z\"}\n{\"id\":0}\n";

/// Commands with an output that is one of their inputs: the output as the error names it, and the input.
const DESTRUCTIVE: [(&str, &str, &str); 18] = [
    (
        "load --slo-file slo.yaml --output slo.yaml",
        "--output slo.yaml",
        "slo.yaml",
    ),
    (
        "load --slo-file slo.yaml --output ./slo.yaml",
        "--output ./slo.yaml",
        "slo.yaml",
    ),
    (
        "load --slo-file slo.yaml --output link",
        "--output link",
        "slo.yaml",
    ),
    (
        "load --slo-file slo.yaml --samples twin",
        "--samples twin",
        "slo.yaml",
    ),
    (
        "load --slo-file link --export vllm slo.yaml",
        "--export vllm slo.yaml",
        "link",
    ),
    (
        "load --trace t.jsonl --output t.jsonl",
        "--output t.jsonl",
        "t.jsonl",
    ),
    (
        "load --dataset d.jsonl --samples d.jsonl",
        "--samples d.jsonl",
        "d.jsonl",
    ),
    (
        "load --api-key-file key.txt --output key.txt",
        "--output key.txt",
        "key.txt",
    ),
    (
        "find-rate --slo-file slo.yaml --samples slo.yaml",
        "--samples slo.yaml",
        "slo.yaml",
    ),
    (
        "probe --other-key-file key.txt --output key.txt",
        "--output key.txt",
        "key.txt",
    ),
    (
        "benchmark --model-configs configs.json --output configs.json",
        "--output configs.json",
        "configs.json",
    ),
    (
        "benchmark --hf-config hf.json --output hf.json",
        "--output hf.json",
        "hf.json",
    ),
    (
        "compare --against-mock itl=1ms --dataset d.jsonl --summary d.jsonl",
        "--summary d.jsonl",
        "d.jsonl",
    ),
    (
        "compare --base base.jsonl --new new.jsonl --output base.jsonl",
        "--output base.jsonl",
        "base.jsonl",
    ),
    (
        "compare --base base.jsonl --new new.jsonl --summary new.jsonl",
        "--summary new.jsonl",
        "new.jsonl",
    ),
    (
        "report -i base.jsonl -o ./base.jsonl",
        "--output ./base.jsonl",
        "base.jsonl",
    ),
    (
        "convert sharegpt --input-file sg.json --output sg.json",
        "--output sg.json",
        "sg.json",
    ),
    (
        "convert longbench --input-file long.jsonl --output long.jsonl",
        "--output long.jsonl",
        "long.jsonl",
    ),
];

fn run(dir: &Dir, words: &str) -> Cmd {
    Cmd::new(dir).args(words.split_whitespace())
}

/// Returns the names and contents of all files, in the order of their names.
fn files(dir: &Dir) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir.path()).expect("a folder");
    let files = files.map(|file| file.expect("a file"));
    let files = files.filter(|file| file.file_type().is_ok_and(|of| !of.is_dir()));
    let mut files: Vec<_> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

/// Writes one input of each kind, and two runs with samples.
fn inputs() -> Dir {
    let dir = Dir::new();
    dir.write("slo.yaml", "slo:\n  ttft_ms: 300\n");
    dir.write(
        "t.jsonl",
        "{\"timestamp\":0,\"input_length\":20,\"output_length\":2,\"hash_ids\":[0]}\n",
    );
    dir.write("d.jsonl", "{\"text\":\"a b\"}\n{\"text\":\"c d\"}\n");
    dir.write("key.txt", "sk-0123456789abcdef\n");
    dir.write("configs.json", "[]");
    dir.write(
        "hf.json",
        "{\"num_hidden_layers\":2,\"num_attention_heads\":2,\"hidden_size\":8}",
    );
    dir.write(
        "sg.json",
        "[{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"}]}]",
    );
    dir.write(
        "long.jsonl",
        "{\"dataset\":\"lcc\",\"context\":\"c\",\"input\":\"i\"}\n",
    );
    for name in ["base.jsonl", "new.jsonl"] {
        run(&dir, &format!("load {SMALL} --samples {name}")).ok();
    }
    symlink("slo.yaml", dir.path().join("link")).expect("a link");
    fs::hard_link(dir.path().join("slo.yaml"), dir.path().join("twin")).expect("a second name");
    dir
}

#[test]
fn an_output_that_is_an_input_is_refused_and_nothing_is_written() {
    let dir = inputs();
    let before = files(&dir);
    for (words, output, input) in DESTRUCTIVE {
        let sends = !["report", "convert"]
            .iter()
            .any(|name| words.starts_with(name));
        let backend = match sends && !words.contains("--base") {
            true => " --backend mock",
            false => "",
        };
        let refused = run(&dir, &format!("{words}{backend}")).fails(2);
        let error = format!(
            "[ERROR] {output}: the same file as {input}, which is read\nGive the output another name\n"
        );
        assert!(refused.stderr.ends_with(&error), "{error}{refused}");
        assert_eq!(files(&dir), before, "{refused}");
    }
}

#[test]
fn two_outputs_under_two_names_of_one_file_are_refused() {
    let dir = Dir::new();
    let words = format!("load {SMALL} --samples r --output ./r");
    let refused = run(&dir, &words).fails(2);
    let error = "[ERROR] --output ./r: the same file as --samples";
    assert!(refused.stderr.starts_with(error), "{refused}");
    assert!(files(&dir).is_empty());
}

#[test]
fn a_folder_of_results_does_not_take_in_its_own_dataset() {
    let dir = Dir::new();
    let record = "{\"text\":\"a b\"}\n";
    for name in ["samples.jsonl", "metrics_summary.csv"] {
        dir.write(name, record);
        let words = format!("replay --backend mock --dataset {name} --output-dir .");
        let refused = run(&dir, &words).fails(2);
        let error =
            format!("[ERROR] --output-dir ./{name}: the same file as {name}, which is read\n");
        assert!(refused.stderr.contains(&error), "{refused}");
        assert_eq!(dir.read(name), record);
        fs::remove_file(dir.path().join(name)).expect("it is there");
    }
}

#[test]
fn every_output_moves_samples_of_an_earlier_run_aside() {
    let dir = inputs();
    for (words, moves) in [
        (
            "load --backend mock --requests 2 --warmup 0 --output old.jsonl",
            "--output old.jsonl",
        ),
        (
            "load --backend mock --requests 2 --warmup 0 --export vllm old.jsonl",
            "--export vllm old.jsonl",
        ),
        (
            "benchmark --backend mock --contexts 2 --input-length 50 --output-length 2 --requests 2 --output old.jsonl",
            "--output old.jsonl",
        ),
        (
            "compare --base base.jsonl --new new.jsonl --unclear pass --output old.jsonl",
            "--output old.jsonl",
        ),
        (
            "compare --base base.jsonl --new new.jsonl --unclear pass --summary old.jsonl",
            "--summary old.jsonl",
        ),
        ("report -i base.jsonl -o old.jsonl", "--output old.jsonl"),
        (
            "convert sharegpt --input-file sg.json --output old.jsonl",
            "--output old.jsonl",
        ),
        (
            "load --backend mock --requests 2 --warmup 0 --mock truth_log=old.jsonl",
            "--truth-log old.jsonl",
        ),
    ] {
        dir.write("old.jsonl", MEASURED);
        let output = run(&dir, words).ok();
        let note = format!(
            "note: {moves} has results of load, started at 2026-01-02T03:04:05Z; this file is moved to old.1.jsonl\n"
        );
        assert!(output.stderr.contains(&note), "{note}{output}");
        assert_eq!(dir.read("old.1.jsonl"), MEASURED, "{words}");
        let new = dir.read("old.jsonl");
        assert!(!new.is_empty() && new != MEASURED, "{words}: {new}");
        fs::remove_file(dir.path().join("old.1.jsonl")).expect("it is there");
    }
}

#[test]
fn samples_behind_a_link_are_kept_too() {
    for words in [
        "load --backend mock --requests 2 --warmup 0 --samples link.jsonl",
        "load --backend mock --requests 2 --warmup 0 --output link.jsonl",
        "convert sharegpt --input-file sg.json --output link.jsonl",
    ] {
        let dir = Dir::new();
        dir.write(
            "sg.json",
            "[{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"}]}]",
        );
        dir.write("old.jsonl", MEASURED);
        symlink("old.jsonl", dir.path().join("link.jsonl")).expect("a link");
        run(&dir, words).ok();
        assert_eq!(dir.read("old.1.jsonl"), MEASURED, "{words}");
        assert_ne!(dir.read("old.jsonl"), MEASURED, "{words}");
    }
}

#[test]
fn a_report_and_a_dataset_name_what_they_replace() {
    let dir = inputs();
    for words in [
        "report -i base.jsonl -o out",
        "convert sharegpt --input-file sg.json --output out",
    ] {
        dir.write("out", "notes of somebody");
        let output = run(&dir, words).ok();
        let note = "note: --output out has something else than results; this file is replaced\n";
        assert!(output.stderr.contains(note), "{output}");
    }
}

/// Runs the two shards of a load, whose samples are `s0.jsonl` and `s1.jsonl`.
fn shards(dir: &Dir) {
    for index in 0..2 {
        let words =
            format!("load {SMALL} --seed 1 --nonce a --shard {index}/2 --samples s{index}.jsonl");
        run(dir, &words).ok();
    }
}

#[test]
fn a_reader_of_stdout_that_is_gone_ends_a_command_with_0_and_without_an_error() {
    let dir = inputs();
    shards(&dir);
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    for words in [
        "merge s0.jsonl s1.jsonl -o -",
        "load --backend mock --requests 50 --max-tokens 2 --samples -",
        "load --backend mock --requests 50 --max-tokens 2 --samples /dev/stdout",
        "load --backend mock --requests 2 --max-tokens 2 --output -",
        "load --backend mock --requests 2 --max-tokens 2 --export vllm -",
        "benchmark --backend mock --contexts 2 --input-length 50 --output-length 2 --interval 100ms --samples -",
        "compare --base base.jsonl --new new.jsonl --unclear pass --summary -",
        "convert sharegpt --input-file sg.json --output -",
        "convert sharegpt --input-file sg.json --output /dev/stdout",
    ] {
        // The reader leaves before the first line, and after it.
        for reader in ["true", "head -n 1"] {
            let line = format!("{{ {bin} {words} 2>errors; echo $? >code; }} | {reader}");
            Cmd::program("sh", &dir)
                .args(["-c", &line])
                .deadline(Duration::from_secs(60))
                .ok();
            assert_eq!(
                dir.read("code"),
                "0\n",
                "{words} | {reader}: {}",
                dir.read("errors")
            );
            let errors = dir.read("errors");
            for word in ["ERROR", "warning", "Broken pipe"] {
                assert!(!errors.contains(word), "{words} | {reader}: {errors}");
            }
        }
    }
}

#[test]
fn a_full_disk_is_a_lost_output_for_every_command_without_requests() {
    let dir = inputs();
    shards(&dir);
    for words in [
        "merge s0.jsonl s1.jsonl -o /dev/full",
        "report -i base.jsonl -o /dev/full",
        "convert sharegpt --input-file sg.json --output /dev/full",
        "compare --base base.jsonl --new new.jsonl --unclear pass --output /dev/full",
    ] {
        let output = run(&dir, words).fails(1);
        assert!(
            output.stderr.contains("No space left on device"),
            "{output}"
        );
    }
}

#[test]
fn a_file_of_a_key_is_never_quoted() {
    let dir = Dir::new();
    let key = "sekret-abcdefghijklmnop";
    let slo = "Want limits such as: slo: {ttft_ms: 1000, itl_ms: 50, latency_ms: 10000}, or constraints: {ttft_ms: {max: 1000}}\n";
    for (content, wanted) in [
        (format!("{key}\n"), "line 1: a text; want keys with values"),
        (
            format!("\n{key}: x\n"),
            "line 2: unknown key; want slo, constraints",
        ),
    ] {
        dir.write("key.txt", content);
        let output = run(&dir, "load --backend mock --slo-file key.txt").fails(2);
        let error = format!("[ERROR] --slo-file key.txt, {wanted}\n{slo}");
        assert_eq!(output.stderr, error, "{output}");
    }
    // A record is quoted, but the run's own key in it is masked.
    dir.write("d.jsonl", format!("{{\"{key}\": 1}}\n"));
    for command in ["load", "replay"] {
        let words = format!("{command} --backend mock --dataset d.jsonl --api-key {key}");
        let output = run(&dir, &words).fails(2);
        assert!(output.stderr.contains("its keys: ****mnop"), "{output}");
        assert!(!output.stderr.contains("sekret"), "{output}");
    }
}

#[test]
fn a_run_that_measures_nothing_leaves_no_empty_folder() {
    let dir = Dir::new();
    for words in [
        "run --endpoint 127.0.0.1:1 -o a/b",
        "replay --endpoint 127.0.0.1:1 --synthetic 2 --output-dir a/b --debug --debug-log-dir c",
    ] {
        run(&dir, words).fails(2);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}

#[test]
fn a_report_of_a_file_without_its_option_names_the_option() {
    let refused = run(&Dir::new(), "report samples.jsonl").fails(2);
    let error = "[ERROR] samples.jsonl: not an option\nWant: -i samples.jsonl\n";
    assert_eq!(refused.stderr, error, "{refused}");
}

#[test]
fn a_trace_of_one_request_has_no_rate_and_no_unit() {
    let dir = inputs();
    let output = run(&dir, "load --backend mock --trace t.jsonl --warmup 0").ok();
    // A rate takes two requests: (n - 1) / (last - first).
    let line = "\nRate: offered n/a, achieved n/a\n";
    assert!(output.stdout.contains(line), "{output}");
}

#[test]
fn a_url_that_is_wrong_is_not_blamed_on_the_model() {
    let dir = Dir::new();
    let mock = Server::start(&[]);
    let ssh = RawServer::start(|_, stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
    });
    for (endpoint, why, next) in [
        (
            format!("{}/nope", mock.url()),
            "/nope/v1/models: HTTP 404: ",
            "Correct the path of the URL (a missing prefix?), or if the server has no such list: --model NAME\n",
        ),
        (
            format!("http://{}", ssh.addr()),
            "/v1/models: no HTTP reply (",
            "Correct the port, or use https:// if it speaks TLS\n",
        ),
    ] {
        let output = run(&dir, &format!("load --endpoint {endpoint}")).fails(2);
        assert!(output.stderr.contains(why), "{output}");
        assert!(output.stderr.ends_with(next), "{output}");
    }
}
