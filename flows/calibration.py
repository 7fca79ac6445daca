"""What `synth filter-calibrate` calibrates on: the scores of a home's newest release, or of a file, and texts to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.baselines import Floats
from flows.filtering import NO_FAMILY
from flows.steps.scoring import QUALITY, UNTRAINED, is_number
from synth import rows
from synth.audit.sql import query
from synth.audit.tables import identifier, literal
from synth.config import nearest
from synth.digest import file_sha256
from synth.errors import UserError, fail
from synth.text_files import read_texts, text_files

DEFAULT_SCORES = ("quality_score", "quality_delta")
QUERY_SECONDS, QUERY_MEMORY = 600, "4GB"
NO_SOURCE = "-"


@dataclass(frozen=True)
class Pool:
    """Texts that a gate on `column` would judge: all that no other gate and no earlier step drops."""

    column: str
    ids: list[str]
    families: NDArray[np.object_]
    sources: NDArray[np.object_]
    scores: Floats


def home_pools(home: Path, recipe: str, columns: Sequence[str], families: Sequence[str]) -> list[Pool]:
    """For each score the documents of the newest release of a recipe, as far as other gates keep them. Duplicates are among
    them: they are dropped after the gates."""
    known = query(home, "SELECT * FROM scores LIMIT 0").schema
    return [_home_pool(home, recipe, column, families) for column in _chosen(known, columns)]


def _chosen(schema: pa.Schema, columns: Sequence[str]) -> list[str]:
    """The scores that are asked for, or those of DEFAULT_SCORES that there are. UserError: no such score, or no number."""
    numbers = [field.name for field in schema if is_number(field.type)]
    found = list(columns) or [column for column in DEFAULT_SCORES if column in numbers]
    for column in found or ["quality_score"]:
        if column not in numbers:
            what = f"no score {column!r} that is a number{nearest(column, numbers)}"
            raise fail(
                UserError, what, allowed=", ".join(sorted(numbers)), do="add the rule that gives it, or give --score"
            )
    return found


def _home_pool(home: Path, recipe: str, column: str, families: Sequence[str]) -> Pool:
    mine = f"recipe = {literal(recipe)}"
    only = f"AND s.family IN ({', '.join(map(literal, families))})" if families else ""
    found = query(
        home,
        f"""
        WITH gone AS (
            SELECT DISTINCT item_id FROM drops WHERE {mine} AND item_kind = 'document'
                AND (step = 'generate' OR (step = 'keep' AND rule <> {literal(column)}))
        ), origins AS (SELECT id AS seed_id, any_value(source_id) AS source FROM seeds WHERE {mine} GROUP BY ALL)
        SELECT s.item_id, s.family, o.source, s.{identifier(column)}::DOUBLE AS score
        FROM scores s JOIN documents d ON d.id = s.item_id AND d.{mine} LEFT JOIN origins o ON o.seed_id = d.seed_ids[1]
        ANTI JOIN gone ON gone.item_id = s.item_id WHERE s.{mine} {only} ORDER BY s.item_id""",
        QUERY_SECONDS,
        QUERY_MEMORY,
    )
    return _pool(column, found["item_id"], found["family"], found["source"], found["score"])


def file_pools(path: Path, columns: Sequence[str], families: Sequence[str]) -> list[Pool]:
    """For each score all texts of a scores.parquet as `synth filter` writes it. It does not say where texts come from."""
    if not path.is_file():
        raise fail(UserError, f"no such file: {path}", do="give the scores.parquet of synth filter")
    table = rows.read_table(path)
    if not {"item_id", "family"} <= set(table.column_names):
        raise fail(UserError, f"{path} is no table of scores", allowed="the scores.parquet of synth filter")
    if families:
        table = table.filter(pc.is_in(table["family"], pa.array(families, pa.string())))
    nowhere = pa.chunked_array([pa.nulls(len(table), pa.string())])
    chosen = _chosen(table.schema, columns)
    return [_pool(column, table["item_id"], table["family"], nowhere, table[column]) for column in chosen]


def _pool(
    column: str, ids: pa.ChunkedArray, families: pa.ChunkedArray, sources: pa.ChunkedArray, scores: pa.ChunkedArray
) -> Pool:
    if not len(ids):
        raise fail(UserError, f"there are no texts to calibrate {column} on", do="look at --family, and at other gates")
    values = scores.cast(pa.float64()).to_numpy()
    named = [
        np.asarray(pc.fill_null(one, no).to_pylist(), object)
        for one, no in ((families, NO_FAMILY), (sources, NO_SOURCE))
    ]
    return Pool(column, ids.to_pylist(), named[0], named[1], np.asarray(values, np.float64))


def home_texts(home: Path, ids: Sequence[str]) -> dict[str, str]:
    """What the model wrote of some documents, by id: what the rule judged."""
    wanted = ", ".join(map(literal, ids))
    found = (
        query(home, f"SELECT DISTINCT ON (id) id, text, parts FROM documents WHERE id IN ({wanted})") if ids else None
    )
    return (
        {}
        if found is None
        else dict(zip(found["id"].to_pylist(), rows.generated_texts(found).to_pylist(), strict=True))
    )


def file_texts(paths: Sequence[Path], ids: Sequence[str], text: str, id_column: str | None) -> dict[str, str]:
    """Some texts of files, by id."""
    wanted = pa.array(sorted(set(ids)), pa.string())
    found: dict[str, str] = {}
    for file in text_files(paths) if paths else []:
        for batch in read_texts(file, text, id_column):
            mine = batch.filter(pc.is_in(batch["id"], value_set=wanted))
            found.update(zip(mine["id"].to_pylist(), mine["text"].to_pylist(), strict=True))
    return found


def model_for(home: Path | None, recipe: str | None, given: Path | None) -> Path:
    """The model that scored: the one that is given, or the one that the newest release's run trained. UserError: there is
    none, or the release was scored by another one."""
    if home is None or recipe is None:
        if given is None:
            raise fail(UserError, "--pairs wants --model", do="name the model that gave the scores")
        return given
    named = _model_digests(home, recipe)
    if given is not None:
        sha256 = file_sha256(given) if given.is_file() else "no such file"
        if named and sha256 not in named:
            what = f"the newest release was not scored by {given}"
            raise fail(UserError, what, given=sha256, allowed=", ".join(named), do="give the model that it names")
        return given
    trained = [path for path in named.values() if path is not None]
    if not trained:
        raise fail(
            UserError, "--pairs wants --model", do="name the model that the recipe names", allowed=", ".join(named)
        )
    return trained[0]


def _model_digests(home: Path, recipe: str) -> dict[str, Path | None]:
    """The quality models of the newest release by digest; with its path one that the run trained."""
    found: dict[str, Path | None] = {}
    objects = query(
        home, f"SELECT object, step, config::VARCHAR AS config FROM objects WHERE recipe = {literal(recipe)}"
    )
    for one in objects.to_pylist():
        if one["step"] == "train":
            model = next(path for path in (home / one["object"]).iterdir() if path.suffix in (".bin", ".ftz"))
            found[file_sha256(model)] = model
        elif one["step"] == "score":
            for rule in orjson.loads(one["config"])["rules"]:
                if rule["name"] == QUALITY and rule["options"]["sha256"] != UNTRAINED:
                    found.setdefault(rule["options"]["sha256"], None)
    return found
