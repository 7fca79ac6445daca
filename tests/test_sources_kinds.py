"""Sources beside JSON lines and Parquet: zstd, plain text, folders of `datasets`, queries; and globs over what disks hold."""

from __future__ import annotations

import glob
import itertools
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import sources_readers, sources_text
from synth.audit import files_query
from synth.config import parse
from synth.digest import digest
from synth.errors import RecipeError, SourceError
from synth.rows import Seed, seeds_from
from synth.sources import Source, check_files, read_source, source_files
from synth.sources_files import matches
from synth.text_files import read_texts, text_files


def source(kind: str, **fields: Any) -> Source:
    return parse(Source, {"id": "web", "kind": kind, "paths": ["x"], **fields})


def read(of: Source, *files: Path) -> list[Seed]:
    return [seed for table in read_source(of, *files) for seed in seeds_from(table)]


def texts(of: Source, *files: Path) -> list[str]:
    return [seed.text for seed in read(of, *files)]


def zstd(raw: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(raw, asbytes=True))


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        pytest.param("jsonl", {"separator": "x"}, ["separator", "'text' only"], id="separator of JSON lines"),
        pytest.param("text", {"separator": ""}, ["separator", "at least 1"], id="empty separator"),
        pytest.param("text", {"columns": {"text": "x"}}, ["columns", "no columns"], id="columns of text"),
        pytest.param("parquet", {"split": "train"}, ["split", "'hf' only"], id="split of Parquet"),
        pytest.param("parquet", {"query": "FROM files"}, ["query", "'sql' only"], id="query of Parquet"),
        pytest.param("sql", {}, ["query", "a SELECT for kind 'sql'"], id="no query"),
        pytest.param(
            "sql", {"query": "FROM files", "paths": []}, ["paths", "at least one file"], id="query of nothing"
        ),
        pytest.param("hf", {"paths": ["s3://b/x"]}, ["paths", "folders on this machine"], id="dataset elsewhere"),
    ],
)
def test_recipe_errors(kind: str, fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        source(kind, **fields)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_what_shapes_rows_is_content_and_older_homes_keep_their_keys() -> None:
    assert set(source("jsonl").content()) == {"id", "kind", "columns", "license", "limit"}
    base = source("text").content()
    assert source("text", separator="\n").content() != base
    assert source("sql", query="FROM files").content() != source("sql", query="SELECT * FROM files").content()
    assert source("hf", split="train").content() == source("hf", split="test").content()


# zstd


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        pytest.param("a.jsonl.zst", zstd, id="one frame"),
        pytest.param("a.jsonl", zstd, id="under another name"),
        pytest.param("a.jsonl.zst", lambda raw: zstd(raw[:10]) + zstd(raw[10:]), id="two frames"),
        pytest.param(
            "a.jsonl.zst", lambda raw: b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstd(raw), id="a frame to skip first"
        ),
        pytest.param("a.jsonl.zst", lambda raw: zstd(b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n")), id="from Windows"),
    ],
)
def test_zstd(tmp_path: Path, name: str, encode: Callable[[bytes], bytes]) -> None:
    file = tmp_path / name
    file.write_bytes(encode('{"text":"Ein Satz über Öl."}\n{"text":"b"}\n'.encode()))
    assert texts(source("jsonl"), file) == ["Ein Satz über Öl.", "b"]
    file.write_bytes(encode(b""))
    assert texts(source("jsonl"), file) == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda raw: raw[:-9], id="cut"),
        pytest.param(lambda raw: raw[:30] + bytes([raw[30] ^ 255]) + raw[31:], id="flipped"),
        pytest.param(lambda raw: b'{"text": "a"}\n', id="not zstd"),
        pytest.param(lambda raw: raw + b"rubbish", id="rubbish behind"),
    ],
)
def test_damaged_zstd(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.jsonl.zst"
    file.write_bytes(damage(zstd(b"".join(b'{"text": "number %d"}\n' % number for number in range(500)))))
    with pytest.raises(SourceError, match=r"a\.jsonl\.zst.*(zstd|JSON|UTF-8)"):
        read(source("jsonl"), file)


def test_a_small_file_that_unpacks_to_an_endless_line_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.jsonl.zst"
    file.write_bytes(zstd(b'{"text": "' + b"x" * 50_000_000))
    assert file.stat().st_size < 20_000
    monkeypatch.setattr(sources_readers, "MAX_LINE_BYTES", 5_000_000)
    tracemalloc.start()
    with pytest.raises(SourceError, match="too long for one document"):
        read(source("jsonl"), file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


# Text


def test_a_text_file_is_a_seed_known_by_its_text(tmp_path: Path) -> None:
    for name, raw in (("b.txt", b"\xef\xbb\xbfOne.\r\nTwo.\n"), ("a.md", "# Größe\n".encode())):
        (tmp_path / name).write_bytes(raw)
    of = source("text", paths=["*.txt", "*.md"], license="MIT")
    seeds = [seed for file in source_files(of, tmp_path) for seed in read(of, file)]
    assert [seed.text for seed in seeds] == ["# Größe\n", "One.\r\nTwo.\n"]
    assert seeds[0].id == digest({"source": "web", "text": "# Größe\n"})
    assert (seeds[0].source, seeds[0].meta, seeds[0].license) == (None, {}, "MIT")


def test_an_empty_text_file_is_an_empty_seed_that_ingest_counts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    assert texts(source("text"), tmp_path / "a.txt") == [""]
    assert texts(source("text", separator="\n"), tmp_path / "a.txt") == []


@pytest.mark.parametrize("encode", [lambda raw: raw, zstd], ids=["plain", "zstd"])
def test_several_texts_in_a_file(tmp_path: Path, encode: Callable[[bytes], bytes]) -> None:
    raw = b"One.\n<|endoftext|>\nTwo\n\nlines.\n<|endoftext|>\n  \n<|endoftext|><|endoftext|>Last."
    (tmp_path / "a.txt").write_bytes(encode(raw))
    assert texts(source("text", separator="<|endoftext|>"), tmp_path / "a.txt") == ["One.", "Two\n\nlines.", "Last."]


@given(st.lists(st.text("ab|", max_size=8), max_size=8), st.sampled_from(["|", "||", "a|", "abab"]), st.integers(1, 7))
@settings(max_examples=150)
def test_pieces_are_those_of_split_however_the_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], separator: str, chunk_bytes: int
) -> None:
    file = tmp_path_factory.mktemp("pieces") / "a.txt"
    whole = separator.join(parts)
    file.write_text(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources_text, "_READ_BYTES", chunk_bytes)
        assert texts(source("text", separator=separator), file) == [part for part in whole.split(separator) if part]


@pytest.mark.parametrize(
    ("raw", "fields", "words"),
    [
        pytest.param(b"caf\xe9", {}, ["not valid UTF-8", "byte 0xe9 at offset 3"], id="not UTF-8"),
        pytest.param(b"a|b|\xff", {"separator": "|"}, ["text 3", "byte 0xff at offset 0"], id="a piece is not UTF-8"),
        pytest.param(b"x" * 41, {}, ["too long", "more than 40 bytes", "separator"], id="too long"),
        pytest.param(b"a|" + b"x" * 41, {"separator": "|"}, ["too long", "without '|'"], id="a piece too long"),
    ],
)
def test_text_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, fields: dict[str, Any], words: list[str]
) -> None:
    monkeypatch.setattr(sources_text, "MAX_LINE_BYTES", 40)
    monkeypatch.setattr(sources_text, "_READ_BYTES", 8)
    file = tmp_path / "a.txt"
    file.write_bytes(raw)
    with pytest.raises(SourceError) as caught:
        texts(source("text", **fields), file)
    assert [word for word in [str(file), "do:", *words] if word not in str(caught.value)] == [], str(caught.value)


# Globs


def test_links_that_make_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for number in range(6):  # Python's own glob would try 6 ** 40 paths
        (tmp_path / f"a/loop{number}").symlink_to(tmp_path / "a")
        (tmp_path / f"a/b/up{number}").symlink_to(tmp_path)
    (tmp_path / "a/b/x.jsonl").write_text("{}")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert [path.name for path in matches("**/*.jsonl", tmp_path)] == ["x.jsonl"]


names = st.sampled_from(["a", "b.txt", "c.md", ".hidden", "[x]", "d"])


@given(st.lists(st.lists(names, min_size=1, max_size=4), min_size=1, max_size=8))
@settings(max_examples=60)
def test_without_links_globs_are_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]]
) -> None:
    base = tmp_path_factory.mktemp("globs")
    for parts in paths:
        file = base.joinpath(*parts)
        if not any(parent.is_file() for parent in [file, *file.parents]) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
    for pattern in ("**/*.txt", "**", "a/**", "**/a/**/*.md", "*/**/d", "*", "**/[[]x]", "*/*"):
        hits = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207 (this is what it is compared with)
        if pattern == "a/**" and (base / "a").is_file():
            continue  # Python finds the file, which is no folder
        wanted = sorted({base / hit for hit in hits if (base / hit).is_file()})
        try:
            found = matches(pattern, base)
        except SourceError:
            found = []
        assert found == wanted, pattern
        assert wanted == [] or matches(str(base / pattern), Path("/nowhere")) == wanted


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0)
    with pytest.raises(SourceError, match=r"a cannot be read: Permission denied"):
        source_files(source("text", paths=["**/*.txt"]), tmp_path)


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    with pytest.raises(SourceError, match="matches no file"):
        matches("*.jsonl", tmp_path)


# Folders of `datasets`

ROWS = {"key": list(range(5)), "body": ["a", "b\x00", "c" * 50, "ü", ""], "score": [0.5, None, 1.0, 2.0, 3.0]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets as the library itself saves them."""
    import datasets

    folder = tmp_path_factory.mktemp("hf")
    one = datasets.Dataset.from_dict(ROWS)
    one.save_to_disk(folder / "one", num_shards=2)
    one.filter(lambda row: row["key"] != 2).save_to_disk(folder / "filtered")
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(folder / "several")
    datasets.DatasetDict({"train": one}).save_to_disk(folder / "single")
    return folder


COLUMNS = {"id": "key", "text": "body", "quality": "score"}


def hf(**fields: Any) -> Source:
    return source("hf", columns=COLUMNS, **fields)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        pytest.param({"paths": ["one"]}, range(5), id="two files"),
        pytest.param({"paths": ["filtered"]}, [0, 1, 3, 4], id="filtered"),
        pytest.param({"paths": ["single"]}, range(5), id="the only split"),
        pytest.param({"paths": ["several"], "split": "test"}, [0], id="a split of several"),
        pytest.param({"paths": ["s*"], "split": "train"}, [*range(5), *range(5)], id="a glob of folders"),
    ],
)
def test_datasets_on_disk(saved: Path, fields: dict[str, Any], keys: Any) -> None:
    of = hf(**fields)
    files = source_files(of, saved)
    check_files(of, files)
    seeds = [seed for file in files for seed in read(of, file)]
    assert [seed.meta for seed in seeds] == [{"id": str(key)} for key in keys]
    assert [(seed.text, seed.quality) for seed in seeds] == [(ROWS["body"][key], ROWS["score"][key]) for key in keys]


def test_files_that_the_dataset_does_not_name_are_not_read(saved: Path) -> None:
    (saved / "one/data-00009-of-00010.arrow").write_bytes(b"of an older save")
    assert [file.name for file in source_files(hf(paths=["one"]), saved)] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]


def write_arrow(file: Path, table: pa.Table, new: Callable[..., Any]) -> Path:
    with new(str(file), table.schema) as writer:
        writer.write_table(table)
    return file


def test_an_arrow_file_format_is_read_too_and_large_batches_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.sources_hf.BATCH_ROWS", 3)
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        file = write_arrow(tmp_path / "a.arrow", pa.table({"body": [str(n) for n in range(10)], "key": range(10)}), new)
        tables = list(read_source(source("hf", columns={"id": "key", "text": "body"}), file))
        assert [len(table) for table in tables] == [3, 3, 3, 1]
        assert [text for table in tables for text in table["text"].to_pylist()] == [str(n) for n in range(10)]


def spoil(kind: str, folder: Path) -> None:
    """What goes wrong with folders that are copied around."""
    match kind:
        case "cut":
            file = folder / "d/data-00000-of-00001.arrow"
            file.write_bytes(file.read_bytes()[:-600])
        case "gone":
            (folder / "d/data-00000-of-00001.arrow").unlink()
        case "outside":
            state = json.loads((folder / "d/state.json").read_bytes())
            state["_data_files"] = [{"filename": "../../secret"}]
            (folder / "d/state.json").write_text(json.dumps(state))
            (folder / "secret").write_text("")
        case "empty":
            (folder / "d/state.json").write_text("[]")
        case "torn":
            (folder / "d/state.json").write_text("{")


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        pytest.param(
            "", {"paths": ["d/state.json"]}, ["d/state.json", "folder that `save_to_disk` wrote"], id="a file"
        ),
        pytest.param("", {"paths": ["e"]}, ["does not exist", "nearest there: d/"], id="no folder"),
        pytest.param("", {"paths": ["m"]}, ["several splits", "allowed: train, test"], id="no split chosen"),
        pytest.param("", {"split": "train"}, ["one dataset without splits", "leave out"], id="no splits"),
        pytest.param("", {"paths": ["m"], "split": "trian"}, ["no split 'trian'", "did you mean 'train'"], id="split"),
        pytest.param("", {"columns": {"text": "boody"}}, ["no column 'boody'", "mean 'body'", ".arrow"], id="column"),
        pytest.param("", {"columns": {"text": "score"}}, ["'score' has the wrong type", "double"], id="type"),
        pytest.param("cut", {}, ["not a whole Arrow file"], id="cut"),
        pytest.param("gone", {}, ["names a file that is not there"], id="gone"),
        pytest.param("outside", {}, ["names a file that is not there"], id="outside of the folder"),
        pytest.param("torn", {}, ["state.json is not what save_to_disk writes"], id="torn"),
        pytest.param("empty", {}, ["state.json is not what save_to_disk writes"], id="JSON of another kind"),
    ],
)
def test_dataset_refusals(tmp_path: Path, kind: str, fields: dict[str, Any], words: list[str]) -> None:
    import datasets

    one = datasets.Dataset.from_dict(ROWS)
    one.save_to_disk(tmp_path / "d")
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(tmp_path / "m")
    spoil(kind, tmp_path)
    of = source("hf", **{"paths": ["d"], "columns": COLUMNS, **fields})
    with pytest.raises(SourceError) as caught:
        files = source_files(of, tmp_path)
        if kind != "cut":
            check_files(of, files)
        read(of, *files)
    assert [word for word in ["do:", *words] if word not in str(caught.value)] == [], str(caught.value)


def test_damaged_arrow_never_crashes_the_process(saved: Path, tmp_path: Path) -> None:
    """Bits anywhere may be wrong: offsets that point out of the file, sizes, the schema."""
    raw = (saved / "filtered/data-00000-of-00001.arrow").read_bytes()
    refused = 0
    for place in range(0, len(raw), 7):
        file = tmp_path / "a.arrow"
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 0x5A]) + raw[place + 1 :])
        try:
            read(hf(), file)
        except SourceError:
            refused += 1
    assert refused > 20


# Queries over Parquet


@pytest.fixture
def parquet(tmp_path: Path) -> list[Path]:
    """Three files, of which one lacks a column, one has another, and whose names mean something to DuckDB."""
    tables = {
        "a[1].parquet": {"key": [1, 2], "body": ["one", "two"], "score": [0.5, 3.5]},
        "b*.parquet": {"key": [3], "body": ["three"]},
        "lang=en/c.parquet": {"key": [4], "body": ["four"], "score": [5.0], "meta": [{"url": "u4"}]},
    }
    for name, columns in tables.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / name)
    return [tmp_path / name for name in tables]


def sql(query: str, **columns: str) -> Source:
    return source("sql", query=query, columns=columns)


def test_a_query_over_several_files(parquet: list[Path]) -> None:
    of = sql("SELECT key, upper(body) AS text, score::DECIMAL(9, 2) AS q, meta.url FROM files WHERE key <> 1", id="key",
             quality="q", url="url")  # fmt: skip
    check_files(of, parquet)
    seeds = sorted(read(of, *parquet), key=lambda seed: seed.text)
    found = [(seed.text, seed.quality, seed.url, seed.meta) for seed in seeds]
    assert found == [
        ("FOUR", 5.0, "u4", {"id": "4"}),
        ("THREE", None, None, {"id": "3"}),
        ("TWO", 3.5, None, {"id": "2"}),
    ]


def test_rows_do_not_depend_on_names_and_order_of_files(parquet: list[Path]) -> None:
    of = sql("SELECT body AS text FROM files")
    assert {seed.id for seed in read(of, *parquet)} == {seed.id for seed in read(of, *parquet[::-1])}
    with pytest.raises(SourceError, match='"lang"'):  # a folder's name is no column
        read(sql("SELECT body AS text, lang FROM files"), *parquet)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param(
            "SELECT body FROM files", ["no column 'text'", "allowed: body", "query of source 'web'"], id="no text"
        ),
        pytest.param("SELECT key AS text FROM files", ["'text' has the wrong type", "int64"], id="wrong type"),
        pytest.param("SELECT boddy AS text FROM files", ["boddy", "body"], id="unknown column"),
        pytest.param("SELECT body AS text FROM file", ["no view 'file'", "did you mean 'files'"], id="unknown view"),
        pytest.param(
            "SELECT body text FROM read_parquet('{file}')", ["read_parquet() is not allowed"], id="by its path"
        ),
        pytest.param("SELECT a AS text FROM '{secret}'", ["there is no view"], id="another file"),
        pytest.param("COPY files TO '{out}'", ["one SELECT"], id="write"),
        pytest.param("SELECT random()::VARCHAR AS text FROM files", ["other rows each time", "random()"], id="random"),
        pytest.param("SELECT now()::VARCHAR AS text FROM files", ["other rows each time", "now()"], id="now"),
        pytest.param(
            "SELECT body AS text FROM files USING SAMPLE 1", ["other rows each time", "a sample"], id="sample"
        ),
        pytest.param("SELECT body AS text FROM files TABLESAMPLE 50%", ["a sample"], id="sample of a table"),
        pytest.param("SELECT CASE WHEN key = 4 THEN error('bad') ELSE body END AS text FROM files", ["bad"], id="late"),
        pytest.param("SELECT NULL AS text FROM files", ["'text' is null", "row 1"], id="null"),
        pytest.param("SELECT body AS text FROM files LIMIT 2", ["LIMIT without ORDER BY", "md5"], id="limit"),
        pytest.param("SELECT t.body AS text FROM (FROM files LIMIT 50%) t", ["LIMIT without"], id="limit within"),
    ],
)
def test_query_refusals(parquet: list[Path], tmp_path: Path, query: str, words: list[str]) -> None:
    pq.write_table(pa.table({"a": ["secret"]}), tmp_path / "secret.parquet")
    of = sql(query.format(file=parquet[0], secret=tmp_path / "secret.parquet", out=tmp_path / "out"))
    with pytest.raises(SourceError) as caught:
        read(of, *parquet)
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_parquet_is_named_as_the_user_does(parquet: list[Path]) -> None:
    parquet[1].write_bytes(b"nothing of the kind")
    with pytest.raises(SourceError, match=r"b\*\.parquet"):
        check_files(sql("SELECT body AS text FROM files"), parquet)


def test_the_first_rows_in_an_order_are_the_same_each_time(parquet: list[Path]) -> None:
    of = sql("SELECT body AS text FROM files WHERE md5_number(body) % 1 = 0 ORDER BY md5(body) LIMIT 2")
    assert len(read(of, *parquet)) == 2
    assert {seed.id for seed in read(of, *parquet)} == {seed.id for seed in read(of, *parquet[::-1])}


def test_a_query_is_limited(parquet: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    endless = sql("SELECT body AS text FROM files, range(10000000000) r WHERE hash(r.range) = 1")
    monkeypatch.setattr(files_query, "LIMIT_SECONDS", 0.3)
    with pytest.raises(SourceError, match=r"took more than 0\.3 seconds"):
        read(endless, *parquet)
    monkeypatch.setattr(files_query, "LIMIT_SECONDS", 30.0)
    monkeypatch.setattr(files_query, "MEMORY", "50MB")
    with pytest.raises(SourceError, match="needs more than 50,000,000 bytes"):
        read(sql("SELECT string_agg(repeat(body, 1000000), '') AS text FROM files, range(1000)"), *parquet)


def test_a_query_streams(parquet: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    of = sql("SELECT body || r.range AS text FROM files, range(1000000000) r")
    tables = read_source(of, *parquet)
    assert [len(table) for table in itertools.islice(tables, 3)] == [sources_readers.BATCH_ROWS] * 3
    tables.close()  # type: ignore[attr-defined]


# Columns, looked at before anything is read


@pytest.mark.parametrize(
    ("row", "columns", "words"),
    [
        pytest.param({"content": "x"}, {}, ["no column 'text'", "allowed: content", "columns.text"], id="no text"),
        pytest.param({"meta": {"text": "x"}}, {"text": "meta.text"}, ["'meta.text'", "nested"], id="nested"),
        pytest.param({"text": ["x"]}, {}, ["'text' has the wrong type", "list"], id="list"),
        pytest.param({"text": {"en": "x"}}, {}, ["'text' has the wrong type"], id="object"),
        pytest.param({"text": "x", "idd": 1}, {"id": "id"}, ["no column 'id'", "did you mean 'idd'"], id="id"),
        pytest.param({"text": "x", "score": "3"}, {"quality": "score"}, ["'score'", "numbers"], id="type of another"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_columns_are_checked_against_the_head(
    tmp_path: Path, kind: str, row: dict[str, Any], columns: dict[str, str], words: list[str]
) -> None:
    good, bad = tmp_path / "a", tmp_path / "b"
    of = source(kind, columns=columns)
    for file, value in ((good, {"text": "x", "id": 1, "meta.text": "x", "score": 3}), (bad, row)):
        if kind == "jsonl":
            file.write_text(json.dumps(value) + "\n" + "not looked at")
        else:
            pq.write_table(pa.table({name: [one] for name, one in value.items()}), file)
    check_files(of, [good])
    with pytest.raises(SourceError) as caught:
        check_files(of, [good, bad])
    assert [word for word in [str(bad), "do:", *words] if word not in str(caught.value)] == [], str(caught.value)


def test_an_optional_key_may_come_late_in_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b", "link": "u"}\n')
    check_files(source("jsonl", columns={"url": "link"}), [file])
    assert [seed.url for seed in read(source("jsonl", columns={"url": "link"}), file)] == [None, "u"]


# The commands that work without a recipe


def test_commands_without_a_home_read_zstd_too_and_no_folder_that_is_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "in/b.jsonl").mkdir(parents=True)
    (tmp_path / "in/a.jsonl.zst").write_bytes(zstd(b'{"id": 7, "text": "a"}\n{"id": 8, "text": "b"}\n'))
    files = text_files([tmp_path / "in"])
    assert [file.name for file in files] == ["a.jsonl.zst"]
    (table,) = read_texts(files[0])
    assert table.select(["id", "text"]).to_pylist() == [{"id": "7", "text": "a"}, {"id": "8", "text": "b"}]
