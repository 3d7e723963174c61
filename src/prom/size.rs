//! The size of a KV cache in tokens, from the page, which turns the share of a gauge into tokens.

use std::collections::HashSet;

use super::engine::{Size, spellings};
use super::parse::{Exposition, MetricSample};

/// The factor of a gauge's readings.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    pub factor: f64,
    /// The text of the factor, as in "… × 4096 tokens of …"; empty for a factor of 1.
    pub text: String,
}

impl Scale {
    /// Readings are means over data-parallel ranks: their sum is the mean times the ranks.
    pub fn of_ranks(page: &Exposition, gauge: &str) -> Scale {
        let ranks = exposed(page, gauge).map_or(1, |gauge| ranks(page, gauge));
        Scale {
            factor: ranks as f64,
            text: match ranks {
                1 => String::new(),
                ranks => format!(" × {ranks} ranks"),
            },
        }
    }

    /// Works out the scale; `None`: the page does not tell the size.
    ///
    /// A share that is a mean over engines is right where these are of one size.
    pub fn of_size(page: &Exposition, gauge: &str, size: Size) -> Option<Scale> {
        match size {
            Size::ConfigInfo(info) => config_info(page, exposed(page, info)?),
            Size::ShareOf(total) => {
                let total = exposed(page, total)?;
                let tokens = mean(page, total)? * ranks(page, total) as f64;
                Some(Scale {
                    factor: tokens,
                    text: format!(" × {tokens} tokens of {total}"),
                })
            }
            Size::Block(block) => {
                let block = exposed(page, block)?;
                let tokens = mean(page, block)?;
                let ranks = Scale::of_ranks(page, gauge);
                Some(Scale {
                    factor: tokens * ranks.factor,
                    text: format!(" × {tokens} tokens of {block}{}", ranks.text),
                })
            }
            Size::Untold => None,
            Size::Share => Some(Scale {
                factor: 1.0,
                text: String::new(),
            }),
        }
    }
}

/// Returns the sum over the engines. `kv_cache_size_tokens`, which recent versions have, holds for hybrid models too,
/// whose layers do not share their blocks.
fn config_info(page: &Exposition, info: &str) -> Option<Scale> {
    let sizes: Option<Vec<(f64, String)>> = series(page, info).map(config_size).collect();
    let sizes = sizes.filter(|sizes| !sizes.is_empty())?;
    let tokens: f64 = sizes.iter().map(|(tokens, _)| tokens).sum();
    let how = match &sizes[..] {
        [(_, how)] => how.clone(),
        sizes => format!("{} engines", sizes.len()),
    };
    Some(Scale {
        factor: tokens,
        text: format!(" × {tokens} tokens of {info} ({how})"),
    })
}

/// Returns the tokens of one engine that requests can fill, and the labels that tell them.
///
/// vLLM holds one block back, the null block: its labels count it, its gauge is a share of the others.
fn config_size(sample: &MetricSample) -> Option<(f64, String)> {
    let label = |wanted: &str| -> Option<u64> {
        let mut labels = sample.labels.iter();
        let (_, value) = labels.find(|(label, _)| *label == wanted)?;
        value.parse().ok().filter(|count| *count > 0)
    };
    let blocks = label("num_gpu_blocks");
    if let Some(tokens) = label("kv_cache_size_tokens") {
        let tokens = tokens as f64;
        let how = "kv_cache_size_tokens".to_string();
        return Some(match blocks.map(|blocks| blocks as f64) {
            Some(blocks) => (
                tokens / blocks * (blocks - 1.0),
                format!("{how}, less the null block"),
            ),
            None => (tokens, how),
        });
    }
    let (blocks, block) = (blocks?, label("block_size")?);
    let how = format!("num_gpu_blocks {blocks} × block_size {block}, less the null block");
    Some(((blocks - 1) as f64 * block as f64, how))
}

/// Returns the number of data-parallel ranks among a name's series; at least 1.
fn ranks(page: &Exposition, name: &str) -> usize {
    let ranks: HashSet<Vec<String>> = series(page, name)
        .map(|sample| {
            let labels = sample.labels.iter();
            let ranks = labels.filter(|(label, _)| ["engine", "dp_rank"].contains(label));
            ranks.map(|(_, value)| value.into_owned()).collect()
        })
        .collect();
    ranks.len().max(1)
}

/// Parses a number above 0.
fn mean(page: &Exposition, name: &str) -> Option<f64> {
    let values: Vec<f64> = series(page, name).map(|sample| sample.value).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some(mean).filter(|mean| mean.is_finite() && *mean > 0.0)
}

/// Returns the first spelling of a name that is on the page.
fn exposed<'a>(page: &Exposition<'a>, name: &str) -> Option<&'a str> {
    let on_page = |name: String| page.samples.iter().find(|sample| sample.name == name);
    let sample = spellings(name).into_iter().find_map(on_page)?;
    Some(sample.name)
}

fn series<'a>(page: &'a Exposition, name: &'a str) -> impl Iterator<Item = &'a MetricSample<'a>> {
    page.samples
        .iter()
        .filter(move |sample| sample.name == name)
}
