"""Asks for the tests of the scripted server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PASSAGE = (
    "The Atlantic puffin spends most of the year far out at sea and comes to land only to breed. Pairs return to the same "
    "burrow each spring, often dug into grassy slopes above steep cliffs, and raise a single chick. Adults can carry a "
    "dozen small fish crosswise in their bills, held against spines on the palate."
)
QA_SCHEMA = {
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "minItems": 2,
            "maxItems": 5,
            "items": {
                "type": "object",
                "properties": {
                    "question": {"type": "string", "maxLength": 200},
                    "answer": {"type": "string", "minLength": 40},
                    "kind": {"type": "string", "enum": ["open", "closed"]},
                },
                "required": ["question", "answer", "kind"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}


def ask(seed: int = 0, marker: str = "", **more: Any) -> dict[str, Any]:
    """A chat request whose last message holds the passage and a directive."""
    content = f"Rewrite the passage in plain words.\n\n{PASSAGE} {marker}".strip()
    messages = [{"role": "system", "content": "You write clear texts."}, {"role": "user", "content": content}]
    return {"model": "m", "messages": messages, "temperature": 0.7, "seed": seed, **more}


def with_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
