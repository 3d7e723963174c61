//! The next step after a search for the highest rate.

use serde_json::Value;

use crate::report::document::Next;
use crate::report::layout::findings::{count, list, option, prompts, share};
use crate::report::layout::next::{Server, To, unanswered, was_stopped};
use crate::report::layout::report::Report;
use crate::stats::find_rate::Status;

/// The share of the rate that was found at which `load` goes on.
const SAFE: f64 = 0.9;

/// Returns the next step: below the rate that was found, with what the search lacked, or with one request in flight
/// where no rate passed.
pub fn next(report: &Report) -> Next {
    let (about, found) = (&report.about, &report.findings);
    if let Some(next) = unanswered(report) {
        return next;
    }
    let server = Server::of(about);
    let (prompts, options) = (prompts(about), &about["options"]);
    let slo = option("--slo-file", &options["slo_file"]);
    let rate = found["rate_per_s"].as_f64().map(|rate| rate * SAFE);
    let is_confirmed = found["status"] == Status::Confirmed.name();
    if let Some(rate) = rate.filter(|&rate| is_confirmed && rate > 0.0) {
        let (rate, open) = (rounded_down(rate), open(options, 1));
        let load = server.begin(To::Load);
        return server.next(
            load.map(|load| format!("{load}{prompts} --rate {rate}{open}{slo} --duration 60s")),
        );
    }
    let was_stopped = was_stopped(&report.passes);
    let is_out_of_reach = found["rate_per_s"].is_null() && fails_alone(found) && !was_stopped;
    let no_rate_passed = found["last_pass_per_s"].is_null() && !found["first_fail_per_s"].is_null();
    if no_rate_passed || is_out_of_reach {
        let load = server.begin(To::Load);
        return server.next(load.map(|load| format!("{load}{prompts} --concurrency 1{slo}")));
    }
    let is_client_limited = found["is_client_limited"] == true;
    // Only a search that spent its budget needs more of it.
    let times = |more: bool| if more { 2 } else { 1 };
    let budget = budget(options, times(!was_stopped && !is_client_limited));
    let open = open(options, times(is_client_limited));
    let attainment = options["attainment"].as_f64();
    let attainment = attainment.map(|of| format!(" --attainment {}", share(of).replace(' ', "")));
    let attainment = attainment.unwrap_or_default();
    let again = server.begin(To::FindRate);
    server.next(again.map(|again| format!("{again}{slo}{attainment}{prompts}{open}{budget}")))
}

/// Whether the SLO is not met even at one request at a time, the first probe.
fn fails_alone(found: &Value) -> bool {
    let alone = list(&found["probes"]).next();
    let attained = alone.and_then(|probe| probe["attainment"].as_f64());
    attained
        .zip(found["target"].as_f64())
        .is_some_and(|(attained, target)| attained < target)
}

/// Returns the options of an open loop, with so many times its requests in flight.
fn open(options: &Value, times: u64) -> String {
    let in_flight = count(options, "max_inflight").map(|n| n.saturating_mul(times));
    option("--burstiness", &options["burstiness"]) + &option("--max-inflight", &in_flight.into())
}

/// Returns the options of so many times the budget.
fn budget(options: &Value, times: u64) -> String {
    let requests = count(options, "budget_requests");
    let requests = requests.map(|n| n.saturating_mul(times));
    let time = options["budget_time_s"].as_f64();
    let time = time.map(|seconds| format!(" --budget-time {}s", seconds * times as f64));
    option("--budget-requests", &requests.into()) + &time.unwrap_or_default()
}

/// Rounds a rate above 0 down to three significant digits.
pub fn rounded_down(rate: f64) -> String {
    let decimals = (2.0 - rate.log10().floor()).clamp(0.0, 12.0) as usize;
    let unit = 10_f64.powi(decimals as i32);
    // A rate such as 11.2 may lie a little below its own digits.
    let rate = (rate * unit * (1.0 + 1e-12)).floor() / unit;
    format!("{rate:.decimals$}")
}
