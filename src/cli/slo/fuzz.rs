//! Limits in any YAML: text by the grammar is read as written, anything else is a clean error.

use fastrand::Rng;

use super::{MAX_BYTES, parse};
use crate::fuzz;
use crate::stats::goodput::Slo;

const WORDS: &[&str] = &[
    "*a",
    "&a ",
    "- ",
    "? ",
    ": ",
    "'",
    "|",
    ">",
    "%",
    "!",
    "!!float ",
    "!<x> ",
    "# c",
    "---",
    "...",
    "<<: *a",
    "%YAML 9.9\n",
    "%TAG ! x\n",
    "|9\n",
    "\u{85}",
    "\u{2028}",
    "~",
    ".inf",
    ".nan",
    "0x10",
    "0o7",
    "1_000",
    "slo:",
    "constraints:",
    "ttft_ms: ",
    "itl_ms: ",
    "latency_ms: ",
    "max: ",
    "{",
    "}",
    "\n  ",
];

/// Makes a file in one of the two formats, and its limits.
fn valid(rng: &mut Rng) -> (String, Slo) {
    let is_flow = rng.bool();
    let is_constraints = rng.bool();
    let mut values = [None; 3];
    values[rng.usize(..3)] = Some(1000.0);
    let mut limits = Vec::new();
    for (name, value) in ["ttft_ms", "itl_ms", "latency_ms"]
        .into_iter()
        .zip(&mut values)
    {
        if value.is_some() || rng.bool() {
            let number = f64::from(rng.u32(1..1_000_000)) / 8.0;
            *value = Some(number);
            let text = [
                format!("{number}"),
                format!("'{number}'"),
                format!("\"{number}\""),
            ][rng.usize(..3)]
            .clone();
            limits.push(match is_constraints {
                true => format!("{name}: {{max: {text}}}"),
                false => format!("{name}: {text}"),
            });
        }
    }
    rng.shuffle(&mut limits);
    let form = if is_constraints { "constraints" } else { "slo" };
    let end = ["\n", "\r\n"][rng.usize(..2)];
    let body = match is_flow {
        true => format!("{form}: {{{}}}{end}", limits.join(", ")),
        false => limits.iter().fold(format!("{form}:{end}"), |text, limit| {
            text + "  " + limit + " # c" + end
        }),
    };
    let head = ["", "\u{feff}", "---\n", "# c\n\n"][rng.usize(..4)];
    let [ttft_ms, itl_ms, latency_ms] = values;
    let slo = Slo {
        ttft_ms,
        itl_ms,
        latency_ms,
    };
    (head.to_string() + &body, slo)
}

#[test]
fn a_file_by_the_grammar_has_the_limits_it_was_made_of() {
    fuzz::run("slo (grammar)", 2000, |rng| {
        let (text, slo) = valid(rng);
        assert_eq!(parse(&text), Ok(slo), "{text}");
    });
}

#[test]
fn any_text_is_a_clean_error_or_limits_above_zero() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("slo", 10_000, |rng| {
        let text = fuzz::text(&fuzz::input(rng, WORDS, |rng| valid(rng).0.into_bytes()));
        match parse(&text) {
            Ok(slo) => {
                read += 1;
                let limits = [slo.ttft_ms, slo.itl_ms, slo.latency_ms];
                assert!(
                    limits
                        .into_iter()
                        .flatten()
                        .all(|limit| limit > 0.0 && limit.is_finite()),
                    "{text}"
                );
                assert_ne!(slo, Slo::default());
            }
            Err((_, why)) => {
                refused += 1;
                fuzz::assert_shown(&why);
            }
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn the_largest_file_is_read_or_refused_in_little_time() {
    for piece in [
        "[", "{", "- ", "? ", "{a: ", "!t ", "&a ", "a: ", "a:\n ", "\n", " ", "#", "\"", "'", "a",
        "a\n", "- - ", "a: b\n", "%T x\n", "a,", "[a,", "{a,", "---\n", "|\n", "\t", ": ", "? a\n",
        "!", "*a ", "\u{feff}",
    ] {
        let text = "slo:\n ".to_string() + &piece.repeat(MAX_BYTES as usize / piece.len());
        let started = std::time::Instant::now();
        assert!(parse(&text).is_err(), "{piece:?}");
        assert!(
            started.elapsed().as_secs() < 2,
            "{piece:?}: {:?}",
            started.elapsed()
        );
    }
}
