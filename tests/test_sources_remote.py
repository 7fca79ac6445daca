"""Seed files at an address: fetched once, again when they changed there, and what is said when they cannot be had."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import BUCKET, start_moto, use

from flows.cli import main
from synth.config import parse
from synth.errors import SourceError, WorldError
from synth.rows import seeds_from
from synth.sources import Source, files_waiting, read_source, source_files
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import passage, write_recipe


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "cache"))


@dataclass
class Web:
    """A web server: what it holds, what it was asked, and what it does wrong."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    gets: list[str] = field(default_factory=list)
    on_get: Callable[[], None] = lambda: None
    cut: bool = False
    status: int = 0


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            served.gets.append(self.path)
            served.on_get()
            data = served.files.get(self.path, b"")
            self._answer(data[: len(data) // 2] if served.cut else data)

        def _answer(self, body: bytes) -> None:
            data = served.files.get(self.path)
            self.send_response(served.status or (404 if data is None else 200))
            if data is not None:
                self.send_header("Content-Length", str(len(data)))
                if served.etags:
                    self.send_header("ETag", f'"{hash(data)}"')
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    server.server_close()


def source(*paths: str, kind: str = "jsonl", **fields: Any) -> Source:
    return parse(Source, {"id": "web", "kind": kind, "paths": list(paths), **fields})


def texts(of: Source, base: Path = Path("/nowhere")) -> list[str]:
    return [
        seed.text for file in source_files(of, base) for table in read_source(of, file) for seed in seeds_from(table)
    ]


def lines(*found: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in found)


def test_a_file_is_fetched_once_and_again_when_it_changed(web: Web) -> None:
    web.files["/a.jsonl.gz"] = gzip.compress(lines("one"))
    of = source(f"{web.url}/a.jsonl.gz")
    said: list[str] = []
    (file,) = source_files(of, Path("/nowhere"), say=said.append)
    assert said == [f"fetching {web.url}/a.jsonl.gz (0.0 MB)"]
    assert file.name == "a.jsonl.gz"
    assert texts(of) == ["one"] and len(web.gets) == 1
    assert json.loads((file.parent / "origin.json").read_text())["address"] == f"{web.url}/a.jsonl.gz"
    web.files["/a.jsonl.gz"] = gzip.compress(lines("two"))
    assert files_waiting(of) == [f"{web.url}/a.jsonl.gz"]
    assert texts(of) == ["two"] and len(web.gets) == 2
    assert files_waiting(of) == []


def test_without_a_version_the_size_tells_and_without_leave_nothing_is_fetched(web: Web) -> None:
    web.etags = False
    web.files["/a.jsonl"] = lines("one")
    of = source(f"{web.url}/a.jsonl")
    assert source_files(of, Path("/nowhere"), fetch=False) == [] and web.gets == []
    assert texts(of) == ["one"]
    web.files["/a.jsonl"] = lines("other")
    assert texts(of) == ["other"]


def test_a_question_mark_of_a_web_address_is_no_glob(web: Web) -> None:
    web.files["/a.jsonl?sig=x"] = lines("one")
    assert texts(source(f"{web.url}/a.jsonl?sig=x")) == ["one"]


def test_beside_local_files(web: Web, tmp_path: Path) -> None:
    (tmp_path / "here.jsonl").write_bytes(lines("here"))
    web.files["/there.jsonl"] = lines("there")
    assert sorted(texts(source("*.jsonl", f"{web.url}/there.jsonl"), tmp_path)) == ["here", "there"]


def test_a_file_that_breaks_off_or_changes_on_its_way_is_no_file(web: Web, tmp_path: Path) -> None:
    web.files["/a.jsonl"] = lines("one" * 1000)
    of = source(f"{web.url}/a.jsonl")
    web.cut = True
    with pytest.raises(WorldError, match=r"a\.jsonl (cannot be reached|broke off)"):
        texts(of)
    web.cut = False

    def change() -> None:
        web.files["/a.jsonl"] = lines("two" * 1000)

    web.on_get = change
    with pytest.raises(WorldError, match="changed while it was fetched"):
        texts(of)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert texts(of) == ["two" * 1000]


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        pytest.param("{web}/none.jsonl", SourceError, ["none.jsonl does not exist"], id="404"),
        pytest.param("http://127.0.0.1:9/x", WorldError, ["cannot be reached", "run again later"], id="refused"),
        pytest.param("gs://bucket/x.jsonl", SourceError, ["needs a package", "gcsfs"], id="no driver"),
        pytest.param("foo://bucket/x.jsonl", SourceError, ["cannot be opened", "foo"], id="no such protocol"),
        pytest.param("memory://none/*.jsonl", SourceError, ["matches no file"], id="glob of nothing"),
        pytest.param("memory://folder", SourceError, ["is a folder"], id="folder"),
    ],
)
def test_addresses_that_give_nothing(web: Web, path: str, kind: type[Exception], words: list[str]) -> None:
    fsspec.filesystem("memory").pipe("/folder/a.jsonl", b"{}")
    with pytest.raises(kind) as caught:
        texts(source(path.format(web=web.url)))
    assert [word for word in [*words, "do:"] if word not in str(caught.value)] == [], str(caught.value)


def test_a_server_that_fails_is_a_fault_of_the_world(web: Web) -> None:
    web.files["/a.jsonl"] = lines("one")
    web.status = 503
    with pytest.raises(WorldError, match="cannot be reached"):
        texts(source(f"{web.url}/a.jsonl"))


def test_globs_and_queries_in_memory(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(3):
        with memory.open(f"/part/{number}.parquet", "wb") as file:
            pq.write_table(pa.table({"body": [f"row {number}"], "score": [number]}), file)
    some = source("memory://part/[01].parquet", kind="parquet", columns={"text": "body"})
    assert sorted(texts(some)) == ["row 0", "row 1"]
    query = "SELECT string_agg(body, ', ' ORDER BY score) AS text FROM files WHERE score > 0"
    of = source("memory://part/*.parquet", kind="sql", query=query)
    (table,) = read_source(of, *source_files(of, tmp_path))
    assert table["text"].to_pylist() == ["row 1, row 2"]


def test_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    endpoint, stop = start_moto()
    use(monkeypatch, endpoint, tmp_path / "cache")
    fsspec.filesystem("s3").clear_instance_cache()
    try:
        s3 = fsspec.filesystem("s3")
        for name, text in (("a.jsonl", "one"), ("deep/b.jsonl", "two"), ("c.txt", "three")):
            s3.pipe(f"{BUCKET}/seeds/{name}", lines(text))
        of = source(f"s3://{BUCKET}/seeds/**/*.jsonl")
        assert sorted(texts(of)) == ["one", "two"]
        s3.pipe(f"{BUCKET}/seeds/a.jsonl", lines("ONE"))  # as long as before: only its ETag tells
        assert sorted(texts(of)) == ["ONE", "two"]
        with pytest.raises(SourceError, match="does not exist"):
            texts(source("s3://no-such-bucket/a.jsonl"))
    finally:
        stop()
        fsspec.filesystem("s3").clear_instance_cache()


def test_no_driver_is_loaded_for_local_paths(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines("one"))
    code = (
        "import sys; from pathlib import Path; from synth.config import parse; from synth.sources import *\n"
        "of = parse(Source, {'id': 'x', 'kind': 'jsonl', 'paths': ['*.jsonl']})\n"
        f"[table for file in source_files(of, Path({str(tmp_path)!r})) for table in read_source(of, file)]\n"
        "print([name for name in ('fsspec', 's3fs', 'aiohttp', 'duckdb', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


# Through the command line


def remote_recipe(folder: Path, web: Web, server: ScriptedServer) -> None:
    sources = f'[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["{web.url}/a.jsonl"]\nlicense = "CC0-1.0"'
    write_recipe(folder, server.base_url, sources=sources, families='[[families]]\nname = "distill"')


def test_plan_fetches_nothing_and_a_run_only_what_is_new(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    web: Web,
    scripted_server: ScriptedServer,
) -> None:
    monkeypatch.chdir(tmp_path)
    remote_recipe(tmp_path, web, scripted_server)
    seeds = [{"id": number, "text": passage(number)} for number in range(3)]
    web.files["/a.jsonl"] = b"".join(json.dumps(seed).encode() + b"\n" for seed in seeds[:2])
    assert main(["plan", "recipe.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new_seed_files"] == [f"{web.url}/a.jsonl"]
    assert web.gets == []
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    assert f"fetching {web.url}/a.jsonl" in capsys.readouterr().err
    assert main(["run", "recipe.toml", "--no-prefect"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert len(web.gets) == 1
    web.files["/a.jsonl"] += json.dumps(seeds[2]).encode() + b"\n"
    assert main(["run", "recipe.toml", "--no-prefect", "--json"]) == 0
    assert len(web.gets) == 2
    store = Store.open(tmp_path / "corpus")
    notes = [json.loads(store.read(f"{place}/manifest.json"))["counts"] for place in store.objects("objects/ingest")]
    assert sorted((one["kept"], one["notes"]["already_held"]) for one in notes) == [(1, 2), (2, 0)]
