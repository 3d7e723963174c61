//! LongBench v1 and v2: one prompt a record.

use std::collections::HashSet;

use serde::Deserialize;

use super::tasks::{Task, V2};
use super::{Problem, Raw, Texts};
use crate::plan::escape;
use crate::plan::json::shortened;

/// Turns records into lines, and drops duplicates.
#[derive(Debug, Default)]
pub struct Longbench {
    /// Datasets to take; empty for all.
    wanted: Vec<String>,
    /// Most records of each dataset; `None` for all.
    most: Option<u64>,
    ids: HashSet<String>,
    texts: Texts,
    tallies: Vec<Tally>,
}

/// Figures of one dataset's written records, and counts of those dropped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub dataset: String,
    /// Records dropped because this `_id` or this text came before.
    pub duplicates: u64,
    /// Characters of each written text.
    pub characters: Vec<u64>,
}

/// A record of either version.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "_id")]
    id: Option<String>,
    dataset: Option<String>,
    context: Option<String>,
    input: Option<String>,
    question: Option<String>,
    #[serde(rename = "choice_A")]
    a: Option<String>,
    #[serde(rename = "choice_B")]
    b: Option<String>,
    #[serde(rename = "choice_C")]
    c: Option<String>,
    #[serde(rename = "choice_D")]
    d: Option<String>,
}

impl Longbench {
    /// Takes the first `most` records of each of the `wanted` datasets; `None` and an empty list take all.
    pub fn new(wanted: Vec<String>, most: Option<u64>) -> Longbench {
        Longbench {
            wanted,
            most,
            ..Longbench::default()
        }
    }

    /// Returns the line for a record, without a line break; `None` if it is dropped or not wanted.
    ///
    /// `file` is the record's file name without extension. It decides the dataset if the record does not.
    ///
    /// # Errors
    /// Fails when the record belongs to no dataset of LongBench.
    pub fn line(&mut self, raw: Raw<'_>, file: &str) -> Result<Option<String>, Problem> {
        let entry: Entry = raw.object(serde_json::from_str)?;
        let problem = |why| raw.problem(why);
        let name = self.name(&entry, file).map_err(problem)?;
        if !self.wanted.is_empty() && !self.wanted.contains(&name) {
            return Ok(None);
        }
        let text = prompt(&entry, &name).map_err(problem)?;
        let at = self.tally(&name);
        let tally = &mut self.tallies[at];
        let written = tally.characters.len() as u64;
        if self.most.is_some_and(|most| written >= most) {
            return Ok(None);
        }
        let id = entry
            .id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("{name}-{}", written + 1));
        let is_new = !self.ids.contains(&id) && self.texts.is_new(&text);
        if !is_new {
            tally.duplicates += 1;
            return Ok(None);
        }
        tally.characters.push(text.chars().count() as u64);
        let [session_id, dataset, text] = [&id, &name, &text].map(|text| escape(text));
        self.ids.insert(id);
        Ok(Some(format!(
            r#"{{"session_id":"{session_id}","dataset":"{dataset}","text":"{text}"}}"#
        )))
    }

    /// Returns the tally of each dataset, in the order of their first records.
    pub fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    fn tally(&mut self, name: &str) -> usize {
        let known = self.tallies.iter().position(|tally| tally.dataset == name);
        known.unwrap_or_else(|| {
            self.tallies.push(Tally {
                dataset: name.to_string(),
                ..Tally::default()
            });
            self.tallies.len() - 1
        })
    }

    /// Returns the record's dataset: by its shape, by its `dataset`, by its file, or by the one that is wanted.
    fn name(&self, entry: &Entry, file: &str) -> Result<String, String> {
        if entry.question.is_some() && entry.a.is_some() {
            return Ok(V2.to_string());
        }
        let alone = match &self.wanted[..] {
            [name] => name.as_str(),
            _ => "",
        };
        let name = match &entry.dataset {
            // Records of LongBench-E may have the plain name.
            Some(name) if file.strip_suffix("_e") == Some(name) => file,
            Some(name) => name,
            None if Task::find(file).is_some() => file,
            None => alone,
        };
        if Task::find(name).is_some() {
            return Ok(name.to_string());
        }
        Err(match &entry.dataset {
            Some(name) => format!(
                "dataset {}: LongBench has none of that name",
                shortened(name)
            ),
            None => "it has neither dataset (v1) nor question and choice_A (v2)".to_string(),
        })
    }
}

fn prompt(entry: &Entry, name: &str) -> Result<String, String> {
    let context = entry.context.as_deref().filter(|text| !text.is_empty());
    let context = context.ok_or("it has no context")?;
    if let Some(task) = Task::find(name) {
        return Ok(task.prompt(context, entry.input.as_deref().unwrap_or_default()));
    }
    let (Some(question), Some(a), Some(b), Some(c), Some(d)) =
        (&entry.question, &entry.a, &entry.b, &entry.c, &entry.d)
    else {
        return Err("it lacks one of question and choice_A to choice_D".to_string());
    };
    Ok(format!(
        "Below is a text, and then a question about it with four answers to choose from.\n\nText:\n{context}\n\n\
         Question: {question}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\n\nWhich one is right? Answer with its letter alone.\n\
         Answer:"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bench: &mut Longbench, json: &str, file: &str) -> Option<serde_json::Value> {
        let raw = Raw {
            line: 1,
            at: 0,
            json,
        };
        let line = bench.line(raw, file).expect(json)?;
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    fn why(json: &str, file: &str) -> String {
        let raw = Raw {
            line: 4,
            at: 0,
            json,
        };
        let problem = Longbench::default().line(raw, file).expect_err(json);
        assert_eq!(problem.line, 4);
        problem.why
    }

    #[test]
    fn a_record_is_of_the_dataset_it_names_else_of_its_file() {
        let mut bench = Longbench::default();
        for (json, file, wanted) in [
            (
                r#"{"_id":"1","dataset":"trec","context":"c1","input":"i"}"#,
                "all",
                "trec",
            ),
            (r#"{"_id":"2","context":"c2","input":"i"}"#, "lcc", "lcc"),
            (
                r#"{"_id":"3","dataset":"qasper","context":"c3","input":"i"}"#,
                "qasper_e",
                "qasper_e",
            ),
            (
                r#"{"_id":"4","context":"c4","question":"q","choice_A":"a","choice_B":"b","choice_C":"c","choice_D":"d"}"#,
                "data",
                "longbench-v2",
            ),
        ] {
            let line = line(&mut bench, json, file).expect(json);
            assert_eq!(line["dataset"], wanted);
            assert!(
                line["text"]
                    .as_str()
                    .expect("text")
                    .contains(&format!("c{}", &json[8..9]))
            );
        }
        let mut bench = Longbench::new(vec!["samsum".to_string()], None);
        assert_eq!(
            line(&mut bench, r#"{"context":"c"}"#, "x").expect("taken")["session_id"],
            "samsum-1"
        );
        assert!(line(&mut bench, r#"{"context":"d","dataset":"lcc"}"#, "x").is_none());
    }

    #[test]
    fn the_choices_of_v2_follow_the_question_and_that_the_context() {
        let json = r#"{"_id":"v","context":"<ctx>","question":"<q>","choice_A":"<a>","choice_B":"<b>","choice_C":"<c>","choice_D":"<d>"}"#;
        let line = line(&mut Longbench::default(), json, "data").expect("taken");
        let text = line["text"].as_str().expect("text");
        let at = ["<ctx>", "<q>", "A. <a>", "B. <b>", "C. <c>", "D. <d>"]
            .map(|part| text.find(part).expect(part));
        assert!(at.is_sorted(), "{text}");
    }

    #[test]
    fn duplicates_by_id_and_by_text_are_dropped_and_counted() {
        let mut bench = Longbench::new(Vec::new(), Some(2));
        let mut take = |json: &str| line(&mut bench, json, "lsht").is_some();
        let taken = [
            take(r#"{"_id":"1","context":"éa"}"#),
            take(r#"{"_id":"1","context":"b"}"#),
            take(r#"{"_id":"2","context":"éa"}"#),
            take(r#"{"_id":"3","context":"bcd"}"#),
            take(r#"{"_id":"4","context":"over the number asked for"}"#),
        ];
        assert_eq!(taken, [true, false, false, true, false]);
        // lsht's prompt has 26 characters and two line breaks before the context.
        let before = Task::find("lsht")
            .expect("known")
            .prompt("", "")
            .chars()
            .count() as u64;
        assert_eq!(before, 28);
        let tally = Tally {
            dataset: "lsht".to_string(),
            duplicates: 2,
            characters: vec![30, 31],
        };
        assert_eq!(bench.tallies(), [tally]);
    }

    #[test]
    fn an_empty_id_is_none() {
        let mut bench = Longbench::default();
        let ids = ["a", "b"].map(|context| {
            let json = format!("{{\"_id\":\"\",\"context\":\"{context}\"}}");
            line(&mut bench, &json, "lcc").expect("no duplicate")["session_id"].clone()
        });
        assert_eq!(ids, ["lcc-1", "lcc-2"]);
    }

    #[test]
    fn a_record_that_is_not_of_longbench_is_refused() {
        for (json, file, wanted) in [
            (
                r#"{"dataset":"imagenet","context":"c"}"#,
                "x",
                "dataset imagenet: LongBench has none of that name",
            ),
            (
                r#"{"context":"c"}"#,
                "x",
                "it has neither dataset (v1) nor question and choice_A (v2)",
            ),
            (r#"{"input":"c"}"#, "lcc", "it has no context"),
            (
                r#"{"question":"q","choice_A":"a","context":"c"}"#,
                "x",
                "it lacks one of question and choice_A to choice_D",
            ),
            ("[]", "lcc", "an array; want an object"),
            (
                "{",
                "lcc",
                "not JSON at column 1: EOF while parsing an object",
            ),
        ] {
            assert_eq!(why(json, file), wanted);
        }
    }
}
