"""What stands near new texts among those that are released or in pools: found in their index, read again, and compared.

An index (rows.INDEX) says of each text in which file it lies. It is looked through a part at a time; only texts that are near
are read, those of a file by one job, which leaves them in a scratch file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedup.jobs import Jobs
from dedup.lookup import Query, near
from synth import rows

SIGNED = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("family", pa.string()),
        ("root_id", pa.string()),
        ("exact_digest", pa.string()),
        ("signature", pa.list_(pa.uint32())),
    ]
)
CANDIDATES = pa.schema([*SIGNED, ("owners", pa.list_(pa.int32()))])  # owners: see lookup.near
_NEAR = pa.schema([*rows.INDEX, ("owners", pa.list_(pa.int32()))])
_GROUP_ROWS = 1 << 16  # of an index, that a job looks through, about


class Texts(NamedTuple):
    """A file of texts: where it lies (None: out of reach), and its digest."""

    path: str | None
    sha256: str


@dataclass(frozen=True)
class Released:
    """A release's texts. `prefix` stands before their ids."""

    index: Sequence[Path]
    documents: Mapping[str, Path]  # by the tag that the index names them by
    prefix: str = ""

    def candidates(self, query: Query, jobs: Jobs) -> pa.Table:
        """CANDIDATES: the texts that the query finds near."""
        files = {tag: Texts(str(path), "") for tag, path in self.documents.items()}
        return near_texts(self.index, files, document_texts, (), self.prefix, query, jobs)


def near_texts(
    index: Sequence[Path],
    files: Mapping[str, Texts],
    read: Callable[..., int],
    more: tuple[Any, ...],
    prefix: str,
    query: Query,
    jobs: Jobs,
) -> pa.Table:
    """CANDIDATES of one source. `read(tag, path, sha256, prefix, out, near, *more)` is the job that reads those of one file."""
    found = list(jobs.each(near_rows, _spans(index), query))
    known = pa.concat_tables([_NEAR.empty_table(), *found])
    tags = sorted(pc.unique(known["file_tag"]).to_pylist())
    outs = [jobs.path() for _ in tags]
    spans = [(tag, *files[tag], prefix, str(out)) for tag, out in zip(tags, outs, strict=True)]
    for _ in jobs.each(read, spans, known, *more):
        pass
    return jobs.tables(outs, CANDIDATES)


def _spans(index: Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    """Row groups of these files, some at a time."""
    for path in index:
        metadata = pq.read_metadata(path)
        first, held = 0, 0
        for group in range(metadata.num_row_groups):
            held += metadata.row_group(group).num_rows
            if held >= _GROUP_ROWS or group == metadata.num_row_groups - 1:
                yield str(path), first, group + 1
                first, held = group + 1, 0


def near_rows(path: str, first: int, last: int, query: Query) -> pa.Table:
    """The job: the rows of some row groups of an index that the query finds near, as _NEAR."""
    with pq.ParquetFile(path, page_checksum_verification=True) as reader:
        read = reader.read_row_groups(list(range(first, last)), use_threads=False)
    index = read.select(rows.INDEX.names).cast(rows.INDEX)
    chosen, owners = near(index, query)
    found = index.take(pa.array(chosen)).append_column("owners", owners)
    return found.cast(_NEAR)


def document_texts(tag: str, path: str, _: str, prefix: str, out: str, near: pa.Table) -> int:
    """The job: writes what a model wrote of the documents in `near` that lie in one file to an Arrow file; how many they are."""
    mine = near.filter(pc.equal(near["file_tag"], tag))
    documents = rows.read_table(Path(path), ["text", "parts", "family", "root_id"]).take(mine["row"])
    texts = rows.generated_texts(documents)
    return write_candidates(mine, texts, documents["family"], documents["root_id"], prefix, Path(out))


def write_candidates(
    near: pa.Table,
    texts: pa.Array,
    families: pa.Array | pa.ChunkedArray,
    roots: pa.Array | pa.ChunkedArray,
    prefix: str,
    out: Path,
) -> int:
    """Writes rows of _NEAR with their texts as CANDIDATES; how many they are."""
    ids = pc.binary_join_element_wise(prefix, near["doc_id"], "") if prefix else near["doc_id"]
    columns = {"doc_id": ids, "text": texts, "family": families, "root_id": roots, "owners": near["owners"]}
    columns |= {name: near[name] for name in ("exact_digest", "signature")}
    table = pa.table([columns[name] for name in CANDIDATES.names], schema=CANDIDATES)
    with pa.OSFile(str(out), "wb") as sink, pa.ipc.new_file(sink, CANDIDATES) as writer:
        writer.write_table(table)
    return len(table)
