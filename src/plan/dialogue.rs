//! A record of a dataset as the turns of one session, which is sent in every round of a level.
//!
//! The first round that sends a turn decides its bytes; later rounds repeat them, including the replies of the first
//! round. With live history every round continues from its own replies.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::dataset::{Content, Record};
use super::turn::{Message, Prompt, Reply, Role, Turn, escape};
use crate::lock::lock;
use crate::sample::Labels;

/// Rules that all dialogues of a level follow.
#[derive(Debug, Clone)]
pub struct Rules {
    pub concurrency: u64,
    /// A line before the first message's text, escaped.
    pub nonce: Option<Arc<str>>,
    /// Whether questions are sent as texts, not as messages; each session then has one question.
    pub as_text: bool,
    pub live_history: bool,
    /// The context limit above which the earliest pairs of question and answer are dropped.
    pub max_context_tokens: Option<u64>,
    /// Tokens per byte until a reply has told the length of its prompt.
    pub tokens_per_byte: f64,
    pub max_tokens: Option<u64>,
}

/// One session of a level.
#[derive(Debug)]
pub struct Dialogue {
    /// The session's number in the level.
    pub number: u64,
    /// The session's id in the dataset, or a made-up one.
    pub name: String,
    /// `name`, escaped.
    pub id: Arc<str>,
    /// The number of its first request within a round.
    pub first_request: u64,
    record: Arc<Record>,
    rules: Arc<Rules>,
    said: Mutex<Said>,
}

/// The parts of the messages of every turn so far.
#[derive(Debug, Default)]
struct Said {
    sent: Vec<Sent>,
    /// The answers to all turns but the last, escaped.
    answers: Vec<Arc<str>>,
}

/// The part of a conversation that one request sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its length, which the server has not told yet: an estimate from bytes, and from the usage of the previous turn
    /// where that came. At least 1, unless the context is empty.
    pub context_tokens: u64,
    /// The number of earliest pairs of question and answer that were left out.
    pub dropped_pairs: u64,
}

impl Dialogue {
    pub fn new(
        number: u64,
        first_request: u64,
        record: Arc<Record>,
        rules: Arc<Rules>,
    ) -> Dialogue {
        let name = match &record.session_id {
            Some(id) => id.clone(),
            None => format!("line-{}", record.line),
        };
        Dialogue {
            number,
            id: escape(&name),
            name,
            first_request,
            record,
            rules,
            said: Mutex::default(),
        }
    }

    /// Returns the number of turns in the dataset; a session that fails sends fewer.
    pub fn turns(&self) -> u64 {
        match &self.record.content {
            Content::Conversation { questions, .. } => questions.len() as u64,
            Content::Request { .. } | Content::Body { .. } => 1,
        }
    }

    /// Returns the question of a turn, unescaped: its last user message.
    pub fn question(&self, turn: u64) -> String {
        match &self.record.content {
            Content::Conversation { questions, .. } => {
                let text = questions.get(turn as usize).map_or("", |text| text);
                serde_json::from_str(&format!("\"{text}\"")).unwrap_or_default()
            }
            Content::Request { prompt, .. } | Content::Body { prompt, .. } => prompt.clone(),
        }
    }

    /// Returns the nonce that precedes the messages of `messages`.
    pub fn nonce(&self) -> Option<&str> {
        self.rules.nonce.as_deref()
    }

    /// Returns what a turn sent last; `None` before it was sent, and for a whole body.
    pub fn sent(&self, turn: u64) -> Option<Sent> {
        lock(&self.said).sent.get(turn as usize).copied()
    }

    /// Returns the messages that a turn sent last; `None` as for `sent`.
    pub fn messages(&self, turn: u64) -> Option<Vec<Message>> {
        let Content::Conversation { opening, questions } = &self.record.content else {
            return None;
        };
        let said = lock(&self.said);
        let sent = said.sent.get(turn as usize)?;
        let (question, asked) = questions[..=turn as usize].split_last()?;
        let mut messages = opening.clone();
        let pairs = asked.iter().zip(&said.answers);
        for (asked, answer) in pairs.skip(sent.dropped_pairs as usize) {
            messages.push(Message::new(Role::User, asked));
            messages.push(Message::new(Role::Assistant, answer));
        }
        messages.push(Message::new(Role::User, question));
        Some(messages)
    }

    /// Returns the record's own part of the body, if it is sent unchanged.
    pub fn body(&self) -> Option<Cow<'_, str>> {
        match &self.record.content {
            Content::Body { json, .. } => Some(Cow::Borrowed(json)),
            Content::Request { members, .. } => Some(format!("{{{members}}}").into()),
            Content::Conversation { .. } => None,
        }
    }

    /// Starts the session's turns in a round, counted from 1, whose requests begin with `first_id`.
    pub fn walk(self: &Arc<Dialogue>, round: u64, first_id: u64) -> Walk {
        Walk {
            dialogue: Arc::clone(self),
            round,
            first_id,
            turn: 0,
            history: History::default(),
        }
    }
}

/// A session on its way through one round.
#[derive(Debug)]
pub struct Walk {
    dialogue: Arc<Dialogue>,
    round: u64,
    first_id: u64,
    /// The next turn.
    turn: u64,
    history: History,
}

impl Walk {
    /// Returns the number of the session in its level.
    pub fn number(&self) -> u64 {
        self.dialogue.number
    }

    /// Returns the ids of the turns that are still to come.
    pub fn ids(&self) -> Range<u64> {
        self.first_id + self.turn..self.first_id + self.dialogue.turns()
    }

    /// Returns the next turn; `reply` answered the previous one.
    ///
    /// A later round ends where the first one ended: turns that the first did not send have no bytes to repeat.
    pub fn next(&mut self, reply: Option<Reply>) -> Option<Turn> {
        let dialogue = Arc::clone(&self.dialogue);
        let turn = self.turn;
        if turn >= dialogue.turns() {
            return None;
        }
        self.turn += 1;
        let rules = &dialogue.rules;
        let prompt = match &dialogue.record.content {
            Content::Body { json, .. } => Prompt::Body(Arc::clone(json)),
            Content::Request { members, .. } => Prompt::Request(Arc::clone(members)),
            Content::Conversation { opening, questions } => {
                if self.round == 1 || rules.live_history {
                    self.decide(&dialogue, reply, opening, &questions[..=turn as usize]);
                }
                Prompt::new(rules.nonce.clone(), dialogue.messages(turn)?, rules.as_text)
            }
        };
        Some(Turn {
            id: self.first_id + turn,
            labels: Labels {
                session: Some(dialogue.number),
                turn: Some(turn),
                round: Some(self.round),
                concurrency: Some(rules.concurrency),
                wanted_output_tokens: match &prompt {
                    Prompt::Body(_) => None,
                    _ => rules.max_tokens,
                },
                ..Labels::default()
            },
            prompt,
            max_tokens: rules.max_tokens,
            session: Some(Arc::clone(&dialogue.id)),
            keeps_reply: turn + 1 < dialogue.turns(),
        })
    }

    /// Decides what the turn of the last question sends; `reply` answered the previous one.
    fn decide(
        &mut self,
        dialogue: &Dialogue,
        reply: Option<Reply>,
        opening: &[Message],
        questions: &[Arc<str>],
    ) {
        let (turn, history) = (questions.len() - 1, &mut self.history);
        let mut said = lock(&dialogue.said);
        said.sent.truncate(turn);
        said.answers.truncate(turn.saturating_sub(1));
        if let Some(reply) = reply {
            history.answered(&reply);
            said.answers.push(reply.text);
        }
        let sent = history.ask(opening, questions, &said.answers, &dialogue.rules);
        said.sent.push(sent);
    }
}

/// The lengths of a session's requests, and what they leave out.
#[derive(Debug, Default)]
struct History {
    /// Tokens of each answer as reported; `None`: not reported.
    answer_tokens: Vec<Option<u64>>,
    dropped_pairs: usize,
    /// Bytes of the texts of the last request.
    sent_bytes: usize,
    /// The length of the last request by the server's count, including its answer; and its tokens per byte.
    counted: Option<(f64, f64)>,
}

impl History {
    fn answered(&mut self, reply: &Reply) {
        let counts = reply.prompt_tokens.zip(reply.completion_tokens);
        self.counted = counts.map(|(prompt_tokens, answer_tokens)| {
            let per_byte = prompt_tokens as f64 / self.sent_bytes.max(1) as f64;
            ((prompt_tokens + answer_tokens) as f64, per_byte)
        });
        self.answer_tokens.push(reply.completion_tokens);
    }

    /// Prepares the last of the questions: the earliest pairs are left out as the limit demands.
    fn ask(
        &mut self,
        opening: &[Message],
        questions: &[Arc<str>],
        answers: &[Arc<str>],
        rules: &Rules,
    ) -> Sent {
        let (question, asked) = questions.split_last().expect("a turn has a question");
        let (counted, per_byte) = self.counted.unzip();
        let per_byte = per_byte.unwrap_or(rules.tokens_per_byte);
        let pair_tokens = |pair: usize| {
            let answer = match self.answer_tokens[pair] {
                Some(tokens) => tokens as f64,
                None => answers[pair].len() as f64 * per_byte,
            };
            asked[pair].len() as f64 * per_byte + answer
        };
        let nonce = rules.nonce.as_ref().map_or(0, |nonce| nonce.len());
        let fixed = nonce + opening.iter().map(|said| said.text.len()).sum::<usize>();
        let mut first = self.dropped_pairs;
        let mut tokens = match counted {
            Some(counted) => counted + question.len() as f64 * per_byte,
            None => {
                let pairs: f64 = (first..asked.len()).map(pair_tokens).sum();
                (fixed + question.len()) as f64 * per_byte + pairs
            }
        };
        let limit = rules.max_context_tokens.unwrap_or(u64::MAX) as f64;
        while tokens > limit && first < asked.len() {
            tokens -= pair_tokens(first);
            first += 1;
        }
        let kept = asked[first..].iter().chain(&answers[first..]);
        self.sent_bytes = fixed + question.len() + kept.map(|text| text.len()).sum::<usize>();
        self.dropped_pairs = first;
        // A text of few bytes is a fraction of a token by the estimate.
        let least = u64::from(self.sent_bytes > 0);
        Sent {
            context_tokens: (tokens.round() as u64).max(least),
            dropped_pairs: first as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            concurrency: 5,
            nonce: None,
            as_text: false,
            live_history: false,
            max_context_tokens: None,
            tokens_per_byte: 0.5,
            max_tokens: Some(9),
        }
    }

    fn dialogue(system: &[&str], questions: &[&str], rules: Rules) -> Arc<Dialogue> {
        let texts =
            |texts: &[&str]| -> Vec<Arc<str>> { texts.iter().map(|&text| text.into()).collect() };
        let record = Record {
            line: 4,
            session_id: None,
            content: Content::Conversation {
                opening: texts(system)
                    .iter()
                    .map(|text| Message::new(Role::System, text))
                    .collect(),
                questions: texts(questions),
            },
            settings: Vec::new(),
        };
        Arc::new(Dialogue::new(2, 30, Arc::new(record), Arc::new(rules)))
    }

    fn reply(text: &str, prompt_tokens: u64, completion_tokens: u64) -> Option<Reply> {
        Some(Reply {
            text: text.into(),
            prompt_tokens: Some(prompt_tokens),
            completion_tokens: Some(completion_tokens),
        })
    }

    /// Returns the texts of a turn, each after the first letter of its role.
    fn texts(turn: &Turn) -> Vec<String> {
        let Prompt::Messages { messages, .. } = &turn.prompt else {
            panic!("{:?} is no chat", turn.prompt);
        };
        let name = |message: &Message| format!("{}:{}", &message.role.name()[..1], message.text);
        messages.iter().map(name).collect()
    }

    #[test]
    fn a_turn_is_system_messages_history_and_the_next_question() {
        let dialogue = dialogue(&["S"], &["one", "two"], rules());
        let mut walk = dialogue.walk(1, 100);
        let first = walk.next(None).expect("a first turn");
        assert_eq!(texts(&first), ["s:S", "u:one"]);
        assert_eq!((first.id, first.keeps_reply), (100, true));
        let second = walk.next(reply("A", 4, 1)).expect("a second");
        assert_eq!(texts(&second), ["s:S", "u:one", "a:A", "u:two"]);
        assert_eq!((second.id, second.keeps_reply), (101, false));
        let labels = &second.labels;
        assert_eq!(
            (
                labels.session,
                labels.turn,
                labels.round,
                labels.concurrency
            ),
            (Some(2), Some(1), Some(1), Some(5))
        );
        assert!(walk.next(reply("B", 9, 1)).is_none());
        assert_eq!(dialogue.question(1), "two");
        assert_eq!(&*dialogue.id, "line-4");
    }

    #[test]
    fn later_rounds_repeat_the_first_ones_bytes_unless_history_is_live() {
        for live_history in [false, true] {
            let rules = Rules {
                live_history,
                ..rules()
            };
            let dialogue = dialogue(&[], &["one", "two"], rules);
            let mut walk = dialogue.walk(1, 0);
            walk.next(None).expect("a first turn");
            walk.next(reply("A", 4, 1)).expect("a second");
            let mut walk = dialogue.walk(2, 2);
            walk.next(None).expect("a first turn");
            let second = walk.next(reply("other", 4, 1)).expect("a second");
            let answer = if live_history { "a:other" } else { "a:A" };
            assert_eq!(texts(&second), ["u:one", answer, "u:two"]);
        }
    }

    #[test]
    fn a_later_round_ends_where_the_first_one_failed() {
        let dialogue = dialogue(&[], &["one", "two"], rules());
        dialogue.walk(1, 0).next(None).expect("its reply fails");
        let mut walk = dialogue.walk(2, 2);
        walk.next(None).expect("the turn that failed is sent again");
        assert!(walk.next(reply("late", 4, 1)).is_none());
    }

    #[test]
    fn the_earliest_pairs_go_when_the_context_is_over_its_limit() {
        let rules = Rules {
            max_context_tokens: Some(20),
            ..rules()
        };
        let dialogue = dialogue(&["ssss"], &["qqqq", "rrrr", "tttt", "uuuu"], rules);
        let mut walk = dialogue.walk(1, 0);
        walk.next(None).expect("8 bytes at 0.5: 4 tokens");
        // 8 tokens for 8 bytes: 1 a byte. 8 + 6 + 4 = 18, below 20.
        let second = walk.next(reply("AAAAAA", 8, 6)).expect("a second");
        assert_eq!(texts(&second), ["s:ssss", "u:qqqq", "a:AAAAAA", "u:rrrr"]);
        // 18 counted for 4 + 4 + 6 + 4 bytes. 18 + 5 + 4 = 27: without the first pair (4 + 6) 17.
        let third = walk.next(reply("BBBBB", 18, 5)).expect("a third");
        assert_eq!(texts(&third), ["s:ssss", "u:rrrr", "a:BBBBB", "u:tttt"]);
        let sent = dialogue.sent(2).expect("it was sent");
        assert_eq!((sent.context_tokens, sent.dropped_pairs), (17, 1));
        // 17 counted, the answer has 30: only system message and question fit, and 17 + 30 + 4 − (4 + 5) − (4 + 30) =
        // 8.
        let fourth = walk.next(reply("C", 17, 30)).expect("a fourth");
        assert_eq!(texts(&fourth), ["s:ssss", "u:uuuu"]);
        let sent = dialogue.sent(3).expect("it was sent");
        assert_eq!((sent.context_tokens, sent.dropped_pairs), (8, 3));
    }

    #[test]
    fn without_a_count_the_estimate_decides() {
        let rules = Rules {
            max_context_tokens: Some(5),
            ..rules()
        };
        let dialogue = dialogue(&[], &["qqqq", "rrrr"], rules);
        let mut walk = dialogue.walk(1, 0);
        walk.next(None).expect("a first turn");
        let uncounted = Reply {
            text: "AAAA".into(),
            prompt_tokens: None,
            completion_tokens: None,
        };
        // 12 bytes at 0.5 are 6 tokens, over 5.
        let second = walk.next(Some(uncounted)).expect("a second");
        assert_eq!(texts(&second), ["u:rrrr"]);
    }

    #[test]
    fn a_short_context_has_a_token_and_an_empty_one_has_none() {
        for (question, wanted) in [("hi", 1), ("", 0)] {
            let rules = Rules {
                tokens_per_byte: 0.2,
                ..rules()
            };
            let dialogue = dialogue(&[], &[question], rules);
            dialogue.walk(1, 0).next(None).expect("a turn");
            let sent = dialogue.sent(0).expect("it was sent");
            assert_eq!(sent.context_tokens, wanted, "{question}");
        }
    }

    #[test]
    fn a_text_has_the_nonce_in_front() {
        let rules = Rules {
            nonce: Some("[n]\\n".into()),
            as_text: true,
            ..rules()
        };
        let turn = dialogue(&[], &["one"], rules)
            .walk(1, 0)
            .next(None)
            .expect("a turn");
        let Prompt::Text(texts) = turn.prompt else {
            panic!("it is no text");
        };
        assert_eq!(texts.concat(), "[n]\\none");
    }
}
