//! Proxies: they are used only with `--proxy env`, and carry all requests then.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::tls::{CA, serve_tls};
use crate::util::{Cmd, Dir, Output, Server, read_request, serve};

/// Starts a proxy on a free port of 127.0.0.1 that connects to one server, whatever host is requested; passes on each
/// head of a CONNECT.
fn serve_proxy(target: String) -> (u16, Receiver<Vec<String>>) {
    let (heads, received) = channel();
    let addr = serve(move |stream| tunnel(stream, &target, &heads));
    (addr.port(), received)
}

fn tunnel(mut client: TcpStream, target: &str, heads: &Sender<Vec<String>>) -> io::Result<()> {
    // The check whether the address answers sends nothing.
    let Some(request) = read_request(&mut client)? else {
        return Ok(());
    };
    let mut head = vec![format!("{} {}", request.method, request.path)];
    let headers = request.headers.iter();
    head.extend(headers.map(|(name, value)| format!("{name}: {value}")));
    heads.send(head).map_err(io::Error::other)?;
    let Ok(server) = TcpStream::connect(target) else {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass_on(from_client, to_server));
    pass_on(server, client)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        match from.read(&mut piece)? {
            0 => return to.shutdown(std::net::Shutdown::Both),
            n => to.write_all(&piece[..n])?,
        }
    }
}

fn load(endpoint: &str, options: &[&str], environment: &[(&str, String)]) -> Output {
    let dir = Dir::new();
    let mut load = Cmd::new(&dir)
        .args([
            "load",
            "--endpoint",
            endpoint,
            "--requests",
            "4",
            "--warmup",
            "0",
        ])
        .args([
            "--concurrency",
            "2",
            "--max-tokens",
            "5",
            "--output",
            "r.json",
        ])
        .args(options);
    for (name, value) in environment {
        load = load.env(name, value);
    }
    load.run()
}

const BY_PROXY: [&str; 2] = ["--proxy", "env"];

#[test]
fn the_name_of_the_server_is_the_proxys_to_resolve_and_its_password_is_not_shown() {
    let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
    let (port, heads) = serve_proxy(server.addr().to_string());
    let proxy = format!("http://user:telltale@127.0.0.1:{port}");
    let output = load(
        "http://no-such-host.invalid/v1/completions",
        &BY_PROXY,
        &[("HTTP_PROXY", proxy)],
    );
    assert_eq!(output.status.code(), Some(0), "{output}");
    let line = format!("proxy: http://127.0.0.1:{port}, in every figure");
    assert!(output.stdout.contains(&line), "{output}");
    assert!(
        output.stdout.contains("= 4 succeeded + 0 failed"),
        "{output}"
    );
    assert!(
        !(output.stdout.clone() + &output.stderr).contains("telltale"),
        "{output}"
    );
    let heads: Vec<Vec<String>> = heads.try_iter().collect();
    // The base64 of user:telltale.
    let password = "proxy-authorization: Basic dXNlcjp0ZWxsdGFsZQ==".to_string();
    for head in &heads {
        assert_eq!(head[0], "CONNECT no-such-host.invalid:80");
        assert!(head.contains(&password), "{head:?}");
    }
    // Two workers, and the requests before the run.
    assert!(heads.len() > 2, "{heads:?}");
}

#[test]
fn tls_is_the_servers_own_inside_of_the_tunnel() {
    let target = format!("127.0.0.1:{}", serve_tls());
    let (port, heads) = serve_proxy(target);
    let proxy = format!("http://127.0.0.1:{port}");
    let options = ["--proxy", "env", "--cacert", CA];
    let url = "https://localhost/v1/completions";
    let output = load(url, &options, &[("https_proxy", proxy.clone())]);
    assert_eq!(output.status.code(), Some(0), "{output}");
    assert!(
        heads
            .try_iter()
            .all(|head| head[0] == "CONNECT localhost:443")
    );
    // The certificate is not the proxy's.
    let output = load(
        "https://elsewhere.invalid/v1/completions",
        &options,
        &[("ALL_PROXY", proxy)],
    );
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stderr.contains("Reason: tls: "), "{output}");
}

#[test]
fn a_proxy_that_nobody_asked_for_is_left_alone() {
    let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
    let (port, heads) = serve_proxy(server.addr().to_string());
    let proxy = || ("HTTP_PROXY", format!("http://127.0.0.1:{port}"));
    let url = format!("{}/v1/completions", server.url());
    for (options, environment) in [
        (&[][..], vec![proxy()]),
        (
            &BY_PROXY,
            vec![proxy(), ("NO_PROXY", "127.0.0.1".to_string())],
        ),
    ] {
        let output = load(&url, options, &environment);
        assert_eq!(output.status.code(), Some(0), "{output}");
        assert!(!output.stdout.contains("proxy"), "{output}");
    }
    assert_eq!(heads.try_iter().count(), 0);
}

#[test]
fn a_page_of_metrics_is_read_without_the_proxy() {
    let server = Server::start(&["--base", "1ms", "--itl", "1ms"]);
    let (port, heads) = serve_proxy(server.addr().to_string());
    let dir = Dir::new();
    dir.write("d.jsonl", "{\"text\": \"a b\"}\n");
    Cmd::new(&dir)
        .args([
            "replay",
            "--proxy",
            "env",
            "--endpoint",
            "http://far.invalid",
        ])
        .args([
            "--dataset",
            "d.jsonl",
            "--rounds",
            "1",
            "--max-output-tokens",
            "2",
        ])
        .args(["--prometheus-url", &format!("{}/metrics", server.url())])
        .args(["--prometheus-metrics", "vllm:prompt_tokens_total"])
        .env(
            "HTTP_PROXY",
            format!("http://user:telltale@127.0.0.1:{port}"),
        )
        .ok();
    assert!(
        heads
            .try_iter()
            .all(|head| head[0] == "CONNECT far.invalid:80")
    );
}

/// Returns the output of `load` with a proxy that accepts the CONNECT, answers this, and closes.
fn against_broken(answer: &'static [u8]) -> Output {
    let addr = serve(move |mut stream| match read_request(&mut stream)? {
        Some(_) => stream.write_all(answer),
        None => Ok(()),
    });
    let proxy = format!("http://{addr}");
    load(
        "http://127.0.0.1:9/v1/completions",
        &BY_PROXY,
        &[("ALL_PROXY", proxy)],
    )
}

#[test]
fn a_proxy_that_breaks_the_connection_is_no_fault_of_tls() {
    for answer in [&b""[..], b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200"] {
        let output = against_broken(answer);
        assert_eq!(output.status.code(), Some(2), "{output}");
        assert!(output.stderr.contains("Reason: connect: "), "{output}");
    }
}

#[test]
fn a_wrong_proxy_is_refused_before_the_first_request() {
    let (refusing, _heads) = serve_proxy("127.0.0.1:1".to_string());
    for (options, environment, wanted) in [
        (
            ["--proxy", "env"],
            vec![],
            "[ERROR] --proxy env: none of ALL_PROXY, HTTPS_PROXY and HTTP_PROXY names a proxy; want",
        ),
        (
            ["--proxy", "http://user:telltale@127.0.0.1:3128"],
            vec![],
            "[ERROR] --proxy ****: want env; the proxy is read from ALL_PROXY",
        ),
        (
            ["--proxy", "env"],
            vec![("ALL_PROXY", "socks5://127.0.0.1:1080".to_string())],
            "[ERROR] --proxy env: a SOCKS proxy; want one that speaks http",
        ),
        (
            ["--proxy", "env"],
            vec![("ALL_PROXY", "http://127.0.0.1:1".to_string())],
            "[ERROR] proxy http://127.0.0.1:1: connect: 127.0.0.1:1: Connection refused",
        ),
        (
            ["--proxy", "env"],
            vec![("ALL_PROXY", format!("http://127.0.0.1:{refusing}"))],
            "Reason: connect: CONNECT proxy failed: proxy server responded 403",
        ),
    ] {
        let output = load("http://127.0.0.1:9/v1/completions", &options, &environment);
        assert_eq!(output.status.code(), Some(2), "{output}");
        assert!(output.stderr.contains(wanted), "{wanted}\n{output}");
        assert!(!output.stderr.contains("telltale"), "{wanted}");
    }
}
