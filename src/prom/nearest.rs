//! Suggestions for a name that was not found: the nearest exposed names.

use super::engine::canonical;
use crate::error::distance;

/// How many names are suggested.
const OFFERED: usize = 5;
/// The least length of a text to search inside names; shorter ones are part of too many names by chance.
const MIN_PART_CHARS: usize = 3;

/// Returns the five names nearest to `asked`, nearest first; fewer if the page has fewer.
///
/// An engine's names count as if they had its own prefix. First those with a few letters changed or with one name
/// inside the other, then those with most of its words, then by distance. One distance a name: for the start of a run,
/// not for each scrape.
pub fn nearest<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let own = |name: &str| canonical(&name.to_ascii_lowercase()).into_owned();
    let asked = own(asked);
    let words: Vec<&str> = asked
        .split(['_', ':'])
        .filter(|word| word.len() >= MIN_PART_CHARS && *word != "total")
        .collect();
    let mut ranked: Vec<(usize, usize, &str)> = names
        .map(|name| {
            let lower = own(name);
            let distance = distance(&asked, &lower);
            let missing = words.iter().filter(|word| !lower.contains(**word)).count();
            let is_near = distance <= asked.len() / 3 || is_inside(&asked, &lower);
            (if is_near { 0 } else { 1 + missing }, distance, name)
        })
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    let names = ranked.into_iter().map(|(_, _, name)| name.to_string());
    names.take(OFFERED).collect()
}

fn is_inside(one: &str, other: &str) -> bool {
    let (short, long) = match one.len() <= other.len() {
        true => (one, other),
        false => (other, one),
    };
    short.len() >= MIN_PART_CHARS && long.contains(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_parts_come_first_then_shared_words_then_distance() {
        let names = [
            "up",
            "vllm:prefix_cache_hits_total",
            "vllm:kv_cache_usage_perc",
            "vllm:prefix_cache_queries_total",
            "python_info",
            "vllm:num_requests_running",
        ];
        let near = |asked| nearest(asked, names.into_iter());
        // 28 bytes against 22: six are added, at most a third of 22 is seven.
        assert_eq!(
            near("vllm:prefix_cache_hits")[0],
            "vllm:prefix_cache_hits_total"
        );
        assert_eq!(
            near("vllm:prefx_cache_hits_total")[0],
            "vllm:prefix_cache_hits_total"
        );
        assert_eq!(near("requests_running")[0], "vllm:num_requests_running");
        // Of its words kv (too short to count), cache and usage the first has both, the next two one.
        let words = near("usage_of_kv_cache");
        assert_eq!(words[0], "vllm:kv_cache_usage_perc");
        assert!(words[1].contains("prefix_cache") && words[2].contains("prefix_cache"));
        assert_eq!(words.len(), 5);
        assert_eq!(nearest("x", ["a", "a"].into_iter()), ["a"]);
        let renamed = ["vllm:x", "ray_vllm_num_requests_running"].into_iter();
        assert_eq!(
            nearest("vllm:num_request_running", renamed)[0],
            "ray_vllm_num_requests_running"
        );
    }
}
