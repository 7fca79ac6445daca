"""How far the judge can be trusted: planted wrong claims among true ones, judged by a real model.

    python -m tests.benchmarks.judge [--passages 80] [--url URL --model NAME]

Of each packaged passage two claims are judged against it: a sentence of its hand-written rewrite (true), and the same with a
number or a name changed (wrong), in an order by hash. The judge is the embedded SmolLM2-135M-Instruct, or the model of an
endpoint of yours. Printed: of the claims that it calls unsupported, how many are wrong (precision), and of the wrong ones how
many it finds (recall), with Wilson's 95% intervals; beside it the rule `fidelity` on the same claims, which costs nothing.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters import fidelity
from generators.verify import judge
from synth.ask import Ask
from synth.digest import hash_share
from synth.rows import Draft, Seed
from tests.engines import engine_of, make
from tests.fidelity_edits import Document, changed_numbers, documents, sentences, swapped_names

EMBEDDED = {"backend": "llama-cpp", "weights": "smollm2-135m-instruct-q4_1", "context_tokens": 2048}


def planted(count: int) -> list[tuple[Document, str, str]]:
    """(document, true claim, wrong claim) for each passage that has a sentence with a number or a name."""
    passages = [one for one in documents() if one.text_kind == "passages"][:count]
    found = []
    for document in passages:
        for sentence in sentences(document.text):
            claim = replace(document, text=sentence)
            wrong = [*changed_numbers(claim, passages), *swapped_names(claim, passages)]
            if wrong:
                chosen = wrong[int(hash_share("planted", document.id) * len(wrong))]
                found.append((document, sentence, chosen.text))
                break
    return found


def wilson(part: int, whole: int) -> str:
    """A share with its 95% interval."""
    if not whole:
        return "none"
    p, z = part / whole, 1.96
    middle, half = p + z * z / (2 * whole), z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole))
    low, high = ((middle - half) / (1 + z * z / whole), (middle + half) / (1 + z * z / whole))
    return f"{p:.2f} ({low:.2f} to {high:.2f}; {part} of {whole})"


def report(name: str, flagged_wrong: int, flagged_true: int, wrong: int, unsure: int) -> None:
    """One line."""
    precision = wilson(flagged_wrong, flagged_wrong + flagged_true)
    print(f"{name} | precision {precision} | recall {wilson(flagged_wrong, wrong)} | no answer on {unsure}", flush=True)


def judged(claims: Sequence[tuple[Document, str, str]], models: dict[str, Any], runs: dict[str, Any]) -> None:
    """Ask the judge about all, and report."""
    by_seed = {document.id: (document, true, wrong) for document, true, wrong in claims}

    async def family(seed: Seed, ask: Ask, options: object) -> list[Draft]:
        document, true, wrong = by_seed[seed.id]
        pair = [true, wrong] if hash_share("order", document.id) < 0.5 else [wrong, true]
        findings = await judge.supported(ask, seed, pair)
        return [Draft("", (), tuple(one.ask_id for one in findings if one.ask_id), findings=tuple(findings))]

    seeds = [Seed(one.id, "p", one.id, 0, one.source) for one, _, _ in claims]
    with tempfile.TemporaryDirectory() as folder:
        roles = {"judge": {"models": ["m"]}}
        with engine_of(Path(folder), models, runs, roles=roles) as engine:
            made = make(engine, Path(folder), seeds, family)
    counts = [0, 0, 0]
    for (_, true, wrong), drafts in zip(claims, made.drafts, strict=True):
        assert not isinstance(drafts, Exception), drafts
        (finding,) = drafts[0].findings
        called = finding.evidence.get("unsupported", ())
        counts[0] += wrong in called
        counts[1] += true in called
        counts[2] += finding.outcome == "unsure"
    report("judge", counts[0], counts[1], len(claims), counts[2])


def by_rule(claims: Sequence[tuple[Document, str, str]]) -> None:
    """The same claims by the rule `fidelity`: unsupported where it calls a number or a name invented."""
    flagged = []
    for which in (1, 2):
        table = pa.table({"generated": [row[which] for row in claims], "seed_text": [row[0].source for row in claims]})
        scores = fidelity.score(
            table.cast(pa.schema([(name, pa.large_string()) for name in table.column_names])),
            fidelity.FidelityOptions(),
        )
        invented = zip(scores["numbers_invented"].to_pylist(), scores["names_invented"].to_pylist(), strict=True)
        flagged.append(sum(bool(one or other) for one, other in invented))
    report("rule fidelity", flagged[1], flagged[0], len(claims), 0)


def main() -> None:
    """Both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=80)
    parser.add_argument("--url")
    parser.add_argument("--model", default="model")
    options = parser.parse_args()
    claims = planted(options.passages)
    print(f"{len(claims)} passages, a true and a wrong claim each")
    by_rule(claims)
    if options.url:
        model, run = (
            {"backend": "openai", "model": options.model, "revision": "bench"},
            {"base_url": options.url, "in_flight": 16},
        )
    else:
        model, run = EMBEDDED, {"in_flight": 8}
    judged(claims, {"m": model}, {"m": run})


if __name__ == "__main__":
    main()
