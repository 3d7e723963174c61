//! `make bench`: how much time this client adds to its measurements, compared with the floor at the same time.
//!
//! Client and floor run in turn against the same paced server, each on one processor, the server on the other.
//! Prints a table as Markdown; figures are medians of three runs.

mod accuracy;
mod connection;
mod floor;
mod measure;
mod server;
mod table;
mod wire;

use std::time::Duration;

use floor::Load;
use server::Pace;

fn main() {
    let mut args = pico_args::Arguments::from_env();
    let role = args.subcommand().expect("words are UTF-8");
    match role.as_deref() {
        Some("server") => {
            let micros = |name| Duration::from_micros(number(&mut args.clone(), name) as u64);
            let pace = Pace {
                first: micros("--first-us"),
                itl: micros("--itl-us"),
            };
            let is_tls = args.contains("--tls");
            server::run(pace, &text(&mut args, "--truth"), is_tls);
        }
        Some("floor") => {
            let load = Load {
                addr: text(&mut args, "--addr").parse().expect("an address"),
                streams: number(&mut args, "--streams"),
                requests: number(&mut args, "--requests"),
                prompt_bytes: number(&mut args, "--prompt-bytes"),
                tokens: number(&mut args, "--tokens"),
            };
            floor::run(load, &text(&mut args, "--samples"));
        }
        _ => {
            let only: Option<String> = args.opt_value_from_str("--only").expect("a word");
            table::run(&text(&mut args, "--client"), only.as_deref());
        }
    }
}

fn text(args: &mut pico_args::Arguments, name: &'static str) -> String {
    args.value_from_str(name)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn number(args: &mut pico_args::Arguments, name: &'static str) -> usize {
    args.value_from_str(name)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}
