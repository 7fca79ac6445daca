"""A damaged model file is refused at once, or scores as what its bytes say: it never hangs, crashes or is read short."""

from __future__ import annotations

import json
import math
import random
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters import fasttext_model, quality
from filters.fasttext_file import SOFTMAX, ModelFile, read_model
from filters.fasttext_model import FastTextModel, flatten, load
from filters.registry import apply_rule, rules
from synth.config import parse
from synth.digest import file_sha256
from synth.errors import RecipeError
from tests.conftest import ROOT
from tests.fasttext_models import texts, train
from tests.fasttext_oracle import Oracle

SETTINGS_AT, SIZES_AT, ENTRIES_AT = 8, 64, 92  # where the settings, the dictionary's sizes and its entries begin
TEXTS = [text for text in texts(8) if text][:12]
# Reads damaged copies of a file; for each prints the seconds that it took, and the error or the scores of some texts.
CHILD = """
import json, sys, time, resource
import numpy as np, pyarrow as pa
from pathlib import Path
from filters.fasttext_file import read_model
from filters.fasttext_model import FastTextModel
from synth.errors import RecipeError
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
raw, damages, given = Path(sys.argv[1]).read_bytes(), *json.load(sys.stdin)
def outcome(data):
    try:
        model = FastTextModel(read_model(Path('m'), np.frombuffer(data, np.uint8)))
    except RecipeError as error:
        return str(error)
    return {label: model.probabilities(pa.array(given), label).to_pylist() for label in model.labels[:3]}
outcome(raw)
for cut, at, bit in damages:
    data = bytearray(raw[:cut])
    if at >= 0:
        data[at] ^= 1 << bit
    start = time.perf_counter()
    found = outcome(bytes(data))
    print(json.dumps([time.perf_counter() - start, found]), flush=True)
"""


@pytest.fixture(scope="module", params=["softmax-trigrams-subwords", "quantised-pruned"])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("file"), request.param)


def outcomes(path: Path, damages: list[tuple[int, int, int]]) -> list[Any]:
    """What a child process makes of each damaged copy: (bytes that are left, byte that is changed or -1, its bit)."""
    command = [sys.executable, "-c", CHILD, str(path)]
    given = json.dumps([damages, TEXTS]).encode()
    done = subprocess.run(command, input=given, cwd=ROOT, capture_output=True, timeout=120, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (len(found), done.returncode) == (len(damages), 0), done.stderr.decode()[-500:]  # none ended the child
    assert max(seconds for seconds, _ in found) < 5
    return [outcome for _, outcome in found]


def test_a_cut_file_is_refused_wherever_it_is_cut(model_path: Path) -> None:
    size = model_path.stat().st_size
    cuts = [*range(0, 120, 8), *np.linspace(120, size - 1, 34).astype(int).tolist(), size - 1]
    assert len(cuts) == 50
    for outcome in outcomes(model_path, [(cut, -1, 0) for cut in cuts]):
        assert isinstance(outcome, str)
        assert "cannot be used" in outcome


def test_a_flipped_bit_is_refused_or_scores_as_it_says(model_path: Path) -> None:
    raw, rng = model_path.read_bytes(), random.Random(5)
    parts = [
        (0, SIZES_AT),
        (SIZES_AT, ENTRIES_AT),
        (ENTRIES_AT, 1200),
        (1200, len(raw) - 170),
        (len(raw) - 170, len(raw)),
    ]
    damages = [(len(raw), rng.randrange(*part), rng.randrange(8)) for part in parts for _ in range(40)]
    found = outcomes(model_path, damages)
    refused = sum(isinstance(outcome, str) for outcome in found)
    assert 40 < refused < 160
    changed = 0
    for (_, at, bit), outcome in zip(damages, found, strict=True):
        if isinstance(outcome, str):
            continue
        data = bytearray(raw)
        data[at] ^= 1 << bit
        oracle = Oracle(bytes(data))
        if oracle.loss != SOFTMAX:  # another loss, which the oracle does not know
            continue
        expected = [oracle.scores(flatten(text)) for text in TEXTS]
        for label, scores in outcome.items():
            assert scores == [None if one is None else pytest.approx(one[label], abs=1e-3) for one in expected], (
                f"byte {at} bit {bit}"
            )
        changed += expected != [Oracle(raw).scores(flatten(text)) for text in TEXTS]
    assert changed > 10  # flips that do change scores are among those that are not refused


def test_with_its_sha256_no_damaged_file_loads(model_path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(fasttext_model, "_loaded", {})
    raw, sha256, rng = model_path.read_bytes(), file_sha256(model_path), random.Random(6)
    damaged = tmp_path / "damaged.bin"
    for _ in range(200):
        data = bytearray(raw)
        data[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        with pytest.raises(RecipeError, match="not the model that was named"):
            load(damaged, sha256, probe_first=False)
    for cut in range(0, len(raw), len(raw) // 50):
        damaged.write_bytes(raw[:cut])
        with pytest.raises(RecipeError, match="not the model that was named"):
            load(damaged, sha256, probe_first=False)
    damaged.write_bytes(raw)
    assert load(damaged, sha256, probe_first=False).labels


def test_another_size_than_was_named_is_refused(model_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(fasttext_model, "_loaded", {})
    sha256, size = file_sha256(model_path), model_path.stat().st_size
    with pytest.raises(RecipeError, match=f"{size} bytes\n  allowed: sha256 {sha256}, {size + 1} bytes"):
        load(model_path, sha256, probe_first=False, size_bytes=size + 1)
    assert load(model_path, sha256, probe_first=False, size_bytes=size).labels


def read(data: bytes) -> ModelFile:
    return read_model(Path("m.bin"), np.frombuffer(data, np.uint8))


def put(at: int, form: str, *values: Any) -> Callable[[bytes], bytes]:
    """Writes numbers over the bytes at `at`, counted from the end where it is negative."""

    def change(data: bytes) -> bytes:
        start = at % len(data)
        return data[:start] + struct.pack(f"<{form}", *values) + data[start + struct.calcsize(f"<{form}") :]

    return change


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model of 5 labels and 8 numbers a row, not quantised."""
    return train(tmp_path_factory.mktemp("plain"), "softmax-trigrams-subwords").read_bytes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(put(0, "i", 1), "no fastText model", id="mark"),
        pytest.param(put(4, "i", 11), "its format is 11, not 12", id="format"),
        pytest.param(put(SETTINGS_AT, "i", 0), "vectors have 0 numbers", id="dim-0"),
        pytest.param(put(SETTINGS_AT, "i", 1 << 30), "vectors have 1073741824 numbers", id="dim-endless"),
        pytest.param(put(SETTINGS_AT, "i", 9), r"the input is \d+ x 8, not \d+ x 9", id="dim-of-another"),
        pytest.param(put(SETTINGS_AT + 20, "i", 1 << 20), "n-grams of 1048576 words", id="word-ngrams"),
        pytest.param(put(SETTINGS_AT + 24, "i", 9), "its loss 9 is unknown", id="loss"),
        pytest.param(put(SETTINGS_AT + 28, "i", 1), "no classifier", id="not-supervised"),
        pytest.param(put(SETTINGS_AT + 32, "i", 0), "it has 0 rows for n-grams", id="no-buckets"),
        pytest.param(put(SETTINGS_AT + 32, "i", 1 << 30), r"the input is \d+ x 8, not", id="buckets"),
        pytest.param(put(SETTINGS_AT + 40, "i", 1 << 20), "n-grams of 2 to 1048576 characters", id="maxn"),
        pytest.param(put(SIZES_AT, "i", 1 << 30), "the sizes of its dictionary differ", id="entries"),
        pytest.param(put(SIZES_AT, "iii", (1 << 30) + 5, 1 << 30, 5), "do not fit in", id="entries-endless"),
        pytest.param(put(SIZES_AT, "iii", 0, 5, -5), "the sizes of its dictionary differ", id="labels-negative"),
        pytest.param(put(SIZES_AT + 20, "q", 0), "pruned, but it is not quantised", id="pruned"),
        pytest.param(put(SIZES_AT + 20, "q", 1 << 60), "the rows kept for n-grams need", id="pruned-endless"),
        pytest.param(put(SIZES_AT + 20, "q", -2), "it kept -2 rows", id="pruned-negative"),
        pytest.param(lambda data: data[:ENTRIES_AT] + data[ENTRIES_AT + 4 :], "an empty word", id="empty-word"),
        pytest.param(put(ENTRIES_AT + 5, "q", -1), "its counts make no sense", id="count"),
        pytest.param(put(ENTRIES_AT + 13, "B", 1), "not in order", id="kind"),
        pytest.param(put(-5 * 8 * 4, "f", float("nan")), "the output has weights that are no number", id="nan"),
        pytest.param(put(-4, "f", float("-inf")), "the output has weights that are no number", id="infinite"),
        pytest.param(put(-4, "f", 1e9), "the output has weights that are no number", id="huge"),
        pytest.param(put(-5 * 8 * 4 - 17, "B", 2), "the mark of a quantised output is 2", id="output-mark"),
        pytest.param(put(-5 * 8 * 4 - 16, "q", 6), "the output is 6 x 8, not 5 x 8", id="output-rows"),
        pytest.param(lambda data: data + b"\0", "1 bytes are left over", id="left-over"),
        pytest.param(lambda data: data.replace(b"__label__lq", b"hq"), "a label has the name", id="labels"),
        pytest.param(lambda data: data.replace(b"__label__lq", b"__label__hq"), "entry 87 .* twice", id="labels-twice"),
        pytest.param(lambda data: data.replace(b"__label__lq", b"__label__\xff\xff"), "not UTF-8", id="label-utf-8"),
        pytest.param(
            lambda data: data.replace(b"\0cheap\0", b"\0price\0"), "of its dictionary is there twice", id="twice"
        ),
    ],
)
def test_what_makes_no_sense_is_named(plain: bytes, change: Callable[[bytes], bytes], why: str) -> None:
    assert FastTextModel(read(plain)).labels == ("code", "faq", "hq", "lq", "other")
    assert change(plain) != plain
    with pytest.raises(RecipeError, match=why):
        read(change(plain))


def test_a_pruned_model_with_endless_buckets_takes_no_memory_for_them(tmp_path: Path) -> None:
    data = put(SETTINGS_AT + 32, "i", (1 << 31) - 1)(train(tmp_path, "quantised-pruned").read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert FastTextModel(read(data)).best("the river carries sand") is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; a bit for each would take 268 MB


def test_the_file_is_a_view_not_a_copy(plain: bytes) -> None:
    found = read(plain)
    for array in (found.input.dense, found.output.dense):
        assert np.shares_memory(array, found.data)
        assert not array.flags.writeable


def by_hand() -> bytes:
    """A model of two numbers a row: `good` and `bad` pull to either side, the end of a text to neither."""
    settings = struct.pack("<2i12id", 793712314, 12, 2, 5, 5, 1, 5, 1, 3, 3, 0, 0, 0, 100, 1e-4)
    words = [(b"</s>", 9, 0), (b"good", 5, 0), (b"bad", 4, 0), (b"__label__hq", 5, 1), (b"__label__lq", 4, 1)]
    entries = b"".join(word + b"\0" + struct.pack("<qb", count, kind) for word, count, kind in words)
    rows = struct.pack("<bqq6f", 0, 3, 2, 0, 0, 3, 0, 0, 3)
    output = struct.pack("<bqq4f", 0, 2, 2, 1, 0, 0, 1)
    return settings + struct.pack("<3i2q", 5, 3, 2, 27, -1) + entries + rows + output


def test_a_model_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(by_hand())
    chosen = parse(quality.QualityOptions, {"path": str(path), "sha256": file_sha256(path)})
    given = ["good", "bad", "good bad", "good good good", "ugly good\0</s>__label__bad", "ugly", "", None]
    table = pa.table({"generated": pa.array(given, pa.string()), "seed_text": pa.array(["bad"] * 8)})
    scores = apply_rule(rules.get("quality"), table, chosen)["quality_score"].to_pylist()
    # The mean of the rows, of the end's too, is (3 good, 3 bad) / (good + bad + 1); its softmax, and what the library adds.
    means = [(3, 0, 2), (0, 3, 2), (3, 3, 3), (9, 0, 4), (3, 3, 3)]
    expected = [1 / (1 + math.exp((bad - good) / count)) + 1e-5 for good, bad, count in means]
    assert scores == [*(pytest.approx(one, abs=1e-7) for one in expected), None, None, None]
    golden = (2, [0.817584, 0.182436, 0.50001, 0.904661, 0.50001])
    found = (rules.get("quality").version, [round(one, 6) for one in scores[:5]])
    assert found == golden, f"the results of the rule 'quality' changed: raise its version, then write {found}"
