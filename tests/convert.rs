//! `convert` and `check dataset`: their output, and their errors.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::util::{Cmd, Dir, Output};

fn data(name: &str) -> PathBuf {
    format!("{}/tests/data/datasets/{name}", env!("CARGO_MANIFEST_DIR")).into()
}

/// Returns the command of a line, split at blanks, in `dir`.
fn run(dir: &Dir, line: &str) -> Cmd {
    Cmd::new(dir).args(line.split(' '))
}

fn records(dir: &Dir, name: &str) -> Vec<Value> {
    let text = dir.read(name);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn files(dir: &Dir) -> Vec<String> {
    let files = fs::read_dir(dir.path()).expect("its directory");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Makes a folder with a record of each of the LongBench v1 datasets, without their `dataset` field.
fn longbench_dir(names: &[&str]) -> Dir {
    let dir = Dir::new();
    for name in names {
        let record = format!(
            "{{\"_id\":\"id-{name}\",\"context\":\"context of {name}\",\"input\":\"input of {name}\"}}\n"
        );
        dir.write(&format!("data/{name}.jsonl"), record);
    }
    dir
}

#[test]
fn longbench_becomes_prompts_without_duplicates_that_load_again() {
    let dir = Dir::new();
    dir.write(
        "in/narrativeqa.jsonl",
        fs::read(data("narrativeqa.jsonl")).expect("the data"),
    );
    let line = "convert longbench --dataset narrativeqa --num-samples 50 --input-dir in --output out/long/context.jsonl";
    let output = run(&dir, line).ok();
    // Of six records, the fifth has the text of the second, and the sixth the _id of the first.
    assert_eq!(output.stdout, "", "{output}");
    assert!(
        output
            .stderr
            .starts_with("narrativeqa: 4 written, 2 duplicates dropped; characters: min "),
        "{output}"
    );
    assert!(
        output
            .stderr
            .ends_with("\nout/long/context.jsonl: 4 records\n"),
        "{output}"
    );
    let records = records(&dir, "out/long/context.jsonl");
    let ids: Vec<&str> = records
        .iter()
        .filter_map(|record| record["session_id"].as_str())
        .collect();
    assert_eq!(ids, ["nqa-1", "nqa-2", "nqa-3", "nqa-4"]);
    for record in &records {
        assert_eq!(record["dataset"], "narrativeqa");
    }
    let text = records[0]["text"].as_str().expect("a text");
    let context = text.find("Marta rowed to the island").expect("the context");
    assert!(
        context
            < text
                .find("What did Ivo ask for in October?")
                .expect("the input")
    );
    let checked = run(&dir, "check dataset out/long/context.jsonl").ok();
    assert!(
        checked
            .stdout
            .starts_with("out/long/context.jsonl: 4 records, 0 wrong\nkinds: text 4\n"),
        "{checked}"
    );
    assert_eq!(files(&dir), ["in", "out"]);
}

#[test]
fn all_21_datasets_and_v2_are_found_in_a_folder_and_longbench_e_by_name() {
    let names = "narrativeqa qasper multifieldqa_en multifieldqa_zh hotpotqa 2wikimqa musique dureader gov_report qmsum \
        multi_news vcsum trec triviaqa samsum lsht passage_count passage_retrieval_en passage_retrieval_zh lcc repobench-p";
    let names: Vec<&str> = names.split(' ').collect();
    let dir = longbench_dir(&names);
    dir.write(
        "data/qasper_e.jsonl",
        "{\"_id\":\"e\",\"dataset\":\"qasper\",\"context\":\"c\",\"input\":\"i\"}\n",
    );
    let v2 = "[{\"_id\":\"v2\",\"context\":\"context of v2\",\"question\":\"input of v2\",\"choice_A\":\"1\",\
        \"choice_B\":\"2\",\"choice_C\":\"3\",\"choice_D\":\"4\"}]";
    dir.write("data/data.json", v2);
    run(&dir, "convert longbench --input-dir . --output all.jsonl").ok();
    let all = records(&dir, "all.jsonl");
    assert_eq!(all.len(), 22);
    for (record, name) in all.iter().zip(names.iter().chain(&["longbench-v2"])) {
        assert_eq!(record["dataset"], *name);
        let name = name.trim_start_matches("longbench-");
        let text = record["text"].as_str().expect("a text");
        let context = text.find(&format!("context of {name}")).expect(name);
        assert!(
            context < text.find(&format!("input of {name}")).expect(name),
            "{text}"
        );
    }
    let line = "convert longbench --input-dir data --dataset qasper_e lcc,longbench-v2 --output some.jsonl";
    run(&dir, line).ok();
    let some = records(&dir, "some.jsonl");
    let some: Vec<&str> = some
        .iter()
        .filter_map(|record| record["dataset"].as_str())
        .collect();
    assert_eq!(some, ["qasper_e", "lcc", "longbench-v2"]);
}

#[test]
fn records_of_several_datasets_in_one_file_are_told_apart() {
    let dir = Dir::new();
    let mut lines = String::new();
    for n in 0..4 {
        for name in ["trec", "lcc"] {
            lines += &format!(
                "{{\"_id\":\"{name}{n}\",\"dataset\":\"{name}\",\"context\":\"c{n}\",\"input\":\"\"}}\n"
            );
        }
    }
    dir.write("mixed.jsonl", lines);
    let output = run(
        &dir,
        "convert longbench --input-file mixed.jsonl --num-samples 3 --output o.jsonl",
    )
    .ok();
    assert_eq!(records(&dir, "o.jsonl").len(), 6, "{output}");
    run(
        &dir,
        "convert longbench --input-file mixed.jsonl --dataset lcc --output o.jsonl",
    )
    .ok();
    let ids: Vec<Value> = records(&dir, "o.jsonl")
        .iter()
        .map(|record| record["session_id"].clone())
        .collect();
    assert_eq!(ids, ["lcc0", "lcc1", "lcc2", "lcc3"]);
}

#[test]
fn sharegpt_becomes_sessions_of_the_turns_asked_for() {
    let dir = Dir::new();
    let input = data("sharegpt.json");
    let convert = |more: &str| -> Output {
        let line = format!(
            "convert sharegpt --output s.jsonl --input-file {}{more}",
            input.display()
        );
        run(&dir, &line).ok()
    };
    let output = convert("");
    // User turns: 2, 3, 1, 1 (two messages in a row), 1.
    assert!(
        output
            .stderr
            .contains("user turns: min 1, median 1, max 3; characters: "),
        "{output}"
    );
    assert!(
        output.stderr.ends_with("s.jsonl: 5 conversations\n"),
        "{output}"
    );
    let all = records(&dir, "s.jsonl");
    assert_eq!(
        all[3]["conversations"][1]["value"],
        "Tell me how a sundial works.\n\nIt stands on a wall that faces south."
    );
    fs::remove_file(dir.path().join("s.jsonl")).expect("it was written");
    let output = convert(" --min-turns 2 --max-turns 2");
    assert!(
        output.stderr.starts_with(
            "dropped: 0 without user text, 3 with fewer than 2 user turns\ncut to 2 user turns: 1\n"
        ),
        "{output}"
    );
    let two = records(&dir, "s.jsonl");
    assert_eq!(
        (two.len(), &two[1]["session_id"]),
        (2, &Value::from("s-02"))
    );
    let from = |record: &Value| -> Vec<String> {
        let messages = record["conversations"].as_array().expect("messages");
        messages
            .iter()
            .filter_map(|message| message["from"].as_str())
            .map(str::to_string)
            .collect()
    };
    assert_eq!(from(&two[1]), ["system", "human", "gpt", "human", "gpt"]);
    let checked = run(&dir, "check dataset s.jsonl").ok();
    assert!(
        checked.stdout.contains("\nkinds: conversations 2\n"),
        "{checked}"
    );
    assert!(
        checked
            .stdout
            .contains("\nturns: 4 in all; of a record: min 2, median 2, max 2\n"),
        "{checked}"
    );
}

#[test]
fn input_that_cannot_be_converted_is_an_error_and_leaves_no_file() {
    let dir = longbench_dir(&["trec"]);
    dir.write(
        "bad.jsonl",
        "{\"dataset\":\"lcc\",\"context\":\"c\"}\n{\"dataset\":\"lcc\"}\n",
    );
    dir.write(
        "one.jsonl",
        "{\"conversations\":[{\"from\":\"gpt\",\"value\":\"a\"}]}\n",
    );
    let v1 = "\nLongBench v1: download https://huggingface.co/datasets/THUDM/LongBench/resolve/main/data.zip, unpack it, \
        and give its folder as --input-dir";
    let v2 = "\nLongBench v2: download https://huggingface.co/datasets/THUDM/LongBench-v2/resolve/main/data.json and \
        give it as --input-file";
    let before = files(&dir);
    for (line, wanted) in [
        ("convert longbench --output o", format!("convert longbench: no input given; want --input-file FILE or --input-dir FOLDER{v1}{v2}")),
        ("convert longbench --output o --dataset lcc", format!("convert longbench: no input given; want --input-file FILE or --input-dir FOLDER{v1}")),
        ("convert longbench --output o --input-dir . --dataset lcc", format!("--input-dir .: no file of lcc in this folder{v1}")),
        ("convert longbench --output o --input-dir . --dataset longbench-v2", format!("--input-dir .: no file of longbench-v2 in this folder{v2}")),
        ("convert longbench --output o --input-dir none", format!("--input-dir none: no such folder{v1}{v2}")),
        ("convert longbench --output o --input-dir data/.. --input-file f", "--input-dir: not with --input-file".to_string()),
        ("convert longbench --output o --input-dir . --dataset trek", "--dataset trek: LongBench has no dataset of that name\nDid you mean trec?".to_string()),
        ("convert longbench --input-dir .", "--output: not given; want --output FILE".to_string()),
        ("convert longbench --input-dir . --output data", "--output data: a folder; want a file".to_string()),
        ("convert longbench --input-dir . --output bad.jsonl/o", "--output bad.jsonl/o: cannot write: ".to_string()),
        ("convert longbench --input-file bad.jsonl --output o", "--input-file bad.jsonl, line 2: it has no context".to_string()),
        ("convert longbench --input-file bad.jsonl --output bad.jsonl", "--output bad.jsonl: the same file as bad.jsonl, which is read".to_string()),
        ("convert longbench --input-file none --output o", "--input-file none: cannot read: No such file".to_string()),
        ("convert longbench --input-file data/trec.jsonl --dataset lcc trec --output o", "--dataset lcc: no record of this dataset in --input-file data/trec.jsonl".to_string()),
        ("convert sharegpt --input-file one.jsonl --output o", "--input-file one.jsonl: no conversation is left; dropped: 1 without user text, 0 with fewer than 1 user turn".to_string()),
        ("convert sharegpt --input-file one.jsonl --output o --min-turns 3 --max-turns 2", "--max-turns 2: below --min-turns 3".to_string()),
        ("convert sharegpt --output o", "--input-file: not given; want --input-file FILE".to_string()),
        ("convert", "convert: no subject given; want convert longbench, convert sharegpt".to_string()),
        ("check dataset", "check dataset: not given; want tmesh-cli check dataset FILE".to_string()),
        ("check dataset none.jsonl", "none.jsonl: cannot read: No such file or directory (os error 2)".to_string()),
    ] {
        let output = run(&dir, line).fails(2);
        let message = format!("[ERROR] {wanted}");
        assert!(output.stderr.starts_with(&message), "{message}\n{output}");
        assert_eq!(output.stdout, "", "{output}");
        assert_eq!(files(&dir), before, "{output}");
    }
}

#[test]
fn an_input_named_like_a_file_in_the_making_is_kept() {
    let dir = Dir::new();
    let record = "{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"}]}\n";
    dir.write("o.jsonl.part", record);
    run(
        &dir,
        "convert sharegpt --input-file o.jsonl.part --output o.jsonl",
    )
    .ok();
    assert_eq!(dir.read("o.jsonl.part"), record);
    assert_eq!(dir.read("o.jsonl"), record);
    assert_eq!(files(&dir), ["o.jsonl", "o.jsonl.part"]);
}

#[test]
fn an_output_that_is_no_plain_file_is_written_through() {
    let dir = longbench_dir(&["trec"]);
    let output = run(&dir, "convert longbench --input-dir . --output /dev/stdout").ok();
    assert!(
        output
            .stdout
            .starts_with("{\"session_id\":\"id-trec\",\"dataset\":\"trec\",\"text\":\""),
        "{output}"
    );
    assert!(
        run(&dir, "convert longbench --input-dir . --output /dev/full")
            .fails(1)
            .stderr
            .starts_with("[ERROR] --output /dev/full: cannot write: ")
    );
}

#[test]
fn a_check_of_a_dataset_says_what_is_in_it() {
    let dir = Dir::new();
    let file = "{\"session_id\":\"a\",\"user_messages\":[\"é\",\"four\"]}\n\
        {\"session_id\":\"a\",\"text\":\"seven77\"}\n{\"prompt\":\"0123456789\"}\n";
    dir.write("d.jsonl", file);
    let output = run(&dir, "check dataset d.jsonl").ok();
    // Characters 1, 4, 7, 10: ranks 0 to 3, so 1.5, 2.7 and 2.97; bytes 2, 4, 7, 10.
    assert_eq!(
        output.stdout,
        "d.jsonl: 3 records, 0 wrong\n\
         kinds: prompt 1, text 1, user_messages 1\n\
         sessions: 2 records with a session_id, 1 different\n\
         turns: 4 in all; of a record: min 1, median 1, max 2\n\
         user message                     p50         p90         p99         max\n\
         characters                      5.50        9.10        9.91          10\n\
         bytes                           5.50        9.10        9.91          10\n",
        "{output}"
    );
}

#[test]
fn a_check_of_a_dataset_shows_twenty_errors_and_counts_the_rest() {
    let dir = Dir::new();
    let mut lines = String::from("{\"text\":\"good\"}\n");
    for n in 0..25 {
        lines += &format!("{{\"other\":{n}}}\n");
    }
    lines += "{\"text\":\n";
    dir.write("d.jsonl", lines);
    let output = run(&dir, "check dataset d.jsonl").fails(1);
    let shown: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    assert_eq!(shown.len(), 20, "{output}");
    assert_eq!(
        shown[0],
        "line 2: none of body, messages, conversations, user_messages, prompt and text in it; its keys: other"
    );
    assert!(shown[19].starts_with("line 21: "), "{output}");
    assert!(
        output
            .stdout
            .contains("\nand 6 more\nd.jsonl: 27 records, 26 wrong\nkinds: text 1\n"),
        "{output}"
    );
    assert_eq!(
        output.stderr,
        "[ERROR] check dataset d.jsonl: 26 of 27 records are wrong\n"
    );
}

#[test]
fn every_dataset_of_the_project_passes_the_check() {
    let dir = Dir::new();
    for name in [
        "text.jsonl",
        "prompt.json",
        "sessions.jsonl",
        "sharegpt.json",
        "messages.jsonl",
        "batch.jsonl",
        "data-object.json",
    ] {
        let output = Cmd::new(&dir)
            .args(["check", "dataset"])
            .args([data(name)])
            .ok();
        assert!(output.stdout.contains(" records, 0 wrong\n"), "{output}");
    }
    // A pipe works like a file: it is read once, from front to back.
    let script = format!(
        "cat {} | {} check dataset /dev/stdin",
        data("messages.jsonl").display(),
        env!("CARGO_BIN_EXE_tmesh-cli")
    );
    let output = Cmd::program("sh", &dir).args(["-c", &script]).ok();
    assert!(
        output
            .stdout
            .starts_with("/dev/stdin: 4 records, 0 wrong\n"),
        "{output}"
    );
}

#[test]
fn talks_with_tools_are_counted_out_or_refused_with_their_line() {
    let dir = Dir::new();
    let human = r#"{"from":"human","value":"what is a heron"},{"from":"gpt","value":"a bird"}"#;
    let tools = r#"{"from":"human","value":"run it"},{"from":"function_call","value":"{}"}"#;
    let text = format!(
        "[{{\"id\":\"q1\",\"conversations\":[{human}]}},\n{{\"id\":\"q2\",\"conversations\":[]}},\n{{\"id\":\"q7\",\"conversations\":[{tools}]}}]"
    );
    dir.write("s.json", text);
    let output = run(
        &dir,
        "convert sharegpt --input-file s.json --output o.jsonl",
    )
    .ok();
    assert!(
        output.stderr.starts_with(
            "dropped: 1 without user text, 0 with fewer than 1 user turn, 1 with tools or images\n"
        ),
        "{output}"
    );
    assert_eq!(records(&dir, "o.jsonl").len(), 1);
    let checked = run(&dir, "check dataset s.json").fails(1);
    for place in [
        "line 2: no user text in conversations",
        "line 3: conversations: message 2: role \"function_call\", ",
    ] {
        assert!(checked.stdout.contains(place), "{checked}");
    }
}
