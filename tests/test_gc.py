"""What nobody needs goes, and nothing else: released content, paid answers and open work outlive `synth gc`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from synth import releases
from synth.audit.sql import query
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import run_recipe, shard_files, shard_rows, write_recipe, write_seeds
from tests.test_pipeline import stopped_run

STRICT = ["--set", "audit.max_dropped_share=0.0", "--set", "audit.min_documents=1"]
SHORT = ["--set", 'keep.gates=[{column="words", min=95, reason="short"}]']
LONGER = ["--set", "families.distill.options.max_tokens=333"]
OTHER_ASKS = ["--set", "families.distill.options.max_tokens=444"]


def run(*arguments: str) -> int:
    return main(["run", "recipe.toml", "--no-prefect", *arguments])


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> Path:
    """Two releases of two policies, between them a run that a gate held back, with answers of its own."""
    folder = tmp_path_factory.mktemp("grown")
    write_seeds(folder / "seeds/a.jsonl", range(6))
    write_recipe(folder, scripted_server.base_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run() == 0
        assert run(*SHORT, *OTHER_ASKS, *STRICT) == 3
        assert run(*LONGER) == 0
    return folder


@pytest.fixture
def corpus(tmp_path: Path, grown: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; the folder is where commands are typed."""
    shutil.copytree(grown, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gc(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["gc", "--json", *arguments]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def counts(value: dict[str, Any]) -> dict[str, int]:
    return {group["what"]: group["count"] for group in value["groups"]}


def everything(folder: Path) -> dict[str, int]:
    return Store(folder / "corpus").files("")


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> int:
    """How many questions a run with these settings sends."""
    capsys.readouterr()
    code = run("--json", *arguments)
    value = json.loads(capsys.readouterr().out)
    assert code in (0, 3), value
    return int(value.get("asks", 0))


def test_by_default_it_only_says_what_would_go(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(corpus)
    value = gc(capsys)
    assert not value["removed"]
    # 2 partitions x 2 families were kept by other gates; what distill was asked otherwise was scored and signed, too
    assert counts(value) == {"keep": 4, "score": 2, "sign": 2, "resolve": 1, "shards": 1, "audit": 1}
    assert {one["why"]: one["objects"] for one in value["kept"]} == {
        "answers that are paid (--answers lets them go)": 2
    }
    assert everything(corpus) == before
    sizes = sum(size for path, size in before.items() if path.rpartition("/")[0] in value["paths"])
    assert value["bytes"] == sizes > 0
    assert main(["gc"]) == 0
    assert "to do it, give --yes" in capsys.readouterr().out


def test_what_is_released_and_what_is_paid_outlives_it(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, shards = everything(corpus), shard_files(corpus / "corpus")
    value = gc(capsys, "--yes")
    gone = before.keys() - everything(corpus).keys()
    assert {path.rpartition("/")[0] for path in gone} == set(value["paths"])
    assert gc(capsys, "--yes")["groups"] == []
    assert shard_files(corpus / "corpus") == shards
    assert run(*LONGER) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["audit"]) == 0
    for view in ("documents", "all_documents", "all_attempts", "all_rows", "costs"):
        assert query(corpus / "corpus", f"SELECT count(*) AS n FROM {view}").to_pylist()[0]["n"] > 0
    assert asked(capsys, *SHORT, *OTHER_ASKS, *STRICT) == 0  # its answers were kept
    assert asked(capsys, "--set", "keep.gates=[]") == 0


def test_answers_that_no_release_stands_on_go_when_asked(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert counts(gc(capsys, "--answers", "--yes"))["generate"] == 2
    assert main(["audit"]) == 0
    assert asked(capsys, "--set", "keep.gates=[]") == 0  # release 1 stands on these
    assert asked(capsys, *SHORT, *OTHER_ASKS, *STRICT) == 6


def test_while_a_gate_holds_a_run_back_its_work_is_kept(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SHORT, *OTHER_ASKS, *STRICT) == 3
    assert gc(capsys, "--answers", "--yes")["groups"] == []
    arguments = [*SHORT, *OTHER_ASKS, *STRICT]
    accept = ["--accept", "dropped_share", "--because", "meant"]
    assert main(["release", "recipe.toml", *accept, *arguments]) == 0


def test_open_journals_are_kept(
    tmp_path: Path, new_server: Callable[..., ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    path, asks = stopped_run(tmp_path, new_server("--latency-seconds", "0.2"))
    home = tmp_path / "home"
    (home / "scratch/score/1/2/3/out").mkdir(parents=True)
    (home / "scratch/score/1/2/3/out/scores.parquet").write_bytes(b"half")
    value = gc(capsys, "--yes", "--home", str(home))
    assert value["paths"] == ["scratch/score/1/2/3"]
    assert not (home / "scratch/score/1/2/3").exists()
    _, engine = run_recipe(path, home)
    assert engine.stats.attempts == 20 - asks


def test_what_was_half_published_goes(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gc(capsys, "--yes")
    half = corpus / "corpus/objects/keep/0000000000000000/qa/1111111111111111/drops.parquet"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    (corpus / "corpus/runs/never").mkdir()
    (corpus / "corpus/runs/never/status.json").write_bytes(b"{}")
    value = gc(capsys, "--yes")
    assert counts(value) == {"unpublished files": 1, "runs": 1}
    assert not (corpus / "corpus/objects/keep/0000000000000000").exists()
    assert not (corpus / "corpus/runs/never").exists()


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from flows.cli import main
left, unlink = [{after}], os.unlink
def counted(*arguments, **more):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    unlink(*arguments, **more)
os.unlink = counted
sys.exit(main(["gc", "--yes"]))
"""


@pytest.mark.parametrize("after", [0, 9, 20])
def test_killed_in_the_middle_nothing_that_counts_is_half_gone(
    corpus: Path, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = set(gc(capsys)["paths"])
    untouched = {path for path in everything(corpus) if path.startswith(("objects", "releases"))}
    untouched = {path for path in untouched if path.rpartition("/")[0] not in whole}
    command = [sys.executable, "-c", KILLED.format(root=str(ROOT), after=after)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    for view in ("documents", "all_documents", "all_drops"):  # whichever catalogue is there, it can be asked
        query(corpus / "corpus", f"SELECT count(*) FROM {view}")
    assert main(["audit"]) == 0
    gc(capsys, "--yes")
    left = {path for path in everything(corpus) if path.startswith(("objects", "releases"))}
    assert left == untouched
    assert run(*LONGER) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_dropping_old_releases(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Release 1 is of another policy: its file goes, and what only it stood on; its answers stay."""
    value = gc(capsys, "--drop-releases-before", "small:2", "--yes")
    assert counts(value)["releases"] == 1
    assert Store(corpus / "corpus").names("releases/small") == ["0002.json"]
    assert main(["audit"]) == 0
    assert query(corpus / "corpus", "SELECT count(*) AS n FROM releases").to_pylist() == [{"n": 1}]
    assert asked(capsys, "--set", "keep.gates=[]") == 0


def test_dropping_releases_removes_the_shards_that_a_retraction_replaced(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = corpus / "corpus"
    row = shard_rows(home)[0]
    assert main(["retract", "small", "--seed", row["seed_id"], "--because", "asked", "--yes"]) == 0
    old = {one["path"] for one in releases.load(Store(home), "small", 2).shards}
    new = {one["path"] for one in releases.load(Store(home), "small", 3).shards}
    assert not [path for path in gc(capsys, "--yes")["paths"] if path in old | new]  # releases are kept
    value = gc(capsys, "--drop-releases-before", "small:3", "--yes")
    assert counts(value)["replaced shards"] == len(old - new) > 0
    assert not any((home / path).exists() for path in old - new)
    assert all((home / path).exists() for path in new)
    assert Store(home).names("releases/small") == ["0002.json", "0003.json"]  # release 3 goes on from release 2
    capsys.readouterr()
    assert main(["audit"]) == 0
    assert row["doc_id"] not in {one["doc_id"] for one in shard_rows(home)}
    assert run(*LONGER) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert asked(capsys) == 0  # back to the first policy: without the seed, and without asking


WRONG = [
    (["--drop-releases-before", "smal:2"], "did you mean 'small'"),
    (["--drop-releases-before", "small:3"], "the newest release of 'small' is 2"),
    (["--drop-releases-before", "2"], "NAME:N"),
    (["--home", "elsewhere"], "not a home"),
]


def test_wrong_input_is_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in WRONG:
        assert main(["gc", "--yes", *arguments]) == 2
        assert words in capsys.readouterr().err
    with Store(corpus / "corpus").lock("another run"):
        assert main(["gc", "--yes"]) == 2
        assert main(["gc"]) == 0  # looking takes no lock
