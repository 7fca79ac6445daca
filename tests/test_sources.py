"""Sources: what is read from JSON lines and Parquet, and every refusal with its words."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import sources_readers
from synth.config import parse
from synth.digest import digest
from synth.errors import RecipeError, SourceError
from synth.rows import SEED, Seed, seeds_from
from synth.sources import Source, read_source, source_files

FINEWEB = {  # the schema of FineWeb's files
    "text": ["A page about bees.", "Une page.", "A page about tea."],
    "id": ["<urn:uuid:1>", "<urn:uuid:2>", "<urn:uuid:3>"],
    "dump": ["CC-MAIN-2024-10"] * 3,
    "url": ["https://a.example/1", "https://a.example/2", "https://a.example/3"],
    "date": ["2024-02-20T21:55:13Z"] * 3,
    "file_path": ["s3://commoncrawl/x.warc.gz"] * 3,
    "language": ["en", "fr", "en"],
    "language_score": [0.97, 0.81, 0.99],
    "token_count": [5, 3, 5],
}


def jsonl(**columns: Any) -> Source:
    return parse(Source, {"id": "web", "kind": "jsonl", "paths": ["*.jsonl"], "columns": columns})


def parquet(**columns: Any) -> Source:
    return parse(Source, {"id": "web", "kind": "parquet", "paths": ["*.parquet"], "columns": columns})


def read(source: Source, file: Path) -> list[Seed]:
    return [seed for table in read_source(source, file) for seed in seeds_from(table)]


def write_lines(file: Path, *rows: object) -> Path:
    file.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return file


# The recipe's table


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"kind": "csv"}, ["kind", "'csv'", "'parquet'"], id="unknown kind"),
        pytest.param({"id": "My Source"}, ["id", "My Source", "[a-z0-9_-]+"], id="bad id"),
        pytest.param({"paths": []}, ["paths", "at least one file or glob for kind 'jsonl'"], id="no paths"),
        pytest.param({"paths": [""]}, ["paths", "none of them empty"], id="empty path"),
        pytest.param({"paths": [3]}, ["paths.0", "3", "string"], id="path is a number"),
        pytest.param({"paths": "a.jsonl"}, ["paths", "a.jsonl", "a list"], id="paths is a string"),
        pytest.param(
            {"kind": "passages"}, ["paths", "kind 'passages' has a file of its own"], id="paths of a built-in"
        ),
        pytest.param(
            {"kind": "passages", "paths": [], "columns": {"text": "x"}}, ["columns", "knows its own"], id="its columns"
        ),
        pytest.param(
            {"kind": "python_docs", "paths": [], "license": "MIT"},
            ["license", "'MIT'", "knows its own"],
            id="its license",
        ),
        pytest.param({"limit": 5}, ["limit", "5", "'python_docs' only"], id="limit of a file"),
        pytest.param({"kind": "python_docs", "paths": [], "limit": 0}, ["limit", "0", "greater"], id="limit zero"),
        pytest.param({"columns": {"txt": "body"}}, ["columns.txt", "did you mean 'text'"], id="unknown column role"),
        pytest.param({"colums": {}}, ["colums", "did you mean 'columns'"], id="unknown key"),
    ],
)
def test_recipe_errors(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(Source, {"id": "web", "kind": "jsonl", "paths": ["a.jsonl"], **given}, "sources.0")
    assert [word for word in ["sources.0", *words] if word not in str(caught.value)] == []


def test_content_is_everything_but_paths() -> None:
    base = {"id": "web", "kind": "jsonl", "paths": ["a.jsonl"]}
    content = parse(Source, base).content()
    assert parse(Source, {**base, "paths": ["elsewhere/*.jsonl"]}).content() == content
    for change in ({"id": "other"}, {"kind": "parquet"}, {"columns": {"url": "link"}}, {"license": "MIT"}):
        assert parse(Source, {**base, **change}).content() != content, change
    docs = {"id": "d", "kind": "python_docs"}
    assert parse(Source, {**docs, "limit": 3}).content() != parse(Source, docs).content()


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.jsonl", "a[1].jsonl", "a1.jsonl", "deep/er/c.jsonl", "deep/x.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        pytest.param(["data/b.jsonl"], ["b.jsonl"], id="a file"),
        pytest.param(["data/?.jsonl"], ["a.jsonl", "b.jsonl"], id="a glob, sorted"),
        pytest.param(["data/b.jsonl", "data/a.jsonl"], ["a.jsonl", "b.jsonl"], id="order given does not matter"),
        pytest.param(["data/a*", "data/deep/../a.jsonl"], ["a.jsonl", "a1.jsonl", "a[1].jsonl"], id="each file once"),
        pytest.param(["data/a[1].jsonl"], ["a[1].jsonl"], id="a file whose name is a glob"),
        pytest.param(
            ["data/**/*.jsonl"], ["a.jsonl", "a1.jsonl", "a[1].jsonl", "b.jsonl", "deep/er/c.jsonl"], id="deep"
        ),
        pytest.param(["data/deep/*"], ["deep/x.txt"], id="folders are no files"),
    ],
)
def test_files(folder: Path, paths: list[str], found: list[str]) -> None:
    expected = [folder / "data" / name for name in found]
    assert source_files(parse(Source, {"id": "web", "kind": "jsonl", "paths": paths}), folder) == expected
    absolute = parse(Source, {"id": "web", "kind": "jsonl", "paths": [str(folder / path) for path in paths]})
    assert source_files(absolute, Path("/nowhere")) == expected


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("data/bb.jsonl", ["does not exist", "data/bb.jsonl", "b.jsonl"], id="nearest name"),
        pytest.param("dota/b.jsonl", ["does not exist", "dota/b.jsonl", "data/"], id="nearest folder"),
        pytest.param("data/*.jsonk", ["matches no file", "data/*.jsonk", "a.jsonl"], id="glob without a match"),
        pytest.param("data/deep", ["is a folder", "er/, x.txt"], id="a folder"),
    ],
)
def test_missing_files(folder: Path, path: str, words: list[str]) -> None:
    source = parse(Source, {"id": "web", "kind": "jsonl", "paths": ["data/a.jsonl", path]})
    with pytest.raises(SourceError) as caught:
        source_files(source, folder)
    shown = str(caught.value)
    assert [word for word in [*words, f"looked for in {folder}", "do:"] if word not in shown] == []


def test_missing_file_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the folder is empty"):
        source_files(jsonl(), tmp_path)


@pytest.mark.parametrize(
    "source", [jsonl(), parquet(), Source(id="p", kind="passages"), Source(id="d", kind="python_docs")]
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, source: Source) -> None:
    for file in (tmp_path / "gone.jsonl", tmp_path):
        with pytest.raises(SourceError, match=re.escape(str(file))) as caught:
            read(source, file)
        assert "do:" in str(caught.value)


# JSON lines


def test_jsonl_ids_come_from_the_text_where_rows_have_none(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", {"text": "One.", "x": 1}, b"", b"  \t", {"text": "Zwei, größer."})
    (table,) = read_source(jsonl(), file)
    assert table.schema.equals(SEED, check_metadata=True)
    first, second = seeds_from(table)
    own = digest({"source": "web", "text": "One."})
    assert first == Seed(id=own, source_id="web", root_id=own, generation_depth=0, text="One.")
    assert (second.text, second.id) == ("Zwei, größer.", digest({"source": "web", "text": "Zwei, größer."}))
    assert table["meta"].null_count == 2


ALL_ROLES = {
    "id": "key", "text": "body", "source": "title", "url": "link", "license": "rights", "language": "lang",
    "retrieved_at": "when", "quality": "score", "root_id": "root", "generation_depth": "depth", "output_terms": "terms",
    "answer": "gold",
}  # fmt: skip
FULL_ROW = {
    "key": "k1", "body": "Text.", "title": "T", "link": "https://a.example", "rights": "MIT", "lang": "de",
    "when": "2026-01-02", "score": 2, "root": "r" * 64, "depth": 3, "terms": "no-train",
    "gold": 18,
}  # fmt: skip


def expected_full(key: object, **changes: Any) -> Seed:
    own = digest({"source": "web", "key": str(key)})
    fields = {
        "id": own, "source_id": "web", "root_id": "r" * 64, "generation_depth": 3, "text": "Text.", "source": "T",
        "url": "https://a.example", "license": "MIT", "output_terms": "no-train", "language": "de",
        "retrieved_at": "2026-01-02", "quality": 2.0, "meta": {"id": str(key)},
    }  # fmt: skip
    return Seed(**{**fields, **changes})


def test_jsonl_all_roles(tmp_path: Path) -> None:
    bare = dict.fromkeys(FULL_ROW) | {"key": 2**63, "body": "Text."}
    file = write_lines(tmp_path / "a.jsonl", FULL_ROW, bare, {"key": 7, "body": "Text.", "rights": " ", "root": ""})
    full, empty, short = read(jsonl(**ALL_ROLES).model_copy(update={"license": "CC-BY-4.0"}), file)
    assert full == expected_full("k1", meta={"id": "k1", "answer": "18"})
    unknown = dict.fromkeys(("source", "url", "output_terms", "language", "retrieved_at", "quality"))
    rest = {**unknown, "license": "CC-BY-4.0", "generation_depth": 0}
    for seed, key in ((empty, 2**63), (short, 7)):
        assert seed == expected_full(key, root_id=digest({"source": "web", "key": str(key)}), **rest)
    assert [seed.license for seed in read(jsonl(**ALL_ROLES), file)] == ["MIT", None, None]


def two_members(raw: bytes) -> bytes:
    return gzip.compress(raw[:10]) + gzip.compress(raw[10:])


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        pytest.param("a.jsonl", lambda raw: raw, id="plain"),
        pytest.param("a.jsonl", lambda raw: raw.replace(b"\n", b"\r\n"), id="windows line ends"),
        pytest.param("a.jsonl", lambda raw: b"\xef\xbb\xbf" + raw, id="byte order mark"),
        pytest.param("a.jsonl", lambda raw: raw.rstrip(b"\n"), id="no last line end"),
        pytest.param("a.jsonl.gz", gzip.compress, id="gzip"),
        pytest.param("a.jsonl", gzip.compress, id="gzip under another name"),
        pytest.param("a.jsonl.gz", two_members, id="gzip of two members"),
    ],
)
def test_jsonl_encodings(tmp_path: Path, name: str, encode: Callable[[bytes], bytes]) -> None:
    file = tmp_path / name
    file.write_bytes(encode('{"text":"Ein Satz über Öl."}\n{"text":"b"}\n'.encode()))
    assert [seed.text for seed in read(jsonl(), file)] == ["Ein Satz über Öl.", "b"]


JSONL_REFUSALS = [
    pytest.param(b'{"text": "a"', ["malformed JSON", ":3"], id="cut line"),
    pytest.param(b'{"text": "a\\ud800"}', ["malformed JSON", "surrogate"], id="lone surrogate"),
    pytest.param(b'{"text": NaN}', ["malformed JSON", "character 10"], id="NaN"),
    pytest.param(b'{"text": "\xff"}', ["not valid UTF-8", "byte 0xff at offset 10"], id="invalid UTF-8"),
    pytest.param(b'["text"]', ["not a JSON object", "list"], id="array"),
    pytest.param(b'"text"', ["not a JSON object", "str"], id="string"),
    pytest.param({"key": "a", "txt": "b"}, ["no column 'text'", "did you mean 'txt'", "key, txt"], id="no text"),
    pytest.param({"text": "b"}, ["no column 'key'", "columns.id = 'key'", "allowed: text"], id="no id"),
    pytest.param({}, ["no column 'key'", "there are no columns"], id="empty object"),
    pytest.param({"key": "a", "text": None}, ["'text' is null"], id="null text"),
    pytest.param({"key": None, "text": "b"}, ["'key' is null", "identifies a row"], id="null id"),
    pytest.param({"key": "a", "text": ["b"]}, ["'text' has the wrong type", "list", "strings"], id="text is a list"),
    pytest.param({"key": 1.5, "text": "b"}, ["'key' has the wrong type", "float 1.5", "integers"], id="id is a float"),
    pytest.param({"key": True, "text": "b"}, ["'key' has the wrong type", "bool"], id="id is a bool"),
    pytest.param({"key": 10**30, "text": "b"}, ["'key' has the wrong type", "64-bit"], id="id beyond 64 bits"),
    pytest.param({"key": "a", "text": "b", "score": "hi"}, ["'score'", "numbers"], id="quality is a string"),
    pytest.param({"key": "a", "text": "b", "depth": -1}, ["'depth'", "from 0 to 32767"], id="negative depth"),
    pytest.param({"key": "a", "text": "b", "depth": 32768}, ["'depth'", "from 0 to 32767"], id="depth beyond int16"),
    pytest.param(
        {"key": "a", "text": "b", "link": 3}, ["'link'", "int 3", "strings", "columns.url"], id="url is a number"
    ),
]


@pytest.mark.parametrize(("line", "words"), JSONL_REFUSALS)
def test_jsonl_refusals(tmp_path: Path, line: object, words: list[str]) -> None:
    good = {"key": "g", "text": "good", "score": 1, "depth": 0, "link": "u"}
    file = write_lines(tmp_path / "seeds.jsonl", good, b"", line, good)
    with pytest.raises(SourceError) as caught:
        read(jsonl(id="key", quality="score", generation_depth="depth", url="link"), file)
    shown = str(caught.value)
    assert [word for word in [f"{file}:3: ", "do:", *words] if word not in shown] == []


def test_jsonl_optional_column_that_no_row_has(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", {"text": "a", "licence": "MIT"}, {"text": "b", "licence": "MIT"})
    with pytest.raises(SourceError) as caught:
        read(jsonl(license="license"), file)
    assert f"{file}: no column 'license'; did you mean 'licence'?" in str(caught.value)
    assert [seed.license for seed in read(jsonl(license="licence"), file)] == ["MIT", "MIT"]


def test_jsonl_line_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_readers, "MAX_LINE_BYTES", 40)
    assert len(read(jsonl(), write_lines(tmp_path / "a.jsonl", {"text": "x" * 27}))) == 1
    file = write_lines(tmp_path / "b.jsonl", {"text": "a"}, {"text": "x" * 28})
    with pytest.raises(SourceError, match="too long") as caught:
        read(jsonl(), file)
    assert f"{file}:2: " in str(caught.value)
    assert "more than 40 bytes" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda raw: raw[:-9], id="cut"),
        pytest.param(lambda raw: raw[:30] + bytes([raw[30] ^ 255]) + raw[31:], id="flipped"),
        pytest.param(lambda raw: b'{"text": "a"}\n', id="not gzip"),
        pytest.param(lambda raw: raw + b"rubbish", id="rubbish behind"),
    ],
)
def test_jsonl_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    raw = b"".join(b'{"text": "number %d"}\n' % number for number in range(500))
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(damage(gzip.compress(raw)))
    with pytest.raises(SourceError, match=rf"{re.escape(str(file))}.*(gzip|JSON|UTF-8)"):
        read(jsonl(), file)


def test_an_empty_file_gives_no_tables(tmp_path: Path) -> None:
    assert read(jsonl(license="nowhere"), write_lines(tmp_path / "a.jsonl")) == []
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert read(parquet(), tmp_path / "a.parquet") == []


@pytest.mark.parametrize("limits", [(7, 2**20), (4096, 100)], ids=["by rows", "by bytes"])
def test_jsonl_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    """Tables come before the end of the file is known; where they are cut changes no row."""
    rows = [{"text": f"number {number} " * 3} for number in range(40)]
    file = write_lines(tmp_path / "a.jsonl", *rows, b"broken")
    monkeypatch.setattr(sources_readers, "BATCH_ROWS", limits[0])
    monkeypatch.setattr(sources_readers, "BATCH_BYTES", limits[1])
    tables = read_source(jsonl(), file)
    seeds = list(itertools.chain.from_iterable(seeds_from(next(tables)) for _ in range(3)))
    assert [seed.text for seed in seeds] == [row["text"] for row in rows[: len(seeds)]]
    with pytest.raises(SourceError, match=":41: malformed"):
        list(tables)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=0, max_size=20), max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_text_survives_both_formats(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """NUL, line separators, empty and astral texts come out as they went in, with the same ids from both formats."""
    folder = tmp_path_factory.mktemp("rows")
    lines = write_lines(folder / "a.jsonl", *({"text": text} for text in texts))
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "a.parquet", row_group_size=5)
    expected = [(digest({"source": "web", "text": text}), text) for text in texts]
    assert [(seed.id, seed.text) for seed in read(jsonl(), lines)] == expected
    assert [(seed.id, seed.text) for seed in read(parquet(), folder / "a.parquet")] == expected


# Parquet


def test_parquet_of_fineweb(tmp_path: Path) -> None:
    file = tmp_path / "000_00000.parquet"
    pq.write_table(pa.table(FINEWEB), file, row_group_size=2)
    columns = {"id": "id", "url": "url", "language": "language", "retrieved_at": "date", "quality": "language_score"}
    source = parquet(**columns).model_copy(update={"license": "ODC-By-1.0"})
    assert {table.schema for table in read_source(source, file)} == {SEED}
    seeds = read(source, file)
    own = digest({"source": "web", "key": "<urn:uuid:2>"})
    assert seeds[1] == Seed(
        id=own, source_id="web", root_id=own, generation_depth=0, text="Une page.", url="https://a.example/2",
        license="ODC-By-1.0", language="fr", retrieved_at="2024-02-20T21:55:13Z", quality=0.81,
        meta={"id": "<urn:uuid:2>"},
    )  # fmt: skip
    assert [seed.text for seed in seeds] == FINEWEB["text"]


@pytest.mark.parametrize(
    "types",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"body": pa.large_string(), "lang": pa.dictionary(pa.int32(), pa.string())}, id="large, dictionary"
        ),
        pytest.param({"body": pa.string_view(), "depth": pa.uint8(), "score": pa.float32()}, id="view, small numbers"),
        pytest.param(
            {"body": pa.dictionary(pa.int8(), pa.large_string()), "score": pa.int64()}, id="text in a dictionary"
        ),
    ],
)
def test_parquet_all_roles(tmp_path: Path, types: dict[str, pa.DataType]) -> None:
    arrays = {
        name: pa.array([value, value]).cast(types.get(name, pa.array([value]).type)) for name, value in FULL_ROW.items()
    }
    pq.write_table(pa.table(arrays), tmp_path / "a.parquet")
    assert (
        read(parquet(**ALL_ROLES), tmp_path / "a.parquet")
        == [expected_full("k1", meta={"id": "k1", "answer": "18"})] * 2
    )


def test_parquet_integer_ids_and_columns_without_values(tmp_path: Path) -> None:
    table = pa.table({"key": pa.array([2**64 - 1], pa.uint64()), "body": ["Text."], **{
        name: pa.nulls(1) for name in FULL_ROW if name not in ("key", "body")
    }})  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    own = digest({"source": "web", "key": str(2**64 - 1)})
    (seed,) = read(parquet(**ALL_ROLES), tmp_path / "a.parquet")
    assert seed == Seed(own, "web", own, 0, "Text.", meta={"id": str(2**64 - 1)})


def invalid_utf8(*values: bytes) -> pa.Array:
    """A string array with these bytes, as a careless writer makes it."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


PARQUET_REFUSALS = [
    pytest.param({"txt": ["a"] * 3}, ["no column 'text'", "did you mean 'txt'", "allowed: key, txt"], id="no text"),
    pytest.param({"text": [1, 2, 3]}, ["'text' has the wrong type", "int64", "strings"], id="text of integers"),
    pytest.param({"text": [b"a"] * 3}, ["'text' has the wrong type", "binary"], id="text of bytes"),
    pytest.param({"text": ["a", "b", None]}, ["row 3", "'text' is null"], id="null text"),
    pytest.param({"text": pa.nulls(3)}, ["row 1", "'text' is null"], id="no text at all"),
    pytest.param({"key": ["a", None, "c"]}, ["row 2", "'key' is null"], id="null id"),
    pytest.param({"key": [1.0, 2.0, 3.0]}, ["'key' has the wrong type", "double", "integers"], id="id of floats"),
    pytest.param({"key": [True] * 3}, ["'key' has the wrong type", "bool"], id="id of bools"),
    pytest.param({"score": ["a"] * 3}, ["'score' has the wrong type", "numbers"], id="quality of strings"),
    pytest.param({"depth": [0, 1, 40000]}, ["row 3", "'depth' has the wrong type", "40000"], id="depth beyond int16"),
    pytest.param({"depth": [0, -1, 0]}, ["row 2", "'depth' has the wrong type", "-1"], id="negative depth"),
    pytest.param(
        {"text": invalid_utf8(b"a", b"bc", b"d\xff")}, ["row 3", "'text'", "0xff at offset 1"], id="text not UTF-8"
    ),
    pytest.param({"key": invalid_utf8(b"a", b"\xc3", b"d")}, ["row 2", "'key'", "0xc3 at offset 0"], id="id not UTF-8"),
]


@pytest.mark.parametrize(("columns", "words"), PARQUET_REFUSALS)
def test_parquet_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any], words: list[str]
) -> None:
    monkeypatch.setattr(sources_readers, "BATCH_ROWS", 2)  # the third row stands in a table of its own
    file = tmp_path / "seeds.parquet"
    good: dict[str, Any] = {"key": ["a", "b", "c"], "text": ["one", "two", "three"]}
    if "txt" in columns:
        del good["text"]
    pq.write_table(pa.table({**good, **columns}), file, row_group_size=2)
    optional = {role: name for role, name in (("quality", "score"), ("generation_depth", "depth")) if name in columns}
    with pytest.raises(SourceError) as caught:
        read(parquet(id="key", **optional), file)
    shown = str(caught.value)
    assert [word for word in [str(file), "do:", *words] if word not in shown] == []


def test_parquet_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="several columns are named 'text'"):
        read(parquet(), tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda raw: raw[:-20], id="cut"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="half"),
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: b'{"text": "a"}\n', id="not Parquet"),
        pytest.param(lambda raw: raw[:300] + bytes([raw[300] ^ 1]) + raw[301:], id="one bit, found by its checksum"),
    ],
)
def test_parquet_damaged(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "a.parquet"
    table = pa.table({"text": [f"number {number}" for number in range(500)]})
    pq.write_table(table, file, compression="none", use_dictionary=False, write_page_checksum=True)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(SourceError, match="is not a whole Parquet file"):
        read(parquet(), file)


def test_parquet_streams_large_rows_in_small_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_readers, "BATCH_BYTES", 10_000)
    rows = [f"{number:05d}" * 200 for number in range(60)]
    pq.write_table(pa.table({"text": rows}), tmp_path / "a.parquet", use_dictionary=False)
    tables = list(read_source(parquet(), tmp_path / "a.parquet"))
    assert max(table.num_rows for table in tables) <= 10
    assert [text for table in tables for text in table["text"].to_pylist()] == rows
