//! The options of a command line that a next command needs to reach the same server, as the header of samples has them:
//! without secrets.

use serde_json::{Value, json};

use super::args::Args;
use super::credentials::{OTHERS_VARIABLE, VARIABLE};

/// Options that lead to the server or change what it is asked, and whose values are not repeated: some are secrets.
const OWN: [&str; 9] = [
    "--api-key",
    "--header",
    "--against-header",
    "--extra-body",
    "--cacert",
    "--insecure",
    "--timeout",
    "--first-token-timeout",
    "--idle-timeout",
];
/// The option of a mock that is a key.
const MOCK_KEY: &str = "api_key";

/// The options that name a server and were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The options of a mock in this process, in the form of `--mock` and without its key.
    mock: Vec<(String, String)>,
    api_key_file: Option<String>,
    /// The names of the other options.
    own: Vec<&'static str>,
}

impl Given {
    /// Takes the options out of `args`. `has_key`: a key is sent, wherever it comes from. `is_mock`: the server is a
    /// mock in this process.
    pub fn parse(args: &Args, is_mock: bool, has_key: bool) -> Given {
        let list = args.text("--mock").unwrap_or_default();
        let mut given = Given {
            api_key_file: args.text("--api-key-file"),
            own: OWN.into_iter().filter(|name| args.has(name)).collect(),
            ..Given::default()
        };
        if is_mock {
            given.add_mock(&list);
        }
        if has_key && !args.has("--api-key") && given.api_key_file.is_none() {
            let is_set = |name: &&str| std::env::var(name).is_ok_and(|text| !text.is_empty());
            let set = [VARIABLE, OTHERS_VARIABLE].into_iter().find(is_set);
            given.own.extend(set);
        }
        given
    }

    /// Adds the options of a mock in this process that are not there already.
    pub fn add_mock(&mut self, list: &str) {
        let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
        for (name, value) in pairs {
            let name = name.trim().replace('-', "_");
            if name != MOCK_KEY && self.mock.iter().all(|(known, _)| *known != name) {
                self.mock.push((name, value.trim().to_string()));
            }
        }
    }

    /// Adds something that a next command does not repeat.
    pub fn add_own(&mut self, name: &'static str) {
        self.own.push(name);
    }

    /// Whether there are options that a next command does not repeat.
    pub fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Returns the value for the header; `max_model_len` is the context of the model.
    pub fn header(&self, max_model_len: Option<u64>) -> Value {
        let mock = self.mock.iter();
        let mock: Vec<String> = mock
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        json!({
            "mock": (!mock.is_empty()).then(|| mock.join(",")),
            "api_key_file": self.api_key_file,
            "own_options": self.own,
            "max_model_len": max_model_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::flags::LOAD;
    use super::*;

    fn given(words: &str, is_mock: bool, has_key: bool) -> Value {
        let words = words.split_whitespace().map(str::to_string).collect();
        let args = Args::new(&LOAD, words).expect("options of load");
        Given::parse(&args, is_mock, has_key).header(Some(4096))
    }

    #[test]
    fn a_key_is_never_in_the_header_and_its_file_is() {
        let none =
            json!({"mock": null, "api_key_file": null, "own_options": [], "max_model_len": 4096});
        assert_eq!(given("--seed 1", false, false), none);
        let file = given("--api-key-file k.txt --insecure", false, true);
        assert_eq!(file["api_key_file"], "k.txt");
        assert_eq!(file["own_options"], json!(["--insecure"]));
        let all = "--api-key sk-1 --header X:secret --extra-body {} --timeout 9s";
        let all = given(all, false, true);
        assert_eq!(
            all["own_options"],
            json!(["--api-key", "--header", "--extra-body", "--timeout"])
        );
        assert!(!all.to_string().contains("sk-1") && !all.to_string().contains("secret"));
    }

    #[test]
    fn the_options_of_a_mock_are_kept_once_and_without_its_key() {
        let list = given("--mock itl=4ms,api-key=k,tier1-tokens=8k", true, false);
        assert_eq!(list["mock"], "itl=4ms,tier1_tokens=8k");
        let mut own = Given::default();
        own.add_mock("itl=4ms");
        own.add_mock("base=10ms,itl=5ms");
        assert_eq!(own.header(None)["mock"], "itl=4ms,base=10ms");
        assert_eq!(given("", false, false)["mock"], Value::Null);
    }
}
