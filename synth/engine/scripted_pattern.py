"""Strings that match a JSON schema's `pattern`: literals, groups with alternatives, classes, and counted repeats.

A class that is repeated many times stands for running text, and is filled with words of the ask's own passage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synth.errors import SynthError, fail

Choose = Callable[[int], int]  # a number below its argument, drawn from the ask

_RUNNING_TEXT = 8  # a class repeated up to this often or more is text
_FILL_CHARACTERS = 70
_TRIED = "AaTtWw1 .?"


class UnsupportedSchema(SynthError):
    """A JSON schema uses what the scripted server cannot make a value for."""


def matching(pattern: str, choose: Choose, words: Sequence[str]) -> str:
    """A string that matches `pattern` as a whole. Raises UnsupportedSchema."""
    maker = _Maker(pattern.removeprefix("^").removesuffix("$"), choose, words or ("text",))
    try:
        made = maker.alternatives()
        if maker.at == len(maker.pattern) and re.search(pattern, made):
            return made
    except re.error as error:
        raise fail(UnsupportedSchema, f"{pattern!r} is not a regular expression: {error}") from error
    raise fail(UnsupportedSchema, f"no string can be scripted for the pattern {pattern!r}")


@dataclass
class _Maker:
    """Reads a pattern from left to right and writes a string that matches it."""

    pattern: str
    choose: Choose
    words: Sequence[str]
    at: int = 0

    def alternatives(self) -> str:
        """`a|b|c` up to the end or a closing bracket: all are read, one is kept."""
        found = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            found.append(self.sequence())
        return found[self.choose(len(found))]

    def sequence(self) -> str:
        text = ""
        while self.peek() not in ("", "|", ")"):
            before = text[-1:]
            atom = self.atom()
            least, most = self.repeats()
            text += self.repeated(atom, least, most, before)
        return text

    def atom(self) -> str | re.Pattern[str]:
        """A literal or a group as the string it stands for; a class as a pattern for one character."""
        symbol = self.take()
        if symbol == "(":
            if self.pattern.startswith("?:", self.at):
                self.at += 2
            inner = self.alternatives()
            if self.take() != ")":
                raise fail(UnsupportedSchema, f"a group that does not close in {self.pattern!r}")
            return inner
        if symbol == "[":
            end = self.at + 1
            while end < len(self.pattern) and self.pattern[end] != "]":
                end += 2 if self.pattern[end] == "\\" else 1
            text, self.at = self.pattern[self.at - 1 : end + 1], end + 1
            return re.compile(text)
        if symbol == ".":
            return re.compile(r"[^\n]")
        if symbol == "\\":
            escaped = self.take()
            return re.compile(f"\\{escaped}") if escaped in "dws" else escaped
        if symbol in "*+?{":
            raise fail(UnsupportedSchema, f"a repeat of nothing in {self.pattern!r}")
        return symbol

    def repeats(self) -> tuple[int, int]:
        symbol = self.peek()
        fixed = {"*": (0, _FILL_CHARACTERS), "+": (1, _FILL_CHARACTERS), "?": (0, 1)}
        if symbol in fixed and symbol:
            self.at += 1
            return fixed[symbol]
        counted = re.compile(r"\{(\d+)(,?)(\d*)\}").match(self.pattern, self.at)
        if not counted:
            return 1, 1
        self.at = counted.end()
        least = int(counted[1])
        return least, int(counted[3]) if counted[3] else least + _FILL_CHARACTERS if counted[2] else least

    def repeated(self, atom: str | re.Pattern[str], least: int, most: int, before: str) -> str:
        if isinstance(atom, str):
            return atom * (least if least == most else least + self.choose(most - least + 1))
        if most < _RUNNING_TEXT:
            return "".join(self.character(atom) for _ in range(max(least, min(1, most))))
        return self.text(atom, least, most, glued=before.isalnum())

    def character(self, allowed: re.Pattern[str]) -> str:
        for symbol in _TRIED + "".join(map(chr, range(33, 127))):
            if allowed.fullmatch(symbol):
                return symbol
        raise fail(UnsupportedSchema, f"no plain character for {allowed.pattern!r}")

    def text(self, allowed: re.Pattern[str], least: int, most: int, glued: bool) -> str:
        """Words until a length between the limits; characters that are not allowed are left out."""
        wanted = max(least, min(most, _FILL_CHARACTERS - self.choose(20)))
        text = " " if glued and allowed.fullmatch(" ") else ""
        while len(text) < wanted + 1:
            word = self.words[self.choose(len(self.words))]
            text += "".join(one for one in f"{word} " if allowed.fullmatch(one)) or self.character(allowed)
        at_word = text[:wanted].rsplit(" ", 1)[0]
        cut: str = at_word if len(at_word.strip()) >= least else text[:wanted]
        return cut if len(cut) >= least else cut.ljust(least, self.character(allowed))

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        symbol = self.peek()
        self.at += 1
        return symbol
