"""What a step is. A step knows its inputs, its own config and an empty folder; never a key, the store, the run or Prefect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from synth.config import Config

ConfigT = TypeVar("ConfigT", bound=Config)


@dataclass(frozen=True)
class Counts:
    """How many items went in, stayed, and were dropped under which first reason. `items == kept + sum(dropped)`, always."""

    items: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)  # further counts, for people and checks

    def content(self) -> dict[str, Any]:
        """As stored in a manifest."""
        return {
            "items": self.items,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "notes": dict(sorted(self.notes.items())),
        }


@dataclass(frozen=True)
class Step(Generic[ConfigT]):
    """A function over partitions.

    `run(inputs, config, out)`: `inputs` maps a name such as `seeds` or `documents/0003` to a local file, `out` is an empty
    folder whose files are published together. The parent of `out` outlives a crash of the process: what a step wants
    to find again after a kill (the journal of answers) lies there; its siblings belong to other keys of the same group.
    Raise `version` by hand when results change.
    """

    name: str
    version: int
    Config: type[ConfigT]
    run: Callable[[Mapping[str, Path], ConfigT, Path], Counts]
