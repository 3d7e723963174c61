//! The routes: finds that of a request, checks the key, answers all but the generating ones.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;

use super::answer::answer;
use super::body::Body;
use super::generation::{Api, check_model};
use super::http::{ErrorReply, Response};
use super::request::Request;
use super::shared::Shared;

#[derive(Clone, Copy, PartialEq)]
enum Route {
    Health,
    Models,
    Metrics,
    ResetPrefixCache,
    Tokenize,
    Generate(Api),
}

const ROUTES: [(&str, &str, Route); 8] = [
    ("GET", "/health", Route::Health),
    ("GET", "/v1/models", Route::Models),
    ("GET", "/metrics", Route::Metrics),
    ("POST", "/reset_prefix_cache", Route::ResetPrefixCache),
    ("POST", "/tokenize", Route::Tokenize),
    ("POST", "/v1/completions", Route::Generate(Api::Completions)),
    ("POST", "/v1/chat/completions", Route::Generate(Api::Chat)),
    ("POST", "/generate", Route::Generate(Api::Generate)),
];

/// Answers; returns whether the connection can be used again. Fails if the client has hung up.
pub fn respond(shared: &Shared, connection: &Arc<TcpStream>, request: Request) -> io::Result<bool> {
    let route = find(shared, &request);
    if !matches!(route, Ok(Route::Generate(_))) {
        shared.wait_out_freeze();
    }
    let response = match route {
        Ok(Route::Generate(api)) => return answer(shared, connection, api, request),
        Ok(Route::Health) => Response::json(200, ""),
        Ok(Route::Models) => models(shared),
        Ok(Route::Metrics) => metrics(shared),
        Ok(Route::ResetPrefixCache) => {
            shared.schedule().reset_cache();
            Response::json(200, r#"{"success":true}"#)
        }
        Ok(Route::Tokenize) => tokenize(shared, &request).unwrap_or_else(|bad| bad.response()),
        Err(response) => response,
    };
    (&**connection).write_all(&response.into_bytes(request.keep_alive))?;
    Ok(request.keep_alive)
}

/// The request's route, or the reply that there is none or that the key is wrong.
fn find(shared: &Shared, request: &Request) -> Result<Route, Response> {
    let path = request
        .path
        .strip_prefix(&shared.options.path_prefix)
        .unwrap_or_default();
    let has = |route: Route| shared.options.metrics || route != Route::Metrics;
    let on_path = || {
        let routes = ROUTES.iter().filter(|(_, _, route)| has(*route));
        routes.filter(|(_, route_path, _)| *route_path == path)
    };
    let route = on_path()
        .find(|(method, _, _)| *method == request.method)
        .map(|(_, _, route)| *route);
    if let Some(key) = &shared.options.api_key
        && !matches!(route, Some(Route::Health))
        && request.authorization.as_deref() != Some(&format!("Bearer {key}"))
    {
        return Err(Response::json(401, r#"{"error":"Unauthorized"}"#));
    }
    match (route, on_path().next()) {
        (Some(route), _) => Ok(route),
        (None, Some((allowed, _, _))) => {
            let response = Response::json(405, r#"{"detail":"Method Not Allowed"}"#);
            Err(response.with_header("allow", allowed.to_string()))
        }
        (None, None) => Err(Response::json(404, r#"{"detail":"Not Found"}"#)),
    }
}

fn models(shared: &Shared) -> Response {
    let model = json!({
        "id": shared.options.model,
        "object": "model",
        "created": 0,
        "owned_by": "tmesh-mock",
        "root": shared.options.model,
        "parent": null,
        "max_model_len": shared.options.max_model_len,
    });
    Response::json(200, json!({"object": "list", "data": [model]}).to_string())
}

fn metrics(shared: &Shared) -> Response {
    let load = shared.schedule().load(shared.epoch.now_ns());
    Response {
        content_type: "text/plain; version=1.0.0; charset=utf-8",
        ..Response::json(200, shared.metrics().render(&load))
    }
}

/// Both forms at once: vLLM's `count` and llama.cpp's `tokens`.
fn tokenize(shared: &Shared, request: &Request) -> Result<Response, ErrorReply> {
    let body = Body::parse(&request.body)?;
    check_model(&body, &shared.options)?;
    let tokens = body.token_ids()?;
    let reply = json!({
        "count": tokens.len(),
        "max_model_len": shared.options.max_model_len,
        "tokens": tokens,
    });
    Ok(Response::json(200, reply.to_string()))
}
