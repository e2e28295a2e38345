"""What of an error's message is the same from one time to the next: errors alike are one incident.

Whoever writes a message puts into it what it was about: an order, an address, a file. Left in,
each would make an incident of its own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

Parts = tuple[tuple[re.Pattern[str], str], ...]

_IDS: Final[Parts] = (
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<hex>"),
)
_NUMBERS: Final[Parts] = (
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_WORDS: Final[Parts] = (
    # Between quotes that stand as such: the apostrophe of "doesn't" is followed by a letter.
    (re.compile(r"(?<!\w)'[^'\n]{1,300}'(?!\w)"), "<text>"),
    (re.compile(r'(?<!\w)"[^"\n]{1,300}"(?!\w)'), "<text>"),
    (re.compile(r"`[^`\n]{1,300}`"), "<text>"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "<email>"),
    # A file's: the path of a URL stands behind a host, and its first part tells endpoints apart.
    (re.compile(r"(?<![\w:/.>~-])~?(?:/[\w.@%+~-]{1,255}){2,}/?"), "<path>"),
)
_DRAWN: Final[Parts] = (
    # What has letters and digits and is long is drawn by lot, or a key: nobody calls a thing so.
    (re.compile(r"\b(?=[A-Za-z_]*\d)(?=[\d_]*[A-Za-z])\w{12,}\b"), "<word>"),
)


def normalised(message: str) -> str:
    """The message without what it was about: quoted words, addresses, paths, ids, numbers."""
    return _replaced(message, (*_WORDS, *_IDS, *_DRAWN, *_NUMBERS))


def titled(message: str) -> str:
    """The message without its numbers and ids only: a person wants to read an example."""
    return _replaced(message, (*_IDS, *_NUMBERS))


def _replaced(message: str, parts: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in parts:
        message = pattern.sub(replacement, message)
    return message
