//! How far a pass is, in words for the status line.

use std::time::Duration;

use crate::units::fixed;

/// How far a pass is, for the status line.
pub struct Progress {
    pub label: String,
    pub extent: Extent,
}

/// The end of a pass that progress counts towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The number of requests that are sent, if none fails; `u64::MAX` for no end.
    Requests(u64),
    /// Nothing is sent after this time.
    Duration(Duration),
}

impl Progress {
    /// `Concurrency 5, round 1: 30/100 done, 0 failed, 12.0 req/s, 6 s left`
    pub fn line(&self, done: u64, failed: u64, elapsed_s: f64) -> String {
        let rate = done as f64 / elapsed_s;
        let (of, left_s) = match self.extent {
            Extent::Requests(of) => {
                let left_s = of.saturating_sub(done) as f64 / rate;
                (format!("/{of}"), (done > 0).then_some(left_s))
            }
            Extent::Duration(duration) => {
                let left_s = (duration.as_secs_f64() - elapsed_s).max(0.0);
                (String::new(), Some(left_s))
            }
        };
        let left = left_s.map_or(String::new(), |left_s| match left_s {
            left_s if left_s < 120.0 => format!(", {left_s:.0} s left"),
            left_s if left_s < 7200.0 => format!(", {:.0} min left", left_s / 60.0),
            left_s => format!(", {:.1} h left", left_s / 3600.0),
        });
        let (label, rate) = (&self.label, fixed(rate, 1));
        format!("{label}: {done}{of} done, {failed} failed, {rate} req/s{left}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, done: u64, extent: Extent, failed: u64, elapsed_s: f64) -> String {
        let progress = Progress {
            label: label.to_string(),
            extent,
        };
        progress.line(done, failed, elapsed_s)
    }

    #[test]
    fn progress_tells_how_long_the_rest_will_take() {
        // 30 in 2.5 s are 12 a second; 70 more take 5.83 s.
        let shown = line("Concurrency 5, round 1", 30, Extent::Requests(100), 2, 2.5);
        let wanted = "Concurrency 5, round 1: 30/100 done, 2 failed, 12.0 req/s, 6 s left";
        assert_eq!(shown, wanted);
        // 1 a second: 599 are 9.98 min, 35,999 are 10.0 h.
        for (of, left) in [(600, "10 min left"), (36_000, "10.0 h left")] {
            let shown = line("x", 1, Extent::Requests(of), 0, 1.0);
            assert!(shown.ends_with(left), "{shown}");
        }
        assert_eq!(
            line("x", 0, Extent::Requests(9), 0, 1.0),
            "x: 0/9 done, 0 failed, 0.0 req/s"
        );
        let minute = Extent::Duration(Duration::from_secs(60));
        assert_eq!(
            line("x", 30, minute, 0, 15.0),
            "x: 30 done, 0 failed, 2.00 req/s, 45 s left"
        );
    }
}
