"""What importing this compiles or loads, forks need not: each of many killed runs would else pay for the kernels."""

from __future__ import annotations

import pyarrow as pa

from dedup import find_duplicates
from synth.text.statistics import text_statistics

_TEXTS = [f"Every river is older than the towns along it, and bridge {number} is younger." for number in range(3)]
_COLUMNS = {
    "doc_id": pa.array(["a", "b", "c"]),
    "text": pa.array(_TEXTS, pa.large_string()),
    "family": pa.array(["f", "f", "g"]),
    "root_id": pa.array(["r", "r", "s"]),
}

text_statistics(_COLUMNS["text"])
find_duplicates(pa.table(_COLUMNS))
