"""Words as comparisons see them: without case and without the punctuation around them."""

from __future__ import annotations

import re

# From the first letter or digit of a whitespace-separated token to its last one. `\w` is letters, digits and the
# underscore, so `[^\W_]` is exactly str.isalnum; `\S` ends where str.split ends a token.
_NORMAL_WORD = re.compile(r"[^\W_](?:\S*[^\W_])?")


def normal_words(text: str) -> list[str]:
    """The whitespace-separated words of `text`, case-folded, without the non-alphanumeric characters at their ends.

    Words of punctuation alone disappear. `"Well," she said: it's 3.5%` gives `well she said it's 3.5`.
    """
    return _NORMAL_WORD.findall(text.casefold())
