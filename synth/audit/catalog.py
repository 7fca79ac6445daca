"""The catalogue: one DuckDB file whose views show everything in a home, built anew from its manifests.

Unqualified views show the newest release of each recipe, `all_` views every published object. Paths in it are relative
to the home, so the folder may be moved, and plain `duckdb catalog.duckdb` works inside it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from synth.audit.copies import CATALOG as CATALOG
from synth.audit.corpus_views import CORPUS
from synth.audit.facts import create_tables
from synth.audit.home import Home, Released, plain_path, read_home, released_files
from synth.audit.tables import SCORES, TABLES, literal, score_schema, table_of
from synth.audit.views import DERIVED, View, sessions_view, table_views
from synth.digest import digest
from synth.errors import HomeError
from synth.store import Store, make_folders


def build_catalog(home: Path) -> Path:
    """Build `HOME/catalog.duckdb` anew and put it in the place of the old one; who has that open keeps it.

    Opens no table of the home, only its manifests (and one file of scores for each set of rules, for its columns).
    HomeError when `home` is none, IntegrityError when a release stands on something that is not there.
    """
    found, store = read_home(home), Store.at(home)
    released = released_files(found)
    target, temporary = found.root / CATALOG, found.root / "tmp" / f"catalog-{secrets.token_hex(8)}.duckdb"
    make_folders(temporary.parent)
    try:
        with plain_path(found.root) if store.is_local else _stand_ins(found) as plain:
            built = plain.parent / CATALOG
            with duckdb.connect(str(built)) as connection:
                connection.execute(f"SET file_search_path = {literal(str(plain))}")
                create_tables(connection, found, released)
                for view in [*_table_views(found, released, store), *DERIVED, *CORPUS]:
                    view.create(connection)
            shutil.copyfile(built, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    if not store.is_local:
        with contextlib.suppress(HomeError):  # who may only read asks the copy here
            store.replace(CATALOG, target.read_bytes())
    return target


@contextlib.contextmanager
def _stand_ins(home: Home) -> Iterator[Path]:
    """A folder with an empty file for each one of a home on S3: a view wants its files to be there, and opens none."""
    with tempfile.TemporaryDirectory(prefix="synth-") as folder:
        plain = Path(folder) / "home"
        names = [f"{place}/{name}" for place, manifest in home.manifests.items() for name in manifest.files]
        for path in [*names, *(run.sessions for run in home.runs if run.sessions)]:
            (plain / path).parent.mkdir(parents=True, exist_ok=True)
            (plain / path).touch()
        yield plain


def _table_views(home: Home, released: list[Released], store: Store) -> list[View]:
    """The views that read files: for each table all of its files, and those of the newest releases."""
    every = [
        (table_of(name), f"{place}/{name}") for place, manifest in home.manifests.items() for name in manifest.files
    ]
    newest = sorted({(table_of(file.name), f"{file.place}/{file.name}") for file in released})
    sessions = [run.sessions for run in home.runs if run.sessions]
    views = [sessions_view(sessions)]
    for table, schema in TABLES.items():
        everywhere, current = ([path for name, path in files if name == table] for files in (every, newest))
        columns = score_schema(_samples(home, table, store), table) if schema is SCORES else schema
        views += table_views(table, columns, everywhere, current)
    return views


def _samples(home: Home, table: str, store: Store) -> list[Path]:
    """One file of a table for each way in which it was made: enough to know all columns that it can have."""
    found: dict[str, str] = {}
    for place, manifest in home.manifests.items():
        for name in manifest.files:
            if table_of(name) == table:
                found.setdefault(digest([manifest.step, manifest.config]), f"{place}/{name}")
    store.fetch(found.values())
    return [store.local(path) for path in found.values()]
