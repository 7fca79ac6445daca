"""Every bundled family: its prompt file, its card, its versions; one table for all, so that a new family is checked at once."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from typing import Any, get_args

import pytest

from generators.common import ECHO_WORDS
from generators.registry import families
from generators.writing import WritingOptions
from synth.ask import Family
from synth.registry import Spec

SPECS = list(families)
PLACEHOLDERS = {"textbook": {"words", "audience"}, "distill": {"words"}}


def prompt_file(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("generators.prompts").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def wordings(name: str) -> list[str]:
    """Every list of paraphrases in the file."""
    return [text for key, value in prompt_file(name).items() if key.endswith("instructions") for text in value]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> Spec[Family]:
    return request.param  # type: ignore[no-any-return]


def test_the_families_of_the_issue_are_all_there() -> None:
    assert {spec.name for spec in SPECS} == {
        "diverse_qa",
        "table_qa",
        "faq",
        "tutorial",
        "distill",
        "wiki_clean",
        "guided_rewrite",
        "math_problem",
        "gap_dialogue",
        "thought_aug",
        "textbook",
    }


def test_a_family_says_what_it_makes_of_what_and_whose_recipe_it_is(spec: Spec[Family]) -> None:
    assert spec.card and spec.card.input and spec.card.output and spec.card.source
    assert spec.version >= 1 and spec.renderer_version >= 1 and len(spec.content_digest) == 64


def test_paraphrases_are_many_different_and_long_enough_to_be_found_in_answers(spec: Spec[Family]) -> None:
    texts = wordings(spec.name)
    assert len(texts) == len(set(texts)) >= 10
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in texts)
    assert not any("<|" in text or "```" in text for text in (*texts, prompt_file(spec.name)["system"]))


def test_paraphrases_name_known_placeholders_only(spec: Spec[Family]) -> None:
    axes = prompt_file(spec.name).get("axes", {})
    for text in wordings(spec.name):
        assert set(re.findall(r"{(\w*)}", text)) <= PLACEHOLDERS.get(spec.name, set()) | set(axes)


def test_axes_have_values_and_criteria_are_statements(spec: Spec[Family]) -> None:
    prompts = prompt_file(spec.name)
    assert all(len(values) >= 4 and all(values.values()) for values in prompts.get("axes", {}).values())
    assert len(prompts["criteria"]) >= 3
    assert all(text.endswith(".") and len(text.split()) >= 5 for text in prompts["criteria"].values())


def test_options_are_those_of_all_families_with_described_defaults(spec: Spec[Family]) -> None:
    assert issubclass(spec.Options, WritingOptions)
    assert all(field.description for field in spec.Options.model_fields.values())
    assert spec.Options().content()["candidates"] == 1


def test_axes_that_can_be_chosen_are_those_of_the_prompts(spec: Spec[Family]) -> None:
    literals = {
        one
        for inner in get_args(spec.Options.model_fields["vary"].annotation)
        for part in get_args(inner)
        for one in get_args(part)
    }
    assert literals <= set(prompt_file(spec.name).get("axes", {}))
