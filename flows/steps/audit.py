"""Audit: checks in SQL over the release that is about to be made. A failed one is evidence, not an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

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
    checks = check(inputs, config, out)
    failed = sum(number > 0 for number in checks["violations"].to_pylist())
    return Counts(items=len(checks), kept=len(checks) - failed, dropped={"failed": failed} if failed else {})


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
