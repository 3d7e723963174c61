//! What `replay` leaves behind: the folder of results, the samples, the debug logs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::options::Options;
use crate::cli::folder::Folder;
use crate::client::body::messages_json;
use crate::client::secret::Secrets;
use crate::error::Result;
use crate::plan::dialogue::Dialogue;
use crate::sample::Sample;

/// The folders, found to be writable.
pub struct Files {
    pub folder: Folder,
    debug: Option<Folder>,
}

impl Files {
    /// Makes the folders and tries them.
    ///
    /// # Errors
    /// When one of them cannot be made or written.
    pub fn open(options: &Options) -> Result<Files> {
        let folder = Folder::open("--output-dir", &options.output_dir)?;
        let debug = options.debug_dir.as_ref();
        let debug = debug.map(|dir| Folder::open("--debug-log-dir", dir));
        folder.note_earlier("metrics_summary.csv");
        Ok(Files {
            folder,
            debug: debug.transpose()?,
        })
    }

    /// Starts the debug log of a round, if there is one.
    ///
    /// # Errors
    /// Why it cannot be written, its name first.
    pub fn debug(&self, log: DebugLog) -> std::result::Result<Option<DebugWriter>, String> {
        let Some(folder) = &self.debug else {
            return Ok(None);
        };
        let path = folder.path(&format!("{}.jsonl", log.name));
        let file = private(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Some(DebugWriter { file, log }))
    }
}

/// A file that only its owner can read, also where it was there before.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let file = file.open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// What the lines of a debug log are made of.
pub struct DebugLog {
    /// Of the file, without its ending.
    pub name: String,
    pub run_id: String,
    pub secrets: Secrets,
    pub dialogues: Vec<Arc<Dialogue>>,
}

pub struct DebugWriter {
    file: File,
    log: DebugLog,
}

impl DebugWriter {
    /// A line for the request of this sample.
    pub fn write(&mut self, sample: &Sample) -> io::Result<()> {
        let mut line = self.log.secrets.redact_page(self.log.line(sample));
        line.push('\n');
        self.file.write_all(line.as_bytes())
    }
}

impl DebugLog {
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
            // In JSON a line break stands between values only.
            (None, Some(body)) => format!(r#""body":{}"#, body.replace(['\n', '\r'], " ")),
            (None, None) => String::new(),
        };
        let failure = sample
            .failure
            .as_ref()
            .map(|failure| failure.reason.as_str());
        format!(
            r#"{{"session_id":"{}","turn_index":{turn},"concurrency":{},"round":{},"request_id":"{}-{}","success":{},"error":{},{request}}}"#,
            dialogue.id,
            labels.concurrency.unwrap_or(0),
            labels.round.unwrap_or(0),
            self.run_id,
            sample.id,
            sample.is_success(),
            Value::from(failure),
        )
    }
}
