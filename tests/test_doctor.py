"""`synth doctor`: every check is ok where all is well, and says what is wrong and what to do where a fault is planted."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import resource
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from flows import doctor, doctor_home, doctor_machine, doctor_packages, doctor_recipe
from flows.cli import main
from flows.doctor import Check, Line, Patient
from flows.recipe import load
from synth import weights
from synth.engine import outside
from synth.errors import UserError, fail
from synth.store import Store
from tests.corpora import write_recipe, write_seeds

CLOSED = "http://127.0.0.1:9/v1"
SCRIPTED = {"models": '[models.m]\nbackend = "scripted"', "run": "[run]"}


def line_of(check: Check, patient: Patient, name: str | None = None) -> Line:
    """The line of this name, or the only one."""
    found = [line for line in doctor.examine(patient, [("check", check)]) if name in (None, line.name)]
    assert len(found) == 1, found
    assert (found[0].do is None) == (found[0].state == "ok")  # whoever has something to do is told what
    return found[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Store.open(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def patient(home: Path) -> Patient:
    return Patient(home)


def with_recipe(folder: Path, network: bool = False, **blocks: str) -> Patient:
    """A patient with four seeds and a recipe."""
    write_seeds(folder / "seeds/a.jsonl", range(4))
    path = write_recipe(folder, CLOSED, **blocks)
    return Patient(folder / "home", load(path), folder, network)


def plant_distribution(folder: Path, name: str, version: str, module: str | None = None) -> None:
    """The metadata of an installed distribution that owns a module."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{module or name}\n")


# --- Python and packages


def test_this_python_and_its_packages_are_right(patient: Patient) -> None:
    assert line_of(doctor_packages.python, patient).state == "ok"
    assert line_of(doctor_packages.packages, patient).state == "ok"
    assert {line.state for line in doctor_packages.floors(patient)} == {"ok"}


def test_an_old_python(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_packages.platform, "python_version", lambda: "3.10.2")
    line = line_of(doctor_packages.python, patient)
    assert line.state == "broken" and ">=3.11" in str(line.do)


def test_packages_that_are_missing_or_of_another_version(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=99", "no-such-package>=1", 'no-such-extra>=1; extra == "x"', "orjson>=3"]
    monkeypatch.setattr(doctor_packages.metadata, "requires", lambda name: wanted)
    line = line_of(doctor_packages.packages, patient)
    assert line.state == "broken"
    assert ">=99" in line.found and "no-such-package is missing" in line.found and "no-such-extra" not in line.found


def test_versions_with_known_holes(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "planted"
    (planted / "vllm").mkdir(parents=True)
    (planted / "vllm/__init__.py").touch()
    for name, version in (("torch", "2.6.0+cpu"), ("ray", "2.54.1"), ("vllm", "0.13.9")):
        plant_distribution(planted, name, version)
    monkeypatch.syspath_prepend(str(planted))
    found = {line.name: line for line in doctor_packages.floors(patient)}
    assert found["torch version"].state == "broken" and "CVE-2026-24747" in found["torch version"].found
    assert found["vllm version"].state == "broken" and "CVE-2026-22807" in found["vllm version"].found
    assert found["ray version"].state == "ok"


def test_fasttext_trains_and_predicts(patient: Patient) -> None:
    line = line_of(doctor_packages.fasttext, patient)
    assert line.state == "ok" and "k=2 scores are right" in line.found


def test_two_distributions_that_own_fasttext(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_distribution(tmp_path / "planted", "fasttext-wheel", "0.9.2", "fasttext")
    monkeypatch.syspath_prepend(str(tmp_path / "planted"))
    line = line_of(doctor_packages.fasttext, patient)
    assert line.state == "broken" and "fasttext-wheel" in line.found
    assert str(line.do).startswith("pip uninstall -y fasttext-wheel")


FORK = """
import os
class Model:
    def predict(self, text, k): return {predicted}
    def save_model(self, path): open(path, "wb").write({saved})
def train_supervised(**settings): {train}
def load_model(path): return Model()
"""
LABELS = '("__label__hq", "__label__lq")'
FORKS = [
    ({"predicted": f"{LABELS}, (0.823, 0.823)"}, "do not add up to 1"),
    ({"predicted": f"{LABELS}, (float('nan'), 0.5)"}, "do not add up to 1"),
    ({"predicted": '("__label__hq",), (1.0,)'}, "two labels were asked for"),
    ({"predicted": f"{LABELS}, (0.7, 0.3)"}, "is taken for 'hq'"),
    ({"saved": "os.urandom(9)", "predicted": f"{LABELS}, (0.7, 0.3)"}, "two different models"),
    ({"train": 'raise RuntimeError("Encountered NaN.")'}, "Encountered NaN"),
    ({"train": "os.abort()"}, "it ended with -6"),
]


@pytest.mark.parametrize(("fault", "said"), FORKS, ids=[said for _, said in FORKS])
def test_a_fork_that_lies_or_crashes(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, str], said: str
) -> None:
    """The self-test's children find another module `fasttext` than the one that the metadata names."""
    whole = {"predicted": f"{LABELS}, (0.7, 0.3)", "saved": 'b"same"', "train": "return Model()"} | fault
    (tmp_path / "fork").mkdir()
    (tmp_path / "fork/fasttext.py").write_text(FORK.format(**whole))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fork"))
    line = line_of(doctor_packages.fasttext, patient)
    assert line.state == "broken" and said in line.found


def test_model_files_whole_missing_and_damaged(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "cache"))
    data = {"whole": b"whole", "damaged": b"as published", "missing": b"not here"}
    known = {}
    for name, content in data.items():
        sha256 = hashlib.sha256(content).hexdigest()
        known[name] = replace(weights.KNOWN["lid.176.ftz"], name=name, sha256=sha256, size_bytes=len(content))
    monkeypatch.setattr(weights, "KNOWN", known)
    for name in ("whole", "damaged"):
        path = weights._cached(known[name])
        path.parent.mkdir(parents=True)
        path.write_bytes(b"whole" if name == "whole" else b"something else")
    found = [(line.state, line.found) for line in doctor_packages.model_files(patient)]
    assert [state for state, _ in found] == ["broken", "ok", "ok"]
    assert found[0][1].startswith("damaged: ") and found[1][1].endswith(": whole") and found[2][1].endswith(": missing")


def test_compiled_code_that_cannot_be_kept(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert "not compiled yet" in line_of(doctor_packages.kernels, patient).found
    monkeypatch.setattr(doctor_packages.os, "access", lambda path, mode: False)
    line = line_of(doctor_packages.kernels, patient)
    assert line.state == "warning" and str(tmp_path / "numba") in line.found


@pytest.fixture
def web() -> Iterator[str]:
    """A server that answers /api/health and /v1/models."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in ("/api/health", "/v1/models")
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_prefects_server(home: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor_packages.prefect
    assert "temporary server" in line_of(check, Patient(home)).found
    monkeypatch.setenv("PREFECT_API_URL", "http://me:secret@127.0.0.1:9/api")
    unasked = line_of(check, Patient(home))
    assert unasked.state == "ok" and "not asked" in unasked.found and "secret" not in unasked.found
    asked = line_of(check, Patient(home, network=True))
    assert asked.state == "broken" and "secret" not in asked.found
    for path, state in (("/api", "ok"), ("/wrong", "broken")):
        monkeypatch.setenv("PREFECT_API_URL", web + path)
        assert line_of(check, Patient(home, network=True)).state == state


# --- the machine


def test_little_memory(patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line_of(doctor_machine.memory, patient).found
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 1000000 kB\n")
    monkeypatch.setattr(doctor_machine, "_MEMORY", tmp_path / "meminfo")
    line = line_of(doctor_machine.memory, patient)
    assert line.state == "warning" and "1.0 of 16.4 GB" in line.found


@pytest.fixture
def limits() -> Iterator[None]:
    """What a test lowers is raised again."""
    before = {which: resource.getrlimit(which) for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)}
    yield
    for which, pair in before.items():
        resource.setrlimit(which, pair)


def test_few_file_descriptors(tmp_path: Path, patient: Patient, limits: None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    line = line_of(doctor_machine.file_descriptors, patient)
    assert (line.state, line.do) == ("warning", "ulimit -n 1024")
    many = f'[run.models.m]\nbase_urls = ["{CLOSED}", "{CLOSED}"]\nin_flight = 2048'
    line = line_of(doctor_machine.file_descriptors, with_recipe(tmp_path, run=many))
    assert (line.state, line.do) == ("broken", "ulimit -n 4352")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8000, hard), hard))
    assert line_of(doctor_machine.file_descriptors, with_recipe(tmp_path, run=many)).state == "ok"


def test_few_processes(patient: Patient, limits: None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (500, hard))
    assert line_of(doctor_machine.processes, patient).state == "warning"


def test_a_clock_in_the_past(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line_of(doctor_machine.clock, patient).state == "ok"
    monkeypatch.setattr(doctor_machine, "_EARLIEST", doctor_machine.datetime(9000, 1, 1, tzinfo=doctor_machine.UTC))
    assert line_of(doctor_machine.clock, patient).state == "broken"


def plant_nvidia(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


TWO_GPUS = "echo 'NVIDIA H100, 81559 MiB, 4 MiB, 570.1'; echo 'NVIDIA H100, 81559 MiB, 0 MiB, 570.1'"


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, two, and a driver that does not work; against what a recipe's servers need."""
    vllm = {"models": '[models.m]\nbackend = "vllm"\nweights = "w"\nrevision = "1"', "run": "[run.models.m]\ngpus = 4"}
    wants_none, wants_four = with_recipe(tmp_path, **SCRIPTED), with_recipe(tmp_path, **vllm)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [line_of(doctor_machine.gpus, one).state for one in (wants_none, wants_four)] == ["ok", "broken"]
    monkeypatch.undo()
    plant_nvidia(tmp_path / "bin", monkeypatch, TWO_GPUS)
    here, too_few = (line_of(doctor_machine.gpus, one) for one in (wants_none, wants_four))
    assert here.state == "ok" and here.found.count("81559 MiB used, driver 570.1") == 2
    assert too_few.state == "broken" and "2 here, and the recipe's servers need 4" in too_few.found
    plant_nvidia(tmp_path / "bin", monkeypatch, "echo 'Driver/library version mismatch'; exit 18")
    line = line_of(doctor_machine.gpus, wants_none)
    assert line.state == "warning" and "18: Driver/library version mismatch" in line.found


# --- the home


def test_a_home_that_can_be_used(home: Path, tmp_path: Path) -> None:
    check = doctor_home.home_format
    assert "format 1" in line_of(check, Patient(home)).found
    (tmp_path / "empty").mkdir()
    for other in (tmp_path / "not-there", tmp_path / "empty"):
        assert line_of(check, Patient(other)).state == "ok"
    assert not (tmp_path / "not-there").exists()


def newer(folder: Path) -> None:
    (folder / "home.json").write_bytes(orjson.dumps({"format_version": 99}))


def torn(folder: Path) -> None:
    (folder / "home.json").write_bytes(b'{"format')


def foreign(folder: Path) -> None:
    (folder / "thesis.tex").touch()


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.touch()


@pytest.mark.parametrize(
    ("plant", "said"),
    [(newer, "has format 99"), (torn, "cannot be read"), (foreign, "thesis.tex"), (a_file, "is a file")],
)
def test_a_home_that_cannot_be_used(tmp_path: Path, plant: Any, said: str) -> None:
    (tmp_path / "home").mkdir()
    plant(tmp_path / "home")
    line = line_of(doctor_home.home_format, Patient(tmp_path / "home"))
    assert line.state == "broken" and said in line.found


def test_who_holds_a_home_and_what_was_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = doctor_home.home_lock
    assert line_of(check, Patient(home)).found == "free"
    with Store.open(home).lock("synth run x.toml"):
        assert line_of(check, Patient(home)).found == f"held by process {os.getpid()}: synth run x.toml"
    (home / "tmp").mkdir(exist_ok=True)
    (home / "tmp/half").write_bytes(bytes(100))
    monkeypatch.setattr(doctor_home, "LEFT_OVER_BYTES", 50)
    assert line_of(check, Patient(home)).state == "warning"


def test_open_partitions_are_counted(home: Path) -> None:
    assert list(doctor_home.open_work(Patient(home))) == []
    journal = home / "scratch/generate/p/f/k/journal.sqlite"
    journal.parent.mkdir(parents=True)
    journal.touch()
    assert "1 partitions are open" in line_of(doctor_home.open_work, Patient(home)).found


def test_a_catalogue_that_is_missing_or_old(home: Path) -> None:
    assert list(doctor_home.catalogue(Patient(home))) == []  # nothing is released
    release = home / "releases/small/0001.json"
    release.parent.mkdir(parents=True)
    release.touch()
    assert line_of(doctor_home.catalogue, Patient(home)).found == "missing"
    (home / "catalog.duckdb").touch()
    assert line_of(doctor_home.catalogue, Patient(home)).state == "ok"
    os.utime(home / "catalog.duckdb", (1, 1))
    assert line_of(doctor_home.catalogue, Patient(home)).state == "warning"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = with_recipe(tmp_path, **SCRIPTED)
    found = [line.state for line in doctor_home.disk(patient)]
    assert found[1:] == ["ok"]  # scratch lies on the same disk
    for free, state in ((1 << 40, "ok"), (1 << 30, "warning"), (1 << 20, "broken")):
        monkeypatch.setattr(doctor_home.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        assert line_of(doctor_home.disk, patient, "disk of home").state == state


def test_scratch_on_a_network_disk(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line_of(doctor_home.scratch_disk, Patient(home)).state == "ok"
    shared = tmp_path / "a shared disk"
    escaped = str(shared).replace(" ", "\\040")
    (tmp_path / "mounts").write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\n")
    shared.mkdir()
    monkeypatch.setattr(doctor_home, "_MOUNTS", tmp_path / "mounts")
    assert line_of(doctor_home.scratch_disk, Patient(shared / "home")).state == "broken"
    patient = with_recipe(tmp_path, models=SCRIPTED["models"], run=f'[run]\nscratch = "{tmp_path}/local"')
    assert line_of(doctor_home.scratch_disk, patient).state == "ok"


def test_a_file_system_without_hard_links(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(home.iterdir())
    assert line_of(doctor_home.links, Patient(home)).state == "ok"

    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(doctor_home.os, "link", refused)
    line = line_of(doctor_home.links, Patient(home))
    assert line.state == "broken" and "Operation not permitted (link)" in line.found
    assert sorted(home.iterdir()) == before


def test_a_home_on_s3_names_where_credentials_are_and_not_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor_home._AWS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    patient = Patient("s3://bucket/home")
    assert line_of(doctor_home.bucket, patient, "credentials").state == "warning"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-key")
    line = line_of(doctor_home.bucket, patient, "credentials")
    assert line.state == "ok" and "AWS_ACCESS_KEY_ID" in line.found and "planted-key" not in line.found
    assert "not asked" in line_of(doctor_home.bucket, patient, "bucket").found
    for check in (doctor_home.home_format, doctor_home.home_lock, doctor_home.catalogue, doctor_home.links):
        assert list(check(patient)) == []


# --- a recipe


def test_a_recipe_whose_parts_are_all_there(tmp_path: Path) -> None:
    patient = with_recipe(tmp_path, **SCRIPTED)
    lines = [line for check in doctor_recipe.CHECKS for line in check(patient)]
    assert {line.state for line in lines} == {"ok"}
    assert [line.name for line in lines] == ["recipe", "source texts", "model m", "price of m"]
    assert [line for check in doctor_recipe.CHECKS for line in check(Patient(tmp_path))] == []  # no recipe, no lines


def test_sources_that_are_missing_or_empty(tmp_path: Path) -> None:
    patient = with_recipe(tmp_path, **SCRIPTED)
    (tmp_path / "seeds/a.jsonl").write_bytes(b"")
    assert "are empty" in line_of(doctor_recipe.sources, patient).found
    (tmp_path / "seeds/a.jsonl").unlink()
    assert line_of(doctor_recipe.sources, patient).state == "broken"


def model_line(patient: Patient, name: str = "model m") -> Line:
    return line_of(doctor_recipe.models, patient, name)


def test_endpoints_are_asked_only_when_wanted(tmp_path: Path, web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_FIRST_PAUSE_SECONDS", 0.0)
    assert "was not asked" in model_line(with_recipe(tmp_path)).found
    assert model_line(with_recipe(tmp_path, network=True)).state == "broken"
    answers = f'[run.models.m]\nbase_urls = ["{web}/v1", "{web}/v2"]'
    patient = with_recipe(tmp_path, network=True, run=answers)
    assert model_line(patient, "model m/0").state == "ok"
    wrong = model_line(patient, "model m/1")
    assert wrong.state == "broken" and "no such page (HTTP 404)" in wrong.found


def test_keys_ports_and_files_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed = f'[run.models.m]\nbase_url = "{CLOSED}"\napi_key_env = "MODEL_KEY"'
    missing = model_line(with_recipe(tmp_path, run=keyed))
    assert missing.state == "broken" and "MODEL_KEY is not set" in missing.found
    monkeypatch.setenv("MODEL_KEY", "planted-secret")
    given = model_line(with_recipe(tmp_path, run=keyed))
    assert given.state == "ok" and "planted-secret" not in given.found
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        taken = model_line(with_recipe(tmp_path, models=SCRIPTED["models"], run=f"[run.models.m]\nport = {port}"))
    assert taken.state == "broken" and f"port {port} is taken" in taken.found
    llama = '[models.m]\nbackend = "llama-cpp"\nweights = "{}"'
    gone = model_line(with_recipe(tmp_path, models=llama.format("./gone.gguf"), run="[run]"))
    assert gone.state == "broken" and "gone.gguf" in gone.found
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "empty"))
    known = "smollm2-135m-instruct-q4_1"
    line = model_line(with_recipe(tmp_path, models=llama.format(known), run="[run]"))
    assert line.state == "warning" and str(line.do).startswith(f"synth weights {known}")


def test_a_limit_in_dollars_without_a_price(tmp_path: Path) -> None:
    limit = "[run.budget]\nmax_usd = 5.0\n"
    unpriced = with_recipe(tmp_path, models=SCRIPTED["models"], run=limit)
    assert line_of(doctor_recipe.models, unpriced, "budget").state == "warning"
    priced = with_recipe(tmp_path, models=SCRIPTED["models"], run=f"{limit}[run.models.m]\nusd_per_gpu_hour = 2.0")
    assert "budget" not in {line.name for line in doctor_recipe.models(priced)}


# --- the command


def test_a_check_that_fails_hides_no_other_one(patient: Patient) -> None:
    def crash(_: Patient) -> Iterator[Line]:
        yield doctor.ok("first", "is told")
        raise ZeroDivisionError("oh")

    def refuse(_: Patient) -> Iterator[Line]:
        raise fail(UserError, "what", given="this", allowed="that", do="the other")

    lines = doctor.examine(patient, [("crash", crash), ("refuse", refuse), ("clock", doctor_machine.clock)])
    first, crashed, refused, clock = lines
    assert (first.name, crashed.name, refused.name, clock.name) == ("first", "crash", "refuse", "clock")
    assert (first.state, crashed.state, refused.state, clock.state) == ("ok", "broken", "broken", "ok")
    assert "ZeroDivisionError: oh" in crashed.found
    assert (refused.found, refused.do) == ("what; given: this; allowed: that", "the other")


def doctored(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["doctor", *words]) == code
    return capsys.readouterr().out


def test_the_whole_report(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor_machine, "MEMORY_FLOOR_BYTES", 0)
    monkeypatch.setattr(doctor_home, "DISK_FLOOR_BYTES", 0)
    with_recipe(tmp_path, **SCRIPTED)
    recipe, home = str(tmp_path / "recipe.toml"), str(tmp_path / "home")
    value = json.loads(doctored(capsys, recipe, "--home", home, "--json"))
    states = [line["state"] for line in value["checks"]]
    assert value["broken"] == 0 and value["ok"] == states.count("ok")
    names = {line["name"] for line in value["checks"]}
    wanted = {"python", "packages", "fasttext", "weights", "memory", "gpu", "home", "file system", "recipe", "model m"}
    assert wanted <= names and not Path(home).exists()  # looking makes nothing
    (tmp_path / "home").mkdir()
    newer(tmp_path / "home")
    text = doctored(capsys, "--home", home, code=1)
    assert "broken   home " in text and "do: upgrade synth, or use another --home" in text
    assert text.splitlines()[-1].endswith(" 1 broken")


def test_a_recipe_that_cannot_be_read_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_recipe(tmp_path, **SCRIPTED)
    words = (str(tmp_path / "recipe.toml"), "--home", str(tmp_path / "home"))
    text = doctored(capsys, *words, "--set", "run.wrokers=1", code=1)
    assert text.startswith("broken   recipe ") and "wrokers: unknown key" in text and "ok       python" in text
    assert main(["doctor", str(tmp_path / "none.toml")]) == 2
