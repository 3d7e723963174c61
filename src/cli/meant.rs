//! The option that was meant by one that a command does not have: other commands and other tools have their own names
//! for the same thing.

use super::flags::{BENCHMARK, CHECK_ENDPOINT, LOAD, REPLAY, REPORT, RUN_FIXED, did_you_mean};
use super::usage::Usage;

/// Names of one thing a line: ours, then those of wrk, hey, oha, vLLM, SGLang, AIPerf and GuideLLM.
const SAME: &str = "\
--concurrency --max-inflight -c --max-concurrency --num-concurrent --workers -w
--requests --num-samples -n --num-prompts --num-requests --request-count --max-requests
--duration -d -z --max-seconds --benchmark-duration
--rate -r -q --request-rate --qps
--endpoint -u --url --base-url --target --host
--model -m --model-name
--input-tokens --input-length --max-input-length --random-input-len --isl --prompt-tokens
--max-tokens --output-length --max-output-tokens --random-output-len --osl --output-tokens
--dataset --dataset-path --dataset-name --input-file
--header -H
--timeout -t
--output --output-dir -o --result-filename --output-file --output-path --artifact-dir
--samples --output-details
--slo-file --goodput
--api --endpoint-type
--api-key-file --api-key
--trace --input-trace --custom-trace
--shared-prefix-tokens --prefix-len --random-prefix-len --gsp-system-prompt-len
--warmup --warmup-seconds --num-warmups --warmup-requests --warmup-request-count
--insecure -k --no-verify
--quiet -q --silent --disable-tqdm
--verbose -v
";

/// The step that an error about an unknown option adds, if there is one.
pub fn meant(usage: &Usage, name: &str) -> Option<String> {
    let has = |known: &str| usage.flags().any(|flag| flag.name == known);
    let lines = SAME.lines().map(|line| line.split(' '));
    let same = lines.filter(|names| names.clone().any(|one| one == name));
    if let Some(ours) = same.flatten().find(|one| has(one)) {
        return Some(format!("Did you mean {ours}?"));
    }
    let near = did_you_mean(name, usage.flags().map(|flag| flag.name));
    near.or_else(|| {
        let others = [
            &LOAD,
            &BENCHMARK,
            &REPLAY,
            &RUN_FIXED,
            &REPORT,
            &CHECK_ENDPOINT,
        ];
        let other = others
            .into_iter()
            .find(|other| other.flags().any(|flag| flag.name == name))?;
        let command = other.name;
        Some(format!(
            "It is an option of {command}: tmesh-cli {command} --help"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_another_command_or_tool_leads_to_the_one_that_was_meant() {
        for (usage, typed, wanted) in [
            (&BENCHMARK, "-c", "Did you mean --max-inflight?"),
            (&LOAD, "-c", "Did you mean --concurrency?"),
            (&REPLAY, "-n", "Did you mean --num-samples?"),
            (&LOAD, "-n", "Did you mean --requests?"),
            (&BENCHMARK, "-d", "Did you mean --duration?"),
            (&BENCHMARK, "--concurrency", "Did you mean --max-inflight?"),
            (&LOAD, "--input-length", "Did you mean --input-tokens?"),
            (&LOAD, "--output-length", "Did you mean --max-tokens?"),
            (&LOAD, "--num-prompts", "Did you mean --requests?"),
            (&LOAD, "--endpont", "Did you mean --endpoint?"),
            (&REPORT, "-o=x", ""),
            (
                &LOAD,
                "--rotations",
                "It is an option of benchmark: tmesh-cli benchmark --help",
            ),
        ] {
            let step = meant(usage, typed).unwrap_or_default();
            assert_eq!(step, wanted, "{} {typed}", usage.name);
        }
    }

    #[test]
    fn each_line_begins_with_an_option_of_ours() {
        let all = [&LOAD, &BENCHMARK, &REPLAY, &RUN_FIXED, &REPORT];
        for line in SAME.lines() {
            let first = line.split(' ').next().expect("a word");
            let known = all.iter().flat_map(|usage| usage.flags());
            assert!(known.into_iter().any(|flag| flag.name == first), "{line}");
        }
    }
}
