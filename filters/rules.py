"""The bundled rules. Importing this module adds them to `filters.registry.rules`; no model is loaded before a rule runs."""

from __future__ import annotations

import pyarrow as pa

from filters import (
    arithmetic,
    copying,
    decontamination,
    embedding,
    fidelity,
    injection,
    language,
    leaks,
    license,
    openings,
    pii,
    quality,
)
from filters.registry import rules
from synth.config import Config
from synth.registry import Rung, Spec
from synth.text.statistics import text_statistics

DERIVING_FAMILIES = ("math_problem", "table_qa", "thought_aug")
"""Families whose texts follow from their source with numbers and names of their own: what the source lacks is not invented.
Their numbers are checked as arithmetic, and those of a table by its family."""


class StatisticsOptions(Config):
    """The rule `statistics` has no options."""


def statistics(table: pa.Table, options: StatisticsOptions) -> pa.Table:
    """The columns of `synth.text.statistics.STATISTICS` for `generated`."""
    return text_statistics(table["generated"])


rules.add(
    Spec(
        "arithmetic",
        1,
        arithmetic.ArithmeticOptions,
        arithmetic.score,
        ("generated",),
        rungs=(Rung("arithmetic", "equations_checked", "equations_wrong", "wrong_equations"),),
    )
)
rules.add(Spec("copy", 1, copying.CopyOptions, copying.score, ("generated", "seed_text")))
rules.add(
    Spec(
        decontamination.RULE,
        2,
        decontamination.DecontaminationOptions,
        decontamination.score,
        ("text", "reasoning"),
        rungs=(decontamination.RUNG,),
        notes=decontamination.notes,
    )
)
rules.add(Spec("embedding", 1, embedding.EmbeddingOptions, embedding.score, ("generated", "seed_text")))
rules.add(
    Spec(
        "fidelity",
        1,
        fidelity.FidelityOptions,
        fidelity.score,
        ("generated", "seed_text"),
        rungs=(
            Rung("numbers", "numbers_checked", "numbers_invented", "invented_numbers", DERIVING_FAMILIES),
            Rung("names", "names_checked", "names_invented", "invented_names", DERIVING_FAMILIES),
        ),
    )
)
rules.add(Spec("injection", 1, injection.InjectionOptions, injection.score, ("generated", "seed_text", "canary")))
rules.add(
    Spec(
        "language",
        2,
        language.LanguageOptions,
        language.score,
        ("generated",),
        content_digest=language.weights_sha256(),
    )
)
rules.add(
    Spec(
        "leaks",
        1,
        leaks.LeakOptions,
        leaks.score,
        ("generated", "seed_text"),
        rungs=(Rung("leaks", "leaks_checked", "leaks_found", "leaked"),),
    )
)
rules.add(Spec("license", 1, license.LicenseOptions, license.score, ("license",)))
rules.add(Spec("openings", 1, openings.OpeningOptions, openings.score, ("generated",)))
rules.add(
    Spec(
        "pii",
        2,
        pii.PiiOptions,
        pii.score,
        ("text",),
        rungs=(Rung("pii", "pii_checked", "pii_found", "pii_kinds"),),
        spans="pii_spans",
    )
)
rules.add(Spec("quality", 2, quality.QualityOptions, quality.score, ("generated", "seed_text")))
rules.add(Spec("statistics", 2, StatisticsOptions, statistics, ("generated",)))
