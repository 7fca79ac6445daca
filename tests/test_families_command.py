"""`synth families`: what is listed, what one family tells about itself, and a family of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from generators import textbook
from generators.registry import families

OWN = Path(__file__).parent / "data/own_family.py"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["families", *arguments]) == 0
    return capsys.readouterr().out


def test_every_bundled_family_is_listed_with_its_card(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys).splitlines()
    for spec in families:
        (line,) = [line for line in lines if line.split(" ")[0] == spec.name]
        assert spec.card is not None, f"{spec.name} says nothing of itself"
        assert f"{spec.card.input} -> {spec.card.output}" in line
        assert spec.card.source in line
        assert f"{spec.version}/{spec.renderer_version}" in line


def test_the_table_shows_caps_and_sampling(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {one["name"]: one for one in json.loads(shown(capsys, "--json"))["families"]}
    assert listed.keys() == {spec.name for spec in families}
    distill = listed["distill"]
    assert distill["caps"] == {"min_seed_tokens": 30, "segment_tokens": 2000, "max_tokens": 1600}
    assert (distill["temperature"], distill["top_p"]) == (0.5, 0.9)
    line = next(line for line in shown(capsys).splitlines() if line.startswith("distill "))
    assert "30 / 2000 / 1600" in line and "0.5 / 0.9" in line


def test_one_family_tells_all_that_can_be_set_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    printed = shown(capsys, "textbook")
    prompts = textbook.prompts()
    for words in (prompts.system.strip(), *prompts.instructions, *prompts.topic_instructions):
        assert words in printed
    for axis, known in prompts.axes.items():
        assert axis in printed
        assert all(name in printed and words in printed for name, words in known.items())
    assert all(name in printed and words in printed for name, words in prompts.criteria.items())
    for name, field in textbook.Options.model_fields.items():
        assert name in printed and field.description and field.description in printed
    assert "Roles: writer; judge where options say so" in printed
    assert "Roles: writer; judge, verifier where options say so" in shown(capsys, "faq")


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(shown(capsys, "textbook", "--json"))
    options = {one["name"]: one["default"] for one in value["options"]}
    assert options["words"] == 300 and options["verify"] == {} and options["vary"] == ["audience"]
    assert value["roles"] == {"asked": ["writer"], "on_demand": ["judge"]}
    assert value["prompts"]["axes"]["audience"]["beginners"] == "beginners"


@pytest.mark.parametrize("name", [spec.name for spec in families])
def test_each_family_can_be_shown(capsys: pytest.CaptureFixture[str], name: str) -> None:
    printed = shown(capsys, name)
    assert "Instructions:" in printed and "Criteria:" in printed


def test_a_typo_is_answered_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families", "textbok"]) == 2
    assert "unknown family 'textbok'; did you mean 'textbook'?" in capsys.readouterr().err


def test_a_family_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    printed = shown(capsys, "--file", str(OWN))
    assert "short passages -> the passage and a haiku" in printed
    assert "Lines that are kept of an answer." in printed
    assert "it may ask any role of the recipe" in printed
    assert shown(capsys, "haiku", "--file", str(OWN)) == printed


def test_a_wrong_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families", "--file", str(tmp_path / "none.py")]) == 2
    assert f"given:   {tmp_path}/none.py" in capsys.readouterr().err
