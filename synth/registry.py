"""One door for everything that can be added: families and rules register a Spec here; a user's own file uses the same call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from synth.config import Config, nearest
from synth.errors import RecipeError, fail

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True)
class Card:
    """A family in the words of `synth families`: what goes in, what comes out, where the recipe was published."""

    input: str
    output: str
    source: str


@dataclass(frozen=True)
class Rung:
    """A rung of verification that a rule's columns tell: how many things were checked, how many were wrong, and which."""

    name: str
    checked: str
    wrong: str
    evidence: str
    not_for: tuple[str, ...] = ()  # families to whose texts it does not apply: derived numbers are no invented ones
    # A column of lists beside the scores, of what was found: structs with a `score`. Each becomes a verdict of its own.
    each: str | None = None


@dataclass(frozen=True)
class Spec(Generic[FunctionT]):
    """A registered part. `version` is raised by hand when results change; `needs` names the columns a rule reads."""

    name: str
    version: int
    Options: type[Config]
    function: FunctionT
    needs: tuple[str, ...] = ()
    content_digest: str = ""  # of what shapes its results beside the version: prompts, word lists, a user's file
    renderer_version: int = (
        1  # of a family: the half that turns answers into text, which changes without asking a model
    )
    card: Card | None = None  # of a family: what it makes of what
    rungs: tuple[Rung, ...] = ()  # of a rule: which of its columns are findings about a text
    # Of a rule with these options: counts of what it reads beside the texts, for the notes of manifests.
    notes: Callable[[Any], Mapping[str, int]] | None = None
    spans: str | None = None  # of a rule: the column beside its scores that says where in `text` its finds stand


class Registry(Generic[FunctionT]):
    """Specs by name. `kind` is the word used in messages: family, rule."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._specs: dict[str, Spec[FunctionT]] = {}

    def add(self, spec: Spec[FunctionT]) -> None:
        """Register; a second spec of the same name is refused."""
        if spec.name in self._specs:
            raise fail(RecipeError, f"two {self.kind} definitions are named {spec.name!r}", do="rename one of them")
        self._specs[spec.name] = spec

    def get(self, name: str, where: str = "") -> Spec[FunctionT]:
        """The spec of this name, or a RecipeError that names the nearest one, and `where` in the recipe it was asked for."""
        if name not in self._specs:
            raise fail(
                RecipeError,
                f"{where}{': ' if where else ''}unknown {self.kind} {name!r}{nearest(name, self._specs)}",
                given=name,
                allowed=", ".join(sorted(self._specs)),
            )
        return self._specs[name]

    def __iter__(self) -> Iterator[Spec[FunctionT]]:
        return iter(sorted(self._specs.values(), key=lambda spec: spec.name))
