"""Which language a text is in, by fastText's lid.176 (Joulin et al. 2016, https://arxiv.org/abs/1612.03651; 176 languages)."""

from __future__ import annotations

import pyarrow as pa

from filters.fasttext_model import load
from synth import weights
from synth.config import Config

WEIGHTS = "lid.176.ftz"

SCORES = pa.schema([("language", pa.string()), ("language_confidence", pa.float32())])


class LanguageOptions(Config):
    """The rule `language` has no options: which languages are wanted is said by a gate."""


def score(table: pa.Table, options: LanguageOptions) -> pa.Table:
    """`language`: the most probable ISO 639 code as lid.176 writes it (`en`, `fr`, `zh`) for `generated`;
    `language_confidence`: its probability. Both null when the model knows no part of the text: empty, digits, symbols."""
    if not table.num_rows:
        return SCORES.empty_table()
    model = load(weights.locate(WEIGHTS), weights_sha256(), probe_first=False)
    return pa.table([*model.best_all(table["generated"])], schema=SCORES)


def weights_sha256() -> str:
    """The digest of the weights that this version of the package names, without reading them."""
    return str(weights.identity(WEIGHTS)["sha256"])
