//! A day of 64 machines: the time and the memory that merging their samples takes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::util::{Cmd, Dir};

const SHARDS: u64 = 64;
const REQUESTS: u64 = 10_000_000;
const DAY_S: u64 = 86_400;
const S: u64 = 1_000_000_000;

/// Returns pseudo-random numbers (xorshift64).
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Writes the samples of a shard: its requests, evenly over the day, and the client's line of each second.
fn write(dir: &Dir, index: u64) -> String {
    let name = format!("s{index}.jsonl");
    let file = File::create(dir.path().join(&name)).expect("a new file");
    let mut out = BufWriter::new(file);
    let wall_us = 1_795_000_000_000_000 + index * 1000;
    let header = json!({
        "schema": "tmesh-cli/samples/2", "command": "load", "model": "m", "endpoint": "http://h/v1/",
        "seed": 1, "nonce": "day", "run_id": "0badcafe", "mock": false, "slo": null,
        "options": {"requests": REQUESTS}, "setup": {"common_tokens": 4},
        "shard": {"of": SHARDS, "held": [index]},
        "clock": {"wall_us": wall_us, "t_ns": 0, "server_us": null},
    });
    writeln!(out, "{header}").expect("room on the disk");
    let mut state = index + 1;
    let mut second = 0;
    for id in (index..REQUESTS).step_by(SHARDS as usize) {
        let sent = id * (DAY_S * S / REQUESTS);
        let first = sent + S / 5 + draw(&mut state) % S;
        let last = first + S / 2 + draw(&mut state) % S;
        while second * S < last {
            let (from, to) = (second * S, (second + 1) * S);
            let lags = [140; 20];
            writeln!(
                out,
                r#"{{"series":"client","t_start_ns":{from},"t_end_ns":{to},"t_first_probe_ns":{from},"lags_us":{lags:?},"cpu_ms":10,"cores_allowed":2.0,"periods":null,"throttled_periods":null,"steal_share":0.0,"open_files":30,"open_files_limit":1024}}"#
            )
            .expect("room on the disk");
            second += 1;
        }
        let end = last + 90_000;
        writeln!(
            out,
            r#"{{"id":{id},"phase":"measured","ok":true,"error_kind":null,"status":200,"error":null,"t_due_ns":{sent},"t_send_ns":{sent},"t_headers_ns":{first},"t_event_ns":{first},"t_first_ns":{first},"t_answer_ns":{first},"t_last_ns":{last},"t_end_ns":{end},"connect_ns":null,"reused":true,"resent":false,"prompt_tokens":900,"cached_tokens":512,"completion_tokens":9,"reasoning_tokens":null,"token_source":"usage","token_events":9,"token_reads":9,"gaps_us":[62500,62500,62500,62500,62500,62500,62500,62500],"finish_reason":"length","prompt_bytes":4500,"text_bytes":45,"rate_per_s":115.7,"repeat":false,"wanted_prompt_tokens":900,"wanted_output_tokens":9}}"#
        )
        .expect("room on the disk");
    }
    let share = |index: u64| (REQUESTS - index).div_ceil(SHARDS);
    let pass = json!({
        "series": "pass", "rate_per_s": 115.7, "t_start_ns": 1, "planned": share(index),
        "shares": (0..SHARDS).map(share).collect::<Vec<u64>>(), "ended": "all requests were sent",
    });
    let clock = json!({
        "series": "clock", "shard": index, "wall_us": wall_us + DAY_S * 1_000_000, "t_ns": DAY_S * S,
        "server_us": null,
    });
    writeln!(out, "{pass}\n{clock}").expect("room on the disk");
    out.flush().expect("room on the disk");
    name
}

#[test]
#[ignore = "takes ten minutes and 30 GB of disk: make merge-day"]
fn a_day_of_64_machines_is_merged_within_its_memory() {
    let program = std::env::var_os("TMESH_STATIC_BIN").expect("TMESH_STATIC_BIN, as make sets it");
    let dir = Dir::new();
    let names: Vec<String> = (0..SHARDS).map(|index| write(&dir, index)).collect();
    let timed = |words: &[&str]| {
        let begun = Instant::now();
        let running = Cmd::program(&program, &dir)
            .args(words)
            .deadline(Duration::from_secs(3600))
            .start();
        let peak_mib = running.peak_mib();
        let output = running.wait();
        assert_eq!(output.status.code(), Some(0), "{output}");
        println!(
            "{output}{}: {:.0} s, {peak_mib:.0} MiB",
            words[0],
            begun.elapsed().as_secs_f64()
        );
        peak_mib
    };
    let mut words = vec!["merge"];
    words.extend(names.iter().map(String::as_str));
    words.extend(["-o", "all.jsonl"]);
    let peak_mib = timed(&words);
    assert!(peak_mib <= 1.2 * 1024.0, "{peak_mib} MiB");
    timed(&["report", "-i", "all.jsonl"]);
}
