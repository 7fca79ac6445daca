"""What the columns of a seed source may hold, and the refusals that all its readers share.

A role is a field of `Columns`: what a value means here, whatever the file calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import Field

from synth.config import Config, nearest
from synth.errors import SourceError, SynthError, fail

MAX_DEPTH = 2**15 - 1  # what int16, the type in rows.SEED, holds
REQUIRED_ROLES = ("text", "id")  # no row without them; the id only where it is named
SHOWN_COLUMNS = 30  # in a message


class Columns(Config):
    """Which columns (JSON keys, Parquet columns) of the files hold what. None: the files do not have it."""

    id: str | None = Field(None, description="Column of a row's own id, strings or integers; None identifies by text.")
    text: str = Field("text", description="Column of the text.")
    source: str | None = Field(None, description="Column of a title, or of where in the source the text stood.")
    url: str | None = Field(None, description="Column of the address that the text came from.")
    license: str | None = Field(None, description="Column of the licence, an SPDX id; an empty one is unknown.")
    language: str | None = Field(None, description="Column of the language, a BCP 47 code such as `en`.")
    retrieved_at: str | None = Field(None, description="Column of the time the text was fetched, ISO 8601 strings.")
    quality: str | None = Field(None, description="Column of a quality score, a number; larger is better.")
    root_id: str | None = Field(None, description="Column of the id of a row's first ancestor; empty: the row itself.")
    generation_depth: str | None = Field(
        None, description="Column of how many generations of models stand behind the text, 0 to 32767; empty: 0."
    )
    output_terms: str | None = Field(None, description="Column of terms that the author put on derived works.")
    answer: str | None = Field(
        None, description="Column of the right answer, of texts that are problems: solutions are checked against it."
    )

    def named(self) -> dict[str, str]:
        """Role -> name of the column, for the roles that have one."""
        return {role: name for role, name in self.model_dump().items() if name is not None}


class Batch(NamedTuple):
    """Some rows of a file: one array per role, and where row i stands in the file, for messages."""

    columns: dict[str, pa.Array]
    where: Callable[[int], str]


class ValueKind(NamedTuple):
    """What a role's values are: in words, as JSON values, as Arrow types, and the Arrow type they are kept in."""

    words: str
    accepts: Callable[[Any], bool]
    accepts_type: Callable[[pa.DataType], bool]
    kept_as: pa.DataType


def is_text_type(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds strings, be it in a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text_type(kind.value_type)
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


_STRINGS = ValueKind("strings", lambda value: isinstance(value, str), is_text_type, pa.string())
_STRINGS_OR_INTEGERS = ValueKind(
    "strings or 64-bit integers",
    lambda value: type(value) in (str, int),
    lambda kind: is_text_type(kind) or pa.types.is_integer(kind),
    pa.string(),
)
ROLES: Mapping[str, ValueKind] = {
    **dict.fromkeys(Columns.model_fields, _STRINGS),
    "text": _STRINGS._replace(kept_as=pa.large_string()),
    "seed_text": _STRINGS._replace(kept_as=pa.large_string()),
    "family": _STRINGS,
    "label": _STRINGS_OR_INTEGERS,
    "id": _STRINGS_OR_INTEGERS,
    "answer": _STRINGS_OR_INTEGERS,
    "quality": ValueKind(
        "numbers",
        lambda value: type(value) in (int, float),
        lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind),
        pa.float64(),
    ),
    "generation_depth": ValueKind(
        f"integers from 0 to {MAX_DEPTH}",
        lambda value: type(value) is int and 0 <= value <= MAX_DEPTH,
        pa.types.is_integer,
        pa.int16(),
    ),
}


def utf8_fault(raw: bytes) -> str | None:
    """The first byte that is not UTF-8 and its offset, in words; None for valid text."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at offset {error.start}"
    return None


def no_column(where: object, role: str, name: str, known: Iterable[str]) -> SynthError:
    """The error for a named column that a file or a line does not have."""
    known = list(known)
    shown = ", ".join(known[:SHOWN_COLUMNS]) + ", …" * (len(known) > SHOWN_COLUMNS)
    do = f"set columns.{role} to one of these"
    if name.partition(".")[0] in known:
        do = "nested fields are not read: write one into a column of its own (kind 'sql' can, from Parquet)"
    return fail(
        SourceError,
        f"{where}: no column {name!r}{nearest(name, known)}",
        given=f"columns.{role} = {name!r}",
        allowed=shown or "nothing: there are no columns",
        do=do,
    )


def no_value(where: str, role: str, name: str) -> SynthError:
    """The error for a row without a text or an id."""
    do = "fill it, or remove the row" + "; without columns.id the text identifies a row" * (role == "id")
    return fail(SourceError, f"{where}: {name!r} is null", given=f"columns.{role} = {name!r}", do=do)


def wrong_type(where: object, role: str, name: str, given: object) -> SynthError:
    """The error for a column or a value that cannot be a role's."""
    words = ROLES[role].words
    do = f"write {name!r} as {words}, or set columns.{role} to another column"
    return fail(SourceError, f"{where}: {name!r} has the wrong type", given=given, allowed=words, do=do)


def not_utf8(where: str, fault: str) -> SynthError:
    """The error for bytes that are not UTF-8; `fault` as from `utf8_fault`."""
    return fail(SourceError, f"{where}: not valid UTF-8", given=fault, do="convert it to UTF-8, or remove the row")
