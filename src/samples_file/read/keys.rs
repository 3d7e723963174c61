//! Makes samples, vitals and counted tokens from the keys of a line.

use super::line::{Keys, Parsed};
use crate::sample::{FailKind, Failure, Labels, Phase, Sample, Side, TokenSource, Workload};
use crate::vitals::Vitals;

impl Keys<'_> {
    pub fn sample(&mut self) -> Parsed<Sample> {
        let kind = self.named("error_kind", &FailKind::NAMES)?;
        let reason = self.text("error").unwrap_or_default();
        let phase = self.named("phase", &Phase::NAMES)?;
        let status = self.count("status")?;
        let token_events = self.tokens("token_events")?.unwrap_or(0);
        let unread = self.count("unread_events")?;
        let first_unread = self.text("unread_event").unwrap_or_default();
        Ok(Sample {
            id: self.must("id")?,
            labels: self.labels()?,
            phase: phase.ok_or("phase is missing")?,
            failure: kind.map(|kind| Failure::new(kind, reason)),
            status: status.and_then(|status| u16::try_from(status).ok()),
            t_due_ns: self.count("t_due_ns")?,
            t_send_ns: self.must("t_send_ns")?,
            t_headers_ns: self.count("t_headers_ns")?,
            t_event_ns: self.count("t_event_ns")?,
            t_first_ns: self.count("t_first_ns")?,
            t_answer_ns: self.count("t_answer_ns")?,
            t_last_ns: self.count("t_last_ns")?,
            t_end_ns: self.must("t_end_ns")?,
            connect_ns: self.count("connect_ns")?,
            reused: self.is_true("reused"),
            resent: self.is_true("resent"),
            t_first_send_ns: self.count("t_first_send_ns")?,
            prompt_tokens: self.tokens("prompt_tokens")?,
            cached_tokens: self.tokens("cached_tokens")?,
            completion_tokens: self.tokens("completion_tokens")?,
            reasoning_tokens: self.tokens("reasoning_tokens")?,
            token_source: self.named("token_source", &TokenSource::NAMES)?,
            streamed_tokens: self.tokens("streamed_tokens")?,
            token_events,
            // Without the key, each event counts as the first of a read.
            token_reads: self.tokens("token_reads")?.unwrap_or(token_events),
            unread: unread.map(|count| (count, first_unread.to_string())),
            gaps_us: self.take_counts("gaps_us"),
            finish_reason: self.text("finish_reason").map(str::to_string),
            prompt_bytes: self.count("prompt_bytes")?.unwrap_or(0),
            response_cached: self.claim("response_cached"),
            text_bytes: self.count("text_bytes")?.unwrap_or(0),
            answer: None,
            text: None,
        })
    }

    fn labels(&self) -> Parsed<Labels> {
        Ok(Labels {
            session: self.count("session")?,
            turn: self.count("turn")?,
            round: self.count("round")?,
            concurrency: self.count("concurrency")?,
            context: self.count("context")?,
            question: self.count("question")?,
            rotation: self.count("rotation")?,
            workload: self.named("workload", &Workload::NAMES)?,
            rate_per_s: self.number("rate_per_s"),
            side: self.named("side", &Side::NAMES)?,
            repeat: self.claim("repeat"),
            wanted_prompt_tokens: self.count("wanted_prompt_tokens")?,
            wanted_output_tokens: self.count("wanted_output_tokens")?,
            is_control: self.text("phase") == Some(Phase::Control.name()),
        })
    }

    pub fn vitals(&mut self) -> Parsed<Vitals> {
        Ok(Vitals {
            t_start_ns: self.must("t_start_ns")?,
            t_end_ns: self.must("t_end_ns")?,
            t_first_probe_ns: self.must("t_first_probe_ns")?,
            lags_us: self.take_counts("lags_us"),
            cpu_ms: self.count("cpu_ms")?,
            cores_allowed: self.number("cores_allowed"),
            periods: self.count("periods")?,
            throttled_periods: self.count("throttled_periods")?,
            steal_share: self.number("steal_share"),
            open_files: self.count("open_files")?,
            open_files_limit: self.count("open_files_limit")?,
        })
    }

    /// Returns the id of a sample, its output tokens and their source.
    pub fn counted(&self) -> Parsed<(u64, u64, TokenSource)> {
        let tokens = self.tokens("completion_tokens")?;
        let source = self.named("token_source", &TokenSource::NAMES)?;
        let counted = tokens.zip(source);
        let (tokens, source) = counted.ok_or("completion_tokens or token_source is missing")?;
        Ok((self.must("id")?, tokens, source))
    }
}
