//! LongBench's tasks: how context and input become one prompt. The wording is ours, the questions are LongBench's.

/// The name of LongBench v2, which is one dataset.
pub const V2: &str = "longbench-v2";

/// The tasks of v1 in LongBench's order: their names, then their prompt. Names that end in `_e` belong to LongBench-E.
const TASKS: [&str; 18] = [
    "narrativeqa: Below is a story, a novel or a film script, and then a question about it.\n\n\
     Story:\n{context}\n\nQuestion: {input}\nGive the answer alone, without any explanation.\nAnswer:",
    "qasper qasper_e: Below is a scientific article, and then a question about it.\n\n\
     Article:\n{context}\n\nQuestion: {input}\
     \nAnswer in a phrase or a sentence; with yes or no where that is asked; with \"unanswerable\" where the article \
     does not say.\nAnswer:",
    "multifieldqa_en multifieldqa_en_e: Below is a text, and then a question about it.\n\n\
     Text:\n{context}\n\nQuestion: {input}\nGive the answer alone, without any explanation.\nAnswer:",
    "multifieldqa_zh: 下面是一段文字和一个相关的问题。\n\n\
     文字：\n{context}\n\n问题：{input}\n请用中文简短作答，只写答案。\n答案：",
    "hotpotqa hotpotqa_e 2wikimqa 2wikimqa_e musique: Below are several passages, and then a question about them.\n\n\
     Passages:\n{context}\n\nQuestion: {input}\nGive the answer alone, without any explanation.\nAnswer:",
    "dureader: 下面是若干篇文章和一个相关的问题。\n\n文章：\n{context}\n\n问题：{input}\n请根据以上文章作答。\n答案：",
    "gov_report gov_report_e: Below is a report by a government agency.\n\n\
     Report:\n{context}\n\n{input}\n\nSummarize the report on one page.\nSummary:",
    "qmsum: Below is the transcript of a meeting, and then a request about it.\n\n\
     Transcript:\n{context}\n\nRequest: {input}\nAnswer it in one or a few sentences.\nAnswer:",
    "multi_news multi_news_e: Below are several news articles on one subject.\n\n\
     Articles:\n{context}\n\n{input}\n\nSummarize all of them together on one page.\nSummary:",
    "vcsum: 下面是一份会议记录。\n\n会议记录：\n{context}\n\n{input}\n\n请写一段话总结这次会议。\n总结：",
    "trec trec_e: Say of what type the last question is. The questions before it are examples with their types.\n\n\
     {context}\n{input}",
    "triviaqa triviaqa_e: Answer the last question from its passage, with the answer alone. What stands before it \
     are examples.\n\n\
     {context}\n\n{input}",
    "samsum samsum_e: Summarize the last dialogue in a few short sentences. What stands before it are examples.\n\n\
     {context}\n\n{input}",
    "lsht: 请写出最后一条新闻的类别，前面的新闻及其类别是示例。\n\n{context}\n{input}",
    "passage_count passage_count_e: Below are paragraphs from Wikipedia, some of them more than once.\n\n\
     {context}\n\n{input}\n\nHow many different paragraphs are there? Answer with the number alone.\nAnswer: ",
    "passage_retrieval_en passage_retrieval_en_e: Below are numbered paragraphs from Wikipedia, and then a summary \
     of one of them.\n\n\
     {context}\n\nSummary:\n{input}\
     \n\nWhich paragraph does it summarize? Answer in the form \"Paragraph 1\".\nAnswer: ",
    "passage_retrieval_zh: 下面是若干编号的段落，以及其中一段的摘要。\n\n\
     {context}\n\n摘要：\n{input}\n\n这是哪一段的摘要？请以“段落1”的格式作答。\n答案：",
    "lcc lcc_e repobench-p repobench-p_e: Continue this code with its next line.\n\n\
     {context}{input}\nThe next line is:\n",
];

/// One task of LongBench v1.
#[derive(Debug)]
pub struct Task {
    before: &'static str,
    /// The text between context and input; left out, with the input, for records without one.
    between: &'static str,
    after: &'static str,
}

impl Task {
    /// Finds a task by one of its names.
    pub fn find(name: &str) -> Option<Task> {
        let mut rows = TASKS.iter().filter_map(|row| row.split_once(": "));
        let (_, prompt) = rows.find(|(names, _)| names.split(' ').any(|known| known == name))?;
        let (before, rest) = prompt.split_once("{context}")?;
        let (between, after) = rest.split_once("{input}")?;
        Some(Task {
            before,
            between,
            after,
        })
    }

    pub fn prompt(&self, context: &str, input: &str) -> String {
        let between = if input.is_empty() { "" } else { self.between };
        [self.before, context, between, input, self.after].concat()
    }
}

/// Returns every name that `--dataset` accepts: those of v1, those of LongBench-E, and v2.
pub fn names() -> impl Iterator<Item = String> {
    let names = || {
        let rows = TASKS.iter().filter_map(|row| row.split_once(": "));
        rows.flat_map(|(names, _)| names.split(' '))
    };
    let plain = names().filter(|name| !name.ends_with("_e"));
    let e = names().filter(|name| name.ends_with("_e"));
    plain.chain(e).chain([V2]).map(str::to_string)
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
        let prompt = |name| Task::find(name).map(|task| task.prompt("C", "I"));
        assert!(prompt("qasper").is_some_and(|text| text.contains("scientific article")));
        assert_eq!(prompt("qasper_e"), prompt("qasper"));
        assert!(Task::find("musique_e").is_none() && Task::find("qasper_f").is_none());
    }
}
