"""`synth run --preview`: what is shown is what was sent and said, the home stays as it is, and little is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows import samples
from flows.cli import main
from flows.preview import choose_seeds, preview_recipe
from flows.recipe import load
from flows.steps import ingest
from synth import sources_readers
from synth.digest import digest
from synth.engine.model import Model
from synth.errors import SourceError
from synth.rows import SEED_MARK
from synth.sources import Source
from synth.sources_columns import Columns
from synth.store import Store
from tests.conftest import ROOT, ScriptedServer
from tests.corpora import passage, run_recipe, write_recipe, write_seeds

BLOCKS = {
    "score": '[score]\nrules = [{name = "statistics"}]',
    "keep": '[keep]\ngates = [{column = "words", min = 20, reason = "too_short"}]',
    "families": '[[families]]\nname = "diverse_qa"\nshare = 0.01\n\n[[families]]\nname = "distill"\nweight = 1.0\n'
    "route = { min = 0.9 }",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to stand in, with thirty seeds, and a folder for temporary files that must be empty afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    write_seeds(tmp_path / "seeds/a.jsonl", range(30))
    yield tmp_path
    assert list((tmp_path / "tmp").iterdir()) == []


def preview(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON of `synth run recipe.toml --preview`."""
    assert main(["run", "recipe.toml", "--json", "--preview", *arguments]) == code
    return json.loads(capsys.readouterr().out)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["run", "recipe.toml", "--preview", *arguments]) == 0
    return capsys.readouterr().out


def requests(server: ScriptedServer) -> list[str]:
    return [entry["digest"] for entry in server.entries() if entry["event"] == "request"]


def in_families(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["family"]: one for one in value["families"]}


def test_the_prompt_shown_is_the_prompt_sent(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    new_server: Callable[..., ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = new_server()
    write_recipe(folder, server.base_url, **BLOCKS)
    bodies: dict[str, dict[str, Any]] = {}
    original = Model.body

    def body(self: Model, *arguments: Any) -> Any:
        made = original(self, *arguments)
        bodies[digest(made[0])] = made[0]
        return made

    monkeypatch.setattr(Model, "body", body)
    value = preview(capsys, "2")
    assert sorted(bodies) == sorted(requests(server))
    sent = [one["messages"] for one in bodies.values()]
    shown = [one for family in value["families"] for one in family["samples"]]
    assert len(shown) >= 2
    for one in shown:
        messages = one["asks"][0]["messages"]
        assert messages in sent
        assert one["seed"]["text"] in messages[-1]["content"]
        (theirs,) = [each for each in bodies.values() if each["messages"] == messages]
        assert theirs["max_tokens"] == one["asks"][0]["sampling"]["max_tokens"]
    text = printed(capsys, "2")
    system = next(message for message in sent[0] if message["role"] == "system")["content"]
    for line in system.splitlines():
        assert f"    {line}\n" in text


def test_kept_and_dropped_texts_are_shown_with_reasons(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    long = "Careful people wrote early on about this place, to which the valley owes its name, its first road and its trade."
    short = "Seven plain words about the old river."
    texts = {
        "s0": f"{passage(0)} [[scripted: echo={long}]]",
        "s1": f"{passage(1)} [[scripted: echo={short}]]",
        "s2": f"{passage(2)} [[scripted: outcome=empty]]",
    }
    write_seeds(folder / "seeds/a.jsonl", range(3), **texts)
    families = '[[families]]\nname = "distill"'
    write_recipe(folder, scripted_server.base_url, **{**BLOCKS, "families": families})
    value = in_families(preview(capsys))["distill"]
    assert (value["documents"], value["kept"]) == (3, 1)
    assert value["dropped"] == {"too_short": 1, "empty_answer": 1}
    kept, dropped = value["samples"]
    assert (kept["text"], kept["seed"]["text"], kept["drops"]) == (long, texts["s0"], [])
    assert (dropped["text"], dropped["seed"]["text"]) == (short, texts["s1"])
    text = printed(capsys)
    assert "=== distill: 1 of 3 documents kept; dropped: " in text
    for one, fate in ((kept, "kept"), (dropped, "dropped")):
        assert f"\n  {fate}: document {one['id'][:16]}\n    seed:\n      {one['seed']['text'][:300]}" in text
        assert f"    document:\n      {one['text']}\n" in text
    assert "    dropped by keep: too_short (words 7; threshold 20)\n" in text
    assert "  writer 3 asks, " in text
    assert "A preview is not kept" in text


def test_every_family_works_on_all_n_seeds(
    folder: Path, capsys: pytest.CaptureFixture[str], new_server: Callable[..., ScriptedServer]
) -> None:
    server = new_server()
    write_recipe(folder, server.base_url, **BLOCKS, ingest="[ingest]\npartition_rows = 2\ncanary_share = 1.0")
    value = preview(capsys, "--set", "run.models.m.usd_per_million_completion_tokens=1000000.0")
    assert value["seeds"] == 3
    assert value["usd"] == value["completion_tokens"] > 0
    assert {name: one["asks"] for name, one in in_families(value).items()} == {"distill": 3, "diverse_qa": 3}
    assert len(requests(server)) == 6 == value["asks"]
    assert preview(capsys, "5")["seeds"] == 5
    assert len(requests(server)) == 16
    written = sum(one["tokens"]["writer"]["completion_tokens"] for one in value["families"])
    assert value["completion_tokens"] == written > 0


def test_the_home_is_not_touched_and_may_be_in_use(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    path = write_recipe(folder, scripted_server.base_url, **BLOCKS)
    preview(capsys, "1")
    assert not (folder / "corpus").exists()
    run_recipe(path, folder / "corpus")
    with Store.open(folder / "corpus").lock("a run that goes on"):
        before = {path: path.stat().st_mtime_ns for path in (folder / "corpus").rglob("*")}
        assert preview(capsys, "1")["asks"] == 2
        assert {path: path.stat().st_mtime_ns for path in (folder / "corpus").rglob("*")} == before


def test_servers_of_our_own_are_not_in_the_way_of_those_of_a_run(folder: Path) -> None:
    models, run = '[models.m]\nbackend = "scripted"', "[run.models.m]\nport = 8123\nreplicas = 4"
    path = write_recipe(folder, "", **{**BLOCKS, "models": models, "run": f'[run]\nscratch = "here"\n{run}'})
    changed = preview_recipe(load(path)).run
    assert (changed.models["m"].port, changed.models["m"].replicas, changed.scratch) == (0, 1, None)


def test_seeds_that_the_screen_drops_are_replaced_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    write_seeds(folder / "seeds/a.jsonl", range(30), **{f"s{number}": f"few words {number}" for number in range(27)})
    write_recipe(folder, scripted_server.base_url, **BLOCKS)
    value = preview(capsys)
    assert (value["seeds"], value["rows_read"], value["seeds_dropped"]) == (3, 30, {"too_short": 27})
    assert "3 seeds (from 30 rows read; dropped of those: too_short 27)" in printed(capsys)


def test_no_seed_at_all_is_told_with_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_seeds(folder / "seeds/a.jsonl", range(2), s0="few words", s1=" ")
    write_recipe(folder, "http://127.0.0.1:9/v1", **BLOCKS)
    assert main(["run", "recipe.toml", "--preview"]) == 2
    error = capsys.readouterr().err
    assert "none of the first 2 rows" in error and "too_short 1" in error and "empty_text 1" in error


def test_each_source_gives_seeds_in_turn(folder: Path) -> None:
    source = '[[sources]]\nid = "{0}"\nkind = "jsonl"\npaths = ["{0}/*.jsonl"]\nlicense = "CC0-1.0"'
    write_seeds(folder / "one/a.jsonl", range(9))
    write_seeds(folder / "two/a.jsonl", [100])
    both = "\n\n".join(source.format(name) for name in ("one", "two"))
    recipe = load(write_recipe(folder, "http://127.0.0.1:9/v1", **{**BLOCKS, "sources": both}))
    for wanted, found in (
        (1, ["one"]),
        (2, ["one", "two"]),
        (4, ["one", "one", "one", "two"]),
        (99, ["one"] * 9 + ["two"]),
    ):
        chosen = choose_seeds(recipe, folder, wanted, folder / f"work-{wanted}").chosen
        assert sorted(row["source_id"] for row in chosen) == found


def test_a_huge_source_is_neither_hashed_nor_read_to_its_end(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    scripted_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huge = folder / "seeds/a.jsonl"
    with huge.open("r+b") as file:
        file.truncate(2**40)  # what follows the thirty rows is a terabyte of nothing, and no JSON
    monkeypatch.setattr(sources_readers, "BATCH_ROWS", 10)
    write_recipe(folder, scripted_server.base_url, **BLOCKS)
    assert preview(capsys, "1")["rows_read"] == 20


def settings(most: int | None) -> ingest.IngestWork:
    source = Source(id="texts", kind="jsonl", paths=("*.jsonl",), columns=Columns(id="id"))
    return ingest.IngestWork(sources=(source,), max_seeds=most)


def test_ingest_stops_after_max_seeds_and_its_counts_add_up(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a.jsonl", range(5), s0=" ", s1=passage(2))
    (tmp_path / "b.jsonl").write_text("not JSON")
    inputs = {"source/texts/a": tmp_path / "a.jsonl", "source/texts/b": tmp_path / "b.jsonl"}
    (tmp_path / "out").mkdir()
    counts = ingest.run(inputs, settings(3), tmp_path / "out")
    assert counts.items == counts.kept + sum(counts.dropped.values()) == 4
    assert counts.dropped == {"empty_text": 1, "equal_text": 1}
    assert counts.notes["rows_read"] == 4
    with pytest.raises(SourceError):
        ingest.run(inputs, settings(None), tmp_path / "out")


def test_a_failed_check_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    marked = {f"s{number}": f"{passage(number)} [[scripted: outcome=refuse]]" for number in range(30)}
    write_seeds(folder / "seeds/a.jsonl", range(30), **marked)
    write_recipe(folder, scripted_server.base_url, **BLOCKS)
    text = printed(capsys, "30")
    (line,) = [line for line in text.splitlines() if line.startswith("checks that so few texts fail")]
    assert "dropped_share" in line
    assert "dropped by generate: refused" in text


def test_a_budget_ends_it_with_what_is_complete(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    families = '[[families]]\nname = "distill"\n\n[[families]]\nname = "textbook"\noptions = { min_seed_tokens = 9999 }'
    write_recipe(folder, scripted_server.base_url, **{**BLOCKS, "families": families})
    limit = ["--set", "run.budget.max_asks=1", "--set", "run.models.m.in_flight=1"]
    value = preview(capsys, "3", *limit)
    assert value["budget_reached"] == "max_asks = 1"
    assert (list(in_families(value)), value["unfinished"]) == (["textbook"], ["distill"])
    text = printed(capsys, "3", *limit)
    assert "the budget is reached (max_asks = 1); not finished: distill" in text
    assert "nothing was asked" in text and "seed_too_short" in text


def test_an_error_in_ones_own_family_is_a_drop_to_read(
    folder: Path, capsys: pytest.CaptureFixture[str], scripted_server: ScriptedServer
) -> None:
    own = (Path(__file__).parent / "data/own_family.py").read_text()
    (folder / "mine.py").write_text(own.replace("    return [draft(", "    seed.txt\n    return [draft("))
    families = '[[families]]\nname = "haiku"\nfile = "mine.py"'
    write_recipe(folder, scripted_server.base_url, **{**BLOCKS, "families": families})
    text = printed(capsys, "2")
    assert "dropped: generation_failed 2" in text
    assert "AttributeError: 'Seed' object has no attribute 'txt'" in text


def test_a_wrong_recipe_exits_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(folder, "http://127.0.0.1:9/v1", **BLOCKS)
    assert main(["run", "recipe.toml", "--preview", "--set", "families.distill.optons={}"]) == 2
    assert "did you mean 'options'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--preview", "recipe.toml"])
    assert stopped.value.code == 2
    assert "synth run RECIPE --preview 5" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(folder: Path, new_server: Callable[..., ScriptedServer]) -> None:
    server = new_server("--latency-seconds", "60")
    recipe = write_recipe(folder, server.base_url, **BLOCKS)
    command = [sys.executable, "-m", "flows.cli", "run", str(recipe), "--preview", "2"]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment)
    while not requests(server):
        assert process.poll() is None
        time.sleep(0.05)
    assert [path.name.startswith("synth-preview-") for path in (folder / "tmp").iterdir()] == [True]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert list((folder / "tmp").iterdir()) == []
    assert not (folder / "corpus").exists()


# --- one sample, as text


def value_of(**changes: Any) -> dict[str, Any]:
    document = {
        "id": "d" * 64,
        "family": "f",
        "text": "Old text. New text.",
        "seed_span": {"start_byte": 0, "end_byte": 9},
        "parts": [
            {"role": "source", "start_byte": 0, "end_byte": 10},
            {"role": "generated", "start_byte": 10, "end_byte": 19},
        ],
        "axes": '{"tone": "dry"}',
        "ask_ids": ["a"],
        "written_by": ["a"],
    }
    seed = {"id": "s" * 64, "source_id": "x", "source": None, "text": "Old text. And more."}
    ask = {
        "role": "writer",
        "model": "m@1",
        "sample_index": 0,
        "outcome": "ok",
        "completion": "New text.",
        "reasoning": None,
        "escaped": 0,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "reasoning_tokens": 2,
        "sampling": '{"temperature": 0.5}',
        "prompt": json.dumps([{"role": "user", "content": f"Say it: {SEED_MARK}"}]),
    }
    return samples.sample({**document, **changes}, seed, {"a": ask}, [], [])


def test_seed_and_document_stand_side_by_side_where_there_is_room() -> None:
    console = Console(width=120, file=StringIO())
    console.print(samples.side_by_side(value_of()))
    assert isinstance(console.file, StringIO)
    (line,) = [line for line in console.file.getvalue().splitlines() if "New text." in line]
    assert "Old text." in line.partition("│")[2].partition("│")[0]
    assert samples.one_after_another(value_of()) == ["seed:", "  Old text.", "document:", "  Old text. New text."]


def test_the_seeds_text_is_put_back_in_place_of_its_mark() -> None:
    assert value_of()["asks"][0]["messages"] == [{"role": "user", "content": "Say it: Old text. And more."}]
    unmarked = json.dumps([{"role": "user", "content": f"{SEED_MARK} means: a seed"}])
    assert samples.messages(unmarked, "a seed")[0]["content"] == f"{SEED_MARK} means: a seed"


def test_evidence_stands_with_the_drop_and_the_verdict() -> None:
    drop = {
        "step": "keep",
        "rule": "numbers_wrong",
        "rule_order": 2,
        "reason": "invented_numbers",
        "score": 2.0,
        "threshold": 0.0,
        "partner_id": None,
        "evidence": "1999; 2001",
    }
    verdict = {"rung": "numbers", "judge": "rule", "outcome": "failed", "score": 0.5, "evidence": '{"which": "1999"}'}
    value = {**value_of(), "drops": [drop], "verdicts": [{**verdict, "evidence": {"which": "1999"}}]}
    assert samples.fate_lines(value) == [
        "dropped by keep: invented_numbers (numbers_wrong 2; threshold 0); evidence: 1999; 2001",
        'verdict numbers: failed (0.5); evidence: {"which":"1999"}',
        "axes: tone = dry",
        "asks: writer 1 (7 tokens read, 5 written)",
    ]


def test_a_terminal_is_not_given_orders() -> None:
    assert samples.visible("a\x1b[2Jb\r\x07\n\tc\x9b") == "a\ufffd[2Jb\ufffd\ufffd\n\tc\ufffd"


def test_long_texts_are_shortened_in_the_middle() -> None:
    text = "".join(chr(ord("a") + at % 26) for at in range(1000))
    short = samples.shorten(text, 300)
    start, _, end = short.partition(" […700 characters…] ")
    assert text.startswith(start) and text.endswith(end) and len(start) + len(end) == 300
    assert samples.shorten(text, 990) == text


def test_instructions_are_shown_whole_and_seeds_short() -> None:
    seed, rules = "".join(f"{at} " for at in range(1000)), "A rule. " * 300
    value = value_of()
    value["seed"]["text"] = seed
    value["source_text"] = seed[:2000]
    sent = [("system", rules), ("user", f"{rules}{seed[:2000]}"), ("user", f"{rules}{seed}"), ("user", seed[1000:3000])]
    value["asks"][0]["messages"] = [{"role": role, "content": content} for role, content in sent]
    _, _, system, _, part, _, whole, _, piece = samples.prompt_lines(value)
    assert system == rules
    assert part.startswith(rules) and f"[…{2000 - samples.SEED_CHARS:,} characters…]" in part
    assert whole.startswith(rules) and f"[…{len(seed) - samples.SEED_CHARS:,} characters…]" in whole
    assert f"[…{2000 - samples.SEED_CHARS:,} characters…]" in piece
