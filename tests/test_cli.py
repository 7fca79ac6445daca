"""The command line as a user meets it: wrong input in the user's words, exit codes, no-op, JSON, and what it prints."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import passage, shard_rows, write_recipe, write_seeds

PARQUET = '[[sources]]\nid = "texts"\nkind = "parquet"\npaths = ["seeds/*.parquet"]\nlicense = "CC0-1.0"'
CLOSED = "http://127.0.0.1:9/v1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with four seeds."""
    monkeypatch.chdir(tmp_path)
    write_seeds(tmp_path / "seeds/a.jsonl", range(4))
    return tmp_path


def run(*arguments: str) -> int:
    """`synth run recipe.toml --no-prefect`."""
    return main(["run", "recipe.toml", "--no-prefect", *arguments])


def seeds_bytes(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "seeds/a.jsonl").write_bytes(data)


def parquet_seeds(folder: Path) -> None:
    (folder / "seeds/a.jsonl").unlink()
    pq.write_table(pa.table({"content": ["x"], "url": ["u"]}), folder / "seeds/a.parquet")
    write_recipe(folder, CLOSED, sources=PARQUET)


def newer_home(folder: Path) -> None:
    (folder / "corpus").mkdir()
    (folder / "corpus/home.json").write_bytes(orjson.dumps({"format_version": 99}))


def taken_port(folder: Path) -> None:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    HELD.append(held)
    run_block = f"[run.models.m]\nport = {held.getsockname()[1]}"
    write_recipe(folder, CLOSED, models='[models.m]\nbackend = "scripted"', run=run_block)


HELD: list[socket.socket] = []


def missing_key(folder: Path) -> None:
    run_block = f'[run.models.m]\nbase_url = "{CLOSED}"\napi_key_env = "NO_SUCH_KEY"'
    write_recipe(folder, CLOSED, run=run_block)


def not_a_model(folder: Path) -> None:
    (folder / "model.gguf").write_bytes(b"this is not a model" * 100)
    write_recipe(folder, CLOSED, models='[models.m]\nbackend = "llama-cpp"\nweights = "./model.gguf"', run="[run]")


def wrong_quality_model(folder: Path) -> None:
    (folder / "q.bin").write_bytes(b"x" * 1000)
    rule = f'{{name="quality", options={{path="./q.bin", sha256="{"0" * 64}"}}}}'
    write_recipe(folder, CLOSED, score=f"[score]\nmore_rules = [{rule}]")


def missing_model(folder: Path) -> None:
    write_recipe(folder, CLOSED, models='[models.m]\nbackend = "llama-cpp"\nweights = "./none.gguf"', run="[run]")


def nothing(folder: Path) -> None:
    """The recipe and the seeds as they are."""


WRONG = [
    pytest.param(
        nothing, ["--set", "ingest.partition_row=3"], 2, r"ingest\.partition_row: unknown key; did you mean", id="key"
    ),
    pytest.param(
        nothing, ["--set", "ingest.partition_rows=many"], 2, r"partition_rows: given 'many'; allowed", id="type"
    ),
    pytest.param(nothing, ["--set", "sources.texts.paths=['x/*.jsonl']"], 2, r"x/\*\.jsonl", id="missing file"),
    pytest.param(parquet_seeds, [], 2, r"(?s)a\.parquet.*'text'.*content", id="missing column"),
    pytest.param(seeds_bytes(b""), [], 2, r"no seeds: the sources texts hold no rows", id="empty seeds"),
    pytest.param(
        seeds_bytes(b'{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n'),
        [],
        2,
        r"one id with two texts",
        id="one id two texts",
    ),
    pytest.param(seeds_bytes(b'{"id": 1, "text": "\xff\xfe"}\n'), [], 2, r"(?s)a\.jsonl.*1.*UTF-8", id="invalid UTF-8"),
    pytest.param(seeds_bytes(b'{"id": 1, "text": '), [], 2, r"(?s)a\.jsonl.*1", id="torn JSON"),
    pytest.param(newer_home, [], 2, r"(?s)newer version.*upgrade synth", id="newer home"),
    pytest.param(taken_port, [], 2, r"run\.models\.m\.port: port \d+ is taken", id="taken port"),
    pytest.param(missing_key, [], 2, r"NO_SUCH_KEY", id="missing API key"),
    pytest.param(nothing, [], 1, r"(?s)127\.0\.0\.1:9.*do:", id="unreachable endpoint"),
    pytest.param(not_a_model, [], 2, r"(?s)GGUF|gguf", id="not a model file"),
    pytest.param(missing_model, [], 2, r"none\.gguf", id="missing model file"),
    pytest.param(wrong_quality_model, [], 2, r"(?s)q\.bin.*sha256", id="model file with the wrong sha256"),
]


@pytest.mark.parametrize(("prepare", "arguments", "code", "words"), WRONG)
def test_wrong_input_in_the_users_words(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], None],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    write_recipe(folder, CLOSED)
    prepare(folder)
    assert run("--set", "run.models.m.max_attempts=1", *arguments) == code
    printed = capsys.readouterr().err
    assert re.search(words, printed), printed
    assert re.search(r"^synth: ", printed, re.MULTILINE), printed  # on a fresh machine kernels are compiled before
    assert "Traceback" not in printed
    assert Store(folder / "corpus").objects("objects/generate") == []
    assert not (folder / "corpus/releases").exists()
    while HELD:
        HELD.pop().close()


def test_a_seed_that_is_dropped_is_reported(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    big = {"s2": "x" * 50_000_000, "s3": "nul \x00 inside"}
    write_seeds(folder / "seeds/a.jsonl", range(4), **big)
    write_recipe(folder, scripted_server.base_url)
    assert run() == 0
    printed = capsys.readouterr().out
    assert "too_large 1" in printed
    assert "nul_character 1" in printed


def test_the_same_command_says_that_nothing_is_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    write_recipe(folder, scripted_server.base_url)
    assert run() == 0
    first = capsys.readouterr().out
    assert "8 of 8 documents" in first
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "nothing_to_do"


def test_more_seeds_are_worked_on_by_the_same_command(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    write_recipe(folder, scripted_server.base_url)
    assert run() == 0
    write_seeds(folder / "seeds/b.jsonl", range(10, 13))
    capsys.readouterr()
    assert run() == 0
    assert "6 of 6 documents" in capsys.readouterr().out
    assert len(shard_rows(folder / "corpus")) == 14
    write_seeds(folder / "seeds/c.jsonl", range(20, 22))
    assert run("--set", "run.budget.target_kept_tokens=10", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "target_reached"


def test_a_no_op_imports_neither_prefect_nor_a_model(folder: Path, scripted_server: ScriptedServer) -> None:
    recipe = write_recipe(folder, scripted_server.base_url)
    assert run() == 0
    code = "import sys; from flows.cli import main; code = main(sys.argv[1:])\n"
    code += "print([name for name in ('prefect', 'xllamacpp', 'fasttext', 'polars') if name in sys.modules]); sys.exit(code)"
    command = [sys.executable, "-c", code, "run", str(recipe)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert "nothing to do: release 1" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_questions_printed_at_the_end_work_when_pasted(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    write_recipe(folder, scripted_server.base_url)
    assert run() == 0
    questions = re.findall(r'synth sql "(.*)"', capsys.readouterr().out)
    assert len(questions) == 3
    for question in questions:
        assert main(["sql", question]) == 0
    printed = capsys.readouterr().out
    assert "distill" in printed
    assert main(["sql", "--json", "SELECT count(*) AS n FROM kept"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 8}]


def test_plan_says_what_is_done_and_what_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    write_recipe(folder, scripted_server.base_url)
    assert main(["plan", "recipe.toml"]) == 0
    assert "1 seed file to read" in capsys.readouterr().out
    assert not (folder / "corpus").exists()
    assert run() == 0
    capsys.readouterr()
    threshold = 'keep.gates=[{column="words", min=95, reason="short"}]'
    assert main(["plan", "recipe.toml", "--json", "--set", threshold]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert {step: (tally["done"], tally["to_do"]) for step, tally in steps.items()} == {
        "screen": (1, 0),
        "generate": (2, 0),
        "score": (2, 0),
        "keep": (0, 2),
        "sign": (2, 0),
    }


def test_audit_finds_a_flipped_bit(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    write_recipe(folder, scripted_server.base_url)
    assert run() == 0
    assert main(["audit"]) == 0
    assert "counts_add_up" in capsys.readouterr().out
    victim = next((folder / "corpus/objects/shards").rglob("train-*.arrow"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    assert main(["audit"]) == 1
    assert victim.name in capsys.readouterr().err


def test_a_failed_gate_exits_3_with_evidence(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    marked = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(30)}
    write_seeds(folder / "seeds/a.jsonl", range(30), **marked)
    write_recipe(folder, scripted_server.base_url)
    assert run() == 3
    printed = capsys.readouterr().err
    assert "dropped_share" in printed
    assert "nothing was released" in printed


def test_summary_json_holds_the_closing_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    prices = "usd_per_million_prompt_tokens = 1000.0\nusd_per_million_completion_tokens = 2000.0"
    write_recipe(
        folder,
        scripted_server.base_url,
        price=f'[run.models.m]\nbase_url = "{scripted_server.base_url}"\n{prices}',
        run="",
    )
    assert run("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads(next((folder / "corpus/runs").rglob("summary.json")).read_text())
    assert stored.items() >= printed.items()
    assert printed["kept"] == 8 == printed["asks"]
    paid = (printed["prompt_tokens"] + 2 * printed["completion_tokens"]) / 1000
    assert printed["usd"] == pytest.approx(paid)
    assert main(["sql", "--json", "SELECT sum(dollars) AS usd FROM costs"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["usd"] == pytest.approx(paid)


def test_keys_are_nowhere_in_the_home(
    folder: Path, new_server: Callable[..., ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "key").write_text("sk-very-secret-4711")
    monkeypatch.setenv("MY_KEY", "sk-very-secret-4711")
    server = new_server("--api-key-file", str(folder / "key"))
    write_recipe(folder, server.base_url, run=f'[run.models.m]\nbase_url = "{server.base_url}"\napi_key_env = "MY_KEY"')
    assert run() == 0
    for path in (folder / "corpus").rglob("*"):
        assert not path.is_file() or b"very-secret" not in path.read_bytes(), path


def test_gzipped_seeds(folder: Path, scripted_server: ScriptedServer) -> None:
    plain = folder / "seeds/a.jsonl"
    (folder / "seeds/b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    source = '[[sources]]\nid = "texts"\nkind = "jsonl"\npaths = ["seeds/*.gz"]\nlicense = "CC0-1.0"\ncolumns.id = "id"'
    write_recipe(folder, scripted_server.base_url, sources=source)
    assert run() == 0
    assert len(shard_rows(folder / "corpus")) == 8


def test_ctrl_c_says_how_to_go_on(folder: Path, new_server: Callable[..., ScriptedServer]) -> None:
    server = new_server("--latency-seconds", "0.5")
    write_seeds(folder / "seeds/a.jsonl", range(20))
    recipe = write_recipe(folder, server.base_url)
    command = [sys.executable, "-m", "flows.cli", "run", str(recipe), "--home", str(folder / "corpus"), "--no-prefect"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while not any(entry.get("status") == 200 for entry in server.entries()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "answers in flight" in printed
    assert f"To go on: synth run {recipe}" in printed
    sent = sum(entry["event"] == "request" for entry in server.entries())
    answered = sum(entry["event"] == "answer" for entry in server.entries())
    assert sent == answered < 40
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    assert sum(entry["event"] == "request" for entry in server.entries()) == 40
