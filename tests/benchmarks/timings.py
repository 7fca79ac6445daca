"""Arithmetic beside the clocks: what the scripted server's log says, and how long a perfect client would have taken."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from statistics import NormalDist, fmean
from typing import NamedTuple

import orjson

from synth.engine.scripted import Options, latency_seconds

_QUANTILES = 100_000


@dataclass(frozen=True)
class Log:
    """A scripted server's request log. `sent` and `answered` are (seconds since 1970, digest of the body), in order."""

    sent: Sequence[tuple[float, str]]
    answered: Sequence[tuple[float, str]]

    @property
    def asks(self) -> int:
        """Different bodies received."""
        return len({digest for _, digest in self.sent})

    @property
    def resent(self) -> int:
        """Bodies received more than once."""
        return sum(times > 1 for times in Counter(digest for _, digest in self.sent).values())

    def without_probes(self, asks: int) -> Log:
        """Without what an engine asks a server when it starts: the first bodies, as many as there are beyond `asks`."""
        probes = set([*dict.fromkeys(digest for _, digest in self.sent)][: max(0, self.asks - asks)])
        sent = [entry for entry in self.sent if entry[1] not in probes]
        return Log(sent, [entry for entry in self.answered if entry[1] not in probes])

    def answered_between(self, start: float, end: float) -> int:
        """Answers that left the server in this time (seconds since 1970)."""
        return sum(start <= time <= end for time, _ in self.answered)


class Schedule(NamedTuple):
    """When a client was done, and when it sent its last ask (seconds from its first)."""

    seconds: float
    last_send_seconds: float


def read_log(path: Path) -> Log:
    """The log as it is now; a line that is still being written is left out."""
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    sent = [(line["time"], line["digest"]) for line in lines if line["event"] == "request"]
    answered = [(line["time"], line["digest"]) for line in lines if line["event"] == "answer"]
    return Log(sent, answered)


def drawn_latencies(log: Log, mean_seconds: float, sigma: float) -> list[float]:
    """The latencies (seconds) that the server drew, in the order in which the asks came."""
    options = Options(latency_seconds=mean_seconds, latency_sigma=sigma)
    return [latency_seconds(options, digest, 0) for _, digest in log.sent]


def list_schedule(latencies: Sequence[float], places: int) -> Schedule:
    """The perfect client: each ask in order is sent in the moment in which one of `places` is free."""
    free, start, done = [0.0] * places, 0.0, 0.0
    for latency in latencies:
        start = heapq.heappop(free)
        heapq.heappush(free, start + latency)
        done = max(done, start + latency)
    return Schedule(done, start)


def barrier_seconds(latencies: Sequence[float], places: int) -> float:
    """A client that sends `places` asks, waits for all of them, and sends the next: each round takes its longest."""
    return sum(max(latencies[at : at + places]) for at in range(0, len(latencies), places))


def expected_barrier_ratio(places: int, sigma: float) -> float:
    """E[longest of `places`] / mean of a lognormal: what a barrier costs when the asks never end."""
    normal = NormalDist()
    middles = ((at + 0.5) / _QUANTILES for at in range(_QUANTILES))
    return fmean(exp(sigma * normal.inv_cdf(middle ** (1 / places)) - sigma**2 / 2) for middle in middles)
