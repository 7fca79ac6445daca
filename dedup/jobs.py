"""Work cut into jobs: pure functions of arrays, tables and a span, on threads, in processes, or under Ray.

Threads are handed the arrays themselves. Processes and Ray are told which files hold them, in one folder that all of them
see, and answer with the names of files: what travels is JSON. So a function that serves here stands in a module, keeps
nothing, and changes nothing that it is given. The number of workers, their kind and the memory change no result.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.arrays import zeros
from dedup.threads import default_workers, in_order
from synth.config import Config, parse
from synth.errors import UserError, WorldError, fail

Runner = Literal["threads", "processes", "ray"]
RUNNERS: tuple[Runner, ...] = ("threads", "processes", "ray")

MEMORY_BYTES = 1 << 32
"""What near-duplicate removal plans to hold in memory where nothing else is said."""

_SPILL_SHARE = 8  # an array of more than this part of the memory lies in a file
_LEAST_BYTES = 1 << 20  # smaller arrays never do


class Jobs:
    """Where work is done, and how much of it is held in memory. Use it in a `with`: its folder goes with it."""

    def __init__(
        self,
        folder: Path | None = None,
        workers: int | None = None,
        runner: Runner = "threads",
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """`folder` is where scratch files go (None: the system's folder for such files; machines under Ray must share it),
        `workers` how many jobs run at once (None: one for each processor)."""
        self.workers = workers or default_workers()
        self.memory_bytes = memory_bytes
        self._runner = runner
        self._parent = folder
        self._pool: Executor | _Ray | None = None
        self._numbers = itertools.count()
        self._files: dict[int, tuple[Any, list[dict[str, Any]]]] = {}  # what lies in files, by its identity

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(dir=self._parent, prefix=".jobs-")).absolute()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            self._files.clear()
            shutil.rmtree(self.folder, ignore_errors=True)

    # Work

    def each(self, work: Callable[..., Any], spans: Iterable[Sequence[Any]], *shared: Any) -> Iterator[Any]:
        """`work(*span, *shared)` for each span (numbers and words), in their order; never more than twice the number of workers
        ahead of the caller. `shared` and the results are arrays, tables, configs, words, numbers, and tuples of them."""
        if self._runner == "threads":
            yield from in_order(lambda span: work(*span, *shared), spans, self.workers)
            return
        pool, packed, name = self._started(), [self._packed(one) for one in shared], _name_of(work)
        ahead: deque[Any] = deque()
        try:
            for span in spans:
                out = str(self.folder / f"job-{next(self._numbers)}")
                ahead.append(pool.submit(perform, name, list(span), packed, out))
                if len(ahead) >= 2 * self.workers:
                    yield _unpacked(ahead.popleft().result(), take=True)
            while ahead:
                yield _unpacked(ahead.popleft().result(), take=True)
        except BrokenExecutor as error:
            what = f"a process that looked for near-duplicates died: {error}"
            do = "when the system ran out of memory, plan with less of it or fewer workers; then run the same command again"
            raise fail(WorldError, what, do=do) from error
        finally:
            for one in ahead:
                one.cancel()

    def ranges(self, work: Callable[..., Any], count: int, size: int, *shared: Any) -> list[Any]:
        """`work(first, last, *shared)` for the ranges of `size` that make up `count`."""
        return list(self.each(work, spans_of(count, size), *shared))

    def _started(self) -> Executor | _Ray:
        if self._pool is None:
            self._pool = _Ray(self.workers) if self._runner == "ray" else _processes(self.workers)
        return self._pool

    # Files

    def spills(self, size_bytes: int) -> bool:
        """Whether an array of so many bytes lies in a file."""
        return size_bytes > max(self.memory_bytes // _SPILL_SHARE, _LEAST_BYTES)

    def room(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array to fill, zero at first: in memory or, when it is large, in a file that the system maps and may evict."""
        shape = (shape,) if isinstance(shape, int) else shape
        if not self.spills(int(np.prod(shape)) * np.dtype(dtype).itemsize):
            return zeros(shape, dtype)
        path = self.path()
        with path.open("wb") as file:
            file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return self.mapped(path, dtype, shape)

    def mapped(self, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The array in a file of this folder, for reading and writing."""
        found = _array(str(path), np.dtype(dtype).str, shape, "r+")
        self._files[id(found)] = (found, [_entry(path, found)])
        return found

    def path(self) -> Path:
        """A name for a scratch file."""
        return self.folder / f"file-{next(self._numbers)}"

    def joined(self, parts: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Arrays one after the other, where `room` has it."""
        if len(parts) == 1 and parts[0].dtype == dtype:
            return parts[0]
        found, at = self.room((sum(map(len, parts)), *(parts[0].shape[1:] if parts else ())), dtype), 0
        for part in parts:
            found[at : at + len(part)] = part
            at += len(part)
        return found

    def tables(self, paths: Sequence[Path], schema: pa.Schema) -> pa.Table:
        """The Arrow files as one table, mapped."""
        found = pa.concat_tables([schema.empty_table(), *(_opened(str(path)) for path in paths)])
        self._files[id(found)] = (found, [{"arrow": str(path)} for path in paths])
        return found

    def chosen(self, table: pa.Table, names: Sequence[str]) -> pa.Table:
        """Some columns of a table, still in the files that it lies in."""
        found = table.select(names)
        if id(table) in self._files:
            self._files[id(found)] = (found, self._files[id(table)][1])
        return found

    def joined_tables(self, tables: Sequence[pa.Table]) -> pa.Table:
        """Tables one after the other; what lies in files is not written again."""
        found = pa.concat_tables(tables)
        if self._runner != "threads":
            entries = [entry for table in tables for entry in self._entries(table)]
            self._files[id(found)] = (found, entries)
        return found

    def changed(self, value: npt.NDArray[Any]) -> None:
        """Say that the caller wrote to an array that was shared. Those in files of their own are seen to change."""
        held = self._files.get(id(value))
        if held and not isinstance(value.base, np.memmap):
            del self._files[id(value)]

    def _packed(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"array": self._entries(value)[0]}
        if isinstance(value, pa.Table):
            return {"table": self._entries(value), "schema": value.schema.serialize().to_pybytes().hex()}
        return _packed(value, self._packed)

    def _entries(self, value: Any) -> list[dict[str, Any]]:
        """The files of an array or a table, written when it is first shared."""
        if id(value) not in self._files:
            path = self.path()
            entry = _saved_array(value, path) if isinstance(value, np.ndarray) else _saved_table(value, path)
            self._files[id(value)] = (value, [entry])
        return self._files[id(value)][1]


def spans_of(count: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of `size` that make up `count`."""
    return ((first, min(first + size, count)) for first in range(0, count, size))


def perform(name: str, span: list[Any], shared: list[Any], out: str) -> Any:
    """One job, in another process: JSON in, JSON out. Its files begin with `out`."""
    module, _, function = name.partition(":")
    made = getattr(import_module(module), function)(*span, *(_unpacked(one) for one in shared))
    numbers = itertools.count()

    def pack(value: Any) -> Any:
        path = Path(f"{out}.{next(numbers)}")
        if isinstance(value, np.ndarray):
            return {"array": _saved_array(value, path)}
        if isinstance(value, pa.Table):
            return {"table": [_saved_table(value, path)], "schema": value.schema.serialize().to_pybytes().hex()}
        return _packed(value, pack)

    return pack(made)


def _packed(value: Any, pack: Callable[[Any], Any]) -> Any:
    if isinstance(value, Config):
        return {"config": _name_of(type(value)), "content": value.content()}
    if isinstance(value, tuple | list):
        kind = _name_of(type(value)) if hasattr(value, "_fields") else None
        return {"tuple": [pack(one) for one in value], "kind": kind}
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any, take: bool = False) -> Any:
    """`take`: the files are ours alone, and go when they are mapped."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        entry = value["array"]
        one = _array if take else _kept_array
        found = one(entry["raw"], entry["dtype"], tuple(entry["shape"]), "c")
        if take:
            Path(entry["raw"]).unlink(missing_ok=True)
        return found
    if "table" in value:
        schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(value["schema"])))
        paths = [entry["arrow"] for entry in value["table"]]
        opened = (one.select(schema.names) for one in map(_opened if take else _kept_table, paths))
        found = pa.concat_tables([schema.empty_table(), *opened])
        for path in paths if take else []:
            Path(path).unlink(missing_ok=True)
        return found
    if "config" in value:
        return parse(_named(value["config"]), value["content"])
    fields = [_unpacked(one, take) for one in value["tuple"]]
    return _named(value["kind"])(*fields) if value["kind"] else tuple(fields)


def _name_of(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}"


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _entry(path: Path, value: npt.NDArray[Any]) -> dict[str, Any]:
    return {"raw": str(path), "dtype": value.dtype.str, "shape": list(value.shape)}


def _saved_array(value: npt.NDArray[Any], path: Path) -> dict[str, Any]:
    np.ascontiguousarray(value).tofile(path)
    return _entry(path, value)


def _saved_table(value: pa.Table, path: Path) -> dict[str, Any]:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, value.schema) as writer:
        writer.write_table(value)
    return {"arrow": str(path)}


def _array(path: str, dtype: str, shape: tuple[int, ...], mode: Literal["c", "r+"]) -> npt.NDArray[Any]:
    """`c`: what a job would write to it stays its own. Nothing does, but numba compiles anew for arrays that are read-only."""
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, np.dtype(dtype), mode, shape=shape))


def _opened(path: str) -> pa.Table:
    with pa.memory_map(path) as source:
        return pa.ipc.open_file(source).read_all()


_kept_array = lru_cache(maxsize=128)(_array)
_kept_table = lru_cache(maxsize=32)(_opened)


class _Pending(Protocol):
    def result(self) -> Any: ...

    def cancel(self) -> bool: ...


def _processes(workers: int) -> ProcessPoolExecutor:
    from multiprocessing import get_context

    return ProcessPoolExecutor(workers, get_context("spawn"), _begin)


def _begin() -> None:
    """In each process: Ctrl-C is its parent's, and it never outlives that one, not even after a kill."""
    import signal
    import threading
    from multiprocessing import parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def leave() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


class _Reference:
    """An answer of Ray's that is under way."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def result(self) -> Any:
        try:
            return self._ray.get(self._reference)
        except self._ray.exceptions.RayTaskError as error:
            raise getattr(error, "cause", None) or error from None

    def cancel(self) -> bool:
        self._ray.cancel(self._reference)
        return True


class _Ray:
    """Ray as an executor: the cluster of RAY_ADDRESS, or one on this machine that ends with the work."""

    def __init__(self, workers: int) -> None:
        try:
            ray: Any = import_module("ray")
        except ImportError:
            what = "the runner 'ray' needs Ray, which is not installed"
            raise fail(UserError, what, allowed="threads, processes", do='pip install "synth[ray]"') from None
        self._ray, self._is_own = ray, not ray.is_initialized()
        if self._is_own and os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
        elif self._is_own:
            path = os.pathsep.join(one for one in sys.path if one)  # what we can import, its workers can
            environment = {"env_vars": {"PYTHONPATH": path}}
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        self._perform = ray.remote(perform)

    def submit(self, work: Callable[..., Any], *given: Any) -> _Reference:
        assert work is perform
        return _Reference(self._ray, self._perform.remote(*given))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._is_own:
            self._ray.shutdown()
