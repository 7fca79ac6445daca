"""Audit: checks in SQL over the release that is about to be made. A failed one is evidence, not an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.audit.audit import AuditConfig, load_checks, run_checks
from synth.digest import digest
from synth.step import Counts, Step


class AuditWork(AuditConfig):
    """The limits, the checks' text, and whether documents of unknown licence are meant."""

    checks_digest: str
    allow_unknown_license: bool


def run(inputs: Mapping[str, Path], config: AuditWork, out: Path) -> Counts:
    """Inputs: `<table>/<tag>` files, `manifests/<tag>`, `shards/<name>`. Out: checks, evidence."""
    checks = check(inputs, config, out).to_pylist()
    failed = sum(map(stops_release, checks))
    notes = {"warnings": sum(map(is_warning, checks))}
    return Counts(len(checks), len(checks) - failed, {"failed": failed} if failed else {}, notes)


def stops_release(check: Mapping[str, Any]) -> bool:
    """Whether this row of CHECKS is a failure."""
    return bool(check["violations"]) and check["severity"] != "warning"


def is_warning(check: Mapping[str, Any]) -> bool:
    """Whether this row of CHECKS is something that a person should know, and that stops no release."""
    return bool(check["violations"]) and check["severity"] == "warning"


def checks_digest() -> str:
    """Of the text of all checks: a changed check is run again."""
    return digest([asdict(one) for one in load_checks()])


def check(inputs: Mapping[str, Path], config: AuditWork, out: Path) -> pa.Table:
    """Run all checks over the inputs, named as for `run`; the table of checks."""
    tables: dict[str, list[Path]] = {}
    for name, path in sorted(inputs.items()):
        tables.setdefault(name.partition("/")[0], []).append(path)
    manifests, shards = tables.pop("manifests", []), tables.pop("shards", [])
    limits = AuditConfig(**{name: getattr(config, name) for name in AuditConfig.model_fields})
    return run_checks(tables, manifests, shards, config.allow_unknown_license, limits, out)


STEP = Step("audit", 1, AuditWork, run)
