"""The bundled rules. Importing this module adds them to `filters.registry.rules`; no model is loaded before a rule runs."""

from __future__ import annotations

import pyarrow as pa

from filters import copying, language, license, quality
from filters.registry import rules
from synth.config import Config
from synth.registry import Spec
from synth.text.statistics import text_statistics


class StatisticsOptions(Config):
    """The rule `statistics` has no options."""


def statistics(table: pa.Table, options: StatisticsOptions) -> pa.Table:
    """The columns of `synth.text.statistics.STATISTICS` for `generated`."""
    return text_statistics(table["generated"])


rules.add(Spec("copy", 1, copying.CopyOptions, copying.score, ("generated", "seed_text")))
rules.add(
    Spec(
        "language",
        1,
        language.LanguageOptions,
        language.score,
        ("generated",),
        content_digest=language.weights_sha256(),
    )
)
rules.add(Spec("license", 1, license.LicenseOptions, license.score, ("license",)))
rules.add(Spec("quality", 1, quality.QualityOptions, quality.score, ("generated",)))
rules.add(Spec("statistics", 1, StatisticsOptions, statistics, ("generated",)))
