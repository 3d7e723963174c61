//! Every option that reads a file, with bad files of every kind: a clear error, or the right result; never a wait.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::util::{Cmd, Dir};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

/// An option that reads a file: a command line with `FILE` for the file, and the kind of its content.
struct Reader {
    words: &'static str,
    good: Vec<u8>,
    /// Whether the file may contain an empty line or a byte order mark: text that people write.
    is_text: bool,
}

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(DATA).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn readers() -> Vec<Reader> {
    let reader = |words, good: &[u8]| Reader {
        words,
        good: good.to_vec(),
        is_text: true,
    };
    let text = b"{\"text\": \"a b\"}\n{\"text\": \"c d\"}\n";
    let model =
        b"[{\"model_name\": \"m\", \"bytes_per_tok\": 1000000,\n\"cpuOffloadingBufferSize\": 1}]\n";
    let config = b"{\"num_hidden_layers\": 2, \"num_attention_heads\": 4,\n\"hidden_size\": 128}\n";
    let sharegpt =
        b"[{\"id\": \"x\",\n\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}]}]\n";
    let longbench =
        b"{\"_id\": \"x\", \"dataset\": \"narrativeqa\", \"context\": \"a\", \"input\": \"b\"}\n";
    vec![
        reader("check dataset FILE", text),
        reader(
            "replay --backend mock --concurrency 1 --rounds 1 --max-output-tokens 2 --dataset FILE",
            text,
        ),
        reader(
            "load --backend mock --requests 1 --warmup 0 --max-tokens 2 --dataset FILE",
            text,
        ),
        reader(
            "load --backend mock --warmup 0 --trace FILE",
            b"{\"timestamp\": 0, \"input_length\": 9, \"output_length\": 2, \"hash_ids\": [1]}\n",
        ),
        reader(
            "load --backend mock --requests 1 --warmup 0 --max-tokens 2 --slo-file FILE",
            b"slo:\n  ttft_ms: 100000\n",
        ),
        reader(
            "benchmark --backend mock --mock model=m --input-length 50 --output-length 2 --requests 1 --max-inflight 1 --model-configs FILE",
            model,
        ),
        reader(
            "benchmark --backend mock --mock model=m --input-length 50 --output-length 2 --requests 1 --offload-size 1 --kv-dtype-bytes 1000 --max-inflight 1 --hf-config FILE",
            config,
        ),
        reader(
            "load --backend mock --mock api_key=k --requests 1 --warmup 0 --max-tokens 2 --api-key-file FILE",
            b"k\n",
        ),
        reader(
            "convert sharegpt --output out.jsonl --input-file FILE",
            sharegpt,
        ),
        reader(
            "convert longbench --output out.jsonl --input-file FILE",
            longbench,
        ),
        Reader {
            is_text: false,
            ..reader(
                "load --backend mock --requests 1 --warmup 0 --max-tokens 2 --cacert FILE",
                &data("tls/ca.pem"),
            )
        },
        Reader {
            is_text: false,
            ..reader("report --input FILE", &data("report/load.jsonl"))
        },
    ]
}

fn run(dir: &Dir, words: &str, file: &Path) -> Cmd {
    let file = file.to_str().expect("UTF-8");
    Cmd::new(dir)
        .args(
            words
                .split(' ')
                .map(|word| if word == "FILE" { file } else { word }),
        )
        .deadline(Duration::from_secs(20))
}

/// Runs all readers at once, each in a folder of its own.
fn each(test: impl Fn(&Dir, &Reader) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for reader in readers() {
            scope.spawn(move || test(&Dir::new(), &reader));
        }
    });
}

/// Checks that the command ends with 2 and one message that names the file and a reason.
fn refused(dir: &Dir, reader: &Reader, file: &Path, reasons: &[&str]) {
    let output = run(dir, reader.words, file).fails(2);
    let error = output
        .stderr
        .lines()
        .find(|line| line.starts_with("[ERROR] "));
    let error = error.unwrap_or_else(|| panic!("no error\n{output}"));
    assert!(error.contains(file.to_str().expect("UTF-8")), "{output}");
    assert!(
        reasons.iter().any(|reason| error.contains(reason)),
        "want one of {reasons:?}\n{output}"
    );
    assert!(!error.contains(|c: char| c.is_control()), "{output}");
}

#[test]
fn a_path_without_a_file_is_named_with_its_reason() {
    each(|dir, reader| {
        refused(
            dir,
            reader,
            &dir.path().join("missing"),
            &["No such file", "file not found"],
        );
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).expect("a fresh directory");
        refused(
            dir,
            reader,
            &folder,
            &["Is a directory", "a folder", "holds no results"],
        );
    });
}

#[test]
fn a_fifo_without_a_writer_is_not_waited_for() {
    each(|dir, reader| {
        let fifo = dir.path().join("fifo");
        let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        refused(
            dir,
            reader,
            &fifo,
            &["a FIFO that nobody writes to", "a pipe"],
        );
    });
}

#[test]
fn a_file_that_may_not_be_read_is_named_with_its_reason() {
    use std::os::unix::fs::PermissionsExt;
    each(|dir, reader| {
        let file = dir.write("secret", &reader.good);
        let none = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(&file, none).expect("an own file");
        // Root may read every file.
        if std::fs::File::open(&file).is_err() {
            refused(dir, reader, &file, &["Permission denied"]);
        }
    });
}

#[test]
fn a_file_without_text_says_what_is_missing() {
    let reasons = [
        "no record in it",
        "no limit in it",
        "the key is empty",
        "no certificate in it",
        "not a result of tmesh-cli",
        "not JSON",
        "not UTF-8",
        "UTF-16 or binary",
        "binary; want",
        "a NUL byte",
        "not YAML",
        "the key has characters",
    ];
    each(|dir, reader| {
        let utf_16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain(reader.good.iter().flat_map(|&byte| [byte, 0]))
            .collect();
        let binary: Vec<u8> = (0..=255).cycle().take(50_000).collect();
        for (name, bytes) in [
            ("empty", &b""[..]),
            ("utf_16", &utf_16),
            ("binary", &binary),
            ("gzip", b"\x1f\x8b\x08\x00\x00"),
        ] {
            let file = dir.write(name, bytes);
            let compressed = ["compressed"];
            let reasons: Vec<&str> = reasons.into_iter().chain(compressed).collect();
            refused(dir, reader, &file, &reasons);
        }
    });
}

#[test]
fn the_ends_of_lines_and_a_mark_before_them_change_nothing() {
    each(|dir, reader| {
        let good = &reader.good;
        let last = good.iter().rposition(|&byte| byte != b'\n').expect("text");
        let mut crlf = Vec::new();
        for line in good.split_inclusive(|&byte| byte == b'\n') {
            crlf.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            crlf.extend_from_slice(b"\r\n");
        }
        let marked = [b"\xef\xbb\xbf", &good[..]].concat();
        let mut forms = vec![
            ("as_is", good.clone()),
            ("cut", good[..=last].to_vec()),
            ("crlf", crlf),
        ];
        if reader.is_text {
            forms.push(("marked", marked));
        }
        for (name, bytes) in forms {
            let file: PathBuf = dir.write(name, bytes);
            run(dir, reader.words, &file).ok();
        }
    });
}
