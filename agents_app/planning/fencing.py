"""Keeps what comes from outside apart from what a model is told to do: data, in a fence. Pure.

The fence needs no secret: what is inside cannot hold its marks, because every run of three angle
brackets is spaced out there. The marks by which models tell speakers apart (`<|im_start|>`) are
broken up as well, and characters that nobody sees are left out, since models read them.
"""

from __future__ import annotations

import re
from typing import Final

OPENS: Final = "<<<DATA"
CLOSES: Final = "DATA>>>"

_BRACKETS: Final = re.compile(r"<{3,}|>{3,}")
_OF_A_SPEAKER: Final = re.compile(r"<(?=\|)|\|(?=>)")
# Controls, directions of writing, spaces without width, and the tags that spell unseen text.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e007f]"
)


def plain(text: str) -> str:
    """`text` without anything that a model could take for a mark of ours, or not show people."""
    seen = _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    spaced = _BRACKETS.sub(lambda found: " ".join(found[0]), seen)
    return _OF_A_SPEAKER.sub(r"\g<0> ", spaced)


def fenced(text: str, label: str) -> str:
    """`text` as data: what stands in it ends the fence for nobody."""
    return f"{OPENS} {label}\n{plain(text)}\n{CLOSES}"
