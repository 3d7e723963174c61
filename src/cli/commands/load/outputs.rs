//! The files of `load`: figures, samples, and the result under another tool's keys.

use crate::cli::args::Args;
use crate::cli::output;
use crate::error::{Error, Result};

/// Where the results go; `None`: nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Figures as JSON.
    pub output: Option<String>,
    pub samples: Option<String>,
    /// Under the keys of a result of `vllm bench serve`.
    pub vllm: Option<String>,
}

impl Outputs {
    pub fn parse(args: &Args) -> Result<Outputs> {
        // Two words or none: the option takes a pair.
        let mut export = args.texts("--export");
        if let Some(format) = export.next().filter(|format| *format != "vllm") {
            let what = format!("--export {format}");
            return Err(Error::input(what, "no such format; want vllm"));
        }
        Ok(Outputs {
            output: args.text("--output"),
            samples: args.text("--samples"),
            vllm: export.next().map(str::to_string),
        })
    }

    /// Finds out before the first request whether the files can be written; `points` are the names of the points.
    pub fn check(&self, points: &[String]) -> Result<()> {
        let exports = self.exports(points);
        let named = [("--samples", &self.samples), ("--output", &self.output)];
        let named = named.map(|(flag, path)| (flag, path.as_deref()));
        let exports = exports.iter().map(|path| ("--export vllm", Some(&**path)));
        output::check(&named.into_iter().chain(exports).collect::<Vec<_>>())
    }

    /// A file for each point: the one that was named, in a sweep with the point's name in it.
    pub fn exports(&self, points: &[String]) -> Vec<String> {
        let Some(path) = &self.vllm else {
            return Vec::new();
        };
        if points.len() == 1 {
            return vec![path.clone()];
        }
        let folder = path.rfind('/').map_or(0, |at| at + 1);
        let stem = path[folder..].rfind('.').filter(|&at| at > 0);
        let (stem, ending) = path.split_at(stem.map_or(path.len(), |at| folder + at));
        let of = |point: &String| format!("{stem}_{point}{ending}");
        points.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_sweep_have_their_points_in_their_names() {
        let outputs = |path: &str| Outputs {
            vllm: Some(path.to_string()),
            ..Outputs::default()
        };
        let points = ["rate_0.5".to_string(), "rate_2".to_string()];
        for (path, wanted) in [
            ("r.json", ["r_rate_0.5.json", "r_rate_2.json"]),
            ("a.b/r", ["a.b/r_rate_0.5", "a.b/r_rate_2"]),
            ("a/.r", ["a/.r_rate_0.5", "a/.r_rate_2"]),
            ("./r.x.json", ["./r.x_rate_0.5.json", "./r.x_rate_2.json"]),
        ] {
            assert_eq!(outputs(path).exports(&points), wanted, "{path}");
            assert_eq!(outputs(path).exports(&points[..1]), [path], "{path}");
        }
        assert_eq!(Outputs::default().exports(&points), Vec::<String>::new());
    }
}
