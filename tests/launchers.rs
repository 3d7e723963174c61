//! The command lines and the manifest of `help scale`, run as they stand there: launchers are stand-ins that start
//! processes with the variables of the real ones. Only the endpoint, the rate, the time until the start and the
//! duration are replaced, this one by a number of requests: a busy machine sends the last ones of a duration too late.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;
use yaml_rust2::{Yaml, YamlLoader};

use crate::util::{Cmd, Dir, Output, Samples, Server};

const TOPIC: &str = include_str!("../src/help/scale.md");
const SHARDS: u64 = 4;
/// The time in which all shards must be set up, in seconds.
const AHEAD: u64 = 4;

/// Starts `$n` processes of the command in `$@` at once, with the variables in `$with`, where `$i` counts from 0. Ends
/// with the code of one that failed.
const START: &str = r#"
i=0; pids=
while [ $i -lt $n ]; do
  eval "env $with \"\$@\"" & pids="$pids $!"
  i=$((i + 1))
done
code=0
for pid in $pids; do wait $pid || code=$?; done
exit $code
"#;

/// Hands its environment on to every process.
const SRUN: &str = r#"
while :; do
  case $1 in
    -N) n=$2; shift 2;;
    --ntasks-per-node) shift 2;;
    *) break;;
  esac
done
with='SLURM_PROCID=$i SLURM_NTASKS=$n'
"#;

/// Hands nothing of its environment on, as Open MPI does to other machines.
const MPIRUN: &str = r#"
while :; do
  case $1 in
    -n) n=$2; shift 2;;
    --map-by) shift 2;;
    *) break;;
  esac
done
with='-i PATH="$PATH" OMPI_COMM_WORLD_RANK=$i OMPI_COMM_WORLD_SIZE=$n'
"#;

/// Takes a command without blanks in its words.
const PARALLEL: &str = r#"
[ "$1" = -j ]; shift 2
words=
while [ "$1" != ::: ]; do words="$words $1"; shift; done
shift; n=$#
with='PARALLEL_SEQ=$((i + 1))'
one='shift $((PARALLEL_SEQ - 1)); exec $(echo "$0" | sed "s/{}/$1/g")'
set -- sh -c "$one" "$words" "$@"
"#;

/// Joins its words and hands them to a shell without the environment.
const SSH: &str = r#"
[ "$1" = -n ]; echo "$2" >>hosts; shift 2
exec env -i PATH="$PATH" sh -c "$*"
"#;

/// Returns the contents of the block of the topic in which the text occurs.
fn block(text: &str) -> &'static str {
    let at = TOPIC
        .find(text)
        .unwrap_or_else(|| panic!("{text}: not in the topic"));
    let begin = TOPIC[..at].rfind("```").expect("a block before it");
    let (_, rest) = TOPIC[begin..].split_once('\n').expect("more lines");
    rest.split("```").next().expect("a first part")
}

/// Replaces something that is there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}: not in {text}");
    text.replace(from, to)
}

/// A mock, and the folder in which a launcher runs.
struct Stage {
    server: Server,
    dir: Dir,
}

impl Stage {
    fn new() -> Stage {
        Stage {
            server: Server::start(&["--base", "2ms", "--itl", "1ms"]),
            dir: Dir::new(),
        }
    }

    fn shell(&self, script: &str) -> Output {
        let bin = Path::new(env!("CARGO_BIN_EXE_tmesh-cli")).parent();
        let bin = bin.expect("the binary is in a folder").display();
        let own = self.dir.path().join("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        Cmd::program("sh", &self.dir)
            .args(["-ec", script])
            .env("PATH", format!("{}:{bin}:{path}", own.display()))
            .deadline(Duration::from_secs(60))
            .ok()
    }

    /// Puts a program into the PATH.
    fn program(&self, name: &str, script: &str) {
        let path = self
            .dir
            .write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a file of its own");
    }

    /// Runs the block of a launcher; returns its output.
    fn launch(&self, launcher: &str) -> Output {
        let set_up = replaced(block("mkdir shards"), "+ 60", &format!("+ {AHEAD}"));
        let lines = replaced(block(launcher), "engine:8000", self.server.addr());
        let lines = replaced(&lines, "--rate 8000", "--rate 40");
        let lines = replaced(&lines, "--duration 5m", "--requests 40");
        self.shell(&(set_up + &lines))
    }

    /// Checks that each file has the shard of its name, that all files together have the requests which the server has
    /// seen, each once, and that the merge and the report of them were printed.
    fn check(self, output: &Output) {
        let whole = format!("Merge: WHOLE. all.jsonl is the run of all {SHARDS} shards\n");
        for text in [&whole, "\nRequest Throughput: "] {
            assert!(output.stdout.contains(text), "{text}\n{output}");
        }
        let mut sent = BTreeSet::new();
        for index in 0..SHARDS {
            let samples = Samples::read(&self.dir, &format!("shards/{index}.jsonl"));
            let shard = json!({"of": SHARDS, "held": [index]});
            assert_eq!(samples.header["shard"], shard, "{output}");
            let before = sent.len();
            sent.extend(
                samples
                    .requests()
                    .map(|request| samples.request_id(request)),
            );
            assert_eq!(sent.len(), before + samples.requests().count(), "{output}");
            assert!(sent.len() > before, "shard {index} sent nothing\n{output}");
        }
        let merged = Samples::read(&self.dir, "all.jsonl");
        let ids = merged.requests().map(|request| merged.request_id(request));
        assert_eq!(ids.collect::<BTreeSet<_>>(), sent);
        let truth = self.server.truth();
        let seen = truth.iter().filter_map(|line| line["id"].as_str());
        let seen = seen.filter(|id| !id.contains("-setup-"));
        let seen: Vec<String> = seen.map(str::to_string).collect();
        assert_eq!(seen.len(), sent.len());
        assert_eq!(BTreeSet::from_iter(seen), sent);
    }
}

#[test]
fn the_lines_for_slurm_run_a_shard_in_each_task() {
    let stage = Stage::new();
    stage.program("srun", &format!("{SRUN}{START}"));
    let output = stage.launch("srun ");
    stage.check(&output);
}

#[test]
fn the_lines_for_open_mpi_run_a_shard_in_each_rank() {
    let stage = Stage::new();
    stage.program("mpirun", &format!("{MPIRUN}{START}"));
    let output = stage.launch("mpirun ");
    stage.check(&output);
}

#[test]
fn the_lines_for_gnu_parallel_run_a_shard_in_each_job() {
    let stage = Stage::new();
    let version = Command::new("parallel").arg("--version").output();
    let is_gnu = version.is_ok_and(|output| output.stdout.starts_with(b"GNU parallel"));
    if !is_gnu {
        stage.program("parallel", &format!("{PARALLEL}{START}"));
    }
    let output = stage.launch("parallel -j");
    stage.check(&output);
}

#[test]
fn the_lines_for_ssh_run_a_shard_on_each_node_and_bring_its_samples() {
    let stage = Stage::new();
    stage.program("ssh", SSH);
    let output = stage.launch("ssh -n");
    let hosts = stage.dir.read("hosts");
    let hosts: BTreeSet<&str> = hosts.lines().collect();
    assert_eq!(hosts, BTreeSet::from(["node0", "node1", "node2", "node3"]));
    stage.check(&output);
}

/// Returns the items of a list, which are texts.
fn texts(list: &Yaml) -> Vec<String> {
    let items = list.as_vec().expect("a list").iter();
    let text = |item: &Yaml| item.as_str().map(str::to_string);
    items
        .map(|item| text(item).unwrap_or_else(|| panic!("{item:?} is no text")))
        .collect()
}

#[test]
fn the_manifest_is_an_indexed_job_that_runs_a_shard_in_each_pod() {
    let documents = YamlLoader::load_from_str(block("kind: Job")).expect("YAML");
    let [job] = &documents[..] else {
        panic!("{documents:?}");
    };
    assert_eq!(job["apiVersion"].as_str(), Some("batch/v1"));
    assert_eq!(job["kind"].as_str(), Some("Job"));
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"].as_str(), Some("Indexed"));
    assert_eq!(spec["completions"].as_i64(), Some(SHARDS as i64));
    assert_eq!(spec["parallelism"].as_i64(), Some(SHARDS as i64));
    let pod = &spec["template"]["spec"];
    // A pod that is started again would come too late.
    assert_eq!(pod["restartPolicy"].as_str(), Some("Never"));
    assert_eq!(spec["backoffLimit"].as_i64(), Some(0));
    let container = &pod["containers"][0];
    let words = texts(&container["command"]);
    let value = |option: &str| {
        let at = words.iter().position(|word| word == option);
        &words[at.expect(option) + 1]
    };
    assert_eq!(value("--shards"), &SHARDS.to_string());
    let mount = &container["volumeMounts"][0];
    assert_eq!(mount["name"], pod["volumes"][0]["name"]);
    let folder = format!("{}/", mount["mountPath"].as_str().expect("a path"));
    assert!(value("--samples").starts_with(&folder));

    let stage = Stage::new();
    let start = SystemTime::now() + Duration::from_secs(AHEAD);
    let start = start
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let shards = format!("{}/shards/", stage.dir.path().display());
    fs::create_dir(&shards).expect("a fresh folder");
    let pods = (0..SHARDS).map(|index| {
        let word = |word: &String| match &word[..] {
            "8000" => "40".to_string(),
            "--duration" => "--requests".to_string(),
            "5m" => "40".to_string(),
            "TIME" => start.as_secs_f64().to_string(),
            "engine:8000" => stage.server.addr().to_string(),
            word => word
                .replace("$(JOB_COMPLETION_INDEX)", &index.to_string())
                .replace(&folder, &shards),
        };
        assert_eq!(words[0], "/tmesh-cli");
        let pod = Cmd::new(&stage.dir).args(words[1..].iter().map(word));
        pod.env("JOB_COMPLETION_INDEX", index.to_string()).start()
    });
    for pod in pods.collect::<Vec<_>>() {
        let output = pod.wait();
        assert!(output.status.success(), "{output}");
    }
    let merge = format!("merge {folder}*");
    let output = stage.shell(&replaced(block(&merge), &folder, &shards));
    stage.check(&output);
}
