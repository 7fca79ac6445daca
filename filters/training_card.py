"""The card of a quality model: card.json for programs, card.md for people, its figures as rows for SQL."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

SMALL_GAIN = 0.02  # of AUC: less than that above a baseline is not worth a model
CARD_FORMAT = 1


def write_card(card: dict[str, Any], out: Path) -> dict[str, Any]:
    """Complete the card with its sentence and the lines for a recipe, and write both files."""
    told = {"format": CARD_FORMAT, "worth": worth(card["held_out"]), "recipe": recipe_lines(card), **card}
    whole: dict[str, Any] = orjson.loads(orjson.dumps(told))  # what has no number is null from here on
    (out / "card.json").write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    (out / "card.md").write_text(markdown(whole), encoding="utf-8", newline="\n")
    return whole


def worth(figures: Mapping[str, Any]) -> str:
    """One plain sentence: what the model is worth. It is no better than a baseline when the interval of the difference
    reaches zero, and hardly better when the difference is below SMALL_GAIN."""
    model = figures["model"]
    told = f"AUC {_span(model, 'auc')} on held-out roots"
    if not _number(model["auc_low"]) or model["auc_low"] <= 0.5:
        return f"It is worth nothing: {told}, which chance may give too."
    for name, words in (("length", "the length of a text"), ("unigrams", "words without their order (naive Bayes)")):
        gain = figures[name]["gain"]
        beside = f"{told}, {words} alone gives {_two(figures[name]['auc'])}"
        if not _number(figures[name]["gain_low"]) or figures[name]["gain_low"] <= 0:
            return f"It is no better than {words}: {beside}."
        if gain < SMALL_GAIN:
            return f"It is hardly better than {words}: {beside}."
    return (
        f"It tells good from bad better than length ({_two(figures['length']['auc'])}) and words without their order "
        f"({_two(figures['unigrams']['auc'])}): {told}. Whether texts that it keeps train a better model, no AUC says."
    )


def recipe_lines(card: Mapping[str, Any], folder: str = ".") -> str:
    """TOML to paste into a recipe: the rule, and a gate that lets most good held-out texts pass. `folder` holds the model."""
    model, threshold = card["model"], card["proposed_threshold"]
    row = next(one for one in card["thresholds"] if one["threshold"] == threshold)
    path = _toml(folder + "/" + model["file"])
    options = f'path = {path}, sha256 = "{model["sha256"]}", bytes = {model["bytes"]}, label = "{model["label"]}"'
    return (
        "[score]\n"
        f'more_rules = [{{ name = "quality", options = {{ {options} }} }}]\n\n'
        "[keep]\n"
        f"# Keeps {row['recall']:.0%} of the good held-out texts. Calibrate it on your own texts: synth filter-calibrate\n"
        f'more_gates = [{{ column = "quality_score", min = {threshold!r}, reason = "low_quality_score" }}]\n'
    )


def _toml(text: str) -> str:
    """A TOML string: JSON's escapes are among TOML's."""
    return orjson.dumps(text).decode()


def card_rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The card's figures as rows {name, value, words}: numbers under names such as `held_out.model.auc`."""
    return [
        {
            "name": name,
            "value": float(value) if _number(value) else None,
            "words": None if _number(value) else str(value),
        }
        for name, value in _leaves(card, "")
        if value is not None
    ]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{number}")
    else:
        yield name, value


def markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    blocks = [
        f"# Quality model `{card['model']['file']}`\n\n{card['worth']}",
        f"sha256 `{card['model']['sha256']}`, {card['model']['bytes']:,} bytes. "
        f"The score is the probability of the label `{card['model']['label']}`.",
        _held_out(card["held_out"]),
        _trained_on(card["data"]),
        _rows_of(
            "Thresholds, on the held-out texts",
            ("a gate `min`", "keeps", "precision", "recall"),
            [
                (repr(one["threshold"]), _share(one["kept"]), _share(one["precision"]), _share(one["recall"]))
                for one in card["thresholds"]
            ],
        ),
        _rows_of(
            "Reliability: is a score of 0.8 right in 8 of 10 cases? Where both labels are equally frequent, as here",
            ("score", "texts", "predicted", "observed"),
            [
                (
                    f"{one['from']:.1f} to {one['to']:.1f}",
                    str(one["texts"]),
                    _two(one["predicted"]),
                    _two(one["observed"]),
                )
                for one in card["reliability"]
            ],
        ),
        _flips(card["style_flips"]),
        f"## For a recipe\n\n```toml\n{card['recipe']}```",
        "## Settings\n\n"
        + ", ".join(f"{name} {value}" for name, value in {**card["settings"], **card["versions"]}.items()),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _held_out(figures: Mapping[str, Any]) -> str:
    length = f"length alone ({figures['length']['by']})"
    rows = [
        (name, _span(figures[key], "auc"), _span(figures[key], "gain") if "gain" in figures[key] else "")
        for name, key in (("the model", "model"), (length, "length"), ("words alone, naive Bayes", "unigrams"))
    ]
    table = _rows_of(
        "AUC on held-out roots, with 95% bootstrap intervals", ("", "AUC", "the model is above it by"), rows
    )
    families = [(name, str(one["bad_texts"]), _two(one["auc"])) for name, one in figures["by_family"].items()]
    told = f"{figures['unscorable']} held-out texts could not be scored: they count as the worst."
    more = _rows_of("How well the bad texts of each family are told from the good ones", ("", "texts", "AUC"), families)
    return "\n\n".join([table, told, *([more] if families else [])])


def _trained_on(data: Mapping[str, Any]) -> str:
    rows = []
    for side, words in (("train", "to train on"), ("held_out", "held out")):
        part = data[side]
        rows.append((words, *(f"{part['texts'][label]:,}" for label in ("hq", "lq")), f"{part['roots']:,}"))
        for column in ("by_source", "by_family"):
            for name, counts in part[column].items():
                rows.append((f"{words}, {column[3:]} {name}", f"{counts['hq']:,}", f"{counts['lq']:,}", ""))
    left_out = ", ".join(f"{reason} {number:,}" for reason, number in data["left_out"].items() if number)
    lines = [_rows_of("Trained on", ("", "good (hq)", "bad (lq)", "roots"), rows)]
    if left_out:
        lines.append(f"Left out: {left_out}. (both_labels: one text under either; balance: to have as many of each.)")
    lines += [f"- {one['name']}, {one['rows']:,} texts, sha256 `{one['sha256']}`" for one in data["files"]]
    return "\n\n".join(lines[:2]) + ("\n\n" + "\n".join(lines[2:]) if lines[2:] else "")


def _flips(flips: Mapping[str, Any] | None) -> str:
    if flips is None:
        return ""
    rows = [(repr(one["threshold"]), _share(one["flipped"])) for one in flips["shares"]]
    title = f"Style: of {flips['pairs']:,} pairs that tell the same in two styles, a gate keeps one and drops the other"
    return _rows_of(title, ("a gate `min`", "flipped"), rows)


def _rows_of(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _two(value: float | None) -> str:
    return "-" if value is None or not _number(value) else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _span(figures: Mapping[str, Any], name: str) -> str:
    return f"{_two(figures[name])} ({_two(figures[f'{name}_low'])} to {_two(figures[f'{name}_high'])})"
