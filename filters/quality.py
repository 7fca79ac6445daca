"""A fastText quality model of the user's own: the probability of the label that stands for good text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from filters.fasttext_model import LABEL_PREFIX, check_sha256, load
from synth.config import Config, nearest
from synth.errors import RecipeError, fail

SCORES = pa.schema([("quality_score", pa.float32())])


class QualityOptions(Config):
    """Which model, and which of its labels is the good one."""

    path: str = Field(description="The model file, .bin or .ftz. What it holds is pinned by `sha256`.")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the model file, lower-case hex: its identity."
    )
    label: str = Field("hq", min_length=1, description="The label whose probability is the score, without `__label__`.")

    def content(self) -> dict[str, Any]:
        """Without the path: the file is known by its bytes."""
        return {name: value for name, value in super().content().items() if name != "path"}

    def check(self) -> None:
        """The file is there and is the one that `sha256` names."""
        check_sha256(Path(self.path), self.sha256)


def score(table: pa.Table, options: QualityOptions) -> pa.Table:
    """`quality_score`: the model's probability of `options.label` for `generated`; null when it knows no word of the text.

    RecipeError when the file is not the named one, cannot be loaded safely, or has no such label.
    """
    texts = table["generated"].to_pylist()
    if not texts:
        return SCORES.empty_table()
    model = load(Path(options.path), options.sha256, probe_first=True)
    label = options.label.removeprefix(LABEL_PREFIX)
    if label not in model.labels:
        raise fail(
            RecipeError,
            f"the quality model {options.path} has no label {label!r}{nearest(label, model.labels)}",
            given=options.label,
            allowed=", ".join(model.labels),
        )
    return pa.table({"quality_score": pa.array([model.probability(text or "", label) for text in texts], pa.float32())})
