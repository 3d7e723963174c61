//! Hostile input for the tests of the parsers: generators, the loop over seeds, and the claims to check.
//!
//! The test suite runs a fixed seed for a bounded number of cases; `make fuzz` sets FUZZ_CASES, FUZZ_SECONDS and
//! FUZZ_SEED and runs for longer. Every case has a seed of its own, which is enough to repeat the case.

use std::time::{Duration, Instant};

use fastrand::Rng;

/// The seed of the test suite, which makes every run use the same cases.
const SEED: u64 = 20_261_125;
/// Longest line of an error that a user may be shown.
const MOST_SHOWN_CHARS: usize = 1100;
/// Largest generated input; `assert_linear` covers larger ones.
const MOST_BYTES: usize = 32 << 10;

/// Byte strings that have broken parsers of any kind before.
const NASTY: &[&[u8]] = &[
    b"\0",
    b"\x1b[31m",
    b"\x7f",
    b"\xc2\x9b31m",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\"",
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[[[[[[[[[",
    b",",
    b":",
    b"=",
    b"#",
    b"-",
    b"0",
    b"-0",
    b"-1",
    b"1.5",
    b"1e999",
    b"1e308",
    b"-1e308",
    b"1e-400",
    b"NaN",
    b"Infinity",
    b"+Inf",
    b"4294967296",
    b"9007199254740993",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999999999999999999",
    b"null",
    b"true",
    b"\"\"",
    b"{}",
    b"[]",
    b"\\u0000",
    b"\\u001b",
    b"\\ud800",
    b"\\udc00",
    b"\\u00",
    b"\\x",
];

/// Runs `case` over consecutive seeds: `cases` of them, or as many as the environment says.
///
/// # Panics
/// Panics as the case does, after a line that says how to repeat it.
pub fn run(target: &str, cases: u64, mut case: impl FnMut(&mut Rng)) {
    stand_back();
    let most = number_of("FUZZ_CASES");
    let limit = number_of("FUZZ_SECONDS").map(Duration::from_secs);
    let is_long = most.is_some() || limit.is_some();
    let most = most.unwrap_or(if is_long { u64::MAX } else { cases });
    let first = number_of("FUZZ_SEED").unwrap_or(SEED);
    let started = Instant::now();
    let mut done = 0;
    let mut slowest = (Duration::ZERO, first);
    while done < most && limit.is_none_or(|limit| started.elapsed() < limit) {
        let seed = first.wrapping_add(done);
        let repeat = Repeat { target, seed };
        let before = Instant::now();
        case(&mut Rng::with_seed(seed));
        drop(repeat);
        slowest = slowest.max((before.elapsed(), seed));
        done += 1;
    }
    if is_long {
        let seconds = started.elapsed().as_secs_f64();
        eprintln!(
            "{target}: {done} cases in {seconds:.0} s, {:.0} a second, seeds from {first} on; \
             the slowest {:.1} ms, seed {}",
            done as f64 / seconds,
            slowest.0.as_secs_f64() * 1e3,
            slowest.1
        );
    }
}

/// Lowers this thread's priority so that tests that check times run first.
fn stand_back() {
    // Affects this thread only; a refusal does no harm.
    let _ = rustix::process::nice(19);
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Checks that some inputs were read and some refused, over all cases: a generator that only reaches one outcome tests
/// half.
pub fn assert_both(read: u64, refused: u64) {
    let is_repeated = number_of("FUZZ_CASES") == Some(1);
    let are_both = read > 0 && refused > 0;
    assert!(is_repeated || are_both, "{read} read, {refused} refused");
}

/// Prints which case it was if the case panics.
struct Repeat<'a> {
    target: &'a str,
    seed: u64,
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Repeat { target, seed } = self;
            eprintln!("{target} fails; again with: FUZZ_SEED={seed} FUZZ_CASES=1 make fuzz");
        }
    }
}

/// Makes an input of any kind: mostly a valid one that was broken, sometimes a valid one or noise.
pub fn input(rng: &mut Rng, words: &[&str], valid: impl Fn(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    match rng.u8(..16) {
        0 => noise(rng, words),
        1 => valid(rng),
        2 => spliced(rng, &valid),
        _ => {
            let mut bytes = valid(rng);
            for _ in 0..rng.usize(1..5) {
                mutate(rng, &mut bytes, words);
            }
            bytes
        }
    }
}

fn noise(rng: &mut Rng, words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(..60) {
        match rng.u8(..3) {
            0 => bytes.push(rng.u8(..)),
            _ => bytes.extend_from_slice(token(rng, words)),
        }
    }
    bytes
}

/// Joins the head of one valid input with the tail of another.
fn spliced(rng: &mut Rng, valid: &impl Fn(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let (mut bytes, tail) = (valid(rng), valid(rng));
    bytes.truncate(rng.usize(..=bytes.len()));
    bytes.extend_from_slice(&tail[rng.usize(..=tail.len())..]);
    bytes
}

fn token<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a [u8] {
    match rng.choice(words) {
        Some(word) if rng.bool() => word.as_bytes(),
        _ => NASTY[rng.usize(..NASTY.len())],
    }
}

/// Makes one change: a byte, a cut, a repetition, a token of the format or a nasty string.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, words: &[&str]) {
    let at = rng.usize(..=bytes.len());
    let end = (at + rng.usize(..24)).min(bytes.len());
    match rng.u8(..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        1 if at < bytes.len() => bytes[at] = rng.u8(..),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let times = few(rng, 7);
            let piece = bytes[at..end].repeat(times);
            bytes.splice(at..at, piece);
        }
        5 => {
            let times = few(rng, 9);
            let piece = token(rng, words).repeat(times);
            bytes.splice(at..at, piece);
        }
        6 => other_number(rng, bytes, at),
        7 => drop(bytes.splice(at..end, token(rng, words).to_vec())),
        _ => drop(bytes.splice(at..at, token(rng, words).to_vec())),
    }
    bytes.truncate(MOST_BYTES);
}

/// Replaces the next number from `at` on with an odd one.
fn other_number(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    if let Some(from) = bytes[at..].iter().position(is_digit) {
        let digits = bytes[at + from..].iter().take_while(|byte| is_digit(byte));
        let end = at + from + digits.count();
        drop(bytes.splice(at + from..end, number(rng).into_bytes()));
    }
}

/// Returns a mostly small number, at most 2^`bits` - 1.
fn few(rng: &mut Rng, bits: u32) -> usize {
    let most = 1 << rng.u32(1..=bits);
    rng.usize(1..most)
}

/// Returns the bytes as text, with invalid UTF-8 replaced.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes a JSON value over these keys, nested at most `depth` deep.
pub fn json(rng: &mut Rng, depth: usize, keys: &[&str]) -> String {
    let kinds = if depth == 0 { 5 } else { 8 };
    match rng.u8(..kinds) {
        0 => "null".to_string(),
        1 => rng.bool().to_string(),
        2 => rng.u64(..3000).to_string(),
        3 => number(rng),
        4 => string(rng).1,
        5 => {
            let items = (0..rng.usize(..4)).map(|_| json(rng, depth - 1, keys));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        _ => {
            let members = (0..rng.usize(..6)).map(|_| {
                let key = keys[rng.usize(..keys.len())];
                format!("\"{key}\":{}", json(rng, depth - 1, keys))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

/// Makes a number that JSON allows and few parsers expect.
pub fn number(rng: &mut Rng) -> String {
    const ODD: [&str; 12] = [
        "0",
        "-0",
        "-1",
        "1.5",
        "1e308",
        "1e999",
        "1e-400",
        "4294967296",
        "72057594037927936",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
    ];
    match rng.bool() {
        true => ODD[rng.usize(..ODD.len())].to_string(),
        false => (rng.u64(..) >> rng.u32(..64)).to_string(),
    }
}

/// Makes a text, and a JSON string for it: each character as itself or as one of its escapes.
pub fn string(rng: &mut Rng) -> (String, String) {
    const CHARS: [char; 16] = [
        'a',
        'b',
        'z',
        ' ',
        '"',
        '\\',
        '/',
        '\n',
        '\t',
        '\u{1b}',
        '\u{7f}',
        'é',
        '日',
        '\u{2028}',
        '😀',
        '\u{10ffff}',
    ];
    let (mut text, mut json) = (String::new(), "\"".to_string());
    for _ in 0..rng.usize(..8) {
        let c = CHARS[rng.usize(..CHARS.len())];
        text.push(c);
        if rng.u8(..4) == 0 {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                json.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            let quoted = serde_json::to_string(&c).expect("a character");
            json.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    json.push('"');
    (text, json)
}

/// Makes JSON nested deep enough to overflow a stack: lists, objects, and both left open.
pub fn deep_json(key: &str) -> [String; 4] {
    const DEPTH: usize = 100_000;
    stand_back();
    let object = format!("{{\"{key}\":");
    [
        "[".repeat(DEPTH),
        object.repeat(DEPTH),
        "[".repeat(DEPTH) + &"]".repeat(DEPTH),
        object.repeat(DEPTH) + "1" + &"}".repeat(DEPTH),
    ]
}

/// Checks text that a user is shown: its lines are of bounded length and contain nothing that moves a terminal.
pub fn assert_shown(text: &str) {
    for line in text.split('\n') {
        let chars = line.chars().count();
        assert!(chars <= MOST_SHOWN_CHARS, "{chars} characters: {line:.200}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// Checks that twice the input takes less than 3.5 times as long: 2 means linear time, 4 means quadratic.
///
/// `make` is given the wanted bytes, 1 and 2 MB. Only the CPU time of this thread counts, and the best of several
/// tries, since other processes use the machine too. Inputs that take less than 100 ms are not judged: a quadratic reader
/// of 2 MB takes far longer, and below that the caches of the machine decide.
pub fn assert_linear(what: &str, make: impl Fn(usize) -> Vec<u8>, mut parse: impl FnMut(&[u8])) {
    const BYTES: usize = 1 << 20;
    const AT_ONCE: Duration = Duration::from_millis(100);
    const TRIES: usize = 40;
    stand_back();
    let (one, two) = (make(BYTES), make(2 * BYTES));
    assert!(one.len() > BYTES / 2 && two.len() > one.len() * 3 / 2);
    let cpu_time = || {
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        Duration::from(nix::time::clock_gettime(clock).expect("a thread has a clock"))
    };
    let mut time = |input: &[u8]| {
        let started = cpu_time();
        parse(input);
        cpu_time() - started
    };
    let (mut best_one, mut best_two) = (Duration::MAX, Duration::MAX);
    for _ in 0..TRIES {
        best_one = best_one.min(time(&one));
        best_two = best_two.min(time(&two));
        if best_two < best_one.mul_f64(3.5).max(AT_ONCE) && best_two < Duration::from_secs(2) {
            return;
        }
    }
    panic!("{what}: {best_one:?} for 1 MB, {best_two:?} for 2 MB");
}
