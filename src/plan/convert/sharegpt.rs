//! ShareGPT and its variants: conversations with any number of turns.

use serde_json::value::RawValue;

use super::{Problem, Raw, Texts};
use crate::plan::dataset::beside::Beside;
use crate::plan::dataset::message::messages;
use crate::plan::dataset::session_id;
use crate::plan::dataset::text::Text;
use crate::plan::json;
use crate::plan::{Role, escape};

/// Turns entries into lines, and counts dropped entries.
#[derive(Debug)]
pub struct Sharegpt {
    min_turns: u64,
    /// Most user turns; `None` for all.
    max_turns: Option<u64>,
    texts: Texts,
    pub counts: Counts,
}

/// Figures of the written entries, and counts of the dropped ones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// User turns of each written conversation.
    pub turns: Vec<u64>,
    /// Characters in the texts of each written conversation.
    pub characters: Vec<u64>,
    /// Conversations dropped for having no user text.
    pub without_user: u64,
    /// Conversations dropped for having too few user turns.
    pub too_short: u64,
    /// Conversations dropped for tool calls, their results, tools or images, which texts cannot represent.
    pub with_more: u64,
    /// Conversations dropped because one with the same texts came before.
    pub duplicates: u64,
    /// Conversations written with fewer turns than they had.
    pub cut: u64,
}

const KEYS: [&str; 5] = [
    "id",
    "session_id",
    "conversations",
    "conversation",
    "messages",
];

struct Message {
    from: &'static str,
    value: String,
}

impl Sharegpt {
    /// Keeps conversations of at least `min_turns` user turns, and of each the first `max_turns` with their answers.
    pub fn new(min_turns: u64, max_turns: Option<u64>) -> Sharegpt {
        Sharegpt {
            min_turns,
            max_turns,
            texts: Texts::default(),
            counts: Counts::default(),
        }
    }

    /// Returns the line for an entry, without a line break; `None` if it is dropped.
    ///
    /// # Errors
    /// Fails on an entry without a list of messages, and on a message that cannot be read.
    pub fn line(&mut self, raw: Raw<'_>) -> Result<Option<String>, Problem> {
        let problem = |why| raw.problem(why);
        let values = raw.object(|json| json::values(json, KEYS))?;
        let [id, other_id, conversations, conversation, messages] = values;
        let id = id.or(other_id);
        if let Some(Err(why)) = id.map(session_id) {
            return Err(problem(format!("id: {why}")));
        }
        let listed = conversations.or(conversation).or(messages);
        let listed = listed.map(RawValue::get).ok_or_else(|| {
            problem("it has none of conversations, conversation and messages".to_string())
        })?;
        if !listed.starts_with('[') {
            let found = json::kind(listed);
            return Err(problem(format!("conversations: {found}, not an array")));
        }
        let beside = raw.object(Beside::of)?;
        let talk = joined(listed, beside.system).map_err(problem)?;
        let Some(mut messages) = talk.filter(|_| !beside.is_more()) else {
            self.counts.with_more += 1;
            return Ok(None);
        };
        let turns = user_turns(&messages);
        if turns == 0 {
            self.counts.without_user += 1;
            return Ok(None);
        }
        if turns < self.min_turns {
            self.counts.too_short += 1;
            return Ok(None);
        }
        let most = self.max_turns.filter(|&most| most < turns);
        if let Some(most) = most {
            cut(&mut messages, most);
        }
        let characters = messages.iter();
        let characters = characters.map(|message| message.value.chars().count() as u64);
        let (kept, characters) = (user_turns(&messages), characters.sum());
        let messages = messages.iter().map(|Message { from, value }| {
            let value = escape(value);
            format!(r#"{{"from":"{from}","value":"{value}"}}"#)
        });
        let messages = messages.collect::<Vec<_>>().join(",");
        if !self.texts.is_new(&messages) {
            self.counts.duplicates += 1;
            return Ok(None);
        }
        self.counts.cut += u64::from(most.is_some());
        self.counts.turns.push(kept);
        self.counts.characters.push(characters);
        let id = id.map_or(String::new(), |id| format!("\"session_id\":{id},"));
        Ok(Some(format!("{{{id}\"conversations\":[{messages}]}}")))
    }
}

/// Returns the messages that have text, after the system message beside them. Adjacent messages of one speaker are
/// joined with a blank line. `None`: one of them is more than a text.
fn joined(json: &str, system: Option<&RawValue>) -> Result<Option<Vec<Message>>, String> {
    let mut joined: Vec<Message> = Vec::new();
    let mut add = |from, text: Text<'_>| {
        if text.is_blank() {
            return;
        }
        let value = text.decoded();
        match joined.last_mut().filter(|last| last.from == from) {
            Some(last) => last.value.extend(["\n\n", &value]),
            None => joined.push(Message {
                from,
                value: value.into_owned(),
            }),
        }
    };
    if let Some(system) = system {
        add(
            "system",
            Text::parse(system).map_err(|why| format!("system: {why}"))?,
        );
    }
    for message in messages(json)? {
        let message = message?;
        let from = match message.role.filter(|_| message.more.is_none()) {
            None => return Ok(None),
            Some(Role::System) => "system",
            Some(Role::Developer) => "developer",
            Some(Role::User) => "human",
            Some(Role::Assistant) => "gpt",
        };
        match message.text {
            // An answer without content is skipped.
            Err(_) if from == "gpt" => {}
            text => add(from, text?),
        }
    }
    Ok(Some(joined))
}

fn user_turns(messages: &[Message]) -> u64 {
    let turns = messages.iter().filter(|message| message.from == "human");
    turns.count() as u64
}

/// Keeps the first `most` user turns and what follows each.
fn cut(messages: &mut Vec<Message>, most: u64) {
    let mut turns = 0;
    messages.retain(|message| {
        turns += u64::from(message.from == "human");
        turns <= most
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sharegpt: &mut Sharegpt, json: &str) -> Option<String> {
        sharegpt
            .line(Raw {
                line: 1,
                at: 0,
                json,
            })
            .expect(json)
    }

    const THREE: &str = r#"{"id":"x_1","conversations":[{"from":"system","value":"s"},{"from":"human","value":"a"},
        {"from":"human","value":"\u00e9"},{"from":"gpt","value":"b"},{"from":"user","value":"c"},
        {"from":"chatgpt","value":" "},{"from":"human","value":"d"},{"from":"gpt","value":"e"},{"from":"human","value":"f"}]}"#;

    #[test]
    fn messages_of_one_speaker_in_a_row_become_one() {
        let mut sharegpt = Sharegpt::new(1, None);
        // The blank answer is skipped, so c and d are adjacent.
        assert_eq!(
            line(&mut sharegpt, THREE).expect("kept"),
            r#"{"session_id":"x_1","conversations":[{"from":"system","value":"s"},{"from":"human","value":"a\n\né"},{"from":"gpt","value":"b"},{"from":"human","value":"c\n\nd"},{"from":"gpt","value":"e"},{"from":"human","value":"f"}]}"#
        );
        // s, a, two line breaks, é, b, c, two line breaks, d, e, f: 12.
        assert_eq!(
            (sharegpt.counts.turns, sharegpt.counts.characters),
            (vec![3], vec![12])
        );
    }

    #[test]
    fn a_conversation_is_cut_after_the_answer_to_its_last_turn() {
        let mut sharegpt = Sharegpt::new(1, Some(2));
        let cut = line(&mut sharegpt, THREE).expect("kept");
        assert!(
            cut.ends_with(r#"{"from":"human","value":"c\n\nd"},{"from":"gpt","value":"e"}]}"#),
            "{cut}"
        );
        assert_eq!((sharegpt.counts.turns, sharegpt.counts.cut), (vec![2], 1));
    }

    #[test]
    fn conversations_too_short_or_without_a_user_are_dropped_and_counted() {
        let mut sharegpt = Sharegpt::new(2, None);
        for (json, kept) in [
            (r#"{"conversations":[]}"#, false),
            (
                r#"{"conversations":[{"from":"gpt","value":"a"},{"from":"human","value":""}]}"#,
                false,
            ),
            (
                r#"{"conversation":[{"role":"user","content":"a"},{"role":"assistant","content":null}]}"#,
                false,
            ),
            (
                r#"{"id":5,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#,
                true,
            ),
        ] {
            assert_eq!(line(&mut sharegpt, json).is_some(), kept, "{json}");
        }
        let wanted = Counts {
            turns: vec![2],
            characters: vec![3],
            without_user: 2,
            too_short: 1,
            with_more: 0,
            duplicates: 0,
            cut: 0,
        };
        assert_eq!(sharegpt.counts, wanted);
    }

    #[test]
    fn a_talk_that_came_before_is_dropped_and_counted() {
        let mut sharegpt = Sharegpt::new(1, Some(1));
        let talk = |id: &str, question: &str, last: &str| {
            format!(
                r#"{{"id":"{id}","conversations":[{{"from":"human","value":"{question}"}},
                    {{"from":"gpt","value":"b"}},{{"from":"human","value":"{last}"}}]}}"#
            )
        };
        // Another id does not make it another talk; nor does a turn that is cut.
        for (json, kept) in [
            (talk("1", "a", "c"), true),
            (talk("2", "a", "c"), false),
            (talk("3", "a", "d"), false),
            (talk("1", "other", "c"), true),
        ] {
            assert_eq!(line(&mut sharegpt, &json).is_some(), kept, "{json}");
        }
        let counts = &sharegpt.counts;
        assert_eq!(
            (counts.duplicates, counts.cut, counts.turns.len()),
            (2, 2, 2)
        );
    }

    #[test]
    fn a_talk_that_is_more_than_texts_is_dropped_and_counted() {
        let mut sharegpt = Sharegpt::new(1, None);
        let human = r#"{"from":"human","value":"run it"}"#;
        for talk in [
            format!(r#""conversations":[{human},{{"from":"function_call","value":"x"}},{{"from":"observation","value":"a b"}}]"#),
            format!(r#""conversations":[{human},{{"from":"tool","value":"x"}}]"#),
            format!(r#""tools":"[{{}}]","conversations":[{human}]"#),
            format!(r#""images":["x.png"],"conversations":[{human}]"#),
            r#""messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{}]}]"#.to_string(),
            r#""messages":[{"role":"user","content":[{"type":"image_url"}]}]"#.to_string(),
        ] {
            assert_eq!(line(&mut sharegpt, &format!("{{{talk}}}")), None, "{talk}");
        }
        assert_eq!(sharegpt.counts.with_more, 6);
        let system = format!(r#"{{"system":"s","tools":"","conversations":[{human}]}}"#);
        assert_eq!(
            line(&mut sharegpt, &system).expect("kept"),
            format!(r#"{{"conversations":[{{"from":"system","value":"s"}},{human}]}}"#)
        );
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_refused() {
        for (json, wanted) in [
            (
                r#"{"id":"a"}"#,
                "it has none of conversations, conversation and messages",
            ),
            (
                r#"{"conversations":"a"}"#,
                "conversations: a text, not an array",
            ),
            (r#"{"id":[],"conversations":[]}"#, "id: an array, not text"),
            (
                r#"{"id":"\ud800","conversations":[{"from":"human","value":"a"}]}"#,
                "id: text with half a surrogate pair (\\ud800 to \\udfff)",
            ),
            (
                r#"{"conversations":[{"from":"narrator","value":"a"}]}"#,
                "message 1: role \"narrator\" is unknown; want system, user, assistant or tool",
            ),
            ("[]", "an array; want an object"),
        ] {
            let problem = Sharegpt::new(1, None)
                .line(Raw {
                    line: 3,
                    at: 0,
                    json,
                })
                .expect_err(json);
            assert_eq!((problem.line, problem.why.as_str()), (3, wanted));
        }
    }
}
