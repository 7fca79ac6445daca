"""fastText that can be trusted: files known by SHA-256, text that cannot fool the model, scores by two implementations.

What goes wrong with the library alone: several distributions install the module `fasttext` over each other, and some of them
return wrong probabilities under numpy 2; a model file has no checksum, and a damaged one loads with plausible wrong scores; a
literal `</s>` ends the text for the model; a text of which nothing is known gets the prior as if it were a score; each process
holds a copy of the model, and while it scores no other thread runs. So the library only trains, and checks, in a process of its
own, that our scores of the canaries are its scores; texts are scored by `filters.fasttext_kernels` from the mapped file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.fasttext_arrays import model_arrays, new_scratch
from filters.fasttext_file import LABEL_PREFIX as LABEL_PREFIX
from filters.fasttext_file import ModelFile, map_file, read_model, unusable
from synth.digest import file_sha256
from synth.errors import RecipeError, UserError, fail
from synth.text.buffers import text_bytes

PROVIDER = "fasttext-community"
CANARIES = (
    "Water boils at a lower temperature on a mountain because the air presses less on its surface.",
    "click here buy now best price free shipping!!! 100% $$$ http www",
    "def total(values): return sum(v * v for v in values)",
    "Der Fluss entspringt im Gebirge und mündet ins Meer.",
    "水在高山上沸腾的温度较低。",
    "0 1 2 3",
)
PROBE_LABELS = 20  # the best of each canary are compared: all of most models
PROBE_TOLERANCE = 1e-6
PROBE_BASE_BYTES = 1 << 29  # Python, numpy and fastText map 0.15 GB; the rest is slack for their allocators
PROBE_FILE_FACTOR = 3  # a file takes its own size once loaded; twice that for reading
PROBE_BASE_SECONDS = 20
PROBE_BYTES_PER_SECOND = 20_000_000  # a slow network disk

_loaded: dict[str, FastTextModel] = {}
_loading = threading.Lock()


class FastTextModel:
    """A supervised model. Scores depend on the text alone: not on order, batches, threads or processes. Several threads may
    score at once. `labels` are without `__label__`, sorted."""

    def __init__(self, file: ModelFile) -> None:
        self._names = file.dictionary.labels
        self.labels = tuple(sorted(self._names))
        self._model = model_arrays(file)

    def best(self, text: str) -> tuple[str, float] | None:
        """The most probable label and its probability; None when the text is unscorable."""
        labels, probabilities = self.best_all(pa.array([text], pa.large_string()))
        return (labels[0].as_py(), probabilities[0].as_py()) if labels[0].is_valid else None

    def probability(self, text: str, label: str) -> float | None:
        """The probability of `label` (one of `labels`); None when the text is unscorable."""
        found: float | None = self.probabilities(pa.array([text], pa.large_string()), label)[0].as_py()
        return found

    def probabilities(self, texts: pa.Array | pa.ChunkedArray, label: str) -> pa.FloatArray:
        """The probability of `label` (one of `labels`) for each text of a string or large_string column; null for a null, and
        for a text that is unscorable: the model knows no word of it, and no part of one."""
        _, probabilities, known = self._scores(texts, self._names.index(label))
        return pa.array(probabilities, mask=~known)

    def best_all(self, texts: pa.Array | pa.ChunkedArray) -> tuple[pa.StringArray, pa.FloatArray]:
        """The most probable label of each text and its probability; both null for a null and for an unscorable text."""
        labels, probabilities, known = self._scores(texts, -1)
        indices = pa.array(np.maximum(labels, 0), mask=~known)
        return pa.array(self._names, pa.string()).take(indices), pa.array(probabilities, mask=~known)

    def disagreement(self, texts: Sequence[str], scores: Sequence[Any]) -> float:
        """The largest difference from another's [label, probability] pairs of these texts, their labels with `__label__`;
        infinite where it has a label that is not ours, NaN where it has one."""
        column, differences = pa.array(texts, pa.large_string()), [0.0]
        theirs: list[dict[str, float]] = [dict(pairs) for pairs in scores]
        for label in {name for pairs in theirs for name in pairs}:
            name = label.removeprefix(LABEL_PREFIX)
            if name not in self._names:
                return math.inf
            _, ours, _ = self._scores(column, self._names.index(name))
            differences += [
                abs(value - min(pairs[label], 1.0))
                for value, pairs in zip(ours.tolist(), theirs, strict=True)
                if label in pairs
            ]
        return float(np.max(differences))

    def _scores(
        self, texts: pa.Array | pa.ChunkedArray, wanted: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
        from filters.fasttext_kernels import score_texts  # numba takes half a second to load

        labels = np.empty(len(texts), np.int32)
        probabilities, known = np.empty(len(texts), np.float32), np.empty(len(texts), np.bool_)
        first = 0
        for batch in text_bytes(texts):
            part = slice(first, first + len(batch.starts))
            scratch, found = (
                new_scratch(self._model, batch.starts, batch.ends),
                (labels[part], probabilities[part], known[part]),
            )
            score_texts(self._model, *batch, wanted, scratch, *found)
            first = part.stop
        return labels, probabilities, known


def flatten(text: str) -> str:
    """The text as one line in which fastText sees words only: no line breaks, NULs, `</s>` or `__label__`."""
    for mark in ("\0", "</s>", LABEL_PREFIX):  # replaced by a space, so that what is left cannot join into a new mark
        text = text.replace(mark, " ")
    return " ".join(text.split())


def load(path: Path, sha256: str, *, probe_first: bool, size_bytes: int | None = None) -> FastTextModel:
    """The model in `path`, whose bytes must have this SHA-256 (and size, if given); once per process, cached by digest.

    `probe_first`: for a file that is not ours. The library loads it in a child process under limits of memory and time, and
    it is used only if the canaries' scores there are ours. RecipeError when the file is missing, another one, damaged, or
    scored differently; UserError when `probe_first` and another distribution provides `fasttext`.
    """
    with _loading:
        if sha256 not in _loaded:
            if probe_first:
                assert_provider()
            model = _load(path, sha256, size_bytes)
            if probe_first:
                check_agreement(path, model)
            _loaded[sha256] = model
        return _loaded[sha256]


def check_sha256(path: Path, sha256: str, size_bytes: int | None = None) -> None:
    """RecipeError unless `path` is a file with this SHA-256, and this size, if it is given."""
    if not path.is_file():
        raise fail(RecipeError, f"no such model file: {path}", do="give the path of a fastText model (.bin or .ftz)")
    _check_digest(path, file_sha256(path), path.stat().st_size, sha256, size_bytes)


def check_agreement(path: Path, model: FastTextModel) -> None:
    """RecipeError unless the library, in a process of its own, gives the canaries the scores that `model` gives them."""
    difference = model.disagreement(CANARIES, probe(path))
    if not difference <= PROBE_TOLERANCE:
        raise unusable(path, f"the fastText library scores the same sentences differently, by {difference:.2g}")


def probe(path: Path, memory_bytes: int | None = None, seconds: int | None = None) -> list[list[list[Any]]]:
    """The canaries' [label, probability] pairs, as the library gives them in a child process: of the PROBE_LABELS most
    probable labels. RecipeError when it fails, dies, or reaches a limit; the limits follow from the file's size unless given."""
    size = path.stat().st_size
    memory_bytes = memory_bytes or PROBE_BASE_BYTES + PROBE_FILE_FACTOR * size
    seconds = seconds or PROBE_BASE_SECONDS + size // PROBE_BYTES_PER_SECOND
    script = Path(__file__).with_name("fasttext_probe.py")
    # -P keeps this folder off the child's path, where a module of ours could hide one of the standard library.
    command = [sys.executable, "-P", str(script), str(path), str(PROBE_LABELS), str(memory_bytes), str(seconds)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # its threads' stacks would count as memory
    try:
        child = subprocess.run(
            command, input=json.dumps(CANARIES).encode(), capture_output=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        raise unusable(path, f"loading it did not end within {seconds} s") from None
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        raise unusable(path, f"loading it ended with {child.returncode}: {said[-1] if said else 'no message'}")
    scores: list[list[list[Any]]] = json.loads(child.stdout)
    return scores


def assert_provider() -> None:
    """UserError unless exactly the distribution `fasttext-community` provides the module `fasttext`."""
    owners = {re.sub(r"[-_.]+", "-", name).lower() for name in metadata.packages_distributions().get("fasttext", [])}
    if owners != {PROVIDER}:
        others = sorted(owners - {PROVIDER})
        remove = f"pip uninstall -y {' '.join([*others, PROVIDER])} && " if others else ""
        raise fail(
            UserError,
            "the module fasttext must come from one known distribution: others return wrong probabilities",
            given=", ".join(sorted(owners)) or "no distribution provides it",
            allowed=PROVIDER,
            do=f"{remove}pip install {PROVIDER}",
        )


def _load(path: Path, sha256: str, size_bytes: int | None) -> FastTextModel:
    data = map_file(path)  # what is hashed is what is used
    _check_digest(path, hashlib.sha256(data.data).hexdigest(), len(data), sha256, size_bytes)
    return FastTextModel(read_model(path, data))


def _check_digest(path: Path, found: str, size: int, sha256: str, size_bytes: int | None) -> None:
    if found != sha256 or size != (size_bytes or size):
        raise fail(
            RecipeError,
            f"{path} is not the model that was named, or it is damaged",
            given=f"sha256 {found}, {size} bytes",
            allowed=f"sha256 {sha256}" + (f", {size_bytes} bytes" if size_bytes else ""),
            do="fetch the file again, or, if this is the model you mean, write its sha256",
        )
