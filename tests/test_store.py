"""A home: put-if-absent, publishing with the manifest last, the lock, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from synth.digest import file_sha256
from synth.errors import HomeError, SpaceError
from synth.store import Store, writing


def files_of(folder: Path, **contents: bytes) -> Path:
    """A scratch folder with these files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


def manifest_of(folder: Path) -> bytes:
    """What the store needs to know of the files of an object."""
    files = {one.name: {"sha256": file_sha256(one), "bytes": one.stat().st_size} for one in folder.iterdir()}
    return orjson.dumps({"files": files})


def test_create_is_put_if_absent(any_home: str) -> None:
    store = Store.open(any_home)
    assert store.create("a/b/one.json", b"1")
    assert not store.create("a/b/one.json", b"2")
    assert store.read("a/b/one.json") == b"1"
    assert store.names("a/b") == ["one.json"]
    assert store.names("tmp") == []


def test_replace_writes_over(any_home: str) -> None:
    store = Store.open(any_home)
    for data in (b"1", b"22"):
        store.replace("runs/x/run.json", data)
        assert store.read("runs/x/run.json") == data
        assert store.local("runs/x/run.json").read_bytes() == data
    assert store.names("runs") == ["x"]
    written = store.modified_at("runs/x/run.json")
    assert written is not None and abs(written - time.time()) < 60
    assert store.modified_at("runs/y/run.json") is None


def test_what_is_not_there(any_home: str) -> None:
    store = Store.open(any_home)
    assert not store.exists("a/b")
    assert store.names("a") == store.objects("a") == []
    assert store.files("a") == store.manifests("a") == {}
    assert not store.local("objects/x/1/data").exists()
    assert not store.local("a/b").exists()
    store.remove("a/b")
    with pytest.raises(FileNotFoundError):
        store.read("a/b")


def test_an_object_without_manifest_does_not_exist(any_home: str, tmp_path: Path) -> None:
    store = Store.open(any_home)
    store.replace("objects/score/half/data.parquet", b"da")  # left by a run that died
    assert store.objects("objects") == []
    folder = files_of(tmp_path / "scratch", data=b"data")
    manifest = manifest_of(folder)
    assert store.publish("objects/score/half", folder, manifest)
    assert store.objects("objects") == store.objects("objects/score") == ["objects/score/half"]
    assert store.exists("objects/score/half/manifest.json")
    assert store.read("objects/score/half/data") == b"data"
    assert store.local("objects/score/half/data").read_bytes() == b"data"
    assert store.manifests("objects") == {"objects/score/half": manifest}


def test_what_a_dead_run_left_is_written_over(any_home: str, tmp_path: Path) -> None:
    store = Store.open(any_home)
    store.replace("objects/x/1/data", b"other bytes")
    folder = files_of(tmp_path / "scratch", data=b"data")
    assert store.publish("objects/x/1", folder, manifest_of(folder))
    assert store.read("objects/x/1/data") == b"data"


def test_publishing_twice_changes_nothing(any_home: str, tmp_path: Path) -> None:
    store = Store.open(any_home)
    done = []
    for content in (b"first", b"second"):
        folder = files_of(tmp_path / "scratch", data=content)
        done.append(store.publish("objects/x/1", folder, manifest_of(folder)))
    assert done == [True, False]
    assert store.read("objects/x/1/data") == b"first"
    assert store.local("objects/x/1/data").read_bytes() == b"first"


def test_an_object_is_removed_with_its_manifest_first(any_home: str, tmp_path: Path) -> None:
    store = Store.open(any_home)
    for place in ("objects/x/1", "objects/x/2"):
        folder = files_of(tmp_path / "scratch", data=b"data", more=b"more")
        store.publish(place, folder, manifest_of(folder))
    store.remove("objects/x/1")
    assert store.objects("objects") == ["objects/x/2"]
    assert not store.exists("objects/x/1/manifest.json")
    assert sorted(store.files("objects")) == [f"objects/x/2/{name}" for name in ("data", "manifest.json", "more")]
    assert store.files("objects")["objects/x/2/data"] == 4
    assert not store.local("objects/x/1/data").exists()
    store.remove("objects/x/2")
    assert store.names("objects") == []


def test_a_home_is_found_again(any_home: str) -> None:
    made = Store.open(any_home)
    assert Store.open(any_home).read("home.json") == made.read("home.json")
    assert Store.at(made.root).name == made.name == any_home  # by its mirror, too


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


@pytest.mark.parametrize(
    "home", ["gs://bucket/x", "s3:bucket", "s3a://bucket/x", "https://b.s3.amazonaws.com/x", "file:///x"]
)
def test_homes_that_are_neither_a_folder_nor_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (home, Path(home)):
        with pytest.raises(HomeError, match=r"(?s)neither a folder nor on S3.*s3://BUCKET/PREFIX"):
            Store.open(given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_colon_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.open("./a:b").create("x", b"1")
    assert (tmp_path / "a:b/x").read_bytes() == b"1"


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    refused = pytest.raises(SpaceError, match=r"(?s)no space left.*the same command again")
    with refused, writing(tmp_path / "x"), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
