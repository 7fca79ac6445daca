"""A recipe that builds on another: what is merged, where paths start, whose fault a wrong value is, and what `plan` shows."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import main
from flows.recipe import load
from flows.recipe_files import FROM_COMMAND_LINE, _merge, bundled, read_recipe, recipe_file
from flows.works import Works
from synth.errors import RecipeError
from tests.conftest import ScriptedServer
from tests.corpora import shard_rows, write_recipe, write_seeds

CLOSED = "http://127.0.0.1:9/v1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base with two seeds in base/, and the place for recipes that extend it."""
    (tmp_path / "base").mkdir()
    write_seeds(tmp_path / "base/seeds/a.jsonl", range(2))
    write_recipe(tmp_path / "base", CLOSED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str, base: str = "base/recipe.toml") -> Path:
    path.write_text(f'extends = "{base}"\n{text}')
    return path


def test_tables_are_merged_key_by_key_and_lists_replaced(folder: Path) -> None:
    write(
        folder / "mine.toml",
        'name = "mine"\n[[families]]\nname = "textbook"\n[run]\nworkers = 5\n[run.models.m]\nin_flight = 3',
    )
    recipe, base = load(folder / "mine.toml"), load(folder / "base/recipe.toml")
    assert [family.name for family in recipe.families] == ["textbook"]
    assert (recipe.name, recipe.run.workers, recipe.ingest) == ("mine", 5, base.ingest)
    assert recipe.run.models["m"] == base.run.models["m"].model_copy(update={"in_flight": 3})


def test_a_table_over_a_list_changes_its_entries(folder: Path) -> None:
    write(folder / "mine.toml", "[families.distill]\nshare = 0.5\n[sources.texts]\nlicense = 'MIT'")
    recipe = load(folder / "mine.toml")
    assert [(family.name, family.share) for family in recipe.families] == [("diverse_qa", 1.0), ("distill", 0.5)]
    assert recipe.sources[0].license == "MIT"


def test_a_chain_ends_in_a_bundled_recipe_and_the_nearest_file_wins(folder: Path) -> None:
    write(folder / "one.toml", "[ingest]\npartition_rows = 7\n[run]\nworkers = 3", "quickstart")
    write(folder / "two.toml", "[run]\nworkers = 4", "one.toml")
    recipe = load(folder / "two.toml", ["run.lot_partitions=9"])
    assert (recipe.ingest.partition_rows, recipe.run.workers, recipe.run.lot_partitions) == (7, 4, 9)
    assert recipe.merged is not None
    assert [file.shown for file in recipe.merged.files] == [
        str(folder / "two.toml"),
        str(folder / "one.toml"),
        "quickstart (bundled)",
    ]
    places = ("run.workers", "ingest.partition_rows", "models.small.backend", "run.lot_partitions")
    assert [recipe.merged.origin(place) for place in places] == [
        str(folder / "two.toml"),
        str(folder / "one.toml"),
        "quickstart (bundled)",
        FROM_COMMAND_LINE,
    ]


def test_the_merged_content_is_the_policy_and_extends_is_not(folder: Path) -> None:
    write(folder / "mine.toml", "[run]\nworkers = 7")
    policy = Works(load(folder / "base/recipe.toml")).policy()
    assert Works(load(folder / "mine.toml")).policy() == policy
    write(folder / "mine.toml", "[families.distill]\nshare = 0.5")
    assert Works(load(folder / "mine.toml")).policy() != policy


def test_paths_of_a_base_start_at_its_own_folder(folder: Path) -> None:
    (folder / "base/haiku.py").write_text("def spec(): ...")
    base = (folder / "base/recipe.toml").read_text().replace('name = "distill"', 'name = "haiku"\nfile = "haiku.py"')
    (folder / "base/recipe.toml").write_text(base + '[dedup]\nagainst = ["pool"]\n')
    write(folder / "mine.toml", '[models.other]\nbackend = "llama-cpp"\nweights = "./own.gguf"')
    recipe = load(folder / "mine.toml")
    assert recipe.sources[0].paths == (str(folder / "base/seeds/*.jsonl"),)
    assert recipe.families[1].file == str(folder / "base/haiku.py")
    assert recipe.dedup.against == (str(folder / "base/pool"),)
    assert recipe.models["other"].weights == str(folder / "own.gguf")


def test_paths_of_changed_entries_start_at_the_file_that_changes_them(folder: Path) -> None:
    write(folder / "mine.toml", '[families.distill]\nfile = "own.py"\n[sources.texts]\npaths = ["other/*.jsonl"]')
    recipe = load(folder / "mine.toml")
    assert recipe.families[1].file == str(folder / "own.py")
    assert recipe.sources[0].paths == ("other/*.jsonl",)  # from the folder of the recipe that is run


def test_paths_of_a_bundled_base_start_at_the_file_that_extends_it(folder: Path) -> None:
    (folder / "seeds").mkdir()
    write_seeds(folder / "seeds/b.jsonl", range(3))
    write(folder / "mine.toml", "", "own-gpus")
    assert main(["plan", "mine.toml", "--home", "home"]) == 0


@pytest.mark.parametrize(
    ("text", "base", "message"),
    [
        pytest.param("", "mine.toml", r"extends: .*mine\.toml <- .*mine\.toml is a circle", id="itself"),
        pytest.param(
            "", "quickstrt", r"no recipe 'quickstrt'; did you mean 'quickstart'\? \(in .*mine\.toml\)", id="name"
        ),
        pytest.param("", "base/recip.toml", r"(?s)no recipe 'base/recip\.toml'.*looked for in", id="path"),
        pytest.param(
            "[families.destill]\nshare = 1.0",
            "base/recipe.toml",
            r"(?s)families\.destill is not in its base; did you mean 'distill'\? \(in .*mine\.toml\).*\[\[families\]\]",
            id="entry",
        ),
        pytest.param(
            "[families]\ndistill = 3",
            "base/recipe.toml",
            r"families\.distill is no table.*\(in .*mine\.toml\)",
            id="no table",
        ),
        pytest.param(
            "[run]\nworkers = 0", "base/recipe.toml", r"run\.workers: given 0; .* \(in .*mine\.toml\)", id="own value"
        ),
        pytest.param(
            "[keep]\nwithout = ['too_shrt']",
            "base/recipe.toml",
            r"keep\.without: .* \(in .*mine\.toml\)",
            id="found after parsing",
        ),
        pytest.param(
            "[[keep.more_gates]]\ncolumn = 'wrds'\nmin = 1\nreason = 'x'",
            "base/recipe.toml",
            r"the gate 'x' .* \(in .*mine\.toml\)",
            id="known by its value",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(folder: Path, text: str, base: str, message: str) -> None:
    write(folder / "mine.toml", text, base)
    with pytest.raises(RecipeError, match=message):
        Works(load(folder / "mine.toml"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param(("partition_rows = 4", "partition_row = 4"), r"ingest\.partition_row: unknown key", id="key"),
        pytest.param(("partition_rows = 4", "partition_rows = 'x'"), r"ingest\.partition_rows: given 'x'", id="type"),
        pytest.param(('name = "distill"', 'name = "distil"'), r"families\.distil: unknown family", id="family"),
        pytest.param(
            ('name = "distill"', 'name = "distill"\noptions = { max_token = 3 }'),
            r"families\.distill\.options\.max_token: unknown key",
            id="option",
        ),
        pytest.param(('models = ["m"]', 'models = ["n"]'), r"roles\.writer\.models: no such model", id="role"),
    ],
)
def test_a_wrong_value_of_the_base_is_told_with_the_base(folder: Path, wrong: tuple[str, str], message: str) -> None:
    base = folder / "base/recipe.toml"
    base.write_text(base.read_text().replace(*wrong))
    write(folder / "mine.toml", "[run]\nworkers = 3")
    with pytest.raises(RecipeError, match=rf"{message}.* \(in .*base/recipe\.toml\)"):
        Works(load(folder / "mine.toml"))
    with pytest.raises(RecipeError) as alone:
        Works(load(base))
    assert "(in " not in str(alone.value)


def test_a_loop_over_several_files_names_them_all(folder: Path) -> None:
    write(folder / "one.toml", "", "two.toml")
    write(folder / "two.toml", "", "three.toml")
    write(folder / "three.toml", "", "two.toml")
    with pytest.raises(RecipeError, match=r"two\.toml <- .*three\.toml <- .*two\.toml is a circle") as caught:
        load(folder / "one.toml")
    assert "one.toml" not in str(caught.value)


def test_plan_shows_the_chain_and_the_merged_recipe_which_is_a_recipe(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "mine.toml", 'name = "mine"\n[families.distill]\noptions = { max_tokens = 300 }')
    assert main(["plan", "mine.toml", "--home", "home"]) == 0
    assert "mine.toml, which extends base/recipe.toml" in capsys.readouterr().out
    assert main(["plan", "mine.toml", "--merged", "--set", "run.workers=3"]) == 0
    shown = capsys.readouterr().out
    assert 'model = "scripted" # base/recipe.toml' in shown and "workers = 3 # --set" in shown
    assert "max_tokens = 300\n" in shown  # the file's own values need no remark
    (folder / "whole.toml").write_text(shown)
    whole, parts = load(folder / "whole.toml"), load(folder / "mine.toml", ["run.workers=3"])
    assert whole.model_dump() == parts.model_dump()
    assert main(["plan", "mine.toml", "--home", "home", "--json"]) == 0
    value = orjson.loads(capsys.readouterr().out)
    assert value["extends"] == ["mine.toml", "base/recipe.toml"]
    assert value["merged"]["families"][1] == {"name": "distill", "options": {"max_tokens": 300}}


@pytest.mark.parametrize("name", sorted(bundled()))
def test_what_is_shown_of_a_bundled_recipe_is_the_same_recipe(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", name, "--merged"]) == 0
    (folder / "whole.toml").write_text(capsys.readouterr().out)
    assert tomllib.loads((folder / "whole.toml").read_text()) == read_recipe(Path(name)).value
    assert Works(load(folder / "whole.toml")).policy() == Works(load(Path(name))).policy()


def test_a_run_of_it_records_what_was_merged(folder: Path, scripted_server: ScriptedServer) -> None:
    write(folder / "mine.toml", f'[run.models.m]\nbase_url = "{scripted_server.base_url}"')
    assert main(["run", "mine.toml", "--home", "home", "--no-prefect"]) == 0
    assert len(shard_rows(folder / "home")) == 4
    (record,) = (orjson.loads(path.read_bytes()) for path in (folder / "home/runs").glob("*/run.json"))
    assert record["merged"]["run"]["models"]["m"]["base_url"] == scripted_server.base_url
    assert record["merged"]["families"][0]["name"] == "diverse_qa"


def test_a_file_wins_over_a_bundled_name(folder: Path) -> None:
    assert recipe_file(Path("quickstart")) == bundled()["quickstart"]
    (folder / "quickstart").write_text("")
    assert recipe_file(Path("quickstart")) == Path("quickstart")
    with pytest.raises(RecipeError, match=r"no such recipe: quickstart\.tml; did you mean 'quickstart'"):
        recipe_file(Path("quickstart.tml"))


tables = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
recipes = st.dictionaries(st.sampled_from("abc"), tables, max_size=3)


@given(recipes, recipes, recipes)
def test_merging_is_associative_idempotent_and_the_upper_file_is_in_it(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    def merged(*several: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for one in several:
            _merge(result, copy.deepcopy(one), "file", {}, ())
        return result

    assert merged(merged(first, second), third) == merged(first, second, third)
    assert merged(first, second, second) == merged(first, second)
    assert holds(merged(first, second), second)


def holds(whole: Any, part: Any) -> bool:
    """Whether all that `part` says stands in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and holds(whole[name], one) for name, one in part.items())
    return bool(whole == part)
