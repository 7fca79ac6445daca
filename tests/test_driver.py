"""Keys, skipping, publishing, and damage that is found before use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from synth import rows
from synth.config import Config
from synth.driver import Driver, File, Work
from synth.errors import IntegrityError
from synth.step import Counts, Step
from synth.store import Store

CALLS: list[str] = []


class Options(Config):
    """Of the test step."""

    word: str = "drop"


def _run(inputs: Mapping[str, Path], config: Options, out: Path) -> Counts:
    """Write one drop per input."""
    CALLS.append(config.word)
    drops = [rows.drop_row(path.read_text(), "seed", "test", config.word, "") for path in inputs.values()]
    rows.write_table(rows.table(drops, rows.DROP), out / "drops.parquet")
    return Counts(items=len(drops), kept=0, dropped={config.word: len(drops)})


STEP = Step("test", 1, Options, _run)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    CALLS.clear()
    return Driver(Store.open(tmp_path / "home"), tmp_path / "home/scratch")


def source(tmp_path: Path, text: str) -> File:
    import hashlib

    path = tmp_path / f"{text}.txt"
    path.write_text(text)
    return File(str(path), hashlib.sha256(text.encode()).hexdigest(), len(text))


def test_what_exists_is_never_made_again(driver: Driver, tmp_path: Path) -> None:
    work = Work(STEP, Options(), {"a": source(tmp_path, "a")})
    first = driver.run(work)
    again = Driver(driver.store, driver.scratch).run(work)
    assert CALLS == ["drop"]
    assert again == first
    assert not list(driver.scratch.rglob("*.parquet"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda work, other: Work(Step("test", 2, Options, _run), work.config, work.inputs), id="version"),
        pytest.param(lambda work, other: Work(work.step, Options(word="x"), work.inputs), id="config"),
        pytest.param(lambda work, other: Work(work.step, work.config, {"a": other}), id="input content"),
        pytest.param(
            lambda work, other: Work(work.step, work.config, {**work.inputs, "b": other}), id="one more input"
        ),
    ],
)
def test_the_key_covers_what_shapes_the_result(tmp_path: Path, change: object) -> None:
    work = Work(STEP, Options(), {"a": source(tmp_path, "a")})
    assert change(work, source(tmp_path, "b")).key != work.key  # type: ignore[operator]


def test_the_key_ignores_where_files_lie_and_memos(tmp_path: Path) -> None:
    file = source(tmp_path, "a")
    moved = File("/elsewhere/a.txt", file.sha256, file.size_bytes)
    work = Work(STEP, Options(), {"a": file})
    assert Work(STEP, Options(), {"a": moved}, memo={"m": source(tmp_path, "b")}).key == work.key


def test_a_flipped_bit_in_an_input_is_found_before_use(driver: Driver, tmp_path: Path) -> None:
    file = source(tmp_path, "a")
    Path(file.path).write_text("b")
    with pytest.raises(IntegrityError, match=r"(?s)a\.txt is not what its manifest says.*delete its folder"):
        driver.run(Work(STEP, Options(), {"a": file}))
    assert CALLS == []


def test_counts_that_do_not_add_up_are_refused(driver: Driver, tmp_path: Path) -> None:
    def wrong(inputs: Mapping[str, Path], config: Options, out: Path) -> Counts:
        return Counts(items=3, kept=1, dropped={"x": 1})

    work = Work(Step("test", 1, Options, wrong), Options(), {"a": source(tmp_path, "a")})
    with pytest.raises(IntegrityError, match=r"(?s)do not add up.*3 in; 1 kept \+ 1 dropped = 2"):
        driver.run(work)
    assert driver.find(work) is None


def test_a_folder_that_holds_another_object_is_refused(driver: Driver, tmp_path: Path) -> None:
    one, other = (Work(STEP, Options(), {"a": source(tmp_path, name)}) for name in "ab")
    made = driver.run(one)
    (driver.store.root / made.place).rename(driver.store.root / other.place)
    with pytest.raises(IntegrityError, match="another object than its name says"):
        Driver(driver.store, driver.scratch).find(other)


def test_a_failed_step_leaves_nothing_published(driver: Driver, tmp_path: Path) -> None:
    def broken(inputs: Mapping[str, Path], config: Options, out: Path) -> Counts:
        (out / "half.parquet").write_bytes(b"half")
        raise ValueError("broken")

    work = Work(Step("test", 1, Options, broken), Options(), {"a": source(tmp_path, "a")})
    with pytest.raises(ValueError, match="broken"):
        driver.run(work)
    assert driver.store.objects("objects") == []
    assert driver.run(Work(STEP, Options(), {"a": source(tmp_path, "a")})).counts["items"] == 1
