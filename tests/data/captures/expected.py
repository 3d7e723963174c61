"""Reads every recording here with Python's own json and writes expected.json: what a client must see.

An independent twin of src/client: run it again (python3 expected.py) when a recording is added.
"""
import glob
import json
import re

SKIP = {"keepalive", "metrics", "models", "models_500"}


def dechunk(body):
    out = b""
    while True:
        size, sep, rest = body.partition(b"\r\n")
        try:
            n = int(size, 16)
        except ValueError:
            return out, False
        if n == 0:
            return out, True
        out += rest[:n]
        body = rest[n + 2:]


def size(*texts):
    return max([len(t.encode()) for t in texts if isinstance(t, str)] + [0])


def text_bytes(choice):
    part = choice.get("delta") or choice.get("message") or {}
    reasoning = size(part.get("reasoning"), part.get("reasoning_content"))
    return size(choice.get("text")) + size(part.get("content")) + reasoning


def read(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    status, whole = int(head.split()[1]), True
    if b"transfer-encoding: chunked" in head.lower():
        body, whole = dechunk(body)
    seen = {"kind": None, "events": 0, "text_bytes": 0, "prompt": None, "completion": None,
            "cached": None, "source": None, "finish": None}
    if status >= 300:
        return seen | {"kind": "http"}
    streamed = b"text/event-stream" in head.lower()
    lines = re.split(rb"\r\n|\n|\r", body) if streamed else [b"data:" + body]
    data = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    done = b"[DONE]" in data
    chunks = [c for c in map(json.loads, (d for d in data if d != b"[DONE]")) if c is not None]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or []]
    for chunk in chunks:
        n = sum(text_bytes(choice) for choice in chunk.get("choices") or [])
        seen["text_bytes"] += n
        seen["events"] += bool(n) and streamed
    reasons = [c["finish_reason"] for c in choices if c.get("finish_reason")]
    seen["finish"] = reasons[-1] if reasons else None
    add_usage(seen, chunks)
    has_end = reasons or (done and not any("finish_reason" in c for c in choices))
    for kind, holds in [("stream_error", any(c.get("error") for c in chunks)), ("truncated", not whole),
                        ("empty", not seen["text_bytes"]), ("truncated", streamed and not has_end)]:
        seen["kind"] = seen["kind"] or (kind if holds else None)
    return seen


def add_usage(seen, chunks):
    with_usage = [c for c in chunks if c.get("usage")]
    bare = [c["usage"] for c in with_usage if not c["choices"] or "message" in c["choices"][0] or c["object"] == "text_completion" and len(chunks) == 1]
    finishing = [c["usage"] for c in with_usage if any(x.get("finish_reason") for x in c["choices"])]
    if bare or finishing:
        usages, seen["source"] = bare[-1:] or finishing, "usage"
    elif with_usage:
        usages, seen["source"] = [with_usage[-1]["usage"]], "continuous_usage"
    else:
        seen["completion"], seen["source"] = (seen["events"], "events") if seen["events"] else (None, None)
        return
    seen["prompt"] = sum(u["prompt_tokens"] for u in usages)
    seen["completion"] = sum(u["completion_tokens"] for u in usages)
    cached = [(u.get("prompt_tokens_details") or {}).get("cached_tokens") for u in usages]
    seen["cached"] = sum(filter(None, cached)) if any(c is not None for c in cached) else None


names = sorted(path[:-4] for path in glob.glob("*/*.raw") if path.split("/")[1][:-4] not in SKIP)
rows = {name: read(open(name + ".raw", "rb").read()) for name in names}
with open("expected.json", "w") as out:
    out.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items()) + "\n}\n")
