//! The exit code of every measuring command in every way that a run can end: one table.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::util::{
    Cmd, Dir, Output, RawServer, Request, Running, engine, pid_in, serving, until, with_engines,
};

use self::Situation::*;

/// How a run ends, or what happens during it. If a name has two parts, both happen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Situation {
    /// Every request succeeds.
    Done,
    /// Some requests fail, others succeed, and no limit was set.
    SomeFailed,
    /// Every request fails with a 500.
    NoSuccess,
    /// The first measured request gets a 401.
    Refused,
    /// A 401 comes after a success.
    RefusedLater,
    /// SIGINT comes while the first measured request waits for its reply.
    SignalBeforeSuccess,
    /// SIGINT comes after two requests have failed and none has succeeded.
    SignalAfterFailures,
    /// SIGTERM comes after two requests have succeeded.
    SignalAfterSuccess,
    /// The server closes its connections without a reply for a moment, and then serves again.
    ServerAwayForAMoment,
    /// The server closes its connections until the plan is over, which takes less than a minute.
    ServerAwayToTheEnd,
    /// The server closes its connections for more than a minute.
    ServerGone,
    /// The server that the command started dies.
    BackendDied,
    /// The samples file cannot grow any more.
    SamplesLost,
    /// The result file cannot be renamed to its place at the end.
    ResultLost,
    ResultLostThenSignal,
    /// The folder of all files was removed; no request has succeeded when the signal comes.
    FolderLostThenSignal,
    /// The folder of all files was removed; the signal comes while the first warm-up request waits for its reply.
    FolderLostInWarmupThenSignal,
    /// The folder of all files was removed when the first request is refused.
    FolderLostThenRefused,
    LimitMissed,
    LimitMissedThenSignal,
    LimitMissedAndNoSuccess,
    /// The reader of stdout leaves before the first line.
    StdoutClosed,
}

/// Every situation that takes less than a few seconds.
const QUICK: [Situation; 21] = [
    Done,
    SomeFailed,
    NoSuccess,
    Refused,
    RefusedLater,
    SignalBeforeSuccess,
    SignalAfterFailures,
    SignalAfterSuccess,
    ServerAwayForAMoment,
    ServerAwayToTheEnd,
    BackendDied,
    SamplesLost,
    ResultLost,
    ResultLostThenSignal,
    FolderLostThenSignal,
    FolderLostInWarmupThenSignal,
    FolderLostThenRefused,
    LimitMissed,
    LimitMissedThenSignal,
    LimitMissedAndNoSuccess,
    StdoutClosed,
];

/// One row of the table. `d` is the folder of all files that the command writes.
struct Command {
    name: &'static str,
    /// The command line without the endpoint and the number of requests.
    words: &'static str,
    /// The option for the number of requests; empty: the dataset has as many records, or the run has no end.
    count_flag: &'static str,
    /// The result file that is written last, or among the last.
    result: &'static str,
    /// A limit that every run misses; empty: the command takes none.
    limit: &'static str,
    /// The code of a run to its end, of which every limit was met.
    done: i32,
}

const ENDLESS: &str = "benchmark, endless";

const COMMANDS: [Command; 7] = [
    Command {
        name: "benchmark",
        words: "benchmark --contexts 2 --max-inflight 1 --input-length 50 --output-length 2 --samples d/samples.jsonl --output d/r.json",
        count_flag: "--requests",
        result: "d/r.json",
        limit: "--fail-if error_rate>=0",
        done: 0,
    },
    Command {
        name: ENDLESS,
        words: "benchmark --contexts 2 --max-inflight 1 --input-length 50 --output-length 2 --samples d/samples.jsonl --output d/r.json",
        count_flag: "",
        result: "d/r.json",
        limit: "--fail-if error_rate>=0",
        done: 0,
    },
    Command {
        name: "load",
        words: "load --concurrency 1 --warmup 0 --input-tokens 20 --max-tokens 2 --samples d/samples.jsonl --output d/r.json",
        count_flag: "--requests",
        result: "d/r.json",
        limit: "--fail-if error_rate>=0",
        done: 0,
    },
    Command {
        name: "load, a shard",
        words: "load --shard 0/1 --seed 1 --nonce n --concurrency 1 --warmup 0 --input-tokens 20 --max-tokens 2 --samples d/samples.jsonl --output d/r.json",
        count_flag: "--requests",
        result: "d/r.json",
        limit: "--fail-if error_rate>=0",
        done: 0,
    },
    // So few pairs tell nothing.
    Command {
        name: "compare",
        words: "compare --warmup 0 --input-tokens 20 --max-tokens 2 --samples d/samples.jsonl --output d/r.json --against URL",
        count_flag: "--pairs",
        result: "d/r.json",
        limit: "",
        done: 3,
    },
    Command {
        name: "replay",
        words: "replay --api completions --dataset d.jsonl --concurrency 1 --rounds 1 --max-output-tokens 2 --output-dir d",
        count_flag: "",
        result: "d/concurrency_1_round_1.json",
        limit: "--fail-if error_rate>=0",
        done: 0,
    },
    Command {
        name: "run",
        words: "run --workload short --output d",
        count_flag: "--requests",
        result: "d/short_input_metrics.json",
        limit: "--fail-if error_rate>=0",
        done: 0,
    },
];

impl Situation {
    /// Returns the exit code that is documented. If several apply, the first of: 2 refused, 1 output lost, 130
    /// signal, 1 server gone or no success, 1 limit missed, 3 unclear, 0.
    fn wanted(self, command: &Command) -> i32 {
        // A signal is the regular end of an endless run, so it does not change the code there.
        let by_signal = |otherwise| {
            if command.name == ENDLESS {
                otherwise
            } else {
                130
            }
        };
        match self {
            Done | SomeFailed | RefusedLater => command.done,
            // The reader of stdout may leave before or after the first request.
            StdoutClosed => 0,
            // A failed request is a measurement; a server is gone after a minute without an answer.
            ServerAwayForAMoment | ServerAwayToTheEnd => command.done,
            NoSuccess | ServerGone | BackendDied => 1,
            Refused | FolderLostThenRefused => 2,
            SignalBeforeSuccess | SignalAfterFailures => by_signal(1),
            SignalAfterSuccess => by_signal(0),
            LimitMissedThenSignal => by_signal(1),
            SamplesLost | ResultLost | ResultLostThenSignal => 1,
            FolderLostThenSignal | FolderLostInWarmupThenSignal => 1,
            LimitMissed | LimitMissedAndNoSuccess => 1,
        }
    }

    /// Returns whether this can happen to the command at all.
    fn applies(self, command: &Command) -> bool {
        match self {
            LimitMissed | LimitMissedAndNoSuccess => {
                !command.limit.is_empty() && command.name != ENDLESS
            }
            LimitMissedThenSignal => !command.limit.is_empty(),
            BackendDied => command.name == "run",
            FolderLostInWarmupThenSignal => command.name == "load",
            // These end without a signal and without being stopped.
            Done | SomeFailed | NoSuccess | RefusedLater | ServerAwayForAMoment
            | ServerAwayToTheEnd | ServerGone | SamplesLost | ResultLost => command.name != ENDLESS,
            Refused
            | SignalBeforeSuccess
            | SignalAfterFailures
            | SignalAfterSuccess
            | ResultLostThenSignal
            | FolderLostThenSignal
            | FolderLostThenRefused
            | StdoutClosed => true,
        }
    }

    /// Returns a word of the error message, so that a code is not right for another reason; empty: no error.
    fn reason(self) -> &'static str {
        match self {
            Refused | FolderLostThenRefused => "401",
            SamplesLost | ResultLost | ResultLostThenSignal => "output",
            FolderLostThenSignal | FolderLostInWarmupThenSignal => "output",
            NoSuccess | LimitMissedAndNoSuccess => "succeeded",
            ServerGone => "nothing has answered",
            BackendDied => "the server ended",
            LimitMissed => "--fail-if",
            Done | SomeFailed | RefusedLater | ServerAwayForAMoment | ServerAwayToTheEnd => "",
            SignalBeforeSuccess
            | SignalAfterFailures
            | SignalAfterSuccess
            | LimitMissedThenSignal
            | StdoutClosed => "",
        }
    }

    /// Returns what the server does with the measured request of this number, from 0.
    fn answer(self, number: usize) -> Answer {
        match (self, number) {
            (NoSuccess | LimitMissedAndNoSuccess, _) | (SomeFailed, 1) => Answer::Error(500),
            (SignalAfterFailures, 0 | 1) => Answer::Error(500),
            (SignalBeforeSuccess | SignalAfterFailures, _) => Answer::Never,
            (FolderLostThenSignal | FolderLostInWarmupThenSignal, _) => Answer::Never,
            (SignalAfterSuccess | LimitMissedThenSignal, 2..) => Answer::Never,
            (Refused, _) | (RefusedLater, 2) => Answer::Error(401),
            (ServerAwayForAMoment, 1) => Answer::Close,
            (ServerAwayToTheEnd | ServerGone, 2..) => Answer::Close,
            (ResultLost, 2) => Answer::OnCue,
            (ResultLostThenSignal, 2..) => Answer::Never,
            (FolderLostThenRefused, _) => Answer::RefuseOnCue,
            _ => Answer::Right,
        }
    }

    /// Returns the number of requests of the plan; with a signal, not all are sent.
    fn requests(self) -> usize {
        match self {
            // About 70 bytes a token and 600 a sample: more than the 4 KiB that the file may have.
            SamplesLost => 20,
            // Requests to a server that is down are 0.1 to 5 s apart: the 18th failure comes after a minute.
            ServerGone => 22,
            _ => 4,
        }
    }
}

#[derive(Clone, Copy)]
enum Answer {
    Right,
    Error(u16),
    /// Holds the request until the client hangs up.
    Never,
    /// Sends the right reply when the test signals.
    OnCue,
    /// Sends a 401 when the test signals.
    RefuseOnCue,
    /// Closes the connection without a byte.
    Close,
}

/// The state that the test and its server share.
#[derive(Default)]
struct Stage {
    /// The number of measured requests received.
    arrived: AtomicUsize,
    cue: AtomicBool,
}

fn reply(status: &str, media_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns two tokens and a finish reason, as a completion streams them.
fn stream() -> Vec<u8> {
    let body = concat!(
        "data: {\"choices\":[{\"text\":\" a\",\"index\":0,\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"text\":\" b\",\"index\":0,\"finish_reason\":\"length\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":97,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    );
    reply("200 OK", "text/event-stream", body)
}

/// Starts a server that answers set-up requests correctly, and measured ones as the situation demands.
fn server(situation: Situation, stage: &Arc<Stage>) -> RawServer {
    let stage = Arc::clone(stage);
    RawServer::start(move |request, connection| {
        let is_setup = request
            .header("x-request-id")
            .is_some_and(|id| id.contains("-setup-"));
        // Some situations are about clients that hang up early.
        let _ = if !request.path.ends_with("/completions") {
            connection.write_all(&beside(request))
        } else if is_setup {
            connection.write_all(&stream())
        } else {
            let number = stage.arrived.fetch_add(1, SeqCst);
            perform(situation.answer(number), connection, &stage)
        };
    })
}

/// Answers the list of models; there are no other paths.
fn beside(request: &Request) -> Vec<u8> {
    match request.path.as_str() {
        "/v1/models" => reply("200 OK", "application/json", r#"{"data":[{"id":"m"}]}"#),
        _ => reply("404 Not Found", "application/json", "{}"),
    }
}

fn perform(answer: Answer, connection: &mut TcpStream, stage: &Stage) -> std::io::Result<()> {
    let wait = || until("cue", || stage.cue.load(SeqCst));
    let error = |status: u16| {
        let body = r#"{"error":{"message":"no"}}"#;
        reply(&format!("{status} No"), "application/json", body)
    };
    match answer {
        Answer::Right => connection.write_all(&stream()),
        Answer::Error(status) => connection.write_all(&error(status)),
        Answer::Never => connection.read(&mut [0]).map(|_| ()),
        Answer::OnCue => {
            wait();
            connection.write_all(&stream())
        }
        Answer::RefuseOnCue => {
            wait();
            connection.write_all(&error(401))
        }
        Answer::Close => connection.shutdown(Shutdown::Both),
    }
}

/// Returns the command line for this situation.
fn words(command: &Command, situation: Situation, requests: usize) -> String {
    let mut words = command.words.to_string();
    if !command.count_flag.is_empty() {
        words.push_str(&format!(" {} {requests}", command.count_flag));
    }
    if situation == FolderLostInWarmupThenSignal {
        words = words.replace("--warmup 0", "--warmup 1");
    }
    let is_limited = matches!(
        situation,
        LimitMissed | LimitMissedThenSignal | LimitMissedAndNoSuccess
    );
    if is_limited {
        words.push_str(&format!(" {}", command.limit.replace('>', "\\>")));
    }
    words
}

/// Plays one cell; returns its output, and its stderr second.
fn play(command: &Command, situation: Situation) -> (Output, String) {
    if situation == BackendDied {
        return play_dying_backend();
    }
    let (dir, stage) = (Dir::new(), Arc::new(Stage::default()));
    let server = server(situation, &stage);
    let requests = situation.requests();
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n".repeat(requests));
    fs::create_dir(dir.path().join("d")).expect("a fresh folder");
    let bin = env!("CARGO_BIN_EXE_tmesh-cli");
    let words = words(command, situation, requests);
    let url = format!("http://{}", server.addr());
    let words = format!("{bin} {} --endpoint {url}", words.replace("URL", &url));
    let script = match situation {
        // The limit is 4 or 8 KiB, depending on the shell's unit: enough for the header, not for twenty samples.
        SamplesLost => format!("trap '' XFSZ; ulimit -f 8; exec {words} 2>errors"),
        StdoutClosed => format!("{{ {words} 2>errors; echo $? >code; }} | true; exit $(cat code)"),
        _ => format!("exec {words} 2>errors"),
    };
    let running = Cmd::program("sh", &dir)
        .args(["-c", &script])
        .deadline(Duration::from_secs(100))
        .start();
    direct(situation, command, &dir, &stage, &running);
    (running.wait(), dir.read("errors"))
}

/// Does the test's part during the run.
fn direct(situation: Situation, command: &Command, dir: &Dir, stage: &Stage, running: &Running) {
    let arrived = |count| until("requests", || stage.arrived.load(SeqCst) >= count);
    let lose_result = || {
        // A folder that contains a file cannot be replaced by a file.
        let path = dir.path().join(command.result);
        let _ = fs::remove_file(&path);
        dir.write(&format!("{}/x", command.result), "");
    };
    let lose_folder = || {
        fs::remove_dir_all(dir.path().join("d")).expect("it is there");
        until("warning", || dir.read("errors").contains("was removed"));
    };
    match situation {
        SignalBeforeSuccess => {
            arrived(1);
            running.signal("INT");
        }
        SignalAfterFailures => {
            arrived(3);
            running.signal("INT");
        }
        SignalAfterSuccess | LimitMissedThenSignal => {
            arrived(3);
            running.signal("TERM");
        }
        ResultLost => {
            arrived(3);
            lose_result();
            stage.cue.store(true, SeqCst);
        }
        ResultLostThenSignal => {
            arrived(3);
            lose_result();
            running.signal("INT");
        }
        FolderLostThenSignal | FolderLostInWarmupThenSignal => {
            arrived(1);
            lose_folder();
            running.signal("INT");
        }
        FolderLostThenRefused => {
            arrived(1);
            lose_folder();
            stage.cue.store(true, SeqCst);
        }
        Done
        | SomeFailed
        | NoSuccess
        | Refused
        | RefusedLater
        | ServerAwayForAMoment
        | ServerAwayToTheEnd
        | ServerGone
        | BackendDied
        | SamplesLost
        | LimitMissed
        | LimitMissedAndNoSuccess
        | StdoutClosed => (),
    }
}

/// Plays `run` with a server of its own, which is killed after its first reply.
fn play_dying_backend() -> (Output, String) {
    let dir = Dir::new();
    let serving = serving("--base 1ms --itl 1ms");
    engine(&dir, "vllm", &format!("echo $$ >pid\n{serving}\nserve"));
    let options = "run --backend vllm --model m --workload short --requests 4 --output d";
    let running = with_engines(&dir).args(options.split(' ')).start();
    let samples = dir.path().join("d/samples.jsonl");
    let has_one = || fs::read_to_string(&samples).is_ok_and(|text| text.contains("\n{\"id\":"));
    until("a sample", has_one);
    let kill = format!("kill -KILL {}", pid_in(&dir, "pid"));
    Cmd::program("sh", &dir).args(["-c", &kill]).ok();
    let output = running.wait();
    let errors = output.stderr.clone();
    (output, errors)
}

/// A cell after it was played.
struct Cell {
    command: &'static str,
    situation: Situation,
    wanted: i32,
    got: Option<i32>,
    /// The message after `[ERROR]`; empty if there is none.
    error: String,
    shown: String,
}

impl Cell {
    fn of(command: &Command, situation: Situation) -> Cell {
        let (output, errors) = play(command, situation);
        let error = errors.lines().find(|line| line.starts_with("[ERROR]"));
        Cell {
            command: command.name,
            situation,
            wanted: situation.wanted(command),
            got: output.status.code(),
            error: error.unwrap_or_default().to_string(),
            shown: format!("{output}\n--- errors\n{errors}"),
        }
    }

    /// Returns whether the error is the one of this situation; a signal in an endless run may cause that of a run
    /// without a success.
    fn has_its_reason(&self) -> bool {
        match self.situation.reason() {
            "" => self.wanted == 1 || self.error.is_empty(),
            reason => self.error.contains(reason),
        }
    }

    fn is_right(&self) -> bool {
        self.got == Some(self.wanted) && self.has_its_reason()
    }

    /// Returns the row that a failure prints.
    fn row(&self) -> String {
        let got = self.got.map_or("none".to_string(), |code| code.to_string());
        let verdict = match self.got == Some(self.wanted) {
            true if self.has_its_reason() => "",
            true => "  WRONG REASON",
            false => "  WRONG",
        };
        let situation = format!("{:?}", self.situation);
        format!(
            "{:<20}{situation:<30}want {:>3}  got {got:>4}{verdict}",
            self.command, self.wanted
        )
    }
}

/// Plays every cell of these situations, a few at a time; prints the table if one is wrong.
fn check(situations: &[Situation], lanes: usize) {
    let cells = situations.iter().flat_map(|&situation| {
        let commands = COMMANDS.iter();
        let commands = commands.filter(move |command| situation.applies(command));
        commands.map(move |command| (command, situation))
    });
    let queue = Mutex::new(cells);
    let played = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no lane panics with it").next();
                    let Some((command, situation)) = next else {
                        return;
                    };
                    let cell = Cell::of(command, situation);
                    played.lock().expect("no lane panics with it").push(cell);
                }
            });
        }
    });
    let mut played = played.into_inner().expect("no lane panics with it");
    played.sort_by_key(|cell| (cell.command, cell.situation as usize));
    let rows: Vec<String> = played.iter().map(Cell::row).collect();
    let wrong = played.iter().filter(|cell| !cell.is_right());
    let shown: Vec<&str> = wrong.map(|cell| cell.shown.as_str()).collect();
    assert!(
        shown.is_empty(),
        "{}\n\n{}",
        rows.join("\n"),
        shown.join("\n")
    );
}

#[test]
fn every_command_ends_with_the_code_of_its_situation() {
    check(&QUICK, 4);
}

#[test]
#[ignore = "waits for more than a minute without an answer"]
fn a_server_that_is_gone_for_a_minute_ends_a_finite_run_with_1() {
    check(&[ServerGone], 4);
}
