//! A window of time in which the server stands still, as in a stop-the-world pause.
//!
//! The engine's time stops with it: what is due before the window stays, all that would come after its start comes
//! later by its length. So a stream has one gap that is longer by the window, and a request that arrives in it
//! starts at its end. Nothing is written in the window; what was due before it and was not yet written comes at its
//! end. Connections are taken and requests read, as the kernel and its buffers do for a process that stands still.

/// The window, from its first nanosecond to before its last; times are since the mock's epoch.
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

    /// The end of the window; `None` outside it.
    pub fn end_at(self, now_ns: u64) -> Option<u64> {
        (self.from_ns..self.until_ns)
            .contains(&now_ns)
            .then_some(self.until_ns)
    }

    /// The time that the engine has reached: the window's start all through the window.
    pub fn engine_ns(self, now_ns: u64) -> u64 {
        now_ns.min(self.from_ns) + now_ns.saturating_sub(self.until_ns)
    }

    /// The time on the clock at which the engine reaches a time of its own and does what is due then: for the
    /// window's start, the window's end.
    pub fn wall_ns(self, engine_ns: u64) -> u64 {
        if engine_ns < self.from_ns {
            return engine_ns;
        }
        engine_ns.saturating_add(self.until_ns - self.from_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
