//! The engines that can be started: a table, and the command line made from a row of it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use super::words::fill;
pub use super::words::split;
use crate::error::{Error, Result};

/// One engine.
pub struct Preset {
    /// The value for `--backend`.
    pub name: &'static str,
    /// The name as its makers write it.
    label: &'static str,
    /// The programs, of which the first on PATH is started; empty: the user gives the command line.
    programs: &'static [&'static str],
    /// The arguments, separated by a blank; `{model}` and `{port}` are filled in. Servers listen only on loopback,
    /// since only this program sends them requests, and vLLM and SGLang are told to report cached tokens in `usage`.
    arguments: &'static str,
    /// The path whose status says whether the engine is healthy; empty: unknown.
    pub health: &'static str,
    /// Whether `/v1/models` lists its model; if not, the given name is used in requests.
    pub lists_models: bool,
    /// The Python module that the program runs; empty: none.
    pub module: &'static str,
    /// The command that installs it; empty: unknown.
    pub install: &'static str,
    /// A model for an example.
    example: &'static str,
}

/// All backends except the mock, which is not a process.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "cpu",
        label: "CPU",
        programs: &["transformers"],
        arguments: "serve {model} --device cpu --host 127.0.0.1 --port {port}",
        health: "/health",
        lists_models: false,
        module: "",
        install: "pip install 'transformers[serving]' torch",
        example: "gpt2",
    },
    Preset {
        name: "vllm",
        label: "vLLM",
        programs: &["vllm"],
        arguments: "serve {model} --host 127.0.0.1 --port {port} --enable-prompt-tokens-details",
        health: "/health",
        lists_models: true,
        module: "",
        install: "pip install vllm",
        example: "facebook/opt-125m",
    },
    Preset {
        name: "lmdeploy",
        label: "LMDeploy",
        programs: &["lmdeploy"],
        arguments: "serve api_server {model} --server-name 127.0.0.1 --server-port {port}",
        health: "/health",
        lists_models: true,
        module: "",
        install: "pip install lmdeploy",
        example: "internlm/internlm2_5-7b-chat",
    },
    Preset {
        name: "sglang",
        label: "SGLang",
        programs: &["python3", "python"],
        arguments: "-m sglang.launch_server --model-path {model} --host 127.0.0.1 --port {port} --enable-metrics --enable-cache-report",
        health: "/health",
        lists_models: true,
        module: "sglang",
        install: "pip install sglang",
        example: "Qwen/Qwen3-0.6B",
    },
    Preset {
        name: "llamacpp",
        label: "llama.cpp",
        programs: &["llama-server"],
        arguments: "-m {model} --host 127.0.0.1 --port {port} --metrics",
        health: "/health",
        lists_models: true,
        module: "",
        install: "conda install -c conda-forge llama-cpp",
        example: "model.gguf",
    },
    Preset {
        name: "command",
        label: "command",
        programs: &[],
        arguments: "",
        health: "",
        lists_models: true,
        module: "",
        install: "",
        example: "NAME",
    },
];

impl Preset {
    pub fn find(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Returns the words of its command line.
    ///
    /// `template` is the text of `--backend-command`, which only `command` needs and accepts; `extra` are the words of
    /// `--backend-args`, which are appended unchanged.
    ///
    /// # Errors
    /// Fails when the model or the template is missing, or when the template cannot be split into words.
    pub fn words(
        &self,
        model: Option<&str>,
        port: u16,
        template: Option<&str>,
        extra: &[String],
    ) -> Result<Vec<String>> {
        let mut words = match template {
            Some(text) if self.programs.is_empty() => {
                split(text).map_err(|why| Error::input("--backend-command", why))?
            }
            Some(_) => {
                let why = format!("only with --backend command, not with {}", self.what());
                return Err(Error::input("--backend-command", why));
            }
            None => {
                let own = self.program(is_on_path).into_iter();
                let own = own.chain(self.arguments.split_whitespace());
                own.map(str::to_string).collect()
            }
        };
        if words.is_empty() {
            let example = "Try: --backend-command \"my-server --model {model} --port {port}\"";
            return Err(Error::input("--backend-command", "no command given").next(example));
        }
        let port = port.to_string();
        for word in &mut words {
            *word = fill(word, model, &port).ok_or_else(|| self.no_model())?;
        }
        words.extend_from_slice(extra);
        Ok(words)
    }

    /// Returns the program to start; `None` for `command`.
    fn program(&self, has: impl Fn(&str) -> bool) -> Option<&'static str> {
        let on_path = self.programs.iter().find(|program| has(program));
        on_path.or(self.programs.first()).copied()
    }

    fn no_model(&self) -> Error {
        let Preset { name, example, .. } = self;
        Error::fixed(format!("--model required for {} backend", self.label)).next(format!(
            "Try: tmesh-cli run --backend {name} --model {example}"
        ))
    }

    /// Returns the engine's name in errors.
    pub fn what(&self) -> String {
        format!("--backend {}", self.name)
    }

    /// Returns the error about a missing program; `why` says how that was noticed.
    pub fn not_installed(&self, program: &str, why: &str) -> Error {
        let error = Error::input(self.what(), format!("{program} is not installed ({why})"));
        match self.install {
            "" => error,
            install if self.module.is_empty() || program == self.module => {
                error.next(format!("Install it: {install}"))
            }
            install => error.next(format!("Install Python 3, and then: {install}")),
        }
    }

    /// Returns whether Python says in these log lines that the module is missing.
    pub fn is_module_missing(&self, log: &[String]) -> bool {
        let is_missing = |line: &String| {
            let (_, name) = line.split_once("No module named ")?;
            let rest = name.trim_start_matches('\'').strip_prefix(self.module)?;
            // A part of the module, or a module with a longer name, does not count.
            Some(!rest.starts_with(|c: char| c == '.' || c == '_' || c.is_alphanumeric()))
        };
        !self.module.is_empty() && log.iter().any(|line| is_missing(line) == Some(true))
    }
}

/// Returns whether a program without a `/` in its name would be found.
pub fn is_on_path(program: &str) -> bool {
    is_in(program, &env::var_os("PATH").unwrap_or_default())
}

fn is_in(program: &str, path: &OsStr) -> bool {
    env::split_paths(path).any(|folder| {
        let found = fs::metadata(folder.join(program));
        found.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Returns a loopback port on which nothing listens at this moment.
///
/// # Errors
/// Fails when the system has no free port.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.map_err(|e| Error::input("no free port on 127.0.0.1", e))?;
    Ok(address.port())
}

/// Returns whether something listens on this loopback port.
pub fn is_taken(port: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    // Other errors are left to the engine, which may have more rights than this program.
    bound.is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Folder;
    use super::*;

    fn preset(name: &str) -> &'static Preset {
        Preset::find(name).expect("it is in the table")
    }

    #[test]
    fn every_preset_has_the_command_line_of_its_engine() {
        // `python` is used only if there is no python3.
        let python = preset("sglang").program(is_on_path).expect("a name");
        let sglang = format!(
            "{python} -m sglang.launch_server --model-path a b --host 127.0.0.1 --port 8123 \
             --enable-metrics --enable-cache-report --x y"
        );
        for (name, wanted) in [
            (
                "cpu",
                "transformers serve a b --device cpu --host 127.0.0.1 --port 8123 --x y",
            ),
            (
                "vllm",
                "vllm serve a b --host 127.0.0.1 --port 8123 --enable-prompt-tokens-details --x y",
            ),
            (
                "lmdeploy",
                "lmdeploy serve api_server a b --server-name 127.0.0.1 --server-port 8123 --x y",
            ),
            ("sglang", &sglang),
            (
                "llamacpp",
                "llama-server -m a b --host 127.0.0.1 --port 8123 --metrics --x y",
            ),
        ] {
            let extra = ["--x", "y"].map(str::to_string);
            let words = preset(name).words(Some("a b"), 8123, None, &extra);
            let words = words.expect(name);
            assert_eq!(words.join(" "), wanted, "{name}");
            assert!(words.contains(&"a b".to_string()), "one word");
            assert!(!preset(name).health.is_empty());
        }
        let listing = PRESETS.iter().filter(|preset| preset.lists_models);
        let names: Vec<_> = listing.map(|preset| preset.name).collect();
        assert_eq!(names, ["vllm", "lmdeploy", "sglang", "llamacpp", "command"]);
    }

    #[test]
    fn a_command_is_split_before_its_places_are_filled() {
        let command = preset("command");
        let words = |model, template| {
            let extra = ["{port}".to_string()];
            command.words(model, 8123, Some(template), &extra)
        };
        let template = "./serve '{model}.bin' --at=127.0.0.1:{port} --json '{\"a\":{}}'";
        assert_eq!(
            words(Some("a {port} 'b"), template),
            Ok([
                "./serve",
                "a {port} 'b.bin",
                "--at=127.0.0.1:8123",
                "--json",
                "{\"a\":{}}",
                "{port}"
            ]
            .map(str::to_string)
            .to_vec())
        );
        // A template without `{model}` needs no model.
        assert_eq!(words(None, "serve").map(|words| words.len()), Ok(2));
        for (template, wanted) in [
            (
                "serve {model}",
                "[ERROR] --model required for command backend\n\
                 Try: tmesh-cli run --backend command --model NAME",
            ),
            (
                "serve 'x",
                "[ERROR] --backend-command: a ' that is not closed",
            ),
            (
                " ",
                "[ERROR] --backend-command: no command given\n\
                 Try: --backend-command \"my-server --model {model} --port {port}\"",
            ),
        ] {
            let error = words(None, template).expect_err(template);
            assert_eq!(error.to_string(), wanted);
        }
        assert!(command.words(None, 1, None, &[]).is_err(), "no template");
        let error = preset("vllm").words(Some("m"), 1, Some("serve"), &[]);
        assert_eq!(
            error.expect_err("no template of its own").to_string(),
            "[ERROR] --backend-command: only with --backend command, not with --backend vllm"
        );
    }

    #[test]
    fn a_missing_model_is_reported_with_an_example() {
        for (name, wanted) in [
            (
                "cpu",
                "[ERROR] --model required for CPU backend\n\
                 Try: tmesh-cli run --backend cpu --model gpt2",
            ),
            (
                "llamacpp",
                "[ERROR] --model required for llama.cpp backend\n\
                 Try: tmesh-cli run --backend llamacpp --model model.gguf",
            ),
        ] {
            let error = preset(name).words(None, 8123, None, &[]).expect_err(name);
            assert_eq!(error.to_string(), wanted);
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn a_missing_program_is_reported_with_the_command_that_installs_it() {
        for (name, program, wanted) in [
            (
                "vllm",
                "vllm",
                "[ERROR] --backend vllm: vllm is not installed (why)\nInstall it: pip install vllm",
            ),
            (
                "sglang",
                "python3",
                "[ERROR] --backend sglang: python3 is not installed (why)\n\
                 Install Python 3, and then: pip install sglang",
            ),
            (
                "sglang",
                "sglang",
                "[ERROR] --backend sglang: sglang is not installed (why)\n\
                 Install it: pip install sglang",
            ),
            (
                "command",
                "serve",
                "[ERROR] --backend command: serve is not installed (why)",
            ),
        ] {
            let error = preset(name).not_installed(program, "why");
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn python_says_that_it_has_not_got_a_module() {
        for (line, is_missing) in [
            (
                "/usr/bin/python3: Error while finding module specification for \
                 'sglang.launch_server' (ModuleNotFoundError: No module named 'sglang')",
                true,
            ),
            ("/usr/bin/python3: No module named sglang", true),
            ("No module named 'sglang.srt'", false),
            ("No module named sglang_kernel", false),
            ("No module named 'torch'", false),
        ] {
            let log = ["first".to_string(), line.to_string()];
            assert_eq!(
                preset("sglang").is_module_missing(&log),
                is_missing,
                "{line}"
            );
            assert!(!preset("vllm").is_module_missing(&log), "{line}");
        }
    }

    #[test]
    fn python_is_used_without_python3() {
        let program = |on_path: &[&str]| preset("sglang").program(|name| on_path.contains(&name));
        assert_eq!(program(&["python", "python3"]), Some("python3"));
        assert_eq!(program(&["python"]), Some("python"));
        assert_eq!(program(&[]), Some("python3"));
    }

    #[test]
    fn a_program_is_a_file_that_may_be_run() {
        let folder = Folder::new();
        let file = folder.path("engine");
        fs::write(&file, "").expect("a file");
        let path = env::join_paths(["/no/such/folder".into(), folder.path("")]).expect("a path");
        assert!(!is_in("engine", &path), "not for running");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("its own file");
        assert!(is_in("engine", &path));
        assert!(!is_in("other", &path));
        fs::create_dir(folder.path("other")).expect("a folder");
        assert!(!is_in("other", &path), "a folder");
    }

    #[test]
    fn a_free_port_can_be_listened_on_and_is_taken_then() {
        let port = free_port().expect("a port");
        assert!(!is_taken(port));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        assert!(listener.is_ok() && is_taken(port));
    }
}
