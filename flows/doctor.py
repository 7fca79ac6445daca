"""`synth doctor`: what this installation, a home and a recipe need, looked at before anything is started or paid for.

Each check gives lines: ok, a warning (it works, with a drawback that is named) or broken (something will fail), and what to do.
Nothing is changed, nothing heavy is started, and nobody on the network is asked unless that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synth.errors import SynthError

if TYPE_CHECKING:
    from flows.recipe import Recipe

State = Literal["ok", "warning", "broken"]
_AT_ONCE = 4


@dataclass(frozen=True)
class Line:
    """One line of the report."""

    name: str
    state: State
    found: str
    do: str | None = None


@dataclass(frozen=True)
class Patient:
    """What is looked at. `recipe` was read from a file in `base`; None: none was given, or it cannot be read."""

    home: Path | str
    recipe: Recipe | None = None
    base: Path = Path()
    network: bool = False


Check = Callable[[Patient], Iterable[Line]]


def ok(name: str, found: str) -> Line:
    """Nothing to do."""
    return Line(name, "ok", found)


def warning(name: str, found: str, do: str) -> Line:
    """It works, with a drawback."""
    return Line(name, "warning", found, do)


def broken(name: str, found: str, do: str) -> Line:
    """Something will fail."""
    return Line(name, "broken", found, do)


def of_error(name: str, error: SynthError) -> Line:
    """What the project itself says is wrong, on one line."""
    what, *rest = str(error).splitlines()
    parts = [line.strip() for line in rest]
    do = next((part.removeprefix("do:").strip() for part in parts if part.startswith("do:")), "mend it and look again")
    found = "; ".join([what, *(" ".join(part.split()) for part in parts if not part.startswith("do:"))])
    return broken(name, found, do)


def checks() -> list[tuple[str, Check]]:
    """All checks by name, in the order of the report."""
    from flows import doctor_home, doctor_machine, doctor_packages, doctor_recipe

    several = (*doctor_packages.CHECKS, *doctor_machine.CHECKS, *doctor_home.CHECKS, *doctor_recipe.CHECKS)
    return [(check.__name__, check) for check in several]


def examine(patient: Patient, chosen: Sequence[tuple[str, Check]] | None = None) -> list[Line]:
    """All lines, in the order of the checks, which run side by side."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="doctor") as pool:
        found = pool.map(lambda one: list(_safely(one[0], one[1], patient)), checks() if chosen is None else chosen)
        return [line for lines in found for line in lines]


def _safely(name: str, check: Check, patient: Patient) -> Iterator[Line]:
    """A check that fails says so and hides no other one."""
    try:
        yield from check(patient)
    except SynthError as error:
        yield of_error(name, error)
    except Exception as error:
        yield broken(name, f"the check itself failed: {type(error).__name__}: {error}", "please report this")


def report(lines: Sequence[Line]) -> dict[str, Any]:
    """The lines as a JSON value."""
    count = {state: sum(line.state == state for line in lines) for state in ("ok", "warning", "broken")}
    return {"checks": [asdict(line) for line in lines], **count}
