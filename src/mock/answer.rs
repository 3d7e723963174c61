//! One generating request from its body to the last byte of its answer.
//!
//! Order: number and faults, check, response cache, plan, write, settle (response cache, schedule, metrics, truth
//! log), last bytes.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::events::Events;
use super::faults::{Kind, Picked};
use super::generation::{Api, Generation};
use super::http::{ErrorReply, Response};
use super::request::Request;
use super::schedule::Plan;
use super::script::{End, Script};
use super::shared::Shared;
use super::stream::{Stream, Written};
use super::truth::Truth;

/// Answers; returns whether the connection can be used again. Fails if the client has hung up.
pub fn answer(
    shared: &Shared,
    connection: &Arc<TcpStream>,
    api: Api,
    request: Request,
) -> io::Result<bool> {
    let number = shared.next_number();
    let faults = shared.options.faults.pick(number, shared.options.seed);
    let mut truth = Truth {
        id: request.request_id.clone(),
        path: request.path.clone(),
        t_read_ns: request.read_ns,
        fault: faults.name(),
        ..Truth::default()
    };
    let freeze = shared.schedule().arrived(truth.t_read_ns);
    if faults.has(Kind::Refuse) {
        shared.wait_out_freeze();
        shared.truth_log.record(&truth);
        return Ok(false);
    }
    let mut generation = match check(shared, api, &request, &faults) {
        Ok(generation) => generation,
        Err(response) => {
            shared.wait_out_freeze();
            truth.status = Some(response.status);
            shared.truth_log.record(&truth);
            (&**connection).write_all(&response.into_bytes(request.keep_alive))?;
            return Ok(request.keep_alive);
        }
    };
    let (keep_alive, framing) = (request.keep_alive, request.framing);
    drop(request); // Its body may be large, and the answer slow.
    let plan = plan(shared, &mut generation, number, truth.t_read_ns);
    let events = Events::new(&generation, number, &shared.options.model);
    let script = Script::new(generation, plan, faults, events);
    let written = match script.generation.stream {
        true => {
            shared.wait_out_freeze();
            let connection = Arc::clone(connection);
            let stream = Stream::open(script, connection, framing, freeze, keep_alive);
            shared.pacer.pace(stream).into_written()
        }
        false => write_whole(shared, connection, script, keep_alive),
    };
    let (end, last_bytes) = settle(shared, written, truth)?;
    shared.wait_out_freeze();
    (&**connection).write_all(&last_bytes)?;
    if end == End::Stalled {
        connection.set_read_timeout(None)?; // It stays open for as long as the client wants.
        io::copy(&mut &**connection, &mut io::sink())?; // Ends when the client hangs up.
    }
    Ok(keep_alive && matches!(end, End::Whole | End::Failed))
}

/// Waits until the last token is due, or until the client hangs up; all bytes of a reply that is not streamed are its
/// last.
fn write_whole(
    shared: &Shared,
    connection: &TcpStream,
    script: Script,
    keep_alive: bool,
) -> Written {
    if let Err(error) = shared.wait_until(script.plan.last_due_ns(), connection) {
        return Written {
            script,
            written_ns: Vec::new(),
            result: Err(error),
        };
    }
    let body = script.whole();
    let half = body.len() / 2;
    let mut reply = Response::json(200, body).into_bytes(keep_alive);
    let mut written_ns = vec![shared.epoch.now_ns(); script.total()];
    let end = if script.faults.has(Kind::Stall) {
        written_ns.clear();
        reply.clear();
        End::Stalled
    } else if script.faults.has(Kind::Reset) {
        reply.truncate(reply.len() - half);
        End::Cut
    } else {
        End::Whole
    };
    Written {
        script,
        written_ns,
        result: Ok((end, reply)),
    }
}

/// Plans when each token is due, and whether the answer is a wrong one.
fn plan(shared: &Shared, generation: &mut Generation, number: u64, read_ns: u64) -> Plan {
    if generation.is_cached {
        let (prompt, output) = (generation.prompt_tokens(), generation.output_tokens);
        return shared.schedule().recall(number, prompt, output, read_ns);
    }
    let job = generation.job();
    let mut schedule = shared.schedule();
    let plan = schedule.admit(number, job, read_ns);
    generation.is_corrupt = schedule.corrupts(&plan);
    drop(schedule);
    shared.metrics().planned(&plan);
    plan
}

/// Enters the answer into response cache, schedule, metrics and truth log, and returns what is left to do.
fn settle(shared: &Shared, written: Written, mut truth: Truth) -> io::Result<(End, Vec<u8>)> {
    let Script {
        generation, plan, ..
    } = written.script;
    // The head of a stream is sent at once, that of another reply with its body.
    let is_begun = generation.stream || written.result.is_ok();
    truth.status = is_begun.then_some(200);
    truth.t_written_ns = written.written_ns;
    truth.aborted = written.result.is_err();
    truth.add_plan(&plan, &generation);
    if !generation.is_cached {
        let is_whole = matches!(written.result, Ok((End::Whole, _)));
        settle_computed(shared, &generation, &plan, is_whole);
    }
    truth.first_word = generation.first_word;
    truth.messages_hash = generation.messages_hash.map(|hash| format!("{hash:016x}"));
    shared.truth_log.record(&truth);
    written.result
}

/// Enters an answer that was computed into schedule, metrics and response cache. None of them learns of an answer
/// that was held already.
fn settle_computed(shared: &Shared, generation: &Generation, plan: &Plan, is_whole: bool) {
    if !is_whole {
        return shared.schedule().abandon(plan);
    }
    shared.schedule().complete(plan);
    shared.metrics().answered(plan, generation.ends_itself);
    if let Some(key) = generation.response_key {
        shared.responses().store(key, generation.stored());
    }
}

/// The request as it is to be answered, or the error to answer with.
fn check(
    shared: &Shared,
    api: Api,
    request: &Request,
    faults: &Picked,
) -> Result<Generation, Response> {
    if let Some(status) = faults.number(Kind::Http) {
        return Err(ErrorReply::told(status as u16).response());
    }
    if let Some(seconds) = faults.number(Kind::Busy) {
        let busy = ErrorReply::new(429, "TooManyRequests", "The mock was told to be busy.");
        let response = busy.response();
        return Err(response.with_header("retry-after", seconds.to_string()));
    }
    let generation = Generation::parse(api, request, &shared.options);
    let mut generation = generation.map_err(|bad| bad.response())?;
    if faults.has(Kind::Error) && !generation.stream {
        return Err(ErrorReply::told(500).response());
    }
    if let Some(key) = &generation.response_key
        && let Some(stored) = shared.responses().recall(key)
    {
        generation.recall(stored);
    }
    if let Some(tokens) = faults.number(Kind::Stop) {
        generation.stop_after(tokens as usize);
    }
    Ok(generation)
}
