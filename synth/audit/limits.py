"""How long a query may take and how much memory it may have, and what is said when that is not enough."""

from __future__ import annotations

import re

import pyarrow as pa

from synth.errors import SynthError, UserError, fail

DEFAULT_SECONDS = 60.0
DEFAULT_MEMORY = "2GB"

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def size_bytes(memory: str) -> int:
    """A size such as 500MB or 2GB, in bytes."""
    found = re.fullmatch(r"(\d+) ?([KMGT]B)", memory)
    if not found or not int(found[1]):
        raise fail(UserError, "the memory limit is not a size", given=memory, allowed="a number with KB, MB, GB or TB")
    return int(found[1]) * _UNITS[found[2]]


def within(reader: pa.RecordBatchReader, memory: str) -> pa.Table:
    """All rows, as long as they are no larger than this."""
    batches, size = [], 0
    for batch in reader:
        size += batch.nbytes
        if size > size_bytes(memory):
            what = f"the answer is larger than {size_bytes(memory):,} bytes"
            raise fail(UserError, what, do="add a LIMIT, choose fewer columns, or raise the limit")
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def too_late(limit_seconds: float) -> SynthError:
    """The error for a query that did not end in time."""
    what = f"the query took more than {limit_seconds:g} seconds"
    return fail(UserError, what, do="narrow it down, or raise the limit")


def too_much_memory(memory: str) -> SynthError:
    """The error for a query that did not fit."""
    what = f"the query needs more than {size_bytes(memory):,} bytes of memory"
    return fail(UserError, what, do="narrow it down, or raise the limit")
