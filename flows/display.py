"""What a person sees of a run: the line that says how far it is, the closing table at the end. Every command imports it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console

_SEPARATOR = " · "
_DAY_HOURS = 48
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


def usd_text(dollars: float) -> str:
    """$0, $0.0042, $12.40, $1,234"""
    if not dollars:
        return "$0"
    if dollars < 0.0001:
        return "under $0.0001"
    return f"${dollars:,.4f}" if dollars < 1 else f"${dollars:,.2f}" if dollars < 1000 else f"${dollars:,.0f}"


def paid_text(value: Mapping[str, Any]) -> str:
    """What was paid, of a value with `usd` and `unpriced_models`: a price of nothing is not shown where none is given."""
    unpriced = "no price in " + ", ".join(f"[run.models.{name}]" for name in value["unpriced_models"])
    if not value["usd"] and value["unpriced_models"]:
        return unpriced
    paid = f"{usd_text(value['usd'])} by the recipe's prices"
    return f"{paid} ({unpriced})" if value["unpriced_models"] else paid


def progress_line(name: str, value: Mapping[str, Any], width: int | None = None) -> str:
    """One dense line: how far, what is kept, how fast, what it costs, how long still, who is slow. Of a narrow one the parts
    that say least are left out."""
    parts = [(rank, text) for rank, text in _parts(name, value) if text]
    while width and len(parts) > 1 and len(_SEPARATOR.join(text for _, text in parts)) > width:
        parts.remove(max(parts, key=lambda part: part[0]))
    line = _SEPARATOR.join(text for _, text in parts)
    return line if not width or len(line) <= width else line[: width - 1] + "…"


def _parts(name: str, value: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Each with a rank: the highest is left out first."""
    documents = value["documents"]
    yield 0, f"{clock(value['elapsed_seconds'])} {name}: {value['stage']}"
    if documents["expected"]:
        yield 1, f"documents {documents['done']:,}/~{documents['expected']:,}"
    if value["kept_share"] is not None:
        yield 4, f"kept {value['kept_share']:.0%}"
    if value["tokens_per_second"] is not None and value["in_flight"]:
        yield 3, f"{value['tokens_per_second']:,.0f} tokens/s"
    if value["in_flight"]:
        yield 7, f"{value['in_flight']:,} in flight"
    if value["usd"] is not None:
        expected = value["usd_expected"]
        yield 3, usd_text(value["usd"]) + (f" of ~{usd_text(expected)}" if expected and expected > value["usd"] else "")
    if value["seconds_left"]:
        yield 2, f"~{clock(value['seconds_left'])} left"
    yield 6, endpoints_text(value["endpoints"])
    yield 5, f"{value['faults']:,} faults" if value["faults"] else ""


def endpoints_text(endpoints: Sequence[Mapping[str, Any]]) -> str:
    """Those that do not answer, else of several the slowest by time per answer."""
    absent = [f"{one['name']} {one['state']}" for one in endpoints if one["state"] not in ("up", "not started")]
    if absent:
        return ", ".join(absent[:2]) + (f" and {len(absent) - 2} more" if len(absent) > 2 else "")
    timed = [one for one in endpoints if one["seconds_per_answer"] is not None]
    if len(timed) < 2:
        return ""
    slowest = max(timed, key=lambda one: one["seconds_per_answer"])
    return f"slowest {slowest['name']} {slowest['seconds_per_answer']:,.1f} s/answer"


def clock(seconds: float) -> str:
    """0:07, 12:31, 1:02:03, 3 d 04:05"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= _DAY_HOURS:
        return f"{hours // 24} d {hours % 24:02d}:{minutes:02d}"
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
    facts.append(("cost", paid_text(summary)))
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
