"""The catalogue: what its views show of a home with several releases, policies and recipes, and how it is built."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pytest
from audit_contamination import contaminate
from audit_home import FAMILIES, Object, Wave, rows_of, value_of, write_home, write_release, write_run

from synth import rows
from synth.audit.catalog import build_catalog
from synth.audit.sql import canned, canned_titles, catalogue
from synth.audit.tables import TABLES, duckdb_type
from synth.errors import HomeError, IntegrityError

MONEY = ["sessions", "attempt_costs", "costs", "servers", "yields", "outcomes", "ladder"]
CORPUS = ["axis_coverage", "openings", "family_shares", "verification", "agreement", "candidates", "injections"]
KEEPING = ["accepted", "retractions"]
NEWEST = [*TABLES, "dropped", "kept", "objects", "shards", *MONEY, *CORPUS, "leaks", "answer_bias", "contamination"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    write_home(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Wave, Wave]]:
    """A home of two waves and two releases, the second of which keeps the first one's content but for one document."""
    home = tmp_path_factory.mktemp("grown") / "home"
    write_home(home)
    first, second = Wave("first"), Wave("second", ["p5"])
    for number, wave in enumerate((first, second), start=1):
        contaminate(wave)
        wave.write(home)
        write_run(home, wave, started=number, release=number)
    write_release(home, 1, [first])
    write_release(home, 2, [first, second], continues=1, tombstones=[first.kept()[0]["id"]])
    build_catalog(home)
    yield home, first, second


def _counts(home: Path, *views: str) -> dict[str, int]:
    return {view: value_of(home, f"SELECT count(*) FROM {view}") for view in views}


# What the views show.


def test_the_newest_release_shows_its_whole_chain(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, second = grown
    both = len(first.documents()) + len(second.documents())
    assert rows_of(home, "SELECT recipe, release, count(*) FROM documents GROUP BY ALL ORDER BY ALL") == [
        ("quickstart", 1, len(first.documents())),
        ("quickstart", 2, len(second.documents())),
    ]
    assert _counts(home, "documents", "scores", "asks") == {"documents": both, "scores": both, "asks": both}
    assert _counts(home, "seeds", "seed_scores") == {"seeds": 18, "seed_scores": 18}
    assert value_of(home, "SELECT count(DISTINCT object) FROM objects") == len(first.objects) + len(second.objects)


def test_kept_and_rows_are_what_a_trainer_reads(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, second = grown
    retracted = first.kept()[0]["id"]
    expected = {row["id"]: (1 if wave is first else 2) for wave in (first, second) for row in wave.kept()}
    del expected[retracted]
    assert dict(rows_of(home, "SELECT id, release FROM kept")) == expected
    assert dict(rows_of(home, "SELECT doc_id, release FROM rows")) == expected
    doc_id, path, row = rows_of(home, "SELECT doc_id, path, row FROM rows ORDER BY doc_id LIMIT 1")[0]
    with pa.ipc.open_file(str(home / path)) as shard:
        assert shard.read_all()["doc_id"][row].as_py() == doc_id


def test_a_tombstone_is_a_drop_of_the_release(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, _ = grown
    retracted = first.kept()[0]["id"]
    assert rows_of(home, f"SELECT step, counted_as, release FROM dropped WHERE item_id = '{retracted}'") == [
        ("release", "tombstone", 2)
    ]
    assert retracted in dict(rows_of(home, "SELECT id, 1 FROM all_kept"))


def test_dropped_is_the_first_reason_in_the_order_of_the_pipeline(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, second = grown
    partitions = len(first.partitions) + len(second.partitions)
    assert dict(rows_of(home, "SELECT step || ' ' || counted_as, count(*) FROM dropped GROUP BY ALL")) == {
        "ingest equal_text": 2,
        "screen too_short": partitions,
        "generate truncated_answer": 2 * partitions,
        "keep too_short": 2 * partitions,
        "resolve near_duplicate": 2,
        "release tombstone": 1,
    }
    assert (
        value_of(home, "SELECT count(*) FROM drops") == value_of(home, "SELECT count(*) FROM dropped") + 4 * partitions
    )
    kept, documents, gone = (
        value_of(home, f"SELECT count(*) FROM {view}")
        for view in ("kept", "documents", "dropped WHERE item_kind = 'document'")
    )
    assert kept + gone == documents


def test_an_earlier_step_wins_over_a_smaller_rule_order(home: Path) -> None:
    wave = Wave()
    cut = wave.table("generate/p0/qa", "drops")[0]
    cut["rule_order"] = 9
    later = rows.drop_row(cut["item_id"], "document", "keep", "words", "too_short", rule_order=0)
    wave.table("keep/p0/qa", "drops").append(later)
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    assert rows_of(home, f"SELECT step FROM dropped WHERE item_id = '{cut['item_id']}'") == [("generate",)]


def test_all_views_show_every_object_its_first_run_and_its_place(home: Path) -> None:
    released, open_wave, nobodys = Wave("first"), Wave("second", ["p5"]), Wave("third", ["p6"])
    for wave in (released, open_wave, nobodys):
        wave.write(home)
    first, second = write_run(home, released), write_run(home, open_wave, started=1, ended=False)
    again = orjson.loads((home / "runs" / second / "run.json").read_bytes())
    again["objects"]["screen"] += released.places()["screen"]  # used again, not made again
    (home / "runs" / second / "run.json").write_bytes(orjson.dumps(again))
    write_release(home, 1, [released])
    build_catalog(home)
    size = {first: len(released.documents()), second: len(open_wave.documents()), None: len(nobodys.documents())}
    assert dict(rows_of(home, "SELECT run, count(*) FROM all_documents GROUP BY ALL")) == size
    assert value_of(home, "SELECT count(*) FROM documents") == len(released.documents())
    assert dict(rows_of(home, "SELECT run, count(*) FROM all_objects WHERE step = 'screen' GROUP BY ALL")) == {
        first: 2,
        second: 1,
        None: 1,
    }
    stages = {place for (place,) in rows_of(home, "SELECT DISTINCT stage FROM all_documents")}
    assert stages == {place for wave in (released, open_wave, nobodys) for place in wave.places()["generate"]}
    assert rows_of(home, "SELECT run, outcome FROM runs ORDER BY started_at") == [(first, "released"), (second, None)]


def test_another_policy_starts_from_all_partitions_again(home: Path) -> None:
    old, new = Wave("w", policy="A"), Wave("w", policy="B")
    for wave in (old, new):
        wave.write(home)
        write_run(home, wave)
    write_release(home, 1, [old])
    write_release(home, 2, [new], continues=None)
    build_catalog(home)
    assert {one for (one,) in rows_of(home, "SELECT id FROM documents")} == {row["id"] for row in new.documents()}
    assert value_of(home, "SELECT count(*) FROM all_documents") == 2 * len(new.documents())
    assert rows_of(home, "SELECT DISTINCT release FROM kept") == [(2,)]
    assert rows_of(home, "SELECT release, current FROM releases ORDER BY release") == [(1, False), (2, True)]
    assert _counts(home, "shards", "all_shards", "seeds") == {"shards": 3, "all_shards": 6, "seeds": 12}
    assert rows_of(home, "SELECT DISTINCT run FROM costs") == [("run-w-B",)]


def test_of_an_ingest_only_the_partitions_that_are_covered(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    covered = wave.objects["ingest"]
    file = orjson.loads((home / covered.place / "manifest.json").read_bytes())["files"]["seeds-00001.parquet"]
    write_release(home, 1, [wave], partitions=[file["sha256"]])
    build_catalog(home)
    expected = {row["id"] for row in covered.tables["seeds-00001.parquet"]}
    assert {one for (one,) in rows_of(home, "SELECT id FROM seeds")} == expected
    assert value_of(home, "SELECT count(*) FROM all_seeds") == 12


def test_a_rewritten_shard_replaces_its_rows(home: Path) -> None:
    old, new = Wave("w"), Wave("w")
    gone = old.kept()[-1]["id"]
    shards = new.objects["shards"]
    shards.config["without"] = [gone]
    shards.tables["rows.parquet"] = [row for row in shards.tables["rows.parquet"] if row["doc_id"] != gone]
    shards.shards = {name: [row for row in rows_ if row["doc_id"] != gone] for name, rows_ in shards.shards.items()}
    old.write(home)
    new.write(home)
    write_release(home, 1, [old])
    write_release(home, 2, [new], continues=1, tombstones=[gone])
    build_catalog(home)
    left = {row["id"] for row in old.kept()} - {gone}
    assert dict(rows_of(home, "SELECT doc_id, release FROM rows")) == dict.fromkeys(left, 2)
    assert value_of(home, "SELECT count(*) FROM all_rows") == 2 * len(left) + 1


def test_two_recipes_on_the_same_objects_are_kept_apart(home: Path) -> None:
    one, other = Wave("w", policy="A"), Wave("w", policy="A")
    strict = other.objects["keep/p0/qa"]
    strict.config["strict"] = True
    drop = rows.drop_row(other.document("p0", "qa", 3)["id"], "document", "keep", "words", "too_short")
    strict.tables["drops.parquet"].append(drop)
    one.write(home)
    other.write(home)
    write_release(home, 1, [one], recipe="mild")
    write_release(home, 4, [other], recipe="strict")
    build_catalog(home)
    counted = dict(rows_of(home, "SELECT recipe, count(*) FROM kept GROUP BY ALL"))
    assert counted == {"mild": len(one.kept()), "strict": len(one.kept()) - 1}
    assert value_of(home, "SELECT count(*) FROM dropped WHERE recipe = 'strict'") == 1 + value_of(
        home, "SELECT count(*) FROM dropped WHERE recipe = 'mild'"
    )


# Money.


def test_costs_are_tokens_by_the_price_card_and_gpu_time(grown: tuple[Path, Wave, Wave]) -> None:
    home, first, _ = grown
    answers = rows_of(
        home,
        "SELECT family, outcome, asks, attempts, prompt_tokens, completion_tokens, reasoning_tokens, round(dollars, 6) "
        "FROM costs WHERE kind = 'answer' AND run = 'run-first-A' ORDER BY ALL",
    )
    # A dollar per million prompt tokens, ten for completion and reasoning: 100 + 10 x (40 + 10) = 600 millionths an ask.
    assert answers == [
        ("distill", "ok", 6, 6, 600, 240, 60, 0.0036),
        ("distill", "truncated_answer", 2, 2, 200, 80, 20, 0.0012),
        ("qa", "ok", 8, 8, 800, 320, 80, 0.0048),
        ("qa", "truncated_answer", 2, 2, 200, 80, 20, 0.0012),
    ]
    failed = rows_of(
        home,
        "SELECT role, family, outcome, asks, attempts, completion_tokens, round(dollars, 6) FROM costs "
        "WHERE kind = 'failed_attempt' AND run = 'run-first-A' ORDER BY ALL",
    )
    assert failed == [("writer", family, "timeout", 0, 2, 14, 0.00034) for family in sorted(FAMILIES)]
    engine = rows_of(
        home,
        "SELECT family, gpu_seconds, loading_gpu_seconds, idle_gpu_seconds, busy_gpu_seconds, dollars "
        "FROM costs WHERE kind = 'engine'",
    )
    # Two GPUs for half an hour at three dollars, in each run.
    assert engine == [(None, 3600.0, 10.0, 1200.0, 2390.0, 3.0)] * 2
    assert value_of(home, "SELECT sum(attempts)::BIGINT FROM all_costs") == value_of(
        home, "SELECT count(*) FROM all_attempts"
    )
    assert value_of(home, "SELECT sum(asks)::BIGINT FROM all_costs") == len(first.documents()) + 9


def test_an_answer_that_was_reused_is_paid_once_and_its_attempts_are_found(home: Path) -> None:
    """Another policy took over the answers of an earlier object: its asks are there again, its attempts are not."""
    old, new = Wave("w", policy="A"), Wave("w", policy="B")
    for label in [label for label in new.objects if label.startswith("generate/")]:
        new.objects[label].tables["asks.parquet"] = old.objects[label].tables["asks.parquet"]
        new.objects[label].tables["attempts.parquet"] = []
        for ask, document in zip(new.table(label, "asks"), new.table(label, "documents"), strict=True):
            document["ask_ids"] = [ask["ask_id"]]
            document["written_by"] = [ask["ask_id"]]
    for started, wave in enumerate((old, new)):
        wave.write(home)
        write_run(home, wave, started=started)
    write_release(home, 1, [old])
    write_release(home, 2, [new])
    build_catalog(home)
    assert value_of(home, "SELECT count(*) FROM all_asks") == 2 * value_of(home, "SELECT count(*) FROM asks")
    for view in ("costs", "all_costs"):
        assert value_of(home, f"SELECT sum(asks)::BIGINT FROM {view} WHERE kind = 'answer'") == len(old.documents())
        assert rows_of(home, f"SELECT DISTINCT run FROM {view} WHERE kind = 'answer'") == [("run-w-A",)]
    assert value_of(home, "SELECT count(*) FROM attempts") == value_of(home, "SELECT count(*) FROM all_attempts")


def test_a_run_without_a_price_has_no_dollars(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    run = home / "runs" / write_run(home, wave) / "run.json"
    run.write_bytes(orjson.dumps({**orjson.loads(run.read_bytes()), "models": {}}))
    write_release(home, 1, [wave])
    build_catalog(home)
    assert rows_of(home, "SELECT DISTINCT dollars FROM costs") == [(None,)]


# How it is built.


def test_an_empty_home_has_all_views_with_their_columns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = home / "runs" / write_run(home, Wave(), ended=False) / "run.json"
    run.write_bytes(orjson.dumps({**orjson.loads(run.read_bytes()), "objects": {}}))
    build_catalog(home)
    described = _described(home, monkeypatch)
    for table, schema in TABLES.items():
        columns = [(field.name, duckdb_type(field.type).replace('"', "")) for field in schema]
        for view in (table, f"all_{table}"):
            assert described[view][: len(columns)] == columns, view
    for name in canned_titles():
        assert rows_of(home, canned(name)) == []


def test_types_are_the_same_with_and_without_rows(
    grown: tuple[Path, Wave, Wave], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_catalog(home)
    full, empty = _described(grown[0], monkeypatch), _described(home, monkeypatch)
    assert full.keys() == empty.keys()
    differ = [view for view in full if full[view] != empty[view]]
    # Further columns of scores are the recipe's rules.
    assert differ == ["all_scores", "all_seed_scores", "scores", "seed_scores"]


def _described(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, str]]]:
    """Names and types of the columns of every view, which must all work."""
    monkeypatch.chdir(home)
    with duckdb.connect("catalog.duckdb", read_only=True) as connection:
        found = {}
        for name in sorted(f"{prefix}{view}" for prefix in ("", "all_") for view in NEWEST):
            columns = connection.execute(f"DESCRIBE {name}").fetchall()
            found[name] = [(column[0], column[1].replace('"', "")) for column in columns]
    return found


def test_plain_duckdb_works_inside_the_home(grown: tuple[Path, Wave, Wave], monkeypatch: pytest.MonkeyPatch) -> None:
    home, first, second = grown
    monkeypatch.chdir(home)
    with duckdb.connect("catalog.duckdb", read_only=True) as connection:
        for view in NEWEST:
            for name in (view, f"all_{view}"):
                assert connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] > 0, name
        for name in canned_titles():
            assert connection.execute(canned(name)).fetchall(), name
        kept = connection.execute("SELECT count(*) FROM kept").fetchall()
    assert kept == [(len(first.kept()) + len(second.kept()) - 1,)]


@pytest.mark.parametrize("name", ["moved", "it's [1], *really*?"])
def test_a_home_that_was_moved_needs_no_new_catalogue(home: Path, name: str) -> None:
    wave = Wave()
    wave.write(home)
    write_release(home, 1, [wave])
    build_catalog(home)
    moved = home.rename(home.with_name(name))
    assert value_of(moved, "SELECT count(*) FROM documents") == len(wave.documents())
    build_catalog(moved)
    assert value_of(moved, "SELECT count(*) FROM kept") == len(wave.kept())


def test_a_reader_keeps_the_catalogue_it_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Wave("first"), Wave("second", ["p5"])
    first.write(home)
    write_release(home, 1, [first])
    catalog = build_catalog(home)
    monkeypatch.chdir(home)
    with duckdb.connect("catalog.duckdb", read_only=True) as reader:
        before = catalog.stat().st_ino
        second.write(home)
        write_release(home, 2, [first, second], continues=1)
        build_catalog(home)
        assert catalog.stat().st_ino != before
        assert reader.execute("SELECT count(*) FROM documents").fetchall() == [(len(first.documents()),)]
        assert value_of(home, "SELECT count(*) FROM documents") == len(first.documents()) + len(second.documents())
    assert not list((home / "tmp").iterdir())


def test_rules_that_came_later_add_columns(home: Path) -> None:
    old, new = Wave("first"), Wave("second", ["p5"])
    for label in [label for label in old.objects if label.startswith("score/")]:
        old.objects[label].config["rules"] = ["words"]
    old.write(home)
    for label in [label for label in old.objects if label.startswith("score/")]:
        folder = home / old.objects[label].place
        table = rows.read_table(folder / "scores.parquet").drop_columns(["symbol_ratio"])
        rows.write_table(table, folder / "scores.parquet")
    new.write(home)
    write_release(home, 1, [old])
    write_release(home, 2, [old, new], continues=1)
    build_catalog(home)
    found = dict(rows_of(home, "SELECT release, count(symbol_ratio) FROM scores GROUP BY ALL"))
    assert found == {1: 0, 2: len(new.documents())}


def test_what_is_not_published_does_not_exist(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    (home / wave.objects["score/p0/qa"].place / "manifest.json").unlink()
    build_catalog(home)
    assert value_of(home, "SELECT count(*) FROM all_scores") == len(wave.documents()) - len(
        wave.table("score/p0/qa", "scores")
    )


def test_a_release_on_a_missing_object_is_an_error_that_names_it(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    write_release(home, 1, [wave])
    place = wave.objects["score/p0/qa"].place
    (home / place / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match=place):
        build_catalog(home)
    assert not (home / "catalog.duckdb").exists()
    assert not list(home.glob("tmp/*"))


def test_a_missing_release_of_the_chain_is_an_error_that_names_it(home: Path) -> None:
    wave = Wave()
    wave.write(home)
    write_release(home, 2, [wave], continues=1)
    with pytest.raises(IntegrityError, match="release 1 of quickstart"):
        build_catalog(home)


def test_a_folder_that_is_no_home_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="not a home"):
        build_catalog(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_view_says_what_it_shows(grown: tuple[Path, Wave, Wave]) -> None:
    with catalogue(grown[0], "1GB") as opened:
        shown = opened.views
    assert set(NEWEST) | {f"all_{view}" for view in NEWEST} | {"releases", "runs", "run_objects", *KEEPING} == set(
        shown
    )
    assert all(shown.values())


def test_a_home_of_2000_objects_is_catalogued_in_seconds(home: Path) -> None:
    base = Wave("w", ["p0"])
    base.write(home)
    made = 0
    for group in range(286):
        for one in [one for one in base.objects.values() if one.step in ("screen", "generate", "score", "keep")]:
            copy = Object(one.step, f"g{group}", one.config, one.tables, one.counts)
            (home / copy.place).mkdir(parents=True)
            for file in (home / one.place).iterdir():
                os.link(file, home / copy.place / file.name)
            made += 1
    start, cpu = time.perf_counter(), time.process_time()
    build_catalog(home)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    total = value_of(home, "SELECT count(*) FROM all_documents")
    asked = time.perf_counter() - start
    print(f"{made} objects: built in {seconds:.2f} s ({cpu_seconds:.2f} s CPU), all documents counted in {asked:.2f} s")
    assert total == 287 * len(base.documents())
    assert cpu_seconds < 5


def test_an_object_that_was_copied_by_hand_is_refused(home: Path) -> None:
    """Two objects of one key can only be the same nothing; one with rows would be counted twice."""
    wave = Wave("copied")
    wave.write(home)
    place = next(one.place for one in wave.objects.values() if one.step == "score")
    shutil.copytree(home / place, home / "objects/score/elsewhere" / Path(place).name)
    with pytest.raises(IntegrityError, match=r"(?s)two objects have one key.*elsewhere"):
        build_catalog(home)
