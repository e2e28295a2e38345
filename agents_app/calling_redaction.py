"""Takes the secrets that a step's call carried out of what came back: answers and errors.

An endpoint may repeat what it was sent, as it was or as it stood in the URL, in JSON or in HTML.
Every character of a secret is looked for in all these spellings, mixed as they may be.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from pydantic import JsonValue

from executions_app.scrub import SCRUBBED
from executions_app.states import SchedulerException

SHORTEST: Final = 4
"""What is shorter cannot be taken out of a text without taking the text apart."""
LONGEST_SPELLING: Final = 12  # of one character: four bytes, each as %XX


class Redaction:
    """The secrets of one call; none of their spellings is in what its methods give."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        kept = sorted({one for one in secrets if len(one) >= SHORTEST}, key=lambda one: -len(one))
        self._whole = re.compile("|".join(map(_pattern, kept))) if kept else None
        self._beginnings = [
            (re.compile(_pattern(one[:SHORTEST])), LONGEST_SPELLING * len(one)) for one in kept
        ]

    def text(self, text: str) -> str:
        return self._whole.sub(SCRUBBED, text) if self._whole else text

    def cut_text(self, text: str) -> str:
        """The same for a text that was cut off, perhaps within a secret."""
        text = self.text(text)
        for beginning, reach in self._beginnings:
            if found := beginning.search(text, max(0, len(text) - reach)):
                text = text[: found.start()] + SCRUBBED
        return text

    def value(self, value: JsonValue) -> JsonValue:
        """The same for JSON: names, texts and numbers."""
        if self._whole is None:
            return value
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(one) for name, one in value.items()}
        if isinstance(value, str):
            return self.text(value)
        return SCRUBBED if self._whole.fullmatch(str(value)) else value

    def error(self, error: SchedulerException) -> None:
        """The same for an error, in place; what caused it is not shown any more."""
        if self._whole is None:
            return
        error.args = tuple(self.text(str(one)) for one in error.args)
        error.context = {name: self._kept(one) for name, one in error.context.items()}
        error.__cause__, error.__context__, error.__suppress_context__ = None, None, True

    def _kept(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self.text(str(name)): self._kept(one) for name, one in value.items()}
        return self.value(value)


def _pattern(secret: str) -> str:
    return "".join(map(_character, secret))


def _character(one: str) -> str:
    if one.isascii() and one.isalnum():
        return one
    spellings = {
        *(one, html.escape(one), f"&#{ord(one)};", f"&#x{ord(one):x};"),
        *(quote(one, safe=""), "".join(f"%{byte:02X}" for byte in one.encode(errors="replace"))),
        *(f"\\u{ord(one):04x}", f"\\{one}"),
        *({"+"} if one == " " else ()),
    }
    longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
    return f"(?i:{'|'.join(map(re.escape, longest_first))})"
