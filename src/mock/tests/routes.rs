//! Which path does what.

use crate::mock::testing::{post, send, start};

const ASK: &str = r#"{"model":"tiny","prompt":"a b c","max_tokens":2}"#;

#[test]
fn a_path_that_is_not_served_is_a_404_and_a_wrong_method_a_405() {
    let mock = start(&[]);
    let reply = post(&mock, "/v1/no-such-path", ASK);
    assert!(reply.starts("HTTP/1.1 404 Not Found\r\n"), "{reply:?}");
    assert_eq!(reply.body, r#"{"detail":"Not Found"}"#);
    let reply = send(&mock, "GET /v1/completions?x=1", "", "");
    assert!(
        reply.starts("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{reply:?}"
    );
    assert!(reply.head.contains("\r\nallow: POST\r\n"), "{reply:?}");
}

#[test]
fn the_key_is_demanded_everywhere_but_on_health() {
    let mock = start(&[("api_key", "k")]);
    for line in [
        "GET /v1/models",
        "GET /metrics",
        "POST /v1/completions",
        "POST /tokenize",
        "GET /nowhere",
    ] {
        for headers in ["", "authorization: Bearer wrong\r\n"] {
            let reply = send(&mock, line, headers, ASK);
            assert!(
                reply.starts("HTTP/1.1 401 Unauthorized\r\n"),
                "{line} {reply:?}"
            );
            assert_eq!(reply.body, r#"{"error":"Unauthorized"}"#);
        }
    }
    assert!(send(&mock, "GET /health", "", "").starts("HTTP/1.1 200 OK\r\n"));
    let reply = send(
        &mock,
        "POST /v1/completions",
        "Authorization: Bearer k\r\n",
        ASK,
    );
    assert!(reply.starts("HTTP/1.1 200 OK\r\n"), "{reply:?}");
}

#[test]
fn a_path_prefix_is_part_of_every_path() {
    let mock = start(&[("path_prefix", "/inference")]);
    let reply = send(&mock, "GET /inference/v1/models", "", "");
    assert_eq!(reply.json()["data"][0]["id"], "tiny");
    assert_eq!(reply.json()["data"][0]["max_model_len"], 131_072);
    assert!(send(&mock, "GET /v1/models", "", "").starts("HTTP/1.1 404"));
}

#[test]
fn tokenize_answers_both_forms_with_the_number_of_words() {
    let mock = start(&[]);
    for body in [
        r#"{"model":"tiny","prompt":"a b c"}"#,
        r#"{"content":" a\nb  c"}"#,
    ] {
        let json = post(&mock, "/tokenize", body).json();
        assert_eq!(
            (&json["count"], json["tokens"].as_array().map(Vec::len)),
            (&3.into(), Some(3)),
            "{body}"
        );
    }
}

#[test]
fn every_route_serves_one_prompt_in_any_form_and_refuses_several_by_name() {
    let mock = start(&[("max_model_len", "4"), ("block_tokens", "1")]);
    for path in ["/v1/completions", "/generate", "/tokenize"] {
        for prompt in [r#""a b""#, r#"["a b"]"#, "[5, 6]", "[[5, 6]]"] {
            let body = format!(r#"{{"prompt":{prompt},"max_tokens":2}}"#);
            let reply = post(&mock, path, &body);
            assert!(reply.starts("HTTP/1.1 200 OK\r\n"), "{path} {reply:?}");
        }
        for (field, body) in [
            ("prompt", r#"{"prompt":["a","b"]}"#),
            ("prompt", r#"{"prompt":[[1,2],[3]]}"#),
            ("prompt", r#"{"prompt":[1,"a"]}"#),
            ("n", r#"{"prompt":"a","n":2}"#),
        ] {
            let reply = post(&mock, path, body);
            assert!(
                reply.starts("HTTP/1.1 400 Bad Request\r\n"),
                "{path} {reply:?}"
            );
            let error = &reply.json()["error"];
            assert_eq!(error["param"], field, "{path} {body}");
            let message = error["message"].as_str().unwrap_or_default();
            assert!(message.starts_with(field), "{path} {body}: {message}");
        }
    }
    // Three ids and two tokens of output are one more than the model takes.
    let reply = post(&mock, "/generate", r#"{"prompt":[1,2,3],"max_tokens":2}"#);
    assert!(reply.starts("HTTP/1.1 400"), "{reply:?}");
    let ids = post(
        &mock,
        "/v1/completions",
        r#"{"prompt":[5,6],"max_tokens":1}"#,
    )
    .json();
    assert_eq!(ids["usage"]["prompt_tokens"], 2);
    // They have been asked for before, and at least one token is always computed.
    assert_eq!(ids["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
}

#[test]
fn prompts_under_other_servers_names_are_refused_by_name() {
    let mock = start(&[]);
    for path in ["/v1/completions", "/generate"] {
        for (field, body) in [
            (
                "text",
                r#"{"text":["a","b"],"sampling_params":{"max_new_tokens":2}}"#,
            ),
            ("text", r#"{"text":"a"}"#),
            ("input_ids", r#"{"input_ids":[1,2]}"#),
            ("prompt_embeds", r#"{"prompt_embeds":"AA=="}"#),
        ] {
            let reply = post(&mock, path, body);
            assert!(
                reply.starts("HTTP/1.1 400 Bad Request\r\n"),
                "{path} {reply:?}"
            );
            let error = &reply.json()["error"];
            let message = format!(
                "{field} is not served; want prompt, a text or a list of token ids (parameter={field})"
            );
            assert_eq!(
                (&error["param"], &error["message"]),
                (&field.into(), &message.into())
            );
        }
    }
    let tokenize = post(&mock, "/tokenize", r#"{"text":"a"}"#);
    assert!(
        tokenize.starts("HTTP/1.1 400 Bad Request\r\n"),
        "{tokenize:?}"
    );
    for path in ["/v1/chat/completions", "/tokenize"] {
        let json = post(&mock, path, r#"{"messages":[]}"#).json();
        assert_eq!(json["error"]["param"], "messages", "{path}");
    }
}

#[test]
fn after_a_reset_the_prompt_is_computed_anew_and_metrics_add_up() {
    let mock = start(&[("block_tokens", "1")]);
    let cached = || {
        let json = post(&mock, "/v1/completions", ASK).json();
        json["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64()
    };
    assert_eq!((cached(), cached()), (Some(0), Some(2)));
    assert_eq!(
        post(&mock, "/reset_prefix_cache?reset_external=true", "").body,
        r#"{"success":true}"#
    );
    assert_eq!((cached(), cached()), (Some(0), Some(2)));
    let metrics = send(&mock, "GET /metrics", "", "").body;
    // Four prompts of 3 tokens, two of them with 2 hits; four answers of 2.
    for (name, value) in [
        ("prompt_tokens_total", "12.0"),
        ("prompt_tokens_cached_total", "4.0"),
        ("prefix_cache_hits_total", "4.0"),
        ("generation_tokens_total", "8.0"),
        ("time_to_first_token_seconds_count", "4.0"),
        ("num_requests_running", "0.0"),
    ] {
        let line = format!("\nvllm:{name}{{engine=\"0\",model_name=\"tiny\"}} {value}\n");
        assert!(metrics.contains(&line), "{name}: {metrics}");
    }
}

#[test]
fn a_reset_that_empties_nothing_answers_as_the_honest_one() {
    let mock = start(&[("block_tokens", "1"), ("reset", "lie")]);
    post(&mock, "/v1/completions", ASK);
    let reply = post(&mock, "/reset_prefix_cache", "");
    assert!(reply.starts("HTTP/1.1 200 OK\r\n"), "{reply:?}");
    assert_eq!(reply.body, r#"{"success":true}"#);
    let json = post(&mock, "/v1/completions", ASK).json();
    let cached = &json["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert_eq!(cached, 2);
}

#[test]
fn separate_keys_do_not_find_each_others_prompts() {
    let mock = start(&[("block_tokens", "1"), ("keys", "separate")]);
    let cached = |key: &str| {
        let header = format!("authorization: Bearer {key}\r\n");
        let json = send(&mock, "POST /v1/completions", &header, ASK).json();
        json["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64()
    };
    assert_eq!((cached("a"), cached("b")), (Some(0), Some(0)));
    assert_eq!((cached("a"), cached("b")), (Some(2), Some(2)));
}

#[test]
fn the_shape_of_reuse_shows_in_usage() {
    let prompts = ["a b c d", "a b c d", "a b", "a b c d e", "a b c x y"];
    for (option, cached) in [
        // All that an earlier prompt had from the start on, without the last token.
        (("reuse", "prefix"), [0, 3, 1, 4, 3]),
        (("reuse", "units:2"), [0, 2, 0, 4, 2]),
        (("reuse", "whole_prompt"), [0, 3, 0, 0, 0]),
        // The first two prompts are not stored.
        (("min_cached", "5"), [0, 0, 0, 0, 3]),
    ] {
        let mock = start(&[("block_tokens", "1"), option]);
        let found = prompts.map(|prompt| {
            let body = format!(r#"{{"prompt":"{prompt}","max_tokens":1}}"#);
            let json = post(&mock, "/v1/completions", &body).json();
            json["usage"]["prompt_tokens_details"]["cached_tokens"].clone()
        });
        assert_eq!(found, cached, "{option:?}");
    }
}
