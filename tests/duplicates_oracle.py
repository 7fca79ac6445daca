"""What `dedup.find_duplicates` must say, from the definitions: all pairs, sets of bytes, character by character.

Of use for some hundreds of documents. It proposes nothing and misses nothing, so the two agree where the sketches miss
nothing either.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dedup import ResolveConfig, exact_digest, word_shingles

Row = dict[str, Any]
Fact = tuple[str, bool]  # as it is compared, and whether it is one, not only a word that another text's name may be

_NO_WORDS = exact_digest("")
NO_PAIR = {"jaccard": None, "containment": None, "doc_shingles": None, "partner_shingles": None}


def is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")


def is_numeral(char: str) -> bool:
    return unicodedata.category(char).startswith("N")


def in_word(char: str) -> bool:
    return is_numeral(char) or (char.isalpha() and (char.islower() or char.isupper()))


def compared(char: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())[0]


def facts(text: str) -> list[Fact]:
    """The numbers and capitalised words of a text in their order."""
    found: list[Fact] = []
    at, begins, sign, short = 0, True, "", False
    before = " "
    while at < len(text):
        char = text[at]
        if not in_word(char):
            if len(f"a{char}b".splitlines()) == 2 or (char in ".!?…。！？؟۔।॥" and not (short and char == ".")):
                begins = True
            elif char.isalpha():
                begins = False
            sign = char if char in "-−." and before.isspace() else ""
            before, short, at = char, False, at + 1
            continue
        word, last = "", ""
        start = at
        while at < len(text):
            char = text[at]
            joins = char in ".,:/-'’" and last and is_numeral(last) and at + 1 < len(text) and is_numeral(text[at + 1])
            if not (in_word(char) or is_mark(char) or joins):
                break
            if not is_mark(char):
                word, last = word + (char if joins else compared(char)), char
            at += 1
        numeral = any(is_numeral(one) for one in text[start:at])
        if numeral or text[start].isupper():
            found.append(((sign if is_numeral(text[start]) else "") + word, numeral or not begins))
        short = text[start].isupper() and not numeral and len(word) <= 3
        begins, sign, before = False, "", text[start]
    return found


def cut_off(text: str, other: str) -> bool:
    tail = text[-40:]
    for at in range(len(other) - len(tail) + 1):
        rest = other[at + len(tail) :]
        if other[at:].startswith(tail) and rest[:1].isalnum() and any(map(str.isalnum, rest.partition(" ")[2])):
            return True
    return False


def lacking(text: str, other: str) -> bool:
    """Whether some fact of `text` is not `other`'s at its place."""
    there = [name for name, _ in facts(other)]
    own = facts(text)
    for number, (name, is_fact) in enumerate(own):
        if not is_fact:
            continue
        if name not in there:
            is_last = number == len(own) - 1 and (in_word(text[-1]) or is_mark(text[-1]))
            return not (is_last and cut_off(text, other))
        there = there[there.index(name) + 1 :]
    return False


def boilerplate(rows: Sequence[Row], config: ResolveConfig) -> dict[str | None, set[bytes]]:
    """By family, from each different content of the new rows once, whatever is released."""
    firsts: dict[str, Row] = {}
    for row in sorted((row for row in rows if not row["released"]), key=precedence):
        firsts.setdefault(content(row), row)
    found: dict[str | None, set[bytes]] = {}
    for family in {row.get("family") for row in rows}:
        own = [row for row in firsts.values() if row.get("family") == family]
        sets = [word_shingles(row["text"] or "", config.minhash.shingle_words) for row in own]
        sets = [one for one in sets if one]
        counts = Counter(shingle for one in sets for shingle in one)
        least = max(config.boilerplate_share * len(sets), config.boilerplate_documents - 0.5)
        found[family] = {shingle for shingle, count in counts.items() if count > least}
    return found


def precedence(row: Row) -> tuple[bool, int, str]:
    return (not row["released"], -len((row["text"] or "").encode()), row["doc_id"])


def content(row: Row) -> str:
    """Equal for copies."""
    hidden = row["released"] and row["text"] is None
    digest = exact_digest(row["text"] or "")
    return row["doc_id"] if hidden or digest == _NO_WORDS else digest


def find_duplicates(
    rows: Sequence[Row], config: ResolveConfig, common: Mapping[str | None, set[bytes]] | None = None
) -> dict[str, Row]:
    """The verdicts by id. `common` is the boilerplate by family; None: it is found."""
    common = boilerplate(rows, config) if common is None else common
    size = config.minhash.shingle_words
    fates: dict[str, Row] = {}
    verdicts: dict[str, Row] = {}
    survivors: list[tuple[Row, set[bytes]]] = []
    holders: dict[bytes, list[int]] = {}  # of each shingle: so that pairs without any in common cost nothing
    for row in sorted(rows, key=precedence):
        whole = word_shingles(row["text"] or "", size)
        own = whole - common.get(row.get("family"), set())
        key = content(row)
        if key in fates:
            verdict = {**fates[key], "doc_id": row["doc_id"]}
            if verdict["keep"]:
                partner = fates[key]["doc_id"]
                first = len(next(shingles for one, shingles in survivors if one["doc_id"] == partner))
                verdict |= {"keep": False, "cluster_id": partner, "partner_id": partner, "reason": "exact_duplicate"}
                verdict |= {"jaccard": 1.0, "containment": 1.0, "doc_shingles": first, "partner_shingles": first}
                verdict |= {"spared": None, "near_id": None}
        else:
            judged = bool(own) and (len(own) == len(whole) or len(own) >= config.min_shingles) and not row["released"]
            shared = Counter(number for shingle in own for number in holders.get(shingle, ())) if judged else Counter()
            near = [(number, *survivors[number], shared[number]) for number in sorted(shared)]
            verdict = fates[key] = _verdict(row, own, near, config)
            if verdict["keep"]:
                for shingle in own:
                    holders.setdefault(shingle, []).append(len(survivors))
                survivors.append((row, own))
        if not row["released"]:
            verdicts[row["doc_id"]] = verdict
    return verdicts


def _verdict(
    row: Row, own: set[bytes], survivors: Iterable[tuple[int, Row, set[bytes], int]], config: ResolveConfig
) -> Row:
    best: dict[bool, tuple[float, int, Row]] = {}
    for number, other, shingles, shared in survivors:
        jaccard = shared / (len(own) + len(shingles) - shared)
        siblings = row.get("root_id") is not None and row.get("root_id") == other.get("root_id")
        similar = jaccard >= (config.sibling_jaccard if siblings else config.jaccard)
        same_family = row.get("family") == other.get("family")
        contained = shared / len(own) >= config.containment and (not siblings or same_family)
        if not (similar or contained):
            continue
        numbers = {"jaccard": jaccard, "containment": shared / len(own)}
        numbers |= {"doc_shingles": len(own), "partner_shingles": len(shingles)}
        found = {**numbers, "other": other["doc_id"], "reason": "near_duplicate" if similar else "contained"}
        differs = lacking(row["text"], other["text"])
        if differs not in best or (jaccard, -number) > best[differs][:2]:
            best[differs] = (jaccard, -number, found)
    kept = {"doc_id": row["doc_id"], "keep": True, "cluster_id": row["doc_id"], "partner_id": None, **NO_PAIR}
    kept |= {"reason": None, "spared": None, "near_id": None}
    if False in best:
        found = best[False][2]
        other = found.pop("other")
        return {**kept, **found, "keep": False, "cluster_id": other, "partner_id": other}
    if True in best:
        found = best[True][2]
        other = found.pop("other")
        return {**kept, **found, "reason": None, "spared": "other_facts", "near_id": other}
    return kept
