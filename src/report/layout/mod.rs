//! Layouts, which turn the passes of a command into the document of its report. Nothing here knows a format.

pub mod benchmark;
pub mod common;
pub mod compare;
pub mod failures;
pub mod find_rate;
mod findings;
mod form;
mod groups;
mod key_figures;
pub mod keys;
pub mod kv_cache;
pub mod load;
pub mod merge;
pub mod next;
pub mod notes;
pub mod probe;
pub mod replay;
pub mod report;
pub mod run;
mod trends;

use serde_json::Value;

use self::form::Form;
use self::report::Report;
use super::document::Document;

/// The form of an experiment's result file, and its layout.
type Experiment = (Form, fn(&Report) -> Document);

const EXPERIMENTS: [Experiment; 3] = [
    (probe::FORM, probe::document),
    (compare::FORM, compare::document),
    (find_rate::FORM, find_rate::document),
];

/// Returns the report of a run; `None` if its command has no report.
pub fn document(report: &Report) -> Option<Document> {
    Some(match report.about["command"].as_str()? {
        "benchmark" => benchmark::document(report),
        "replay" => replay::document(report),
        "run" => run::document(report),
        "load" => load::document(report),
        "probe" => probe::document(report),
        "compare" => compare::document(report),
        "find-rate" => find_rate::document(report),
        _ => return None,
    })
}

/// Returns the report of an experiment from its result file; `None` if `file` is that of no experiment.
pub fn of_file(file: &Value) -> Option<Document> {
    let mut experiments = EXPERIMENTS.iter();
    experiments.find_map(|(form, document)| Some(document(&form.read(file)?)))
}

/// Whether result files of experiments have this schema.
pub fn is_of_experiment(schema: &str) -> bool {
    EXPERIMENTS.iter().any(|(form, _)| form.schema == schema)
}

/// Returns the keys in the result files of `run`, `load` and `replay` that differ from the catalogue's.
pub fn other_keys() -> impl Iterator<Item = keys::Key> {
    let keys = run::KEYS.iter().chain(load::KEYS.iter()).copied();
    let keys = keys.chain(keys::parse(replay::FIGURES));
    keys.filter(|(key, figure)| key != figure)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::markdown;
    use crate::stats::facts::Facts;
    use crate::stats::pass::Pass;
    use crate::stats::records::Records;

    fn report(command: &str, passes: Vec<Pass>) -> Report {
        Report {
            about: json!({"command": command, "model": "m", "endpoint": "",
                "options": {"rounds": 2, "api": null, "cacert": "", "header": [], "slo": {}}}),
            passes,
            findings: Value::Null,
            notes: vec!["A note".to_string()],
        }
    }

    #[test]
    fn a_report_without_passes_has_the_sections_of_every_page() {
        for command in ["benchmark", "replay", "run", "load"] {
            let document = document(&report(command, Vec::new())).expect(command);
            let page = markdown::render(&document);
            let head = format!("# tmesh-cli {command}: m\n\nModel: m\n\n> A note\n\n## ");
            assert!(page.starts_with(&head), "{page}");
            let failures = "## Failures\n\n- None: every request that was measured succeeded\n";
            let (_, rest) = page.split_once(failures).expect("failures");
            let settings =
                format!("| command | {command} |\n| model | m |\n| options.rounds | 2 |\n");
            let begin = "\n<details>\n<summary>Environment</summary>\n\n| Setting | Value |\n";
            assert!(rest.starts_with(begin), "{page}");
            assert!(
                rest.ends_with(&format!("{settings}\n</details>\n")),
                "{page}"
            );
        }
        assert!(document(&report("check", Vec::new())).is_none());
    }

    #[test]
    fn a_result_file_of_an_experiment_gives_its_report() {
        for (command, schema) in [
            ("probe", "tmesh-cli/probe/1"),
            ("compare", "tmesh-cli/compare/1"),
            ("find-rate", "tmesh-cli/find-rate/1"),
        ] {
            let file = json!({"schema": schema, "command": command, "model": "m"});
            let title = of_file(&file).expect(command).title;
            assert_eq!(title, format!("tmesh-cli {command}: m"));
            assert!(is_of_experiment(schema));
            assert!(document(&report(command, Vec::new())).is_some());
        }
        for schema in ["tmesh-cli/load/1", "tmesh-cli/compare/2", "compare"] {
            assert!(of_file(&json!({"schema": schema})).is_none());
            assert!(!is_of_experiment(schema));
        }
    }

    #[test]
    fn absent_figures_are_listed_with_the_passes_they_apply_to() {
        let pass = |round, is_watched: bool| {
            let mut facts = Facts {
                concurrency: Some(4),
                round: Some(round),
                ..Facts::default()
            };
            facts.client.limited = is_watched.then_some(false);
            Pass::new(facts, Records::kept())
        };
        let passes = vec![pass(1, true), pass(2, false)];
        let page = markdown::render(&document(&report("replay", passes)).expect("a command"));
        let wanted = "## Not reported\n\n\
            - TTFT: no request succeeded with a streamed reply\n\
            - ITL: no reply had two tokens that were read apart\n\
            - Prefix cache hit rate: no reply reported cached tokens\n\
            - Output tokens, mean: no reply has a count of output tokens\n\
            - Goodput: no SLO was given\n\
            - concurrency 4, round 2: Whether the client kept up: the run was too short to watch it\n";
        assert!(page.contains(&format!("{wanted}\n<details>\n")), "{page}");
    }
}
