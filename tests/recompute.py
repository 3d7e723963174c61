#!/usr/bin/env python3
"""Recomputes every figure of the result files from the samples, by code of its own and `tmesh-cli help metrics`.

usage: recompute.py BINARY

Runs benchmark, load, replay and run against the mock with faults, and against a small server of its own whose replies
are streamed, of one token, in one burst, not streamed, without a count, impossible, or failures, and which closes
connections that are about to be used again, and against mocks whose cache is off, too small, hidden or misreported.
Then it holds the figures in their files against the samples: those of the server's page of metrics against the readings
in the lines `metrics`, and the verdict on the KV cache against both. Left out is what neither tells: the client's health,
the system's figures, and hits that are estimated from times.
"""
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter

RELATIVE = 1e-6
# Of histograms: a thousandth, and a whole microsecond.
HISTOGRAM = 1.05e-3


# ---- a server of odd replies

class Odd:
    """A server whose n-th reply is of the n-th kind."""

    KINDS = ["stream", "one", "burst", "plain", "uncounted", "stream", "error", "impossible", "stream", "leave"]

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.served = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.work, args=(connection,), daemon=True).start()

    def work(self, connection):
        reader = connection.makefile("rb")
        try:
            while True:
                first = reader.readline()
                if not first:
                    break
                headers = {}
                while (line := reader.readline().strip()):
                    name, _, value = line.partition(b":")
                    headers[name.strip().lower()] = value.strip()
                body = reader.read(int(headers.get(b"content-length", 0)))
                method, path, _ = first.split(b" ", 2)
                if not self.answer(connection, method, path, headers, body):
                    break
        except OSError:
            pass
        finally:
            connection.close()

    def answer(self, connection, method, path, headers, body):
        if path.endswith(b"/models"):
            self.plain(connection, 200, {"data": [{"id": "m"}]})
            return True
        if method != b"POST" or b"tokenize" in path:
            self.plain(connection, 404, {})
            return True
        asked = json.loads(body)
        words = asked.get("max_tokens") or asked.get("max_completion_tokens") or 8
        prompt = 10 + len(body) // 20
        usage = {"prompt_tokens": prompt, "completion_tokens": words,
                 "prompt_tokens_details": {"cached_tokens": prompt // 3}}
        if b"setup" in headers.get(b"x-request-id", b""):
            kind = "stream"
        else:
            with self.lock:
                kind = self.KINDS[self.served % len(self.KINDS)]
                self.served += 1
        chat = b"chat" in path
        if kind == "error":
            self.plain(connection, 500, {"error": {"message": "out of order"}})
        elif kind in ("plain", "uncounted"):
            text = "word " * words
            choice = {"message": {"content": text}} if chat else {"text": text}
            reply = {"choices": [dict(choice, index=0, finish_reason="length")]}
            if kind == "plain":
                reply["usage"] = usage
            time.sleep(0.004)
            self.plain(connection, 200, reply)
        else:
            if kind == "one":
                words = usage["completion_tokens"] = 1
            if kind == "impossible":
                usage["prompt_tokens_details"]["cached_tokens"] = prompt * 100
                usage["completion_tokens"] = 4_000_000_000
            self.stream(connection, chat, words, usage, kind == "burst")
        # The client will find the connection closed when it uses it again.
        return kind != "leave"

    @staticmethod
    def plain(connection, status, body):
        body = json.dumps(body).encode()
        head = "HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        connection.sendall((head % (status, len(body))).encode() + body)

    @staticmethod
    def stream(connection, chat, words, usage, is_burst):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        parts = []
        for k in range(words):
            end = "length" if k + 1 == words else None
            choice = {"delta": {"content": "word "}} if chat else {"text": "word "}
            parts.append(json.dumps({"choices": [dict(choice, index=0, finish_reason=end)]}))
        parts.append(json.dumps({"choices": [], "usage": usage}))
        parts.append("[DONE]")
        chunks = []
        for part in parts:
            data = ("data: %s\n\n" % part).encode()
            chunks.append(b"%x\r\n%s\r\n" % (len(data), data))
        chunks.append(b"0\r\n\r\n")
        time.sleep(0.02 if is_burst else 0.004)
        if is_burst:
            connection.sendall(head + b"".join(chunks))
            return
        connection.sendall(head)
        for chunk in chunks:
            connection.sendall(chunk)
            time.sleep(0.0008)


# ---- samples

class Sample(dict):
    """A line of the file; times in nanoseconds."""

    def __getattr__(self, key):
        return self.get(key)

    def clean(self, wanted):
        """Takes out counts that cannot be."""
        self["told"] = (self.prompt_tokens, self.cached_tokens, self.completion_tokens)
        limit = self.prompt_bytes + 65536 if self.prompt_bytes else math.inf
        prompt = self.prompt_tokens
        if self.cached_tokens is not None and self.cached_tokens > min(limit, limit if prompt is None else prompt):
            self["cached_tokens"] = None
        if prompt is not None and prompt > limit:
            self["prompt_tokens"] = None
        self["wanted"] = self.wanted_output_tokens if self.wanted_output_tokens is not None else wanted
        hidden = 1 << 20 if self.wanted is None else self.wanted
        if (self.completion_tokens or 0) > max(self.text_bytes, self.token_events) + hidden + 65536:
            self["completion_tokens"] = self.token_events or None
            self["token_source"] = "events_over_usage" if self.token_events else None
            self["streamed_tokens"] = None

    @property
    def good(self):
        return self.phase == "measured" and self.error_kind is None

    @property
    def late(self):
        sent = self.get("t_first_send_ns") or self.t_send_ns
        return None if self.t_due_ns is None else max(0, sent - self.t_due_ns)

    @property
    def waited(self):
        """From the scheduled time to the send that was answered."""
        return 0 if self.t_due_ns is None else max(0, self.t_send_ns - self.t_due_ns)

    @property
    def ttft_sent(self):
        return None if self.t_first_ns is None else self.t_first_ns - self.t_send_ns

    @property
    def ttft(self):
        return None if self.t_first_ns is None else self.ttft_sent + self.waited

    @property
    def latency_sent(self):
        end = self.t_end_ns if self.t_first_ns is None or self.t_last_ns is None else self.t_last_ns
        return end - self.t_send_ns

    @property
    def latency(self):
        return self.latency_sent + self.waited

    @property
    def is_burst(self):
        if self.t_first_ns is None or self.t_last_ns is None or self.token_events < 2:
            return False
        spread = self.t_last_ns - self.t_first_ns
        return self.token_reads * 5 < self.token_events and spread * 50 < self.t_last_ns - self.t_send_ns

    @property
    def decode(self):
        """Nanoseconds and tokens after the first."""
        streamed = self.streamed_tokens if self.streamed_tokens is not None else self.completion_tokens
        if self.is_burst or streamed is None or self.t_first_ns is None or self.t_last_ns is None:
            return None
        ns, tokens = self.t_last_ns - self.t_first_ns, streamed - 1
        return (ns, tokens) if ns > 0 and tokens > 0 else None

    @property
    def itl(self):
        return self.decode and self.decode[0] / self.decode[1]


def read(path):
    """The header, and a list of passes: samples, readings of the server's page, and the line of the pass."""
    passes, samples, readings, by_id = [], [], [], {}
    with open(path) as lines:
        header = json.loads(next(lines))
        wanted = header["options"].get("output_length_tokens")
        for line in map(json.loads, lines):
            series = line.get("series")
            if series is None:
                sample = Sample(line)
                sample.clean(wanted)
                samples.append(sample)
                by_id[sample.id] = sample
            elif series == "tokens":
                by_id[line["id"]].update(completion_tokens=line["completion_tokens"],
                                         token_source=line["token_source"])
            elif series == "metrics":
                readings.append(line)
            elif series == "pass":
                passes.append((samples, readings, line))
                samples, readings = [], []
    assert not samples, path + ": samples behind the last pass"
    return header, passes


# ---- statistics

def quantile(values, q):
    values = sorted(values)
    rank = q * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (rank - low)


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def ratio(part, whole):
    return part / whole if whole else None


def spread(values):
    """Statistics of nanoseconds, in milliseconds; empty where there are none."""
    values = [value / 1e6 for value in values if value is not None]
    if not values:
        return {"n": 0}
    average = mean(values)
    deviation = None
    if len(values) > 1:
        deviation = math.sqrt(sum((value - average) ** 2 for value in values) / (len(values) - 1))
    of = {"avg": average, "min": min(values), "max": max(values), "stddev": deviation, "n": len(values)}
    of.update({"p%d" % q: quantile(values, q / 100) for q in (50, 90, 95, 99)})
    return of


def half_width(deviations):
    """Half the 95 % interval of a sum, from twenty batches."""
    n, k = len(deviations), 20
    if n < k:
        return None
    sums = [sum(deviations[n * b // k:n * (b + 1) // k]) for b in range(k)]
    squares = sum(value * value for value in sums)
    if squares == 0:
        return 0.0
    together = sum(a * b for a, b in zip(sums, sums[1:])) / squares
    together += (1 + 4 * together) / k
    together = min(max(together, 0), 0.9)
    return 2.0930240544 * math.sqrt(squares * k / (k - 1) * (1 + together) / (1 - together))


def median_interval(values):
    middle = quantile(values, 0.5)
    half = half_width([(value < middle) / 2 - (value > middle) / 2 for value in values])
    half = (half or 0.0) / len(values)
    return middle, quantile(values, max(0, 0.5 - half)), quantile(values, min(1, 0.5 + half))


# ---- figures of a pass

class Figures:
    def __init__(self, header, samples, readings, facts, reported):
        self.header, self.readings, self.facts = header, readings, facts
        # Controls are in no figure.
        self.controls = [one for one in samples if one.phase == "control"]
        self.samples = samples = [one for one in samples if one.phase != "control"]
        self.good = [one for one in samples if one.good]
        self.failed = [one for one in samples if one.phase == "measured" and not one.good]
        self.measured = self.good + self.failed
        self.window = facts["window_ns"]
        self.common = header["setup"].get("common_tokens") or 0
        told = reported[0] or any(one.cached_tokens is not None for one in samples)
        whole = reported[1] or any(one.response_cached is not None for one in samples)
        self.reported = reported[:] = [told, whole]

    def span(self):
        if self.window:
            return tuple(self.window)
        if not self.measured:
            return 0, 0
        return min(one.t_send_ns for one in self.measured), max(one.t_end_ns for one in self.measured)

    @property
    def duration(self):
        first, last = self.span()
        return (last - first) / 1e9

    def per_second(self, count):
        return None if count is None or self.duration <= 0 else count / self.duration

    def time(self, name, part=lambda one: True):
        return spread(getattr(one, name) for one in self.good if part(one))

    def tokens(self, key):
        return [one[key] for one in self.good if one.get(key) is not None]

    def hit_rate(self, part=lambda one: True):
        counted = [one for one in self.good if part(one) and one.prompt_tokens is not None]
        rate = ratio(sum(one.cached_tokens or 0 for one in counted), sum(one.prompt_tokens for one in counted))
        return rate if self.reported[0] else None

    def events_an_output(self):
        sources = ("events", "events_over_usage", None)
        counted = [one for one in self.good if one.token_source not in sources]
        return sum(one.completion_tokens for one in counted), sum(one.token_events for one in counted)

    def edge_tokens(self):
        """Tokens that came in the window from requests of the warm-up, and from those that were cut."""
        tokens, events = self.events_an_output()
        worth = ratio(tokens, events)
        total = 0.0
        for one in self.samples:
            is_warmup = one.phase == "warmup" and one.error_kind is None
            if not (is_warmup or one.phase == "cut") or one.t_first_ns is None:
                continue
            stamp, within = one.t_first_ns, 0
            for gap in [0] + one.gaps_us:
                stamp += gap * 1000
                within += self.window[0] <= stamp <= self.window[1]
            own = one.completion_tokens / one.token_events if is_warmup and one.completion_tokens else None
            total += within * (own if own is not None else 1.0 if worth is None else worth)
        return total

    def throughput(self):
        tokens = self.tokens("completion_tokens")
        total = sum(tokens) if tokens else None
        if self.window:
            edges = self.edge_tokens()
            total = total if total is None and edges == 0 else (total or 0) + edges
        return self.per_second(total)

    def concurrency(self):
        if self.window:
            last = max([self.window[1]] + [one.t_end_ns for one in self.samples])
            busy = sum(one.t_end_ns - one.t_send_ns for one in self.samples)
            return ratio(busy, last - self.facts["t_start_ns"])
        first, last = self.span()
        busy = sum(max(0, min(one.t_end_ns, last) - max(one.t_send_ns, first))
                   for one in self.samples if one.phase != "warmup")
        return ratio(busy, last - first)

    def gaps(self):
        return [gap / 1e3 for one in self.good if not one.is_burst for gap in one.gaps_us]

    def answers(self):
        """Times to the first answer token in ms; empty where no reply has had reasoning before its answer."""
        has = [one for one in self.good if one.t_answer_ns is not None]
        if not any(one.t_answer_ns > one.t_first_ns for one in has):
            return {"n": 0}
        start = lambda one: one.t_send_ns if one.t_due_ns is None else one.t_due_ns
        return spread(float(one.t_answer_ns - start(one)) for one in has)

    def steady_window(self):
        """The longest span with 95 % of the wanted requests in flight, over pauses of a twentieth of their mean time."""
        wanted = self.facts["concurrency"]
        is_open = self.facts["exhausted"] is not None or any(one.t_due_ns is not None for one in self.samples)
        if self.window or is_open or not wanted or not self.samples:
            return None
        mean_ns = sum(one.t_end_ns - one.t_send_ns for one in self.samples) // len(self.samples)
        changes = Counter()
        for one in self.samples:
            changes[one.t_send_ns] += 1
            changes[one.t_end_ns] -= 1
        first, last = self.span()
        level, full, since = 0, [], None
        for stamp in sorted(changes):
            level += changes[stamp]
            if since is None and level * 100 >= wanted * 95:
                since = stamp
            elif since is not None and level * 100 < wanted * 95:
                part, since = (max(since, first), min(stamp, last)), None
                if part[0] < part[1]:
                    full.append(part)
        best, begun, before = None, None, None
        for start, end in full:
            begun = begun if begun is not None and start - before <= mean_ns // 20 else start
            before = end
            if best is None or end - begun > best[1] - best[0]:
                best = begun, end
        return best if best and best[1] - best[0] >= 2 * mean_ns else None

    def steady(self):
        window = self.steady_window()
        if window is None:
            return {}
        first, last = window
        share = lambda start, end: max(0, min(end, last) - max(start, first)) / (end - start) if end > start else float(first <= start <= last)
        tokens, events = self.events_an_output()
        worth = ratio(tokens, events)
        worth = 1.0 if worth is None else worth
        total = 0.0
        for one in self.samples:
            is_cut = one.phase == "cut"
            if one.error_kind is not None and not is_cut:
                continue
            own = None if is_cut else one.completion_tokens
            if one.t_first_ns is None or not one.token_events:
                total += (own or 0) * share(one.t_send_ns, one.t_end_ns)
                continue
            if one.t_last_ns == one.t_first_ns:
                within = one.token_events * (first <= one.t_first_ns <= last)
            elif max(first, one.t_first_ns) > min(last, one.t_last_ns):
                within = 0
            else:
                within = 1 + (one.token_events - 1) * share(one.t_first_ns, one.t_last_ns)
            total += within * (worth if own is None else own / one.token_events)
        seconds = (last - first) / 1e9
        return {"steady_duration_s": seconds,
                "steady_throughput_tokens_per_s": total / seconds if self.tokens("completion_tokens") else None,
                "steady_request_throughput_rps": sum(share(one.t_send_ns, one.t_end_ns) for one in self.good) / seconds}

    def met(self):
        limits = self.header.get("slo") or {}
        def below(one):
            ttft, itl, latency = (limits.get(key) for key in ("ttft_ms", "itl_ms", "latency_ms"))
            return ((ttft is None or one.ttft is not None and one.ttft / 1e6 < ttft)
                    and (itl is None or one.itl is None or one.itl / 1e6 < itl)
                    and (latency is None or one.latency / 1e6 < latency))
        return [one for one in self.good if below(one)]

    def rate(self, key):
        stamps = [one[key] for one in self.samples if one.phase != "warmup" and one.get(key) is not None]
        if len(stamps) < 2:
            return None
        return ratio(len(stamps) - 1, (max(stamps) - min(stamps)) / 1e9)

    def failures(self):
        return dict(Counter(one.error_kind for one in self.failed))

    def catalogue(self):
        """The figures under the keys of the catalogue."""
        good, facts = self.good, self.facts
        output, prompt = self.tokens("completion_tokens"), self.tokens("prompt_tokens")
        cut = sum(one.phase == "cut" for one in self.samples) + facts["in_flight"]
        decode = [one.decode for one in good if one.decode]
        lasting = [one for one in good if one.completion_tokens and one.latency_sent > 0]
        streamed = [one for one in good if one.ttft_sent is not None]
        is_open = facts["exhausted"] is not None or any(one.t_due_ns is not None for one in self.samples)
        figures = {
            "tpot_ms": mean(one.itl / 1e6 for one in good if one.itl),
            "tpot_with_first_ms": mean(one.latency_sent / 1e6 / one.completion_tokens for one in lasting),
            "request_tokens_per_s": mean(one.completion_tokens / one.latency_sent * 1e9 for one in lasting),
            "prefill_tokens_per_s": mean(one.prompt_tokens / one.ttft_sent * 1e9 for one in streamed
                                         if one.prompt_tokens is not None and one.ttft_sent > 0),
            "decode_tokens_per_s": mean(tokens / ns * 1e9 for ns, tokens in decode),
            "decode_tokens_per_s_weighted": ratio(sum(n for _, n in decode) * 1e9, sum(ns for ns, _ in decode)),
            "throughput_tokens_per_s": self.throughput(),
            "request_throughput_rps": self.per_second(len(good)),
            "duration_s": self.duration,
            "prefix_cache_hit_rate": self.hit_rate(),
            "first_turn_hit_rate": self.hit_rate(lambda one: one.turn == 0)
            if any(one.turn for one in good) else None,
            "response_cache_hit_rate": ratio(sum(one.response_cached is True for one in good), len(good))
            if self.reported[1] else None,
            "error_rate": ratio(len(self.failed), len(self.measured)),
            "input_tokens_mean": mean(prompt),
            "output_tokens_mean": mean(output),
            "concurrency_mean": self.concurrency(),
            "connect_share": ratio(sum(one.connect_ns or 0 for one in streamed),
                                   sum(one.ttft_sent for one in streamed)),
            "scheduled_rate_per_s": self.rate("t_due_ns"),
            "achieved_rate_per_s": self.rate("t_send_ns"),
            "total_requests": len(self.measured),
            "successful_requests": len(good),
            "failed_requests": len(self.failed),
            "cut_requests": cut,
            "sent_requests": len(self.measured) + cut,
            "warmup_requests": sum(one.phase == "warmup" for one in self.samples),
            "requests_not_streamed": sum(one.t_first_ns is None for one in good),
            "stale_connections": sum(one.resent is True for one in self.measured),
            "planned_requests": facts["planned"],
            "not_sent_requests": facts["not_sent"],
            "turns_not_sent": facts["turns_not_sent"],
            "offered_rate_per_s": facts["rate_per_s"],
            "exhausted_requests": facts["exhausted"],
            "concurrency_peak": facts["concurrency_peak"],
        }
        figures.update(self.steady())
        gaps = self.gaps()
        figures["gaps_in_one_read_share"] = ratio(sum(gap == 0 for gap in gaps), len(gaps))
        if self.header.get("slo"):
            met, of = self.met(), len(self.measured) + facts["turns_not_sent"]
            all_tokens = [one.completion_tokens for one in self.measured if one.completion_tokens is not None]
            tokens = sum(one.completion_tokens or 0 for one in met) if all_tokens else None
            figures.update({
                "goodput_requests": len(met),
                "goodput_of_requests": of,
                "goodput_requests_percent": of and len(met) / of * 100,
                "goodput_rps": self.per_second(len(met)),
                "goodput_tokens": tokens,
                "goodput_of_tokens": sum(all_tokens) if all_tokens else None,
                "goodput_tokens_percent": tokens and tokens / sum(all_tokens) * 100,
                "goodput_tokens_per_s": self.per_second(tokens),
            })
        figures.update(self.server())
        spreads = {"ttft": self.time("ttft"), "time_to_answer": self.answers(), "itl": self.time("itl"), "latency": self.time("latency"),
                   "lateness": spread(one.late for one in self.measured)}
        if is_open:
            spreads["ttft_from_sent"] = self.time("ttft_sent")
            spreads["latency_from_sent"] = self.time("latency_sent")
        for name, of in spreads.items():
            for statistic, value in of.items():
                figures["%s_%s_ms" % (name, statistic)] = value
        return figures

    def between(self, first_ns, last_ns):
        """The readings from the last one that had ended by a stamp to the first one that began at or after another."""
        before = [at for at, one in enumerate(self.readings) if one["t_end_ns"] <= first_ns]
        after = [at for at, one in enumerate(self.readings) if one["t_start_ns"] >= last_ns]
        return self.readings[before[-1]:after[0] + 1] if before and after else []

    @staticmethod
    def counted(readings):
        """The increase of hits and of lookups, in tokens."""
        pairs = [one["values"].get("lmcache_hit_rate") for one in readings]
        if not pairs or not pairs[-1]:
            return None, None
        first = pairs[0] or {"hits": 0, "of": 0}
        return pairs[-1]["hits"] - first["hits"], pairs[-1]["of"] - first["of"]

    def extent(self):
        first = self.window[0] if self.window else self.facts["t_start_ns"]
        return first, self.window[1] if self.window else max((one.t_end_ns for one in self.samples), default=0)

    def server(self):
        """The figures of the server's page of metrics."""
        first, last = self.extent()
        readings = self.between(first, last)
        hits, lookups = self.counted(readings)
        figures = {"counter_hit_tokens": hits, "counter_prompt_tokens": lookups,
                   "counter_hit_rate": ratio(hits, lookups) if hits is not None else None}
        inside = [one for one in readings if one["t_start_ns"] >= first and one["t_end_ns"] <= last]
        for name in ("running", "waiting"):
            levels = lambda of: [one["values"][key] for one in of if (key := "vllm:num_requests_" + name) in one["values"]]
            figures[name + "_requests_mean"] = mean(levels(inside))
            peak = max(levels(readings), default=None)
            # A server that is idle before and after says nothing about the time between.
            figures[name + "_requests_peak"] = peak if peak or inside else None
        return figures

    def controls_beside(self):
        """The controls that were sent while the pass went on."""
        return [one for one in self.controls if self.window and self.window[0] <= one.t_send_ns < self.window[1]]

    def hits_of_controls(self):
        """The hit rate of the controls after the pass, by the server's counters."""
        after = [one for one in self.controls if one.t_send_ns >= self.extent()[1]]
        if not after:
            return None
        hits, lookups = self.counted(self.between(min(one.t_send_ns for one in after),
                                                  max(one.t_end_ns for one in after)))
        return None if hits is None else ratio(hits, lookups)

    def cold_warm(self):
        peak = self.facts["concurrency_peak"]
        in_order = sorted(self.samples, key=lambda one: one.t_send_ns)
        cold = [one for one in in_order if one.rotation == 0]
        warm = [one for one in in_order if one.rotation]
        whole = sum(one.rotation == 1 and one.phase != "cut" for one in warm)
        if not cold or whole < len(cold):
            return {}
        answered = [one.t_end_ns if one.t_first_ns is None else one.t_first_ns for one in cold[:peak]]
        cold_end = max(one.t_end_ns for one in cold)
        cold = [one for one in cold[peak:] if one.t_send_ns >= max(answered)]
        warm = [one for one in warm if one.t_send_ns >= cold_end][peak:]
        sides = [[float(one.ttft_sent) for one in side if one.good and not one.resent and one.ttft_sent is not None]
                 for side in (cold, warm)]
        if not all(sides):
            return {}
        (cold, cold_low, cold_high), (warm, warm_low, warm_high) = map(median_interval, sides)
        found = {"ratio": cold / warm, "cold_ns": cold, "cold_requests": len(sides[0]), "warm_requests": len(sides[1])}
        if min(map(len, sides)) >= max(20, 2 * peak):
            down = math.hypot(math.log(cold / cold_low), math.log(warm_high / warm))
            up = math.hypot(math.log(cold_high / cold), math.log(warm / warm_low))
            found.update(low=cold / warm * math.exp(-down), high=cold / warm * math.exp(up))
        return found


# ---- the verdict on the KV cache

TIMES = "times"


def text_hits(samples, common):
    """Cached and prompt tokens of each, beyond those that every prompt begins with."""
    return [(max(0, (one.cached_tokens or 0) - common), max(0, one.prompt_tokens - common))
            for one in sorted(samples, key=lambda one: one.t_send_ns) if one.prompt_tokens is not None]


def hit_share(hits):
    """The share of hits with the ends of its 95 % interval."""
    repeated = sum(of for _, of in hits)
    if not repeated:
        return None
    own = sum(cached for cached, _ in hits) / repeated
    half = half_width([cached - own * of for cached, of in hits])
    if half is None:
        return own, None, None
    return own, max(0.0, own - half / repeated), min(1.0, own + half / repeated)


def ttft_ratio(groups):
    """TTFT of first uses over that of repeats, in the group that has most of both, and its interval; then the former in
    nanoseconds."""
    best = None
    for fresh, repeats, ramp in groups:
        sides = [[float(one.ttft_sent) for one in sorted(side, key=lambda one: one.t_send_ns)[skipped:]
                  if one.good and not one.resent and (one.ttft_sent or 0) > 0]
                 for side, skipped in ((fresh, ramp), (repeats, 0))]
        n = min(map(len, sides))
        if n and (best is None or n >= best[0]):
            best = n, sides
    if best is None:
        return None, None, None, None
    (cold, cold_low, cold_high), (warm, warm_low, warm_high) = map(median_interval, best[1])
    if best[0] < 20:
        return cold / warm, None, None, cold
    down = math.hypot(math.log(cold / cold_low), math.log(warm_high / warm))
    up = math.hypot(math.log(cold_high / cold), math.log(warm / warm_low))
    return cold / warm, cold / warm * math.exp(-down), cold / warm * math.exp(up), cold


def repeats_of(command, passes):
    """Groups of requests at one load: those that send a text first, those that repeat one, and how many of the first
    met an idle server."""
    if command == "load":
        sent = [[one for one in of.samples if one.phase != "warmup"] for of in passes]
        return [([one for one in samples if one.repeat is False], [one for one in samples if one.repeat is True],
                 of.facts["concurrency_peak"]) for samples, of in zip(sent, passes)]
    levels = list(dict.fromkeys(of.facts["concurrency"] for of in passes))
    first_turns = lambda level, is_round: [one for of in passes for one in of.samples if not one.turn
                                           and of.facts["concurrency"] == level and is_round(of.facts["round"])]
    return [(first_turns(level, lambda n: n == 1), first_turns(level, lambda n: n > 1), 0) for level in levels]


def kv_cache(header, passes, is_limited):
    """What the object `kv_cache` has, but for its words. None: there is no answer. TIMES: only times tell."""
    command, common = header["command"], passes[0].common
    unknown = dict(verdict="unknown")
    told = passes[-1].reported[0]
    fresh_hits = None
    if command == "benchmark":
        one = passes[0]
        is_good = lambda sample: sample.good and not sample.resent
        warm = [sample for sample in one.samples if sample.rotation]
        good = [sample for sample in warm if is_good(sample)]
        context = header["options"]["input_length_tokens"] / (mean(one.tokens("prompt_tokens")) - common)
        context = min(1.0, context) if context > 0 else 1.0
        usage = hit_share(text_hits(good, common)) if told else None
        usage = usage and tuple(end if end is None else min(1.0, end / context) for end in usage)
        cold = [sample for sample in one.good if sample.rotation == 0 and not sample.resent]
        if told and header["is_nonce_fresh"]:
            counted = [sample for sample in cold if sample.prompt_tokens is not None]
            fresh_hits = ratio(sum(max(0, (sample.cached_tokens or 0) - common) for sample in counted),
                               sum(sample.prompt_tokens for sample in counted))
        compared = one.cold_warm()
        speed, cold_ns = tuple(compared.get(key) for key in ("ratio", "low", "high")), compared.get("cold_ns")
        # What the counters have: requests after the warm-up, and controls among them.
        beside = one.controls_beside()
        in_counters = [sample for sample in one.samples if sample.phase != "warmup" and sample.rotation is not None]
        again = sum(bool(sample.rotation) for sample in in_counters) + sum(sample.repeat is True for sample in beside)
        repeated_share = (ratio(again, len(in_counters) + len(beside)) or 0) * context
        counting, alone = passes, beside
    elif command in ("load", "replay"):
        groups = repeats_of(command, passes)
        if command == "replay" and header["options"]["resets_between_rounds"]:
            return unknown
        by_group = [[one for one in repeats if one.good and not one.resent] for _, repeats, _ in groups]
        usage = hit_share([hits for of in by_group for hits in text_hits(of, common)]) if told else None
        good = [one for of in by_group for one in of]
        *speed, cold_ns = ttft_ratio(groups)
        tokens = lambda side: sum(one.prompt_tokens or 0 for group in groups for one in group[side])
        counting, alone = passes, []
        repeated_share = ratio(tokens(1), tokens(0) + tokens(1))
        if command == "replay":
            counting = [of for of in passes if of.facts["round"] > 1]
            has_later = any(one.turn for of in passes for one in of.samples)
            repeated_share = None if has_later else 1.0
        elif header["options"]["prompts"].get("repeat_ratio") == 0 and not good:
            return None
    else:
        return unknown
    unknown.update(speed_up=speed[0], speed_up_low=speed[1], speed_up_high=speed[2])
    if not good:
        return unknown

    is_liar = usage is not None and fresh_hits is not None and fresh_hits >= 0.05 and 2 * fresh_hits > usage[0]
    # The counters are unusable if others sent more than a fiftieth of the tokens.
    of_passes = [of.server() for of in passes]
    total = lambda of, key: None if any(one[key] is None for one in of) else sum(one[key] for one in of)
    counters, lookups = None, total(of_passes, "counter_prompt_tokens")
    if lookups and repeated_share:
        sent = 0.0
        for of in passes:
            requests = len(of.measured) + sum(one.phase == "cut" for one in of.samples) + of.facts["in_flight"]
            requests += sum(one.phase == "warmup" for one in of.samples) if of.window else 0
            sent += mean(of.tokens("prompt_tokens")) * (requests + len(of.controls_beside()))
        of_repeats = [of.server() for of in counting]
        own = 0 if is_liar else sum(one.cached_tokens or 0 for one in alone)
        repeated = total(of_repeats, "counter_prompt_tokens") * repeated_share - own
        if repeated > 0 and lookups / sent <= 1.02:
            counters = min(1.0, max(0.0, (total(of_repeats, "counter_hit_tokens") - own) / repeated)), None, None

    low, high = (None, None) if is_limited else speed[1:]
    is_faster = low is not None and low > 1.3
    believed = None if is_liar else usage
    prompts = sum(sum(of.tokens("prompt_tokens")) for of in passes)
    cached = sum(one.cached_tokens or 0 for of in passes for one in of.good if one.prompt_tokens is not None)
    always_0 = believed and believed[0] < 0.05 and cached < 0.05 * prompts
    if always_0 and counters and counters[0] >= 0.1:
        believed = None
    source = "usage" if believed else "counters" if counters else None
    share = believed or counters
    found = dict(unknown, source=source)
    if share is None:
        if any(one.session is not None for of in passes for one in of.controls if command == "benchmark"):
            return TIMES
        # Without usage, only a prefill that takes twice as long as that of a short prompt shows that nothing was hit.
        no_faster = 1.1
        if not usage:
            short = header["setup"].get("short_ttft_ns")
            prefill = cold_ns / short if cold_ns and short else 0
            no_faster = (1 + prefill) / 2 if prefill >= 2 else 0
        if not is_limited:
            found["verdict"] = "working" if is_faster else "off" if high is not None and high < no_faster else "unknown"
        return found
    found.update(hit_share=share[0], hit_share_low=share[1], hit_share_high=share[2])
    seconds = [hits for of in passes for hits in text_hits(
        [one for one in of.controls if one.turn == 1 and one.error_kind is None], common)]
    at_once = hit_share(seconds) if told else None
    at_once = at_once and at_once[0]
    if source == "counters":
        rates = [rate for of in passes if (rate := of.hits_of_controls()) is not None]
        at_once = min(1.0, 2 * rates[-1]) if rates else None
    most = min(1.0, at_once) if at_once is not None and at_once >= 0.3 else 1.0
    if share[0] >= 0.05:
        found["verdict"] = "working" if share[0] >= 0.8 * most else "partly"
    elif is_faster and source == "usage":
        found.update(verdict="working", source=None, hit_share=None, hit_share_low=None, hit_share_high=None)
    else:
        found["verdict"] = "too_small" if at_once is not None and at_once >= 0.05 else "off"
    return found


def check_kv_cache(check, where, printed, header, passes, summaries):
    own = kv_cache(header, passes, any(one["client"]["limited"] is True for one in summaries))
    if own == TIMES:
        return
    check.text(where + ".has_kv_cache", printed is not None, own is not None)
    if printed is None or own is None:
        return
    check.verdicts[printed["verdict"], str(printed["source"])] += 1
    for key in ("verdict", "source"):
        check.text("%s.kv_cache.%s" % (where, key), printed[key], own.get(key))
    check.object(where + ".kv_cache", printed, own,
                 "hit_share hit_share_low hit_share_high speed_up speed_up_low speed_up_high")


def against(first, later):
    """A later round of replay against the first."""
    def keyed(figures):
        return {(one.session, one.turn or 0): one for one in figures.good if (one.ttft_sent or 0) > 0}
    before, after = keyed(first), keyed(later)
    pairs = [(before[key], after[key]) for key in after if key in before]
    if not pairs:
        return {}
    sessions = {}
    for one, other in pairs:
        sessions.setdefault(other.session, []).append((one, other))
    in_order = sorted(sessions.values(), key=lambda turns: min(other.t_send_ns for _, other in turns))
    sums = [(sum(a.ttft_sent for a, _ in turns), sum(b.ttft_sent for _, b in turns)) for turns in in_order]
    total = sum(a for a, _ in sums)
    found = {"ttft_ratio": sum(b for _, b in sums) / total, "request_pairs": len(pairs)}
    units = len(sums)
    for side in zip(*pairs):
        lasted = max(one.t_send_ns + one.latency_sent for one in side) - min(one.t_send_ns for one in side)
        units = min(units, int(lasted / (10 * mean(one.latency_sent for one in side))))
    found["independent_units"] = units
    half = half_width([b - found["ttft_ratio"] * a for a, b in sums])
    if half is not None and units >= 20:
        found["ttft_ratio_low"] = max(0.0, found["ttft_ratio"] - half / total)
        found["ttft_ratio_high"] = found["ttft_ratio"] + half / total
    return found


# ---- files

class Check:
    """Counts figures, and keeps those that differ."""

    def __init__(self):
        self.figures, self.present, self.wrong = 0, 0, []
        self.verdicts = Counter()

    def equal(self, where, printed, own, relative=RELATIVE, absolute=0.0):
        self.figures += 1
        self.present += printed is not None
        if printed is None or own is None:
            same = printed is None and own is None
        else:
            same = abs(printed - own) <= max(relative * max(abs(printed), abs(own)), absolute)
        if not same:
            self.wrong.append("%s: printed %r, recomputed %r" % (where, printed, own))

    def text(self, where, printed, own):
        self.figures += 1
        self.present += printed is not None
        if printed != own:
            self.wrong.append("%s: printed %r, recomputed %r" % (where, printed, own))

    def object(self, where, printed, own, keys):
        for key in keys.split():
            name, _, figure = key.partition("=")
            assert name in printed, "%s has no %s" % (where, name)
            self.equal("%s.%s" % (where, name), printed[name], own.get(figure or name))

    def seconds(self, where, printed, of, relative=RELATIVE):
        """A spread in seconds, rounded to whole nanoseconds."""
        if printed is None:
            return self.equal(where, None, of["n"] or None)
        for key in ("p50", "p90", "p99", "max"):
            self.equal("%s.%s" % (where, key), printed[key + "_s"], of[key] / 1e3, relative, 1e-9)
        self.equal(where + ".n", printed["n"], of["n"])

    def counts(self, where, printed, own):
        for key in sorted(set(printed) | set(own)):
            told = printed.get(key)
            told = told["count"] if isinstance(told, dict) else told
            self.equal("%s.%s" % (where, key), told, own.get(key))


def histogram(gaps):
    """Nearest ranks of gaps, in milliseconds."""
    gaps = sorted(gaps)
    at = lambda q: gaps[max(0, math.ceil(q * len(gaps)) - 1)]
    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": gaps[-1], "n": len(gaps)} if gaps else {"n": 0}


STEADY = "steady_duration_s steady_throughput_tokens_per_s steady_request_throughput_rps "
SERVER = "counter_hit_rate counter_hit_tokens counter_prompt_tokens running_requests_mean running_requests_peak" \
    " waiting_requests_mean waiting_requests_peak"


def of_pass(check, where, summary, figures):
    """The object `summary` that files of replay, load and run have."""
    own = figures.catalogue()
    check.object(where, summary, own, "total_requests successful_requests failed_requests"
                 " avg_input_tokens=input_tokens_mean avg_output_tokens=output_tokens_mean test_duration_s=duration_s"
                 " token_throughput=throughput_tokens_per_s request_throughput=request_throughput_rps"
                 " goodput_requests goodput_requests_percent goodput_tokens goodput_tokens_percent"
                 " goodput_token_throughput=goodput_tokens_per_s goodput_request_throughput=goodput_rps"
                 " prefix_cache_hit_rate first_turn_hit_rate turns_not_sent cut_requests concurrency_mean"
                 " concurrency_peak connect_share stale_connections requests_not_streamed gaps_in_one_read_share "
                 + STEADY + SERVER)
    for name, time_of in (("ttft", "ttft_sent"), ("itl", "itl"), ("latency", "latency_sent")):
        of = figures.time(time_of)
        for key in ("avg", "p50", "p90", "p99", "min", "max", "stddev", "n"):
            check.equal("%s.%s_%s" % (where, key, name), summary["%s_%s" % (key, name)], of.get(key), absolute=1e-9)
    answers = figures.answers()
    for key in ("avg", "p50", "p90", "p99", "min", "max", "stddev", "n"):
        check.equal("%s.%s_time_to_answer" % (where, key), summary[key + "_time_to_answer"], answers.get(key), absolute=1e-9)
    tokens, events = figures.events_an_output()
    check.equal(where + ".gaps_are_tokens", summary["gaps_are_tokens"], tokens > 0 and events * 10 >= tokens * 9)
    check.counts(where + ".failures", summary["failures"], figures.failures())
    sources = Counter(one.token_source for one in figures.good if one.token_source)
    check.counts(where + ".token_sources", summary["token_sources"], sources)


def benchmark(check, where, file, figures):
    summary, own = file["summary"], figures.catalogue()
    check.object(where, summary, own, "elapsed_s=duration_s qps=request_throughput_rps"
                 " output_tokens_per_s=throughput_tokens_per_s decode_tokens_per_s_weighted gaps_in_one_read_share"
                 " prefix_cache_hit_rate prompt_tokens_mean=input_tokens_mean output_tokens_mean concurrency_mean"
                 " concurrency_peak failed=failed_requests requests_cut=cut_requests requests_in_warmup=warmup_requests"
                 " connect_share stale_connections requests_not_streamed " + SERVER)
    check.equal(where + ".controls_hit_rate", figures.facts["controls_hit_rate"], figures.hits_of_controls())
    averages = summary["averages"]
    check.equal(where + ".averages.requests", averages["requests"], len(figures.good))
    for key, figure in (("ttft_s", "ttft"), ("itl_s", "itl")):
        average = figures.time(figure).get("avg")
        check.equal("%s.averages.%s" % (where, key), averages[key], average and average / 1e3)
    check.object(where + ".averages", averages, own, "prefill_tokens_per_s decode_tokens_per_s")
    check.seconds(where + ".ttft", summary["ttft"], figures.time("ttft"))
    check.seconds(where + ".itl", summary["itl"], figures.time("itl"))
    check.seconds(where + ".time_to_answer", summary["time_to_answer"], figures.answers())
    check.seconds(where + ".gap", summary["gap"], histogram(figures.gaps()), HISTOGRAM)
    tokens, events = figures.events_an_output()
    check.equal(where + ".gaps_are_tokens", summary["gaps_are_tokens"], tokens > 0 and events * 10 >= tokens * 9)
    for key, is_cold in (("first_rotation", True), ("later_rotations", False)):
        part = lambda one: (one.rotation == 0) == is_cold
        told = summary[key]
        not_resent = lambda one: part(one) and not one.resent
        of = figures.time("ttft", not_resent)
        name = "%s.%s" % (where, key)
        check.equal(name + ".requests", told["requests"], sum(map(not_resent, figures.good)))
        check.equal(name + ".ttft_mean_s", told["ttft_mean_s"], of["n"] and of["avg"] / 1e3 or None)
        check.seconds(name + ".ttft", told["ttft"], of)
        check.equal(name + ".hit_rate", told["prefix_cache_hit_rate"], figures.hit_rate(not_resent))
    check.object(where + ".cold_warm_ttft", summary["cold_warm_ttft"], figures.cold_warm(),
                 "ratio low high cold_requests warm_requests")
    for key, name in (("prompt_tokens_total", "prompt_tokens"), ("output_tokens_total", "completion_tokens")):
        counted = figures.tokens(name)
        check.equal("%s.%s" % (where, key), summary[key], sum(counted) if counted else None)
    wanted = [one.completion_tokens if one.wanted is None else one.wanted
              for one in figures.good if one.completion_tokens is not None]
    check.equal(where + ".output_tokens_wanted_mean", summary["output_tokens_wanted_mean"], mean(wanted))
    check.equal(where + ".in_flight", summary["in_flight"], 0)
    check.counts(where + ".failures", summary["failures"], figures.failures())
    sources = Counter(one.token_source for one in figures.good if one.token_source)
    check.counts(where + ".token_sources", summary["token_sources"], sources)


LOAD = """ttft_p50_ms ttft_p95_ms ttft_p99_ms tpot_ms throughput_tokens_per_s request_throughput_rps
    response_cache_hit_rate prefix_cache_hit_rate avg_latency_ms=latency_avg_ms ttft_avg_ms latency_p50_ms
    latency_p95_ms latency_p99_ms itl_p50_ms itl_p95_ms itl_p99_ms error_rate total_requests successful_requests
    failed_requests cut_requests sent_requests planned_requests not_sent_requests warmup_requests duration_s
    goodput_requests goodput_of_requests goodput_requests_percent goodput_rps goodput_tokens goodput_of_tokens
    goodput_tokens_percent goodput_tokens_per_s offered_rate_per_s scheduled_rate_per_s achieved_rate_per_s
    lateness_avg_ms lateness_p99_ms lateness_max_ms exhausted_requests ttft_from_sent_avg_ms ttft_from_sent_p50_ms
    ttft_from_sent_p95_ms ttft_from_sent_p99_ms latency_from_sent_avg_ms latency_from_sent_p50_ms
    latency_from_sent_p95_ms latency_from_sent_p99_ms time_to_answer_avg_ms time_to_answer_p50_ms time_to_answer_p95_ms
    time_to_answer_p99_ms steady_duration_s steady_throughput_tokens_per_s steady_request_throughput_rps"""
RUN = """avg_ttft_ms=ttft_avg_ms p50_ttft_ms=ttft_p50_ms p95_ttft_ms=ttft_p95_ms p99_ttft_ms=ttft_p99_ms
    avg_tbt_ms=itl_avg_ms avg_tpot_ms=tpot_with_first_ms avg_throughput_tps=request_tokens_per_s
    output_throughput_tps=throughput_tokens_per_s request_throughput_rps error_rate total_requests successful_requests
    failed_requests usage_prefix_hit_rate=prefix_cache_hit_rate avg_latency_ms=latency_avg_ms"""


def overload(samples):
    """Backlog and growth of an open loop at its last scheduled time; None for too few requests."""
    ended = sorted(((one.t_due_ns, one.t_end_ns) for one in samples
                    if one.phase in ("measured", "cut") and one.t_due_ns is not None))
    n = len(ended)
    if n < 100 or ended[-1][0] <= ended[0][0]:
        return None
    took = [(end - due) / 1e9 for due, end in ended]
    first, last = ended[0][0], ended[-1][0]
    expected = n - n / ((last - first) / 1e9) * mean(took[:n // 10])
    backlog = max(0, 1 - sum(end <= last for _, end in ended) / expected) if expected > 0 else 0
    before, after = mean(took[:n // 2]), mean(took[n // 2:])
    growth = max(0, (after - before) / before) if before else 0
    noise = 3 / math.sqrt(n)
    ran_away = backlog > noise and growth > noise and max(backlog, min(growth, 1)) > 0.5
    return {"overloaded": ran_away, "backlog_share": backlog, "latency_growth": growth}


def load(check, where, file, figures):
    check.object(where, file, figures.catalogue(), LOAD)
    for key, value in (overload(figures.samples) or {}).items():
        check.equal(where + "." + key, file[key], value)
    is_open = file["latency_from"] == "due"
    lateness = spread(one.late for one in figures.measured)
    distributions = {"itl": figures.time("itl"), "latency": figures.time("latency"), "ttft": figures.time("ttft"),
                     "lateness": lateness, "time_to_answer": figures.answers(),
                     "latency_from_sent": figures.time("latency_sent") if is_open else {"n": 0},
                     "ttft_from_sent": figures.time("ttft_sent") if is_open else {"n": 0}}

    def distribution(name, printed, of):
        if printed is None:
            return check.equal(name, None, of["n"] or None)
        for key in ("avg", "p50", "p95", "p99", "max"):
            check.equal("%s.%s" % (name, key), printed[key + "_ms"], of[key], absolute=1e-9)
        check.equal(name + ".n", printed["n"], of["n"])

    for name, of in distributions.items():
        distribution("%s.%s" % (where, name), file["distributions"][name], of)
    def is_hit(one):
        if figures.reported[1]:
            return one.response_cached is True
        return (one.cached_tokens or 0) > figures.common
    # The first sending of a request that was sent again may have brought its prompt into the cache.
    splits = {"first_use": lambda one: one.repeat is False and not one.resent,
              "repeat": lambda one: one.repeat is True and not one.resent,
              "hit": is_hit, "miss": lambda one: not is_hit(one)}
    for name, part in splits.items():
        printed = file["splits"][name]
        if printed is not None:
            distribution("%s.%s.ttft" % (where, name), printed["ttft"], figures.time("ttft", part))
            distribution("%s.%s.latency" % (where, name), printed["latency"], figures.time("latency", part))
    of_pass(check, where + ".detail", file["detail"], figures)


# ---- a round of the commands

class Round:
    def __init__(self, binary):
        self.binary, self.check = binary, Check()
        self.kinds = Counter()
        self.folder = tempfile.TemporaryDirectory(prefix="recompute-")
        self.dir = self.folder.name
        session = {"user_messages": ["one two three four " * 8, "and five six", "seven"]}
        self.write("d.jsonl", "".join(json.dumps(session) + "\n" for _ in range(24)))
        single = {"user_messages": ["a question of some length " * 4]}
        self.write("long.jsonl", "".join(json.dumps(single) + "\n" for _ in range(240)))
        self.write("slo.yaml", "slo:\n  ttft_ms: 8\n  latency_ms: 60\n")

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w") as file:
            file.write(text)

    def json(self, name):
        with open(os.path.join(self.dir, name)) as file:
            return json.load(file)

    def command(self, words, codes=(0, 1), interrupt_after=None):
        process = subprocess.Popen([self.binary] + words.split(), cwd=self.dir, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if interrupt_after:
            time.sleep(interrupt_after)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode not in codes:
            sys.exit("%s: exit code %d\n%s%s" % (words, process.returncode, out, err))
        return out

    def figures(self, samples):
        header, passes = read(os.path.join(self.dir, samples))
        reported = [False, False]
        found = []
        for lines, readings, facts in passes:
            for one in lines:
                self.kinds.update(kind for kind, has in (
                    ("failed", one.error_kind), ("cut", one.phase == "cut"), ("resent", one.resent),
                    ("warm-up", one.phase == "warmup"), ("beside the workload", one.phase == "control"), ("of one token", one.good and one.completion_tokens == 1),
                    ("not streamed", one.good and one.t_first_ns is None), ("in a burst", one.good and one.is_burst),
                    ("of an impossible count", one.told[2] and one.told[2] != one.completion_tokens)) if has)
            found.append(Figures(header, lines, readings, facts, reported))
        return found

    def benchmark(self, name, words, **how):
        self.command("benchmark --output %s.json --samples %s.jsonl %s" % (name, name, words), (0, 1, 130), **how)
        file, passes = self.json(name + ".json"), self.figures(name + ".jsonl")
        benchmark(self.check, name, file, passes[0])
        check_kv_cache(self.check, name, file.get("kv_cache"), passes[0].header, passes, [file["summary"]])

    def load(self, name, words, **how):
        self.command("load --output %s.json --samples %s.jsonl %s" % (name, name, words), (0, 1, 130), **how)
        file = self.json(name + ".json")
        passes, points = self.figures(name + ".jsonl"), file.get("points", [file])
        for at, figures in enumerate(passes):
            load(self.check, "%s[%d]" % (name, at), points[at], figures)
        details = [point["detail"] for point in points]
        check_kv_cache(self.check, name, file.get("kv_cache"), passes[0].header, passes, details)

    def replay(self, name, words, **how):
        self.command("replay --output-dir %s %s" % (name, words), (0, 1, 130), **how)
        samples = os.path.join(name, "samples.jsonl")
        passes = self.figures(samples)
        report = json.loads(self.command("report --format json -i " + samples, (0,)))
        for figures, told in zip(passes, report["rounds"]):
            level, number = figures.facts["concurrency"], figures.facts["round"]
            file = "%s/concurrency_%d_round_%d" % (name, level, number)
            of_pass(self.check, file, self.json(file + ".json")["summary"], figures)
            first = next(one for one in passes if one.facts["concurrency"] == level)
            own = against(first, figures) if number > 1 else {}
            self.check.object(file + ".against_round_1", told["against_round_1"] or dict.fromkeys(AGAINST.split()),
                              own, AGAINST)
        summaries = [told["summary"] for told in report["rounds"]]
        check_kv_cache(self.check, name, report.get("kv_cache"), passes[0].header, passes, summaries)

    def run(self, name, words, **how):
        self.command("run --output %s %s" % (name, words), (0, 1, 130), **how)
        for figures in self.figures(os.path.join(name, "samples.jsonl")):
            workload = figures.facts["workload"]
            file = self.json("%s/%s_metrics.json" % (name, workload))
            self.check.object("%s.%s" % (name, workload), file, figures.catalogue(), RUN)
            of_pass(self.check, "%s.%s.detail" % (name, workload), file["detail"], figures)


def start_mock(binary, words):
    """Starts a mock; returns the process and its URL."""
    mock = subprocess.Popen([binary, "mock", "--port", "0", "--base", "2ms", "--itl", "1ms", "--prefill-rate", "60k"]
                            + words.split(), stdout=subprocess.PIPE, text=True)
    line = ""
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", line)):
        line = mock.stdout.readline()
        if not line:
            sys.exit("the mock has not started")
    return mock, found.group()


# Servers whose cache works or not, and who tell of it or not.
CACHES = {"works": "", "off": "--tier1-tokens 0 --tier2-tokens 0", "small": "--tier1-tokens 2400 --tier2-tokens 0",
          "misses": "--misses 50", "absent": "--usage-cached absent",
          "absent-off": "--usage-cached absent --tier1-tokens 0 --tier2-tokens 0",
          "absent-small": "--usage-cached absent --tier1-tokens 2400 --tier2-tokens 0",
          "zero": "--usage-cached zero", "all": "--usage-cached all --tier1-tokens 0 --tier2-tokens 0"}
# Verdicts that these have to bring about, with their sources.
VERDICTS = [("working", "usage"), ("working", "counters"), ("partly", "usage"), ("off", "usage"), ("off", "counters"),
            ("too_small", "usage"), ("too_small", "counters"), ("unknown", None)]


def verdicts(round_of, name, words):
    """Runs of benchmark, load and replay, whose verdict depends on the cache."""
    mock, url = start_mock(round_of.binary, words)
    try:
        to = " --endpoint %s --seed 7" % url
        sizes = " --contexts 24 --input-length 200 --output-length 2 --max-inflight 1"
        round_of.benchmark(name + "-cycle", "--rotations 3" + sizes + to)
        round_of.benchmark(name + "-once", "--rotations 1" + sizes + to)
        round_of.benchmark(name + "-endless", "--duration 2500ms --warmup-seconds 0.1" + sizes + to)
        round_of.load(name + "-load", "--concurrency 1 --requests 60 --warmup 2 --input-tokens 200 --output-tokens 2"
                      " --repeat-ratio 0.5" + to)
        round_of.replay(name + "-replay", "--synthetic 20 --concurrency 1,2 --rounds 2 --max-output-tokens 2" + to)
        round_of.replay(name + "-turns", "--dataset d.jsonl --concurrency 1 --rounds 2 --max-output-tokens 2" + to)
    finally:
        mock.terminate()
        mock.wait()


AGAINST = "ttft_ratio ttft_ratio_low ttft_ratio_high request_pairs independent_units"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1])
    round_of = Round(os.path.abspath(sys.argv[1]))
    faults = "http:500@4%;reset:3@3%;error:2@2%;stop:1@5%;chunk:4@10%;no_usage@5%"
    mock, mock_url = start_mock(round_of.binary, "--jitter 300us --faults " + faults)
    try:
        odd = Odd()
        for name, url in (("mock", mock_url), ("odd", odd.url)):
            to = " --endpoint %s --seed 7 --nonce %s" % (url, name)
            sizes = " --contexts 24 --input-length 100 --output-length 12 --max-inflight 3"
            round_of.benchmark(name + "-rotations", "--rotations 4" + sizes + to)
            round_of.benchmark(name + "-cut", "--duration 1500ms --warmup-seconds 0.4" + sizes + to)
            round_of.benchmark(name + "-signal", "" + sizes + to + " --rotations 500", interrupt_after=2)
            texts = " --input-tokens 60 --output-tokens 12 --repeat-ratio 0.4 --slo-file slo.yaml"
            round_of.load(name + "-closed", "--concurrency 1,4 --requests 60 --warmup 5" + texts + to)
            round_of.load(name + "-open", "--rate 80 --duration 1500ms" + texts + to)
            round_of.load(name + "-signalled", "--concurrency 4 --requests 100000" + texts + to, interrupt_after=2)
            round_of.replay(name + "-turns", "--dataset d.jsonl --concurrency 1,4 --rounds 2 --max-output-tokens 12"
                            " --slo-file slo.yaml" + to)
            round_of.run(name + "-run", "--workload short --requests 40" + to)
        to = " --endpoint %s --seed 7 --nonce long" % mock_url
        round_of.replay("long", "--dataset long.jsonl --concurrency 1 --rounds 2 --max-output-tokens 4" + to)
    finally:
        mock.terminate()
        mock.wait()
    for name, words in CACHES.items():
        verdicts(round_of, name, words)
    check = round_of.check
    print("%d figures, %d of them present, from %s" % (check.figures, check.present, ", ".join(
        "%d requests %s" % (n, kind) for kind, n in sorted(round_of.kinds.items()))))
    for kind in ("failed", "cut", "resent", "warm-up", "of one token", "not streamed", "in a burst",
                 "of an impossible count", "beside the workload"):
        if not round_of.kinds[kind]:
            check.wrong.append("no request %s" % kind)
    print("Verdicts: " + ", ".join("%s of %s by %s" % (n, *found) for found, n in sorted(check.verdicts.items())))
    for verdict, source in VERDICTS:
        if not check.verdicts[verdict, str(source)]:
            check.wrong.append("no verdict %s by %s" % (verdict, source))
    for line in check.wrong:
        print("[ERROR] " + line)
    sys.exit(1 if check.wrong else 0)


if __name__ == "__main__":
    main()
