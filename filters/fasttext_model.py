"""fastText that can be trusted: one provider of the module, files known by SHA-256, text that cannot fool the tokenizer.

What goes wrong without this: several distributions install the module `fasttext` over each other, and some of them return
wrong probabilities under numpy 2; a model file has no checksum, and a damaged one loads with plausible wrong scores; a
literal `</s>` ends the text for the model; a text of which nothing is known gets the prior as if it were a score.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from filters.fasttext_probe import scores_of
from synth.digest import file_sha256
from synth.errors import RecipeError, SynthError, UserError, fail

PROVIDER = "fasttext-community"
LABEL_PREFIX = "__label__"
CANARIES = (
    "Water boils at a lower temperature on a mountain because the air presses less on its surface.",
    "click here buy now best price free shipping!!! 100% $$$ http www",
    "def total(values): return sum(v * v for v in values)",
    "Der Fluss entspringt im Gebirge und mündet ins Meer.",
    "水在高山上沸腾的温度较低。",
    "0 1 2 3",
)
PROBE_BASE_BYTES = 1 << 29  # Python, numpy and fastText map 0.15 GB; the rest is slack for their allocators
PROBE_FILE_FACTOR = 3  # a file takes its own size once loaded; twice that for reading
PROBE_BASE_SECONDS = 20
PROBE_BYTES_PER_SECOND = 20_000_000  # a slow network disk
ROUNDING = 1e-4  # fastText's softmax works in float32 and returns up to 1.00001

_loaded: dict[str, FastTextModel] = {}
_loading = threading.Lock()


class FastTextModel:
    """A loaded supervised model. Scores depend on the text alone. `labels` are without `__label__`, sorted."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.labels = tuple(sorted(label.removeprefix(LABEL_PREFIX) for label in model.get_labels()))

    def best(self, text: str) -> tuple[str, float] | None:
        """The most probable label and its probability; None when the text is unscorable."""
        flat = flatten(text)
        if not self._knows(flat):
            return None
        labels, probabilities = self._model.predict(flat, k=1)
        return labels[0].removeprefix(LABEL_PREFIX), min(float(probabilities[0]), 1.0)

    def probability(self, text: str, label: str) -> float | None:
        """The probability of `label` (one of `labels`); None when the text is unscorable."""
        flat = flatten(text)
        if not self._knows(flat):
            return None
        found = dict(zip(*self._model.predict(flat, k=-1), strict=True))
        return min(float(found.get(LABEL_PREFIX + label, 0.0)), 1.0)  # a hierarchical softmax leaves out what is near 0

    def _knows(self, flat: str) -> bool:
        """Whether the model knows any word of the text, or any part of one. Where it knows none, it answers its prior."""
        return any(
            self._model.get_word_id(word) >= 0 or len(self._model.get_subwords(word)[1]) > 0
            for word in flat.split(" ")
            if word
        )


def flatten(text: str) -> str:
    """The text as one line in which fastText sees words only: no line breaks, NULs, `</s>` or `__label__`."""
    for mark in ("\0", "</s>", LABEL_PREFIX):  # replaced by a space, so that what is left cannot join into a new mark
        text = text.replace(mark, " ")
    return " ".join(text.split())


def load(path: Path, sha256: str, *, probe_first: bool) -> FastTextModel:
    """The model in `path`, whose bytes must have this SHA-256; loaded once per process, cached by digest.

    `probe_first`: for a file that is not ours. It is loaded in a child process under limits of memory and time before it
    is loaded here, and used only if it gives the same scores in both. RecipeError when the file is missing, another one,
    or unusable; UserError when another distribution provides `fasttext`.
    """
    with _loading:
        if sha256 not in _loaded:
            assert_provider()
            check_sha256(path, sha256)
            probed = probe(path) if probe_first else None
            model = _load(path)
            if probed is not None and probed != scores_of(model, CANARIES):
                raise _unusable(path, "it scores the same sentences differently each time it is loaded")
            _loaded[sha256] = FastTextModel(model)
        return _loaded[sha256]


def check_sha256(path: Path, sha256: str) -> None:
    """RecipeError unless `path` is a file with this SHA-256."""
    if not path.is_file():
        raise fail(RecipeError, f"no such model file: {path}", do="give the path of a fastText model (.bin or .ftz)")
    found = file_sha256(path)
    if found != sha256:
        raise fail(
            RecipeError,
            f"{path} is not the model that was named, or it is damaged",
            given=f"sha256 {found}, {path.stat().st_size} bytes",
            allowed=f"sha256 {sha256}",
            do="fetch the file again, or, if this is the model you mean, write its sha256",
        )


def probe(path: Path, memory_bytes: int | None = None, seconds: int | None = None) -> list[list[list[Any]]]:
    """The canaries' [label, probability] pairs, as a child process computes them. RecipeError when it fails, dies, or
    reaches a limit; the limits follow from the file's size unless given."""
    size = path.stat().st_size
    memory_bytes = memory_bytes or PROBE_BASE_BYTES + PROBE_FILE_FACTOR * size
    seconds = seconds or PROBE_BASE_SECONDS + size // PROBE_BYTES_PER_SECOND
    script = Path(__file__).with_name("fasttext_probe.py")
    # -P keeps this folder off the child's path, where a module of ours could hide one of the standard library.
    command = [sys.executable, "-P", str(script), str(path), str(memory_bytes), str(seconds)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # its threads' stacks would count as memory
    try:
        child = subprocess.run(
            command, input=json.dumps(CANARIES).encode(), capture_output=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        raise _unusable(path, f"loading it did not end within {seconds} s") from None
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        raise _unusable(path, f"loading it ended with {child.returncode}: {said[-1] if said else 'no message'}")
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


def _load(path: Path) -> Any:
    import fasttext

    try:
        model = fasttext.load_model(str(path))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _unusable(path, str(error)) from None
    self_test(model, path)
    return model


def self_test(model: Any, path: Path) -> None:
    """RecipeError unless the model's probabilities are sane: numbers in [0, 1], in falling order, each label once, the
    best two of a list of texts (where some builds are wrong) the same as of single texts."""
    for single, labels, probabilities in zip(
        scores_of(model, CANARIES), *model.predict(list(CANARIES), k=2), strict=True
    ):
        values, by_label = [value for _, value in single], dict(single)
        sane = all(-ROUNDING <= value <= 1 + ROUNDING for value in values)  # NaN is neither
        falling = values == sorted(values, reverse=True) and len(by_label) == len(single)
        listed = [float(probability) for probability in probabilities]
        same = len(listed) == len(values[:2]) and all(
            abs(probability - by_label.get(label, math.inf)) <= 1e-6 and abs(probability - value) <= 1e-6
            for label, probability, value in zip(labels, listed, values[:2], strict=True)
        )
        if not (sane and falling and same):
            raise _unusable(path, f"its probabilities make no sense: {single[:2]} alone, {labels} {listed} in a list")


def _unusable(path: Path, why: str) -> SynthError:
    return fail(RecipeError, f"the fastText model {path} cannot be used: {why}", do="train or fetch it again")
