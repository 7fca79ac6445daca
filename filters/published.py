"""Published heuristics as data: each preset is a paper's bounds on scores, by the paper's values, any of which can be moved.

A preset only drops. Papers that also cut lines out of texts (C4, RefinedWeb) are read as far as they drop documents: by what
is left of the text after the cut, or by how much the cut would take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from filters.gates import Gate
from synth.config import Config, nearest
from synth.errors import RecipeError, fail

REPETITION_BOUNDS = {  # Rae et al. 2021 (https://arxiv.org/abs/2112.11446), table A1
    "duplicate_line_ratio": 0.30,
    "duplicate_paragraph_ratio": 0.30,
    "duplicate_line_char_ratio": 0.20,
    "duplicate_paragraph_char_ratio": 0.20,
    "top_2gram_char_ratio": 0.20,
    "top_3gram_char_ratio": 0.18,
    "top_4gram_char_ratio": 0.16,
    "duplicate_5gram_char_ratio": 0.15,
    "duplicate_6gram_char_ratio": 0.14,
    "duplicate_7gram_char_ratio": 0.13,
    "duplicate_8gram_char_ratio": 0.12,
    "duplicate_9gram_char_ratio": 0.11,
    "duplicate_10gram_char_ratio": 0.10,
}


@dataclass(frozen=True)
class Preset:
    """Gates of one publication. `rules`: what must score beside `statistics`, so that the gates have their columns."""

    source: str
    gates: tuple[Gate, ...]
    rules: tuple[str, ...] = ()


class Bounds(Config):
    """Other numbers for a gate of a preset."""

    min: float | None = Field(None, description="In place of the preset's smallest score that passes.")
    max: float | None = Field(None, description="In place of the preset's largest score that passes.")


class PresetUse(Config):
    """A preset in a recipe."""

    name: str = Field(description="One of the published presets: `synth filter --presets` lists them.")
    families: tuple[str, ...] | None = Field(
        None,
        description="The families it holds for. By default those that write running prose: tables, questions and dialogue "
        "break prose heuristics by design. Seeds have no family: it holds for all of them.",
    )
    override: dict[str, Bounds] = Field(
        {}, description="Other bounds by column, such as short_line_ratio = { max = 0.8 }."
    )
    without: tuple[str, ...] = Field((), description="Columns of the preset that drop nothing.")


def _gates(prefix: str, rows: Iterable[tuple[str, float | None, float | None, str]]) -> tuple[Gate, ...]:
    return tuple(
        Gate(column=column, min=low, max=high, reason=f"{prefix}_{reason}") for column, low, high, reason in rows
    )


_WORDS = (("normal_words", 50, None, "too_short"), ("normal_words", None, 100_000, "too_long"))
_SHAPE = (
    ("mean_word_length", 3, 10, "odd_word_length"),
    ("symbol_word_ratio", None, 0.1, "many_symbols"),
    ("bullet_line_ratio", None, 0.9, "mostly_bullets"),
    ("ellipsis_line_ratio", None, 0.3, "cut_lines"),
    ("alpha_word_ratio", 0.8, None, "few_letters"),
)
_REPETITION = tuple(
    (column, None, bound, column.removesuffix("_ratio").replace("gram_char", "grams"))
    for column, bound in REPETITION_BOUNDS.items()
)
_C4 = (("lorem_ipsum", None, 0, "lorem_ipsum"), ("curly_brackets", None, 0, "curly_brackets"))

PRESETS: Mapping[str, Preset] = {
    "gopher_quality": Preset(
        "Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1",
        _gates("gopher", (*_WORDS, *_SHAPE, ("stop_words", 2, None, "few_stop_words"))),
    ),
    "gopher_repetition": Preset(
        "Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1", _gates("gopher", _REPETITION)
    ),
    "c4": Preset(
        "Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.2: judged by the lines that C4 keeps",
        _gates("c4", (*_C4, ("c4_sentences", 5, None, "few_sentences"))),
    ),
    "fineweb": Preset(
        "Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 3.6; and C4 without its rule about line ends, 3.5",
        _gates(
            "fineweb",
            (
                *_C4,
                ("c4_sentences_any_end", 5, None, "few_sentences"),
                ("punctuated_line_ratio", 0.12, None, "few_line_ends"),
                ("short_line_ratio", None, 0.67, "short_lines"),
                ("duplicate_line_char_ratio", None, 0.01, "repeated_lines"),
                ("newline_word_ratio", None, 0.3, "list_like"),
            ),
        ),
    ),
    "dclm": Preset(
        "Li et al. 2024, https://arxiv.org/abs/2406.11794, after RefinedWeb, https://arxiv.org/abs/2306.01116, appendix G",
        (
            Gate(column="language", one_of=("en",), reason="dclm_language"),
            *_gates(
                "dclm",
                (
                    ("language_confidence", 0.65, None, "language"),
                    *_WORDS,
                    *_SHAPE,
                    ("stop_word_occurrences", 2, None, "few_stop_words"),
                    *_REPETITION,
                    ("refinedweb_removed_word_ratio", None, 0.05, "boilerplate"),
                ),
            ),
        ),
        rules=("language",),
    ),
    "slimpajama": Preset(
        "Shen et al. 2023, https://arxiv.org/abs/2309.10818, section 2",
        _gates("slimpajama", (("bare_characters", 200, None, "too_short"),)),
    ),
}
"""By name. Where a paper leaves a definition open, `synth.text.statistics` says how it is read."""


def preset(name: str) -> Preset:
    """The preset of this name, or a RecipeError that names the nearest one."""
    if name not in PRESETS:
        what = f"unknown preset {name!r}{nearest(name, PRESETS)}"
        raise fail(RecipeError, what, given=name, allowed=", ".join(PRESETS))
    return PRESETS[name]


def preset_gates(uses: Sequence[PresetUse], default_families: tuple[str, ...] = ()) -> tuple[Gate, ...]:
    """The gates of these presets, one after the other, with what each use changes. RecipeError: an unknown name or column."""
    return tuple(gate for use in uses for gate in _used(use, default_families))


def preset_rules(uses: Sequence[PresetUse]) -> tuple[str, ...]:
    """The rules that must score for these presets, `statistics` first."""
    needed = [name for use in uses for name in preset(use.name).rules]
    return tuple(dict.fromkeys(["statistics", *needed])) if uses else ()


def _used(use: PresetUse, default_families: tuple[str, ...]) -> list[Gate]:
    gates = preset(use.name).gates
    columns = sorted({gate.column for gate in gates})
    for column in (*use.override, *use.without):
        if column not in columns:
            what = f"the preset {use.name!r} has no bound on {column!r}{nearest(column, columns)}"
            raise fail(RecipeError, what, given=column, allowed=", ".join(columns))
    families = default_families if use.families is None else use.families
    moved = [_moved(gate, use) for gate in gates if gate.column not in use.without]
    return [gate.model_copy(update={"families": families}) for gate in moved]


def _moved(gate: Gate, use: PresetUse) -> Gate:
    """The gate with the bounds that `use` moves; one that it does not have stays missing."""
    bounds = use.override.get(gate.column, Bounds())
    given = {name: value for name, value in bounds.model_dump().items() if value is not None}
    held = {name for one in preset(use.name).gates if one.column == gate.column for name in _bounds(one)}
    for name in given:
        if name not in held:
            what = f"the preset {use.name!r} has no {name} on {gate.column!r}"
            raise fail(
                RecipeError, what, given=f"{name} = {given[name]}", allowed=", ".join(sorted(held)) or "no number"
            )
    return gate.model_copy(update={name: value for name, value in given.items() if name in _bounds(gate)})


def _bounds(gate: Gate) -> set[str]:
    return {name for name in ("min", "max") if getattr(gate, name) is not None}
