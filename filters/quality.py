"""A fastText quality model of the user's own: the probability of the label that stands for good text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from filters.fasttext_model import LABEL_PREFIX, check_sha256, load
from synth.config import Config, nearest
from synth.errors import RecipeError, fail

SCORES = pa.schema([(name, pa.float32()) for name in ("quality_score", "quality_source", "quality_delta")])


class QualityOptions(Config):
    """Which model, and which of its labels is the good one."""

    path: str = Field(description="The model file, .bin or .ftz. What it holds is pinned by `sha256`.")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the model file, lower-case hex: its identity."
    )
    bytes: int | None = Field(None, gt=0, description="Size of the model file in bytes, as its card says; none: any.")
    label: str = Field("hq", min_length=1, description="The label whose probability is the score, without `__label__`.")

    def content(self) -> dict[str, Any]:
        """Without the path and the size: the file is known by its digest."""
        return {name: value for name, value in super().content().items() if name not in ("path", "bytes")}

    def check(self) -> None:
        """The file is there and is the one that `sha256` names."""
        check_sha256(Path(self.path), self.sha256, self.bytes)


def score(table: pa.Table, options: QualityOptions) -> pa.Table:
    """`quality_score`: the model's probability of `options.label` for `generated`; `quality_source`: for `seed_text`;
    `quality_delta`: the first less the second. Null when the model knows no word of the text, or there is none.

    RecipeError when the file is not the named one, cannot be loaded safely, or has no such label.
    """
    if not table.num_rows:
        return SCORES.empty_table()
    model = load(Path(options.path), options.sha256, probe_first=True, size_bytes=options.bytes)
    label = options.label.removeprefix(LABEL_PREFIX)
    if label not in model.labels:
        raise fail(
            RecipeError,
            f"the quality model {options.path} has no label {label!r}{nearest(label, model.labels)}",
            given=options.label,
            allowed=", ".join(model.labels),
        )
    score, source = (model.probabilities(table[name], label) for name in ("generated", "seed_text"))
    return pa.table([score, source, pc.subtract(score, source)], schema=SCORES)
