"""Makes what an execution leaves behind fit to be kept: storable as JSON, bounded, without secrets.

PostgreSQL's jsonb refuses NUL and lone surrogates, JSON refuses NaN, and nobody wants a result of
5 GB; a value that was refused at the end of a good run would turn that run into a failure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import PurePath
from typing import Final
from uuid import UUID

from pydantic import JsonValue

SCRUBBED: Final = "[scrubbed]"
TOO_DEEP: Final = "[nested too deeply]"
MOST_DEPTH: Final = 64
MOST_DIGITS_BITS: Final = 1024
SEPARATOR: Final = len(", ")
ROOM_FOR_AN_ENTRY: Final = 64
ROOM_FOR_A_VALUE: Final = 48
MARGIN: Final = 1024  # cleaned beyond the cut, so that no half of a secret is left at it

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_ESCAPED_UNSTORABLE: Final = re.compile(r"\\u(?:0000|d[89a-f])")
_TELLING_NAME: Final = (
    r"(?:token(?!s)|secret|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credential|signature|authorization|cookie)"
)
_IS_TELLING: Final = re.compile(_TELLING_NAME, re.IGNORECASE)
_SECRETS: Final = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL),
        SCRUBBED,
    ),
    (
        # A header holds its secret to the end of the line or of the quotes around it.
        re.compile(
            r"\b((?:proxy-)?authorization|(?:set-)?cookie)(\\?[\"']?\s{0,4}[:=]\s{0,4}\\?[\"']?)"
            r"[^\r\n\"']+",
            re.IGNORECASE,
        ),
        rf"\1\2{SCRUBBED}",
    ),
    (re.compile(r"://[^\s/@\"'<>?#]{1,512}@"), f"://{SCRUBBED}@"),
    (re.compile(r"\b(bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {SCRUBBED}"),
    (
        re.compile(
            rf"\b([\w-]{{0,64}}?{_TELLING_NAME}[\w-]{{0,64}}\\?[\"']?\s{{0,4}}[:=]\s{{0,4}})"
            r"(?!\[scrubbed\])(?:\\?\"[^\"\r\n]*\"|'[^'\r\n]*'|[^\s\"'&,;}]+)",
            re.IGNORECASE,
        ),
        rf"\1{SCRUBBED}",
    ),
    (re.compile(r"\b(?:sk|ghp|gho|xox[abp])[-_][\w-]{16,}"), SCRUBBED),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), SCRUBBED),
)


def is_secret_name(name: str) -> bool:
    """True if a header, parameter or key of this name is likely to hold a secret."""
    return _IS_TELLING.search(name) is not None


def scrub(text: str) -> str:
    """`text` without credentials: headers, URL passwords, and values of keys that name a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def storable_json(value: object, *, max_bytes: int) -> tuple[str, bool]:
    """`value` as JSON text that PostgreSQL keeps, and whether something was cut off to make it fit.

    The text takes at most `max_bytes` (>= 64) of UTF-8: long strings are cut, lists and objects
    lose their ends. NaN and infinities become strings, what is no JSON becomes text.
    """
    if (text := _text_if_storable(value, max_bytes=max_bytes)) is not None:
        return text, False
    fitting = _Fitting(max_bytes)
    return json.dumps(fitting.value(value, depth=0)), fitting.is_truncated


def storable_without_secrets(value: object, *, max_bytes: int) -> tuple[JsonValue, bool]:
    """As `storable`, with the secrets in its texts and under telling keys scrubbed."""
    fitting = _FittingWithoutSecrets(max_bytes)
    return fitting.value(value, depth=0), fitting.is_truncated


def storable_text(text: str) -> str:
    """`text` with NUL and lone surrogates replaced."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _text_if_storable(value: object, *, max_bytes: int) -> str | None:
    """The JSON text of a value that needs no change, as most do; None if it may need one."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    is_shallow = text.count("[") + text.count("{") < MOST_DEPTH
    is_storable = len(text) <= max_bytes and is_shallow and not _ESCAPED_UNSTORABLE.search(text)
    return text if is_storable else None


def _size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


class _Fitting:
    """Rebuilds one value within a budget of bytes; the budget also ends cyclic values."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self.is_truncated = False

    def clean(self, text: str) -> str:
        return storable_text(text)

    def value(self, value: object, *, depth: int) -> JsonValue:
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._scalar(value)
        if depth >= MOST_DEPTH:
            self.is_truncated = True
            return self._text(TOO_DEEP)
        if isinstance(value, Mapping):
            return self._object(value, depth=depth)
        ordered = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return self._list(ordered, depth=depth)

    def of_key(self, name: str, value: object) -> object:
        """What is kept of the value that stands under `name`."""
        del name
        return value

    def _scalar(self, value: object) -> JsonValue:
        match value:
            case None | bool():
                return self._plain(value)
            case int() if value.bit_length() <= MOST_DIGITS_BITS:
                return self._plain(int(value))
            case float() if math.isfinite(value):
                return self._plain(float(value))
        return self._text(self._as_text(value))

    def _as_text(self, value: object) -> str:
        match value:
            case str():
                return value
            case bytes() | bytearray():
                return value[: self._left + 1].decode(errors="replace")
            case int():
                return f"[integer of {value.bit_length()} bits]"
            case float() | date() | time() | Decimal() | UUID() | PurePath():
                return str(value)
        return f"[{type(value).__name__}]"

    def _plain(self, value: float | None) -> JsonValue:
        size = len(json.dumps(value))
        if size > self._left:
            return self._text(str(value))
        self._left -= size
        return value

    def _text(self, text: str, *, spare: int = 0) -> str:
        """The text, or as much of its beginning as fits while `spare` bytes stay free."""
        room = self._left - spare
        whole = self.clean(text[: room + MARGIN])
        kept = _beginning(whole, room)
        self.is_truncated |= len(kept) < len(whole) or len(text) > room + MARGIN
        self._left -= _size(kept)
        return kept

    def _list(self, values: Iterable[object], *, depth: int) -> JsonValue:
        self._left -= len("[]")
        kept: list[JsonValue] = []
        for one in values:
            if not self._has_room():
                break
            kept.append(self.value(one, depth=depth + 1))
            self._left -= SEPARATOR
        return kept

    def _object(self, values: Mapping[object, object], *, depth: int) -> JsonValue:
        self._left -= len("{}")
        kept: dict[str, JsonValue] = {}
        for key, one in values.items():
            if not self._has_room():
                break
            self._left -= 2 * SEPARATOR
            name = self._text(str(key), spare=ROOM_FOR_A_VALUE)
            kept[name] = self.value(self.of_key(name, one), depth=depth + 1)
        return kept

    def _has_room(self) -> bool:
        self.is_truncated |= self._left < ROOM_FOR_AN_ENTRY
        return self._left >= ROOM_FOR_AN_ENTRY


class _FittingWithoutSecrets(_Fitting):
    def clean(self, text: str) -> str:
        return scrub(storable_text(text))

    def of_key(self, name: str, value: object) -> object:
        return SCRUBBED if is_secret_name(name) else value


def _beginning(text: str, room: int) -> str:
    """The longest beginning of `text` whose JSON takes at most `room` bytes."""
    if _size(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _size(text[:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low]
