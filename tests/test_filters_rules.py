"""The registry of rules: what each needs and writes, and that a score depends on its own row only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters import fasttext_model
from filters.registry import INPUTS, apply_rule, rules, score_columns
from filters.rules import StatisticsOptions
from synth import weights
from synth.config import Config
from synth.digest import digest, short
from synth.errors import RecipeError
from synth.registry import Registry, Spec
from synth.text.statistics import STATISTICS

TEXTS = [
    "The honeybee visits flowers near its hive and carries nectar home.",
    "",
    "Die Biene besucht Blüten in der Nähe ihres Stocks und trägt Nektar heim.",
    "the bee the bee the bee\nthe bee the bee the bee\n\nthe bee the bee the bee",
    "12345",
    "A forager that has found good nectar returns and dances on the comb.",
    "L'abeille danse sur le rayon pour montrer la direction des fleurs.",
]
TABLE = pa.table(
    {
        "text": TEXTS,
        "generated": TEXTS,
        "seed_text": [TEXTS[0], None, *TEXTS[:4], ""],
        "family": ["distill", "textbook", None, "distill", "diverse_qa", "distill", None],
        "license": ["CC0-1.0", None, "MIT", "", "PSF-2.0", "unknown", "CC-BY-4.0"],
        "language": ["en", None, "de", None, None, "en", "fr"],
        "canary": [None, "zqcanary-0123456789ab", None, None, None, None, None],
        "reasoning": [None, "It asks for a summary.", None, None, "", None, None],
    }
).cast(INPUTS)
NAMES = ["copy", "injection", "language", "leaks", "license", "openings", "statistics"]
# `quality` and `embedding` need models: their own tests are beside those.


def scores(name: str, table: pa.Table) -> pa.Table:
    spec = rules.get(name)
    return apply_rule(spec, table, spec.Options())


def test_the_bundled_rules() -> None:
    assert {spec.name for spec in rules} >= {*NAMES, "quality"}
    for spec in rules:
        assert spec.version >= 1
        assert spec.needs
        assert set(spec.needs) <= set(INPUTS.names)


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_order_or_batches(name: str) -> None:
    whole = scores(name, TABLE)
    order = [3, 6, 0, 5, 1, 4, 2]
    assert scores(name, TABLE.take(order)) == whole.take(order)
    for size in (1, 3):
        parts = [scores(name, TABLE.slice(start, size)) for start in range(0, TABLE.num_rows, size)]
        assert pa.concat_tables(parts).combine_chunks() == whole.combine_chunks()


GOLDEN = {
    "copy": (1, "65889844e53dc0d5"),
    "injection": (1, "73c5e2a739f554ad"),
    "language": (2, "e79d8afc33ee9ede"),
    "leaks": (1, "0bb03c94e9a41210"),
    "license": (1, "bf5d1d40db7587f6"),
    "openings": (1, "8a0b629f94d2bdef"),
    "statistics": (2, "bd75c3d32de25638"),
}


@pytest.mark.parametrize("name", NAMES)
def test_results_change_only_with_the_version(name: str) -> None:
    rows = [
        {
            column: round(value, 2) if name == "language" and isinstance(value, float) else value
            for column, value in row.items()
        }
        for row in scores(name, TABLE).to_pylist()
    ]
    found = (rules.get(name).version, short(digest(rows)))
    assert found == GOLDEN[name], f"the results of the rule {name!r} changed: raise its version, then write {found}"


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        pytest.param("copy", ["copy_8gram_share", "longest_copied_words"], id="copy"),
        pytest.param("language", ["language", "language_confidence"], id="language"),
        pytest.param("license", ["license_known"], id="license"),
        pytest.param("quality", ["quality_score", "quality_source", "quality_delta"], id="quality"),
        pytest.param("statistics", STATISTICS.names, id="statistics"),
    ],
)
def test_columns_are_known_without_a_model(name: str, columns: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasttext_model, "_loaded", {})
    monkeypatch.setattr(fasttext_model, "_load", lambda path: pytest.fail(f"{path} was loaded"))
    spec = rules.get(name)
    given = {"path": "none.bin", "sha256": "0" * 64} if name == "quality" else {}
    assert score_columns(spec, spec.Options(**given)) == columns


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("CC0-1.0", 1),
        ("proprietary", 1),
        (None, 0),
        ("", 0),
        (" ", 0),
        ("Unknown", 0),
        ("NOASSERTION", 0),
        ("NONE", 0),
    ],
)
def test_license(value: str | None, known: int) -> None:
    table = pa.table({"license": pa.array([value], pa.string())})
    assert scores("license", table).to_pylist() == [{"license_known": known}]


def test_statistics_look_at_generated_parts_only() -> None:
    table = pa.table({"text": ["the source and the answer"], "generated": ["the answer"]})
    assert scores("statistics", table)["words"].to_pylist() == [2]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(RecipeError, match="rule 'copy' needs seed_text"):
        scores("copy", TABLE.drop_columns(["seed_text"]))


def test_a_rule_of_the_users_sees_what_it_needs_and_returns_every_row() -> None:
    own: Registry[Any] = Registry("rule")
    own.add(
        Spec("names", 1, Config, lambda table, _: pa.table({"n": [len(table.column_names)] * len(table)}), ("text",))
    )
    own.add(Spec("short", 1, Config, lambda table, _: pa.table({"n": [1]}), ("text",)))
    assert apply_rule(own.get("names"), TABLE, Config())["n"].to_pylist() == [1] * 7
    with pytest.raises(RecipeError, match="rule 'short' returned 1 rows for 7 texts"):
        apply_rule(own.get("short"), TABLE, Config())


def test_a_name_is_taken_once() -> None:
    with pytest.raises(RecipeError, match="two rule definitions are named 'statistics'"):
        rules.add(Spec("statistics", 2, StatisticsOptions, lambda table, _: table))


def test_the_language_rule_is_known_by_its_weights() -> None:
    assert rules.get("language").content_digest == weights.identity("lid.176.ftz")["sha256"]


def test_importing_the_rules_imports_no_fasttext() -> None:
    code = "import sys, filters.rules, filters.presets; sys.exit('fasttext' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)
