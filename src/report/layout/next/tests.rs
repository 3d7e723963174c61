use serde_json::json;

use super::*;
use crate::stats::pass::Passes;

/// Returns the header of a run through this API.
fn about(api: &str) -> Value {
    json!({"endpoint": "http://h:8000/v1/", "model": "m/7b", "backend": "attached",
        "options": {"api": api}, "connection": {"mock": null, "api_key_file": null,
            "own_options": [], "max_model_len": null}})
}

fn begin(to: To, about: &Value) -> Option<String> {
    Server::of(about).begin(to)
}

#[test]
fn the_api_is_named_where_the_next_command_would_take_another() {
    let at = "--endpoint http://h:8000/v1 --model m/7b";
    for (api, to, wanted) in [
        ("completions", To::Load, Some(format!("load {at}"))),
        (
            "completions",
            To::Replay,
            Some(format!("replay {at} --api completions")),
        ),
        ("chat", To::Replay, Some(format!("replay {at}"))),
        ("chat", To::Load, Some(format!("load {at} --api chat"))),
        (
            "chat",
            To::Benchmark,
            Some(format!("benchmark {at} --api chat")),
        ),
        ("chat", To::Probe, Some(format!("probe {at} --api chat"))),
        (
            "chat",
            To::FindRate,
            Some(format!("find-rate {at} --api chat")),
        ),
        (
            "chat",
            To::Compare,
            Some(format!("compare {at} --api chat")),
        ),
        (
            "chat",
            To::CheckEndpoint,
            Some("check endpoint http://h:8000/v1 --model m/7b".to_string()),
        ),
        (
            "generate",
            To::Load,
            Some(format!("load {at} --api generate")),
        ),
        ("generate", To::Benchmark, None),
        ("generate", To::Probe, None),
        ("generate", To::CheckEndpoint, None),
    ] {
        let wanted = wanted.map(|rest| format!("tmesh-cli {rest}"));
        assert_eq!(begin(to, &about(api)), wanted, "{api} {to:?}");
    }
}

#[test]
fn a_server_is_named_by_what_is_known_of_it() {
    let mut of = about("");
    of["model"] = "".into();
    of["connection"]["api_key_file"] = "my key".into();
    let wanted = "tmesh-cli load --endpoint http://h:8000/v1 --api-key-file 'my key'";
    assert_eq!(begin(To::Load, &of).as_deref(), Some(wanted));
    // The path of the endpoint names its API.
    let by_path = json!({"endpoint": "http://h/generate", "options": {"api": "generate"}});
    let wanted = "tmesh-cli load --endpoint http://h/generate";
    assert_eq!(begin(To::Load, &by_path).as_deref(), Some(wanted));
    assert_eq!(begin(To::Benchmark, &by_path), None);
    let blank = begin(To::Load, &Value::Null);
    assert_eq!(blank.as_deref(), Some("tmesh-cli load --endpoint URL"));
}

#[test]
fn a_mock_in_the_process_keeps_its_options_and_a_stopped_server_has_no_next_command() {
    let mut of = about("chat");
    of["backend"] = "mock".into();
    of["connection"]["mock"] = "tier1_tokens=8k,policy=fifo".into();
    let wanted = "tmesh-cli probe --backend mock --mock tier1_tokens=8k,policy=fifo --api chat";
    assert_eq!(begin(To::Probe, &of).as_deref(), Some(wanted));
    assert_eq!(begin(To::CheckEndpoint, &of), None);
    assert_eq!(Server::of(&of).check(), None);
    of["backend"] = "llamacpp".into();
    assert_eq!(begin(To::Load, &of), None);
}

#[test]
fn contexts_fit_what_the_model_takes() {
    let cycle = |limit: u64, input: Option<u64>, output: Option<u64>| {
        let mut of = about("completions");
        of["connection"]["max_model_len"] = limit.into();
        let fitting = Server::of(&of).fitting(&Cycle {
            contexts: 10,
            rotations: 3,
            input,
            output,
        });
        fitting.map(|cycle| cycle.input)
    };
    // 4,096 less 1,000; half of 1,500; 2,000 less an answer of 900 and 64 beside it.
    assert_eq!(cycle(4096, None, None), Some(Some(3096)));
    assert_eq!(cycle(1500, Some(9000), None), Some(Some(750)));
    assert_eq!(cycle(2000, None, Some(900)), Some(Some(1000)));
    assert_eq!(cycle(2000, None, Some(1100)), Some(Some(836)));
    // What fits stays as it is.
    assert_eq!(cycle(4096, Some(2000), None), Some(Some(2000)));
    assert_eq!(cycle(40_000, None, None), Some(None));
    assert_eq!(cycle(511, Some(100), None), None);
    assert_eq!(cycle(2000, None, Some(1990)), None);
    assert_eq!(shorter_input(4096), Some(3096));
    assert_eq!(shorter_input(33_000), None);
}

#[test]
fn options_that_cannot_be_repeated_are_named_before_the_command() {
    let next = |own: &[&str]| {
        let mut of = about("completions");
        of["connection"]["own_options"] = json!(own);
        let server = Server::of(&of);
        server.next(server.begin(To::Load))
    };
    assert!(next(&[]).advice.is_empty());
    let one = "Give the next command this run's own --header, too.";
    assert_eq!(next(&["--header"]).advice, [one]);
    let three = "Give the next command this run's own --api-key, --header and --insecure, too.";
    assert_eq!(
        next(&["--api-key", "--header", "--insecure"]).advice,
        [three]
    );
    let mut of = about("generate");
    of["connection"]["own_options"] = json!(["--header"]);
    let none = Server::of(&of).next(None);
    assert!(none.advice.is_empty() && none.command.is_none());
}

#[test]
fn a_run_is_unanswered_if_all_requests_failed_or_the_last_one_found_no_server() {
    use crate::report::golden::{MS, five_tokens};
    use crate::sample::{Failure, Sample};
    let passes = |kinds: &[Option<FailKind>]| {
        let mut passes = Passes::new(&json!({"command": "load"}));
        for (id, kind) in (0..).zip(kinds) {
            passes.sample(Sample {
                failure: kind.map(|kind| Failure::new(kind, "x")),
                t_send_ns: id * MS,
                ..five_tokens(id, id, 10, 0)
            });
        }
        passes.finish()
    };
    let (http, connect) = (Some(FailKind::Http), Some(FailKind::Connect));
    for (kinds, wanted) in [
        (&[http, http][..], true),
        (&[None, http], false),
        (&[None, connect], true),
        (&[connect, None], false),
        (&[None, None], false),
    ] {
        assert_eq!(is_unanswered(&passes(kinds)), wanted, "{kinds:?}");
    }
    assert!(!is_unanswered(&[]));
}
