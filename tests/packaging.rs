//! The shipped binary, and the script that checks the layers. `make static` checks linking and size itself.

use std::fs;

use crate::util::{Cmd, Dir, Output, Server, not_run};

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
const WHAT: &str = "static binary in an empty root";

/// Runs in an empty root that contains only two files that a node without DNS has too. TMESH_STATIC_BIN, set by `make
/// check`, names the binary; without it, or without the right to chroot, this says so and passes.
#[test]
fn the_static_binary_resolves_names_in_an_empty_root() {
    let Some(binary) = std::env::var_os("TMESH_STATIC_BIN") else {
        not_run(WHAT, "TMESH_STATIC_BIN is not set; make check sets it");
        return;
    };
    let root = Dir::new();
    fs::copy(&binary, root.path().join("tmesh-cli")).expect("TMESH_STATIC_BIN is the binary");
    root.write("etc/hosts", "127.0.0.1 my-llm-host\n");
    root.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
    let Some(chroot) = chroot_command(&root) else {
        not_run(
            WHAT,
            "neither chroot nor unshare -r chroot is permitted here",
        );
        return;
    };

    let server = Server::start(&[]);
    let port = server.addr().rsplit(':').next().expect("a port");
    let endpoint = format!("http://my-llm-host:{port}");
    let options = [
        "--contexts",
        "2",
        "--input-length",
        "100",
        "--output-length",
        "5",
        "--requests",
        "4",
    ];
    let output = in_root(
        &root,
        chroot,
        &[&["benchmark", "--endpoint", &endpoint][..], &options].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{output}");
    assert!(
        output
            .stdout
            .contains("Total Number of Requests Processed: 4"),
        "{output}"
    );
    // The manual travels with it.
    let topics = [
        "metrics", "options", "files", "errors", "guides", "mock", "bench", "ci",
    ];
    for topic in topics {
        let output = in_root(&root, chroot, &["help", topic]);
        let page = fs::read_to_string(format!("{SOURCES}/src/help/{topic}.md")).expect(topic);
        assert_eq!(output.stdout, page, "{topic}");
    }
}

#[test]
fn makefile_and_sources_name_no_document_that_is_not_in_the_repository() {
    let mut files = vec![format!("{SOURCES}/Makefile"), format!("{SOURCES}/.ci/run")];
    let mut folders = vec![format!("{SOURCES}/src"), format!("{SOURCES}/tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect(&folder).flatten() {
            let path = entry.path().display().to_string();
            match entry.path().is_dir() {
                true => folders.push(path),
                false if path.ends_with(".rs") => files.push(path),
                false => {}
            }
        }
    }
    for file in files {
        let text = fs::read_to_string(&file).expect(&file);
        let words = text.split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)));
        // Documents in capitals, such as those that describe a project.
        let documents = words.filter(|word| {
            let name = word.strip_suffix(".md").unwrap_or_default();
            name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase())
        });
        for name in documents.filter(|name| *name != "REPORT.md") {
            let known = fs::exists(format!("{SOURCES}/{name}")).unwrap_or(false);
            assert!(known, "{file} names {name}");
        }
        let outside = ["shared", "captures"].map(|folder| format!("{folder}/"));
        for word in text.split_whitespace() {
            let is_outside = outside
                .iter()
                .any(|folder| word.starts_with(folder.as_str()));
            assert!(!is_outside, "{file} names {word}");
        }
    }
}

/// Returns the first way to change the root that is permitted here.
fn chroot_command(root: &Dir) -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["chroot"], &["unshare", "-r", "chroot"]];
    ways.into_iter()
        .find(|way| in_root(root, way, &["--version"]).status.success())
}

fn in_root(root: &Dir, chroot: &[&str], args: &[&str]) -> Output {
    // `env` starts it, so that a machine without the program fails there and not here.
    Cmd::program("env", root)
        .args(chroot)
        .args([".", "/tmesh-cli"])
        .args(args)
        .run()
}

#[test]
fn the_layer_check_names_file_line_and_edge_of_what_breaks_the_table() {
    let dir = Dir::new();
    dir.write("src/main.rs", "mod units; use crate::anything;\n");
    let accepted = "// use crate::cli\nuse crate::{units::{self, seconds}, error::Error};\nconst A: &str = \"crate::cli\";\n\
                    #[cfg(test)]\nmod tests { use crate::cli; }\n";
    dir.write("src/sample.rs", accepted.replace("error::Error", ""));
    dir.write("src/plan/tiling.rs", accepted);
    dir.write("src/plan/mod.rs", "#[cfg(test)]\nmod tests;\n");
    dir.write("src/plan/tests.rs", "use crate::mock;");
    layers(&dir).ok();

    let edges = [
        (
            "src/units.rs",
            "use std::time;\nuse super::vitals;\n",
            "2: units must not import vitals",
        ),
        (
            "src/plan/arrival.rs",
            "use crate::{\n    units,\n    load::pool,\n};\n",
            "1: plan must not import load::pool",
        ),
        (
            "src/client/sse.rs",
            "fn f() { super::super::mock::f() }",
            "1: client must not import mock::f",
        ),
        (
            "src/prom.rs",
            "use crate::client::{http, sse};",
            "1: prom must not import client::sse",
        ),
        (
            "src/stats/mod.rs",
            "use crate::helpers::f;",
            "1: crate::helpers::f is not in a module of the table",
        ),
        (
            "src/helpers.rs",
            "",
            "1: module helpers is not in the table",
        ),
    ];
    for (file, text, _) in edges {
        dir.write(file, text);
    }
    let output = layers(&dir).fails(1);
    for (file, _, why) in edges {
        assert!(
            output.stderr.contains(&format!("{file}:{why}")),
            "want {file}:{why}\n{output}"
        );
    }
    assert_eq!(output.stderr.lines().count(), edges.len(), "{output}");
}

#[test]
fn the_layer_check_names_the_imports_of_every_circle_of_files() {
    let dir = Dir::new();
    for (file, text) in [
        // These are no circles: a declaration, a test, a function with a module's name, and imports in one direction.
        (
            "plan/mod.rs",
            "pub mod groups;\nmod repeat;\n#[cfg(test)]\npub use groups::seed;\n",
        ),
        (
            "plan/groups.rs",
            "use super::{Turn, repeat::Slot};\nfn f() { super::groups() }\n",
        ),
        (
            "plan/repeat.rs",
            "pub(in crate::plan::groups) struct Slot;\n",
        ),
        // A circle of two files, by a `use` and by a path.
        ("load/mod.rs", "mod pool;\nmod stop;\n"),
        (
            "load/pool.rs",
            "use std::fmt;\nuse super::{\n    stop::{self, Stop},\n};\n",
        ),
        ("load/stop.rs", "fn f(shared: &super::pool::Shared) {}\n"),
        // A circle of three files, one of them the module's own, by a re-export.
        (
            "client/mod.rs",
            "mod sse;\nmod reply;\n\npub use sse::Parser;\n",
        ),
        ("client/sse.rs", "use super::reply::Reply;\n"),
        ("client/reply.rs", "\nuse crate::client::Target;\n"),
    ] {
        dir.write(&format!("src/{file}"), text);
    }
    let output = layers(&dir).fails(1);
    let circles = [
        "src/client/mod.rs:4, src/client/sse.rs:1, src/client/reply.rs:2: a circle of imports",
        "src/load/pool.rs:2, src/load/stop.rs:1: a circle of imports",
    ];
    let found: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(found, circles, "{output}");
}

fn layers(dir: &Dir) -> Cmd {
    Cmd::program(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/layers"), dir).args(["src"])
}

#[test]
fn the_check_of_dependencies_names_a_licence_or_a_source_that_is_not_taken() {
    let dir = Dir::new();
    let crates_io = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lock = |source: &str, checksum: &str| {
        format!(
            "version = 4\n\n[[package]]\nname = \"tmesh-cli\"\n\n[[package]]\nname = \"a\"\n{source}\n{checksum}\n"
        )
    };
    let good = lock(crates_io, "checksum = \"00\"");
    for (lock, licence, wanted) in [
        (&good, "MIT", None),
        (&good, "GPL-3.0 OR MIT/X11", None),
        (&good, "Apache-2.0 WITH LLVM-exception", None),
        (&good, "(MIT OR Apache-2.0) AND Unicode-3.0", None),
        (&good, "", Some("a v1: licence ''")),
        (&good, "GPL-3.0", Some("a v1: licence 'GPL-3.0'")),
        (
            &good,
            "MIT AND GPL-3.0",
            Some("a v1: licence 'MIT AND GPL-3.0'"),
        ),
        (
            &good,
            "(MIT OR Apache-2.0) AND GPL-3.0",
            Some("a v1: licence '(MIT"),
        ),
        (
            &lock("source = \"git+https://example.com/a\"", ""),
            "MIT",
            Some("a: source \"git+https"),
        ),
        (
            &lock("", ""),
            "MIT",
            Some("a: source \"\" is not crates.io"),
        ),
        (&lock(crates_io, ""), "MIT", Some("a: no checksum")),
        (&String::new(), "MIT", Some("no package in it")),
    ] {
        dir.write("Cargo.lock", lock);
        dir.write("licences", format!("a v1|{licence}\n"));
        let check = Cmd::program(
            concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/dependencies"),
            &dir,
        )
        .args([dir.path().join("Cargo.lock"), dir.path().join("licences")]);
        match wanted {
            None => check.ok(),
            Some(wanted) => {
                let output = check.fails(1);
                assert!(output.stderr.contains(wanted), "{wanted}\n{output}");
                output
            }
        };
    }
}
