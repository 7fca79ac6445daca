"""Wipe-outs by near-duplicate removal to plant in the home of `audit_home`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synth.audit.audit import AuditConfig

if TYPE_CHECKING:
    from audit_home import Wave

# One of the honest wave's documents is a near-duplicate: what is too much is said by the limits.
_LIMITS = AuditConfig(
    min_documents=2, max_dropped_share=1.0, warn_obeyed_share=1.0, max_cluster_share=1.0, warn_duplicate_share=1.0
)


def _as_it_is(wave: Wave) -> None:
    """Nothing is changed."""


def _gate(share: float) -> AuditConfig:
    return _LIMITS.model_copy(update={"max_duplicate_share": share})


PLANTED_DUPLICATES = [
    pytest.param("duplicate_share", _as_it_is, _gate(0.09), {"of": "family", "removed": 1}, id="family wiped out"),
    pytest.param(
        "duplicate_share", _as_it_is, _gate(0.02), {"of": "source", "name": "encyclopaedia"}, id="source wiped out"
    ),
    pytest.param("duplicate_share", _as_it_is, _gate(0.3), {"of": "seed", "removed": 1}, id="seed wiped out"),
    pytest.param("duplicate_share", _as_it_is, _gate(0.02), {"of": "prompt", "removed": 1}, id="prompt wiped out"),
    pytest.param(
        "duplicate_share_warning",
        _as_it_is,
        _LIMITS.model_copy(update={"warn_duplicate_share": 0.01, "max_duplicate_share": 1.0}),
        {"duplicates": 1},
        id="many near-duplicates",
    ),
]
