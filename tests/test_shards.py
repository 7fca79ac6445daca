"""Shards are real files here: written, read back by three libraries, damaged, and searched for what must not be in them."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shards.writer
from shards import SHARD, ShardConfig, find_row, read_shards, split_of, verify_shard, write_shards
from synth.config import parse
from synth.digest import file_sha256
from synth.errors import IntegrityError, RecipeError, UserError
from synth.rows import FORMAT_VERSION, ROW, part_text, read_table, table

INPUT = SHARD.remove(SHARD.get_field_index("tokens")).remove_metadata()


def name(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind}{number}".encode()).hexdigest()


def row(number: int, **changed: Any) -> dict[str, Any]:
    """One document; four siblings share a root."""
    source, generated = f"Passage {number}: größer als 7 µm. ", f"Question {number}? " + "It answers. " * (number % 40)
    at, end = len(source.encode()), len((source + generated).encode())
    parts = [
        {"role": "source", "start_byte": 0, "end_byte": at},
        {"role": "generated", "start_byte": at, "end_byte": end},
    ]
    value = {
        "doc_id": name("document", number),
        "family": ("diverse_qa", "distill")[number % 2],
        "seed_id": name("seed", number // 2),
        "root_id": name("root", number // 4),
        "text": source + generated,
        "parts": parts,
        "reasoning": None if number % 3 else f"Thought {number}.",
        "models": ["writer", "judge"][: number % 2 + 1],
        "generation_depth": 1,
        "license": "CC0-1.0" if number % 5 else None,
        "source_id": "passages",
        "language": "de" if number % 7 else None,
    }
    return value | changed


def shard(folder: Path, split: str = "train") -> Path:
    """The first shard of a split."""
    return sorted(folder.glob(f"{split}-*-00000.arrow"))[0]


def documents(count: int) -> pa.Table:
    return table([row(number) for number in range(count)], INPUT)


def shard_paths(out: Path) -> list[Path]:
    return sorted(out.glob("*.arrow"))


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def new(folder: Path, child: str) -> Path:
    (folder / child).mkdir()
    return folder / child


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def all_buffers(path: Path) -> bytes:
    """Every buffer of a shard, decompressed, padding included."""
    arrays = [column for batch in read_shards([path]) for column in batch.columns]
    return b"".join(buffer.to_pybytes() for array in arrays for buffer in array.buffers() if buffer is not None)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 documents as some train shards of 64-row batches and a validation shard."""
    out = tmp_path_factory.mktemp("written")
    config = ShardConfig(shard_bytes=30_000, batch_rows=64, validation_share=0.1, tokenizer="words")
    write_shards(documents(400), config, out, words)
    return out


def test_a_row_holds_the_document_and_its_lineage(written: Path) -> None:
    originals = {one["doc_id"]: one for one in documents(400).to_pylist()}
    rows = [one for batch in read_shards(shard_paths(written)) for one in batch.to_pylist()]
    assert len(rows) == 400
    for one in rows:
        original = originals.pop(one["doc_id"])
        assert one["tokens"] == len(original["text"].split())
        assert {key: one[key] for key in original} == original
        assert part_text(one["text"], one["parts"], "generated").startswith("Question")


def test_the_schema_is_the_shard_schema(written: Path) -> None:
    for path in shard_paths(written):
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            assert reader.schema.equals(SHARD, check_metadata=True)
            assert reader.schema.metadata == {b"format_version": str(FORMAT_VERSION).encode()}


def test_batches_are_full_but_the_last_of_a_shard(written: Path) -> None:
    paths = shard_paths(written)
    assert len(paths) > 3
    for path in paths:
        sizes = [batch.num_rows for batch in read_shards([path])]
        assert all(size == 64 for size in sizes[:-1])
        assert 1 <= sizes[-1] <= 64
    assert max(len(list(read_shards([path]))) for path in paths) > 1


def test_buffers_are_compressed_with_zstd(tmp_path: Path) -> None:
    repetitive = table([row(0, text="word " * 100_000, parts=[])], INPUT)
    write_shards(repetitive, ShardConfig(validation_share=0), tmp_path)
    raw = shard(tmp_path).read_bytes()
    assert b"\x28\xb5\x2f\xfd" in raw  # the magic number of a zstd frame, RFC 8878 section 3.1.1
    assert len(raw) < 20_000


def test_rows_parquet_points_to_every_document(written: Path) -> None:
    rows = read_table(written / "rows.parquet")
    assert rows.schema.equals(ROW)
    originals = {one["doc_id"]: one for one in documents(400).to_pylist()}
    shard_rows = {path.name: pa.Table.from_batches(read_shards([path])).to_pylist() for path in shard_paths(written)}
    assert len(shard_rows) > 3
    for one in rows.to_pylist():
        found = shard_rows[one["shard"]][one["row"]]
        original = originals.pop(one["doc_id"])
        assert (found["doc_id"], found["text"]) == (original["doc_id"], original["text"])
        assert one["tokens"] == found["tokens"] == len(original["text"].split())
        assert one["split"] == one["shard"].split("-")[0] == split_of(found["root_id"], 0.1)
    assert not originals


def test_find_row_follows_a_pointer(written: Path) -> None:
    rows = read_table(written / "rows.parquet").to_pylist()
    for one in rows[::37]:
        assert find_row(written / one["shard"], one["row"])["doc_id"] == one["doc_id"]


@pytest.mark.parametrize("number", [-1, 400], ids=["negative", "behind the end"])
def test_find_row_refuses_a_row_that_is_not_there(written: Path, number: int) -> None:
    path = shard(written)
    rows = sum(batch.num_rows for batch in read_shards([path]))
    with pytest.raises(UserError, match=rf"-00000.arrow has no such row\n.*{number}\n.*0 to {rows - 1}"):
        find_row(path, number)


def test_write_shards_returns_what_rows_parquet_holds(tmp_path: Path) -> None:
    returned = write_shards(documents(50), ShardConfig(validation_share=0.3), tmp_path)
    assert returned.equals(read_table(tmp_path / "rows.parquet"))
    assert returned["tokens"].null_count == 50  # no tokenizer, no counts


def test_three_libraries_read_the_same(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(written.glob("train-*.arrow"))
    expected = [one for batch in read_shards(paths) for one in batch.to_pylist()]
    assert len(expected) > 300

    direct = [pa.ipc.open_file(path).read_all() for path in paths]
    assert pa.concat_tables(direct).to_pylist() == expected
    assert pl.concat([pl.read_ipc(path) for path in paths]).to_dicts() == expected
    assert load_with_datasets(paths, tmp_path, monkeypatch) == expected


def load_with_datasets(paths: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("HF_HOME", str(cache / "home"))
    import datasets

    files = {"train": [str(path) for path in paths]}
    loaded = datasets.load_dataset("arrow", data_files=files, cache_dir=str(cache / "cache"), split="train")
    rows: list[dict[str, Any]] = loaded.to_list()
    return rows


def rechunk(value: pa.Table, sizes: list[int]) -> pa.Table:
    """The same rows, in chunks of other sizes."""
    starts = np.cumsum([0, *sizes])
    pieces = [value.slice(start, size) for start, size in zip(starts, sizes, strict=False)]
    return pa.concat_tables([*pieces, value.slice(starts[-1])])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_bytes_depend_on_the_documents_as_a_set(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("set")
    count = data.draw(st.integers(1, 30))
    order = data.draw(st.permutations(range(count)))
    sizes = data.draw(st.lists(st.integers(0, 10), max_size=6))
    config = ShardConfig(shard_bytes=data.draw(st.integers(1, 4000)), batch_rows=7, validation_share=0.3)
    original = documents(count)
    shuffled = rechunk(original.take(pa.array(order, pa.int64())), sizes)
    write_shards(original, config, new(folder, "one"))
    write_shards(shuffled.select(shuffled.column_names[::-1]), config, new(folder, "two"))
    assert contents(folder / "one") == contents(folder / "two")
    shutil.rmtree(folder)


def test_bytes_do_not_depend_on_the_columns_physical_types(tmp_path: Path) -> None:
    original = documents(100)
    other = original.replace_schema_metadata({"pandas": "{}"})
    for column, kind in [("text", pa.string()), ("family", pa.large_string()), ("generation_depth", pa.int64())]:
        other = other.set_column(other.column_names.index(column), column, other[column].cast(kind))
    config = ShardConfig(validation_share=0.2)
    write_shards(original, config, new(tmp_path, "one"))
    write_shards(other, config, new(tmp_path, "two"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_order_is_a_hash_that_the_seed_salts(tmp_path: Path) -> None:
    orders, splits = [], []
    for seed in ("synth", "other"):
        config = ShardConfig(order_seed=seed, validation_share=0.2)
        rows = write_shards(documents(200), config, new(tmp_path, seed))
        train = rows.filter(pc.equal(rows["split"], "train"))["doc_id"].to_pylist()
        orders.append(train)
        splits.append(set(train))
    ids = [row(number)["doc_id"] for number in range(200)]
    assert orders[0] != orders[1]
    assert splits[0] == splits[1]  # the split is by root, whatever the order
    for order in orders:
        places = [ids.index(one) for one in order]
        assert abs(np.corrcoef(places, range(len(places)))[0, 1]) < 4 / len(places) ** 0.5  # 4 sigma of no correlation
        assert order != sorted(order)


def test_split_keeps_siblings_together_and_meets_its_share(tmp_path: Path) -> None:
    roots, share = 5000, 0.1
    rows = [row(number, root_id=name("root", number % roots)) for number in range(2 * roots)]
    written = write_shards(table(rows, INPUT), ShardConfig(validation_share=share), tmp_path)
    root_of = {one["doc_id"]: one["root_id"] for one in rows}
    splits: dict[str, set[str]] = {}
    for one in written.to_pylist():
        splits.setdefault(root_of[one["doc_id"]], set()).add(one["split"])
    assert all(len(split) == 1 for split in splits.values())
    found = sum(split == {"validation"} for split in splits.values())
    assert abs(found - roots * share) < 3 * (roots * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("shard_bytes", [2_000, 20_000, 10**9])
def test_shards_hold_about_the_target_size(tmp_path: Path, shard_bytes: int) -> None:
    rows = write_shards(documents(300), ShardConfig(shard_bytes=shard_bytes, validation_share=0), tmp_path)
    value = [row(number) for number in range(300)]
    size_of = {one["doc_id"]: len(one["text"].encode()) + len((one["reasoning"] or "").encode()) for one in value}
    sizes: Counter[str] = Counter()
    for one in rows.to_pylist():
        sizes[one["shard"]] += size_of[one["doc_id"]]
    total, largest = sum(size_of.values()), max(size_of.values())
    assert [name[-11:] for name in sizes] == [f"{number:05}.arrow" for number in range(-(-total // shard_bytes))]
    for size in list(sizes.values())[:-1]:
        assert abs(size - shard_bytes) < largest


def test_a_document_larger_than_a_shard_is_not_cut(tmp_path: Path) -> None:
    rows = [row(number, text="x" * 5000, parts=[], reasoning=None) for number in range(6)]
    written = write_shards(table(rows, INPUT), ShardConfig(shard_bytes=1000, validation_share=0), tmp_path)
    assert [name[-11:] for name in written["shard"].to_pylist()] == [f"{number:05}.arrow" for number in range(6)]


def test_an_empty_split_has_no_file(tmp_path: Path) -> None:
    write_shards(documents(20), ShardConfig(validation_share=0), tmp_path)
    assert sorted(contents(tmp_path)) == ["rows.parquet", shard(tmp_path).name]


def test_no_documents_make_no_shards(tmp_path: Path) -> None:
    rows = write_shards(INPUT.empty_table(), ShardConfig(), tmp_path)
    assert rows.num_rows == 0
    assert list(contents(tmp_path)) == ["rows.parquet"]
    assert read_table(tmp_path / "rows.parquet").schema.equals(ROW)
    assert list(read_shards([])) == []


SECRET = "SECRET ssn 123-45"


def beside_a_secret(how: str) -> pa.Table:
    """40 documents that lie in memory beside removed ones."""
    removed = range(1000, 1040)
    mixed = []
    for number, other in zip(range(40), removed, strict=True):
        secret = {"text": SECRET, "parts": [], "reasoning": SECRET, "source_id": SECRET, "models": [SECRET]}
        mixed += [row(number), row(other, family=SECRET, license=SECRET, language=SECRET, **secret)]
    value = table(mixed, INPUT)
    if how == "slice":
        value = value.take(pa.array([*range(1, 80, 2), *range(0, 80, 2), *range(1, 80, 2)])).slice(40, 40)
    elif how == "dictionary":
        for column in ("family", "source_id", "license", "language"):
            value = value.set_column(value.column_names.index(column), column, value[column].dictionary_encode())
    elif how == "null":
        return table([row(number) for number in range(40)], INPUT).set_column(
            INPUT.get_field_index("reasoning"), INPUT.field("reasoning"), hidden_under_nulls(40)
        )
    return value if how == "slice" else value.take(pa.array(range(0, 80, 2)))


def hidden_under_nulls(count: int) -> pa.Array:
    """An array of nulls whose text buffer still holds what stood there."""
    offsets = pa.py_buffer(np.arange(count + 1, dtype=np.int64) * len(SECRET))
    valid = pa.py_buffer(bytes(-(-count // 8)))
    return pa.Array.from_buffers(pa.large_string(), count, [valid, offsets, pa.py_buffer(SECRET.encode() * count)])


@pytest.mark.parametrize("compressed", [True, False], ids=["zstd", "plain"])
@pytest.mark.parametrize("how", ["slice", "dictionary", "null"])
def test_removed_neighbours_are_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, compressed: bool
) -> None:
    if not compressed:
        monkeypatch.setattr(shards.writer, "IPC_OPTIONS", pa.ipc.IpcWriteOptions())
    value = beside_a_secret(how)
    write_shards(value, ShardConfig(batch_rows=16, shard_bytes=4000, validation_share=0.3), tmp_path)
    paths = shard_paths(tmp_path)
    assert len(paths) > 2
    searched = b"".join(all_buffers(path) + path.read_bytes() for path in paths)
    assert row(7)["text"].encode() in searched
    assert SECRET.encode() not in searched
    assert SECRET.encode() not in (tmp_path / "rows.parquet").read_bytes()


def test_a_batch_holds_no_text_of_another_batch(tmp_path: Path) -> None:
    write_shards(documents(100), ShardConfig(batch_rows=10, validation_share=0), tmp_path)
    for batch in read_shards(shard_paths(tmp_path)):
        held = sum(len(text.encode()) for text in batch["text"].to_pylist())
        assert batch["text"].buffers()[2].size == held


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.98], ids="cut at {}".format)
def test_a_truncated_shard_is_refused_by_name(written: Path, tmp_path: Path, share: float) -> None:
    good = sorted(written.glob("train-*-00001.arrow"))[0]
    raw = good.read_bytes()
    bad = tmp_path / "bad.arrow"
    bad.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(IntegrityError, match=r"bad\.arrow cannot be read as a shard"):
        list(read_shards([good, bad]))
    with pytest.raises(IntegrityError, match=r"bad\.arrow cannot be read as a shard"):
        find_row(bad, 0)
    with pytest.raises(IntegrityError, match=r"bad\.arrow: its sha256 differs"):
        verify_shard(bad, 1, file_sha256(good))


def test_a_file_that_is_not_a_shard_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other.arrow"
    with pa.ipc.new_file(str(other), pa.schema([("text", pa.string())])) as writer:
        writer.write_table(pa.table({"text": ["a"]}))
    with pytest.raises(IntegrityError, match=r"other\.arrow does not have the columns"):
        list(read_shards([other]))


def test_a_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"gone\.arrow cannot be read"):
        list(read_shards([tmp_path / "gone.arrow"]))
    with pytest.raises(IntegrityError, match=r"gone\.arrow cannot be read"):
        verify_shard(tmp_path / "gone.arrow", 0, "")


def test_every_flipped_bit_is_detected(written: Path, tmp_path: Path) -> None:
    """verify_shard finds each; read_shards either refuses the file or gives batches whose texts are valid."""
    good = shard(written, "validation")
    raw, sha256 = good.read_bytes(), file_sha256(good)
    rows = sum(batch.num_rows for batch in read_shards([good]))
    verify_shard(good, rows, sha256)
    bad, refused = tmp_path / "bad.arrow", 0
    for position in range(0, len(raw), max(1, len(raw) // 150)):
        bad.write_bytes(raw[:position] + bytes([raw[position] ^ 0x10]) + raw[position + 1 :])
        with pytest.raises(IntegrityError, match=r"bad\.arrow: its sha256 differs"):
            verify_shard(bad, rows, sha256)
        try:
            for batch in read_shards([bad]):
                batch.to_pylist()
        except IntegrityError as error:
            assert "bad.arrow" in str(error)
            refused += 1
    assert refused > 10


def test_verify_shard_says_that_the_rows_differ(written: Path) -> None:
    path = shard(written)
    rows = sum(batch.num_rows for batch in read_shards([path]))
    with pytest.raises(IntegrityError, match=rf"number of rows differs\n  given:   {rows}\n  allowed: {rows + 1}"):
        verify_shard(path, rows + 1, file_sha256(path))


def test_batches_stay_valid_after_their_file_is_closed(written: Path) -> None:
    batches = list(read_shards(shard_paths(written)))
    assert len({one for batch in batches for one in batch["doc_id"].to_pylist()}) == 400


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"text": None}, "1 documents have no text", id="no text"),
        pytest.param({"root_id": None}, "1 documents have no root_id", id="no root"),
        pytest.param({"source_id": None}, "1 documents have no source_id", id="no source"),
        pytest.param({"seed_id": None}, "1 documents have no seed_id", id="no seed"),
        pytest.param(
            {"doc_id": name("document", 1)}, f"more than once\n  given:   {name('document', 1)}", id="id twice"
        ),
    ],
)
def test_documents_that_cannot_be_released_are_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    value = table([row(0), row(1), row(2, **changed)], INPUT)
    with pytest.raises(IntegrityError, match=words):
        write_shards(value, ShardConfig(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="lack columns: source_id, parts\n"):
        write_shards(documents(3).drop_columns(["source_id", "parts"]), ShardConfig(), tmp_path)


def test_a_tokenizer_and_its_counter_come_together(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="given together"):
        write_shards(documents(3), ShardConfig(tokenizer="words"), tmp_path)
    with pytest.raises(RecipeError, match="given together"):
        write_shards(documents(3), ShardConfig(), tmp_path, words)


@pytest.mark.parametrize(
    ("field", "value"),
    [("shard_bytes", 0), ("batch_rows", 0), ("validation_share", 1.0), ("validation_share", -0.1), ("tokenizer", "")],
)
def test_config_refuses_what_cannot_work(field: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=rf"shards\.{field}: given"):
        parse(ShardConfig, {field: value}, "shards")


BEFORE = pa.default_memory_pool()
POOL = pa.proxy_memory_pool(BEFORE)  # of the module: what it allocated must be freed before it goes


def test_memory_holds_one_shard_not_the_corpus(tmp_path: Path) -> None:
    rows = [row(number, text=f"{number} " * 4000, parts=[], reasoning=None) for number in range(1500)]
    value = rechunk(table(rows, INPUT), [100] * 14)
    config = ShardConfig(shard_bytes=10**6, batch_rows=16)
    pa.set_memory_pool(POOL)
    try:
        write_shards(value, config, tmp_path)
    finally:
        pa.set_memory_pool(BEFORE)
    assert len(shard_paths(tmp_path)) > 20
    assert POOL.max_memory() < 6 * config.shard_bytes < value["text"].nbytes / 4


def test_many_small_documents(tmp_path: Path) -> None:
    """50,000 short rows: a sanity check of size, with many shards and batches."""
    count = 50_000
    numbers = range(count)
    template = table([row(0)], INPUT).take(pa.array(np.zeros(count, np.int64)))
    changed = {
        "doc_id": [name("document", n) for n in numbers],
        "root_id": [name("root", n) for n in numbers],
        "text": [f"Short text {n}." for n in numbers],
    }
    for column, values in changed.items():
        at = INPUT.get_field_index(column)
        template = template.set_column(at, INPUT.field(column), pa.array(values, INPUT.field(column).type))
    rows = write_shards(template, ShardConfig(shard_bytes=300_000), tmp_path)
    assert rows.num_rows == count == len(pc.unique(rows["doc_id"]))
    assert sum(batch.num_rows for batch in read_shards(shard_paths(tmp_path))) == count
    assert len(shard_paths(tmp_path)) > 3
    assert pl.scan_ipc(tmp_path / "train-*.arrow").select(pl.len()).collect().item() > 0.97 * count
