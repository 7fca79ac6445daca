"""Failed checks: what is shown of them, what makes a release impossible, and what a person may let pass, with a reason."""

from __future__ import annotations

import getpass
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.steps.audit import stops_release
from synth import rows
from synth.config import nearest
from synth.driver import Manifest
from synth.errors import GateError, UserError, fail
from synth.store import Store

SHOWN_ROWS = 3


@dataclass(frozen=True)
class Failure:
    """A check that stops a release, and the first of its violating rows, as JSON."""

    check: str
    title: str
    severity: str
    violations: int
    evidence: Sequence[str]

    @property
    def acceptable(self) -> bool:
        """Whether a person may let it pass: limits, never contradictions."""
        return self.severity == "gate"

    def lines(self) -> list[str]:
        """For people."""
        head = f"  {self.check}: {self.violations:,} violations ({self.title})"
        return [head, *(f"    {row}" for row in self.evidence[:SHOWN_ROWS])]


def failures(store: Store, audited: Manifest) -> list[Failure]:
    """The failed checks of an audit, by name."""
    return failures_in(*(store.local(audited.file(name).path) for name in ("checks.parquet", "evidence.parquet")))


def failures_in(checks: Path, evidence: Path) -> list[Failure]:
    """The same, of the two tables that an audit writes."""
    shown = rows.read_table(evidence).to_pylist()
    return [
        Failure(
            check["check"],
            check["title"],
            check["severity"],
            check["violations"],
            [one["row"] for one in shown if one["check"] == check["check"]],
        )
        for check in rows.read_table(checks).to_pylist()
        if stops_release(check)
    ]


def refuse(
    failed: Sequence[Failure], audited: Manifest, accepted: Collection[str] = (), recipe: str = "RECIPE"
) -> None:
    """GateError with the evidence unless every failed check is accepted."""
    left = [one for one in failed if one.check not in accepted]
    if not left:
        return
    checks = "check" if len(left) == 1 else "checks"
    lines = [f"{len(left)} {checks} failed: nothing was released", *(line for one in left for line in one.lines())]
    do = f"look at {audited.place}/evidence.parquet; mend the recipe, or move a limit of [audit] on purpose"
    if all(one.acceptable for one in left):
        names = " ".join(f"--accept {one.check}" for one in left)
        do += f',\n           or let this release pass as it is: synth release {recipe} {names} --because "…"'
    raise fail(GateError, "\n".join(lines), do=do)


def acceptances(failed: Sequence[Failure], names: Sequence[str], because: str) -> list[dict[str, Any]]:
    """What a release records of the gates that are let pass. UserError: one that did not fail, or may never pass."""
    known = {one.check: one for one in failed}
    made = []
    for name in dict.fromkeys(names):
        if name not in known:
            what = f"{name} did not fail{nearest(name, known)}"
            raise fail(UserError, what, allowed=", ".join(known) or "nothing: no check failed")
        if not known[name].acceptable:
            what = f"{name} cannot be accepted: the data contradict themselves, which no reason makes right"
            raise fail(UserError, what, allowed=", ".join(one.check for one in failed if one.acceptable) or "no gate")
        made.append({"check": name, "violations": known[name].violations, **signed(because)})
    return made


def signed(because: str) -> dict[str, str]:
    """Who decided something, when and why. UserError without a reason."""
    if not because.strip():
        raise fail(UserError, "--because is empty", do="say why, for those who read the release later")
    return {"because": because.strip(), "by": _me(), "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _me() -> str:
    """The user's name on this machine, or nothing where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def accepted_checks(accepted: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the checks that entries of a release let pass."""
    return [one["check"] for one in accepted]
