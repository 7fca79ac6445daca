"""A recipe's families: bundled ones by name, a user's own by file; routes, weights and roles, checked before anything runs."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

from flows.steps.generate import FamilyConfig
from flows.steps.routing import OWN_QUALITY, Rival
from generators.registry import families
from generators.writing import WritingOptions
from synth.ask import Family
from synth.config import Config, nearest
from synth.digest import short
from synth.errors import RecipeError, fail
from synth.registry import Spec


def load_family(name: str, file: str | None) -> Spec[Family]:
    """The family of this name: a bundled one, or the one that `spec()` in the user's file returns.

    A user's file is code that the recipe names, and runs as such. Its bytes are part of what it makes: a changed file makes
    its documents again.
    """
    if file is None:
        return families.get(name, f"families.{name}")
    spec = family_in(Path(file), f"families.{name}.file", "paths start at the recipe's folder")
    if spec.name != name:
        raise fail(
            RecipeError,
            f"families.{name}.file: its family has another name",
            given=f"{spec.name!r} in {file}",
            allowed=name,
            do="write the same name in both places",
        )
    return spec


class _Held(SourceFileLoader):
    """Runs exactly the bytes that were hashed. Cached bytecode would pass for them when only size and second agree."""

    def __init__(self, name: str, path: Path, source: bytes) -> None:
        super().__init__(name, str(path))
        self._source = source

    def path_stats(self, path: str) -> NoReturn:
        """None: so Python neither reads nor writes bytecode."""
        raise OSError(path)

    def get_data(self, path: str) -> bytes:
        """The source."""
        return self._source


def family_in(path: Path, where: str, do: str) -> Spec[Family]:
    """The family in a user's file, its bytes added to its digest. `where` names the file's place in messages, `do` is said
    when it is missing. RecipeError for whatever is wrong with it.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise fail(
            RecipeError, f"{where}: the file cannot be read: {error.strerror}", given=str(path), do=do
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    try:
        made = _made(path, source, f"synth_user_family_{short(digest)}")
    except (Exception, SystemExit) as error:
        why = f"{where}: {path.name} cannot be loaded: {type(error).__name__}: {error}"
        do = f"mend it; `python {path}` shows where an import or a line of it fails"
        raise fail(RecipeError, why, given=str(path), do=do) from error
    _check_spec(made, path, where)
    return replace(made, content_digest=f"{made.content_digest}{digest}")


def _made(path: Path, source: bytes, module_name: str) -> Any:
    """What `spec()` of the file returns; None when it has no such function. The file runs once per process and content."""
    module = sys.modules.get(module_name)
    if module is None:
        found = importlib.util.spec_from_loader(module_name, _Held(module_name, path, source))
        assert found and found.loader, "it was given"
        module = importlib.util.module_from_spec(found)
        sys.modules[module_name] = module  # dataclasses and pydantic look their module up
        try:
            found.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    make = getattr(module, "spec", None)
    return make() if callable(make) else None


def _check_spec(made: Any, path: Path, where: str) -> None:
    if not isinstance(made, Spec):
        problem = "has no function `spec()` that returns a synth.registry.Spec"
    elif not (isinstance(made.Options, type) and issubclass(made.Options, Config)):
        problem = "gives its Spec an Options that is no class derived from synth.config.Config"
    elif not inspect.iscoroutinefunction(made.function):
        problem = "gives its Spec a function that is not `async def`"
    else:
        return
    raise fail(RecipeError, f"{where}: {path.name} {problem}", given=str(path), do="see generators/distill.py for one")


def check_route(config: FamilyConfig, columns: Collection[str]) -> None:
    """RecipeError when a family's route looks at no number that the screen writes, or weight and share are both given."""
    if config.weight is not None and config.share != 1.0:
        raise fail(
            RecipeError,
            f"families.{config.name}: both a share and a weight",
            given=f"share = {config.share}, weight = {config.weight}",
            allowed="one of them",
            do="a share works on its own; families with weights divide the seeds among them",
        )
    if config.route is None or config.route.column in (OWN_QUALITY, *columns):
        return
    raise fail(
        RecipeError,
        f"families.{config.name}.route: no rule of [screen] writes a number {config.route.column!r}"
        f"{nearest(config.route.column, [OWN_QUALITY, *columns])}",
        given=config.route.column,
        allowed=", ".join([OWN_QUALITY, *sorted(columns)]),
        do="name one of these, or add the rule that writes it to screen.rules",
    )


def rivals(configs: Sequence[FamilyConfig]) -> tuple[Rival, ...]:
    """The families that compete for seeds, by name, with their weights in seeds: in kept tokens, over what a seed yields."""
    weighed = [one for one in sorted(configs, key=lambda one: one.name) if one.weight is not None]
    return tuple(
        Rival(family=one.name, weight=(one.weight or 0.0) / one.kept_tokens_per_seed, route=one.route)
        for one in weighed
    )


def asked_roles(name: str, options: Config, known: Collection[str]) -> list[str]:
    """The roles that a family asks under these options, all known. What does not say so may ask all of them."""
    if not isinstance(options, WritingOptions):
        return sorted(known)
    for role in options.roles():
        if role not in known:
            raise fail(
                RecipeError,
                f"families.{name} asks the role {role!r}, which the recipe does not define",
                allowed=", ".join(sorted(known)),
                do=f'add [roles.{role}] with models = ["…"] to the recipe',
            )
    return list(options.roles())
