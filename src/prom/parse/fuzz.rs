//! Pages by the format's grammar give the samples they were made of; any other text a clean error.

use fastrand::Rng;

use super::{labels, parse, split_name};
use crate::fuzz;

const WORDS: &[&str] = &[
    "# TYPE a counter\n",
    "# TYPE",
    "# HELP a b\n",
    "# EOF\n",
    "#",
    "a_total",
    "a_bucket",
    "{",
    "}",
    "le=\"",
    "\"",
    "\\\"",
    "\\\\",
    "\\n",
    "=",
    ",",
    "NaN",
    "+Inf",
    "-Inf",
    " # {trace_id=\"x\"} 0.67 1.5",
    " 1395066363000",
    "1e9",
    "0x10",
    "inf",
    "infinity",
    "1_000",
    "<nil>",
    "{\"a.b\",",
    "\"c.d\"=",
    "# TYPE \"a.b\" gauge\n",
];

/// Name, labels, value.
type Made = (String, Vec<(String, String)>, f64);

fn value(rng: &mut Rng) -> (String, f64) {
    match rng.u8(..6) {
        0 => ("NaN".into(), f64::NAN),
        1 => ("+Inf".into(), f64::INFINITY),
        2 => ("-Inf".into(), f64::NEG_INFINITY),
        3 => {
            let (units, power) = (rng.i32(-999..999), rng.i32(0..9));
            let value = f64::from(units) * 10_f64.powi(power);
            (format!("{units}e+{power:02}"), value)
        }
        _ => {
            let value = f64::from_bits(rng.u64(..));
            let value = if value.is_finite() { value } else { 0.5 };
            (format!("{value:?}"), value)
        }
    }
}

fn valid(rng: &mut Rng) -> (String, Vec<Made>) {
    const NAMES: [&str; 8] = [
        "a.b",
        "c d-é",
        "a",
        "vllm:kv_cache_usage_perc",
        "_",
        "x_bucket",
        "x_sum",
        "n9",
    ];
    let (mut page, mut made) = (String::new(), Vec::new());
    let blank = |rng: &mut Rng| ["", " ", "\t ", "  "][rng.usize(..4)];
    for _ in 0..rng.usize(1..6) {
        match rng.u8(..6) {
            0 => page.push_str("# TYPE x histogram\n"),
            1 => page.push_str("# HELP x Any \\n text, {with=\"labels\"} 7\n"),
            2 => page.push('\n'),
            _ => {
                let name = NAMES[rng.usize(..NAMES.len())];
                let mut pairs = Vec::new();
                let is_quoted = name.contains('.') || name.contains(' ');
                if !is_quoted {
                    page.push_str(name);
                }
                if is_quoted || rng.bool() {
                    page.push('{');
                    if is_quoted {
                        page.push_str(&format!("{}\"{name}\"{},", blank(rng), blank(rng)));
                    }
                    for _ in 0..rng.usize(..4) {
                        let text = fuzz::string(rng).0.replace('\r', "");
                        let escaped = text
                            .replace('\\', r"\\")
                            .replace('"', "\\\"")
                            .replace('\n', r"\n");
                        page.push_str(&format!(
                            "{}l{}={}\"{escaped}\",",
                            blank(rng),
                            blank(rng),
                            blank(rng)
                        ));
                        pairs.push(("l".to_string(), text));
                    }
                    page.push('}');
                } else {
                    page.push(' ');
                }
                let (text, value) = value(rng);
                let tail =
                    ["", " 1395066363000", " # {a=\"b\"} 0.67", " 1 # {} 1 2"][rng.usize(..4)];
                page.push_str(&format!(
                    "{}{text}{tail}{}\n",
                    blank(rng),
                    ["", " ", "\r"][rng.usize(..3)]
                ));
                made.push((name.to_string(), pairs, value));
            }
        }
    }
    page.push_str("# EOF\n");
    (page, made)
}

#[test]
fn a_page_by_the_grammar_has_the_samples_it_was_made_of() {
    fuzz::run("prometheus (grammar)", 5000, |rng| {
        let (page, made) = valid(rng);
        let read = parse(&page).expect(&page);
        assert_eq!(read.samples.len(), made.len(), "{page}");
        assert_eq!(read.skipped, None, "{page}");
        for (sample, (name, pairs, value)) in read.samples.iter().zip(made) {
            let seen: Vec<_> = sample
                .labels
                .iter()
                .map(|(name, text)| (name.to_string(), text.into_owned()))
                .collect();
            assert_eq!((sample.name, seen), (&name[..], pairs), "{page}");
            // NaN is not equal to itself.
            assert!(
                sample.value == value || sample.value.is_nan() && value.is_nan(),
                "{page}"
            );
        }
    });
}

#[test]
fn lines_that_are_not_understood_leave_the_others_as_they_are() {
    fuzz::run("prometheus (bad lines)", 5000, |rng| {
        const BAD: [&str; 6] = ["9a 1", "a b", "a{b=\"c\"}", "a.b 1", "{\"a\" 1", "# TYPE"];
        let (page, made) = valid(rng);
        let mut lines: Vec<&str> = page.split_inclusive('\n').collect();
        let bad = rng.usize(1..4);
        for _ in 0..bad {
            let line = format!("{}\n", BAD[rng.usize(..BAD.len())]);
            lines.insert(rng.usize(..=lines.len()), line.leak());
        }
        let text = lines.concat();
        match parse(&text) {
            Ok(read) => {
                let names = read.samples.iter().map(|sample| sample.name);
                assert!(
                    names.eq(made.iter().map(|(name, ..)| name.as_str())),
                    "{text}"
                );
                assert_eq!(read.skipped.map(|skipped| skipped.lines), Some(bad as u64));
            }
            Err(why) => assert!(made.is_empty(), "{text}: {why}"),
        }
    });
}

#[test]
fn any_text_is_a_clean_error_or_a_page() {
    let (mut read, mut refused) = (0, 0);
    fuzz::run("prometheus", 10_000, |rng| {
        let text = fuzz::text(&fuzz::input(rng, WORDS, |rng| valid(rng).0.into_bytes()));
        match parse(&text) {
            Ok(page) => {
                read += 1;
                for sample in &page.samples {
                    assert!(!sample.name.is_empty() && text.contains(sample.labels.text()));
                    page.type_of(sample.name);
                    let rest = sample.labels.iter().count();
                    assert!(rest <= sample.labels.text().len());
                }
                if let Some(skipped) = &page.skipped {
                    fuzz::assert_shown(&skipped.to_string());
                }
            }
            Err(why) => {
                refused += 1;
                fuzz::assert_shown(&why);
            }
        }
        // As a selector of the command line reads them.
        let (_, rest) = split_name(&text);
        if let Err(why) = labels(rest) {
            fuzz::assert_shown(&why);
        }
    });
    fuzz::assert_both(read, refused);
}

#[test]
fn time_is_linear_in_the_page() {
    for (head, piece, tail) in [
        ("", "a{b=\"c\"} 1\n", ""),
        ("", "a 1 # {b=\"c\"} 1\n", ""),
        ("", "# TYPE a counter\n", ""),
        ("", "#", ""),
        ("", "\n", "a 1"),
        ("", " ", "a 1"),
        ("a{", "b=\"c\",", "} 1"),
        ("a{", "b=\"c\" ,", ""),
        ("a{b=\"", "\\", "\"} 1"),
        ("a{b=\"", "\\\"", "\"} 1"),
        ("a ", " ", "1"),
        ("a 1 ", "#", ""),
        ("", "a", " 1"),
        ("a ", "1", ""),
        ("a{b=\"c\"} 1 # {", "x=\"y\",", "} 1"),
        ("a 1\n", "b x\n", ""),
        ("{", "\"a\"=\"b\",", "\"c\"} 1"),
        ("{", "\"a\",", "} 1"),
        ("a 1\n", "{\"", ""),
    ] {
        let make = |bytes| {
            [head, &piece.repeat(bytes / piece.len()), tail]
                .concat()
                .into_bytes()
        };
        fuzz::assert_linear(piece, make, |page| {
            let page = std::str::from_utf8(page).expect("ASCII");
            if let Ok(page) = parse(page) {
                assert!(page.samples.iter().all(|sample| sample.labels.iter().count() < page.samples.len() + (1 << 20)));
            }
        });
    }
}

#[test]
fn a_scrape_of_5_mb_has_all_its_samples() {
    let mut page = String::from("# TYPE latency_seconds histogram\n");
    let mut lines = 0_u32;
    while page.len() < 5 << 20 {
        page.push_str(&format!(
            "latency_seconds_bucket{{engine=\"{lines}\",le=\"0.5\"}} {lines}\n"
        ));
        lines += 1;
    }
    let read = parse(&page).expect("a page");
    let sum: f64 = read.samples.iter().map(|sample| sample.value).sum();
    let lines = f64::from(lines);
    assert_eq!(
        (read.samples.len() as f64, sum),
        (lines, lines * (lines - 1.0) / 2.0)
    );
}
