"""The markers in a prompt that tell the scripted server what to answer; what they mean stands in synth.engine.scripted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from synth.errors import UserError, fail

OUTCOMES = ("refuse", "empty", "truncate", "loop", "bad_json", "think", "think_open", "leak", "copy")
"""Values of the markers `outcome` and `weak`."""

ANSWER_FAULTS = (*OUTCOMES, "think_cut", "null_content")
"""Faults in what an answer says."""

REPLY_FAULTS = ("no_choices", "no_usage", "malformed", "reset_body", "drip")
"""Faults in how an answer is packed and sent."""

FAULTS = ("reset", "hang", "die", "error_body", *REPLY_FAULTS, *ANSWER_FAULTS)
"""All faults but the HTTP statuses from 400 to 599, which are faults too."""

_NAMES = ("outcome", "echo", "near", "status", "fault", "hard", "weak")
_MARKER = re.compile(rf"\[\[scripted:\s*({'|'.join(_NAMES)})=(.*?)\s*\]\]", re.DOTALL)
_ANY_MARKER = re.compile(r"\[\[scripted:.*?\]\]", re.DOTALL)
_FAULT = re.compile(r"(\w+)(?:\*([1-9]\d{0,5}))?")


class BadRequest(UserError):
    """A request that no try will make right: answered with 400."""


def is_fault(name: str) -> bool:
    """Whether a fault has this name."""
    return name in FAULTS or is_status(name)


def is_status(name: str) -> bool:
    """Whether this is an HTTP error status."""
    return name.isdecimal() and 400 <= int(name) <= 599


def without_markers(text: str) -> str:
    """The text with every marker cut out."""
    return _ANY_MARKER.sub("", text)


def markers_in(messages: Sequence[str]) -> dict[str, str]:
    """Values by name of the markers in the messages, the first of each name. Raises BadRequest for what means nothing."""
    found: dict[str, str] = {}
    for message in messages:
        if "[[scripted:" not in message:
            continue
        known = _MARKER.findall(message)
        for name, value in known:
            found.setdefault(name, value)
        if len(known) != len(_ANY_MARKER.findall(message)):
            raise fail(BadRequest, "unknown [[scripted: …]] marker", allowed=", ".join(f"{name}=" for name in _NAMES))
    if found:
        _check(found)
    return found


def fault_at(given: str, tries: int) -> str | None:
    """The fault that the marker value NAME or NAME*COUNT means at try number `tries` (from 1) of its ask."""
    name, _, count = given.partition("*")
    return name if not count or tries <= int(count) else None


def _check(found: dict[str, str]) -> None:
    for name in ("outcome", "weak"):
        if found.get(name, OUTCOMES[0]) not in OUTCOMES:
            raise fail(BadRequest, "unknown scripted outcome", given=found[name], allowed=", ".join(OUTCOMES))
    status = found.get("status", "500")
    if not is_status(status):
        raise fail(BadRequest, "a scripted status must be an HTTP error", given=status, allowed="400 to 599")
    fault = _FAULT.fullmatch(found.get("fault", "500"))
    if fault is None or not is_fault(fault[1]):
        allowed = f"NAME or NAME*TRIES with 400 to 599, {', '.join(FAULTS)}"
        raise fail(BadRequest, "unknown scripted fault", given=found["fault"], allowed=allowed)
    if not re.fullmatch(r"0?\.\d+|[01](\.0*)?", found.get("hard", "0")):
        raise fail(BadRequest, "`hard` is a share of asks", given=found["hard"], allowed="a number from 0 to 1")
