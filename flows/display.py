"""What a person sees: one live line while it runs (plain lines when nobody watches), the closing table at the end."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.live import Live

from flows.recipe import Recipe
from synth.driver import Manifest, Work
from synth.engine.engine import Stats

_LIVE_SECONDS = 0.5
_PLAIN_SECONDS = 10.0
_PIPE_WIDTH = 1000
QUESTIONS = (
    "SELECT family, count(*) AS kept, sum(written_tokens) AS tokens FROM kept GROUP BY family ORDER BY family",
    "SELECT step, counted_as, count(*) AS items FROM dropped GROUP BY ALL ORDER BY items DESC",
    "SELECT family, text FROM kept ORDER BY id LIMIT 3",
)


def say(text: str) -> None:
    """One line for the person, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def console() -> Console:
    """For results on stdout. Into a file or a pipe, tables are as wide as they need to be."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


class Display:
    """Collects what is done and shows it. Use as a context manager around the run."""

    def __init__(self, recipe: Recipe, stats: Stats, live: bool) -> None:
        self._recipe = recipe
        self._stats = stats
        self._console = Console(stderr=True)
        self._tty = live and self._console.is_terminal
        self._quiet = not live
        self._seen: set[str] = set()
        self._items: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._stage = "starting"

    def on_object(self, work: Work, manifest: Manifest) -> None:
        """Hear of an object that was made or found."""
        if manifest.place in self._seen:
            return
        self._seen.add(manifest.place)
        self._items[manifest.step] += manifest.counts["items"]
        self._kept[manifest.step] += manifest.counts["kept"]
        self._stage = {"ingest": "seeds are cut", "resolve": "shards", "shards": "audit", "audit": "release"}.get(
            manifest.step, self._stage if self._stage not in ("starting", "seeds are cut") else "generate"
        )

    def __enter__(self) -> Display:
        target = self._live if self._tty else self._plain
        self._thread = threading.Thread(target=target, name="display", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _live(self) -> None:
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            while not self._stop.wait(_LIVE_SECONDS):
                live.update(self.line())

    def _plain(self) -> None:
        while not self._stop.wait(_PLAIN_SECONDS):
            if not self._quiet:
                say(self.line())

    def line(self) -> str:
        """One dense line: how far, how many, how fast, how long still."""
        stats = self._stats
        elapsed = time.monotonic() - self._began
        parts = [f"{_clock(elapsed)} {self._recipe.name}: {self._stage}"]
        expected = self._expected()
        if stats.seeds:
            parts.append(f"documents {stats.seeds_done:,}/~{max(expected, stats.seeds):,}")
        if self._items["score"] and "keep" in self._items:
            parts.append(f"kept {self._kept['keep'] / self._items['score']:.0%}")
        if stats.first_send:
            asking = max(1e-9, time.monotonic() - stats.first_send)
            parts.append(f"{stats.completion_tokens / asking:,.0f} tokens/s, {stats.in_flight} in flight")
            left = max(expected, stats.seeds) - stats.seeds_done
            if stats.seeds_done and left:
                parts.append(f"~{_clock(left * asking / stats.seeds_done)} left")
        if stats.faults:
            parts.append(f"{stats.faults} faults")
        return " · ".join(parts)

    def _expected(self) -> int:
        """Seeds that are left after the screen, times the shares of the families. Those with weights share one among them."""
        weighed = any(family.weight is not None for family in self._recipe.families)
        shares = sum(family.share for family in self._recipe.families if family.weight is None)
        return round(self._kept["screen"] * (shares + weighed))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def closing_table(summary: dict[str, Any]) -> None:
    """Print what happened, where it is, and what to ask next."""
    for name, value in _facts(summary):
        print(f"{name:<18} {value}")
    for warning in summary["warnings"]:
        print(f"{'warning':<18} {warning['check']}: {warning['violations']:,} violations ({warning['title']})")
        for row in warning["evidence"]:
            print(f"{'':<18} {orjson.dumps(row).decode()}")
    where = "" if summary["home"] == "corpus" else f" --home {summary['home']}"
    print("\nTry:")
    for question in QUESTIONS:
        print(f'  synth sql{where} "{question}"')


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    seeds = f"{summary['seeds']:,}" + _reasons(summary["seeds_dropped"])
    asks = (
        f"{summary['asks']:,} sent, {summary['asks_answered_before']:,} answered before, {summary['faults']:,} faults"
    )
    rate = f" at {summary['tokens_per_second']:,} tokens/s" if summary["tokens_per_second"] else ""
    tokens = f"{summary['prompt_tokens']:,} read, {summary['completion_tokens']:,} written{rate}"
    facts = [
        ("release", f"{summary['recipe']} {summary['release']}"),
        ("seeds", seeds),
        ("asks", asks),
        ("tokens", tokens),
    ]
    for family, tally in summary["families"].items():
        facts.append((f"  {family}", f"{tally['documents']:,} documents, {tally['kept']:,} kept{_share(tally)}"))
    for step, reasons in summary["dropped"].items():
        if reasons:
            facts.append(
                (f"dropped by {step}", ", ".join(f"{reason} {number:,}" for reason, number in reasons.items()))
            )
    share = summary["kept"] / summary["documents"] if summary["documents"] else 0
    facts.append(("kept", f"{summary['kept']:,} of {summary['documents']:,} documents ({share:.0%})"))
    if quality := summary["quality"]:
        auc = {name: "-" if value is None else f"{value:.2f}" for name, value in quality["auc"].items()}
        told = f"AUC {auc['model']} on held-out roots; length alone {auc['length']}, words alone {auc['unigrams']}"
        facts.append(("quality model", f"{told} ({summary['home']}/{quality['card']})"))
    if canaries := summary["canaries"]:
        facts.append(
            (
                "canaries",
                f"{canaries['obeyed']} of {canaries['documents']} texts obeyed an instruction planted in their seed",
            )
        )
    facts.extend(_contamination(summary["contamination"]))
    facts.append(("near-duplicates", f"{summary['clusters']:,} clusters"))
    facts.append(("cost", f"${summary['usd']:,.4f} by the recipe's prices"))
    for shard in summary["shards"]:
        facts.append(
            (f"{shard['split']} shard", f"{shard['path']} ({shard['rows']:,} rows, {shard['bytes'] / 1e6:.2f} MB)")
        )
    return facts


def _contamination(report: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Of each evaluation set where its items were found."""
    words = {"seed": "seeds", "document": "documents", "rendered": "rows of shards"}
    for benchmark, rows in itertools.groupby(report, key=lambda row: row["benchmark"]):
        several = list(rows)
        hit = [row for row in several if row["texts_hit"]]
        found = [f"{row['items_hit']:,} in {row['texts_hit']:,} {words[row['kind']]}" for row in hit]
        yield "contamination", f"{benchmark}, of {several[0]['items']:,} items: {', '.join(found) or 'none found'}"


def _share(tally: dict[str, Any]) -> str:
    """Its share of the kept tokens, and what the recipe's weights want."""
    if tally["token_share"] is None:
        return ""
    wanted = "" if tally["wanted_share"] is None else f", {tally['wanted_share']:.1%} wanted"
    return f" ({tally['token_share']:.1%} of the kept tokens{wanted})"


def _reasons(dropped: dict[str, int]) -> str:
    if not dropped:
        return ""
    return " (dropped: " + ", ".join(f"{reason} {number:,}" for reason, number in dropped.items()) + ")"
