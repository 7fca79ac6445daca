"""`synth filter` on files of anybody's: what it writes, counts and refuses."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.gates import apply_gates
from filters.published import PresetUse, preset_gates
from flows.cli import main
from synth import rows
from synth.text.statistics import STATISTICS, text_statistics
from tests.corpora import passage, write_recipe

LOOP = "And then the river rose again over the bank. " * 40


def write_jsonl(path: Path, texts: Mapping[str, str], **more: str) -> Path:
    lines = [json.dumps({"id": name, "text": text, **more}) for name, text in texts.items()]
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def texts_of(count: int) -> dict[str, str]:
    return {
        f"t{number}": LOOP if number % 5 == 0 else "short" if number % 7 == 0 else passage(number)
        for number in range(count)
    }


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["filter", *map(str, arguments), "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["filter", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_scores_and_drops_of_every_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = texts_of(40)
    file = write_jsonl(tmp_path / "a.jsonl", texts)
    told = run(capsys, file, "--out", tmp_path / "out")
    scores = rows.read_table(tmp_path / "out/scores.parquet")
    assert scores["item_id"].to_pylist() == list(texts)
    expected = text_statistics(pa.array(texts.values(), pa.large_string()))
    assert scores.select(STATISTICS.names).to_pylist() == expected.to_pylist()
    drops = rows.read_table(tmp_path / "out/drops.parquet")
    gates = preset_gates([PresetUse(name="gopher_quality"), PresetUse(name="gopher_repetition")])
    again = apply_gates(scores, gates, "document", "filter", frozenset())
    assert sorted(drops.to_pylist(), key=lambda row: row["item_id"]) == again.to_pylist()
    dropped = set(drops["item_id"].to_pylist())
    assert dropped == {name for name, text in texts.items() if text == LOOP or text == "short"}
    assert told["texts"] == 40 and told["kept"] == 40 - len(dropped)


def test_the_table_adds_up_and_overlaps_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", texts_of(60))
    told = run(capsys, file, "--out", tmp_path / "out")
    drops = rows.read_table(tmp_path / "out/drops.parquet")
    failed: dict[str, set[str]] = {}
    for item, reason in zip(drops["item_id"].to_pylist(), drops["reason"].to_pylist(), strict=True):
        failed.setdefault(reason, set()).add(item)
    by_reason = {one["reason"]: one for one in told["reasons"]}
    assert {reason: one["fails"] for reason, one in by_reason.items()} == {
        name: len(ids) for name, ids in failed.items()
    }
    assert told["kept"] + sum(one["first"] for one in by_reason.values()) == told["texts"]
    for reason, ids in failed.items():
        others = set().union(*(other for name, other in failed.items() if name != reason))
        assert by_reason[reason]["only"] == len(ids - others)
        for name, other in failed.items():
            assert told["overlap"][reason][name] == len(ids & other)
    assert set(told["idle"]).isdisjoint(failed) and "gopher_too_long" in told["idle"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_files_of_every_kind_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    texts, folder = texts_of(10), tmp_path / "in/deep"
    folder.mkdir(parents=True)
    if suffix == ".parquet":
        pq.write_table(pa.table({"key": range(10), "body": list(texts.values())}), folder / "a.parquet")
    else:
        lines = [json.dumps({"key": number, "body": text}) for number, text in enumerate(texts.values())]
        data = "\n".join(lines).encode()
        (folder / f"a{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    told = run(capsys, tmp_path / "in", "--out", tmp_path / "out", "--text", "body", "--id", "key")
    assert told["texts"] == 10
    assert rows.read_table(tmp_path / "out/scores.parquet")["item_id"].to_pylist() == [
        str(number) for number in range(10)
    ]


def test_without_ids_the_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": passage(number)}) + "\n" for number in range(3)))
    run(capsys, file, "--out", tmp_path / "out")
    assert rows.read_table(tmp_path / "out/scores.parquet")["item_id"].to_pylist() == [
        f"{file}:{row}" for row in (1, 2, 3)
    ]


def test_workers_and_batches_change_no_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", texts_of(50))
    found = []
    for batch_rows, workers in ((4096, 1), (4096, 4), (7, 3)):
        monkeypatch.setattr("synth.sources_readers.BATCH_ROWS", batch_rows)
        out = tmp_path / f"out-{batch_rows}-{workers}"
        run(capsys, file, "--out", out, "--workers", workers)
        found.append([rows.read_table(out / name).to_pylist() for name in ("scores.parquet", "drops.parquet")])
    assert found[0] == found[1] == found[2]


def test_a_recipe_judges_seeds_by_screen_and_documents_by_keep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = 'gates = [{ column = "words", min = 60, reason = "brief" }]'
    blocks = {
        "screen": f"[screen]\nallow_unknown_license = true\n{gates}",
        "keep": '[keep]\ngates = [{ column = "words", min = 60, families = ["faq"], reason = "brief_faq" }]',
    }
    recipe = write_recipe(tmp_path, "http://127.0.0.1:9/v1", **blocks)
    texts = {"long": passage(1), "short": "Only a few words stand here."}
    seeds = write_jsonl(tmp_path / "seeds.jsonl", texts)
    told = run(capsys, seeds, "--out", tmp_path / "s", "--recipe", recipe)
    assert [one["reason"] for one in told["reasons"]] == ["brief"]
    assert rows.read_table(tmp_path / "s/drops.parquet")["item_kind"].to_pylist() == ["seed"]
    made = write_jsonl(tmp_path / "made.jsonl", texts, family="faq")
    told = run(capsys, made, "--out", tmp_path / "d", "--recipe", recipe)
    assert told["families"] == {"faq": {"texts": 2, "kept": 1}}
    assert rows.read_table(tmp_path / "d/drops.parquet")["reason"].to_pylist() == ["brief_faq"]
    told = run(capsys, made, "--out", tmp_path / "d", "--recipe", recipe, "--as", "seeds", "--set", "screen.gates=[]")
    assert told["kept"] == 2


def test_a_recipe_of_a_screen_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "filter.toml"
    recipe.write_text('[screen]\ngates = []\npresets = [{ name = "c4", override = { c4_sentences = { min = 2 } } }]\n')
    file = write_jsonl(tmp_path / "a.jsonl", {"two": "One is here now. Two is here now.", "one": "One is here now."})
    told = run(capsys, file, "--out", tmp_path / "out", "--recipe", recipe)
    assert told["kept"] == 1 and told["reasons"][0]["gates"] == ["2 <= c4_sentences"]


def test_verdicts_of_rules_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", {"sum": f"{passage(1)} So 2 + 2 = 5.", "plain": passage(2)})
    run(capsys, file, "--out", tmp_path / "out", "--rule", "arithmetic")
    verdicts = rows.read_table(tmp_path / "out/verdicts.parquet").to_pylist()
    assert [(one["item_id"], one["rung"], one["outcome"]) for one in verdicts] == [("sum", "arithmetic", "failed")]


def test_a_sweep_is_drawn_per_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_jsonl(tmp_path / "a.jsonl", {f"a{number}": passage(number) for number in range(8)}, family="faq")
    b = write_jsonl(
        tmp_path / "b.jsonl", {f"b{number}": "A few words. " * number for number in range(1, 9)}, family="qa"
    )
    told = run(capsys, a, b, "--out", tmp_path / "out", "--sweep", "normal_words")
    swept = told["sweep"]
    assert swept["now"] == 50 and swept["bound"] == "min" and set(swept["kept"]) == {"faq", "qa"}
    at = swept["thresholds"].index(50)
    assert swept["kept"]["faq"][at] == 1.0 and swept["kept"]["qa"][at] == 0.0
    assert (tmp_path / "out/sweep-normal_words.svg").read_text().startswith("<svg")
    assert main(["filter", str(a), "--out", str(tmp_path / "out"), "--sweep", "normal_words"]) == 0
    shown = capsys.readouterr().out
    assert "<- now" in shown and "o faq (8)" in shown


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", "--presets"]) == 0
    shown = capsys.readouterr().out
    assert "slimpajama" in shown and "200 <= bare_characters" in shown and "arxiv.org/abs/2112.11446" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{file}", "--out", "{out}", "--preset", "gofer_quality"], "did you mean 'gopher_quality'"),
        (["{file}", "--out", "{out}", "--rule", "statistic"], "did you mean 'statistics'"),
        (["{file}", "--out", "{out}", "--sweep", "word"], "did you mean 'words'"),
        (["{file}", "--out", "{out}", "--text", "txt"], "did you mean 'text'"),
        (["{file}", "--out", "{out}", "--id", "nid"], "--id COLUMN"),
        (["{file}", "--out", "{out}", "--set", "screen.gates=[]"], "add --recipe"),
        (["{file}"], "a folder for its results"),
        (["--out", "{out}"], "wants files"),
        (["missing.jsonl", "--out", "{out}"], "no such file"),
        (["{empty}", "--out", "{out}"], "holds no text files"),
    ],
)
def test_wrong_words_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", {"one": passage(1)})
    (tmp_path / "empty").mkdir()
    places = {"file": file, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    assert said in refused(capsys, *(one.format(**places) for one in arguments))
    assert not list(tmp_path.glob("out/*.parquet"))


def test_ids_that_repeat_are_refused_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (write_jsonl(tmp_path / f"{name}.jsonl", {"t1": passage(1)}) for name in "ab")
    assert "t1" in refused(capsys, a, b, "--out", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_was_there_stays_when_a_file_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_jsonl(tmp_path / "a.jsonl", texts_of(5))
    run(capsys, good, "--out", tmp_path / "out")
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").iterdir()}
    bad = tmp_path / "bad.jsonl"
    bad.write_text(good.read_text().replace("t1", "u1").replace("t2", "u2") + '{"id": "x", "text": ')
    assert "bad.jsonl:6" in refused(capsys, bad, "--out", tmp_path / "out")
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").iterdir()} == before


def test_evaluation_sets_are_reported_and_personal_data_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = "How many of the seven lamps along the old harbour wall were lit when the last boat came in that night?"
    sets = tmp_path / "set.jsonl"
    sets.write_text(json.dumps({"question": question, "answer": "five"}) + "\n")
    sha256 = hashlib.sha256(sets.read_bytes()).hexdigest()
    recipe = tmp_path / "filter.toml"
    recipe.write_text(
        "[screen]\ngates = []\n[pii]\nemail = 'drop'\n[decontamination]\n"
        f"benchmarks = [{{ name = 'lamps', path = 'set.jsonl', sha256 = '{sha256}', answer = 'answer' }}]\n"
    )
    texts = {
        "leak": f"{passage(1)} {question}",
        "mail": f"{passage(2)} Write to jo.berg@harbour-mail.se.",
        "plain": passage(3),
    }
    file = write_jsonl(tmp_path / "a.jsonl", texts)
    told = run(capsys, file, "--out", tmp_path / "out", "--recipe", recipe)
    assert {one["reason"]: one["fails"] for one in told["reasons"]} == {"pii_email": 1, "contaminated": 1}
    (lamps,) = told["contamination"]
    assert (lamps["benchmark"], lamps["items"], lamps["items_hit"], lamps["texts_hit"]) == ("lamps", 1, 1, 1)
    (span,) = rows.read_table(tmp_path / "out/spans.parquet").to_pylist()
    found = texts["mail"].encode()[span["start_byte"] : span["end_byte"]]
    assert (span["doc_id"], found, span["replacement"]) == ("mail", b"jo.berg@harbour-mail.se", "<EMAIL>")
    assert main(["filter", str(file), "--out", str(tmp_path / "out"), "--recipe", str(recipe)]) == 0
    assert "lamps" in capsys.readouterr().out


def test_a_recipe_that_trains_a_model_judges_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {
        "quality": '[quality]\ndamage = ["scramble"]',
        "keep": '[keep]\ngates = [{ column = "quality_score", min = 0.5, reason = "poor" }, '
        '{ column = "words", min = 60, reason = "brief" }]',
    }
    recipe = write_recipe(tmp_path, "http://127.0.0.1:9/v1", **blocks)
    made = write_jsonl(tmp_path / "made.jsonl", {"long": passage(1), "short": "Only a few words."}, family="faq")
    assert main(["filter", str(made), "--out", str(tmp_path / "out"), "--recipe", str(recipe), "--json"]) == 0
    said = capsys.readouterr()
    assert "[quality] is left out" in said.err
    assert [one["reason"] for one in json.loads(said.out)["reasons"]] == ["brief"]
