"""Where the answer stands in a worked solution, and the answer freed of Markdown, LaTeX and typography."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

_LONGEST_ANSWER = 1_000  # characters after a mark
_CLOSING = 600  # characters at the end in which a concluding sentence is looked for

_HASHES = re.compile(r"[ \t]*#{4}[ \t]*([^#\s].*)")
_LABEL = re.compile(
    r"(?:^|(?<=[.!?]))[ \t>#*_-]*(?:(?:the|my)[ ]+)?(?:(?:final|correct)[ ]+)?answer[ ]{0,2}[*_]{0,3}[ ]?(?:[:=]|$)[ *_]{0,9}"
    r"|\b(?:(?:the|my|our)[ ]+)(?:(?:final|correct|right)[ ]+)?"
    r"answer[ ]{0,3}(?:(?:to|for)[ ][^.:\n]{1,80}?)?[ *_]{0,4}(?:\bis\b|=)[ ]?:?[ ]?",
    re.IGNORECASE | re.MULTILINE,
)
# The end of a sentence, not of an initial, an abbreviation (Dr., p.m.) or a list number.
_SENTENCE_END = re.compile(r"(?<![ .][A-Za-z])(?<!\b[A-Z][a-z])(?<!\b[A-Z])[.!?](?=[*_$]*(?:\s|\Z))")
_CONCLUSION = re.compile(
    r"(?:^|(?<=[.!?] ))[ \t*_]*(?:therefore|thus|hence|so|in total|in conclusion|altogether|finally)\b,?([^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_AMOUNT = re.compile(
    r"(?<![\w.,/^:*+-])-?(?:\\?[$€£]\s?)?-?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?(?:\.[0-9]+|(?<=[0-9]))"
    r"(?:/[0-9]+(?![0-9/]))?(?:\s?\\?%)?(?![\w:^*/+-]|[.,][0-9])"
)

_CHARACTERS = str.maketrans(
    dict.fromkeys("−–—‐‑", "-")
    | dict.fromkeys("×·⋅∙", "*")
    | dict.fromkeys("÷⁄∕", "/")
    | dict.fromkeys("\u00a0\u202f\u2009", " ")
    | dict.fromkeys("\u200b\ufeff", "")
    | {"√": " sqrt ", "π": " pi ", "∞": "infinity", "°": " degrees ", "¢": " cents", "％": "%", "＄": "$"}
    | {"’": "'", "‘": "'", "“": '"', "”": '"'}
    | {digit: f"^{power}" for power, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
    | {sign: f" {unicodedata.normalize('NFKC', sign).replace('⁄', '/')} " for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
)
_WIDE_GROUPS = re.compile(r"(?<=[0-9])(?:[\u00a0\u202f\u2009]|\{,\}|\\[,;: ])(?=[0-9]{3}(?![0-9]))")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|boxed|fbox|emph)\s*\{")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:(?P<digits>[0-9][0-9])|\{)")
_SPACING = re.compile(r"\\(?:left|right|big|Big|displaystyle)(?![A-Za-z])|\\[,;:! ]|(?<!\\)~")
_COMMANDS = (
    {r"\cdot": "*", r"\times": "*", r"\div": "/", r"\pi": " pi ", r"\infty": "infinity", r"\sqrt": " sqrt "}
    | {r"\%": "%", r"\$": "$", r"\{": "⟨", r"\}": "⟩", r"\approx": "≈", r"\leq": "≤", r"\geq": "≥", r"\neq": "≠"}
    | dict.fromkeys((r"^\circ", r"\circ", r"^{\circ}", r"\degree"), " degrees ")
)
_COMMAND = re.compile(
    "|".join(
        re.escape(name) + (r"(?![A-Za-z])" if name[-1].isalpha() else "")
        for name in sorted(_COMMANDS, key=len, reverse=True)
    )
)

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NUMBERS = {word: number for number, word in enumerate(_SMALL.split())}
_NUMBERS |= {word: 10 * number for number, word in enumerate(_TENS.split(), 2)}
_ANY = "|".join([*_NUMBERS, "hundred", *_SCALES])
_SPELLED = re.compile(
    rf"\b(?:{_ANY}|a(?= hundred\b| thousand\b| million\b))(?:(?:[\s-]+(?:and\s+)?)(?:{_ANY}))*\b", re.I
)
_SCALED = re.compile(
    r"(?<![0-9/.,^ ])\s*\b([0-9][0-9,]*(?:\.[0-9]+)?)\s+(hundred|thousand|million|billion|trillion)\b", re.I
)
_PARTED = re.compile(
    r"\b([0-9]+)[ -](half|halves|(?:third|fourth|fifth|sixth|eighth|tenth)s?)\b(?=\s+of\b|[^a-z]*\Z)", re.I
)
_UNDER = {"ha": 2, "th": 3, "fo": 4, "fi": 5, "si": 6, "ei": 8, "te": 10}
_AND_PART = re.compile(r"(?<=[0-9]) and (?:(?:a |one |1 )(half|quarter|third)|([0-9]+/[0-9]+))\b", re.I)
_AND_UNDER = {"half": "1/2", "quarter": "1/4", "third": "1/3"}


def final_answer(text: str) -> str | None:
    r"""The answer that a worked solution ends with, as it is written there; None if none is marked.

    In order of preference: a last line `#### 18`; the last `\boxed{18}`; the last label ("Answer: 18", "The answer is 18");
    the last concluding sentence ("Therefore, she makes $18."), if it holds exactly one amount, or one after its last "=".
    """
    for find in (_after_hashes, _boxed, _labelled, _concluded):
        found = find(text)
        if found is not None and (bare := undecorated(found)):
            return bare
    return None


def _after_hashes(text: str) -> str | None:
    found = _HASHES.fullmatch(text.rstrip().rsplit("\n", 1)[-1])  # elsewhere it is a heading
    return found[1][:_LONGEST_ANSWER] if found else None


def _boxed(text: str) -> str | None:
    at = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if at < 0:
        return None
    start = text.index("{", at) + 1
    end = closing(text[: start + _LONGEST_ANSWER], start)
    return None if end is None else text[start:end]


def _labelled(text: str) -> str | None:
    ends = [found.end() for found in _LABEL.finditer(text)]
    if not ends:
        return None
    rest = text[ends[-1] : ends[-1] + _LONGEST_ANSWER].lstrip().split("\n", 1)[0]
    end = _SENTENCE_END.search(rest)
    return rest[: end.start()] if end else rest


def _concluded(text: str) -> str | None:
    found = _CONCLUSION.findall(text[-_CLOSING:])
    if not found:
        return None
    sentence = found[-1]
    end = _SENTENCE_END.search(sentence)
    if end and _AMOUNT.search(sentence, end.end()):
        return None  # more amounts follow: which one is meant?
    sentence = sentence[: end.start()] if end else sentence
    amounts = [match.group().strip() for match in _AMOUNT.finditer(sentence.rsplit("=", 1)[-1])]
    others = re.findall(r"[0-9]+", sentence.rsplit("=", 1)[-1])
    whole = "".join(amounts)
    return amounts[0] if len(amounts) == 1 and len(others) == len(re.findall(r"[0-9]+", whole)) else None


def closing(text: str, start: int) -> int | None:
    """Where the brace that was opened just before `start` closes."""
    depth = 1
    for match in re.compile(r"(?<!\\)[{}]").finditer(text, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    return None


def undecorated(text: str) -> str:
    """The text without Markdown emphasis, quotes and a full stop around it."""
    if "**" in text or "__" in text:
        text = re.sub(r"(?<![\w)*])(\*\*|__)(?=\S)([^*_]+)\1(?![\w(*])", r"\2", text)
    before = None
    while before != text:
        before = text
        text = text.strip(" \t\r\n*_`\"'“”‘’")
        text = re.sub(r"(?<=[^.\s])[.,;:]\Z", "", text)
    if text.startswith("$$") and text.endswith("$$") and len(text) > 4:
        text = text[2:-2]
    elif len(text) > 2 and text[0] == "$" and text[-1] == "$" and "$" not in text[1:-1].replace(r"\$", ""):
        text = text[1:-1]
    elif re.fullmatch(r"\\\(.*\\\)|\\\[.*\\\]", text, re.DOTALL):
        text = text[2:-2]
    return text if text == before else undecorated(text)


def plain(text: str) -> str:
    """An answer in ASCII arithmetic as far as that goes: LaTeX, typography and spelled numbers rewritten, spaces single.

    A LaTeX set is written ⟨1, 2⟩ afterwards, because its braces are not those of a group.
    """
    text = _WIDE_GROUPS.sub("", undecorated(text)).translate(_CHARACTERS)
    text = _latex(text) if "\\" in text or "{" in text else text
    text = re.sub(r"(?<=[0-9)])\s*[xX]\s*(?=10\s*\^)|(?<=[0-9)])\s+[xX]\s+(?=[0-9(])", "*", text)
    return " ".join(undecorated(spelled(text)).split())


def _latex(text: str) -> str:
    text = _SPACING.sub(" ", text)
    for _ in range(12):
        before = text
        text = _unwrapped(text)
        if text == before:
            break
    text = _COMMAND.sub(lambda match: _COMMANDS[match.group()], text)
    if not text.lstrip().startswith("{"):  # else a set in plain braces
        text = text.replace("{", "(").replace("}", ")")
    return text


def _unwrapped(text: str) -> str:
    r"""One wrapper (\text{...}) opened and one fraction written with a slash."""
    wrapper = _WRAPPER.search(text)
    end = closing(text, wrapper.end()) if wrapper else None
    if wrapper and end is not None:
        text = f"{text[: wrapper.start()]} {text[wrapper.end() : end]} {text[end + 1 :]}"
    fraction = _FRACTION.search(text)
    parts = _halves(text, fraction) if fraction else None
    if fraction is None or parts is None:
        return text
    over, under, end = parts
    before, after = text[: fraction.start()], text[end:]
    if over.strip().isdecimal() and under.strip().isdecimal() and before.rstrip()[-1:].isdecimal():
        return f"{before} {over.strip()}/{under.strip()}{after}"  # a mixed number
    return f"{before}(({over})/({under})){after}"


def _halves(text: str, fraction: re.Match[str]) -> tuple[str, str, int] | None:
    """Numerator, denominator, and where the fraction ends."""
    if fraction["digits"]:
        return fraction["digits"][0], fraction["digits"][1], fraction.end()
    middle = closing(text, fraction.end())
    if middle is None or text[middle + 1 : middle + 2] != "{":
        return None
    end = closing(text, middle + 2)
    return None if end is None else (text[fraction.end() : middle], text[middle + 2 : end], end + 1)


def spelled(text: str) -> str:
    """Number words as digits: "one hundred and five" -> 105, "2.5 million" -> 2500000, "two thirds" -> 2/3."""
    text = re.sub(r"\bthree[ -]quarters\b", "3/4", text, flags=re.I)
    text = re.sub(r"\ba (?=dozen\b)", "1 ", text, flags=re.I)
    text = _SPELLED.sub(lambda match: _digits(match.group()), text)
    text = _SCALED.sub(_scaled, text)
    text = _PARTED.sub(lambda match: f"{match[1]}/{_UNDER[match[2][:2].lower()]}", text)
    return _AND_PART.sub(lambda match: f" {_AND_UNDER.get((match[1] or '').lower(), match[2])}", text)


def _scaled(match: re.Match[str]) -> str:
    scale = 100 if match[2].lower() == "hundred" else _SCALES[match[2].lower()]
    product = Fraction(match[1].replace(",", "")) * scale
    return match.group() if product.denominator != 1 else match.group()[: match.start(1) - match.start()] + str(product)


def _digits(phrase: str) -> str:
    """One number, or the words one by one where they make none (three four; one and two)."""
    words = phrase.lower().replace("-", " ").split()
    total = current = 0
    for place, word in enumerate(words):
        if word == "and":
            if words[place - 1] not in ("hundred", *_SCALES):
                return _singly(phrase)
        elif word in _SCALES:
            total, current = total + (current or 1) * _SCALES[word], 0
        elif word == "hundred":
            current = (current or 1) * 100
        else:
            number = 1 if word == "a" else _NUMBERS[word]
            room = 10 if 0 < number < 10 and current % 100 >= 20 else 100
            if current % room or (number == 0 and len(words) > 1):
                return _singly(phrase)
            current += number
    return phrase if words[0] in ("hundred", *_SCALES) else str(total + current)


def _singly(phrase: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda word: str(_NUMBERS.get(word.group().lower(), word.group())), phrase)
