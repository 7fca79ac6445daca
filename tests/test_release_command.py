"""`synth release`: what a gate held back, released with a reason, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.acceptance import Failure, acceptances
from flows.cli import main
from synth import releases
from synth.audit.sql import query
from synth.errors import UserError
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, shard_rows, write_recipe, write_seeds

BECAUSE = ["--because", "the seeds are refusals on purpose"]


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """A home whose run a gate held back: too many documents of each family were dropped. Its server is asked no more."""
    folder = tmp_path_factory.mktemp("refused")
    marked = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(30)}
    write_recipe(folder, scripted_server.base_url, ingest="[ingest]\npartition_rows = 50")
    write_seeds(folder / "seeds/a.jsonl", range(31), **marked)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "recipe.toml", "--no-prefect"]) == 3
    write_recipe(folder, "http://127.0.0.1:9/v1", ingest="[ingest]\npartition_rows = 50")
    return folder


@pytest.fixture
def corpus(tmp_path: Path, refused: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the folder is where commands are typed."""
    shutil.copytree(refused, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def release(*arguments: str) -> int:
    return main(["release", "recipe.toml", *arguments])


def newest(folder: Path) -> releases.Release | None:
    return releases.newest(Store(folder / "corpus"), "small")


def test_alone_it_lists_what_failed_with_evidence(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release() == 3
    printed = capsys.readouterr().err
    assert "dropped_share: 2 violations" in printed
    assert '"family":"distill"' in printed
    assert "synth release recipe.toml --accept dropped_share --because" in printed
    assert newest(corpus) is None


def test_an_accepted_gate_makes_a_release_that_says_so(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release("--accept", "dropped_share", *BECAUSE) == 0
    assert "accepted: dropped_share (2 violations), because the seeds are refusals" in capsys.readouterr().out
    made = newest(corpus)
    assert made is not None
    (entry,) = made.accepted
    assert (entry["check"], entry["violations"], entry["because"]) == ("dropped_share", 2, BECAUSE[1])
    assert entry["at"].startswith("20")
    assert {row["family"] for row in shard_rows(corpus / "corpus")} == {"distill", "diverse_qa"}
    (row,) = query(corpus / "corpus", "SELECT * FROM accepted").to_pylist()
    assert (row["gate"], row["release"], row["because"], row["current"]) == ("dropped_share", 1, BECAUSE[1], True)
    (run,) = query(corpus / "corpus", "SELECT outcome FROM runs WHERE release = 1").to_pylist()
    assert run == {"outcome": "released"}


def test_the_audit_shows_it_and_passes(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release("--accept", "dropped_share", *BECAUSE)
    capsys.readouterr()
    assert main(["audit"]) == 0
    assert "2 (accepted: the seeds are refusals on purpose)" in capsys.readouterr().out
    assert main(["audit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == {"dropped_share": BECAUSE[1]}


def test_it_holds_for_that_release_alone(
    corpus: Path, scripted_server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    release("--accept", "dropped_share", *BECAUSE)
    more = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(40, 70)}
    write_seeds(corpus / "seeds/b.jsonl", range(40, 71), **more)
    write_recipe(corpus, scripted_server.base_url, ingest="[ingest]\npartition_rows = 50")
    assert main(["run", "recipe.toml", "--no-prefect"]) == 3
    made = newest(corpus)
    assert made is not None
    assert made.number == 1
    capsys.readouterr()
    assert release("--accept", "dropped_share", *BECAUSE, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["release"], value["pending_partitions"]) == (2, 0)


def test_a_gate_holds_up_no_retraction(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What has to go goes; that the gate still fails is recorded."""
    release("--accept", "dropped_share", *BECAUSE)
    seed = shard_rows(corpus / "corpus")[0]["seed_id"]
    assert main(["retract", "small", "--seed", seed, "--because", "asked", "--yes"]) == 0
    made = newest(corpus)
    assert made is not None
    assert [(one["check"], one["because"]) for one in made.accepted] == [("dropped_share", "retraction: asked")]
    assert main(["audit"]) == 0


def test_with_a_limit_that_was_moved_it_releases(corpus: Path) -> None:
    assert release("--set", "audit.max_dropped_share=1.0") == 0
    made = newest(corpus)
    assert made is not None
    assert made.accepted == []


WRONG: list[tuple[list[str], str]] = [
    (["--accept", "dropped_shar", *BECAUSE], "did you mean 'dropped_share'"),
    (["--accept", "license_known", *BECAUSE], "license_known did not fail"),
    (["--accept", "dropped_share"], "--accept wants --because"),
    (["--accept", "dropped_share", "--because", "  "], "--because is empty"),
    (BECAUSE, "--because wants --accept"),
    (["--set", "families.distill.options.max_tokens=333"], "synth run recipe.toml"),
    (["--home", "elsewhere"], "not a home"),
]


def test_wrong_input_is_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in WRONG:
        assert release(*arguments) == 2, arguments
        assert words in capsys.readouterr().err
    assert newest(corpus) is None
    release("--accept", "dropped_share", *BECAUSE)
    assert release() == 2
    assert "nothing waits to be released" in capsys.readouterr().err


def test_a_contradiction_is_never_accepted() -> None:
    def failed(check: str, severity: str) -> Failure:
        return Failure(check, "t", severity, 1, ())

    every: list[Any] = [failed("document_ids_unique", "integrity"), failed("dropped_share", "gate")]
    with pytest.raises(UserError, match=r"(?s)cannot be accepted.*dropped_share"):
        acceptances(every, ["document_ids_unique"], "why")
    assert [one["check"] for one in acceptances(every, ["dropped_share", "dropped_share"], "why")] == ["dropped_share"]
