"""The families by name: one line per family."""

from __future__ import annotations

from collections.abc import Iterator

from generators import (
    distill,
    diverse_qa,
    faq,
    gap_dialogue,
    guided_rewrite,
    math_problem,
    table_qa,
    textbook,
    thought_aug,
    tutorial,
    wiki_clean,
)
from synth.ask import Family
from synth.registry import Registry, Spec

BUNDLED = (
    distill.spec,
    diverse_qa.spec,
    faq.spec,
    gap_dialogue.spec,
    guided_rewrite.spec,
    math_problem.spec,
    table_qa.spec,
    textbook.spec,
    thought_aug.spec,
    tutorial.spec,
    wiki_clean.spec,
)


class Families(Registry[Family]):
    """A registry that holds the bundled families from its first use on: building their specs reads their prompt files."""

    def __init__(self) -> None:
        super().__init__("family")

    def add(self, spec: Spec[Family]) -> None:
        """As Registry.add."""
        self._add_bundled()
        super().add(spec)

    def get(self, name: str, where: str = "") -> Spec[Family]:
        """As Registry.get."""
        self._add_bundled()
        return super().get(name, where)

    def __iter__(self) -> Iterator[Spec[Family]]:
        self._add_bundled()
        return super().__iter__()

    def _add_bundled(self) -> None:
        if not self._specs:
            self._specs = {spec.name: spec for spec in (make() for make in BUNDLED)}


families = Families()
"""All families by name. A user's own file adds its Spec here."""
