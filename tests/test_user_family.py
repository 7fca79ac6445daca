"""A family of the user's own, from its file to the corpus, and every way in which such a file can be wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flows.cli import main
from flows.families import load_family
from flows.recipe import load
from flows.works import Works
from synth import rows
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, shard_rows, write_recipe, write_seeds

OWN = Path(__file__).parent / "data/own_family.py"
FAMILIES = '[[families]]\nname = "haiku"\nfile = "mine/my_family.py"'
PLAIN = {
    "score": '[score]\nrules = [{name = "statistics"}]',
    "keep": '[keep]\ngates = [{column = "words", min = 20, reason = "too_short"}]',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with four seeds and the family's file."""
    monkeypatch.chdir(tmp_path)
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/my_family.py").write_bytes(OWN.read_bytes())
    return tmp_path


def recipe(folder: Path, base_url: str = "http://127.0.0.1:9/v1", families: str = FAMILIES) -> Path:
    return write_recipe(folder, base_url, families=families, **PLAIN)


def documents(home: Path) -> dict[str, list[dict[str, object]]]:
    """Rows of DOCUMENT of each object of the family."""
    store = Store(home)
    places = [place for place in store.objects("objects/generate") if "/haiku/" in place]
    return {place: rows.read_table(store.local(f"{place}/documents.parquet")).to_pylist() for place in places}


def test_documents_are_made_by_the_users_code(folder: Path, scripted_server: ScriptedServer) -> None:
    run_recipe(recipe(folder, scripted_server.base_url), folder / "corpus")
    made = shard_rows(folder / "corpus")
    assert len(made) == 4
    assert {row["text"].partition("\n\n")[0] for row in made} == {passage(number) for number in range(4)}
    (found,) = documents(folder / "corpus").values()
    assert {row["family"] for row in found} == {"haiku"}


def test_its_options_are_checked_and_used(
    folder: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(folder, scripted_server.base_url, FAMILIES + "\noptions = { with_passage = false }")
    run_recipe(path, folder / "corpus")
    assert not {row["text"] for row in shard_rows(folder / "corpus")} & {passage(number) for number in range(4)}
    assert main(["plan", str(path), "--set", "families.haiku.options.line=2"]) == 2
    assert "families.haiku.options.line: unknown key; did you mean 'lines'?" in capsys.readouterr().err


def test_a_changed_file_makes_its_documents_again_and_asks_nothing(
    folder: Path, scripted_server: ScriptedServer
) -> None:
    path = recipe(folder, scripted_server.base_url)
    _, first = run_recipe(path, folder / "corpus")
    file = folder / "mine/my_family.py"
    before, policy = load_family("haiku", str(file)).content_digest, Works(load(path)).policy()
    file.write_text(file.read_text() + "# a comment\n")
    assert load_family("haiku", str(file)).content_digest != before
    assert Works(load(path)).policy() != policy
    releases, second = run_recipe(path, folder / "corpus", run_id="again")
    assert (first.stats.asks, second.stats.asks, second.stats.replayed) == (4, 0, 4)
    one, other = documents(folder / "corpus").values()
    assert one == other and len(one) == 4
    assert [release.number for release in releases] == [2]


def test_what_runs_is_what_was_hashed_even_within_one_second(folder: Path) -> None:
    file = folder / "mine/my_family.py"
    status = file.stat()
    assert load_family("haiku", str(file)).Options().lines == 3  # type: ignore[attr-defined]
    file.write_text(file.read_text().replace("Field(3, ge=1", "Field(5, ge=1"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_family("haiku", str(file)).Options().lines == 5  # type: ignore[attr-defined]
    assert sorted(path.name for path in file.parent.iterdir()) == ["my_family.py"]


NO_CARD = "from synth.registry import Spec\nfrom synth.config import Config\nclass Options(Config):\n    pass\n"
WRONG = [
    pytest.param(None, r"the file cannot be read: No such file", id="missing"),
    pytest.param("def spec(:\n", r"SyntaxError: .*line 1", id="syntax"),
    pytest.param("import no_such_module_anywhere\n", r"ModuleNotFoundError: .*no_such_module_anywhere", id="import"),
    pytest.param("raise SystemExit(7)\n", r"SystemExit: 7", id="exit"),
    pytest.param("x = 1 / 0\n", r"ZeroDivisionError", id="raises"),
    pytest.param("x = '\x00'\n", r"cannot be loaded", id="NUL"),
    pytest.param("x = 1\n", r"has no function `spec\(\)`", id="no spec"),
    pytest.param("def spec():\n    return 'haiku'\n", r"has no function `spec\(\)` that returns", id="no Spec"),
    pytest.param("def spec():\n    raise KeyError('who')\n", r"KeyError: 'who'", id="spec raises"),
    pytest.param("def spec(name):\n    return name\n", r"TypeError: .*missing", id="spec wants arguments"),
    pytest.param(
        f"{NO_CARD}async def f(*_): ...\ndef spec():\n    return Spec('sonnet', 1, Options, f)\n",
        r"(?s)its family has another name.*'sonnet'.*allowed: haiku",
        id="name",
    ),
    pytest.param(
        f"{NO_CARD}async def f(*_): ...\ndef spec():\n    return Spec('haiku', 1, dict, f)\n",
        r"derived from synth\.config\.Config",
        id="options",
    ),
    pytest.param(
        f"{NO_CARD}def f(*_): ...\ndef spec():\n    return Spec('haiku', 1, Options, f)\n",
        r"not `async def`",
        id="sync",
    ),
]


@pytest.mark.parametrize(("source", "words"), WRONG)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_wrong_file_is_told_in_the_users_words(
    folder: Path, capsys: pytest.CaptureFixture[str], source: str | None, words: str, command: str
) -> None:
    path, file = recipe(folder), folder / "mine/my_family.py"
    file.unlink()
    if source is not None:
        file.write_text(source)
    assert main([command, str(path)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("synth: families.haiku.file: "), printed
    assert re.search(words, printed), printed
    assert str(file) in printed
    assert "Traceback" not in printed


def test_a_file_of_any_name_is_read(folder: Path) -> None:
    file = folder / "mine/my_family.py"
    assert load_family("haiku", str(file.rename(file.with_suffix(".txt")))).name == "haiku"
