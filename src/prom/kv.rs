//! A workload's KV figures from the server's page: the names to watch, and the figures at the end.
//!
//! Each figure comes with its source, or with the reason why there is none.

use super::catalog::{HIT_RATE, PAIRS};
use super::course::{Course, Tracks};
use super::engine::{Engine, How, Quantity, SOURCES, Source};
use super::figure::{Names, PageFigure, Readings, why};
use super::parse::Exposition;
use super::selector::Selector;
use super::size::Scale;

/// The names that are read from one server's page.
#[derive(Debug)]
pub struct Watch {
    engine: Option<&'static Engine>,
    version: Option<String>,
    names: Names,
    /// The sources, the best first, each with the scale of its gauge.
    sources: Vec<(&'static Source, Option<Scale>)>,
}

/// The latest figures of a page while requests are in flight; `None`: the page does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Now {
    /// Cached prompt tokens over prompt tokens since the start, 0..=1.
    pub hit_rate: Option<f64>,
    /// The share of the KV cache that is in use, 0..=1.
    pub kv_use: Option<f64>,
    /// Requests that the engine works on, and those that wait for it.
    pub running: Option<f64>,
    pub waiting: Option<f64>,
}

impl Watch {
    /// Chooses the names by the server's first page. `backend` is the engine whose names to read, as `--backend` has it;
    /// without it, those on the page count.
    pub fn choose(page: &Exposition, backend: Option<&str>) -> Watch {
        let engine = Engine::of(page, backend);
        let mut names = Names {
            asked: vec![HIT_RATE],
            ..Names::default()
        };
        let may_have = |name: &str| is_own(engine, name) || name.starts_with("lmcache");
        for pair in PAIRS {
            let of_pair = || pair.hits.iter().chain(pair.of);
            if of_pair().all(|name| may_have(name)) {
                names.pairs.push(pair);
            }
        }
        let mut sources = Vec::new();
        for source in SOURCES {
            if source.names().all(may_have) {
                for name in source.names() {
                    if !names.asked.contains(&name) {
                        names.asked.push(name);
                    }
                }
                sources.push((source, scale(page, &source.how)));
            }
        }
        names.note_exposed(page);
        Watch {
            engine,
            version: engine.and_then(|engine| engine.version(page)),
            names,
            sources,
        }
    }

    /// The engine; `None`: the page has no engine's names.
    pub fn engine(&self) -> Option<&'static str> {
        self.engine.map(|engine| engine.name)
    }

    /// The engine's version, if the page tells it.
    pub fn engine_version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether the first page had a pair of counters that tells the hit rate.
    pub fn counts_hits(&self) -> bool {
        let is_there = |name: &str| self.names.exposed.contains_key(name);
        let mut pairs = self.names.pairs.iter();
        pairs.any(|pair| pair.hits.iter().chain(pair.of).all(|name| is_there(name)))
    }

    /// Returns the selectors for the scraper, whose observations go to a course of this watch.
    pub fn selectors(&self) -> Vec<Selector> {
        let names = self.names.asked.iter();
        let parsed = names.map(|name| Selector::parse(name).expect("a name of the table"));
        parsed.collect()
    }

    /// Returns a course for the scrapes of one workload.
    pub fn course(&self) -> Course {
        self.names.course()
    }

    /// Returns every quantity over a workload that ended at this stamp.
    pub fn told(&self, course: &Course, t_end_ns: u64) -> Vec<(Quantity, PageFigure)> {
        let tracks = course.until(t_end_ns);
        let one = |quantity| {
            let told = match &tracks {
                Ok(tracks) => self.figure(quantity, tracks),
                Err(unknown) => self
                    .own_name(quantity)
                    .map(|_| PageFigure::absent(why(*unknown).to_string())),
            };
            let missing = || PageFigure::absent(self.missing(quantity));
            (quantity, told.unwrap_or_else(missing))
        };
        Quantity::ALL.into_iter().map(one).collect()
    }

    /// Returns what is known while the workload goes on.
    pub fn now(&self, course: &Course) -> Now {
        let tracks = course.so_far();
        // The scrape before the start tells of earlier work.
        if !tracks.has_inside {
            return Now::default();
        }
        let latest = |quantity| {
            let mut sources = self.of_quantity(quantity);
            sources.find_map(|(source, scale)| {
                let place = self.names.place(source.names().next()?);
                let level = tracks.of(place)?.latest?;
                Some(level * scale.as_ref()?.factor)
            })
        };
        Now {
            hit_rate: self
                .figure(Quantity::PrefixHitRate, &tracks)
                .and_then(|figure| figure.value),
            kv_use: latest(Quantity::KvUse),
            running: latest(Quantity::RunningPeak),
            waiting: latest(Quantity::WaitingPeak),
        }
    }

    /// Returns a quantity over a workload up to the newest scrape, and when that ended; `None`: unknown so far.
    pub fn so_far(&self, quantity: Quantity, course: &Course) -> Option<(f64, u64)> {
        let value = self.figure(quantity, &course.so_far())?.value?;
        Some((value, course.newest_ns()?))
    }

    fn figure(&self, quantity: Quantity, tracks: &Tracks) -> Option<PageFigure> {
        let names = &self.names;
        let readings = Readings { names, tracks };
        let mut sources = self.of_quantity(quantity);
        sources.find_map(|(source, scale)| readings.figure(source, scale.as_ref()))
    }

    fn of_quantity(
        &self,
        quantity: Quantity,
    ) -> impl Iterator<Item = &(&'static Source, Option<Scale>)> {
        let sources = self.sources.iter();
        sources.filter(move |(source, _)| source.quantity == quantity)
    }

    /// Returns the reason why a quantity that no scrape shows has no figure.
    fn missing(&self, quantity: Quantity) -> String {
        match (self.own_name(quantity), self.engine) {
            (Some(name), _) => format!("no {name} on the page"),
            (None, Some(engine)) => format!("{} exposes no {}", engine.name, quantity.what()),
            (None, None) => "no metrics of a known engine on the page".to_string(),
        }
    }

    /// Returns the first name that any version of the engine has for the quantity.
    fn own_name(&self, quantity: Quantity) -> Option<&'static str> {
        let sources = SOURCES.iter().filter(|source| source.quantity == quantity);
        let mut names = sources.flat_map(Source::names);
        let mut hits = PAIRS.iter().flat_map(|pair| pair.hits).copied();
        match quantity.is_of_pairs() {
            true => hits.find(|name| is_own(self.engine, name)),
            false => names.find(|name| is_own(self.engine, name)),
        }
    }
}

fn is_own(engine: Option<&Engine>, name: &str) -> bool {
    name.starts_with("process_") || engine.is_some_and(|engine| engine.exposes(name))
}

fn scale(page: &Exposition, how: &How) -> Option<Scale> {
    match *how {
        How::Peak(gauge) | How::MeanInside(gauge) => Some(Scale::of_ranks(page, gauge)),
        How::PeakOf(gauge, size) => Scale::of_size(page, gauge, size),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Observation;
    use super::super::parse::parse;
    use super::super::series::Wanted;
    use super::super::tests::recorded;
    use super::*;

    const S: u64 = 1_000_000_000;

    /// Over a workload from the first page to the last, the n-th of which is read in the n-th second.
    fn told(backend: Option<&str>, pages: &[&str]) -> Vec<(Quantity, PageFigure)> {
        let watch = Watch::choose(&parse(pages[0]).expect("a page"), backend);
        let course = course(&watch, pages, S + S / 2);
        watch.told(&course, pages.len() as u64 * S)
    }

    /// The scrapes of a workload that starts at this stamp.
    fn course(watch: &Watch, pages: &[&str], t_start_ns: u64) -> Course {
        let wanted = Wanted::new(watch.selectors());
        let mut course = watch.course();
        for (text, second) in pages.iter().zip(1..) {
            let seen = Observation {
                t_begin_ns: second * S,
                t_end_ns: second * S + S / 4,
                values: wanted.read(&parse(text).expect("a page")),
            };
            course.add(seen, Some(t_start_ns));
        }
        course
    }

    #[test]
    fn while_the_workload_goes_on_the_rate_is_of_all_and_the_gauges_are_the_latest() {
        let page = |k: u32, busy: &str| {
            format!(
                "vllm:prompt_tokens_total {}\nvllm:prompt_tokens_cached_total {}\n\
                 vllm:kv_cache_usage_perc{{engine=\"0\"}} 0.{busy}\n\
                 vllm:kv_cache_usage_perc{{engine=\"1\"}} 0.{busy}\n\
                 vllm:num_requests_running{{engine=\"0\"}} {k}\n\
                 vllm:num_requests_running{{engine=\"1\"}} {k}\n",
                100 * k,
                25 * k
            )
        };
        let pages = [page(1, "5"), page(2, "75"), page(4, "25")];
        let pages = pages.each_ref().map(String::as_str);
        let watch = Watch::choose(&parse(pages[0]).expect("a page"), None);
        let now = |pages| watch.now(&course(&watch, pages, S + S / 2));
        // Only the one before the start.
        assert_eq!(now(&pages[..1]), Now::default());
        let wanted = Now {
            // (100 − 25) / (400 − 100).
            hit_rate: Some(0.25),
            kv_use: Some(0.25),
            // 4 on each of two engines.
            running: Some(8.0),
            waiting: None,
        };
        assert_eq!(now(&pages[..]), wanted);
    }

    #[test]
    fn hits_are_told_by_tier_where_the_engine_tells_them() {
        let vllm = |k: u32| {
            let source = |name: &str, per: u32| {
                let tokens = per * k;
                format!("vllm:prompt_tokens_cached_by_source_total{{source=\"{name}\"}} {tokens}\n")
            };
            let all = ["device", "host", "disk", "p2p"]
                .into_iter()
                .zip([40, 25, 4, 1]);
            let all: String = all.map(|(name, per)| source(name, per)).collect();
            // Lookups of requests that have no token yet.
            let lookups = format!("vllm:prefix_cache_queries_total {}\n", 150 * k);
            format!("{lookups}vllm:prompt_tokens_total {}\n{all}", 100 * k)
        };
        // Before tiers were told one by one.
        let older = |k: u32| {
            format!(
                "vllm:prefix_cache_queries_total {}\nvllm:prefix_cache_hits_total {}\n\
                 vllm:external_prefix_cache_hits_total {}\n",
                100 * k,
                40 * k,
                30 * k
            )
        };
        let sglang = |k: u32| {
            let source = |name: &str, per: u32| {
                format!(
                    "sglang:cached_tokens_total{{cache_source=\"{name}\"}} {}\n",
                    per * k
                )
            };
            let all = ["device", "host", "storage_file"]
                .into_iter()
                .zip([40, 25, 5]);
            let all: String = all.map(|(name, per)| source(name, per)).collect();
            format!("sglang:prompt_tokens_total {}\n{all}", 100 * k)
        };
        let lmcache = |k: u32| {
            format!(
                "lmcache_mp_lookup_requested_tokens_total {}\nlmcache_mp_lookup_hit_l1_tokens_total {}\n\
                 lmcache_mp_lookup_hit_l2_tokens_total {}\n",
                100 * k,
                25 * k,
                5 * k
            )
        };
        for (engine, pages, wanted) in [
            // 4 + 1 from beyond the host.
            (
                "vLLM",
                [vllm(1), vllm(3)],
                [Some(0.4), Some(0.25), Some(0.05)],
            ),
            (
                "older vLLM",
                [older(1), older(3)],
                [Some(0.4), None, Some(0.3)],
            ),
            (
                "SGLang",
                [sglang(1), sglang(3)],
                [Some(0.4), Some(0.25), Some(0.05)],
            ),
            (
                "LMCache",
                [lmcache(1), lmcache(3)],
                [None, Some(0.25), Some(0.05)],
            ),
        ] {
            let told = told(None, &pages.each_ref().map(String::as_str));
            let tiers = [
                Quantity::DeviceHitRate,
                Quantity::HostHitRate,
                Quantity::RemoteHitRate,
            ];
            let value = |tier| told.iter().find(|(told, _)| *told == tier)?.1.value;
            assert_eq!(tiers.map(value), wanted, "{engine}");
        }
        let plain =
            |k: u32| format!("sglang:prompt_tokens_total {k}00\nsglang:cached_tokens_total {k}0\n");
        check(
            &told(None, &[&plain(1), &plain(2)]),
            &[
                (
                    Quantity::RemoteHitRate,
                    None,
                    "no sglang:cached_tokens_total on the page",
                ),
                (
                    Quantity::HitTokens,
                    Some(10.0),
                    "Δ sglang:cached_tokens_total",
                ),
                (
                    Quantity::LookupTokens,
                    Some(100.0),
                    "Δ sglang:prompt_tokens_total",
                ),
            ],
        );
    }

    #[test]
    fn sglang_tells_hits_by_mode_before_its_counter_of_cached_tokens_is_there() {
        let effective = |k: u32| {
            let modes = ["device_hit", "host_hit", "storage_hit", "input"];
            let all = modes.into_iter().zip([40, 25, 5, 30]);
            let all = all.map(|(mode, per)| {
                let tokens = per * k;
                format!("sglang:prefill_effective_tokens_total{{mode=\"{mode}\"}} {tokens}\n")
            });
            format!(
                "sglang:prompt_tokens_total {}\n{}",
                100 * k,
                all.collect::<String>()
            )
        };
        let pages = [effective(1), effective(3)];
        // No cached_tokens_total, since nothing was found before the first hit. 40 + 25 + 5 of 100.
        check(
            &told(None, &pages.each_ref().map(String::as_str)),
            &[
                (
                    Quantity::PrefixHitRate,
                    Some(0.7),
                    "(Δ sglang:prefill_effective_tokens_total{mode=\"device_hit\"} + \
                     Δ sglang:prefill_effective_tokens_total{mode=\"host_hit\"} + \
                     Δ sglang:prefill_effective_tokens_total{mode=\"storage_hit\"}) / \
                     Δ sglang:prefill_effective_tokens_total",
                ),
                (
                    Quantity::LookupTokens,
                    Some(200.0),
                    "Δ sglang:prefill_effective_tokens_total",
                ),
                (
                    Quantity::HostHitRate,
                    Some(0.25),
                    "Δ sglang:prefill_effective_tokens_total{mode=\"host_hit\"} / \
                     Δ sglang:prefill_effective_tokens_total",
                ),
                (
                    Quantity::RemoteHitRate,
                    Some(0.05),
                    "Δ sglang:prefill_effective_tokens_total{mode=\"storage_hit\"} / \
                     Δ sglang:prefill_effective_tokens_total",
                ),
            ],
        );
    }

    #[test]
    fn what_a_tier_leaves_is_less_the_sum_of_the_others() {
        let page = |k: u32| {
            let source = |name: &str, per: u32| {
                format!(
                    "sglang:cached_tokens_total{{cache_source=\"{name}\"}} {}\n",
                    per * k
                )
            };
            let all = [("device", 40), ("host", 25), ("storage_file", 5)];
            let all: String = all
                .into_iter()
                .map(|(name, per)| source(name, per))
                .collect();
            format!("sglang:prompt_tokens_total {}\n{all}", 100 * k)
        };
        check(
            &told(None, &[&page(1), &page(3)]),
            &[(
                Quantity::RemoteHitRate,
                Some(0.05),
                "(Δ sglang:cached_tokens_total less (Δ sglang:cached_tokens_total{cache_source=\"device\"} + \
                 Δ sglang:cached_tokens_total{cache_source=\"host\"})) / Δ sglang:prompt_tokens_total",
            )],
        );
    }

    #[test]
    fn tensorrt_llm_counts_hits_in_tokens_or_in_blocks() {
        let tokens = |k: u32| {
            format!(
                "trtllm_prompt_tokens_total {}\ntrtllm_prompt_cache_hit_tokens_total {}\n",
                100 * k,
                30 * k
            )
        };
        check(
            &told(None, &[&tokens(1), &tokens(3)]),
            &[
                (
                    Quantity::PrefixHitRate,
                    Some(0.3),
                    "Δ trtllm_prompt_cache_hit_tokens_total / Δ trtllm_prompt_tokens_total",
                ),
                (
                    Quantity::HitTokens,
                    Some(60.0),
                    "Δ trtllm_prompt_cache_hit_tokens_total",
                ),
            ],
        );
        // 20 of 20 + 60 blocks.
        let blocks = |k: u32| {
            format!(
                "trtllm_kv_cache_reused_blocks_total {}\ntrtllm_kv_cache_missed_blocks_total {}\n",
                10 * k,
                30 * k
            )
        };
        check(
            &told(None, &[&blocks(1), &blocks(3)]),
            &[
                (
                    Quantity::PrefixHitRate,
                    Some(0.25),
                    "Δ trtllm_kv_cache_reused_blocks_total / \
                     (Δ trtllm_kv_cache_reused_blocks_total + Δ trtllm_kv_cache_missed_blocks_total)",
                ),
                (
                    Quantity::HitTokens,
                    None,
                    "Δ trtllm_kv_cache_reused_blocks_total: counts blocks",
                ),
            ],
        );
    }

    #[test]
    fn retrieved_tokens_of_lmcache_are_no_hit_rate() {
        let page = "lmcache:num_requested_tokens_total 100\nlmcache:num_hit_tokens_total 100\n";
        let told = told(None, &[page, page]);
        assert!(
            told.iter().all(|(_, figure)| figure.value.is_none()),
            "{told:?}"
        );
    }

    #[test]
    fn counts_that_may_be_of_blocks_are_no_counts_of_tokens() {
        let page = |k: u32| {
            format!(
                "vllm:gpu_prefix_cache_queries_total {k}0\nvllm:gpu_prefix_cache_hits_total {k}\n"
            )
        };
        let of_blocks = "Δ vllm:gpu_prefix_cache_hits_total: counts blocks in some versions";
        check(
            &told(None, &[&page(1), &page(3)]),
            &[
                (
                    Quantity::PrefixHitRate,
                    Some(0.1),
                    "Δ vllm:gpu_prefix_cache_hits_total / Δ vllm:gpu_prefix_cache_queries_total",
                ),
                (Quantity::HitTokens, None, of_blocks),
            ],
        );
    }

    #[test]
    fn requests_are_a_mean_of_the_readings_inside_and_a_peak_of_all() {
        let page = |running: [u32; 2], waiting: u32| {
            format!(
                "sglang:num_running_reqs{{dp_rank=\"0\"}} {}\nsglang:num_running_reqs{{dp_rank=\"1\"}} {}\n\
                 sglang:num_queue_reqs{{dp_rank=\"0\"}} {waiting}\n",
                running[0], running[1]
            )
        };
        let pages = [
            page([0, 0], 0),
            page([4, 2], 1),
            page([2, 0], 0),
            page([0, 0], 0),
        ];
        let inside = |name: &str, ranks: &str| format!("mean of 2 readings of {name}{ranks}");
        check(
            &told(None, &pages.each_ref().map(String::as_str)),
            &[
                // 6 and 2.
                (
                    Quantity::RunningMean,
                    Some(4.0),
                    &inside("sglang:num_running_reqs", " × 2 ranks"),
                ),
                (
                    Quantity::RunningPeak,
                    Some(6.0),
                    "peak of 4 readings of sglang:num_running_reqs × 2 ranks",
                ),
                (
                    Quantity::WaitingMean,
                    Some(0.5),
                    &inside("sglang:num_queue_reqs", ""),
                ),
                (
                    Quantity::WaitingPeak,
                    Some(1.0),
                    "peak of 4 readings of sglang:num_queue_reqs",
                ),
            ],
        );
        check(
            &told(None, &[&pages[0], &pages[3]]),
            &[(
                Quantity::RunningMean,
                None,
                "no reading of sglang:num_running_reqs while requests were in flight",
            )],
        );
    }

    #[test]
    fn the_share_of_the_kv_cache_needs_no_size() {
        for (name, source) in [
            ("vllm:kv_cache_usage_perc", "vllm:kv_cache_usage_perc"),
            (
                "lmdeploy:gpu_cache_usage_perc",
                "lmdeploy:gpu_cache_usage_perc",
            ),
            ("sglang_token_usage", "sglang_token_usage"),
        ] {
            let [low, high] = ["0.25", "0.5"].map(|share| format!("{name} {share}\n"));
            let source = format!("peak of 2 readings of {source}");
            check(
                &told(None, &[&low, &high]),
                &[(Quantity::KvUse, Some(0.5), &source)],
            );
        }
    }

    /// Value and source of the quantities that are asked for, in their order.
    fn check(told: &[(Quantity, PageFigure)], expected: &[(Quantity, Option<f64>, &str)]) {
        for (quantity, value, source) in expected {
            let (_, told) = told.iter().find(|(told, _)| told == quantity).expect("all");
            assert_eq!((told.value, told.source.as_str()), (*value, *source));
        }
    }

    #[test]
    fn a_recorded_page_of_vllm_and_a_later_one_give_every_figure_that_it_has() {
        let first = recorded("vllm/metrics.raw");
        let labels = r#"{engine="0",model_name="tiny-chain"}"#;
        let set = |page: &str, name: &str, from: &str, to: &str| {
            let line = |value: &str| format!("{name}{labels} {value}\n");
            assert!(page.contains(&line(from)), "{name}");
            page.replace(&line(from), &line(to))
        };
        let busy = set(&first, "vllm:kv_cache_usage_perc", "0.0", "0.25");
        let busy = busy.replace("bytes 9.7650688e+08", "bytes 1.0e+09");
        let last = set(&first, "vllm:prompt_tokens_total", "1262.0", "1662.0");
        let last = set(&last, "vllm:prompt_tokens_cached_total", "512.0", "612.0");
        let last = set(&last, "vllm:num_preemptions_total", "0.0", "3.0");
        check(
            &told(None, &[&first, &busy, &last]),
            &[
                // 8192 blocks of 128 tokens, one of them the null block, and a quarter of the others.
                (
                    Quantity::KvUsedTokens,
                    Some(262_112.0),
                    "peak of 3 readings of vllm:kv_cache_usage_perc × 1048448 tokens of \
                     vllm:cache_config_info (kv_cache_size_tokens, less the null block)",
                ),
                // (612 − 512) / (1662 − 1262).
                (
                    Quantity::PrefixHitRate,
                    Some(0.25),
                    "Δ vllm:prompt_tokens_cached_total / Δ vllm:prompt_tokens_total",
                ),
                (
                    Quantity::Evictions,
                    None,
                    "no vllm:kv_block_lifetime_seconds_count on the page",
                ),
                (Quantity::EvictMs, None, "vLLM exposes no eviction time"),
                (
                    Quantity::Preemptions,
                    Some(3.0),
                    "Δ vllm:num_preemptions_total",
                ),
                (
                    Quantity::SpecAcceptRate,
                    None,
                    "no vllm:spec_decode_num_accepted_tokens_total on the page",
                ),
                (
                    Quantity::ResidentBytesPeak,
                    Some(1e9),
                    "peak of 3 readings of process_resident_memory_bytes (of the process that serves \
                     the page only)",
                ),
                // (976506880 + 1000000000 + 976506880) / 3.
                (
                    Quantity::ResidentBytesMean,
                    Some(2_953_013_760.0 / 3.0),
                    "mean of 3 readings of process_resident_memory_bytes (of the process that serves \
                     the page only)",
                ),
            ],
        );
    }

    #[test]
    fn a_recorded_page_of_llama_cpp_has_hits_and_draft_tokens_and_says_what_it_lacks() {
        let first = recorded("llama-server/metrics.raw");
        let last = first
            .replace("tokens_total 427", "tokens_total 727")
            .replace("cached_total 918", "cached_total 1018")
            .replace("draft_tokens_total 0", "draft_tokens_total 40")
            .replace("accepted_tokens_total 0", "accepted_tokens_total 10");
        let hits = "Δ llamacpp:prompt_tokens_cached_total / (Δ llamacpp:prompt_tokens_cached_total + \
                    Δ llamacpp:prompt_tokens_total)";
        let drafts = "Δ llamacpp:spec_decode_num_accepted_tokens_total / \
                      Δ llamacpp:spec_decode_num_draft_tokens_total";
        check(
            &told(None, &[&first, &last]),
            &[
                (
                    Quantity::KvUsedTokens,
                    None,
                    "no llamacpp:kv_cache_tokens on the page",
                ),
                // 100 / (100 + 300).
                (Quantity::PrefixHitRate, Some(0.25), hits),
                (Quantity::Evictions, None, "llama.cpp exposes no evictions"),
                (
                    Quantity::Preemptions,
                    None,
                    "llama.cpp exposes no preemptions",
                ),
                (Quantity::SpecAcceptRate, Some(0.25), drafts),
                (
                    Quantity::ResidentBytesMean,
                    None,
                    "no process_resident_memory_bytes on the page",
                ),
            ],
        );
        let idle = [
            (
                Quantity::PrefixHitRate,
                None,
                format!("{hits}: the latter is 0"),
            ),
            (
                Quantity::SpecAcceptRate,
                None,
                format!("{drafts}: the latter is 0"),
            ),
        ];
        let idle = idle
            .each_ref()
            .map(|(quantity, value, source)| (*quantity, *value, source.as_str()));
        check(&told(None, &[&first, &first]), &idle);
    }

    #[test]
    fn two_engines_of_vllm_are_a_mean_share_of_both_sizes_and_a_sum_of_counters() {
        let page = |usage: [f64; 2], preemptions: [u64; 2]| {
            let engine = |k: usize| {
                format!(
                    "vllm:kv_cache_usage_perc{{engine=\"{k}\"}} {}\n\
                     vllm:num_preemptions_total{{engine=\"{k}\"}} {}\n\
                     vllm:cache_config_info{{engine=\"{k}\",block_size=\"16\",num_gpu_blocks=\"256\"}} 1.0\n",
                    usage[k], preemptions[k]
                )
            };
            format!(
                "# TYPE vllm:num_preemptions counter\n{}{}",
                engine(0),
                engine(1)
            )
        };
        let pages = [page([0.5, 0.25], [1, 2]), page([0.0, 0.0], [2, 4])];
        check(
            &told(Some("vllm"), &[&pages[0], &pages[1]]),
            &[
                // (0.5 + 0.25) / 2 of 2 × 255 × 16; 2 + 4 − 1 − 2.
                (
                    Quantity::KvUsedTokens,
                    Some(3060.0),
                    "peak of 2 readings of vllm:kv_cache_usage_perc × 8160 tokens of \
                     vllm:cache_config_info (2 engines)",
                ),
                (
                    Quantity::Preemptions,
                    Some(3.0),
                    "Δ vllm:num_preemptions_total",
                ),
            ],
        );
    }

    #[test]
    fn figures_of_renamed_names_say_the_names_that_are_on_the_page() {
        let vllm = |k: u32| {
            format!(
                "ray_vllm_kv_cache_usage_perc{{WorkerId=\"w\"}} 0.25\n\
                 ray_vllm_cache_config_info{{block_size=\"16\",num_gpu_blocks=\"256\"}} 1\n\
                 # TYPE ray_vllm_num_preemptions_total counter\nray_vllm_num_preemptions_total {k}\n\
                 # TYPE ray_vllm_prompt_tokens_total counter\nray_vllm_prompt_tokens_total {}\n\
                 # TYPE ray_vllm_prompt_tokens_cached_total counter\n\
                 ray_vllm_prompt_tokens_cached_total {}\n",
                100 * k,
                25 * k
            )
        };
        check(
            &told(Some("vllm"), &[&vllm(1), &vllm(2), &vllm(3)]),
            &[
                // A quarter of 255 blocks of 16 tokens.
                (
                    Quantity::KvUsedTokens,
                    Some(1020.0),
                    "peak of 3 readings of ray_vllm_kv_cache_usage_perc × 4080 tokens of \
                     ray_vllm_cache_config_info (num_gpu_blocks 256 × block_size 16, less the null \
                     block)",
                ),
                // (75 − 25) / (300 − 100).
                (
                    Quantity::PrefixHitRate,
                    Some(0.25),
                    "Δ ray_vllm_prompt_tokens_cached_total / Δ ray_vllm_prompt_tokens_total",
                ),
                (
                    Quantity::Preemptions,
                    Some(2.0),
                    "Δ ray_vllm_num_preemptions_total",
                ),
            ],
        );
        let sglang = |k: u32| {
            format!(
                "sglang_token_usage{{dp_rank=\"0\"}} 0.5\nsglang_token_usage{{dp_rank=\"1\"}} 0.5\n\
                 sglang_max_total_num_tokens{{dp_rank=\"0\"}} 800\n\
                 sglang_max_total_num_tokens{{dp_rank=\"1\"}} 800\n\
                 # TYPE sglang_evicted_tokens_total counter\nsglang_evicted_tokens_total {}\n",
                64 * k
            )
        };
        check(
            &told(None, &[&sglang(1), &sglang(2)]),
            &[
                // Half of 2 × 800.
                (
                    Quantity::KvUsedTokens,
                    Some(800.0),
                    "peak of 2 readings of sglang_token_usage × 1600 tokens of \
                     sglang_max_total_num_tokens",
                ),
                (
                    Quantity::Evictions,
                    Some(64.0),
                    "Δ sglang_evicted_tokens_total (tokens; every TP rank counts its own)",
                ),
            ],
        );
    }

    #[test]
    fn use_that_no_scrape_saw_is_not_0() {
        let page = recorded("vllm/metrics.raw");
        let unseen = [(
            Quantity::KvUsedTokens,
            None,
            "no reading of vllm:kv_cache_usage_perc while requests were in flight",
        )];
        check(&told(None, &[&page, &page]), &unseen);
        // One that was read meanwhile is: nothing was in use.
        let seen = [(
            Quantity::KvUsedTokens,
            Some(0.0),
            "peak of 3 readings of vllm:kv_cache_usage_perc × 1048448 tokens of \
             vllm:cache_config_info (kv_cache_size_tokens, less the null block)",
        )];
        check(&told(None, &[&page, &page, &page]), &seen);
        // The second page was asked for at 2 s and had been read at 2.25 s: nobody knows whether it was made before or
        // after a request that began or ended meanwhile.
        let watch = Watch::choose(&parse(&page).expect("a page"), None);
        let meanwhile_ns = 2 * S + S / 8;
        for (t_start_ns, t_end_ns) in [(meanwhile_ns, 3 * S), (S + S / 2, meanwhile_ns)] {
            let course = course(&watch, &[&page, &page, &page], t_start_ns);
            let told = watch.told(&course, t_end_ns);
            check(&told, &unseen);
        }
    }

    #[test]
    fn sglang_gives_tokens_evictions_their_time_retractions_and_the_gauge_of_its_drafts() {
        let page = |used: [u64; 2], accepted: f64, evictions: &str| {
            format!(
                "sglang:kv_used_tokens{{dp_rank=\"0\"}} {}\nsglang:kv_used_tokens{{dp_rank=\"1\"}} {}\n\
                 sglang:spec_accept_rate{{dp_rank=\"0\"}} {accepted}\n\
                 sglang:num_retracted_requests_total 1\n\
                 sglang:prompt_tokens_total 100\n{evictions}",
                used[0], used[1]
            )
        };
        // The first rate is of what came before, 0 is a pause.
        let pages = [
            page([100, 50], 0.9, ""),
            page(
                [300, 100],
                0.5,
                "sglang:evicted_tokens_total 64\nsglang:eviction_duration_seconds_sum 0.01\n",
            ),
            page(
                [0, 0],
                0.0,
                "sglang:evicted_tokens_total 96\nsglang:eviction_duration_seconds_sum 0.25\n",
            ),
            page(
                [0, 0],
                0.7,
                "sglang:evicted_tokens_total 96\nsglang:eviction_duration_seconds_sum 0.25\n",
            ),
        ];
        let pages = pages.each_ref().map(String::as_str);
        check(
            &told(Some("sglang"), &pages),
            &[
                (
                    Quantity::KvUsedTokens,
                    Some(400.0),
                    "peak of 4 readings of sglang:kv_used_tokens × 2 ranks",
                ),
                (
                    Quantity::PrefixHitRate,
                    None,
                    "no sglang:cached_tokens_total on the page",
                ),
                (
                    Quantity::Evictions,
                    Some(96.0),
                    "Δ sglang:evicted_tokens_total (tokens; every TP rank counts its own)",
                ),
                (
                    Quantity::EvictMs,
                    Some(250.0),
                    "Δ sglang:eviction_duration_seconds_sum (every TP rank counts its own)",
                ),
                (
                    Quantity::Preemptions,
                    Some(0.0),
                    "Δ sglang:num_retracted_requests_total",
                ),
                (
                    Quantity::SpecAcceptRate,
                    Some(0.6),
                    "mean of 2 readings of sglang:spec_accept_rate above 0 (each of one interval)",
                ),
            ],
        );
        let off = page([0, 0], 0.0, "");
        check(
            &told(None, &[&off, &off]),
            &[(
                Quantity::SpecAcceptRate,
                None,
                "sglang:spec_accept_rate: 0 in every reading",
            )],
        );
    }

    #[test]
    fn a_share_is_tokens_only_where_the_page_tells_of_how_many() {
        let peak = |text: &str| told(None, &[text, text]).remove(0).1;
        for (page, value, source) in [
            (
                "vllm:gpu_cache_usage_perc 0.5\n\
                 vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"256\"} 1\n",
                // Half of 255 blocks.
                Some(2040.0),
                "peak of 2 readings of vllm:gpu_cache_usage_perc × 4080 tokens of \
                 vllm:cache_config_info (num_gpu_blocks 256 × block_size 16, less the null block)",
            ),
            (
                "vllm:kv_cache_usage_perc 0.5\n\
                 vllm:cache_config_info{block_size=\"16\",kv_cache_size_tokens=\"4096\"} 1\n",
                Some(2048.0),
                "peak of 2 readings of vllm:kv_cache_usage_perc × 4096 tokens of \
                 vllm:cache_config_info (kv_cache_size_tokens)",
            ),
            (
                "vllm:kv_cache_usage_perc 0.5\n\
                 vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1\n",
                None,
                "vllm:kv_cache_usage_perc: the page does not tell of how many tokens",
            ),
            (
                "sglang:token_usage 0.25\nsglang:max_total_num_tokens 8000\n",
                Some(2000.0),
                "peak of 2 readings of sglang:token_usage × 8000 tokens of sglang:max_total_num_tokens",
            ),
            (
                "trtllm_kv_cache_used_blocks 8\ntrtllm_kv_cache_tokens_per_block 32\n",
                Some(256.0),
                "peak of 2 readings of trtllm_kv_cache_used_blocks × 32 tokens of \
                 trtllm_kv_cache_tokens_per_block",
            ),
            (
                "lmdeploy:gpu_cache_usage_perc 0.5\n",
                None,
                "lmdeploy:gpu_cache_usage_perc: the page does not tell of how many tokens",
            ),
            (
                "llamacpp:kv_cache_tokens 1234\n",
                Some(1234.0),
                "peak of 2 readings of llamacpp:kv_cache_tokens",
            ),
            (
                "llamacpp:kv_cache_tokens -1\n",
                None,
                "peak of 0 readings of llamacpp:kv_cache_tokens: not a number",
            ),
        ] {
            let told = peak(page);
            assert_eq!((told.value, told.source.as_str()), (value, source));
        }
    }

    #[test]
    fn a_restart_and_a_missing_scrape_leave_no_value_and_say_so() {
        let page = |preemptions: u64| format!("vllm:num_preemptions_total {preemptions}\n");
        let pages = [page(5), page(1), page(9)];
        let pages = pages.each_ref().map(String::as_str);
        let fell = "Δ vllm:num_preemptions_total: it fell: the server restarted";
        check(&told(None, &pages), &[(Quantity::Preemptions, None, fell)]);
        let watch = Watch::choose(&parse(pages[0]).expect("a page"), None);
        for (start_ns, end_ns, why) in [
            (S / 2, 3 * S, "no reading of the page before the workload"),
            (2 * S, 4 * S, "no reading of the page after the workload"),
        ] {
            let told = watch.told(&course(&watch, &pages, start_ns), end_ns);
            check(
                &told,
                &[
                    (Quantity::Preemptions, None, why),
                    (Quantity::ResidentBytesPeak, None, why),
                    (Quantity::EvictMs, None, "vLLM exposes no eviction time"),
                ],
            );
        }
    }

    #[test]
    fn a_page_without_an_engines_names_has_nothing_but_the_process() {
        let foreign = "go_goroutines 7\nprocess_resident_memory_bytes 4096\n";
        let told_of_it = told(None, &[foreign, foreign]);
        assert_eq!(told_of_it.len(), Quantity::ALL.len());
        for (quantity, told) in &told_of_it[..16] {
            let why = "no metrics of a known engine on the page";
            assert_eq!(
                (told.value, told.source.as_str()),
                (None, why),
                "{quantity:?}"
            );
        }
        assert_eq!(told_of_it[16].1.value, Some(4096.0));
        // Asked for another engine's names than those of the page.
        let vllm = recorded("vllm/metrics.raw");
        check(
            &told(Some("sglang"), &[&vllm, &vllm]),
            &[
                (
                    Quantity::KvUsedTokens,
                    None,
                    "no sglang:kv_used_tokens on the page",
                ),
                (
                    Quantity::PrefixHitRate,
                    None,
                    "no sglang:cached_tokens_total on the page",
                ),
            ],
        );
        check(
            &told(Some("cpu"), &[foreign, foreign]),
            &[(
                Quantity::PrefixHitRate,
                None,
                "transformers exposes no prefix cache hits",
            )],
        );
    }

    #[test]
    fn lmcache_beside_an_engine_gives_hits_and_evictions_when_it_makes_its_counters() {
        let vllm = "vllm:prompt_tokens_total 100\nvllm:prompt_tokens_cached_total 10\n";
        let both = "vllm:prompt_tokens_total 200\nvllm:prompt_tokens_cached_total 20\n\
                    lmcache:num_lookup_tokens_total 50\nlmcache:num_lookup_hits_total 40\n\
                    lmcache:local_cpu_evict_keys_count_total 7\n";
        check(
            &told(Some("vllm"), &[vllm, both]),
            &[
                (
                    Quantity::PrefixHitRate,
                    Some(0.8),
                    "Δ lmcache:num_lookup_hits / Δ lmcache:num_lookup_tokens",
                ),
                (
                    Quantity::Evictions,
                    Some(7.0),
                    "Δ lmcache:local_cpu_evict_keys_count (chunks, from LMCache's CPU buffer)",
                ),
            ],
        );
    }

    #[test]
    fn the_engine_is_the_one_that_is_named_or_shown_and_its_version_is_in_an_info_metric() {
        for (backend, page, name) in [
            (None, "lmcache:x 1\nsglang:y 1\n", Some("SGLang")),
            (Some("command"), "trtllm_x 1\n", Some("TensorRT-LLM")),
            (Some("mock"), "up 1\n", Some("vLLM")),
            (Some("lmdeploy"), "vllm:x 1\n", Some("LMDeploy")),
            (None, "up 1\n", None),
        ] {
            let page = parse(page).expect("a page");
            assert_eq!(Watch::choose(&page, backend).engine(), name);
        }
        let version = |text: &str| {
            let watch = Watch::choose(&parse(text).expect("a page"), None);
            watch.engine_version().map(str::to_string)
        };
        assert_eq!(version(&recorded("vllm/metrics.raw")), None);
        assert_eq!(version(&recorded("llama-server/metrics.raw")), None);
        let told = "python_info{version=\"3.11\"} 1\nvllm:build_info{version=\"0.40.1\"} 1\n";
        assert_eq!(version(told), Some("0.40.1".to_string()));
    }
}
