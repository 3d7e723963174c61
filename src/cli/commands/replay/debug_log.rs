//! `--debug`: a log of one line a request, with every message that was sent.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::client::Target;
use crate::client::body::messages_json;
use crate::plan::dialogue::Dialogue;
use crate::sample::Sample;

/// The log of a round.
pub struct DebugLog {
    file: File,
    target: Arc<Target>,
    dialogues: Vec<Arc<Dialogue>>,
}

impl DebugLog {
    /// Creates a file that only its owner can read, also if it existed before.
    pub fn create(
        path: &Path,
        target: Arc<Target>,
        dialogues: Vec<Arc<Dialogue>>,
    ) -> io::Result<DebugLog> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(DebugLog {
            file,
            target,
            dialogues,
        })
    }

    /// Writes the line of a request.
    ///
    /// # Errors
    /// Fails with the reason why the line cannot be written.
    pub fn write(&mut self, sample: &Sample) -> Result<(), String> {
        let mut line = self.target.link.secrets.redact_page(self.line(sample));
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| format!("debug log: {error}"))
    }

    fn line(&self, sample: &Sample) -> String {
        let labels = &sample.labels;
        let (session, turn) = (labels.session.unwrap_or(0), labels.turn.unwrap_or(0));
        let Some(dialogue) = self.dialogues.get(session as usize) else {
            return String::new();
        };
        let said = dialogue.sent(turn).zip(dialogue.messages(turn));
        let request = match (said, dialogue.body()) {
            (Some((sent, messages)), _) => format!(
                r#""context_tokens":{},"truncated_pairs":{},"messages":{}"#,
                sent.context_tokens,
                sent.dropped_pairs,
                messages_json(dialogue.nonce(), &messages)
            ),
            // Line breaks in JSON stand only between values.
            (None, Some(body)) => format!(r#""body":{}"#, body.replace(['\n', '\r'], " ")),
            (None, None) => String::new(),
        };
        let failure = sample.failure.as_ref();
        let failure = failure.map(|failure| failure.reason.as_str());
        format!(
            r#"{{"session_id":"{}","turn_index":{turn},"concurrency":{},"round":{},"request_id":"{}-{}","success":{},"error":{},{request}}}"#,
            dialogue.id,
            labels.concurrency.unwrap_or(0),
            labels.round.unwrap_or(0),
            self.target.run_id,
            sample.id,
            sample.is_success(),
            Value::from(failure),
        )
    }
}
