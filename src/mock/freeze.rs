//! A window of time in which the server stands still, as in a stop-the-world pause.
//!
//! The engine's time stops with it: what is due before the window stays, all that would come after its start comes
//! later by its length. So a stream has one gap that is longer by the window, and a request that arrives in it
//! starts at its end. Nothing is written in the window; what was due before it and was not yet written comes at its
//! end. Connections are taken and requests read, as the kernel and its buffers do for a process that stands still.

/// From the first nanosecond to before the last; times since the mock's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    from_ns: u64,
    until_ns: u64,
}

impl Freeze {
    /// Never.
    pub const NONE: Freeze = Freeze {
        from_ns: u64::MAX,
        until_ns: u64::MAX,
    };

    pub fn new(from_ns: u64, for_ns: u64) -> Freeze {
        Freeze {
            from_ns,
            until_ns: from_ns.saturating_add(for_ns),
        }
    }

    /// When the window ends; `None` outside it.
    pub fn end_at(self, now_ns: u64) -> Option<u64> {
        (self.from_ns..self.until_ns)
            .contains(&now_ns)
            .then_some(self.until_ns)
    }

    /// The time that the engine has reached: the window's start all through the window.
    pub fn engine_ns(self, now_ns: u64) -> u64 {
        now_ns.min(self.from_ns) + now_ns.saturating_sub(self.until_ns)
    }

    /// When the engine reaches a time, and does what begins or is due then: the window's end for its start.
    pub fn wall_ns(self, engine_ns: u64) -> u64 {
        if engine_ns < self.from_ns {
            return engine_ns;
        }
        engine_ns.saturating_add(self.until_ns - self.from_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use super::*;
    use crate::mock::testing::{TruthFile, ask, post, reply, start};

    const COMPLETIONS: &str = "/v1/completions";
    const STREAMED: &str = r#"{"prompt":"a b","max_tokens":20,"stream":true}"#;
    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;

    fn times_ns(line: &Value, key: &str) -> Vec<u64> {
        let times = line[key].as_array().into_iter().flatten();
        times.filter_map(Value::as_u64).collect()
    }

    #[test]
    fn the_engines_time_stands_still_in_the_window() {
        let freeze = Freeze::new(100, 50);
        for (wall, engine, end) in [
            (0, 0, None),
            (99, 99, None),
            (100, 100, Some(150)),
            (149, 100, Some(150)),
            (150, 100, None),
            (160, 110, None),
        ] {
            assert_eq!(freeze.engine_ns(wall), engine, "{wall}");
            assert_eq!(freeze.end_at(wall), end, "{wall}");
        }
        for (engine, wall) in [(99, 99), (100, 150), (110, 160)] {
            assert_eq!(freeze.wall_ns(engine), wall);
            assert_eq!(freeze.engine_ns(wall), engine);
        }
    }

    #[test]
    fn without_a_window_both_times_are_one() {
        for freeze in [Freeze::NONE, Freeze::new(100, 0)] {
            for ns in [0, 99, 100, 101, 1 << 60] {
                let same = (freeze.engine_ns(ns), freeze.wall_ns(ns), freeze.end_at(ns));
                assert_eq!(same, (ns, ns, None));
            }
        }
    }

    #[test]
    fn a_stream_has_one_gap_longer_by_the_window_and_the_others_as_before() {
        let truth = TruthFile::new();
        let mock = start(&[
            ("truth_log", truth.path()),
            ("prefill_rate", "2k"),
            ("itl", "5ms"),
            ("freeze_at", "54ms"),
            ("freeze_for", "300ms"),
        ]);
        let reply = post(&mock, COMPLETIONS, STREAMED);
        assert_eq!((reply.is_whole, reply.events().len()), (true, 20));
        let line = &truth.lines()[0];
        let read_ns = line["t_read_ns"].as_u64().expect("it was read");
        let due_ns = times_ns(line, "t_due_ns");
        // 2 tokens at 2/ms and 1 ms, then every 5 ms: the eleventh at 52 ms, the twelfth at 57 + 300 ms.
        assert_eq!(due_ns[0], read_ns + 2 * MS);
        let gaps_ms: Vec<u64> = due_ns
            .windows(2)
            .map(|two| (two[1] - two[0]) / MS)
            .collect();
        let mut expected = vec![5; 19];
        expected[10] = 305;
        assert_eq!(gaps_ms, expected);
        let written_ns = times_ns(line, "t_written_ns");
        let early = written_ns
            .iter()
            .zip(&due_ns)
            .find(|(written, due)| written < due);
        assert_eq!(early, None);
        // To stamp a write takes a moment after it was allowed.
        let frozen = read_ns + 54 * MS + 500 * US..read_ns + 354 * MS;
        assert!(!written_ns.iter().any(|ns| frozen.contains(ns)), "{line}");
    }

    #[test]
    fn what_arrives_in_the_window_is_answered_after_it() {
        let truth = TruthFile::new();
        let asked = Instant::now();
        let mock = start(&[
            ("truth_log", truth.path()),
            ("prefill_rate", "2k"),
            ("freeze_at", "20ms"),
            ("freeze_for", "300ms"),
        ]);
        let first = ask(
            &mock,
            "POST /v1/completions",
            "x-request-id: 1\r\n",
            STREAMED,
        );
        std::thread::sleep(Duration::from_millis(60));
        let second = ask(&mock, "POST /generate", "x-request-id: 2\r\n", STREAMED);
        let health = ask(&mock, "GET /health", "", "");
        assert!(reply(health).starts("HTTP/1.1 200 OK\r\n"));
        assert!(asked.elapsed() >= Duration::from_millis(320));
        assert!(reply(first).is_whole && reply(second).is_whole);
        let lines = truth.lines();
        let of = |id: &str| {
            let line = lines
                .iter()
                .find(|line| line["id"] == id)
                .expect("it is logged");
            let read_ns = line["t_read_ns"].as_u64().expect("it was read");
            (
                read_ns,
                times_ns(line, "t_due_ns"),
                times_ns(line, "t_written_ns"),
            )
        };
        let ((first_read_ns, ..), (read_ns, due_ns, written_ns)) = (of("1"), of("2"));
        let end_ns = first_read_ns + 320 * MS;
        assert!((end_ns - 300 * MS..end_ns).contains(&read_ns));
        // 2 tokens at 2/ms and 1 ms.
        assert_eq!(due_ns[0], end_ns + 2 * MS);
        assert!(written_ns[0] >= due_ns[0]);
    }

    #[test]
    fn errors_and_comments_wait_for_the_end_as_well() {
        for fault in ["http", "refuse"] {
            let asked = Instant::now();
            let mock = start(&[("freeze_for", "100ms"), ("faults", fault)]);
            assert!(!post(&mock, "/generate", STREAMED).starts("HTTP/1.1 200"));
            assert!(asked.elapsed() >= Duration::from_millis(100), "{fault}");
        }
        let asked = Instant::now();
        let mock = start(&[
            ("freeze_at", "30ms"),
            ("freeze_for", "100ms"),
            ("base", "60ms"),
            ("faults", "keepalive:3"),
        ]);
        let mut connection = ask(&mock, "POST /generate", "", STREAMED);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).expect("the head comes");
            head.extend(byte);
        }
        // Three comments over 160 ms: at 40 and 80 ms, which is in the window, and at 120.
        connection.read_exact(&mut [0]).expect("a comment comes");
        assert!(asked.elapsed() >= Duration::from_millis(130));
    }
}
