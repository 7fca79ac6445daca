"""Spans for the home of `audit_home`, and the faults to plant in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from audit_home import Wave


def span(document: dict[str, Any], value: str, field: str = "text") -> dict[str, Any]:
    """Where a value stands last in a document, as something that `pii` found there."""
    start = document[field].encode().rindex(value.encode())
    place = {"start_byte": start, "end_byte": start + len(value.encode())}
    return {"doc_id": document["id"], **place, "rule": "pii_email", "replacement": "<EMAIL>"}


def masks(wave: Wave, *rules: str) -> None:
    """Let the wave's shards mask what these rules found."""
    wave.objects["shards"].config["masks"] = list(rules)


def mask_the_river(wave: Wave) -> None:
    """Mask what the honest wave only labels, as its shards should: the place that was found, and where else it stands."""
    masks(wave, "pii_email")
    for shard in wave.objects["shards"].shards.values():
        for row in shard:
            row["text"] = row["text"].replace("river", "<EMAIL>")


def _left_in_text(wave: Wave) -> None:
    """One occurrence of many is left."""
    mask_the_river(wave)
    row = wave.objects["shards"].shards["train-00000.arrow"][1]
    row["text"] = row["text"][::-1].replace(">LIAME<", "revir", 1)[::-1]


def _left_in_thoughts(wave: Wave) -> None:
    mask_the_river(wave)
    wave.objects["shards"].shards["train-00000.arrow"][1]["reasoning"] = "the river again"


def _thought_left(wave: Wave) -> None:
    """What was found in the thoughts only stands in them still."""
    mask_the_river(wave)
    row = wave.objects["shards"].shards["train-00000.arrow"][1]
    document = next(one for one in wave.documents() if one["id"] == row["doc_id"])
    row["reasoning"] = document["reasoning"] = "a lake, I think"
    wave.table("shards", "reasoning_spans").append(span(document, "lake", "reasoning"))


def _past_the_end(wave: Wave) -> None:
    wave.table("score/p0/qa", "spans")[1]["end_byte"] += 1000


def _half_a_character(wave: Wave) -> None:
    row = wave.table("score/p0/qa", "spans")[1]
    document = next(one for one in wave.documents() if one["id"] == row["doc_id"])
    row |= {"start_byte": document["text"].encode().index("é".encode()) + 1}


def _of_nobody(wave: Wave) -> None:
    wave.table("score/p0/qa", "spans")[1]["doc_id"] = "nobody"


PLANTED_SPANS = [
    pytest.param("masked_spans_gone", _left_in_text, None, {"field": "text", "rule": "pii_email"}, id="unmasked text"),
    pytest.param("masked_spans_gone", _left_in_thoughts, None, {"row": 1, "field": "text"}, id="value in thoughts"),
    pytest.param("masked_spans_gone", _thought_left, None, {"field": "reasoning"}, id="unmasked thoughts"),
    pytest.param("spans_inside_text", _past_the_end, None, {"rule": "pii_email"}, id="span past the end"),
    pytest.param("spans_inside_text", _half_a_character, None, {"rule": "pii_email"}, id="span cuts a character"),
    pytest.param("spans_inside_text", _of_nobody, None, {"doc_id": "nobody"}, id="span of no document"),
]
