//! The test harness itself: a test that cannot fail proves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::util::{Cmd, Dir, RawServer, Server};

/// Returns the message with which `test` panics.
fn panic_of(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it did not panic");
    panic
        .downcast_ref::<String>()
        .cloned()
        .expect("a formatted panic message")
}

fn shell(dir: &Dir, script: &str) -> Cmd {
    Cmd::program("sh", dir).args(["-c", script])
}

#[test]
fn a_wrong_exit_code_shows_command_directory_status_and_both_outputs() {
    let dir = Dir::new();
    let message = panic_of(|| {
        shell(&dir, "echo to-stdout; echo to-stderr >&2; exit 3")
            .env("NAME", "value")
            .ok();
    });
    let cd = format!("cd {} && NAME=\"value\" sh \"-c\"", dir.path().display());
    for part in [
        &cd,
        "exit status: 3",
        "--- stdout\nto-stdout\n",
        "--- stderr\nto-stderr\n",
    ] {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
}

#[test]
fn a_process_is_killed_at_its_deadline() {
    let dir = Dir::new();
    let start = Instant::now();
    let message = panic_of(|| {
        shell(&dir, "echo begun; exec sleep 60")
            .deadline(Duration::from_millis(300))
            .run();
    });
    assert!(
        message.contains("killed after 300ms") && message.contains("begun"),
        "{message}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn the_environment_is_only_path_and_what_the_test_sets() {
    let dir = Dir::new();
    let output = Cmd::program("env", &dir).env("ONE", "1").ok();
    let names: Vec<&str> = output
        .stdout
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    assert_eq!(names, ["ONE", "PATH"], "{output}");
}

#[test]
fn lines_stream_while_the_process_runs_and_signals_reach_it() {
    let dir = Dir::new();
    let mut running = shell(
        &dir,
        "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.05; done",
    )
    .start();
    assert_eq!(
        running.wait_for_line(|line| line.starts_with("rea")),
        "ready"
    );
    running.signal("USR1");
    let output = running.wait();
    assert_eq!(
        (output.status.code(), output.stdout.as_str()),
        (Some(7), "ready\ncaught\n"),
        "{output}"
    );
}

#[test]
fn a_line_that_never_comes_fails_with_what_came_instead() {
    let dir = Dir::new();
    let message = panic_of(|| {
        shell(&dir, "echo other")
            .start()
            .wait_for_line(|line| line == "wanted");
    });
    assert!(
        message.contains("without the wanted line") && message.contains("other"),
        "{message}"
    );
}

#[test]
fn the_raw_server_records_requests_and_keeps_the_connection() {
    let server = RawServer::start(|request, stream| {
        let length = request.body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{length}"
        )
        .expect("a client that reads");
    });
    let mut client = TcpStream::connect(server.addr()).expect("a listening server");
    let requests = [
        "POST /sized HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST /chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n3\r\nfgh\r\n0\r\n\r\n",
        "GET /none HTTP/1.1\r\nX-Name:  value\r\n\r\n",
    ];
    client
        .write_all(requests.concat().as_bytes())
        .expect("an open connection");
    for length in [b'3', b'5', b'0'] {
        let mut response = vec![0; "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n?".len()];
        client.read_exact(&mut response).expect("a whole response");
        assert_eq!(response.last(), Some(&length));
    }
    let seen = server.requests();
    let lines: Vec<_> = seen
        .iter()
        .map(|r| (r.method.as_str(), r.path.as_str(), r.body.as_slice()))
        .collect();
    assert_eq!(
        lines,
        [
            ("POST", "/sized", &b"abc"[..]),
            ("POST", "/chunked", b"defgh"),
            ("GET", "/none", b"")
        ]
    );
    assert_eq!(seen[2].header("x-name"), Some("value"));
}

#[test]
fn the_mock_runs_as_a_process_of_its_own_and_logs_the_truth() {
    let server = Server::start(&[]);
    let dir = Dir::new();
    Cmd::new(&dir)
        .args([
            "benchmark",
            "--endpoint",
            &server.url(),
            "--contexts",
            "2",
            "--input-length",
            "100",
        ])
        .args(["--output-length", "5", "--requests", "4"])
        .ok();
    // The log has these four, and the set-up requests.
    let truth = server.truth();
    assert!(truth.len() >= 4, "{truth:?}");
}

#[test]
fn the_mock_says_who_can_reach_it() {
    for (host, who) in [
        (
            "127.0.0.1",
            "; for this machine only: --host opens it to others)",
        ),
        ("0.0.0.0", "; open to other machines)"),
    ] {
        let mut mock = Cmd::new(&Dir::new())
            .args(["mock", "--port", "0", "--host", host])
            .start();
        mock.wait_for_line(|line| line.ends_with(who));
    }
}
