//! The result file of `load`: the guide's keys first, then our own; a sweep is a list of points.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use super::round_json;
use crate::stats::FailureCount;
use crate::stats::goodput::Goodput;
use crate::stats::load::{HitBy, LoadSummary, OpenLoop, Part, Times, Waits};

pub const SCHEMA: &str = "tmesh-cli/load/1";
/// All keys of `figures`.
pub const KEYS: [&str; 51] = [
    "ttft_p50_ms",
    "ttft_p95_ms",
    "ttft_p99_ms",
    "tpot_ms",
    "throughput_tokens_per_s",
    "request_throughput_rps",
    "response_cache_hit_rate",
    "prefix_cache_hit_rate",
    "avg_latency_ms",
    "ttft_avg_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "itl_p50_ms",
    "itl_p95_ms",
    "itl_p99_ms",
    "error_rate",
    "total_requests",
    "successful_requests",
    "failed_requests",
    "cut_requests",
    "sent_requests",
    "planned_requests",
    "not_sent_requests",
    "warmup_requests",
    "duration_s",
    "perfect_response_cache_hit_rate",
    "perfect_prefix_cache_hit_rate",
    "goodput_requests",
    "goodput_of_requests",
    "goodput_requests_percent",
    "goodput_rps",
    "goodput_tokens",
    "goodput_of_tokens",
    "goodput_tokens_percent",
    "goodput_tokens_per_s",
    "offered_rate_per_s",
    "scheduled_rate_per_s",
    "achieved_rate_per_s",
    "lateness_avg_ms",
    "lateness_p99_ms",
    "lateness_max_ms",
    "exhausted_requests",
    "ttft_from_sent_avg_ms",
    "ttft_from_sent_p50_ms",
    "ttft_from_sent_p95_ms",
    "ttft_from_sent_p99_ms",
    "latency_from_sent_avg_ms",
    "latency_from_sent_p50_ms",
    "latency_from_sent_p95_ms",
    "latency_from_sent_p99_ms",
];

/// Keys and numbers of a point, in the order of the file; null where nothing tells one.
pub fn figures(one: &LoadSummary) -> [(&'static str, Value); 51] {
    KEYS.map(|key| (key, figure(one, key)))
}

fn figure(one: &LoadSummary, key: &str) -> Value {
    let round = &one.round;
    let open = one.open.as_ref();
    match key {
        "tpot_ms" => json!(one.tpot_ms()),
        "throughput_tokens_per_s" => json!(round.token_throughput),
        "request_throughput_rps" => json!(round.request_throughput),
        "response_cache_hit_rate" => json!(one.response_cache_hit_rate),
        "prefix_cache_hit_rate" => json!(round.prefix_cache_hit_rate),
        "avg_latency_ms" => json!(one.waits.latency.map(|latency| latency.avg_ms)),
        "error_rate" => json!(one.error_rate()),
        "total_requests" => json!(round.total_requests),
        "successful_requests" => json!(round.successful),
        "failed_requests" => json!(round.failed),
        "cut_requests" => json!(round.cut),
        "sent_requests" => json!(one.sent()),
        "planned_requests" => json!(one.planned),
        "not_sent_requests" => json!(one.not_sent),
        "warmup_requests" => json!(one.warmup),
        "duration_s" => json!(round.duration_s),
        "perfect_response_cache_hit_rate" => json!(one.perfect_response_rate),
        "perfect_prefix_cache_hit_rate" => json!(one.perfect_prefix_rate),
        "offered_rate_per_s" => json!(one.rate_per_s),
        "scheduled_rate_per_s" => json!(open.and_then(|open| open.scheduled_per_s)),
        "achieved_rate_per_s" => json!(one.achieved_per_s),
        "exhausted_requests" => json!(open.and_then(|open| open.exhausted)),
        _ => match key.strip_prefix("goodput_") {
            Some(key) => one
                .goodput
                .as_ref()
                .map_or(Value::Null, |of| goodput(of, key)),
            None => time(one, key),
        },
    }
}

fn goodput(of: &Goodput, key: &str) -> Value {
    let percent = |share: Option<f64>| json!(share.map(|share| share * 100.0));
    match key {
        "requests" => json!(of.requests),
        "of_requests" => json!(of.of_requests),
        "requests_percent" => percent(of.requests_share()),
        "rps" => json!(of.requests_per_s),
        "tokens" => json!(of.tokens),
        "of_tokens" => json!(of.of_tokens),
        "tokens_percent" => percent(of.tokens_share()),
        "tokens_per_s" => json!(of.tokens_per_s),
        _ => Value::Null,
    }
}

/// Of a key such as `ttft_from_sent_p50_ms`: the name of a distribution, then that of a number of it.
fn time(one: &LoadSummary, key: &str) -> Value {
    let of = distributions(one)
        .into_iter()
        .rev()
        .find_map(|(name, times)| {
            let number = key.strip_prefix(name)?.strip_prefix('_')?;
            let times = times?;
            match number {
                "avg_ms" => Some(times.avg_ms),
                "p50_ms" => Some(times.p50_ms),
                "p95_ms" => Some(times.p95_ms),
                "p99_ms" => Some(times.p99_ms),
                "max_ms" => Some(times.max_ms),
                _ => None,
            }
        });
    json!(of)
}

fn distributions(one: &LoadSummary) -> [(&'static str, Option<Times>); 6] {
    let open = one.open.as_ref();
    [
        ("ttft", one.waits.ttft),
        ("itl", one.itl),
        ("latency", one.waits.latency),
        ("ttft_from_sent", open.and_then(|open| open.from_sent.ttft)),
        (
            "latency_from_sent",
            open.and_then(|open| open.from_sent.latency),
        ),
        ("lateness", open.and_then(|open| open.lateness)),
    ]
}

/// Where a figure is from, or why it is not there.
fn source(one: &LoadSummary, key: &str, value: &Value) -> &'static str {
    let is_closed = one.open.is_none();
    match key {
        _ if key.starts_with("goodput") && one.goodput.is_none() => {
            "not reported: no SLO was given"
        }
        "planned_requests" if value.is_null() => "not reported: the duration decided",
        "response_cache_hit_rate" if value.is_null() => {
            "not reported: no reply said whether it was cached"
        }
        "prefix_cache_hit_rate" if value.is_null() => {
            "not reported: no reply reported cached tokens"
        }
        "offered_rate_per_s" | "scheduled_rate_per_s" | "exhausted_requests" if is_closed => {
            "not reported: a closed loop has none"
        }
        _ if is_closed && (key.starts_with("lateness") || key.contains("from_sent")) => {
            "not reported: a closed loop has none"
        }
        "offered_rate_per_s" if value.is_null() => "not reported: a trace has no single rate",
        _ if value.is_null() => "not reported: no request told it",
        "response_cache_hit_rate" => "cached of the replies",
        "prefix_cache_hit_rate" => "usage of the replies",
        "perfect_response_cache_hit_rate"
        | "perfect_prefix_cache_hit_rate"
        | "planned_requests"
        | "offered_rate_per_s" => "the plan",
        _ => "requests",
    }
}

/// The keys of one point.
struct Point<'a>(&'a LoadSummary);

impl Point<'_> {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let one = self.0;
        let figures = figures(one);
        for (key, value) in &figures {
            map.serialize_entry(key, value)?;
        }
        let is_open = one.open.is_some();
        map.serialize_entry("latency_from", if is_open { "due" } else { "sent" })?;
        map.serialize_entry("concurrency", &one.concurrency)?;
        let splits = Part::ALL.map(|part| {
            let split = one.splits.iter().find(|(of, _)| *of == part);
            (part.name(), split.map(|(_, waits)| Split::of(waits)))
        });
        map.serialize_entry("splits", &BTreeMap::from(splits))?;
        map.serialize_entry("hit_by", &one.hit_by.map(HitBy::name))?;
        map.serialize_entry("distributions", &BTreeMap::from(distributions(one)))?;
        let sources = figures
            .iter()
            .map(|(key, value)| (*key, source(one, key, value)));
        map.serialize_entry("metric_sources", &sources.collect::<BTreeMap<_, _>>())?;
        let failures: &BTreeMap<&'static str, FailureCount> = &one.round.failures;
        map.serialize_entry("failures", failures)?;
        map.serialize_entry("token_sources", &one.round.token_sources)?;
        map.serialize_entry("detail", &round_json::Figures(&one.round))
    }
}

#[derive(Serialize)]
struct Split {
    ttft: Option<Times>,
    latency: Option<Times>,
}

impl Split {
    fn of(waits: &Waits) -> Split {
        Split {
            ttft: waits.ttft,
            latency: waits.latency,
        }
    }
}

impl Serialize for Point<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// The file of a run; `about` is what is said of it, an object. One point stands at the top level, several
/// under `points`.
pub struct LoadFile<'a> {
    pub about: &'a Value,
    pub points: &'a [LoadSummary],
}

impl Serialize for LoadFile<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", SCHEMA)?;
        map.serialize_entry("tool_version", env!("CARGO_PKG_VERSION"))?;
        match self.points {
            [one] => Point(one).entries(&mut map)?,
            points => {
                let points: Vec<Point<'_>> = points.iter().map(Point).collect();
                map.serialize_entry("points", &points)?;
            }
        }
        map.serialize_entry("environment", self.about)?;
        map.end()
    }
}

/// The points in a file that `LoadFile` wrote; `None`: it is no such file.
pub fn read(file: &Value) -> Option<Vec<LoadSummary>> {
    match file.get("points") {
        Some(points) => points.as_array()?.iter().map(read_point).collect(),
        None => Some(vec![read_point(file)?]),
    }
}

fn read_point(of: &Value) -> Option<LoadSummary> {
    let count = |key: &str| of[key].as_u64();
    let number = |key: &str| of[key].as_f64();
    let times = |name: &str| read_times(&of["distributions"][name]);
    let concurrency = count("concurrency");
    let splits = Part::ALL.into_iter().filter_map(|part| {
        let split = &of["splits"][part.name()];
        let waits = Waits {
            ttft: read_times(&split["ttft"]),
            latency: read_times(&split["latency"]),
        };
        split.is_object().then_some((part, waits))
    });
    let hit_by = of["hit_by"].as_str();
    let is_open = of["latency_from"] == "due";
    Some(LoadSummary {
        concurrency,
        rate_per_s: number("offered_rate_per_s"),
        planned: count("planned_requests"),
        not_sent: count("not_sent_requests")?,
        warmup: count("warmup_requests")?,
        round: round_json::read_figures(&of["detail"], concurrency.unwrap_or(0), 1)?,
        waits: Waits {
            ttft: times("ttft"),
            latency: times("latency"),
        },
        itl: times("itl"),
        goodput: read_goodput(of),
        open: is_open.then(|| OpenLoop {
            scheduled_per_s: number("scheduled_rate_per_s"),
            lateness: times("lateness"),
            exhausted: count("exhausted_requests"),
            from_sent: Waits {
                ttft: times("ttft_from_sent"),
                latency: times("latency_from_sent"),
            },
        }),
        achieved_per_s: number("achieved_rate_per_s"),
        response_cache_hit_rate: number("response_cache_hit_rate"),
        perfect_response_rate: number("perfect_response_cache_hit_rate"),
        perfect_prefix_rate: number("perfect_prefix_cache_hit_rate"),
        splits: splits.collect(),
        hit_by: HitBy::ALL.into_iter().find(|by| Some(by.name()) == hit_by),
    })
}

fn read_times(of: &Value) -> Option<Times> {
    let number = |key: &str| of[key].as_f64();
    Some(Times {
        avg_ms: number("avg_ms")?,
        p50_ms: number("p50_ms")?,
        p95_ms: number("p95_ms")?,
        p99_ms: number("p99_ms")?,
        max_ms: number("max_ms")?,
        n: of["n"].as_u64()?,
    })
}

fn read_goodput(of: &Value) -> Option<Goodput> {
    Some(Goodput {
        requests: of["goodput_requests"].as_u64()?,
        of_requests: of["goodput_of_requests"].as_u64()?,
        tokens: of["goodput_tokens"].as_u64(),
        of_tokens: of["goodput_of_tokens"].as_u64(),
        tokens_per_s: of["goodput_tokens_per_s"].as_f64(),
        requests_per_s: of["goodput_rps"].as_f64(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::report::saved::{Figures, Report, Samples};
    use crate::samples_file;

    /// Of fixed samples: what is said of their run, and the points.
    fn fixed(name: &str) -> (Value, Vec<LoadSummary>) {
        let path = format!("{}/tests/data/report/{name}", env!("CARGO_MANIFEST_DIR"));
        let saved = samples_file::read(name, Path::new(&path)).expect("samples");
        let report = Report::of_load(Samples {
            about: saved.about,
            samples: saved.samples,
            vitals: saved.vitals,
            metrics: saved.metrics,
            workloads: saved.workloads,
            points: saved.points,
        });
        let Figures::Load(points) = report.figures else {
            panic!("points");
        };
        (report.about, points)
    }

    fn file(about: &Value, points: &[LoadSummary]) -> Value {
        serde_json::to_value(LoadFile { about, points }).expect("JSON")
    }

    #[test]
    fn figures_of_the_fixed_samples_are_those_worked_by_hand() {
        let (about, points) = fixed("load.jsonl");
        let file = file(&about, &points);
        let near = [
            // From the due times 100, 152 and 50 ms, ranks 0 to 2: p95 at 1.9, p99 at 1.98.
            ("ttft_avg_ms", 302.0 / 3.0),
            ("ttft_p50_ms", 100.0),
            ("ttft_p95_ms", 146.8),
            ("ttft_p99_ms", 150.96),
            // 200 ms over ten gaps, thrice.
            ("tpot_ms", 20.0),
            ("itl_p99_ms", 20.0),
            // 300, 352, 250 and, not streamed, 20 ms, ranks 0 to 3: p50 at 1.5, p95 at 2.85, p99 at 2.97.
            ("avg_latency_ms", 230.5),
            ("latency_p50_ms", 275.0),
            ("latency_p95_ms", 344.2),
            ("latency_p99_ms", 350.44),
            // The second went out 2 ms late.
            ("ttft_from_sent_avg_ms", 100.0),
            ("ttft_from_sent_p50_ms", 100.0),
            ("ttft_from_sent_p95_ms", 145.0),
            ("ttft_from_sent_p99_ms", 149.0),
            ("latency_from_sent_avg_ms", 230.0),
            ("latency_from_sent_p99_ms", 348.5),
            // From the first send at 1000 to the end at 1651 ms; 11 tokens each, those of one counted afterwards.
            ("duration_s", 0.651),
            ("throughput_tokens_per_s", 44.0 / 0.651),
            ("request_throughput_rps", 4.0 / 0.651),
            // One of four; 0 + 40 + 80 of 3 x 100 tokens.
            ("response_cache_hit_rate", 0.25),
            ("prefix_cache_hit_rate", 0.4),
            ("perfect_response_cache_hit_rate", 0.4),
            ("perfect_prefix_cache_hit_rate", 0.45),
            ("error_rate", 0.2),
            // 0, 2, 0, 50 and 0 ms: rank 0.99 of 4 is 3.96.
            ("lateness_avg_ms", 10.4),
            ("lateness_p99_ms", 48.08),
            ("lateness_max_ms", 50.0),
            // Six, due and sent from 1000 to 1500 ms.
            ("offered_rate_per_s", 10.0),
            ("scheduled_rate_per_s", 10.0),
            ("achieved_rate_per_s", 10.0),
            // Below 320 ms from the due time: all but the second, of four and a failure.
            ("goodput_requests_percent", 60.0),
            ("goodput_tokens_percent", 75.0),
            ("goodput_tokens_per_s", 33.0 / 0.651),
            ("goodput_rps", 3.0 / 0.651),
        ];
        for (key, wanted) in near {
            let got = file[key].as_f64().expect(key);
            assert!((got - wanted).abs() < 1e-9, "{key}: {got} for {wanted}");
        }
        let whole = [
            ("total_requests", 5),
            ("successful_requests", 4),
            ("failed_requests", 1),
            ("cut_requests", 1),
            ("sent_requests", 6),
            ("planned_requests", 8),
            ("not_sent_requests", 2),
            ("warmup_requests", 1),
            ("exhausted_requests", 1),
        ];
        for (key, wanted) in whole {
            assert_eq!(file[key], wanted, "{key}");
        }
        assert_eq!(file["latency_from"], "due");
        assert_eq!(file["failures"]["http"]["status"], 503);
        assert_eq!(file["token_sources"], json!({"tokenize": 1, "usage": 3}));
        let split = |part: &str| {
            let latency = &file["splits"][part]["latency"];
            (latency["avg_ms"].as_f64(), latency["n"].as_u64())
        };
        assert_eq!(split("first_use"), (Some(326.0), Some(2)));
        assert_eq!(split("repeat"), (Some(135.0), Some(2)));
        assert_eq!(split("hit"), (Some(20.0), Some(1)));
        assert_eq!(split("miss"), (Some(902.0 / 3.0), Some(3)));
    }

    #[test]
    fn the_file_begins_with_the_keys_of_the_guide() {
        let (about, points) = fixed("load.jsonl");
        let text = serde_json::to_string(&LoadFile {
            about: &about,
            points: &points,
        });
        let text = text.expect("JSON");
        let wanted = [
            "schema",
            "tool_version",
            "ttft_p50_ms",
            "ttft_p95_ms",
            "ttft_p99_ms",
            "tpot_ms",
            "throughput_tokens_per_s",
            "request_throughput_rps",
            "response_cache_hit_rate",
            "prefix_cache_hit_rate",
            "avg_latency_ms",
        ];
        let mut last = 0;
        for key in wanted {
            let at = text.find(&format!("\"{key}\":")).expect(key);
            assert!(at >= last, "{key}");
            last = at;
        }
        assert!(
            text.starts_with(r#"{"schema":"tmesh-cli/load/1","#),
            "{text}"
        );
    }

    #[test]
    fn what_is_absent_is_null_and_its_source_says_why() {
        let (about, points) = fixed("load_sweep.jsonl");
        let file = file(&about, &points);
        let point = &file["points"][0];
        for (key, why) in [
            (
                "response_cache_hit_rate",
                "no reply said whether it was cached",
            ),
            ("prefix_cache_hit_rate", "no reply reported cached tokens"),
            ("goodput_rps", "no SLO was given"),
            ("lateness_p99_ms", "a closed loop has none"),
            ("latency_from_sent_p50_ms", "a closed loop has none"),
        ] {
            assert_eq!(point[key], Value::Null, "{key}");
            let wanted = format!("not reported: {why}");
            assert_eq!(point["metric_sources"][key], wanted, "{key}");
        }
        assert_eq!(point["latency_from"], "sent");
        assert_eq!(point.get("environment"), None);
        assert_eq!(file["environment"]["command"], "load");
        // 110 ms is the mean of 100 and 120; of the second point 300 and 309.
        assert_eq!(point["ttft_p50_ms"], 110.0);
        assert_eq!(file["points"][1]["ttft_p50_ms"], 304.5);
    }

    #[test]
    fn figures_that_were_written_are_those_that_are_read() {
        for name in ["load.jsonl", "load_sweep.jsonl"] {
            let (about, wanted) = fixed(name);
            let mut file = file(&about, &wanted);
            let got = read(&file).expect("all keys");
            assert_eq!(format!("{got:?}"), format!("{wanted:?}"));
            let place = file.get_mut("points").map(|points| &mut points[0]);
            match place {
                Some(point) => point["detail"] = Value::Null,
                None => file["detail"] = Value::Null,
            }
            assert!(read(&file).is_none());
        }
    }
}
