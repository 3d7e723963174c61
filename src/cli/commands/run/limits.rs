//! `--fail-if` and `--contract`: what makes a run that ended well end with 1.

use crate::cli::args::Args;
use crate::cli::conditions;
use crate::error::Result;
use crate::plan::fixed::Fixed;
use crate::report::workload_json::{KEYS, figures};
use crate::stats::condition::Condition;
use crate::stats::workload::WorkloadSummary;

/// Conditions that must not hold, each with the option it is from.
pub struct Limits(Vec<(String, Condition)>);

impl Limits {
    /// # Errors
    /// When a condition is none, or is about what the run does not have.
    pub fn parse(args: &mut Args, workloads: &[Fixed]) -> Result<Limits> {
        let names: Vec<&str> = workloads.iter().map(|f| f.workload.name()).collect();
        let mut limits = conditions::parse(args, &KEYS, "workload", &names)?;
        let contract = args.value("--contract", |name| {
            contract(name).map(|conditions| (name.to_string(), conditions))
        })?;
        if let Some((name, conditions)) = contract {
            let named = conditions.into_iter();
            limits.extend(named.map(|one| (format!("--contract {name}: {one}"), one)));
        }
        Ok(Limits(limits))
    }

    /// The options that were missed, each with what is wrong.
    pub fn missed(
        &self,
        workloads: &[Fixed],
        summaries: &[WorkloadSummary],
    ) -> Vec<(&str, String)> {
        let places = workloads.iter().map(|fixed| {
            let summary = summaries.iter().find(|one| one.workload == fixed.workload);
            (fixed.workload.name().to_string(), summary.map(figures))
        });
        conditions::missed(&self.0, &places.collect::<Vec<_>>())
    }
}

/// The limits of a year's contract, on each workload's own figures.
fn contract(year: &str) -> std::result::Result<Vec<Condition>, &'static str> {
    let (ttft_ms, tbt_ms, tokens_per_s, error_rate, memory_mib) = match year {
        "year1" => (100.0, 20.0, 50.0, 0.05, 32_768.0),
        "year2" => (50.0, 10.0, 100.0, 0.02, 24_576.0),
        "year3" => (30.0, 5.0, 200.0, 0.01, 16_384.0),
        _ => return Err("no such contract; want year1, year2 or year3"),
    };
    let mut conditions = vec![
        Condition::above("avg_ttft_ms", ttft_ms),
        Condition::above("avg_tbt_ms", tbt_ms),
        Condition::above("avg_tpot_ms", tbt_ms),
        Condition::below("avg_throughput_tps", tokens_per_s),
        Condition::above("error_rate", error_rate),
        Condition::above("peak_mem_mb", memory_mib),
    ];
    if let Some(hit_rate) = match year {
        "year2" => Some(0.70),
        "year3" => Some(0.85),
        _ => None,
    } {
        conditions.push(Condition::below("avg_prefix_hit_rate", hit_rate));
    }
    if year == "year3" {
        conditions.push(Condition::below("avg_spec_accept_rate", 0.60));
    }
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_years_contract_has_the_limits_of_the_format() {
        let lines = |year| -> Vec<String> {
            let conditions = contract(year).expect(year).into_iter();
            conditions.map(|condition| condition.to_string()).collect()
        };
        let year1 = [
            "avg_ttft_ms>100",
            "avg_tbt_ms>20",
            "avg_tpot_ms>20",
            "avg_throughput_tps<50",
            "error_rate>0.05",
            "peak_mem_mb>32768",
        ];
        assert_eq!(lines("year1"), year1);
        assert_eq!(
            lines("year2").last().map(String::as_str),
            Some("avg_prefix_hit_rate<0.7")
        );
        let year3 = lines("year3");
        assert_eq!(year3[0], "avg_ttft_ms>30");
        assert_eq!(
            year3[6..],
            ["avg_prefix_hit_rate<0.85", "avg_spec_accept_rate<0.6"]
        );
        assert!(contract("year4").is_err());
    }
}
