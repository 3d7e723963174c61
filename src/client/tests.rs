//! The client against a socket: every recording of a real server, in every cut; every kind of failure.
//!
//! The 31 traps that came with the recordings, and the test of each. RECORDINGS stands for
//! `every_recording_gives_the_same_right_sample_however_it_is_cut`, followed by the recording.
//!
//! | trap | test, or why it does not apply |
//! |---|---|
//! | 1 kept connection closed in silence | `a_connection_that_the_server_closed_is_replaced_once_with_a_new_clock`, `a_fresh_connection_closed_without_a_reply_is_a_failure` |
//! | 2 HTTP/1.0 ends by close | `an_http_1_0_reply_ends_with_its_connection_and_needs_a_finish_reason` |
//! | 3 headers long before the first token | `the_first_token_is_the_first_event_with_text_not_the_role_the_headers_or_a_comment` |
//! | 4 comments before the first event | `comments_keep_a_slow_stream_alive_and_silence_ends_it`, RECORDINGS llama-server/slow |
//! | 5 chunks are not events; upper-case sizes; a header twice | RECORDINGS transformers/completions_stream, `chunk_sizes_in_capitals_and_a_header_twice_change_nothing` |
//! | 6 events are not tokens | RECORDINGS */burst, vllm-options/completions_stream_utf8; without usage: vllm/completions_stream_no_usage |
//! | 7 the meanings of an empty text | RECORDINGS vllm/completions_stream_utf8, */chat_stream; `reply::a_role_event_is_an_event_but_not_a_token` |
//! | 8 where usage stands | RECORDINGS vllm/completions_stream_continuous_usage, */chat_stream; LiteLLM's: `usage_beside_a_choice_without_text_is_the_final_one` |
//! | 9 usage of zeros on every event | `reply::usage_of_zeros_beside_text_gives_way_to_the_events`, `usage_beside_a_choice_without_text_is_the_final_one` |
//! | 10 several choices or prompts | never asked for (only by --extra-body); RECORDINGS */completions_stream_n2, llama-server/completions_stream_two_prompts (`data: null`) |
//! | 11 end of sequence and think tags are counted | RECORDINGS */completions_stream_eos, *-think/chat_stream: completion above events |
//! | 12 two names of reasoning | RECORDINGS *-think/chat_stream, `dialect::chunks_tell_answer_reasoning_and_tools_apart`, `reasoning_tokens_are_taken_from_usage` |
//! | 13 odd object, model, id and first space | does not apply: none of them is read; RECORDINGS transformers/* |
//! | 14 llama.cpp's timings | RECORDINGS llama-server/*, `dialect::cached_tokens_are_found_under_each_of_their_names` |
//! | 15 error event, then [DONE] or a proper end | RECORDINGS vllm-options/engine_killed, */kill; LiteLLM's: `each_kind_of_broken_reply_has_its_name` |
//! | 16 200 and nothing; [DONE] without a finish reason | `each_kind_of_broken_reply_has_its_name` |
//! | 17 an error that is a string; headers and then silence | RECORDINGS transformers/err_negative_max_tokens_stream; `headers_and_then_silence_are_a_first_token_timeout` |
//! | 18 an unknown model and 200 | does not apply where it is answered; 404 and 400: `refusals_end_the_run_with_the_servers_own_words`, `pool::a_bad_request_is_a_refusal_only_when_it_names_the_model` |
//! | 19 max_tokens 0, or over the context | 0 is never sent: `sizing::a_zero_is_named_by_its_flag`; `options_that_cannot_work_are_refused_before_the_first_request` |
//! | 20 prompts past the limit are taken | does not apply: a limit is checked where the server names it |
//! | 21 forms of an error body | `api::the_words_of_an_error_are_found_wherever_servers_put_them`, RECORDINGS */err_* |
//! | 22 a 400 typed as an event stream | `each_kind_of_broken_reply_has_its_name` |
//! | 23 500 for a bad request | does not apply: nothing is retried, `pool::waits_double_from_100_ms_to_5_s_and_start_again_after_a_success` only waits; RECORDINGS */err_malformed_json |
//! | 24 stream_options without stream | does not apply: every request streams |
//! | 25 /v1/models behind the key | `refusals_end_the_run_with_the_servers_own_words`; /metrics is not read by `benchmark` |
//! | 26 a useless list of models | `a_useless_model_list_can_be_survived_with_a_name`, `discovery::the_lists_of_real_servers_are_read` |
//! | 27 a token-id prompt kills the worker | does not apply: prompts are text |
//! | 28 requests cut leave no trace in counters | `a_signal_cuts_requests_in_a_long_prefill_and_reports_within_a_second`: left out, and counted apart |
//! | 29, 30 names and units of counters | does not apply: `benchmark` reads no counters; the mock's: `metrics::an_answered_request_is_counted_under_vllms_names` |
//! | 31 a slow first request | the set-up requests come first and are not measured: `a_finite_run_ends_with_its_report_samples_and_result` counts 12 of 12 |

mod replies;
mod setup;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};

use super::api::Api;
use super::body::BodyShape;
use super::wire::Timeouts;
use super::*;
use crate::plan::Prompt;
use crate::sample::{Labels, TokenSource};
use crate::units::Epoch;

const SLOW: Duration = Duration::from_secs(20);
const NO_HURRY: Timeouts = Timeouts::all(SLOW);

fn target(addr: SocketAddr, timeouts: Timeouts) -> Target {
    let uri = |path: &str| format!("http://{addr}/v1/{path}").parse().expect("a URL");
    Target {
        link: Link::bare(vec![addr], timeouts, Epoch::start()),
        uri: uri("completions"),
        idle_uri: uri("models"),
        body: BodyShape::new(Api::Completions, "m"),
        run_id: "test".into(),
        server_clock: Arc::default(),
    }
}

fn turn() -> Turn {
    Turn {
        id: 7,
        labels: Labels::default(),
        prompt: Prompt::Text(vec!["a ".into(), "b".into()]),
        max_tokens: Some(12),
        session: None,
        keeps_reply: false,
    }
}

/// Starts a server that handles its connections one after the other with `serve`.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    addr
}

/// Reads one request; returns its body, or `None` when the connection has ended.
fn read_request(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// Answers the first request of every connection with these bytes, then closes it.
fn answering(bytes: impl Into<Vec<u8>>) -> SocketAddr {
    let bytes = bytes.into();
    server(move |mut stream| {
        if read_request(&stream).is_some() {
            let _ = stream.write_all(&bytes);
        }
    })
}

fn sample_from(addr: SocketAddr, timeouts: Timeouts) -> Sample {
    Client::new(Arc::new(target(addr, timeouts))).send(&turn())
}

fn kind_of(addr: SocketAddr) -> Option<FailKind> {
    sample_from(addr, NO_HURRY)
        .failure
        .map(|failure| failure.kind)
}

/// The head of a stream that ends with its connection.
const OPEN_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const TOKEN: &str = "data: {\"choices\":[{\"text\":\"a\",\"index\":0,\"finish_reason\":null}]}\n\n";
const FINISH: &str = "data: {\"choices\":[{\"text\":\"b\",\"index\":0,\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";

/// Returns a chunked stream of these events, with its last chunk.
fn stream(events: &[&str]) -> String {
    let chunks: String = events
        .iter()
        .map(|event| format!("{:x}\r\n{event}\r\n", event.len()))
        .collect();
    format!("{STREAM_HEAD}{chunks}0\r\n\r\n")
}

fn recording(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the facts that do not depend on time, named as in expected.json.
fn facts(sample: &Sample) -> Value {
    serde_json::json!({
        "kind": sample.failure.as_ref().map(|failure| failure.kind.name()),
        "events": sample.token_events,
        "text_bytes": sample.text_bytes,
        "prompt": sample.prompt_tokens,
        "completion": sample.completion_tokens,
        "cached": sample.cached_tokens,
        "source": sample.token_source.map(TokenSource::name),
        "finish": sample.finish_reason,
    })
}

/// How a server's bytes are split into writes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Bytes,
    Random(u64),
}

fn write_cut(stream: &mut TcpStream, mut bytes: &[u8], cut: Cut) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut rng = fastrand::Rng::with_seed(if let Cut::Random(seed) = cut { seed } else { 0 });
    while !bytes.is_empty() {
        let n = match cut {
            Cut::Whole => bytes.len(),
            Cut::Bytes => 1,
            Cut::Random(_) => rng.usize(1..=bytes.len().min(400)),
        };
        stream.write_all(&bytes[..n])?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Serves one recording repeatedly, in one piece, byte by byte and in 200 random cuts, and compares every sample with
/// Python's reading.
fn check_recording(name: &str, wanted: &Value) {
    let bytes = recording(&format!("{name}.raw"));
    let cuts: Vec<Cut> = [Cut::Whole, Cut::Bytes]
        .into_iter()
        .chain((0..200).map(Cut::Random))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let to_serve = cuts.clone();
    let serving = thread::spawn(move || {
        for cut in to_serve {
            let (mut stream, _) = listener.accept().expect("the client connects");
            if read_request(&stream).is_some() {
                // This fails only when the client has hung up, which its sample shows.
                let _ = write_cut(&mut stream, &bytes, cut);
            }
        }
    });
    let target = Arc::new(target(addr, NO_HURRY));
    for cut in cuts {
        let sample = Client::new(target.clone()).send(&turn());
        assert_eq!(
            facts(&sample),
            *wanted,
            "{name}, {cut:?}: {:?}",
            sample.failure
        );
        assert_eq!(
            sample.gaps_us.len() as u64,
            sample.token_events.saturating_sub(1),
            "{name}, {cut:?}"
        );
    }
    serving.join().expect("the server saw every connection");
}

#[test]
fn every_recording_gives_the_same_right_sample_however_it_is_cut() {
    let expected: Map<String, Value> =
        serde_json::from_slice(&recording("expected.json")).expect("JSON");
    assert!(expected.len() > 150, "{}", expected.len());
    let names: Vec<(&String, &Value)> = expected.iter().collect();
    thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(6)) {
            scope.spawn(move || {
                part.iter()
                    .for_each(|(name, wanted)| check_recording(name, wanted));
            });
        }
    });
}

#[test]
fn the_first_token_is_the_first_event_with_text_not_the_role_the_headers_or_a_comment() {
    let addr = server(|mut stream| {
        read_request(&stream);
        let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
        let token =
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n";
        for (pause_ms, bytes) in [
            (
                0,
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
            ),
            (40, ": alive\n\n"),
            (40, role),
            (40, token),
        ] {
            thread::sleep(Duration::from_millis(pause_ms));
            let _ = stream.write_all(bytes.as_bytes());
        }
    });
    let sample = sample_from(addr, NO_HURRY);
    assert!(sample.is_success(), "{:?}", sample.failure);
    let after_ms = |stamp: Option<u64>| (stamp.expect("a stamp") - sample.t_send_ns) / 1_000_000;
    assert!(
        (0..35).contains(&after_ms(sample.t_headers_ns)),
        "{sample:?}"
    );
    assert!(
        (80..118).contains(&after_ms(sample.t_event_ns)),
        "{sample:?}"
    );
    assert!(
        (120..180).contains(&after_ms(sample.t_first_ns)),
        "{sample:?}"
    );
}

#[test]
fn comments_keep_a_slow_stream_alive_and_silence_ends_it() {
    let timeouts = Timeouts {
        idle: Duration::from_millis(60),
        ..NO_HURRY
    };
    let pauses = |between: &'static [&'static str]| {
        server(move |mut stream| {
            read_request(&stream);
            let _ = stream.write_all(OPEN_HEAD.as_bytes());
            for piece in [TOKEN].iter().chain(between).chain(&[FINISH]) {
                let _ = stream.write_all(piece.as_bytes());
                thread::sleep(Duration::from_millis(40));
            }
        })
    };
    let alive = sample_from(pauses(&[": 1\n", ": 2\n", ": 3\n"]), timeouts);
    assert!(alive.is_success(), "{:?}", alive.failure);
    let silent = sample_from(pauses(&["", "", ""]), timeouts);
    let failure = silent.failure.expect("a failure");
    assert_eq!(
        (failure.kind, silent.token_events),
        (FailKind::TimeoutIdle, 1)
    );
    assert_eq!(failure.reason, "no byte for 0.06 s (--idle-timeout)");
}

#[test]
fn the_first_token_timeout_runs_from_the_send_through_comments() {
    let addr = server(|mut stream| {
        read_request(&stream);
        let _ = stream.write_all(OPEN_HEAD.as_bytes());
        for _ in 0..30 {
            thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(b": wait\n\n");
        }
    });
    let timeouts = Timeouts {
        first_token: Duration::from_millis(150),
        ..NO_HURRY
    };
    let sample = sample_from(addr, timeouts);
    let took_ms = (sample.t_end_ns - sample.t_send_ns) / 1_000_000;
    assert_eq!(
        sample.failure.map(|f| f.kind),
        Some(FailKind::TimeoutFirstToken)
    );
    assert!((145..300).contains(&took_ms), "{took_ms} ms");
}

#[test]
fn the_total_timeout_ends_a_stream_that_never_does() {
    let addr = server(|mut stream| {
        read_request(&stream);
        let _ = stream.write_all(OPEN_HEAD.as_bytes());
        while stream.write_all(TOKEN.as_bytes()).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let sample = sample_from(
        addr,
        Timeouts {
            total: Duration::from_millis(150),
            ..NO_HURRY
        },
    );
    let took_ms = (sample.t_end_ns - sample.t_send_ns) / 1_000_000;
    assert_eq!(sample.failure.map(|f| f.kind), Some(FailKind::TimeoutTotal));
    assert!((145..300).contains(&took_ms), "{took_ms} ms");
}

#[test]
fn an_event_that_never_ends_is_oversized_before_it_fills_the_memory() {
    for line_end in ["", "\n"] {
        let addr = server(move |mut stream| {
            read_request(&stream);
            let _ = stream.write_all(OPEN_HEAD.as_bytes());
            let line = format!("data: {}{line_end}", "x".repeat(1 << 16));
            // 64 MiB; the client hangs up long before.
            (0..1024).find(|_| stream.write_all(line.as_bytes()).is_err());
        });
        let sample = sample_from(addr, NO_HURRY);
        let failure = sample.failure.expect("a failure");
        let told = (failure.kind, failure.reason.as_str());
        assert_eq!(told, (FailKind::Oversized, "an event of more than 16 MiB"));
    }
}

#[test]
fn each_kind_of_broken_reply_has_its_name() {
    let error = "data: {\"error\":{\"message\":\"engine died\",\"code\":500}}\n\ndata: [DONE]\n\n";
    for (bytes, kind) in [
        (stream(&[TOKEN, FINISH]), None),
        (
            stream(&[TOKEN, FINISH])
                .replace("text/event-stream", "Text/Event-Stream;charset=UTF-8"),
            None,
        ),
        (stream(&[TOKEN, error]), Some(FailKind::StreamError)),
        (
            format!("{STREAM_HEAD}{:x}\r\n{error}", error.len() + 1),
            Some(FailKind::StreamError),
        ),
        (
            stream(&["data: {\"error\":\"text\"}\n\n"]),
            Some(FailKind::StreamError),
        ),
        // LiteLLM: no [DONE], a proper end, a code that is text.
        (
            stream(&[
                TOKEN,
                "data: {\"error\":{\"message\":\"x\",\"code\":\"500\"}}\n\n",
            ]),
            Some(FailKind::StreamError),
        ),
        // llama_cpp.server, when a second request comes: [DONE] alone, and no last chunk.
        (
            stream(&[TOKEN, "data: [DONE]\n\n"]).replace("0\r\n\r\n", ""),
            Some(FailKind::Truncated),
        ),
        // vllm-router: the status counts, not the type.
        (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/event-stream\r\ncontent-length: 13\r\n\r\n{\"error\":\"x\"}".into(),
            Some(FailKind::Http),
        ),
        (stream(&[TOKEN]), Some(FailKind::Truncated)),
        (
            stream(&[TOKEN, "data: [DONE]\n\n"]),
            Some(FailKind::Truncated),
        ),
        (stream(&[TOKEN, FINISH]).replace("0\r\n\r\n", ""), None),
        (
            stream(&[TOKEN, FINISH])
                .replace("data: [DONE]\n\n", &" ".repeat(14))
                .replace("0\r\n\r\n", ""),
            Some(FailKind::Truncated),
        ),
        (stream(&[]), Some(FailKind::Empty)),
        (stream(&["data: [DONE]\n\n"]), Some(FailKind::Empty)),
        (stream(&[TOKEN, "data: {\"choices\"\n\n", FINISH]), None),
        (
            stream(&[TOKEN, "data: {\"choices\"\n\n"]),
            Some(FailKind::Malformed),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".into(),
            Some(FailKind::Malformed),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".into(),
            Some(FailKind::Empty),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".into(),
            Some(FailKind::Truncated),
        ),
        ("nonsense\r\n\r\n".into(), Some(FailKind::Malformed)),
        (
            format!("HTTP/1.1 200 OK\r\nx-a: {}", "a".repeat(40_000)),
            Some(FailKind::Malformed),
        ),
        (String::new(), Some(FailKind::Truncated)),
        (
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".into(),
            Some(FailKind::Http),
        ),
        (
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".into(),
            Some(FailKind::Http),
        ),
    ] {
        assert_eq!(kind_of(answering(bytes.clone())), kind, "{bytes:?}");
    }
}

#[test]
fn a_body_that_stays_open_behind_its_reply_costs_a_moment_and_its_connection() {
    for behind in ["", "0\r\n", "2\r\n: \r\n"] {
        let bytes = stream(&[TOKEN, FINISH]).replace("0\r\n\r\n", behind);
        // Each connection is held until its client hangs up.
        let addr = server(move |mut stream| {
            if read_request(&stream).is_some() {
                let _ = stream.write_all(bytes.as_bytes());
                let _ = stream.read(&mut [0]);
            }
        });
        let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
        let begun = std::time::Instant::now();
        for _ in 0..2 {
            let sample = client.send(&turn());
            assert!(
                sample.is_success() && !sample.reused,
                "{behind:?} {sample:?}"
            );
            // The reply ended with [DONE], before the wait after it.
            let waited_ns = sample.t_end_ns - sample.t_last_ns.expect("tokens");
            assert!(waited_ns < 90_000_000, "{behind:?} {waited_ns}");
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn the_bytes_of_a_body_tell_what_it_is() {
    let events = stream(&[TOKEN, FINISH]);
    let plain = r#"{"choices":[{"text":"ab","finish_reason":"stop"}]}"#;
    let plain = format!("{STREAM_HEAD}{:x}\r\n{plain}\r\n0\r\n\r\n", plain.len());
    let comment = stream(&[": hi\n\n", TOKEN, FINISH]);
    for (bytes, is_stream) in [
        (events.clone(), true),
        (
            events.replace("text/event-stream", "application/json"),
            true,
        ),
        (
            events.replace("content-type: text/event-stream\r\n", ""),
            true,
        ),
        (comment.replace("text/event-stream", "text/plain"), true),
        (plain.clone(), false),
        (
            plain.replace("text/event-stream", "application/json"),
            false,
        ),
    ] {
        let sample = sample_from(answering(bytes.clone()), NO_HURRY);
        assert!(sample.is_success(), "{bytes} {:?}", sample.failure);
        assert_eq!(sample.t_first_ns.is_some(), is_stream, "{bytes}");
        assert_eq!(sample.text_bytes, 2, "{bytes}");
    }
}

#[test]
fn chunk_sizes_in_capitals_and_a_header_twice_change_nothing() {
    // 3 · 65 bytes are C3 in hexadecimal.
    let three = TOKEN.repeat(3);
    let chunks: String = [three.as_str(), FINISH]
        .iter()
        .map(|events| format!("{:X}\r\n{events}\r\n", events.len()))
        .collect();
    assert!(chunks.starts_with("C3\r\n"), "{chunks}");
    let head = STREAM_HEAD.replace("\r\n\r\n", "\r\nvary: a\r\nvary: b\r\n\r\n");
    let sample = sample_from(answering(format!("{head}{chunks}0\r\n\r\n")), NO_HURRY);
    assert!(sample.is_success(), "{:?}", sample.failure);
    assert_eq!(sample.token_events, 4);
}

#[test]
fn usage_beside_a_choice_without_text_is_the_final_one() {
    // LiteLLM sends zeros on every event, and the figures after the finish, in a choice that has only its number.
    let token = TOKEN.replace(
        "]}\n",
        "],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}\n",
    );
    let finish = FINISH.replace("data: [DONE]\n\n", "");
    let usage = "data: {\"choices\":[{\"index\":0}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
    let reply = stream(&[&token, &token, &finish, usage, "data: [DONE]\n\n"]);
    let sample = sample_from(answering(reply), NO_HURRY);
    assert!(sample.is_success(), "{:?}", sample.failure);
    assert_eq!(
        (
            sample.token_events,
            sample.completion_tokens,
            sample.prompt_tokens
        ),
        (3, Some(4), Some(9))
    );
    assert_eq!(sample.token_source, Some(TokenSource::Usage));
}

#[test]
fn reasoning_tokens_are_taken_from_usage() {
    let sample = sample_from(answering(recording("vllm-think/chat_stream.raw")), NO_HURRY);
    assert_eq!(sample.reasoning_tokens, Some(8));
}

#[test]
fn headers_and_then_silence_are_a_first_token_timeout() {
    let addr = server(|mut stream| {
        read_request(&stream);
        let _ = stream.write_all(STREAM_HEAD.as_bytes());
        // The server waits until the client hangs up.
        let _ = stream.read(&mut [0]);
    });
    let timeouts = Timeouts {
        first_token: Duration::from_millis(100),
        ..NO_HURRY
    };
    let sample = sample_from(addr, timeouts);
    assert!(sample.t_headers_ns.is_some() && sample.t_event_ns.is_none());
    assert_eq!(
        sample.failure.map(|f| f.kind),
        Some(FailKind::TimeoutFirstToken)
    );
}

#[test]
fn a_refused_connection_a_silent_handshake_and_no_address_have_their_names() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port, closed again");
    assert_eq!(kind_of(closed), Some(FailKind::Connect));

    // This https endpoint's server does not speak TLS.
    let addr = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let mut https = target(addr, NO_HURRY);
    https.uri = format!("https://{addr}/v1/completions")
        .parse()
        .expect("a URL");
    let failure = Client::new(Arc::new(https))
        .send(&turn())
        .failure
        .expect("a failure");
    assert_eq!(failure.kind, FailKind::Tls);

    // This server accepts the connection and sends nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let mut mute = target(
        addr,
        Timeouts {
            connect: Duration::from_millis(100),
            ..NO_HURRY
        },
    );
    mute.uri = format!("https://{addr}/v1/completions")
        .parse()
        .expect("a URL");
    let failure = Client::new(Arc::new(mute))
        .send(&turn())
        .failure
        .expect("a failure");
    assert_eq!(failure.kind, FailKind::TimeoutConnect);

    let nowhere = http::resolve("no-such-host.invalid", 80, SLOW).expect_err("no such name");
    assert_eq!(nowhere.kind, FailKind::Dns);
}

#[test]
fn a_server_that_stops_reading_runs_into_the_total_timeout() {
    let (hold, held) = std::sync::mpsc::channel::<TcpStream>();
    let addr = server(move |stream| hold.send(stream).expect("the test holds it"));
    let mut big = turn();
    big.prompt = Prompt::Text(vec!["x".repeat(32 << 20).into()]);
    let timeouts = Timeouts {
        total: Duration::from_millis(200),
        ..NO_HURRY
    };
    let sample = Client::new(Arc::new(target(addr, timeouts))).send(&big);
    let took_ms = (sample.t_end_ns - sample.t_send_ns) / 1_000_000;
    assert_eq!(sample.failure.map(|f| f.kind), Some(FailKind::TimeoutTotal));
    // A write of which a part went out is not given the whole time again.
    assert!((200..300).contains(&took_ms), "{took_ms} ms");
    drop(held);
}

#[test]
fn an_upload_is_part_of_the_time_that_a_reply_may_take() {
    for (total_ms, kind) in [
        (300, FailKind::TimeoutTotal),
        (20_000, FailKind::TimeoutFirstToken),
    ] {
        // Reads nothing for 160 ms, then all of it, and never answers.
        let addr = server(|mut stream| {
            for _ in 0..2 {
                thread::sleep(Duration::from_millis(80));
            }
            let mut some = vec![0; 1 << 20];
            while stream.read(&mut some).is_ok_and(|n| n > 0) {}
        });
        let mut big = turn();
        big.prompt = Prompt::Text(vec!["x".repeat(32 << 20).into()]);
        let timeouts = Timeouts {
            total: Duration::from_millis(total_ms),
            first_token: Duration::from_millis(if total_ms == 300 { 20_000 } else { 300 }),
            ..NO_HURRY
        };
        let sample = Client::new(Arc::new(target(addr, timeouts))).send(&big);
        let took_ms = (sample.t_end_ns - sample.t_send_ns) / 1_000_000;
        assert_eq!(sample.failure.map(|f| f.kind), Some(kind));
        assert!((300..400).contains(&took_ms), "{took_ms} ms");
    }
}

#[test]
fn a_server_that_reads_slowly_does_not_stretch_the_timeouts() {
    for (first_token_ms, kind) in [
        (20_000, FailKind::TimeoutTotal),
        (150, FailKind::TimeoutFirstToken),
    ] {
        let addr = server(|mut stream| {
            let mut some = vec![0; 400_000];
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(30));
                if stream.read(&mut some).unwrap_or(0) == 0 {
                    return;
                }
            }
        });
        let mut big = turn();
        big.prompt = Prompt::Text(vec!["x".repeat(32 << 20).into()]);
        let timeouts = Timeouts {
            total: Duration::from_millis(300),
            first_token: Duration::from_millis(first_token_ms),
            ..NO_HURRY
        };
        let sample = Client::new(Arc::new(target(addr, timeouts))).send(&big);
        assert_eq!(sample.failure.map(|f| f.kind), Some(kind));
        let took_ms = (sample.t_end_ns - sample.t_send_ns) / 1_000_000;
        assert!(took_ms < 1200, "{took_ms} ms");
    }
}

#[test]
fn a_connection_is_reused_and_its_set_up_recorded_once() {
    let addr = server(|mut stream| {
        while read_request(&stream).is_some() {
            let _ = stream.write_all(stream_of_two().as_bytes());
        }
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    let (first, second) = (client.send(&turn()), client.send(&turn()));
    assert!(
        first.is_success() && !first.reused && first.connect_ns.is_some_and(|ns| ns > 1000),
        "{first:?}"
    );
    assert!(
        second.is_success() && second.reused && second.connect_ns.is_none(),
        "{second:?}"
    );
}

/// An idle pooled connection is checked before it carries another request.
#[test]
fn a_connection_that_was_closed_while_idle_is_noticed_before_the_send() {
    let addr = server(|mut stream| {
        if read_request(&stream).is_some() {
            let _ = stream.write_all(stream_of_two().as_bytes());
        }
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    assert!(client.send(&turn()).is_success());
    thread::sleep(Duration::from_millis(50));
    let second = client.send(&turn());
    assert!(second.is_success(), "{second:?}");
    assert_eq!((second.reused, second.resent), (false, false));
}

fn stream_of_two() -> String {
    stream(&[TOKEN, FINISH])
}

#[test]
fn a_connection_that_the_server_closed_is_replaced_once_with_a_new_clock() {
    // llama.cpp promises keep-alive, then answers the next request by closing the connection.
    let recorded = String::from_utf8(recording("llama-server/keepalive.raw")).expect("UTF-8");
    let parts: Vec<String> = recorded
        .split("\n[end: eof]\n[new connection]\n")
        .map(|part| part.replace("\n[end: last chunk]\n", ""))
        .collect();
    assert_eq!(parts.len(), 2);
    let (first_reply, second_reply) = (parts[0].clone(), parts[1].clone());
    let served = std::sync::atomic::AtomicUsize::new(0);
    let addr = server(move |mut stream| {
        read_request(&stream);
        let is_first = served.fetch_add(1, Relaxed) == 0;
        let _ = stream.write_all(
            if is_first {
                &first_reply
            } else {
                &second_reply
            }
            .as_bytes(),
        );
        if is_first {
            read_request(&stream);
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    let first = client.send(&turn());
    assert!(first.is_success() && !first.resent, "{first:?}");
    let second = client.send(&turn());
    assert!(
        second.is_success() && second.resent && !second.reused,
        "{second:?}"
    );
    assert!(second.connect_ns.is_some());
    let first_send_ns = second.t_first_send_ns.expect("the first send");
    assert!(first.t_end_ns <= first_send_ns && first_send_ns < second.t_send_ns);
}

#[test]
fn a_server_that_keeps_no_connection_is_learnt_after_three_requests() {
    let addr = server(|mut stream| {
        if read_request(&stream).is_some() {
            let _ = stream.write_all(stream_of_two().as_bytes());
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
    let target = Arc::new(target(addr, NO_HURRY));
    let mut clients = [Client::new(Arc::clone(&target)), Client::new(target)];
    // The first requests of the two workers open connections of their own; three find theirs closed.
    let resent: Vec<bool> = (0..10)
        .map(|n| {
            let sample = clients[n % 2].send(&turn());
            assert!(sample.is_success() && !sample.reused, "{sample:?}");
            sample.resent
        })
        .collect();
    let first: Vec<bool> = [false, false, true, true, true].into();
    assert_eq!(resent, [first, vec![false; 5]].concat());
}

#[test]
fn a_kept_connection_that_is_held_and_then_closed_is_a_failure_with_its_time() {
    let addr = server(|mut stream| {
        if read_request(&stream).is_some() {
            let _ = stream.write_all(stream_of_two().as_bytes());
        }
        if read_request(&stream).is_some() {
            thread::sleep(Duration::from_millis(80));
            thread::sleep(Duration::from_millis(80));
        }
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    assert!(client.send(&turn()).is_success());
    let held = client.send(&turn());
    let kind = held.failure.as_ref().map(|failure| failure.kind);
    assert_eq!((kind, held.resent), (Some(FailKind::Truncated), false));
    let took_ms = (held.t_end_ns - held.t_send_ns) / 1_000_000;
    assert!((160..1000).contains(&took_ms), "{took_ms} ms");
}

#[test]
fn a_request_cut_before_its_first_byte_keeps_its_send_and_is_not_resent() {
    let addr = server(|mut stream| {
        if read_request(&stream).is_some() {
            let _ = stream.write_all(stream_of_two().as_bytes());
        }
        // The second request waits for its prefill until it is cut.
        while read_request(&stream).is_some() {}
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    assert!(client.send(&turn()).is_success());
    let cutter = client.cutter();
    let cutting = thread::spawn(move || {
        thread::sleep(Duration::from_millis(80));
        cutter.shutdown();
    });
    let sample = client.send(&turn());
    cutting.join().expect("the cut");
    let took_ms = (sample.t_end_ns - sample.t_send_ns) / 1_000_000;
    assert!(sample.failure.is_some() && !sample.resent, "{sample:?}");
    assert!(took_ms >= 70, "{took_ms} ms in flight");
    assert!(client.was_cut(&sample));
    // From now on nothing goes out.
    let sample = client.send(&turn());
    assert!(
        sample.failure.is_some() && client.was_cut(&sample),
        "{sample:?}"
    );
}

#[test]
fn what_the_server_ended_was_not_cut_though_the_run_is_over() {
    let (close, closed) = std::sync::mpsc::channel::<()>();
    for reply in ["", "HTTP/1.1 500 Sorry\r\ncontent-length: 2\r\n\r\nno"] {
        let addr = answering(reply);
        let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
        let sample = client.send(&turn());
        client.cutter().shutdown();
        assert!(
            sample.failure.is_some() && !client.was_cut(&sample),
            "{sample:?}"
        );
    }
    // The head of a refusal came; its body is cut.
    let addr = server(move |mut stream| {
        read_request(&stream);
        let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\nbusy");
        let _ = closed.recv();
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    let cutter = client.cutter();
    let cutting = thread::spawn(move || {
        thread::sleep(Duration::from_millis(60));
        cutter.shutdown();
    });
    let sample = client.send(&turn());
    cutting.join().expect("the cut");
    assert_eq!(sample.status, Some(503));
    assert!(!client.was_cut(&sample), "{sample:?}");
    drop(close);
}

#[test]
fn a_connection_that_was_left_carries_no_further_request() {
    let addr = server(|mut stream| {
        while read_request(&stream).is_some() {
            let _ = stream.write_all(stream_of_two().as_bytes());
            if read_request(&stream).is_none() {
                return;
            }
            let _ = stream.write_all(stream_of_two().as_bytes());
        }
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    let first = client.send(&turn());
    let number = client.wire().connection();
    assert!(client.send(&turn()).reused && client.wire().connection() == number);
    client.wire().leave_connection();
    let next = client.send(&turn());
    assert!(
        first.is_success() && next.is_success() && !next.reused,
        "{next:?}"
    );
    assert_ne!(client.wire().connection(), number);
}

#[test]
fn a_fresh_connection_closed_without_a_reply_is_a_failure() {
    let addr = server(|stream| {
        read_request(&stream);
    });
    let sample = sample_from(addr, NO_HURRY);
    assert_eq!(
        (sample.failure.map(|f| f.kind), sample.resent),
        (Some(FailKind::Truncated), false)
    );
}

#[test]
fn a_warm_up_leaves_its_connection_for_the_first_request() {
    let addr = server(|mut stream| {
        while let Some(body) = read_request(&stream) {
            let models = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_string();
            let reply = if body.is_empty() {
                models
            } else {
                stream_of_two()
            };
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    let mut client = Client::new(Arc::new(target(addr, NO_HURRY)));
    client.warm_up();
    let sample = client.send(&turn());
    assert!(sample.is_success() && sample.reused, "{sample:?}");
}

#[test]
fn the_body_goes_out_whole_with_its_length_and_the_request_id() {
    let (tell, told) = std::sync::mpsc::channel();
    let addr = server(move |mut stream| {
        let mut head = String::new();
        let mut reader = BufReader::new(&stream);
        while !head.ends_with("\r\n\r\n") {
            reader.read_line(&mut head).expect("a head");
        }
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        reader.read_exact(&mut body).expect("the body");
        tell.send((head, body)).expect("the test waits");
        let _ = stream.write_all(stream_of_two().as_bytes());
    });
    // The context is longer than ureq's buffers, so it takes several writes.
    let context = "word ".repeat(20_000);
    let big = Turn {
        prompt: Prompt::Text(vec![context.as_str().into(), "end\\n".into()]),
        ..turn()
    };
    let sample = Client::new(Arc::new(target(addr, NO_HURRY))).send(&big);
    assert!(sample.is_success(), "{:?}", sample.failure);
    let (head, body) = told.recv().expect("one request");
    assert!(
        head.starts_with("POST /v1/completions HTTP/1.1\r\n")
            && head.contains("\r\nx-request-id: test-7\r\n"),
        "{head}"
    );
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["prompt"], Value::from(format!("{context}end\n")));
    assert_eq!(
        (sample.prompt_bytes, &body["max_tokens"]),
        (100_005, &Value::from(12))
    );
}

#[test]
fn a_key_that_a_server_repeats_is_masked_even_at_the_edge_of_the_excerpt() {
    let secret = "vllm_sk_555a1b7ff3e0f617";
    for padding in [0, 185] {
        let text = format!("{}{secret} is wrong", "x".repeat(padding));
        let reply = format!(
            "HTTP/1.1 401 No\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        let mut target = target(answering(reply), NO_HURRY);
        target.link.secrets.add(secret);
        let reason = Client::new(Arc::new(target))
            .send(&turn())
            .failure
            .expect("a failure")
            .reason;
        assert!(
            reason.contains("****f617") && !reason.contains("sk_555"),
            "{reason}"
        );
    }
}

#[test]
fn retry_after_is_taken_in_seconds_only() {
    for (value, wanted) in [
        ("2", Some(2000)),
        ("0.5", Some(500)),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-1", None),
    ] {
        let reply =
            format!("HTTP/1.1 429 Busy\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n");
        let failure = sample_from(answering(reply), NO_HURRY)
            .failure
            .expect("a failure");
        assert_eq!(
            failure.retry_after,
            wanted.map(Duration::from_millis),
            "{value}"
        );
    }
}

#[test]
fn an_http_1_0_reply_ends_with_its_connection_and_needs_a_finish_reason() {
    let head = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    assert_eq!(kind_of(answering(format!("{head}{TOKEN}{FINISH}"))), None);
    assert_eq!(
        kind_of(answering(format!("{head}{TOKEN}"))),
        Some(FailKind::Truncated)
    );
}
