//! From a page to figures: recorded pages, every engine's hit rate, deltas by hand, long and broken pages.

use std::time::{Duration, Instant};

use super::change::{Observation, beside};
use super::parse::{Exposition, parse};
use super::selector::Selector;
use super::series::{Found, Kind, Metric, Reading, Wanted, lines};

/// The body of a recorded reply.
pub fn recorded(name: &str) -> String {
    let path = format!("{}/tests/data/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    let raw = std::fs::read_to_string(&path).expect(&path);
    let (_, body) = raw.split_once("\r\n\r\n").expect("a head");
    body.to_string()
}

fn wanted(names: &[&str]) -> Wanted {
    let parsed = names.iter().map(|name| Selector::parse(name).expect(name));
    Wanted::new(parsed.collect())
}

fn read(page: &Exposition, name: &str) -> Reading {
    wanted(&[name]).read(page).remove(0)
}

fn found(page: &Exposition, name: &str) -> Found {
    wanted(&[name]).find(page).remove(0)
}

/// One scrape a page, the n-th from n seconds to 0.1 s later.
fn observe(name: &str, pages: &[&str]) -> Vec<Observation> {
    let wanted = wanted(&[name]);
    let pages = pages.iter().zip(1u64..);
    pages
        .map(|(text, second)| Observation {
            t_begin_ns: second * 1_000_000_000,
            t_end_ns: second * 1_000_000_000 + 100_000_000,
            values: wanted.read(&parse(text).expect(text)),
        })
        .collect()
}

/// From the first page to the last.
fn change(name: &str, pages: &[&str]) -> Option<f64> {
    let seen = observe(name, pages);
    let end_ns = pages.len() as u64 * 1_000_000_000;
    beside(&seen, 0, 1_200_000_000, end_ns)
}

#[test]
fn the_time_at_which_a_series_was_made_is_not_offered_as_nearest() {
    let page = parse("# TYPE foo counter\nfoo_total 3\nfoo_created 1.7e9\n").expect("a page");
    let missing = Found::Missing {
        name: "foo_created".to_string(),
        nearest: vec!["foo_total".to_string()],
    };
    assert_eq!(found(&page, "foo_created"), missing);
}

#[test]
fn a_recorded_page_of_vllm_has_the_values_that_stand_in_it() {
    let text = recorded("vllm/metrics.raw");
    let page = parse(&text).expect("vLLM's page");
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(page.samples.len(), samples);
    for (name, value) in [
        ("vllm:prompt_tokens", Reading::Counter(Some(1262.0))),
        ("vllm:prompt_tokens_total", Reading::Counter(Some(1262.0))),
        ("vllm:prefix_cache_hits", Reading::Counter(Some(512.0))),
        ("vllm:kv_cache_usage_perc", Reading::Gauge(Some(0.0))),
        // 750 + 512 + 0.
        (
            "vllm:prompt_tokens_by_source",
            Reading::Counter(Some(1262.0)),
        ),
        (
            "vllm:prompt_tokens_by_source{source=\"local_cache_hit\",engine=\"0\"}",
            Reading::Counter(Some(512.0)),
        ),
        // (1 + 0 + 0) / 3.
        ("vllm:engine_sleep_state", Reading::Gauge(Some(1.0 / 3.0))),
        ("vllm:prompt_tokens_created", Reading::Absent),
        (
            "vllm:prompt_tokens_by_source{source=\"moon\"}",
            Reading::Absent,
        ),
        (
            "process_start_time_seconds",
            Reading::Gauge(Some(1_795_325_439.81)),
        ),
    ] {
        assert_eq!(read(&page, name), value, "{name}");
    }
    let rate = Metric {
        name: "lmcache_hit_rate".to_string(),
        kind: Kind::Ratio {
            engine: "vLLM",
            hits: "vllm:prompt_tokens_cached_total".to_string(),
            of: "vllm:prompt_tokens_total".to_string(),
        },
        series: 2,
    };
    assert_eq!(found(&page, "lmcache_hit_rate"), Found::Metric(rate));
}

#[test]
fn a_recorded_page_of_llama_cpp_has_the_values_that_stand_in_it() {
    let text = recorded("llama-server/metrics.raw");
    let page = parse(&text).expect("llama.cpp's page");
    for (name, value) in [
        (
            "llamacpp:prompt_tokens_total",
            Reading::Counter(Some(427.0)),
        ),
        (
            "llamacpp:prompt_tokens_cached",
            Reading::Counter(Some(918.0)),
        ),
        (
            "llamacpp:prompt_tokens_seconds",
            Reading::Gauge(Some(37_724.2)),
        ),
    ] {
        assert_eq!(read(&page, name), value, "{name}");
    }
    let all = lines(&page);
    assert_eq!(all.len(), 15);
    assert_eq!(
        (all[0].name, all[0].kind.name(), all[0].series),
        ("llamacpp:prompt_tokens_total", "counter", 1)
    );
    // 100 cached tokens and 300 that were processed: 100 / (100 + 300).
    let later = text
        .replace("tokens_total 427", "tokens_total 727")
        .replace("cached_total 918", "cached_total 1018");
    assert_eq!(change("lmcache_hit_rate", &[&text, &later]), Some(0.25));
}

#[test]
fn every_engine_gives_the_hit_rate_by_its_own_names() {
    for (engine, before, after) in [
        (
            "LMCache",
            "lmcache:num_lookup_tokens{w=\"0\"} 10\nlmcache:num_lookup_hits{w=\"0\"} 5\n",
            "lmcache:num_lookup_tokens{w=\"0\"} 20\nlmcache:num_lookup_hits{w=\"0\"} 8\n",
        ),
        (
            "LMCache server",
            "lmcache_mp_lookup_requested_tokens_total 0\nlmcache_mp_lookup_hit_tokens_total 0\n",
            "lmcache_mp_lookup_requested_tokens_total 10\nlmcache_mp_lookup_hit_tokens_total 3\n",
        ),
        (
            "vLLM",
            "vllm:prompt_tokens_total 100\nvllm:prompt_tokens_cached_total 0\n",
            "vllm:prompt_tokens_total 200\nvllm:prompt_tokens_cached_total 30\n",
        ),
        (
            "vLLM, GPU tier",
            "vllm:prompt_tokens_total 9\nvllm:prefix_cache_queries 100\nvllm:prefix_cache_hits 1\n",
            "vllm:prompt_tokens_total 9\nvllm:prefix_cache_queries 200\nvllm:prefix_cache_hits 31\n",
        ),
        (
            "old vLLM, GPU tier",
            "vllm:gpu_prefix_cache_queries_total 100\nvllm:gpu_prefix_cache_hits_total 1\n",
            "vllm:gpu_prefix_cache_queries_total 110\nvllm:gpu_prefix_cache_hits_total 4\n",
        ),
        (
            "SGLang",
            "sglang:prompt_tokens_total 100\nsglang:cached_tokens_total{cache_source=\"device\"} 10\n",
            // 10 more from the device, 20 from the host.
            "sglang:prompt_tokens_total 200\nsglang:cached_tokens_total{cache_source=\"device\"} 20\n\
             sglang:cached_tokens_total{cache_source=\"host\"} 20\n",
        ),
        (
            "llama.cpp",
            "llamacpp:prompt_tokens_total 0\nllamacpp:prompt_tokens_cached_total 0\n",
            "llamacpp:prompt_tokens_total 70\nllamacpp:prompt_tokens_cached_total 30\n",
        ),
        (
            "TensorRT-LLM",
            "trtllm_prompt_tokens_total 1\ntrtllm_prompt_cached_tokens_total 1\n",
            "trtllm_prompt_tokens_total 11\ntrtllm_prompt_cached_tokens_total 4\n",
        ),
    ] {
        assert_eq!(
            change("lmcache_hit_rate", &[before, after]),
            Some(0.3),
            "{engine}"
        );
        let page = parse(after).expect(engine);
        let Found::Metric(metric) = found(&page, "lmcache_hit_rate") else {
            panic!("{engine} is found");
        };
        assert!(matches!(metric.kind, Kind::Ratio { engine: by, .. } if by == engine));
    }
}

#[test]
fn the_hit_rate_goes_by_the_best_pair_at_the_end_and_a_page_of_that_very_name_wins() {
    let vllm = "vllm:prompt_tokens_total 100\nvllm:prompt_tokens_cached_total 10\n";
    let both = format!(
        "{}lmcache:num_lookup_tokens_total 50\nlmcache:num_lookup_hits_total 40\n",
        "vllm:prompt_tokens_total 200\nvllm:prompt_tokens_cached_total 20\n"
    );
    // LMCache makes its counters on first use: 40 of 50, not vLLM's 10 of 100.
    assert_eq!(change("lmcache_hit_rate", &[vllm, &both]), Some(0.8));
    // Half a pair is none: vLLM's 10 of 100.
    let half = both.replace("lmcache:num_lookup_hits_total 40\n", "");
    assert_eq!(change("lmcache_hit_rate", &[vllm, &half]), Some(0.1));
    // Nothing was looked up.
    assert_eq!(change("lmcache_hit_rate", &[vllm, vllm]), None);
    // Labels go for the pair's series too: 5 of 10.
    let ranks = "lmcache:num_lookup_tokens{r=\"0\"} 10\nlmcache:num_lookup_tokens{r=\"1\"} 90\n\
                 lmcache:num_lookup_hits{r=\"0\"} 5\nlmcache:num_lookup_hits{r=\"1\"} 9\n";
    assert_eq!(
        change("lmcache_hit_rate{r=\"0\"}", &["up 1", ranks]),
        Some(0.5)
    );
    let own = format!("{both}lmcache_hit_rate 0.7\nlmcache_hit_rate_total 3\n");
    assert_eq!(change("lmcache_hit_rate", &[vllm, &own]), Some(0.7));
}

#[test]
fn kinds_follow_the_type_and_without_one_the_ending() {
    let text = "# TYPE c counter\nc 1\n# TYPE g gauge\ng 1\n# TYPE odd_total gauge\nodd_total 1\n\
                # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 2\n\
                # TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.9\"} 2\ns_count 3\ns_sum 4\n\
                # TYPE om counter\nom_total 5\nom_created 6\n# TYPE u unknown\nu 7\nu_sum 8\nu_bucket 9\n";
    let page = parse(text).expect("a page");
    let (counter, gauge) = (|v| Reading::Counter(Some(v)), |v| Reading::Gauge(Some(v)));
    for (name, value) in [
        ("c", counter(1.0)),
        ("c_total", counter(1.0)),
        ("g", gauge(1.0)),
        ("odd_total", gauge(1.0)),
        ("odd", gauge(1.0)),
        ("h_bucket", counter(4.0)),
        ("h_bucket{le=\"1\"}", counter(1.0)),
        ("h_count", counter(3.0)),
        ("h_sum", counter(2.0)),
        ("h", Reading::Absent),
        // (1 + 2) / 2.
        ("s", gauge(1.5)),
        ("s_count", counter(3.0)),
        ("om", counter(5.0)),
        ("om_total", counter(5.0)),
        ("om_created", Reading::Absent),
        ("u", gauge(7.0)),
        ("u_sum", counter(8.0)),
        ("u_bucket", gauge(9.0)),
    ] {
        assert_eq!(read(&page, name), value, "{name}");
    }
    // The name as it is comes first.
    let both = parse("x 1\nx_total 2\n").expect("a page");
    assert_eq!(
        (read(&both, "x"), read(&both, "x_total")),
        (gauge(1.0), counter(2.0))
    );
}

#[test]
fn no_number_is_left_out_and_nothing_else_is_absent() {
    let page = parse("a 1\na{x=\"1\"} NaN\na{x=\"2\"} 4\nb NaN\nc_total NaN\nd +Inf\nd -Inf\n");
    let page = page.expect("a page");
    // (1 + 4) / 2.
    assert_eq!(read(&page, "a"), Reading::Gauge(Some(2.5)));
    assert_eq!(read(&page, "b"), Reading::Gauge(None));
    assert_eq!(read(&page, "c_total"), Reading::Counter(None));
    assert_eq!(read(&page, "d"), Reading::Gauge(None));
    assert_eq!(change("c_total", &["c_total 1", "c_total NaN"]), None);
    assert_eq!(change("c_total", &["c_total NaN", "c_total 1"]), None);
    assert_eq!(
        change("c_total", &["c_total 1", "c_total NaN", "c_total 3"]),
        Some(2.0)
    );
    assert_eq!(change("c_total", &["c_total 1", "c_total +Inf"]), None);
    assert_eq!(change("g", &["g 1", "g +Inf"]), None);
}

#[test]
fn a_counter_that_fell_anywhere_between_has_no_change() {
    for (values, expected) in [
        (&["5", "5", "9"][..], Some(4.0)),
        (&["5", "9", "7"], None),
        // Restarted and soon above what it was before.
        (&["5", "1", "9"], None),
        (&["5", "", "9"], None),
        (&["5", "9", ""], None),
        // Made on first use.
        (&["", "", "9"], Some(9.0)),
        (&["", "3", "9"], Some(9.0)),
        (&["", "", ""], None),
    ] {
        let page = |value: &&str| match *value {
            "" => "up 1".to_string(),
            value => format!("up 1\nc_total {value}"),
        };
        let pages: Vec<String> = values.iter().map(page).collect();
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        assert_eq!(change("c_total", &pages), expected, "{values:?}");
    }
}

#[test]
fn before_is_the_last_scrape_up_to_the_send_and_after_the_first_from_the_end_on() {
    // Scrapes from 1 to 1.1 s, 2 to 2.1 s and so on.
    let pages = ["c_total 1", "c_total 3", "c_total 7", "c_total 15"];
    let counter = observe("c_total", &pages);
    let gauges = pages.map(|page| page.replace("c_total", "g"));
    let gauge = observe("g", &gauges.each_ref().map(String::as_str));
    for (t_send_ms, t_end_ms, difference, value) in [
        // The second scrape ends as the request begins, the third begins as it ends.
        (2100, 3000, Some(4.0), Some(7.0)),
        // A moment less and more: 15 − 1.
        (2099, 3001, Some(14.0), Some(15.0)),
        (1100, 1100, Some(2.0), Some(3.0)),
        // Nothing before, nothing after.
        (1099, 1100, None, Some(3.0)),
        (2100, 4001, None, None),
    ] {
        let (send, end) = (t_send_ms * 1_000_000, t_end_ms * 1_000_000);
        assert_eq!(beside(&counter, 0, send, end), difference, "{t_send_ms}");
        assert_eq!(beside(&gauge, 0, send, end), value, "{t_send_ms}");
    }
    assert_eq!(beside(&counter, 1, 2_100_000_000, 3_000_000_000), None);
    assert_eq!(beside(&[], 0, 1, 2), None);
}

#[test]
fn a_name_that_is_not_found_comes_with_the_nearest_and_is_picked_up_later() {
    let text = recorded("vllm/metrics.raw");
    let page = parse(&text).expect("vLLM's page");
    let nearest = |name: &str| match found(&page, name) {
        Found::Missing { nearest, .. } => nearest,
        Found::Metric(metric) => panic!("{metric:?}"),
    };
    let near = nearest("vllm:prefix_cache_hit");
    assert_eq!(
        (near.len(), near[0].as_str()),
        (5, "vllm:prefix_cache_hits_total")
    );
    assert!(nearest("gpu_cache_usage").contains(&"vllm:kv_cache_usage_perc".to_string()));
    assert!(
        !nearest("created")
            .iter()
            .any(|name| name.ends_with("_created"))
    );
    assert_eq!(
        nearest("vllm:engine_sleep_state{sleep_state=\"off\"}")[0],
        "vllm:engine_sleep_state{engine=\"0\",model_name=\"tiny-chain\",sleep_state=\"awake\"}"
    );
    let later = wanted(&["vllm:new"]);
    assert_eq!(later.read(&page), [Reading::Absent]);
    let grown = format!("{text}# TYPE vllm:new counter\nvllm:new 3\n");
    let grown = parse(&grown).expect("a page");
    assert_eq!(later.read(&grown), [Reading::Counter(Some(3.0))]);
}

#[test]
fn a_page_of_5_mb_is_read_in_well_under_a_second() {
    let mut text = String::new();
    let mut series = 0;
    while text.len() < 5 << 20 {
        text += &format!(
            "# TYPE m{series} counter\nm{series}{{engine=\"0\",model_name=\"a\\\"b\",le=\"1\"}} {series}.5\n"
        );
        series += 1;
    }
    let start = Instant::now();
    let page = parse(&text).expect("a page");
    let readings = wanted(&["lmcache_hit_rate", "m7", "m9_total"]).read(&page);
    let took = start.elapsed();
    assert_eq!(page.samples.len(), series);
    let counter = |value| Reading::Counter(Some(value));
    assert_eq!(readings, [Reading::Absent, counter(7.5), counter(9.5)]);
    assert!(took < Duration::from_millis(700), "{took:?}");
    // Hostile ones: as linear.
    for piece in [
        "{",
        "a{b=\"\\\\",
        "a{b=\"c\",",
        "a 1 #",
        "\n#",
        "a ",
        "\\\"",
        "a{a=\"\"}",
    ] {
        let start = Instant::now();
        let _ = parse(&piece.repeat((5 << 20) / piece.len()));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "{piece}: {took:?}");
    }
}

#[test]
fn a_mutated_page_is_read_or_refused_but_never_a_panic() {
    let pages = [
        recorded("llama-server/metrics.raw"),
        recorded("vllm/metrics.raw"),
    ];
    let asked = wanted(&[
        "lmcache_hit_rate",
        "vllm:prompt_tokens{source=\"a\"}",
        "llamacpp:n_decode",
    ]);
    let pieces = [
        "{", "}", "\"", "\\", "\n", "\r", "#", " ", ",", "=", "é", "\0", "NaN", "1e999", "# TYPE ",
        "_total",
    ];
    let mut random = fastrand::Rng::with_seed(4);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..3000 {
        let page = &pages[usize::from(round % 10 == 0)];
        // A part of it, so that a mutation hits something.
        let lines: Vec<&str> = page.lines().collect();
        let first = random.usize(..lines.len());
        let last = (first + random.usize(1..20)).min(lines.len());
        let mut bytes = lines[first..last].join("\n").into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..=bytes.len());
            let piece = pieces[random.usize(..pieces.len())].bytes();
            let to = (at + random.usize(..3)).min(bytes.len());
            bytes.splice(at..to, piece);
        }
        let text = String::from_utf8_lossy(&bytes);
        match parse(&text) {
            Ok(page) => {
                match &page.skipped {
                    Some(skipped) => {
                        refused += 1;
                        assert!(skipped.first.contains("line "), "{skipped}");
                    }
                    None => taken += 1,
                }
                assert_eq!(asked.read(&page).len(), asked.find(&page).len());
                for sample in &page.samples {
                    sample.labels.iter().for_each(drop);
                }
            }
            Err(why) => {
                refused += 1;
                assert!(why.contains("line ") || why == "an empty page", "{why}");
            }
        }
        // The same bytes as a selector.
        let _ = Selector::parse(text.lines().last().unwrap_or_default());
    }
    assert!(taken > 500 && refused > 500, "{taken} {refused}");
}

#[test]
fn names_that_an_exporter_has_renamed_are_found_with_their_kinds_and_rates() {
    for (own, prefix) in [
        ("vllm:", "ray_vllm:"),
        ("vllm:", "ray_vllm_"),
        ("vllm:", "vllm_"),
        ("sglang:", "sglang_"),
        ("llamacpp:", "llamacpp_"),
    ] {
        let (hits, of) = match own {
            "vllm:" => ("prefix_cache_hits", "prefix_cache_queries"),
            "sglang:" => ("cached_tokens", "prompt_tokens"),
            _ => ("prompt_tokens_cached", "prompt_tokens"),
        };
        let page = |k: u32| {
            format!(
                "# TYPE {prefix}{of}_total counter\n{prefix}{of}_total{{WorkerId=\"w\"}} {}\n\
                 # TYPE {prefix}{hits}_total counter\n{prefix}{hits}_total{{WorkerId=\"a\"}} {}\n\
                 {prefix}{hits}_total{{WorkerId=\"b\"}} {}\n\
                 # TYPE {prefix}load gauge\n{prefix}load 0.{k}\n",
                1000 * k,
                400 * k,
                100 * k
            )
        };
        let pages = [page(1), page(3)];
        let pages = pages.each_ref().map(String::as_str);
        // 3 × 1000 − 1000, asked for in the engine's own words and in those of the page.
        for name in [
            format!("{own}{of}"),
            format!("{own}{of}_total"),
            format!("{prefix}{of}_total"),
        ] {
            assert_eq!(change(&name, &pages), Some(2000.0), "{name} {prefix}");
        }
        // Of llama.cpp the hits are not among its prompt tokens: 1000 of 3000; else 1000 of 2000.
        let rate = if own == "llamacpp:" { 1.0 / 3.0 } else { 0.5 };
        assert_eq!(change("lmcache_hit_rate", &pages), Some(rate), "{prefix}");
        let load = format!("{own}load");
        assert_eq!(change(&load, &pages), Some(0.3), "{prefix}");
        let exposed = parse(pages[0]).expect("a page");
        match found(&exposed, &format!("{own}loads")) {
            Found::Missing { nearest, .. } => assert_eq!(nearest[0], format!("{prefix}load")),
            found => panic!("{found:?}"),
        }
    }
}

#[test]
fn a_page_with_both_spellings_of_a_counter_counts_it_once() {
    // Ray exports a counter as a gauge, too.
    let page = parse(
        "# TYPE ray_vllm_prompt_tokens gauge\nray_vllm_prompt_tokens 7\n\
         # TYPE ray_vllm_prompt_tokens_total counter\nray_vllm_prompt_tokens_total 7\n",
    )
    .expect("a page");
    let counter = |value| Reading::Counter(Some(value));
    assert_eq!(read(&page, "vllm:prompt_tokens"), counter(7.0));
    let page = "vllm:prompt_tokens_total 5\nvllm_prompt_tokens_total 5\n";
    let page = parse(page).expect("a page");
    assert_eq!(read(&page, "vllm:prompt_tokens"), counter(5.0));
}
