"""What `synth explain` says to a person: the value of a document or a seed as lines and tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.samples import SEED_CHARS, TEXT_CHARS, shorten, visible

_WIDE_COLUMNS = 100
_LISTED = 8  # of documents that this one stands for
_SAID_CHARS = 200  # of an answer that was not accepted

Row = Mapping[str, Any]


class Printer:
    """Prints one value. Nothing of it reaches the terminal with control characters."""

    def __init__(self, out: Console, full: bool) -> None:
        self._out = out
        self._full = full
        self._shortened = False

    def document(self, value: Row) -> None:
        """All sections of a document."""
        self._head(f"document {value['id']}", _made(value))
        self._head("fate", _fates(value))
        self._seed(value["seed"])
        self._asks(value)
        self._texts(value)
        self._gates(value["gates"], value["scores"], value["fate"]["drops"])
        self._head("verdicts", [_verdict(one, self._cut) for one in value["verdicts"]] or ["none"])
        if value["contamination"]:
            self._head("contamination", [_hit(one) for one in value["contamination"]])
        if value["spans"]:
            self._head("found in the text", [_span(one) for one in value["spans"]])
        self._near(value["near_duplicates"])
        self._head("cost", [cost_line(value["cost"])])
        self._end()

    def seed(self, value: Row) -> None:
        """All sections of a seed."""
        if value["text"] is None:
            self._head(f"seed {value['id']}", ["only its drop was kept"])
            self._head("fate", [_drop(one) for one in value["fate"]["drops"]])
            return
        where = [_facts(value), f"cut by {', '.join(value['recipes'])}"]
        self._head(f"seed {value['id']}", [*where, *_indented(self._cut(value["text"], TEXT_CHARS))])
        self._head("fate", _seed_fate(value))
        if screen := value["screen"]:
            self._gates(screen["gates"], screen["scores"], screen["drops"])
            self._head("verdicts", [_verdict(one, self._cut) for one in screen["verdicts"]] or ["none"])
            if screen["contamination"]:
                self._head("contamination", [_hit(one) for one in screen["contamination"]])
        for one in value["other_screens"]:
            self._lines([f"  also judged by the runs {', '.join(one['runs'])}: {_screened(one)}"])
        self._head("families", [_took(one) for one in value["families"]] or ["none has asked about it"])
        self._documents(value["documents"])
        asked = ", ".join(f"{outcome} {number:,}" for outcome, number in value["asks"].items())
        self._head("cost", [f"asks: {asked or 'none'}", cost_line(value["cost"])])
        self._end()

    def _head(self, title: str, lines: Iterable[str]) -> None:
        self._lines(["", f"=== {title}", *(f"  {line}" for line in lines)])

    def _lines(self, lines: Iterable[str]) -> None:
        """Each line whole: a terminal wraps it, a pipe gets it as it is."""
        for line in lines:
            self._out.print(Text(visible(line)), soft_wrap=True)

    def _cut(self, text: str, characters: int = SEED_CHARS) -> str:
        shown = text if self._full else shorten(text, characters)
        self._shortened = self._shortened or shown != text
        return shown

    def _end(self) -> None:
        if self._shortened:
            self._lines(["", "Texts are shortened: --full shows them whole."])

    def _seed(self, seed: Row) -> None:
        span = seed["span"]
        part = span and (span["start_byte"], span["end_byte"]) != (0, len(seed["text"].encode()))
        lines = [_facts(seed)]
        if part:
            lines.append(f"the document is made from its bytes {span['start_byte']:,} to {span['end_byte']:,}")
        self._head(f"seed {seed['id']}", [*lines, *_indented(self._cut(seed["text"], TEXT_CHARS))])

    def _asks(self, value: Row) -> None:
        asks = value["asks"]
        if not asks:
            self._head("asks", ["nothing was asked for it"])
        for number, ask in enumerate(asks, 1):
            lines = [_sampling(ask), *self._messages(ask, value["seed"]["text"]), *self._answer(ask, value)]
            self._head(f"ask {number} of {len(asks)}, {ask['role']}: {_outcome(ask)}", lines)

    def _messages(self, ask: Row, seed: str) -> Iterator[str]:
        for message in ask["messages"]:
            content = message["content"]
            if not self._full:
                content = content.replace(seed, shorten(seed, SEED_CHARS)) if seed else content
            yield f"[{message['role']}]"
            yield from _indented(content)
        if ask["escaped"]:
            yield f"({ask['escaped']} control tokens were broken up before it was sent)"

    def _answer(self, ask: Row, value: Row) -> Iterator[str]:
        if ask["reasoning"]:
            yield "[reasoning]"
            yield from _indented(self._cut(ask["reasoning"], TEXT_CHARS))
        yield "[answer]"
        same = ask["completion"] and ask["completion"].strip() == value["text"].strip()
        yield from ["  (the text below)"] if same else _indented(self._cut(ask["completion"] or "", TEXT_CHARS))
        for number, attempt in enumerate(ask["attempts"], 1):
            yield f"attempt {number}: {_attempt(attempt)}"
            if attempt["completion"]:
                said = attempt["completion"]
                yield f"  said: {orjson.dumps(said if self._full else shorten(said, _SAID_CHARS)).decode()}"

    def _texts(self, value: Row) -> None:
        raw = value["text"].encode()
        lines = []
        for part in value["parts"] or []:
            text = raw[part["start_byte"] : part["end_byte"]].decode()
            limit = TEXT_CHARS if part["role"] == "generated" else SEED_CHARS
            lines += [f"[{part['role']}]", *_indented(self._cut(text, limit))]
        self._head("text", lines or ["(nothing)"])
        if value["reasoning"]:
            self._head("reasoning kept with it", _indented(self._cut(value["reasoning"], TEXT_CHARS)))

    def _gates(self, gates: Sequence[Row], scores: Row, drops: Sequence[Row]) -> None:
        if not scores:
            return self._head("scores", ["none: it was not scored"])
        self._head("scores against their bounds", [] if gates else ["no gate holds for it"])
        fatal = {(drop["rule"], drop["reason"]) for drop in drops if drop["step"] in ("keep", "screen")}
        table = Table("", "score", "", "passes", "counted as", "set by", box=None, pad_edge=False, padding=(0, 2))
        for gate in sorted(gates, key=lambda gate: gate["passes"]):
            dropped = (gate["column"], gate["reason"]) in fatal and not gate["passes"]
            mark = "ok" if gate["passes"] else "DROPS" if dropped else "would drop"
            row = (mark, gate["column"], _number(gate["score"]), _bound(gate), gate["reason"], gate["set_by"] or "-")
            table.add_row(*(Text(visible(cell)) for cell in row))
        if gates:
            self._out.print(table)
        judged = {gate["column"] for gate in gates}
        rest = (
            f"{name} {_number(score)}" for name, score in scores.items() if name not in judged and score is not None
        )
        self._lines([f"  without a bound: {', '.join(rest)}"])
        return None

    def _near(self, near: Row | None) -> None:
        if near is None:
            return self._head("near-duplicates", ["not looked for yet"])
        if near["outcome"] is None:
            return self._head("near-duplicates", ["not looked for: it was dropped before"])
        partner, said = near["partner"], near["evidence"]
        lines = ["it has none"] if partner is None else [_pair(near)]
        lines += [f"other facts: {orjson.dumps(facts).decode()}" for facts in [_facts_of(said)] if facts]
        for one in near["stays_for"] if self._full else near["stays_for"][:_LISTED]:
            lines.append(f"{one['item_id'][:16]} went because this one stays: {one['rule']}, {one['reason']}")
        if len(near["stays_for"]) > _LISTED and not self._full:
            lines.append(f"and {len(near['stays_for']) - _LISTED:,} more")
        self._head("near-duplicates", lines)
        if partner is not None:
            self._compare(near)
        return None

    def _compare(self, near: Row) -> None:
        other = near["partner"]["compared_text"]
        if other is None:
            return self._lines(["  the other text lies outside this home"])
        from flows.commands.dedup import marked  # it brings the code that compares

        mine, theirs = marked(near["compared_text"], other, styled=self._out.is_terminal)
        if not self._out.is_terminal or self._out.width < _WIDE_COLUMNS:
            what = "underlined" if self._out.is_terminal else "within ‹ ›"
            self._lines([f"  what both have is {what}:"])
            for name, text in (("this one", mine), ("the other", theirs)):
                self._out.print(Text(f"  {name}: ").append(text), soft_wrap=True)
            return None
        table = Table("this one (what both have is underlined)", "the other", box=None, padding=(0, 1))
        table.add_row(mine, theirs)
        self._out.print(table)
        return None

    def _documents(self, documents: Sequence[Row]) -> None:
        self._head("documents made of it", [] if documents else ["none"])
        for current, several in itertools.groupby(documents, key=lambda one: one["current"]):
            if not current:
                self._lines(["  not of a newest release:"])
            for one in several:
                why = f" by {one['step']}: {one['counted_as']}" if one["step"] else ""
                self._lines([f"  {one['id'][:16]}  {one['family']:<14} {one['state']}{why}"])


def _made(value: Row) -> list[str]:
    models = ", ".join(value["models"]) or "no model"
    tokens = (
        f"{value['prompt_tokens'] or 0:,} tokens read, {value['completion_tokens'] or 0:,} written and "
        f"{value['reasoning_tokens'] or 0:,} thought for it; {value['written_tokens'] or 0:,} of the answers that stand in it"
    )
    lines = [
        f"family {value['family']} (version {value['family_version']}, renderer {value['renderer_version']}), by {models}",
        tokens,
        f"licence {value['license'] or 'unknown'}, generation {value['generation_depth']}, root {value['root_id'][:16]}",
    ]
    if value["axes"]:
        lines.append("axes: " + ", ".join(f"{name} = {word}" for name, word in value["axes"].items()))
    return lines


def _facts(seed: Row) -> str:
    known = {"source": seed["source_id"], "title": seed["source"], "url": seed["url"], "licence": seed["license"]}
    known |= {"terms": seed["output_terms"], "language": seed["language"], "quality": seed["quality"]}
    return ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)


def _fates(value: Row) -> list[str]:
    lines = _fate(value["fate"])
    for one in value["other_fates"]:
        lines += ["otherwise judged:", *(f"  {line}" for line in _fate(one))]
    return lines


def _fate(fate: Row) -> list[str]:
    lines = [_drop(one, also=number > 0) for number, one in enumerate(fate["drops"])]
    if shard := fate["shard"]:
        lines += [_listed(fate["state"], one) for one in shard["releases"]] or ["in a shard that no release lists"]
        lines += [_retracted(one) for one in shard["retracted"]]
        tokens = "" if shard["tokens"] is None else f", {shard['tokens']:,} tokens"
        lines.append(f"{shard['path']}, row {shard['row']} ({shard['split']}{tokens})")
    elif not lines:
        open_ = "not judged to the end: steps are missing (its run goes on, was stopped, or ended at a failed gate)"
        lines.append(open_ if fate["state"] == "open" else "kept, and in no shard")
    if fate["current"]:
        lines.append(
            f"this counts: the newest release of {fate['recipe']!r} stands on it, since release {fate['release']}"
        )
    else:
        lines.append("no newest release stands on this")
    runs = ", ".join(f"{one['run']} ({one['outcome'] or 'not ended'})" for one in fate["runs"])
    lines.append(f"recipe {fate['recipe']!r}, runs: {runs}" if runs else "made by a run that did not end")
    return lines


def _retracted(one: Row) -> str:
    return f"RETRACTED by release {one['release']} of {one['recipe']!r}{': ' if one['evidence'] else ''}{one['evidence'] or ''}"


def _listed(state: str, release: Row) -> str:
    since = f"since release {release['first']}" if release["first"] != release["last"] else ""
    if release["current"]:
        return f"{state}: release {release['last']} of {release['recipe']!r}{', ' if since else ''}{since}"
    return f"was in release {release['last']} of {release['recipe']!r}, and is in the newest one no more"


def _drop(drop: Row, also: bool = False) -> str:
    score = "" if drop["score"] is None else f"; {drop['rule']} {_number(drop['score'])}"
    bound = "" if drop["threshold"] is None else f", bound {_number(drop['threshold'])}"
    partner = f"; the one that stays: {drop['partner_id'][:16]}" if drop["partner_id"] else ""
    shown = drop["evidence"] and drop["step"] != "resolve"  # which is shown beside the texts
    evidence = f"; evidence: {shorten(drop['evidence'], SEED_CHARS)}" if shown else ""
    word = drop["reason"] if drop["step"] in ("keep", "screen") else f"{drop['rule']}: {drop['reason']}"
    return f"{'also' if also else 'DROPPED'} by {drop['step']}: {word}{score}{bound}{partner}{evidence}"


def _seed_fate(value: Row) -> list[str]:
    fate = value["fate"]
    if fate["state"] == "dropped":
        return [_drop(one, also=number > 0) for number, one in enumerate(fate["drops"])]
    words = {
        "used": "used: something made of it is in a newest release",
        "wasted": "nothing that was made of it is in a newest release",
        "open": "no family has made anything of it yet",
    }
    return [words[fate["state"]]]


def _screened(screen: Row) -> str:
    return f"dropped, {screen['counted_as']}" if screen["counted_as"] else "passed"


def _took(one: Row) -> str:
    made = ", ".join(doc_id[:16] for doc_id in one["documents"])
    return f"{one['family']:<14} {'took it' if one['state'] == 'took' else 'left it'} ({one['why']})" + (
        f": {made}" if made else ""
    )


def _sampling(ask: Row) -> str:
    chosen = ", ".join(f"{name} {value}" for name, value in ask["sampling"].items())
    return f"to {ask['model']}, sample {ask['sample_index']}; {chosen}"


def _outcome(ask: Row) -> str:
    hit = ", the token budget was reached" if ask["budget_hit"] else ""
    stands = "its answer stands in the text" if ask["wrote"] else "its answer does not stand in the text"
    chosen = f", {ask['selection']} by {ask['selector'].get('selector')}" if ask["selection"] else ""
    return f"{ask['outcome']}{hit}; {stands}{chosen}"


def _attempt(one: Row) -> str:
    took = "" if one["seconds"] is None else f" after {one['seconds']:.2f} s"
    verdict = f", {one['verdict']}" if one["verdict"] else ""
    read, written = one["usage_prompt_tokens"], one["usage_completion_tokens"]
    tokens = "" if written is None else f"; {read or 0:,} tokens read, {written:,} generated"
    return f"{one['rung']}, {one['endpoint']} ({one['engine_version']}): {one['status']}{took}{verdict}{tokens}"


def _verdict(one: Row, cut: Callable[[str], str]) -> str:
    score = "" if one["score"] is None else f" ({_number(one['score'])})"
    said = f"; {cut(orjson.dumps(one['evidence']).decode())}" if one["evidence"] else ""
    return f"{one['rung']} ({one['judge']}): {one['outcome']}{score}{said}"


def _hit(one: Row) -> str:
    said = one["evidence"] or {}
    where = "as a trainer gets it, " if one["rung"].endswith("_rendered") else ""
    return (
        f"{where}item {said.get('item')} of {said.get('benchmark')}, rule {said.get('rule')}, {said.get('words')} words, "
        f"{_number(one['score'])} of it: {said.get('ngram')!r}"
    )


def _span(one: Row) -> str:
    done = f"masked in shards as {one['replacement'] or 'nothing'}" if one["masked"] else "a label: it stays"
    return f"{one['rule']} in bytes {one['start_byte']:,} to {one['end_byte']:,} of its {one['in']}: {done}"


def _pair(near: Row) -> str:
    said, partner = near["evidence"], near["partner"]
    what = said.get("reason") or f"kept, though near ({said.get('spared')})"
    shares = (
        f"Jaccard {said['jaccard']:.3f}, contained {said['containment']:.3f}" if "jaccard" in said else "not compared"
    )
    sizes = f", {said['doc_shingles']:,} and {said['partner_shingles']:,} shingles" if "doc_shingles" in said else ""
    state = f", {partner['fate']['state']}" if partner["fate"] else ""
    family = f" ({partner['family']}{state})" if partner["family"] else ""
    return f"{what}: beside {partner['id'][:80]}{family}; {shares}{sizes}"


def _facts_of(said: Row) -> dict[str, Any]:
    compared = ("partner_id", "near_id", "cluster_id", "jaccard", "containment", "doc_shingles", "partner_shingles")
    return {name: value for name, value in said.items() if name not in (*compared, "reason", "spared")}


def cost_line(cost: Row) -> str:
    """What asks cost, by what is known of prices."""
    sent = f"{cost['asks']:,} asks, {cost['attempts']:,} attempts, {cost['prompt_tokens']:,} tokens read, "
    sent += f"{cost['generated_tokens']:,} generated"
    known = {"by tokens": cost["token_dollars"], "as its share of GPU time": cost["gpu_dollars"]}
    paid = ", ".join(f"${value:.6f} {how}" for how, value in known.items() if value is not None)
    return f"{sent}; {paid or 'no price in [run.models] of the runs that asked'}"


def _bound(gate: Row) -> str:
    if gate["one_of"] is not None:
        return f"one of {', '.join(gate['one_of'])}"
    low, high = gate["min"], gate["max"]
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    return f"at least {_number(low)}" if high is None else f"at most {_number(high)}"


def _number(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**12:  # a digest, not a count
        return str(value)
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return (
        f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else "missing"
        if value is None
        else str(value)
    )


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()] or ["  (nothing)"]
