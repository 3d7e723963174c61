//! The files of `load`: figures, samples, and results under the keys of `vllm bench serve`.

use crate::cli::args::Args;
use crate::cli::output;
use crate::error::{Error, Result};

/// The files of the results; `None` for outputs that are not wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// The file of figures as JSON.
    pub output: Option<String>,
    pub samples: Option<String>,
    /// Leaves the gaps between tokens out of the samples.
    pub no_gaps: bool,
    /// Files with the keys of a result of `vllm bench serve`, one for each point.
    pub vllm: Vec<String>,
}

impl Outputs {
    /// Parses the options; `points` are the names of the points.
    pub fn parse(args: &Args, points: &[String]) -> Result<Outputs> {
        // The option takes a pair, so there are two words or none.
        let mut export = args.texts("--export");
        if let Some(format) = export.next().filter(|format| *format != "vllm") {
            let what = format!("--export {format}");
            return Err(Error::input(what, "no such format; want vllm"));
        }
        Ok(Outputs {
            output: args.text("--output"),
            samples: args.text("--samples"),
            no_gaps: args.has("--no-gaps"),
            vllm: match export.next() {
                Some("-") if points.len() > 1 => {
                    let why = "a sweep writes a file for each point; want a file name";
                    return Err(Error::input("--export vllm -", why));
                }
                path => path.map_or(Vec::new(), |path| a_file_each(path, points)),
            },
        })
    }

    /// Checks before the first request that the files can be written.
    pub fn check(&self) -> Result<()> {
        let named = [("--samples", &self.samples), ("--output", &self.output)];
        let named = named.map(|(flag, path)| (flag, path.as_deref()));
        let exports = self
            .vllm
            .iter()
            .map(|path| ("--export vllm", Some(&**path)));
        output::check(&named.into_iter().chain(exports).collect::<Vec<_>>())
    }
}

/// Returns one file a point: the named one, or in a sweep names that include the point's.
fn a_file_each(path: &str, points: &[String]) -> Vec<String> {
    if points.len() == 1 {
        return vec![path.to_string()];
    }
    let folder = path.rfind('/').map_or(0, |at| at + 1);
    let stem = path[folder..].rfind('.').filter(|&at| at > 0);
    let (stem, ending) = path.split_at(stem.map_or(path.len(), |at| folder + at));
    let of = |point: &String| format!("{stem}_{point}{ending}");
    points.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::LOAD;

    #[test]
    fn the_files_of_a_sweep_have_their_points_in_their_names() {
        let points = ["rate_0.5".to_string(), "rate_2".to_string()];
        for (path, wanted) in [
            ("r.json", ["r_rate_0.5.json", "r_rate_2.json"]),
            ("a.b/r", ["a.b/r_rate_0.5", "a.b/r_rate_2"]),
            ("a/.r", ["a/.r_rate_0.5", "a/.r_rate_2"]),
            ("./r.x.json", ["./r.x_rate_0.5.json", "./r.x_rate_2.json"]),
        ] {
            assert_eq!(a_file_each(path, &points), wanted, "{path}");
            assert_eq!(a_file_each(path, &points[..1]), [path], "{path}");
        }
        let none = Args::new(&LOAD, Vec::new()).expect("no options");
        assert_eq!(Outputs::parse(&none, &points), Ok(Outputs::default()));
    }
}
