"""Whether a text's licence is known."""

from __future__ import annotations

import pyarrow as pa

from synth.config import Config

# SPDX 2.3, clauses 3.13 and 3.15: NOASSERTION = nobody looked or could tell, NONE = no licence was found.
UNKNOWN = frozenset({"", "unknown", "noassertion", "none"})


class LicenseOptions(Config):
    """The rule `license` has no options."""


def score(table: pa.Table, options: LicenseOptions) -> pa.Table:
    """`license_known`: 1, or 0 where `license` is null, blank, or a word of UNKNOWN in any case."""
    known = [(value or "").strip().lower() not in UNKNOWN for value in table["license"].to_pylist()]
    return pa.table({"license_known": pa.array(map(int, known), pa.int8())})
