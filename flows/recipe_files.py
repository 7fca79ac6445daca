"""The files of a recipe: bundled ones by name, one that builds on another (`extends`), and which file each value stands in.

The rule of `extends = "base.toml"`: tables are merged key by key; everything else, lists included, replaces what the base
says. A table over a list of tables ([families.distill] over [[families]]) changes the entry of that name, id or column, as
`--set` does. Paths start at the folder of the file that they stand in; those of a bundled recipe, which has no folder of the
user's, at the folder of the file that extends it, or where the user stands.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.config import assign, entry_names, load_toml, nearest, position_of
from synth.errors import RecipeError, fail

BUNDLED_FOLDER = Path(__file__).parent / "recipes"
FROM_COMMAND_LINE = "--set"

Place = tuple[str | int, ...]


def bundled() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    return {path.stem: path for path in sorted(BUNDLED_FOLDER.glob("*.toml"))}


def recipe_file(given: Path) -> Path:
    """The file that is meant: the one at this path, else the bundled recipe of this name. RecipeError: neither."""
    if given.is_file():
        return given
    names = bundled()
    if str(given) in names:
        return names[str(given)]
    known = [*names, *(str(path) for path in given.parent.glob("*.toml"))]
    raise fail(
        RecipeError,
        f"no such recipe: {given}{nearest(str(given), known) or nearest(given.stem, names)}",
        allowed=f"the path of a .toml file, or a bundled recipe: {', '.join(names)}",
        do="`synth recipes` lists the bundled ones",
    )


@dataclass(frozen=True)
class RecipeFile:
    """One file of a chain: as messages name it, where it is read, and where its paths start."""

    shown: str
    path: Path
    folder: Path

    @property
    def is_bundled(self) -> bool:
        """Whether it came with the package."""
        return self.path.parent == BUNDLED_FOLDER


@dataclass(frozen=True)
class Merged:
    """A recipe's value with its bases and the command line's changes in it, and where each value was said."""

    value: dict[str, Any]
    files: tuple[RecipeFile, ...]  # the one that was named, its base, the base's base …
    said_in: Mapping[Place, str]  # of each value that is no table: the file's name in messages, or --set

    def origin(self, dotted: str) -> str | None:
        """The file that says what stands at `families.distill.share`; None where that is not one file, or not known."""
        place = self._place(dotted.split("."))
        for length in range(len(place), 0, -1):
            if found := self.said_in.get(place[:length]):
                return found
        under = {label for at, label in self.said_in.items() if at[: len(place)] == place}
        return under.pop() if place and len(under) == 1 else None

    def _place(self, names: Sequence[str]) -> Place:
        """As far as the names lead into the value; entries of lists by number, or by their name, id or column."""
        at: Any = self.value
        place: list[str | int] = []
        for name in names:
            key: str | int | None = None
            if isinstance(at, dict):
                key = next((one for one in (name, f"more_{name}") if one in at), None)
            elif isinstance(at, list):
                key = position_of(at, name)
            if key is None:
                break
            place.append(key)
            at = at[key]
        return tuple(place)

    @contextmanager
    def naming_files(self) -> Iterator[None]:
        """Where several files make the recipe, a RecipeError says in which of them a field stands."""
        try:
            yield
        except RecipeError as error:
            if len(self.files) == 1:
                raise
            lines = str(error).split("\n")
            named = [self._named(line) for line in lines]
            if named == lines and (origin := self._origin_of_value(str(error))):
                named[0] += f" (in {origin})"
            raise RecipeError("\n".join(named)) from None

    def _named(self, line: str) -> str:
        field = re.match(r"[\w-]+(\.[\w-]+)*(?=[: ])", line)
        origin = self.origin(field[0]) if field else None
        return f"{line} (in {origin})" if origin and origin != FROM_COMMAND_LINE else line

    def _origin_of_value(self, message: str) -> str | None:
        """The file that says what was given, for a message that names a value and no field."""
        given = re.search(r"^  given:   (.*)$", message, re.MULTILINE)
        found = {label for place, label in self.said_in.items() if given and str(self._value(place)) == given[1]}
        return found.pop() if len(found) == 1 else None

    def _value(self, place: Place) -> Any:
        at: Any = self.value
        for key in place:
            at = at[key]
        return at


def read_recipe(path: Path, assignments: Sequence[str] = ()) -> Merged:
    """The recipe at this path, or the bundled one of this name, with its bases and `--set` values in it. Not yet checked."""
    links = _chain(path)
    top = links[0][0]
    value: dict[str, Any] = {}
    said_in: dict[Place, str] = {}
    for file, own in reversed(links):
        anchor(own, file.folder)
        if file.folder != top.folder:
            _anchor_sources(own, file.folder)
        _merge(value, own, file.shown, said_in, ())
    for assignment in assignments:
        place, said = assign(value, assignment)
        _said(said, FROM_COMMAND_LINE, said_in, place)
    anchor(value, top.folder)
    return Merged(value, tuple(file for file, _ in links), said_in)


def _chain(path: Path) -> list[tuple[RecipeFile, dict[str, Any]]]:
    """The file and its bases, the file first. RecipeError: a loop, or a base that is not there."""
    found = recipe_file(path)
    own = found.parent != BUNDLED_FOLDER
    file = RecipeFile(
        str(path) if own else f"{found.stem} (bundled)", found, (path if own else Path("x")).absolute().parent
    )
    links: list[tuple[RecipeFile, dict[str, Any]]] = []
    while True:
        links.append((file, load_toml(file.path)))
        given = links[-1][1].pop("extends", None)
        if given is None:
            return links
        file = _base(given, file)
        seen = [link.path.resolve() for link, _ in links]
        if file.path.resolve() in seen:
            circle = [link.shown for link, _ in links[seen.index(file.path.resolve()) :]]
            raise fail(
                RecipeError,
                f"extends: {' <- '.join([*circle, file.shown])} is a circle",
                do="remove `extends` from one of them",
            )


def _base(given: object, file: RecipeFile) -> RecipeFile:
    """The file that `extends` names: a path from the file's folder, or a bundled recipe's name."""
    if not isinstance(given, str) or not given:
        raise fail(
            RecipeError,
            f"extends: not a text (in {file.shown})",
            given=given,
            allowed="one path of a .toml file, or a bundled recipe's name",
        )
    names = bundled()
    path = file.folder / given
    if not file.is_bundled and path.is_file():
        return RecipeFile(str(Path(file.shown).parent / given), path, path.absolute().parent)
    if given in names:
        return RecipeFile(f"{given} (bundled)", names[given], file.folder)
    beside = [one.name for one in file.folder.glob("*.toml") if one.resolve() != file.path.resolve()]
    raise fail(
        RecipeError,
        f"extends: there is no recipe {given!r}{nearest(given, [*beside, *names])} (in {file.shown})",
        given=f"{given!r}, looked for in {file.folder}",
        allowed=f"a .toml file, its path from there; or a bundled recipe: {', '.join(names)}",
    )


def _merge(base: Any, over: Mapping[str, Any], label: str, said_in: dict[Place, str], at: Place) -> None:
    """Write `over` into the table `base` by the rule above, and remember who said what."""
    for name, value in over.items():
        held, place = base.get(name), (*at, name)
        if isinstance(value, dict) and isinstance(held, dict):
            said_in.pop(place, None)
            _merge(held, value, label, said_in, place)
        elif isinstance(value, dict) and value and _is_list_of_tables(held):
            _change_entries(held, value, label, said_in, place)
        else:
            base[name] = copy.deepcopy(value)
            _said(value, label, said_in, place)


def _said(value: Any, label: str, said_in: dict[Place, str], place: Place) -> None:
    """Remember who said this, in place of what was said before."""
    for inner in [known for known in said_in if known[: len(place)] == place]:
        del said_in[inner]
    said_in |= dict.fromkeys(_leaves(value, place), label)


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _change_entries(
    held: list[Any], changes: Mapping[str, Any], label: str, said_in: dict[Place, str], at: Place
) -> None:
    dotted = ".".join(map(str, at))
    for name, change in changes.items():
        known = entry_names(held)
        position = position_of(held, name)
        if position is None or not isinstance(change, dict):
            problem = (
                f"is no table: [{dotted}.{name}] is meant to be one" if position is not None else "is not in its base"
            )
            raise fail(
                RecipeError,
                f"{dotted}.{name} {problem}{nearest(name, known) if position is None else ''} (in {label})",
                allowed=f"[{dotted}.NAME], to change one of: {', '.join(known)}",
                do=f"correct the name; or write [[{dotted}]], which replaces the whole list",
            )
        _merge(held[position], change, label, said_in, (*at, position))


def _leaves(value: Any, at: Place) -> Iterator[Place]:
    """Places of what is no table; of lists of tables, of what stands in their entries; an empty table is its own."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*at, name))
    elif _is_list_of_tables(value):
        for position, inner in enumerate(value):
            yield from _leaves(inner, (*at, position))
    else:
        yield at


def anchor(value: dict[str, Any], base: Path) -> None:
    """Paths of model files start from the recipe's folder, as those of sources do. Wrong shapes are left to `parse`."""
    steps = [table for step in ("screen", "score") for table in _tables([value], step)]
    rules = [*_entries(steps, "rules"), *_entries(steps, "more_rules")]
    for table in [*_tables(rules, "options"), *_tables(_tables([value], "models"), None)]:
        for name in ("path", "weights"):
            if (
                isinstance(table.get(name), str)
                and table[name].endswith((".gguf", ".bin", ".ftz"))
                and "/" in table[name]
            ):
                table[name] = str(base / table[name])
    for benchmark in _entries([*_tables(rules, "options"), *_tables([value], "decontamination")], "benchmarks"):
        if isinstance(benchmark.get("path"), str):
            benchmark["path"] = str(base / benchmark["path"])
    for table in _tables([value], "quality"):
        for name in ("positives", "negatives"):
            _anchor_list(table, name, base)
    for table in _tables([value], "dedup"):
        _anchor_list(table, "against", base)
    for family in _entries([value], "families"):
        if isinstance(family.get("file"), str):
            family["file"] = str(base / family["file"])
    for notify in _tables(_tables([value], "run"), "notify"):
        program = notify["command"][:1] if isinstance(notify.get("command"), list) else []
        if program and isinstance(program[0], str) and "/" in program[0]:
            notify["command"] = [str(base / program[0]), *notify["command"][1:]]


def _anchor_sources(value: dict[str, Any], base: Path) -> None:
    for source in _entries([value], "sources"):
        _anchor_list(source, "paths", base)


def _anchor_list(table: dict[str, Any], name: str, base: Path) -> None:
    if isinstance(table.get(name), list):
        table[name] = [str(base / one) if isinstance(one, str) else one for one in table[name]]


def _tables(tables: list[dict[str, Any]], name: str | None) -> list[dict[str, Any]]:
    """The tables found under `name` (None: under every name) of each table, lists of tables opened."""
    found = [inner for table in tables for key, inner in table.items() if name in (None, key)]
    opened = [item for inner in found for item in (inner if isinstance(inner, list) else [inner])]
    return [item for item in opened if isinstance(item, dict)]


def _entries(tables: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The entries of a list of tables: those listed, or those of a table of changes to a base's list."""
    found = _tables(tables, name)
    changes = [one for one in found if one and all(isinstance(inner, dict) for inner in one.values())]
    return [*found, *(inner for one in changes for inner in one.values())]
