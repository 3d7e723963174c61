//! LongBench's tasks: how context and input become one prompt. In our own words; what is asked is LongBench's.

/// One task of LongBench v1.
#[derive(Debug)]
pub struct Task {
    pub name: &'static str,
    /// LongBench-E has it too, in a file `NAME_e.jsonl`.
    pub has_e: bool,
    before: &'static str,
    /// Between context and input; left out, like the input, where a record has none.
    between: &'static str,
    after: &'static str,
}

/// LongBench v2, which is one dataset.
pub const V2: &str = "longbench-v2";

const PASSAGES: &str = "Below are several passages, and then a question about them.\n\nPassages:\n";
const QUESTION: &str = "\n\nQuestion: ";
const SHORT_ANSWER: &str = "\nGive the answer alone, without any explanation.\nAnswer:";
const CODE: &str = "Continue this code with its next line.\n\n";
const NEXT_LINE: &str = "\nThe next line is:\n";

const fn task(name: &'static str, has_e: bool, parts: [&'static str; 3]) -> Task {
    Task {
        name,
        has_e,
        before: parts[0],
        between: parts[1],
        after: parts[2],
    }
}

/// All of v1, in LongBench's order.
pub const TASKS: [Task; 21] = [
    task(
        "narrativeqa",
        false,
        [
            "Below is a story, a novel or a film script, and then a question about it.\n\nStory:\n",
            QUESTION,
            SHORT_ANSWER,
        ],
    ),
    task(
        "qasper",
        true,
        [
            "Below is a scientific article, and then a question about it.\n\nArticle:\n",
            QUESTION,
            "\nAnswer in a phrase or a sentence; with yes or no where that is asked; with \"unanswerable\" where the \
         article does not say.\nAnswer:",
        ],
    ),
    task(
        "multifieldqa_en",
        true,
        [
            "Below is a text, and then a question about it.\n\nText:\n",
            QUESTION,
            SHORT_ANSWER,
        ],
    ),
    task(
        "multifieldqa_zh",
        false,
        [
            "下面是一段文字和一个相关的问题。\n\n文字：\n",
            "\n\n问题：",
            "\n请用中文简短作答，只写答案。\n答案：",
        ],
    ),
    task("hotpotqa", true, [PASSAGES, QUESTION, SHORT_ANSWER]),
    task("2wikimqa", true, [PASSAGES, QUESTION, SHORT_ANSWER]),
    task("musique", false, [PASSAGES, QUESTION, SHORT_ANSWER]),
    task(
        "dureader",
        false,
        [
            "下面是若干篇文章和一个相关的问题。\n\n文章：\n",
            "\n\n问题：",
            "\n请根据以上文章作答。\n答案：",
        ],
    ),
    task(
        "gov_report",
        true,
        [
            "Below is a report by a government agency.\n\nReport:\n",
            "\n\n",
            "\n\nSummarize the report on one page.\nSummary:",
        ],
    ),
    task(
        "qmsum",
        false,
        [
            "Below is the transcript of a meeting, and then a request about it.\n\nTranscript:\n",
            "\n\nRequest: ",
            "\nAnswer it in one or a few sentences.\nAnswer:",
        ],
    ),
    task(
        "multi_news",
        true,
        [
            "Below are several news articles on one subject.\n\nArticles:\n",
            "\n\n",
            "\n\nSummarize all of them together on one page.\nSummary:",
        ],
    ),
    task(
        "vcsum",
        false,
        [
            "下面是一份会议记录。\n\n会议记录：\n",
            "\n\n",
            "\n\n请写一段话总结这次会议。\n总结：",
        ],
    ),
    task(
        "trec",
        true,
        [
            "Say of what type the last question is. The questions before it are examples with their types.\n\n",
            "\n",
            "",
        ],
    ),
    task(
        "triviaqa",
        true,
        [
            "Answer the last question from its passage, with the answer alone. What stands before it are examples.\n\n",
            "\n\n",
            "",
        ],
    ),
    task(
        "samsum",
        true,
        [
            "Summarize the last dialogue in a few short sentences. What stands before it are examples.\n\n",
            "\n\n",
            "",
        ],
    ),
    task(
        "lsht",
        false,
        [
            "请写出最后一条新闻的类别，前面的新闻及其类别是示例。\n\n",
            "\n",
            "",
        ],
    ),
    task(
        "passage_count",
        true,
        [
            "Below are paragraphs from Wikipedia, some of them more than once.\n\n",
            "\n\n",
            "\n\nHow many different paragraphs are there? Answer with the number alone.\nAnswer: ",
        ],
    ),
    task(
        "passage_retrieval_en",
        true,
        [
            "Below are numbered paragraphs from Wikipedia, and then a summary of one of them.\n\n",
            "\n\nSummary:\n",
            "\n\nWhich paragraph does it summarize? Answer in the form \"Paragraph 1\".\nAnswer: ",
        ],
    ),
    task(
        "passage_retrieval_zh",
        false,
        [
            "下面是若干编号的段落，以及其中一段的摘要。\n\n",
            "\n\n摘要：\n",
            "\n\n这是哪一段的摘要？请以“段落1”的格式作答。\n答案：",
        ],
    ),
    task("lcc", true, [CODE, "", NEXT_LINE]),
    task("repobench-p", true, [CODE, "", NEXT_LINE]),
];

impl Task {
    /// Finds a task by its name, or by its name in LongBench-E.
    pub fn find(name: &str) -> Option<&'static Task> {
        TASKS.iter().find(|task| {
            let rest = name.strip_prefix(task.name);
            rest == Some("") || rest == Some("_e") && task.has_e
        })
    }

    pub fn prompt(&self, context: &str, input: &str) -> String {
        let between = if input.is_empty() { "" } else { self.between };
        [self.before, context, between, input, self.after].concat()
    }
}

/// Every name that `--dataset` takes.
pub fn names() -> impl Iterator<Item = String> {
    let plain = TASKS.iter().map(|task| task.name.to_string());
    let e = TASKS.iter().filter(|task| task.has_e);
    let e = e.map(|task| format!("{}_e", task.name));
    plain.chain(e).chain([V2.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_puts_the_context_before_the_input() {
        let guide = "narrativeqa qasper multifieldqa_en multifieldqa_zh hotpotqa 2wikimqa musique dureader gov_report \
            qmsum multi_news vcsum trec triviaqa samsum lsht passage_count passage_retrieval_en passage_retrieval_zh \
            lcc repobench-p";
        assert_eq!(guide.split(' ').count(), 21);
        for name in guide.split(' ') {
            let text = Task::find(name)
                .expect(name)
                .prompt("<the context>", "<the input>");
            let context = text.find("<the context>").expect(name);
            let input = text.find("<the input>").expect(name);
            assert!(context < input, "{name}: {text}");
            assert!(context > 0, "{name}: it says what is to be done");
            let without = Task::find(name).expect(name).prompt("<the context>", "");
            assert!(
                without.len() < text.len() && without.contains("<the context>"),
                "{name}"
            );
        }
    }

    #[test]
    fn each_kind_of_task_asks_in_its_own_way() {
        for (name, wanted) in [
            (
                "hotpotqa",
                "Passages:\nC\n\nQuestion: I\nGive the answer alone",
            ),
            ("gov_report", "Report:\nC\n\nI\n\nSummarize the report"),
            ("trec", "with their types.\n\nC\nI"),
            (
                "passage_retrieval_en",
                "of them.\n\nC\n\nSummary:\nI\n\nWhich paragraph",
            ),
            ("repobench-p", "next line.\n\nCI\nThe next line is:\n"),
        ] {
            let text = Task::find(name).expect(name).prompt("C", "I");
            assert!(text.contains(wanted), "{name}: {text}");
        }
        let summary = Task::find("gov_report").expect("known").prompt("C", "");
        assert!(summary.ends_with("Report:\nC\n\nSummarize the report on one page.\nSummary:"));
    }

    #[test]
    fn names_are_those_of_both_versions() {
        // 21 of v1, 13 of them in LongBench-E, and v2.
        assert_eq!(names().count(), 35);
        assert_eq!(Task::find("qasper_e").map(|task| task.name), Some("qasper"));
        assert!(Task::find("musique_e").is_none() && Task::find("qasper_f").is_none());
    }
}
