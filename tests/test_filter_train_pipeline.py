"""A quality model in the pipeline: trained once, pinned for the policy, an input of score; and what plan and preview say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.cli import main
from flows.commands.plan import plan
from flows.preview import preview_recipe
from flows.recipe import load
from flows.session import Session
from flows.works import Works
from synth import rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import query
from synth.digest import file_sha256
from synth.errors import RecipeError, UserError
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import passage, run_recipe, write_recipe, write_seeds

DAMAGE = 'damage = ["scramble"]'
TRAINING = "training = { dim = 8, bucket = 2000, epochs = 10, lr = 0.5 }"
CLOSED = "http://127.0.0.1:9/v1"


def recipe(folder: Path, base_url: str, quality: str = f"[quality]\n{DAMAGE}\n{TRAINING}", **blocks: str) -> Path:
    families = '[[families]]\nname = "distill"'
    return write_recipe(
        folder,
        base_url,
        **{"families": families, "ingest": "[ingest]\npartition_rows = 25", "quality": quality, **blocks},
    )


@pytest.fixture
def corpus(tmp_path: Path, scripted_server: ScriptedServer) -> Path:
    """Sixty seeds in three partitions, and a recipe that trains on them."""
    write_seeds(tmp_path / "seeds/a.jsonl", range(60))
    recipe(tmp_path, scripted_server.base_url)
    return tmp_path


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """The same with a release, made once."""
    folder = tmp_path_factory.mktemp("first")
    write_seeds(folder / "seeds/a.jsonl", range(60))
    recipe(folder, scripted_server.base_url)
    run(folder)
    return folder


@pytest.fixture
def released(first_run: Path, tmp_path: Path) -> Path:
    """A copy of it to go on with."""
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder: Path, *assignments: str) -> tuple[list[Any], Any]:
    return run_recipe(folder / "recipe.toml", folder / "home", assignments)


def objects(folder: Path, step: str) -> set[str]:
    return set(Store(folder / "home").objects(f"objects/{step}"))


def planned(folder: Path, *assignments: str) -> Any:
    return plan(Session.open(load(folder / "recipe.toml", assignments), folder, Store(folder / "home")))["steps"]


def test_trained_once_and_pinned(released: Path) -> None:
    corpus = released
    (model,) = objects(corpus, "train")
    again, engine = run(corpus)
    assert (again, engine.stats.attempts) == ([], 0)
    write_seeds(corpus / "seeds/b.jsonl", range(60, 70))
    (second,), engine = run(corpus)
    assert (engine.stats.attempts, second.continues) == (10, 1)
    assert list(second.objects["train"]) == [model] and objects(corpus, "train") == {model}
    digests = {
        orjson.loads((corpus / "home" / place / "manifest.json").read_bytes())["inputs"]["model"]
        for place in objects(corpus, "score")
    }
    assert digests == {file_sha256(corpus / "home" / model / "model.bin")}


def test_another_setting_trains_and_scores_again_and_asks_nobody(released: Path) -> None:
    corpus = released
    before = {step: objects(corpus, step) for step in ("screen", "generate", "train", "score", "sign")}
    change = "quality.training.epochs=11"
    assert planned(corpus, change)["train"] == {"done": 0, "to_do": 1, "answered_before": 0}
    assert planned(corpus, change)["score"]["to_do"] == 3
    (release,), engine = run(corpus, change)
    assert engine.stats.attempts == 0
    assert not engine.models["m"].keepers  # nothing was started
    assert release.continues is None
    changed = {step for step in before if objects(corpus, step) != before[step]}
    assert changed == {"train", "score"}
    assert planned(corpus)["train"]["done"] == 1  # and back: the first model is still there


def test_another_threshold_trains_nothing(released: Path) -> None:
    corpus = released
    before = {step: objects(corpus, step) for step in ("train", "score")}
    gate = 'keep.more_gates=[{column="quality_score", min=0.999, reason="low_quality_score"}]'
    (release,), _ = run(corpus, gate, "audit.max_dropped_share=1.0")
    assert {step: objects(corpus, step) for step in before} == before
    (keep, *_) = release.objects["keep"]
    assert set(rows.read_table(corpus / "home" / keep / "drops.parquet")["reason"].to_pylist()) == {"low_quality_score"}


def test_waves_share_the_model_of_the_first_cut(corpus: Path) -> None:
    made, _ = run(corpus, "run.wave_partitions=1")
    assert len(made) == 3
    assert len({place for release in made for place in release.objects["train"]}) == 1
    assert main(["audit", "--home", str(corpus / "home")]) == 0


def test_how_seeds_are_cut_changes_no_byte_of_it(first_run: Path, corpus: Path) -> None:
    assert trained_alone(corpus, "ingest.partition_rows=13") == trained_alone(first_run)


def trained_alone(folder: Path, *assignments: str) -> tuple[str, str]:
    """Digests of the model and its card, made without asking anybody."""
    session = Session.open(load(folder / "recipe.toml", assignments), folder, Store.open(folder / "home"))
    session.ingest()
    trained = session.trained()
    assert trained is not None
    return trained.file("model.bin").sha256, trained.file("card.json").sha256


def test_what_it_is_trained_on(corpus: Path) -> None:
    """Seeds that the screen drops, and copies with a planted instruction, are no good texts."""
    write_seeds(corpus / "seeds/a.jsonl", range(60), s7="too short")
    trained_alone(corpus, "ingest.canary_share=0.2")
    card = card_of(corpus)
    assert card["data"]["train"]["roots"] + card["data"]["held_out"]["roots"] == 59
    assert card["data"]["train"]["by_source"].keys() == {"texts"}


def test_only_so_many_partitions_are_read(corpus: Path) -> None:
    trained_alone(corpus, "quality.partitions=2", "quality.training.held_out_share=0.3")
    (place,) = objects(corpus, "train")
    manifest = orjson.loads((corpus / "home" / place / "manifest.json").read_bytes())
    read = {name for name in manifest["inputs"] if name.startswith("seeds/")}
    cut = Session.open(load(corpus / "recipe.toml"), corpus, Store(corpus / "home")).partitions()
    assert len(cut) == 3
    assert read == {f"seeds/{file.sha256[:16]}" for file in cut[:2]}


def card_of(folder: Path) -> Any:
    (place,) = objects(folder, "train")
    return orjson.loads((folder / "home" / place / "card.json").read_bytes())


def test_files_of_good_and_bad_texts(corpus: Path, scripted_server: ScriptedServer) -> None:
    good = [passage(number) for number in range(200)]
    bad = [" ".join(sorted(text.split())) for text in good]
    for name, texts in (("good", good), ("bad", bad)):
        (corpus / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": one, "at": str(at)}) + "\n" for at, one in enumerate(texts))
        )
    quality = f'[quality]\npositives = ["good.jsonl"]\nnegatives = ["bad.jsonl"]\nroot = "at"\n{TRAINING}'
    recipe(corpus, scripted_server.base_url, quality)
    trained_alone(corpus)
    card = card_of(corpus)
    assert card["data"]["files"][0]["sha256"] == file_sha256(corpus / "good.jsonl")
    assert card["data"]["train"]["roots"] + card["data"]["held_out"]["roots"] == 200
    before = Works(load(corpus / "recipe.toml")).policy()
    with (corpus / "bad.jsonl").open("a") as file:
        file.write('{"text": "one more", "at": "x"}\n')
    assert Works(load(corpus / "recipe.toml")).policy() != before  # files are known by their bytes


def test_its_card_in_sql_and_in_the_audit(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place,) = objects(released, "train")
    build_catalog(released / "home")
    (row,) = query(released / "home", "SELECT * FROM quality_card WHERE name = 'held_out.model.auc'").to_pylist()
    assert (row["value"], row["recipe"], row["release"]) == (card_of(released)["held_out"]["model"]["auc"], "small", 1)
    assert query(released / "home", "SELECT count(quality_score) AS n FROM scores").to_pylist() == [{"n": 60}]
    assert main(["audit", "--home", str(released / "home")]) == 0
    (released / "home" / place / "model.bin").write_bytes(b"another")
    assert main(["audit", "--home", str(released / "home")]) == 1
    assert "model.bin is not what its manifest says" in capsys.readouterr().err


def test_the_closing_table_names_it_and_its_worth(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(corpus / "home")
    assert main(["plan", str(corpus / "recipe.toml"), "--home", home, "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["steps"]["train"] == {"done": 0, "to_do": 0, "answered_before": 0}
    assert main(["run", str(corpus / "recipe.toml"), "--no-prefect", "--home", home]) == 0
    (place,) = objects(corpus, "train")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("quality model")]
    assert line.endswith(f"({home}/{place}/card.md)")
    auc = {name: card_of(corpus)["held_out"][name]["auc"] for name in ("model", "length", "unigrams")}
    assert (
        "AUC {model:.2f} on held-out roots; length alone {length:.2f}, words alone {unigrams:.2f}".format(**auc) in line
    )


def test_the_quickstarts_model_is_worth_what_its_recipe_says(tmp_path: Path) -> None:
    path = ROOT / "flows/recipes/quickstart.toml"
    session = Session.open(load(path), path.parent, Store.open(tmp_path / "home"))
    session.ingest()
    trained = session.trained()
    assert trained is not None
    figures = card_of(tmp_path)["held_out"]
    assert figures["model"]["auc"] > 0.9 and figures["model"]["auc_low"] > 0.85
    assert figures["length"]["auc"] == figures["unigrams"]["auc"] == 0.5
    assert sum(one["bytes"] for one in trained.files.values()) < 2_000_000
    assert "quality_score" not in {
        gate.column for gate in load(path).keep.chosen()
    }  # a label: it cannot know what is true


def test_too_few_seeds_are_told_before_a_model_is_asked(tmp_path: Path, scripted_server: ScriptedServer) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(3))
    recipe(tmp_path, scripted_server.base_url)
    asked = len(scripted_server.entries())
    with pytest.raises(UserError, match="too few texts for a quality model"):
        run(tmp_path)
    assert len(scripted_server.entries()) == asked


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        ("[quality]", r"either damage"),
        (f'[quality]\n{DAMAGE}\npositives = ["a"]\nnegatives = ["b"]', "either damage"),
        ('[quality]\npositives = ["a.jsonl"]', "files of both"),
        ('[quality]\ndamage = ["scrambled"]', r"quality\.damage"),
        (
            '[quality]\npositives = ["none.jsonl"]\nnegatives = ["none.jsonl"]',
            r"quality\.positives: no such file: .*none\.jsonl",
        ),
        (f"[quality]\n{DAMAGE}\nwindows = [0]", "at least one sentence"),
        (f"[quality]\n{DAMAGE}\ntraining = {{ dims = 3 }}", "did you mean 'dim'"),
    ],
    ids=["neither", "both", "one-side", "kind", "file", "window", "setting"],
)
def test_wrong_recipes(tmp_path: Path, quality: str, words: str) -> None:
    recipe(tmp_path, CLOSED, quality)
    with pytest.raises(RecipeError, match=words):
        Works(load(tmp_path / "recipe.toml"))


def test_two_quality_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "q.bin").write_bytes(b"x")
    rule = f'{{ name = "quality", options = {{ path = "./q.bin", sha256 = "{file_sha256(tmp_path / "q.bin")}" }} }}'
    recipe(tmp_path, CLOSED, score=f"[score]\nmore_rules = [{rule}]")
    with pytest.raises(RecipeError, match="two quality models"):
        Works(load(tmp_path / "recipe.toml"))


def test_texts_in_files_are_not_judged_by_a_model_that_a_run_would_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_seeds(tmp_path / "seeds/a.jsonl", range(3))
    told = [
        "filter",
        str(tmp_path / "seeds/a.jsonl"),
        "--recipe",
        str(recipe(tmp_path, CLOSED)),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*told, "--as", "documents"]) == 0
    assert "[quality] is left out" in capsys.readouterr().err
    assert "quality_score" not in rows.read_table(tmp_path / "o/scores.parquet").column_names
    assert main([*told, "--as", "seeds"]) == 0


def test_a_preview_trains_nothing_and_has_no_gate_on_it(tmp_path: Path) -> None:
    gate = 'more_gates = [{ column = "quality_score", min = 0.5, reason = "low" }, { column = "words", min = 3, reason = "few" }]'
    recipe(tmp_path, CLOSED, keep=f"[keep]\n{gate}")
    shown = preview_recipe(load(tmp_path / "recipe.toml"))
    Works(shown)
    assert shown.quality is None
    assert [one.column for one in shown.keep.more_gates] == ["words"]
