//! `tmesh-cli probe`: finds out from outside what a prefix cache is, and whether the server tells the truth about it.

mod drive;
mod options;
mod tally;
mod texts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::header;

use self::drive::Driver;
use self::options::{Longest, Options};
use self::texts::Texts;
use crate::cli::args::Args;
use crate::cli::connect::{Connection, Opened, Server};
use crate::cli::counters::Counters;
use crate::cli::discover::{Ready, announce, model};
use crate::cli::output::{self, Samples};
use crate::cli::run::Run;
use crate::cli::step::Sending;
use crate::cli::terminal::{print, stdout_screen};
use crate::cli::verdict::{Ending, verdict};
use crate::client::Target;
use crate::client::api::Api;
use crate::client::body::BodyShape;
use crate::client::endpoint::without_secrets;
use crate::client::secret::ApiKey;
use crate::error::{Error, Result};
use crate::experiment::probe::{Probe, Settings};
use crate::report::layout::probe as layout;
use crate::report::text;
use crate::stats::facts::Facts;
use crate::stats::probe::Findings;
use crate::units::rounded;

/// Runs the command and returns the exit code.
pub fn run(args: &Args) -> Result<u8> {
    let server = Server::parse(args, None)?;
    let connection = Connection::parse(args, server)?;
    let options = Options::parse(args, &connection)?;
    output::check(&[
        ("--samples", options.samples.as_deref()),
        ("--output", options.output.as_deref()),
    ])?;
    let opened = connection.open()?;
    if let Some(url) = &options.reset {
        url.warn_unencrypted();
    }
    warn_of_key(&opened, &options);
    announce(&opened)?;
    let model = model(&opened)?;
    let longest = options.longest(&model)?;
    let api = opened.endpoint.api;
    let fallback = api.is_none().then_some(Api::Chat);
    let body = BodyShape::new(api.unwrap_or(Api::Completions), model.id);
    let begun = Instant::now();
    let mut ready = Ready::ask(opened, body, fallback, options.common.clone())?;
    ready.max_model_len = model.max_model_len;
    let asked = begun.elapsed();
    check_streams(&ready)?;
    let counters = Counters::open(&options.page, &[], None, &ready.opened)?;
    print(&specification(&ready, &options, &longest, asked))?;
    let samples = Samples::named(options.samples.as_ref(), true);
    let mut run = Run::begin(&ready, options.header(&longest), &samples)?;
    let texts = Texts {
        writer: ready.writer.clone(),
        lengths: ready.setup.lengths.clone(),
        least_output_tokens: ready.setup.lessons.tokens,
    };
    let probe = Probe::new(&settings(&options, &longest, &ready));
    let reset = options.reset.as_ref();
    let mut driver = Driver::new(probe, texts, &counters, reset, (&ready.opened, &run.stop));
    send(&mut run, &mut driver, options.other_key.as_ref())?;
    let (findings, lines) = driver.finish();
    print(&lines)?;
    end(run, &findings, &options)
}

/// Warns that the other key is sent over plain http; `Connection::open` has warned of the key of all requests.
fn warn_of_key(opened: &Opened, options: &Options) {
    let endpoint = &opened.endpoint;
    let is_alone = options.other_key.is_some() && opened.connection.key.is_none();
    if is_alone && !endpoint.is_https && !endpoint.is_loopback() {
        let shown = endpoint.shown();
        eprintln!(
            "warning: {shown} is plain http: the key of --other-key-file is sent unencrypted"
        );
    }
}

/// Checks that replies are streams: a probe lives on times to the first token.
fn check_streams(ready: &Ready) -> Result<()> {
    match ready.setup.streams {
        Some(false) => {
            let uri = without_secrets(&ready.target.uri.to_string());
            let why = "its replies are not streamed, so they have no time to the first token, which a probe needs";
            Err(Error::input(uri, why))
        }
        _ => Ok(()),
    }
}

fn settings(options: &Options, longest: &Longest, ready: &Ready) -> Settings {
    Settings {
        steps: options.steps.clone(),
        ignores_usage: options.ignores_usage,
        longest_tokens: longest.tokens,
        common_tokens: ready.setup.template_tokens.unwrap_or(0),
        budget_tokens: options.budget_tokens,
        ttl: options.ttl,
    }
}

/// Returns the text before the run: what will be sent at most, and what that does to the server. `asked` is the time
/// that the set-up took.
fn specification(ready: &Ready, options: &Options, longest: &Longest, asked: Duration) -> String {
    let steps: Vec<&str> = options.steps.iter().map(|step| step.name()).collect();
    let Longest { tokens, why } = longest;
    let most = match options.budget_tokens {
        Some(budget) => {
            let rate = ready.setup.prompt_tokens as f64 / asked.as_secs_f64().max(1e-3);
            let time = match budget as f64 / rate {
                _ if ready.setup.prompt_tokens == 0 => String::new(),
                seconds if seconds < 120.0 => format!(", in about {seconds:.0} s"),
                seconds => format!(", in about {:.0} min", seconds / 60.0),
            };
            let pace = match time.is_empty() {
                true => "",
                false => " at the pace of the short prompts of the set-up",
            };
            format!("at most {} prompt tokens (--budget-tokens){time}{pace}", rounded(budget))
        }
        None => "about 5 x the cache's capacity in tokens that the server computes; --budget-tokens limits it".to_string(),
    };
    let text = format!(
        "\nProbe Specifications:\nModel: {}\nSteps: {}\nContexts: up to {tokens} tokens ({why})\nSends: {most}\n",
        ready.target.body.model,
        steps.join(", "),
    );
    let note =
        "NOTE: a probe fills the cache, which evicts what others have cached on this server.\n";
    text + &ready.lines(note)
}

/// Sends what the driver asks for, in passes of one key each.
fn send(run: &mut Run, driver: &mut Driver<'_>, other_key: Option<&ApiKey>) -> Result<()> {
    let own = Arc::clone(&run.target);
    let other = other_key.map(|key| Arc::new(with_key(&own, key)));
    for pass in 1.. {
        run.target = match &other {
            Some(other) if driver.is_other_key => Arc::clone(other),
            _ => Arc::clone(&own),
        };
        let step = driver.pass();
        let sent = run.pass(step, Sending::Closed(Box::new(&mut *driver)))?;
        let why = sent.facts.ended.clone().unwrap_or_default();
        let goes_on = driver.end_pass(&sent.facts.told, &why);
        let facts = Facts {
            concurrency: Some(1),
            round: Some(pass),
            ..sent.facts
        };
        run.end_pass(facts, sent.records);
        if !goes_on {
            break;
        }
    }
    run.target = own;
    Ok(())
}

/// Returns the target with another key. Both keys are secrets of it.
fn with_key(target: &Target, key: &ApiKey) -> Target {
    let mut other = target.clone();
    let link = &mut other.link;
    link.headers
        .insert(header::AUTHORIZATION, key.authorization());
    key.hide_in(&mut link.secrets);
    other
}

/// Prints the report, writes the files, and returns the exit code.
fn end(mut run: Run, findings: &Findings, options: &Options) -> Result<u8> {
    run.log.write(|file| file.write_series("probe", findings));
    run.report.found(findings);
    let document = layout::document(&run.report);
    output::result(&mut run.log, options.output.as_ref(), &document.data);
    print(&format!("\n{}", text::render(&document, stdout_screen())))?;
    if findings.cost.requests == 0
        && !run.stop.is_set()
        && let Some(why) = &findings.stopped
    {
        return Err(Error::missed("nothing was measured", why));
    }
    verdict(&run, ending(findings, options))
}

fn ending(findings: &Findings, options: &Options) -> Ending {
    let lies = findings.steps.iter().filter(|step| step.is_lie);
    let lies = lies.map(|step| format!("{}: {}", step.name, step.answer));
    let mut lies: Vec<String> = lies.collect();
    if lies.is_empty() {
        let wrong = findings.usage.iter().filter(|usage| usage.is_wrong());
        lies.extend(wrong.map(|usage| format!("usage: {}", usage.why)));
    }
    let lies = lies.into_iter().filter(|_| options.fails_on_lies);
    let is_clear = |step: &&str| {
        let mut done = findings.steps.iter();
        done.any(|done| done.name == *step && done.is_clear)
    };
    let mut asked = options.steps.iter().map(|step| step.name());
    Ending {
        missed: lies
            .map(|lie| ("--fail-on-lies".to_string(), lie))
            .collect(),
        is_unclear: findings.stopped.is_some() || !asked.all(|step| is_clear(&step)),
        ..Ending::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::endpoint::Endpoint;
    use crate::client::http::Link;
    use crate::client::wire::Timeouts;
    use crate::units::Epoch;

    #[test]
    fn requests_with_the_other_key_carry_it_and_hide_it() {
        let endpoint = Endpoint::parse("http://localhost:8000").expect("an endpoint");
        let timeouts = Timeouts::all(Duration::from_secs(1));
        let link = Link::bare(Vec::new(), timeouts, Epoch::start());
        let body = BodyShape::new(Api::Completions, "m");
        let own = Target::new(link, &endpoint, body).expect("a target");
        let key = ApiKey::new("sk-telltale-0123456789").expect("a key");
        let other = with_key(&own, &key);
        let sent = &other.link.headers[header::AUTHORIZATION];
        assert_eq!(sent, "Bearer sk-telltale-0123456789");
        let words = other.link.redact("no such key: sk-telltale-0123456789");
        assert_eq!(words, "no such key: ****6789");
        assert!(!own.link.headers.contains_key(header::AUTHORIZATION));
    }
}
