"""Generate: one family over one partition of seeds. The only step that asks models, through the engine it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from pydantic import Field

from flows.steps.routing import Rival, Route, chosen
from flows.steps.scoring import is_number
from synth import rows
from synth.ask import Family
from synth.config import Config, parse
from synth.errors import SynthError, fail
from synth.registry import Spec
from synth.rows import Defect, Draft, Finding, Seed
from synth.step import Counts, Step


class GenerateWork(Config):
    """What shapes a family's documents: its versions, prompts and options, which seeds it takes, the roles that it asks."""

    family: str
    family_version: int
    renderer_version: int
    family_digest: str
    options: dict[str, Any]
    share: float
    route: Route | None
    rivals: tuple[Rival, ...]
    retry_dead_letters: int
    roles: dict[str, Any]


class FamilyConfig(Config):
    """One [[families]] table: which family, on which share of the seeds, with which options."""

    name: str = Field(description="A family's name.")
    file: str | None = Field(
        None,
        description="A Python file of your own that defines the family: a function `spec()` that returns its Spec.",
    )
    share: float = Field(1.0, gt=0.0, le=1.0, description="Share of the seeds this family works on, chosen by hash.")
    weight: float | None = Field(
        None,
        gt=0.0,
        description="Instead of a share: families with a weight divide the seeds among them, each seed to one of those that "
        "take it, so that their kept tokens come out in proportion to their weights.",
    )
    kept_tokens_per_seed: float = Field(
        1.0,
        gt=0.0,
        description="What a seed given to this family yields (kept tokens), for the weights: a number from an earlier run, "
        "see queries/family_shares.sql.",
    )
    route: Route | None = Field(None, description="Which seeds it is for, by one score; none: all of them.")
    options: dict[str, Any] = Field({}, description="The family's own options.")
    retry_dead_letters: int = Field(
        0, ge=0, description="Raise it by one to ask once more what endpoints rejected, and nothing else."
    )


class Made(Protocol):
    """What `Engine.make` returns: drafts (or the family's error) per seed, answers by ask id, attempts."""

    @property
    def drafts(self) -> Sequence[Sequence[Draft] | Exception]: ...
    @property
    def answers(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]: ...


class Maker(Protocol):
    """The part of the engine that this step uses."""

    def make(
        self,
        journal: Path,
        abandoned: Sequence[Path],
        memo: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[Seed],
        family: Family,
        options: Any,
    ) -> Made: ...


def step(maker: Maker | None, spec: Spec[Family], max_failed_share: float) -> Step[GenerateWork]:
    """The step for one family. Without a maker it can be planned, not run."""

    def run(inputs: Mapping[str, Path], config: GenerateWork, out: Path) -> Counts:
        """Inputs: seeds, drops and perhaps scores (of screen), memo/* (asks of earlier objects).

        Out: documents, drops, verdicts, asks, attempts.
        """
        assert maker is not None, "a planned step is not run"
        seeds = rows.seeds_from(rows.read_table(inputs["seeds"]))
        screened = set(rows.read_table(inputs["drops"], ["item_id"])["item_id"].to_pylist())
        fit = [seed for seed in seeds if seed.id not in screened]
        taken = chosen(config.family, fit, _scores(inputs), config.share, config.route, config.rivals)
        options = parse(spec.Options, config.options, f"families.{config.family}.options")
        journal = out.parent / "journal.sqlite"
        abandoned = [path for path in sorted(out.parent.parent.glob("*/journal.sqlite")) if path != journal]
        made = maker.make(journal, abandoned, _memo(inputs, config), taken, spec.function, options)
        _check_failures(config.family, made, len(taken), max_failed_share)
        documents, drops, verdicts = _documents(config, taken, made)
        _write(documents, drops, verdicts, made, out)
        dropped = Counter(drop["rule"] for drop in drops)
        with_document = {document["seed_ids"][0] for document in documents}
        return Counts(
            items=len(documents),
            kept=len(documents) - len(drops),
            dropped=dict(dropped),
            notes={
                "seeds": len(seeds),
                "seeds_screened": len(seeds) - len(fit),
                "seeds_not_routed": len(fit) - len(taken),
                "seeds_without_document": sum(seed.id not in with_document for seed in taken),
                "asks": len(made.answers),
                "attempts": len(made.attempts),
            },
        )

    return Step("generate", 2, GenerateWork, run)


def _scores(inputs: Mapping[str, Path]) -> dict[str, dict[str, float | None]]:
    """The screen's scores by column and seed id, where a route looks at one."""
    if "scores" not in inputs:
        return {}
    table = rows.read_table(inputs["scores"])
    ids = table["item_id"].to_pylist()
    numeric = [name for name in table.column_names if is_number(table[name].type)]
    return {name: dict(zip(ids, table[name].to_pylist(), strict=True)) for name in numeric}


def _memo(inputs: Mapping[str, Path], config: GenerateWork) -> dict[str, dict[str, Any]]:
    """Accepted answers of earlier objects for these seeds: what was paid for is not asked again."""
    paths = [path for name, path in sorted(inputs.items()) if name.startswith("memo/")]
    known = rows.read_tables(paths, rows.ASK).to_pylist() if paths else []
    return {row["ask_id"]: row for row in known if row["outcome"] != "dead_letter" or not config.retry_dead_letters}


def _check_failures(family: str, made: Made, seeds: int, max_failed_share: float) -> None:
    failed = [drafts for drafts in made.drafts if isinstance(drafts, Exception)]
    if failed and len(failed) > max_failed_share * seeds:
        first = failed[0]
        raise fail(
            SynthError,
            f"the family {family!r} failed on {len(failed)} of {seeds} seeds; first: {type(first).__name__}: {first}",
            allowed=f"a share of {max_failed_share} (run.max_failed_share)",
            do="mend the family's code; answers that were paid for are kept",
        ) from first


Rows = list[dict[str, Any]]


def _documents(config: GenerateWork, seeds: Sequence[Seed], made: Made) -> tuple[Rows, Rows, Rows]:
    """Rows of DOCUMENT, DROP and VERDICT, by document id. Each seed has at least one document, if need be an empty one."""
    documents: Rows = []
    drops: Rows = []
    verdicts: Rows = []
    for seed, result in zip(seeds, made.drafts, strict=True):
        copies: Counter[str] = Counter()
        for draft in [_failure(result)] if isinstance(result, Exception) else result:
            document_id = rows.document_id(config.family, [seed.id], draft.text, copies[draft.text])
            copies[draft.text] += 1
            documents.append(_document(document_id, config, seed, draft, made.answers))
            verdicts.extend(_verdict(document_id, finding) for finding in (_structure(draft), *draft.findings))
            if draft.defect:
                drops.append(_drop(document_id, draft.defect))
    documents.sort(key=lambda row: row["id"])
    for several in (drops, verdicts):
        several.sort(key=lambda row: row["item_id"])
    return documents, drops, verdicts


def _structure(draft: Draft) -> Finding:
    """The first rung: whether the answer has the form that its family asks for, and is no refusal. What a later rung
    dropped had passed this one.
    """
    if draft.defect is None or any(finding.outcome == "failed" for finding in draft.findings):
        return Finding("structure", "passed")
    return Finding("structure", "failed", evidence={"rule": draft.defect.rule})


def _verdict(document_id: str, finding: Finding) -> dict[str, Any]:
    return rows.verdict_row(
        document_id,
        "document",
        finding.rung,
        finding.judge,
        finding.outcome,
        score=finding.score,
        evidence=finding.evidence,
        ask_id=finding.ask_id,
    )


def _failure(error: Exception) -> Draft:
    return Draft("", (), (), defect=Defect("generation_failed", f"{type(error).__name__}: {error}"))


def _drop(document_id: str, defect: Defect) -> dict[str, Any]:
    return rows.drop_row(
        document_id,
        "document",
        "generate",
        defect.rule,
        defect.reason,
        score=defect.score,
        threshold=defect.threshold,
        evidence=defect.evidence,
    )


def _document(
    document_id: str, config: GenerateWork, seed: Seed, draft: Draft, answers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    asked = [answers[ask_id] for ask_id in draft.ask_ids]
    span = draft.seed_span or (0, len(seed.text.encode()))
    return {
        "id": document_id,
        "family": config.family,
        "family_version": config.family_version,
        "renderer_version": config.renderer_version,
        "seed_ids": [seed.id],
        "root_id": seed.root_id,
        "seed_span": {"start_byte": span[0], "end_byte": span[1]},
        "text": draft.text,
        "parts": [
            {"role": part.role, "start_byte": part.start_byte, "end_byte": part.end_byte} for part in draft.parts
        ],
        "payload": None if draft.payload is None else orjson.dumps(draft.payload, option=orjson.OPT_SORT_KEYS).decode(),
        "reasoning": draft.reasoning,
        "axes": orjson.dumps(dict(draft.axes), option=orjson.OPT_SORT_KEYS).decode(),
        "models": sorted({row["model"] for row in asked}),
        "ask_ids": list(draft.ask_ids),
        "written_by": list(_written_by(draft)),
        "prompt_tokens": _total(asked, "prompt_tokens"),
        "completion_tokens": _total(asked, "completion_tokens"),
        "reasoning_tokens": _total(asked, "reasoning_tokens"),
        "written_tokens": _total([answers[one] for one in _written_by(draft)], "completion_tokens"),
        "generation_depth": seed.generation_depth + 1,
        "license": seed.license,
    }


def _written_by(draft: Draft) -> Sequence[str]:
    return draft.ask_ids[-1:] if draft.written_by is None else draft.written_by


def _total(asked: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(row[name] or 0 for row in asked)


def _write(documents: Rows, drops: Rows, verdicts: Rows, made: Made, out: Path) -> None:
    answers = [made.answers[ask_id] for ask_id in sorted(made.answers)]
    asks = [{**row, "budget_hit": bool(row["budget_hit"])} for row in answers]
    rows.write_table(rows.table(documents, rows.DOCUMENT), out / "documents.parquet")
    rows.write_table(rows.table(drops, rows.DROP), out / "drops.parquet")
    rows.write_table(rows.table(verdicts, rows.VERDICT), out / "verdicts.parquet")
    rows.write_table(rows.table(asks, rows.ASK), out / "asks.parquet")
    rows.write_table(rows.table(made.attempts, rows.ATTEMPT), out / "attempts.parquet")
