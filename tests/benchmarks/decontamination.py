"""Decontamination: planted leaks of GSM8K test problems, false hits, and speed.

    python -m tests.benchmarks.decontamination [--documents 20000]

Recall: problems are planted in Python's documentation and the packaged passages in five ways; the share of the documents in
which the planted problem is named, and what else is named. False hits: GSM8K's training problems, and real documentation
(`tests.benchmarks.documentation`), each hit shown. Speed: the same documentation on one core against three sets, GSM8K test,
GSM8K train and questions made of pydoc's topics, beside a search in plain Python, interleaved; the hits of both are compared.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

import pyarrow as pa

from filters.decontamination import DecontaminationOptions, score
from filters.decontamination_sets import Benchmark, items_of
from filters.decontamination_words import words_of
from synth.digest import file_sha256
from synth.sources_python_docs import topic_passages, topics_file
from tests.benchmarks.documentation import documentation
from tests.benchmarks.plain_decontamination import PlainIndex
from tests.gsm8k import FOLDER, Problem, problems

LONG_CHARACTERS = 120_000
HOSTILE_BYTES = 10_000_000
_LONG_EVERY = 10
_PLAIN_DOCUMENTS = 400
_ROUNDS = 5
_OTHER_MARKS = (" ", " - ", "; ", " … ", " / ")
_PUNCTUATION = re.compile(r"(?<![0-9])[^\w\s]\s*|[^\w\s](?![0-9])\s*")
_OTHER_WORDS = ("perhaps", "orchard", "seven", "quickly", "beneath", "41")


def python_docs() -> list[str]:
    """Passages of Python's documentation."""
    return [text for _, text in topic_passages(topics_file())]


def passages() -> list[str]:
    """The packaged passages."""
    lines = importlib.resources.files("synth.data").joinpath("passages.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def documents(texts: Sequence[str], number: int, characters: int) -> list[str]:
    """`number` documents of `characters` characters, joined from `texts` in an order drawn with a fixed seed."""
    drawn = random.Random(5)
    made = []
    for _ in range(number):
        parts: list[str] = []
        while sum(map(len, parts)) < characters:
            parts.append(drawn.choice(texts))
        made.append("\n\n".join(parts)[:characters])
    return made


def gsm8k(split: str) -> Benchmark:
    """A split of GSM8K as an evaluation set."""
    problems(split)
    path = FOLDER / f"{split}.jsonl"
    return Benchmark(name=f"gsm8k-{split}", path=str(path), sha256=file_sha256(path), answer="answer")


def _verbatim(one: Problem, drawn: random.Random) -> str:
    return f"{one.question}\n{one.solution}\n{one.gold}"


def _case_and_punctuation(one: Problem, drawn: random.Random) -> str:
    """Every mark that is not within a number replaced or left out, apostrophes curled, words spelt in other cases."""
    text = _verbatim(one, drawn).replace("'", "’")
    text = _PUNCTUATION.sub(lambda mark: mark[0] if mark[0] == "’" else drawn.choice(_OTHER_MARKS), text)
    return "  ".join(drawn.choice((word.upper(), word.title(), word.lower())) for word in text.split())


def _word_in_twelve(one: Problem, drawn: random.Random) -> str:
    words = _verbatim(one, drawn).split()
    for at in range(drawn.randrange(12), len(words), 12):
        words[at] = drawn.choice(_OTHER_WORDS)
    return " ".join(words)


def _question(one: Problem, drawn: random.Random) -> str:
    return one.question


KINDS: dict[str, Callable[[Problem, random.Random], str]] = {
    "verbatim": _verbatim,
    "case and punctuation": _case_and_punctuation,
    "one word in twelve": _word_in_twelve,
    "question alone": _question,
    "inside a long document": _question,
}


def planted(kind: str, every: int = 1) -> tuple[list[int], list[str]]:
    """Every `every`-th problem of GSM8K test, by number, and documents that hold one each."""
    drawn = random.Random(kind)
    hosts = documents([*python_docs(), *passages()], 40, LONG_CHARACTERS if "long" in kind else 800)
    tests = problems("test")
    numbers = list(range(0, len(tests), every))
    made = []
    for number in numbers:
        host = drawn.choice(hosts)
        cut = host.rindex(" ", 0, len(host) // 2)
        made.append(f"{host[:cut]}\n\n{KINDS[kind](tests[number], drawn)}\n\n{host[cut:]}")
    return numbers, made


def scored(texts: Sequence[str], benchmarks: Iterable[Benchmark]) -> pa.Table:
    """What the rule says of texts without reasoning."""
    return score(_table(texts), DecontaminationOptions(benchmarks=tuple(benchmarks)))


def _table(texts: Sequence[str]) -> pa.Table:
    nothing = pa.nulls(len(texts), pa.large_string())
    return pa.table({"text": pa.array(texts, pa.large_string()), "reasoning": nothing})


def hits(texts: Sequence[str], benchmarks: Iterable[Benchmark]) -> list[list[str]]:
    """The names of the items that each text was found to hold."""
    return _names(scored(texts, benchmarks))


def _names(scores: pa.Table) -> list[list[str]]:
    lists = scores["contamination_found"].to_pylist()
    return [[hit["item"] for hit in found or ()] for found in lists]


def main() -> None:
    """Prints recall by kind, false hits, and speed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=20_000)
    number = parser.parse_args().documents
    test = gsm8k("test")
    _print_recall(test)
    train = problems("train")
    texts = documentation(number).texts
    _print_false("GSM8K train, question", [one.question for one in train], test)
    _print_false("GSM8K train, with solution", [f"{one.question}\n{one.solution}" for one in train], test)
    _print_false("real documentation", texts, test)
    _print_false("packaged passages", passages(), test)
    _print_speed(test, texts)


def _print_recall(test: Benchmark) -> None:
    for kind in KINDS:
        numbers, made = planted(kind, _LONG_EVERY if "long" in kind else 1)
        found = hits(made, [test])
        pairs = [(f"gsm8k-test/{number}", names) for number, names in zip(numbers, found, strict=True)]
        named = sum(name in names for name, names in pairs)
        others = [(name, other) for name, names in pairs for other in names if other != name]
        print(f"{kind:24} {named:5} of {len(made):5} named ({named / len(made):.4f}); {len(others)} other items named")
        for name, other in others:
            print(f"    {other} in the text of {name}")


def _print_false(what: str, texts: Sequence[str], test: Benchmark) -> None:
    scores = scored(texts, [test])
    rules = scores["contamination_rule"].to_pylist()
    counts = ", ".join(f"{rule} {rules.count(rule)}" for rule in "ABC")
    print(f"{what:28} {len(texts) - rules.count(None):4} of {len(texts):5} hit (strongest rule: {counts})")
    for at in [at for at, rule in enumerate(rules) if rule][:10]:
        print(f"    {scores['contamination_hits'][at].as_py()[:200]}")


def _print_speed(test: Benchmark, texts: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        sets = (test, gsm8k("train"), topic_questions(Path(name)))
        started = time.perf_counter()
        scored(["Nothing."], sets)
        items = [item for one in sets for item in items_of(one)]
        sizes = (
            f"{len(items):,} items of {sum(len(item.prompt) + len(item.answer) for item in items):,} words in 3 sets"
        )
        print(
            f"{sizes}: read, indexed, code loaded (the first time: compiled) in {time.perf_counter() - started:.1f} s"
        )
    plain = PlainIndex(items)
    questions = [one.question for one in problems("test")]
    kinds = {
        "documentation": texts,
        "every one with a leak": [f"{text[:-300]} {questions[at % len(questions)]}" for at, text in enumerate(texts)],
        "every one with a combining mark": [f"{text} cafe\N{COMBINING ACUTE ACCENT}" for text in texts],
    }
    print("documents per second of CPU time on one core, median of rounds (smallest to largest):")
    for what, several in kinds.items():
        _print_rate(what, several, sets, plain)
    _print_hostile(sets)


def _print_hostile(sets: Sequence[Benchmark]) -> None:
    """Texts of ten megabytes whose words a table cannot tell, or that hold an item without end."""
    question = problems("test")[0].question
    for what, piece in {
        "combining marks": "\u0301\u0316",
        "marks on letters": "x\u0345",
        "a question again and again": f"{question} ",
        "the same with marks": f"{question} e\u0301 ",
    }.items():
        table, options = (
            _table([piece * (HOSTILE_BYTES // len(piece.encode()))]),
            DecontaminationOptions(benchmarks=tuple(sets)),
        )
        started = time.process_time()
        score(table, options)
        print(f"    10 MB of {what:27} {time.process_time() - started:5.1f} s of CPU time")


def _print_rate(what: str, texts: Sequence[str], sets: Sequence[Benchmark], plain: PlainIndex) -> None:
    step = max(1, len(texts) // _PLAIN_DOCUMENTS)
    table, options = _table(texts), DecontaminationOptions(benchmarks=tuple(sets))
    some = texts[::step]
    rates, slow_rates = [], []
    for _ in range(_ROUNDS):
        started = time.process_time()
        scores = score(table, options)
        between = time.process_time()
        expected = [plain.names(text) for text in some]
        rates.append(len(texts) / (between - started))
        slow_rates.append(len(some) / (time.process_time() - between))
    found = _names(scores)
    same = sum(set(one) == other for one, other in zip(found[::step], expected, strict=True))
    megabytes = sum(len(text.encode()) for text in texts) / len(texts) / 1e6
    ratios = [fast / slow for fast, slow in zip(rates, slow_rates, strict=True)]
    print(
        f"    {what:32} {median(rates):7,.0f} ({min(rates):,.0f} to {max(rates):,.0f}), {median(rates) * megabytes:.0f} MB/s; "
        f"hit {sum(map(bool, found)):,} of {len(texts):,}; plain Python {median(slow_rates):,.0f}: x{median(ratios):.0f} "
        f"(x{min(ratios):.0f} to x{max(ratios):.0f}), same items in {same} of {len(some)}"
    )


def topic_questions(folder: Path) -> Benchmark:
    """An evaluation set of pydoc's topics: of each two sentences that follow each other the first as question, the second as
    answer."""
    rows = []
    for text in python_docs():
        sentences = [one for one in re.split(r"(?<=[.!?])\s+", text) if len(words_of(one)) >= 4]
        rows += [
            {"question": one, "answer": other} for one, other in zip(sentences[::2], sentences[1::2], strict=False)
        ]
    path = folder / "topics.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return Benchmark(name="topics", path=str(path), sha256=file_sha256(path), answer="answer")


if __name__ == "__main__":
    main()
