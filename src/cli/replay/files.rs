//! What `replay` leaves behind: the folder of results, the samples, the debug logs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::options::Options;
use crate::client::body::messages_json;
use crate::client::endpoint::ApiKey;
use crate::collect::replace;
use crate::error::{Error, Result};
use crate::plan::dialogue::Dialogue;
use crate::sample::Sample;
use crate::samples_file::Writer;

/// The folders, found to be writable.
pub struct Files {
    dir: PathBuf,
    debug_dir: Option<PathBuf>,
    keep_gaps: bool,
}

impl Files {
    /// Makes the folders and tries them.
    ///
    /// # Errors
    /// When one of them cannot be made or written.
    pub fn open(options: &Options) -> Result<Files> {
        let files = Files {
            dir: options.output_dir.clone(),
            debug_dir: options.debug_dir.clone(),
            keep_gaps: options.keep_gaps,
        };
        let flags = [
            ("--output-dir", Some(&files.dir)),
            ("--debug-log-dir", files.debug_dir.as_ref()),
        ];
        for (flag, dir) in flags {
            let Some(dir) = dir else { continue };
            let beside = dir.join(".tmesh-cli.part");
            let tried = fs::create_dir_all(dir)
                .and_then(|()| File::create(&beside))
                .and_then(|_| fs::remove_file(&beside));
            tried.map_err(|e| Error::input(format!("{flag} {}", dir.display()), e))?;
        }
        if files.dir.join("metrics_summary.csv").exists() {
            let dir = files.dir.display();
            eprintln!(
                "note: {dir} has results of an earlier run: files of the same name are replaced, others stay"
            );
        }
        Ok(files)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts `samples.jsonl`.
    pub fn samples(&self, about: &Value) -> Result<Writer> {
        let path = self.dir.join("samples.jsonl");
        let what = format!("--output-dir {}", path.display());
        Writer::create(&path.to_string_lossy(), about, self.keep_gaps)
            .map_err(|e| Error::input(what, e))
    }

    /// Writes a result file whole; why it could not be.
    pub fn write(&self, name: &str, text: &str) -> Option<String> {
        let path = self.dir.join(name);
        let written = replace(&path.to_string_lossy(), text.as_bytes());
        written.err().map(|e| format!("{}: {e}", path.display()))
    }

    /// Starts the debug log of a round, if there is one.
    ///
    /// # Errors
    /// Why it cannot be written, its name first.
    pub fn debug(&self, log: DebugLog) -> std::result::Result<Option<DebugWriter>, String> {
        let Some(dir) = &self.debug_dir else {
            return Ok(None);
        };
        let path = dir.join(format!("{}.jsonl", log.name));
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
    pub key: Option<ApiKey>,
    pub dialogues: Vec<Arc<Dialogue>>,
}

pub struct DebugWriter {
    file: File,
    log: DebugLog,
}

impl DebugWriter {
    /// A line for the request of this sample.
    pub fn write(&mut self, sample: &Sample) -> io::Result<()> {
        let mut line = self.log.line(sample);
        if let Some(key) = &self.log.key {
            line = key.redact(&line);
        }
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
