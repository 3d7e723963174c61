//! Servers that refuse fields in various ways: what the set-up learns from each.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{NO_HURRY, read_request, server, target};
use crate::client::Target;
use crate::client::body::{LIMIT, Optional};
use crate::client::endpoint::Endpoint;
use crate::client::http::Small;
use crate::client::setup::{self, Setup};
use crate::plan::prompt::Writer;

const OK: &str = r#"{"choices":[{"text":"a b","finish_reason":"length"}],"usage":{"prompt_tokens":90,"completion_tokens":2}}"#;
/// The server's words before the name of the field: longer than the 200 characters that are shown of a failure.
const LONG: &str = "gateway.BadRequestError: the provider behind this deployment has refused the call that was sent to it on behalf of your team, after one attempt and no fallbacks, with the following words, which we pass on as they are: ";

/// Runs the set-up against a server that refuses bodies as `refuse` says, with a status and a text.
fn learnt(refuse: impl Fn(&Value) -> Option<(u16, String)> + Send + 'static) -> (Target, Setup) {
    let addr = server(move |stream: TcpStream| {
        let mut stream = stream;
        while let Some(body) = read_request(&stream) {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (status, text) = match body["prompt"].as_str() {
                // This is a request to /tokenize.
                Some(_) if body["content"].is_string() => (404, "{}".to_string()),
                _ => refuse(&body).unwrap_or((200, OK.to_string())),
            };
            let length = text.len();
            let reply = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{text}"
            );
            if stream.write_all(reply.as_bytes()).is_err() {
                break;
            }
        }
    });
    let mut target = target(addr, NO_HURRY);
    let endpoint = Endpoint::parse(&addr.to_string()).expect("an endpoint");
    let small = Small::new(target.link.clone());
    let writer = Writer::new(0, "n");
    let setup = setup::run(&mut target, &endpoint, &small, &writer);
    (target, setup)
}

/// Refuses these fields, in words made from the field's name.
fn refusing(
    fields: &'static [&'static str],
    status: u16,
    words: impl Fn(&str) -> String + Send + 'static,
) -> (Target, Setup) {
    learnt(move |body| {
        let refused = fields.iter().find(|field| !body[**field].is_null())?;
        Some((
            status,
            json!({"error": {"message": words(refused)}}).to_string(),
        ))
    })
}

const THREE: &[&str] = &["ignore_eos", "min_tokens", "stream_options"];

#[test]
fn a_refused_field_is_left_out_however_it_is_named() {
    let is_learnt = |(target, setup): (Target, Setup)| {
        assert_eq!(setup.failure, None);
        assert_eq!(setup.lessons.dropped, THREE);
        let left = Optional {
            temperature: true,
            ..Optional::NONE
        };
        assert_eq!(
            (target.body.optional, target.body.limit_name),
            (left, LIMIT)
        );
    };
    is_learnt(refusing(THREE, 400, |field| {
        format!("Unknown argument: '{field}'")
    }));
    is_learnt(refusing(THREE, 422, |field| {
        format!("{LONG}argument '{field}' is not allowed here")
    }));
    is_learnt(refusing(THREE, 500, |field| {
        format!("json: unknown field \"{field}\"")
    }));
    // The answer names no field.
    is_learnt(refusing(THREE, 400, |_| {
        "Additional properties are not allowed".to_string()
    }));
    // The answer names several fields.
    is_learnt(refusing(THREE, 422, |_| {
        format!("Unexpected fields: {}", THREE.join(", "))
    }));
}

#[test]
fn each_optional_field_is_learnt_by_itself() {
    for field in ["ignore_eos", "min_tokens", "stream_options", "temperature"] {
        let (mut target, setup) = learnt(move |body| {
            let is_refused = !body[field].is_null();
            is_refused.then(|| (400, r#"{"detail":"Bad request"}"#.to_string()))
        });
        assert_eq!((setup.failure, setup.lessons.dropped), (None, vec![field]));
        let left: Vec<&str> = target
            .body
            .optional
            .fields()
            .into_iter()
            .filter(|(_, on)| **on)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!left.contains(&field), "{left:?}");
    }
}

#[test]
fn more_tokens_are_asked_for_where_one_is_refused() {
    for least in [2, 16, 200] {
        let (target, setup) = learnt(move |body| {
            let few = body[LIMIT].as_u64().is_some_and(|tokens| tokens < least);
            few.then(|| {
                (
                    400,
                    format!(r#"{{"error":"max_tokens: {least} is the least that is taken"}}"#),
                )
            })
        });
        assert_eq!(
            (setup.failure, setup.lessons.dropped),
            (None, vec![]),
            "{least}"
        );
        assert_eq!(target.body.limit_name, LIMIT);
    }
    // This server does both.
    let (_, setup) = learnt(|body| {
        if body[LIMIT].as_u64() < Some(16) {
            return Some((
                400,
                r#"{"error":"max_tokens must be 16 or more"}"#.to_string(),
            ));
        }
        let field = THREE.iter().find(|field| !body[**field].is_null())?;
        Some((400, format!(r#"{{"error":"unknown field {field}"}}"#)))
    });
    assert_eq!((setup.failure, &setup.lessons.dropped[..]), (None, THREE));
}

#[test]
fn the_other_name_of_the_limit_is_tried_where_the_first_is_refused() {
    for words in [
        "'max_tokens' is not taken by this model; say 'max_completion_tokens'",
        "Unsupported parameter: max_tokens. Use max_completion_tokens instead.",
        // The answer does not name the right field.
        "Extra input: max_tokens",
    ] {
        let (target, setup) = refusing(&[LIMIT], 400, move |_| words.to_string());
        assert_eq!((setup.failure, setup.lessons.dropped), (None, vec![]));
        assert_eq!(target.body.limit_name, "max_completion_tokens");
        assert!(
            target
                .body
                .rest(Some(7))
                .contains(r#""max_completion_tokens":7"#)
        );
    }
}

#[test]
fn a_refusal_that_no_field_explains_stays() {
    let (target, setup) = learnt(|_| Some((400, r#"{"error":"no such model"}"#.to_string())));
    let failure = setup.failure.expect("a failure");
    assert!(failure.reason.contains("no such model"), "{failure}");
    assert_eq!(
        (target.body.optional, setup.lessons.dropped),
        (Optional::ALL, vec![])
    );
    // Once with all fields, and once without them.
    assert_eq!(setup.requests, 2);
}
