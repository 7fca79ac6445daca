"""The README's tour is true: its commands run in an empty folder, with the scripted model in place of the embedded one, and print
what the README says in form. `make tour` runs it with the embedded model, the schedule included."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from flows.arguments import parser
from tests.tour import ROOT, Command, differences, form, read_tour, run_tour, written

README = (ROOT / "README.md").read_text(encoding="utf-8")
TOUR = read_tour(README)
SHOWN = re.compile(r"^(?:\$ )?(synth .*?)(?:\s+#.*)?$", re.MULTILINE)
OWN_MODEL = re.compile(r'^backend = "llama-cpp"\nweights = .*\ncontext_tokens = .*$', re.MULTILINE)


def shown_commands() -> list[str]:
    """The commands in blocks of the README, but for what a shell makes of them."""
    blocks = re.findall(r"^```(?:console)?\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    found = [command for block in blocks for command in SHOWN.findall(block)]
    return [re.split(r" > | \| | \|\| ", command)[0].replace("$(", "x #") for command in found]


@pytest.mark.parametrize("command", dict.fromkeys(shown_commands()))
def test_what_the_readme_shows_can_be_typed(command: str) -> None:
    parser().parse_args(shlex.split(command, comments=True)[1:])


def test_the_readme_shows_commands() -> None:
    assert len(shown_commands()) > 15


def scripted(folder: Path) -> None:
    """The recipe with the model that is part of the package."""
    recipe = folder / "mine.toml"
    text = recipe.read_text(encoding="utf-8")
    if OWN_MODEL.search(text):
        recipe.write_text(OWN_MODEL.sub('backend = "scripted"', text), encoding="utf-8")


def test_the_tour_prints_what_the_readme_says(tmp_path: Path) -> None:
    blocks = [[one for one in block if "deploy" not in one.text] for block in TOUR]
    seen = run_tour(blocks, tmp_path, lambda command: scripted(tmp_path))
    assert sum(map(len, seen)) >= 10
    found = differences(blocks, seen)
    assert not found, "\n".join(found)


def test_a_line_that_is_not_printed_is_found() -> None:
    told = [[Command("synth plan x", ("screen  1  2", "nothing to do"))]]
    assert differences(told, [[Command("synth plan x", ("screen  3  4", "nothing to do"))]]) == []
    assert len(differences(told, [[Command("synth plan x", ("screen  3  4", "all is done"))]])) == 1
    assert len(differences(told, [[Command("synth plan x", ())]])) == 3


def test_output_is_put_where_it_was_told() -> None:
    readme = "a\n<!-- tour -->\n```console\n$ one\n> two\nold\n```\n<!-- end of the tour -->\nz\n"
    ((command,),) = read_tour(readme)
    assert command == Command("one\ntwo", ("old",))
    made = written(readme, [[Command(command.text, ("new", "newer"))]])
    assert made == readme.replace("old", "new\nnewer")


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("release            quickstart 1", "release            quickstart 2", True),
        ("kept               59 of 130 documents (45%)", "kept               3 of 9 documents (33%)", True),
        ("nothing to do: release 1 of 'q' covers all 5", "nothing to do: release 3 of 'q' covers all 7", True),
        ("nothing to do", "something to do", False),
        ("screen  2  0", "score  2  0", False),
    ],
)
def test_lines_are_alike_when_they_say_the_same(one: str, other: str, alike: bool) -> None:
    assert (form(one) == form(other)) is alike
