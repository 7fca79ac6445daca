"""`synth schema`: no field without a sentence, a default, a unit where it is a quantity; and a JSON Schema for editors."""

from __future__ import annotations

import tomllib
from typing import Any

import jsonschema
import orjson
import pytest

from flows.cli import main
from flows.recipe_files import bundled
from flows.schema import Field, all_fields, described, is_quantity, type_words
from flows.schema_json import json_schema
from synth.config import Config
from tests.test_recipe import merged

FIELDS = {field.place: field for field in all_fields()}


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.place)
def test_each_field_says_what_it_is(field: Field) -> None:
    assert len(field.what) > 10 and field.what[-1] in ".…", "a description that ends with a sentence"
    assert field.default
    numeric = field.type.startswith(("number", "whole number")) or "whole number" in field.type
    assert not numeric or field.unit, "its unit: in brackets at the end of its description, or in flows.schema._UNITS"


def test_every_leaf_of_a_merged_recipe_is_listed() -> None:
    """The recipe with all defaults written out holds no key that the schema does not know."""

    def places(value: Any, at: str) -> set[str]:
        if isinstance(value, dict):
            return {place for name, one in value.items() for place in places(one, f"{at}.{name}" if at else name)}
        return {at}

    recipe = merged()
    for name in ("sources", "families", "models", "roles"):
        del recipe[name]
    del recipe["run"]["models"]
    known = set(FIELDS)
    assert {place for place in places(recipe, "") if place not in known} == set()


@pytest.mark.parametrize(
    ("place", "facts"),
    [
        (
            "run.workers",
            {"type": "whole number", "allowed": "≥ 1", "unit": "lots", "default": "2", "shapes": "execution"},
        ),
        (
            "families.NAME.share",
            {"type": "number", "allowed": "> 0, ≤ 1", "unit": "share, 0 to 1", "shapes": "content"},
        ),
        ("dedup.minhash.bands", {"default": "14", "source": "FineWeb (arXiv 2406.17557)"}),
        (
            "families.gap_dialogue.options.temperature",
            {"default": "0.9", "source": "ours; MIND: 1.0 (arXiv 2410.12881)"},
        ),
        ("families.distill.options.max_tokens", {"source": "Nemotron-CC (arXiv 2412.02595)"}),
        ("quality.training.word_ngrams", {"default": "2", "source": "DCLM (arXiv 2406.11794)"}),
        ("run.models.NAME.usd_per_gpu_hour", {"unit": "US dollars per GPU hour"}),
        ("models.NAME.context_tokens", {"unit": "tokens", "allowed": "≥ 256", "default": "4096"}),
        ("name", {"default": "required", "type": "text"}),
        (
            "sources.NAME.kind",
            {"type": "one of: passages, python_docs, jsonl, parquet, text, hf, sql", "default": "required"},
        ),
        ("screen.rules", {"type": "list of tables", "default": "statistics, license"}),
        ("models", {"type": "table of tables", "default": "required"}),
    ],
)
def test_facts_are_read_off_the_declarations(place: str, facts: dict[str, str]) -> None:
    assert {name: getattr(FIELDS[place], name) for name in facts} == facts


def test_types_in_words() -> None:
    assert type_words(tuple[str, ...] | None) == "list (text)"
    assert type_words(dict[str, int]) == "table (whole number by name)"
    assert is_quantity(float | None) and is_quantity(tuple[int, ...]) and is_quantity(dict[str, int])
    assert not is_quantity(bool) and not is_quantity(str) and not is_quantity(dict[str, str])

    class Bare(Config):
        """A field that says nothing."""

        many: int = 3

    field = described("many", "many", Bare.model_fields["many"])
    assert (field.unit, field.what) == ("", "")  # what the test above would find


def test_it_is_printed_by_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    everything = capsys.readouterr().out
    assert "[run.models.NAME]" in everything and "[families.textbook.options]" in everything and "extends" in everything
    assert main(["schema", "run.models.mine"]) == 0
    assert capsys.readouterr().out.startswith("[run.models.NAME]\n  base_url: text")
    assert main(["schema", "families.textbook"]) == 0
    assert "max_tokens: whole number, ≥ 1; unit: tokens; default: 2500; source: Cosmopedia" in capsys.readouterr().out
    assert main(["schema", "keep.gates"]) == 0
    assert "wrong_arithmetic       equations_wrong ≤ 0" in capsys.readouterr().out
    assert main(["schema", "presets"]) == 0
    assert "duplicate_line_ratio ≤ 0.3" in capsys.readouterr().out
    assert main(["schema", "run.models", "--json"]) == 0
    listed = orjson.loads(capsys.readouterr().out)["fields"]
    assert {"run.models.NAME.port": "TCP port"}.items() <= {one["place"]: one["unit"] for one in listed}.items()


@pytest.mark.parametrize(("table", "answer"), [("workers", "run.workers"), ("run.model", "run.models"), ("rnu", "run")])
def test_a_table_that_is_not_there(table: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", table]) == 2
    assert f"did you mean '{answer}'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", sorted(bundled()))
def test_bundled_recipes_are_valid_by_the_json_schema(validator: Any, name: str) -> None:
    assert [error.message for error in validator.iter_errors(tomllib.loads(bundled()[name].read_text()))] == []


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        pytest.param({}, True, id="as it is"),
        pytest.param({"workers": 2}, False, id="wrong table"),
        pytest.param({"run": {"workers": 0}}, False, id="bound"),
        pytest.param({"families": [{"name": "textbook", "options": {"words": 80}}]}, True, id="option"),
        pytest.param({"families": [{"name": "textbook", "options": {"max_pairs": 8}}]}, False, id="another's option"),
        pytest.param({"families": [{"name": "mine", "file": "m.py", "options": {"x": 1}}]}, True, id="own family"),
        pytest.param({"score": {"rules": [{"name": "statistics", "options": {"x": 1}}]}}, False, id="a rule's option"),
    ],
)
def test_the_json_schema_knows_right_from_wrong(validator: Any, change: dict[str, Any], valid: bool) -> None:
    value = tomllib.loads(bundled()["quickstart"].read_text()) | change
    assert validator.is_valid(value) is valid


def test_what_extends_needs_nothing_else(validator: Any) -> None:
    assert validator.is_valid({"extends": "quickstart", "families": {"distill": {"share": 0.5}}})
    assert not validator.is_valid({"name": "mine"})


def test_the_schema_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["properties"]["extends"]["type"] == "string"
