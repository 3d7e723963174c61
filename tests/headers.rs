//! The header of a samples file: one schema for every command that measures.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::util::{Cmd, Dir, Server};

const SEED: u64 = 7;
const NONCE: &str = "n0nce";

/// A command without its endpoint, seed and nonce.
struct Command {
    name: &'static str,
    words: &'static str,
    samples: &'static str,
    /// Whether it has `--slo-file`.
    has_slo: bool,
}

const COMMANDS: [Command; 4] = [
    Command {
        name: "benchmark",
        words: "benchmark --contexts 2 --max-inflight 1 --input-length 50 --output-length 2 --requests 1 --samples s.jsonl",
        samples: "s.jsonl",
        has_slo: false,
    },
    Command {
        name: "load",
        words: "load --requests 1 --concurrency 1 --warmup 0 --input-tokens 20 --max-tokens 2 --samples s.jsonl",
        samples: "s.jsonl",
        has_slo: true,
    },
    Command {
        name: "replay",
        words: "replay --dataset d.jsonl --rounds 1 --max-output-tokens 2 --output-dir d",
        samples: "d/samples.jsonl",
        has_slo: true,
    },
    Command {
        name: "run",
        words: "run --workload short --requests 1 --output d",
        samples: "d/samples.jsonl",
        has_slo: false,
    },
];

/// Keys that every header has. More may be added, if every command has them.
const KEYS: [&str; 19] = [
    "schema",
    "tool_version",
    "command",
    "endpoint",
    "model",
    "mock",
    "seed",
    "nonce",
    "run_id",
    "slo",
    "options",
    "setup",
    "started_at",
    "backend",
    "engine",
    "engine_version",
    "cpu",
    "cores",
    "kernel",
];

/// A key or a value of a header that is wrong, or that differs from the other commands.
type Deviation = (&'static str, String, String);

/// Returns the first line of a command's samples file, with PORT for its port.
fn header(command: &Command, options: &[&str]) -> String {
    let dir = Dir::new();
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n");
    dir.write("slo.yaml", "slo:\n  ttft_ms: 1000\n");
    let slo: &[&str] = if command.has_slo {
        &["--slo-file", "slo.yaml"]
    } else {
        &[]
    };
    Cmd::new(&dir)
        .args(command.words.split(' '))
        .args(["--seed", &SEED.to_string(), "--nonce", NONCE])
        .args(slo)
        .args(options)
        .ok();
    let text = dir.read(command.samples);
    let line = text.lines().next().unwrap_or_default();
    match line.split_once("http://127.0.0.1:") {
        Some((before, behind)) => {
            let behind = behind.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}http://127.0.0.1:PORT{behind}")
        }
        None => line.to_string(),
    }
}

/// Returns the keys of an object in the order of its text, which serde_json does not keep.
fn keys(text: &str) -> Vec<String> {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Vec<String>, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde::Deserializer::deserialize_map(&mut reader, Keys).expect(text)
}

/// The parsed header of a command.
struct Header {
    command: &'static Command,
    keys: Vec<String>,
    value: Value,
}

impl Header {
    fn of(command: &'static Command, options: &[&str]) -> Header {
        let text = header(command, options);
        Header {
            command,
            keys: keys(&text),
            value: serde_json::from_str(&text).expect(&text),
        }
    }

    /// Checks values that are known in advance, or whose format is.
    fn wrong_values(&self, is_mock: bool) -> Vec<(&'static str, String)> {
        let slo = json!({"ttft_ms": 1000.0, "itl_ms": null, "latency_ms": null});
        let slo = if self.command.has_slo {
            slo
        } else {
            json!(null)
        };
        let wanted = [
            ("tool_version", json!(env!("CARGO_PKG_VERSION"))),
            ("command", json!(self.command.name)),
            ("model", json!("openai/gpt-oss-20b")),
            ("mock", json!(is_mock)),
            ("seed", json!(SEED)),
            ("nonce", json!(NONCE)),
            ("slo", slo),
        ];
        let is_other = |(key, wanted): &(&'static str, Value)| self.value[key] != *wanted;
        let other = wanted.into_iter().filter(is_other).map(|(key, _)| key);
        let text = |key: &str| self.value[key].as_str().unwrap_or_default();
        let forms = [
            ("schema", text("schema") == "tmesh-cli/samples/2"),
            (
                "endpoint",
                text("endpoint").starts_with("http://127.0.0.1:PORT"),
            ),
            ("run_id", is_run_id(text("run_id"))),
            ("started_at", is_utc(text("started_at"))),
            ("options", self.value["options"].is_object()),
        ];
        let malformed = forms.into_iter().filter(|(_, is_right)| !is_right);
        let wrong = other.chain(malformed.map(|(key, _)| key));
        wrong
            .map(|key| (key, format!("is {}", self.value[key])))
            .collect()
    }

    /// Returns the differences from the header of another command, where both must be equal.
    fn differences(&self, other: &Header) -> Vec<(String, String)> {
        let mut differences = Vec::new();
        for path in ["/schema", "/endpoint", "/options/api"] {
            let value = |header: &Header| header.value.pointer(path).cloned();
            let (own, others) = (value(self), value(other));
            if own != others {
                let own = own.unwrap_or_default();
                differences.push((path.to_string(), format!("is {own}")));
            }
        }
        let setup = |header: &Header| kinds(&header.value["setup"]);
        if self.value["setup"].is_object() && setup(self) != setup(other) {
            let own = &self.value["setup"];
            differences.push(("/setup".to_string(), format!("is {own}")));
        }
        let others = kinds(&other.value["options"]);
        for (key, kind) in kinds(&self.value["options"]) {
            let other = others.get(&key).copied().unwrap_or("null");
            if kind != other && kind != "null" && other != "null" {
                differences.push((format!("/options/{key}"), format!("is of the kind {kind}")));
            }
        }
        differences
    }
}

/// Returns whether the text is eight hexadecimal digits.
fn is_run_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether the text is a time such as 2026-11-28T15:13:43Z.
fn is_utc(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        _ => byte == wanted,
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// Returns the keys of an object with the types of their values.
fn kinds(object: &Value) -> BTreeMap<String, &'static str> {
    let entries = object.as_object().into_iter().flatten();
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    entries
        .map(|(key, value)| (key.clone(), kind(value)))
        .collect()
}

/// Returns everything wrong with the headers that the four commands write with these options.
fn deviations(options: &[&str], is_mock: bool) -> Vec<Deviation> {
    let headers = COMMANDS
        .each_ref()
        .map(|command| Header::of(command, options));
    let has = |header: &Header, key: &str| header.keys.iter().any(|own| own == key);
    let common = |key: &String| headers.iter().all(|header| has(header, key));
    let first = &headers[0];
    let order: Vec<&String> = first.keys.iter().filter(|key| common(key)).collect();
    let mut found = Vec::new();
    for header in &headers {
        let name = header.command.name;
        let absent = KEYS.iter().filter(|key| !has(header, key));
        found.extend(absent.map(|key| (name, key.to_string(), "absent".to_string())));
        let is_own = |key: &&String| !common(key) && !KEYS.contains(&key.as_str());
        let own = header.keys.iter().filter(is_own);
        found.extend(own.map(|key| (name, key.clone(), "not in every header".to_string())));
        let own_order: Vec<&String> = header.keys.iter().filter(|key| common(key)).collect();
        if own_order != order {
            found.push((name, "order".to_string(), format!("{own_order:?}")));
        }
        let wrong = header.wrong_values(is_mock).into_iter();
        found.extend(wrong.map(|(key, what)| (name, format!("/{key}"), what)));
        let differences = header.differences(first).into_iter();
        found.extend(differences.map(|(key, what)| (name, key, what)));
    }
    found
}

#[test]
fn the_four_commands_write_one_header() {
    let server = Server::start(&["--base", "1ms", "--itl", "0s"]);
    // The same endpoint and API are given in two ways.
    let path = format!("{}/v1/chat/completions", server.url());
    let by_path = deviations(&["--endpoint", &path], true);
    let by_name = deviations(&["--endpoint", &server.url(), "--api", "chat"], true);
    assert_eq!((by_path, by_name), (Vec::new(), Vec::new()));
}

#[test]
fn a_mock_in_the_process_changes_nothing_else_in_the_header() {
    let found = deviations(&["--backend", "mock", "--api", "chat"], true);
    assert_eq!(found, Vec::new());
}

#[test]
fn the_keys_of_a_header_begin_with_schema_and_version() {
    for command in &COMMANDS {
        let header = Header::of(command, &["--backend", "mock"]);
        let first: Vec<&str> = header.keys.iter().take(2).map(String::as_str).collect();
        assert_eq!(first, ["schema", "tool_version"], "{}", command.name);
    }
}
