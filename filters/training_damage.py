"""Bad texts made of good ones: stretches of a text, and the same stretches damaged as small models damage what they write.

Both labels are then of one source, one style and about one length, so that a classifier can only learn the damage. Every
choice is a hash of the text: the same texts give the same examples in any order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import pyarrow as pa

from filters.training_rows import BAD, EXAMPLES, GOOD, is_held_out
from synth.digest import digest, hash_share

Damage = Literal["cut", "loop", "scramble", "mix"]
KINDS: tuple[Damage, ...] = ("cut", "loop", "scramble", "mix")
MIN_WORDS = 5  # of a sentence that is damaged
MIN_REPEATS = 2  # of a sentence that a loop is caught in, beside itself

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=\S)|\n\s*\n")

Text = tuple[str, str, str | None]
"""A text, its root, its source."""


def damaged_examples(
    texts: Iterable[Text], kinds: Sequence[Damage], windows: Sequence[int], held_out_share: float, limit: int
) -> pa.Table:
    """EXAMPLES: each stretch of so many sentences (`windows`) is good, and bad once it is damaged in one of `kinds`, which
    its hash chooses; `family` of a bad one is the kind. At most `limit` pairs, chosen by hash. Foreign sentences come from
    texts on the same side of the split (`held_out_share` as in training): no held-out text is seen in training.
    """
    stretches = [
        (stretch, root, source)
        for text, root, source in texts
        for stretch in _stretches(sentences(text), windows)
        if any(len(sentence.split()) >= MIN_WORDS for sentence in stretch)
    ]
    stretches.sort(key=lambda one: digest([one[0], one[1]]))
    del stretches[limit:]
    strangers = {
        side: [one for one in stretches if is_held_out(one[1], held_out_share) == side] for side in (True, False)
    }
    rows = []
    for stretch, root, source in stretches:
        kind = kinds[int(hash_share("damage", *stretch) * len(kinds))]
        others = strangers[is_held_out(root, held_out_share)]
        spoilt = _damage(kind, stretch, root, others)
        rows.append({"text": " ".join(stretch), "label": GOOD, "root": root, "family": None, "source": source})
        if spoilt is not None:
            rows.append({"text": " ".join(spoilt), "label": BAD, "root": root, "family": kind, "source": source})
    return pa.Table.from_pylist(rows, schema=EXAMPLES)


def sentences(text: str) -> list[str]:
    """The sentences of a text, each on one line; what ends with neither a mark nor a blank line goes on."""
    return [" ".join(piece.split()) for piece in _SENTENCE_END.split(text) if piece.split()]


def _stretches(found: Sequence[str], windows: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Every stretch of so many sentences, one sentence apart."""
    for window in windows:
        for start in range(len(found) - window + 1):
            yield tuple(found[start : start + window])


Stretch = tuple[tuple[str, ...], str, str | None]


def _damage(kind: Damage, stretch: tuple[str, ...], root: str, others: Sequence[Stretch]) -> list[str] | None:
    """The stretch damaged; None where this kind cannot be done to it."""
    if kind == "mix":
        return _mixed(stretch, root, others)
    simple: dict[Damage, Callable[[tuple[str, ...]], list[str] | None]] = {
        "cut": _cut,
        "loop": _looped,
        "scramble": _scrambled,
    }
    return simple[kind](stretch)


def _chosen(stretch: Sequence[str], *why: str, among: Sequence[int]) -> int:
    return among[int(hash_share(*why, *stretch) * len(among))]


def _long_ones(stretch: Sequence[str], places: Iterable[int]) -> list[int]:
    return [at for at in places if len(stretch[at].split()) >= MIN_WORDS]


def _cut(stretch: tuple[str, ...]) -> list[str] | None:
    """A sentence breaks off in its middle, and the next one follows as if nothing were missing."""
    places = _long_ones(stretch, range(len(stretch) - 1))
    if not places:
        return None
    at = _chosen(stretch, "cut", among=places)
    words = stretch[at].split()
    kept = 1 + int(hash_share("cut-after", *stretch) * (len(words) - 2))
    return [*stretch[:at], " ".join(words[:kept]), *stretch[at + 1 :]]


def _looped(stretch: tuple[str, ...]) -> list[str] | None:
    """A sentence is said again and again, in the place of those that would follow."""
    places = _long_ones(stretch, range(len(stretch)))
    at = _chosen(stretch, "loop", among=places)
    again = max(MIN_REPEATS, len(stretch) - at - 1)
    return [*stretch[: at + 1], *[stretch[at]] * again][-max(len(stretch), again + 1) :]


def _scrambled(stretch: tuple[str, ...]) -> list[str] | None:
    """The words of each sentence in another order."""
    shuffled = [_shuffled(sentence) for sentence in stretch]
    return shuffled if tuple(shuffled) != stretch else None


def _shuffled(sentence: str) -> str:
    """Its first and last words stay: a capital in the middle, or a full stop after `the`, would give it away."""
    words = sentence.split()
    if len(words) < MIN_WORDS:
        return sentence
    inner = range(1, len(words) - 1)
    order = sorted(inner, key=lambda at: hash_share("scramble", sentence, str(at)))
    return " ".join([words[0], *(words[at] for at in order), words[-1]])


def _mixed(stretch: tuple[str, ...], root: str, others: Sequence[Stretch]) -> list[str] | None:
    """Every second sentence is one of another text's."""
    start = int(hash_share("mix", *stretch) * len(others))
    for step in range(len(others)):
        other, other_root, _ = others[(start + step) % len(others)]
        if other_root != root:
            return [other[at % len(other)] if at % 2 else own for at, own in enumerate(stretch)]
    return None
