"""A home: put-if-absent, publishing with the manifest last, the lock, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from synth.errors import HomeError, SpaceError
from synth.store import Store, writing


def test_create_is_put_if_absent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.create("a/b/one.json", b"1")
    assert not store.create("a/b/one.json", b"2")
    assert store.read("a/b/one.json") == b"1"
    assert store.names("tmp") == []


def test_an_object_without_manifest_does_not_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "data.parquet").write_bytes(b"data")
    (tmp_path / "objects/score/half").mkdir(parents=True)
    (tmp_path / "objects/score/half/data.parquet").write_bytes(b"da")
    assert store.objects("objects") == []
    assert store.publish("objects/score/half", folder, b"{}")
    assert store.objects("objects") == ["objects/score/half"]
    assert store.read("objects/score/half/data.parquet") == b"data"


def test_publishing_twice_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for content in (b"first", b"second"):
        folder = tmp_path / "scratch"
        folder.mkdir(exist_ok=True)
        (folder / "data").write_bytes(content)
        store.publish("objects/x/1", folder, b"{}")
    assert store.read("objects/x/1/data") == b"first"


def test_two_runs_on_one_home(tmp_path: Path) -> None:
    code = "import sys,time; from synth.store import Store; from pathlib import Path\n"
    code += "with Store(Path(sys.argv[1])).lock('synth run other.toml'): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    message = rf"(?s)in use by another run.*process {holder.pid}: synth run other\.toml.*another --home"
    try:
        with pytest.raises(HomeError, match=message), Store(tmp_path).lock("me"):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with Store(tmp_path).lock("me"):  # a killed run leaves no lock behind
        pass


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param(
            lambda home: (home / "home.json").write_bytes(orjson.dumps({"format_version": 99})),
            r"(?s)newer version.*format 99.*format up to 1.*upgrade synth",
            id="newer format",
        ),
        pytest.param(
            lambda home: (home / "thesis.tex").write_text("x"), r"(?s)not a home.*thesis\.tex.*--home", id="foreign"
        ),
        pytest.param(
            lambda home: (home / "home.json").write_text("{"), r"(?s)home\.json is not readable", id="torn mark"
        ),
    ],
)
def test_homes_that_are_refused(tmp_path: Path, prepare: object, message: str) -> None:
    prepare(tmp_path)  # type: ignore[operator]
    with pytest.raises(HomeError, match=message):
        Store.open(tmp_path)


def test_a_file_as_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HomeError, match="is a file"):
        Store.open(tmp_path / "file")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    refused = pytest.raises(SpaceError, match=r"(?s)no space left.*the same command again")
    with refused, writing(tmp_path / "x"), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
