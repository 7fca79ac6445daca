"""Every field of a recipe with its type, bounds, unit, default and the source of its number, read off the configurations."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters.gates import Gate
from filters.registry import rules
from flows.recipe import Recipe
from generators.registry import families
from synth.config_errors import model_in

Shapes = Literal["content", "execution"]

PAPERS = {  # what descriptions call them: where the numbers are from
    "Nemotron-CC": "arXiv 2412.02595",
    "FinePhrase": "arXiv 2604.13977",
    "FineWeb": "arXiv 2406.17557",
    "Cosmopedia": "huggingface.co/blog/cosmopedia",
    "REWIRE": "arXiv 2506.04689",
    "DCLM": "arXiv 2406.11794",
    "MIND": "arXiv 2410.12881",
    "TPT": "arXiv 2509.20186",
    "BoLT": "arXiv 2503.18866",
    "fastText": "fasttext.cc",
    "datasketch": "ekzhu.com/datasketch",
    "vLLM": "docs.vllm.ai",
}

_UNIT_ENDS = {
    "_seconds": "seconds",
    "_tokens": "tokens",
    "_bytes": "bytes",
    "_gib": "GiB",
    "_rows": "rows",
    "_share": "share, 0 to 1",
    "_partitions": "partitions",
    "_pairs": "pairs",
    "_documents": "documents",
    "_asks": "asks",
    "_words": "words",
    "_hours": "hours",
    "temperature": "divisor of the logits",
    "top_p": "probability, 0 to 1",
    "_utilization": "share, 0 to 1",
}
_UNITS = {  # of quantities whose name and description do not end in their unit
    "bytes": "bytes",
    "share": "share, 0 to 1",
    "limit": "passages",
    "weight": "parts of the kept tokens",
    "kept_tokens_per_seed": "tokens",
    "retry_dead_letters": "times",
    "min": "unit of the score",
    "max": "unit of the score",
    "below": "unit of the score",
    "partitions": "partitions",
    "windows": "sentences",
    "lr": "step of the optimiser",
    "dim": "numbers per word",
    "word_ngrams": "words",
    "epochs": "passes",
    "min_count": "occurrences",
    "bucket": "slots",
    "jaccard": "share of shingles, 0 to 1",
    "containment": "share of shingles, 0 to 1",
    "sibling_jaccard": "share of shingles, 0 to 1",
    "min_shingles": "shingles",
    "max_per_template": "documents",
    "permutations": "values of 32 bits",
    "bands": "bands",
    "rows": "values per band",
    "seed": "any number",
    "workers": "lots",
    "replicas": "servers",
    "in_flight": "requests",
    "threads": "threads",
    "port": "TCP port",
    "max_attempts": "tries",
    "recycle_after_asks": "answers",
    "gpus": "GPUs",
    "tensor_parallel": "GPUs",
    "data_parallel": "copies",
    "max_num_seqs": "requests",
    "max_usd": "US dollars",
    "candidates": "answers",
    "words": "words",
    "min_openings": "documents",
    "min_agreement": "share of solutions, 0 to 1",
    "min_numbers": "numbers",
    "min_facts": "names and numbers",
}


@dataclass(frozen=True)
class Field:
    """One field. `place` is dotted, NAME stands for what a recipe names itself. `leads_to`: the configuration of its fields."""

    place: str
    type: str
    allowed: str
    unit: str
    default: str
    what: str
    source: str
    shapes: Shapes
    leads_to: Any = None

    def as_json(self) -> dict[str, str]:
        """For `--json`."""
        return {name: value for name, value in vars(self).items() if name != "leads_to"}


def all_fields() -> list[Field]:
    """Of the whole recipe, then of the options of each family and rule."""
    found = list(_fields(Recipe, ""))
    for family in families:
        of_paper = family.card.source if family.card else ""
        found += _fields(family.Options, f"families.{family.name}.options.", of_paper)
    for rule in rules:
        found += _fields(rule.Options, f"rules.{rule.name}.options.")
    return found


def _fields(kind: type[BaseModel], prefix: str, family_source: str = "") -> Iterator[Field]:
    own = [described(f"{prefix}{name}", name, info, family_source) for name, info in kind.model_fields.items()]
    yield from own
    for field in own:
        if field.leads_to is not None:
            named = "NAME." if field.type.startswith(("list", "table of")) else ""
            yield from _fields(field.leads_to, f"{field.place}.{named}", family_source)


def described(place: str, name: str, info: FieldInfo, family_source: str = "") -> Field:
    """One field, from its declaration."""
    what = info.description or ""
    return Field(
        place=place,
        type=type_words(info.annotation),
        allowed=_allowed(info),
        unit=_unit(name, what) if is_quantity(info.annotation) else "",
        default=_default(info),
        what=what,
        source=_source(what, _default(info), family_source),
        shapes="execution" if place.split(".")[0] == "run" else "content",
        leads_to=model_in(info.annotation),
    )


def is_quantity(annotation: Any) -> bool:
    """Whether a number is given (no yes or no), or several."""
    if annotation in (int, float):
        return True
    if get_origin(annotation) is Literal or annotation in (bool, Any):
        return False
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        arguments = arguments[1:]
    return any(is_quantity(argument) for argument in arguments) and model_in(annotation) is None


def type_words(annotation: Any) -> str:
    """A type as a user of TOML would say it."""
    plain = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any value"}
    if annotation in plain:
        return plain[annotation]
    origin, arguments = get_origin(annotation), [one for one in get_args(annotation) if one not in (type(None), ...)]
    if origin is Literal:
        return "one of: " + ", ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_words, arguments))
    if origin is tuple:
        return "list of tables" if model_in(annotation) else f"list ({type_words(arguments[0])})"
    if origin is dict:
        return "table of tables" if model_in(annotation) else f"table ({type_words(arguments[1])} by name)"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return type_words(arguments[0]) if arguments else str(annotation)  # Annotated[…]


def _allowed(info: FieldInfo) -> str:
    """Bounds of a number, of a length, of the form of a text."""
    words = []
    for one in info.metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if getattr(one, name, None) is not None:
                words.append(f"{sign} {getattr(one, name):g}")
        if (least := getattr(one, "min_length", None)) is not None:
            words.append(f"at least {least}" if get_origin(info.annotation) in (tuple, dict) else "not empty")
        if getattr(one, "pattern", None):
            words.append(f"like {one.pattern}")
    return ", ".join(words)


def _unit(name: str, what: str) -> str:
    if name in _UNITS:
        return _UNITS[name]
    if name.startswith("usd_per_"):
        return f"US dollars per {name.removeprefix('usd_per_').replace('gpu', 'GPU').replace('_', ' ')}"
    if bracketed := re.findall(r"\((tokens|rows|bytes|words|sentences|GiB|US dollars|kept tokens)\)", what):
        return str(bracketed[0])
    ends = [unit for end, unit in _UNIT_ENDS.items() if name.endswith(end)]
    return ends[0] if ends else ""


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True) if not info.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see its fields"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(str(getattr(one, "name", None) or getattr(one, "reason", "")) for one in value)
    return toml_words(value)


def toml_words(value: Any) -> str:
    """A default as it would be written."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml_words, value))}]"
    return "{}" if value == {} else str(value)


def _source(what: str, default: str, family_source: str) -> str:
    """Where a number is from, as its sentence says. A paper's number that is not the default makes the default ours."""
    named, other = re.findall(r"https?://[^\s)]+", what), []
    for name, where in PAPERS.items():
        if not re.search(rf"\b{re.escape(name)}(:|'s|\)|,| )", what):
            continue
        number = re.search(rf"\b{re.escape(name)}: (?:about )?([\d.,]*\d)", what)
        if number and number[1].replace(",", "") not in (default, default.removesuffix(".0")):
            other.append(f"{name}: {number[1]} ({where})")
        else:
            named.append(f"{name} ({where})")
    if named:
        return ", ".join(named)
    return "; ".join(["ours", *other]) if other or not family_source else f"ours, for {family_source}"


def default_gates(place: str) -> tuple[Gate, ...]:
    """The gates that hold where a recipe says nothing: of `screen.gates` or `keep.gates`."""
    step, _, name = place.partition(".")
    info = Recipe.model_fields.get(step)
    kind = model_in(info.annotation) if info else None
    if kind is None or name not in kind.model_fields:
        return ()
    value = kind.model_fields[name].get_default()
    return tuple(one for one in value if isinstance(one, Gate)) if isinstance(value, tuple) else ()
