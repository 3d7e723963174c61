//! `check client`: its output, and when it fails.

use crate::util::{Cmd, Dir};

/// A host that is busy with other tests may well be found wanting, and then says so.
#[test]
fn a_check_of_the_client_joins_every_request_with_the_truth_of_a_mock_of_its_own() {
    let dir = Dir::new();
    let output = Cmd::new(&dir)
        .args(["check", "client", "--streams", "8", "--rate", "50"])
        .run();
    let words = |label: &str| -> Vec<String> {
        let line = output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .unwrap_or_else(|| panic!("a line {label}\n{output}"));
        line.split_whitespace().map(str::to_string).collect()
    };
    // Eight streams are sent four times.
    let ttft = words("TTFT");
    assert_eq!(ttft.last().map(String::as_str), Some("32"), "{output}");
    let p50_ms: f64 = ttft[0].parse().expect("a number");
    // The mock waits 50 ms before a first token, which the client's share does not include.
    assert!(p50_ms > 0.0 && p50_ms < 50.0, "{output}");
    assert_eq!(words("ITL of a request").len(), ttft.len(), "{output}");
    let rate: f64 = words("At saturation, 10 in flight:")[0]
        .parse()
        .expect("a number");
    assert!(rate > 8.0 * 50.0, "no faster than the paced part\n{output}");
    let limited = output.stdout.contains("\nclient-limited: ");
    assert!(
        limited || output.stdout.contains("\nclient: ok ("),
        "{output}"
    );
    assert_eq!(output.status.code(), Some(i32::from(limited)), "{output}");
    let files = std::fs::read_dir(dir.path())
        .expect("its directory")
        .count();
    assert_eq!(files, 0, "it leaves no file behind");
}

#[test]
fn a_check_refuses_impossible_options_before_it_starts() {
    let dir = Dir::new();
    for (words, message) in [
        (
            &["check"][..],
            "[ERROR] check: no subject given; want check client",
        ),
        (
            &["check", "clinet"],
            "[ERROR] check clinet: no such command\nDid you mean check client?\n",
        ),
        (
            &["check", "client", "--rate", "0"],
            "[ERROR] --rate 0: want 0.1 to 10000 tokens per second\n",
        ),
        (
            &["check", "client", "--rate", "200000"],
            "[ERROR] --rate 200000: want 0.1 to 10000 tokens per second\n",
        ),
        (
            &["check", "client", "--streams", "0"],
            "[ERROR] --streams 0: want 1 or more\n",
        ),
        (
            &["check", "client", "--streams", "10M"],
            "[ERROR] --streams 10000000: needs 10000024 open files, ",
        ),
    ] {
        let output = Cmd::new(&dir).args(words).fails(2);
        assert!(output.stderr.starts_with(message), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
}

#[test]
fn an_interrupted_check_ends_with_130() {
    let dir = Dir::new();
    let mut running = Cmd::new(&dir)
        .args(["check", "client", "--streams", "4", "--rate", "1"])
        .start();
    running.wait_for_line(|line| line.starts_with("Client check: "));
    running.signal("INT");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130), "{output}");
}
