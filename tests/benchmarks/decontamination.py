"""Decontamination: planted leaks of GSM8K test problems, false hits, and speed.

    python -m tests.benchmarks.decontamination

Documents are Python's documentation and the packaged passages, into which problems are planted in five ways. Recall: the
share of the documents in which the planted problem is named. Speed: documents of 3,000 characters against three sets, GSM8K
test, 4,000 problems of GSM8K train, and sentences of the standard library's docstrings.
"""

from __future__ import annotations

import ast
import importlib.resources
import json
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from filters.decontamination import Benchmark, DecontaminationOptions, score
from filters.decontamination_index import words_of
from synth.digest import file_sha256
from synth.sources_python_docs import topic_passages, topics_file
from tests.gsm8k import FOLDER, Problem, problems

DOCUMENT_CHARACTERS = 3_000
LONG_CHARACTERS = 30_000
_SPEED_DOCUMENTS = 4_000
_LONG_EVERY = 5
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


def gsm8k(split: str, rows: int | None = None, folder: Path | None = None) -> Benchmark:
    """A split of GSM8K as an evaluation set; its first `rows` rows, written to `folder`, where that is given."""
    problems(split)
    path = FOLDER / f"{split}.jsonl"
    if folder is not None:
        lines = path.read_text("utf-8").splitlines()[:rows]
        path = folder / f"{split}.jsonl"
        path.write_text("\n".join(lines), "utf-8")
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


def hits(texts: Sequence[str], benchmarks: Iterable[Benchmark]) -> list[list[str]]:
    """The names of the items that each text was found to hold."""
    scores = score(
        pa.table({"text": pa.array(texts, pa.large_string())}), DecontaminationOptions(benchmarks=tuple(benchmarks))
    )
    return [re.findall(r"(?:^|; )(\S+) \([ABC]\):", found or "") for found in scores["contamination_hits"].to_pylist()]


def main() -> None:
    """Prints recall by kind, false hits, and speed."""
    test = gsm8k("test")
    for kind in KINDS:
        numbers, made = planted(kind, _LONG_EVERY if "long" in kind else 1)
        found = hits(made, [test])
        named = sum(f"gsm8k-test/{number}" in names for number, names in zip(numbers, found, strict=True))
        others = sum(len(set(names) - {f"gsm8k-test/{number}"}) for number, names in zip(numbers, found, strict=True))
        print(f"{kind:24} {named:5} of {len(made):5} named ({named / len(made):.4f}); {others} other items named")
    train = problems("train")
    _print_false("GSM8K train, question", [one.question for one in train], test)
    _print_false("GSM8K train, with solution", [f"{one.question}\n{one.solution}" for one in train], test)
    _print_false("Python's documentation", python_docs(), test)
    _print_false("packaged passages", passages(), test)
    _print_speed(test)


def _print_false(what: str, texts: Sequence[str], test: Benchmark) -> None:
    scores = score(pa.table({"text": pa.array(texts, pa.large_string())}), DecontaminationOptions(benchmarks=(test,)))
    rules = scores["contamination_rule"].to_pylist()
    counts = ", ".join(f"{rule} {rules.count(rule)}" for rule in "ABC")
    print(f"{what:28} {len(texts) - rules.count(None):4} of {len(texts):5} hit (strongest rule: {counts})")
    for at in [at for at, rule in enumerate(rules) if rule][:3]:
        print(f"    {scores['contamination_hits'][at].as_py()[:200]}")


def _print_speed(test: Benchmark) -> None:
    sentences = _sentences()
    with tempfile.TemporaryDirectory() as name:
        own = Path(name) / "sentences.jsonl"
        own.write_text("\n".join(json.dumps({"question": one, "answer": "yes"}) for one in sentences), "utf-8")
        sentence_set = Benchmark(name="sentences", path=str(own), sha256=file_sha256(own), answer="answer")
        options = DecontaminationOptions(benchmarks=(test, gsm8k("train", 4_000, Path(name)), sentence_set))
        started = time.perf_counter()
        score(pa.table({"text": ["Nothing."]}), options)
        print(f"sets read and indexed, code loaded (the first time: compiled): {time.perf_counter() - started:.1f} s")
    print(f"speed on one core, CPU time, against {4_000 + len(problems('test')) + len(sentences)} items in 3 sets:")
    texts = documents([*python_docs(), *passages()], _SPEED_DOCUMENTS, DOCUMENT_CHARACTERS)
    questions = [one.question for one in problems("test")]
    leaking = [f"{text[:-500]} {questions[at % len(questions)]}" for at, text in enumerate(texts)]
    neighbours = [f"{text} cafe\N{COMBINING ACUTE ACCENT}" for text in texts]
    _print_rate("documents of 3,000 characters", texts, options)
    _print_rate("every one with a leak", leaking, options)
    _print_rate("every one with a combining mark", neighbours, options)


def _sentences() -> list[str]:
    """Sentences of the standard library's docstrings, each once."""
    found: dict[str, None] = {}
    for path in sorted(Path(json.__file__).parents[1].glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                parts = re.split(r"(?<=[.!?])\s+", ast.get_docstring(node) or "")
                found.update(dict.fromkeys(part for part in parts if len(words_of(part)) >= 5))
    return list(found)


def _print_rate(what: str, texts: Sequence[str], options: DecontaminationOptions) -> None:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    rates = []
    for _ in range(3):
        started = time.process_time()
        scores = score(table, options)
        rates.append(len(texts) / (time.process_time() - started))
    shares = sum(coverage > 0 for coverage in scores["contamination_coverage"].to_pylist())
    found = sum(items > 0 for items in scores["contaminated_items"].to_pylist())
    megabytes = sum(len(text.encode()) for text in texts) / len(texts) / 1e6
    print(
        f"    {what:32} {sorted(rates)[1]:7,.0f} documents/s ({min(rates):,.0f} to {max(rates):,.0f}), "
        f"{sorted(rates)[1] * megabytes:.0f} MB/s; ASCII {sum(map(str.isascii, texts))}, sharing an 8-gram with a prompt "
        f"{shares}, hit {found} of {len(texts)}"
    )


if __name__ == "__main__":
    main()
