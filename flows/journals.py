"""Journals of a home on S3 are local; what was answered is copied up in small files, so that another machine can go on.

`HOME/journals/<partition>/<family>/<key>/…` holds the rows of one open journal. When the partition is published they have
done their work and are removed. A run that begins puts what it finds there into a journal of its own scratch, from which
the partition's next object takes it over, as it does with journals that another policy left open. For a home in a local
folder nothing of this happens.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from synth.driver import Manifest, Work
from synth.engine.journal_copies import Keys, Row, new_rows, pack, remember, restore, unpack
from synth.errors import SynthError
from synth.store import MANIFEST, Store

FOLDER = "journals"
_BROUGHT = "brought"  # the journal of rows that came from elsewhere; others are named by their object's key
_ROWS_PER_FILE = 20_000

Place = tuple[str, str, str]
"""Partition, family and key of an open journal."""


class JournalCopies:
    """Copies the open journals of one run, every some seconds and at its end."""

    def __init__(self, store: Store, scratch: Path, seconds: float, tell: Callable[[str], None]) -> None:
        self._store, self._scratch = store, scratch
        self._seconds, self._tell = seconds, tell
        self._copied: dict[Place, Keys] = {}
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._started = self._failed = False
        self._thread = threading.Thread(target=self._work, name="journal copies", daemon=True)

    def bring(self, families: Iterable[str]) -> int:
        """Before a run: what was answered elsewhere becomes journals here. How many answers that are new here."""
        if self._store.is_local:
            return 0
        files: dict[Place, list[str]] = defaultdict(list)
        for path in self._store.files(FOLDER):
            partition, family, key = path.split("/")[1:4]
            if family in families:
                files[partition, family, key].append(path)
        rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for place, paths in sorted(files.items()):
            if self._store.exists(f"objects/generate/{'/'.join(place)}/{MANIFEST}"):
                self._store.remove(f"{FOLDER}/{'/'.join(place)}")  # its run was killed just before it did this
                continue
            found = [
                row for path in sorted(paths) for row in unpack(self._store.read(path), f"{self._store.name}/{path}")
            ]
            self._copied[place] = {}
            remember(self._copied[place], found)
            rows[place[0], place[1]] += found
        return sum(self._restore(group, found) for group, found in rows.items())

    def _restore(self, group: tuple[str, str], rows: list[Row]) -> int:
        """Write rows that no journal of the group has here; how many of them are answers."""
        folder = self._scratch / "generate" / group[0] / group[1]
        here: Keys = {}
        for journal in sorted(folder.glob("*/journal.sqlite")):
            remember(here, _read(journal, {}))
        missing = [row for row in rows if row[1][0] not in here.get(row[0], ())]
        answers = {values[0] for table, values in missing if table == "answers"}
        if any(table != "meta" for table, _ in missing):
            restore(folder / _BROUGHT / "journal.sqlite", rows)
        return len(answers)

    def start(self) -> None:
        """Copy from now on."""
        if not self._store.is_local:
            self._started = True
            self._thread.start()

    def on_object(self, work: Work, _: Manifest) -> None:
        """A partition of a family is published: its copies have done their work."""
        if work.step.name != "generate" or self._store.is_local:
            return
        partition, family = work.group.split("/")
        with self._guard:
            mine = [place for place in self._copied if place[:2] == (partition, family)]
            if not mine:
                return
            for place in mine:
                del self._copied[place]
            try:
                self._store.remove(f"{FOLDER}/{partition}/{family}")
            except SynthError as error:  # the next run removes it
                self._say(error)

    def close(self) -> None:
        """Copy what is left, and stop."""
        if self._started:
            self._started = False
            self._end.set()
            self._thread.join()
            self._copy_all()

    def _work(self) -> None:
        while not self._end.wait(self._seconds):
            self._copy_all()

    def _copy_all(self) -> None:
        for journal in sorted(self._scratch.glob("generate/*/*/*/journal.sqlite")):
            partition, family, key = journal.parts[-4:-1]
            try:
                with self._guard:
                    if key != _BROUGHT and journal.exists():
                        self._copy(journal, (partition, family, key))
            except SynthError as error:
                self._say(error)
                return
        self._failed = False

    def _copy(self, journal: Path, place: Place) -> None:
        known = self._copied.get(place, {})
        rows = _read(journal, known)
        if all(table == "meta" for table, _ in rows):
            return
        for start in range(0, len(rows), _ROWS_PER_FILE):
            some = rows[start : start + _ROWS_PER_FILE]
            name = f"{time.time_ns() // 1000:016d}-{secrets.token_hex(4)}.jsonl.zst"
            self._store.create(f"{FOLDER}/{'/'.join(place)}/{name}", pack(some))
            remember(self._copied.setdefault(place, {}), some)

    def _say(self, error: SynthError) -> None:
        """Once per outage: the run goes on, its answers are safe here."""
        if not self._failed:
            self._tell(
                f"answers could not be copied to {self._store.name}; they are kept here, and it is tried again: {error}"
            )
        self._failed = True


def _read(journal: Path, known: Keys) -> list[Row]:
    """Rows that are not known; none when the journal has just been made, or been sealed."""
    try:
        return list(new_rows(journal, known))
    except sqlite3.OperationalError:
        return []
