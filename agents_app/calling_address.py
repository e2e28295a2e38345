"""Where a step's call of an endpoint goes: its URL with the parameters in, and nothing else of it.

Parameters are written by a model. Whatever they hold, the call goes to the scheme, host, port and
depth of path that a person has registered, and the query that this person wrote stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from agents_app.clients.outgoing import checked_url, shown, target
from errors_app.breakers.local import bounded
from errors_app.taxonomy import ErrorClass, HandlerError

MOST_URL: Final = 8_192
MOST_VALUE: Final = 1_000
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
# What some servers take for the end of a segment even where it is encoded, and what ends a line.
_STEERS: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_STANDS_FOR_ANY: Final = "x"


def checked(url: str) -> str:
    """The URL as given; raises ValueError unless an endpoint may be registered with it.

    `{name}` may stand in its path, for a parameter of that name.
    """
    parts = urlsplit(checked_url(url))
    if len(url) > MOST_URL:
        raise ValueError(f"The URL is longer than {MOST_URL} characters")
    if "@" in parts.netloc:
        raise ValueError("The URL must not hold a user or password; make them a credential")
    if parts.fragment:
        raise ValueError("The URL must not have a fragment (#...): it is never sent")
    plain = parts.netloc + _PLACEHOLDER.sub("", parts.path) + parts.query
    if "{" in plain or "}" in plain:
        raise ValueError("{name} may stand in the path of the URL only, and must name a parameter")
    target(example(url))
    return url


def names(url: str) -> tuple[str, ...]:
    """The parameters that the URL cannot do without, in their order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(urlsplit(url).path)))


def breaker_key(url: str) -> str:
    """The key of the breaker of a registered endpoint: its origin and path, parameters unfilled.

    All who have registered the same address share one, whoever they are.
    """
    return bounded(f"{target(example(url)).origin_url}{urlsplit(url).path}")


def example(url: str) -> str:
    """The URL with something in place of its parameters; where it leads is where all calls go."""
    return _PLACEHOLDER.sub(_STANDS_FOR_ANY, url)


def filled(url: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL with the parameters in its path, encoded, and the parameters that are left.

    Raises HandlerError (permanent) for a parameter that is missing or would lead elsewhere.
    """
    parts = urlsplit(url)
    used = names(url)
    segments = [_segment(one, parameters) for one in parts.path.split("/")]
    left = {name: value for name, value in parameters.items() if name not in used}
    return parts._replace(path="/".join(segments)).geturl() if used else url, left


def _segment(pattern: str, parameters: Mapping[str, Any]) -> str:
    filled_in = _PLACEHOLDER.sub(lambda found: _encoded(found[1], parameters), pattern)
    if filled_in in {".", ".."} and filled_in != pattern:
        raise _unfit(f"{pattern!r} would become {filled_in!r}")
    return filled_in


def _encoded(name: str, parameters: Mapping[str, Any]) -> str:
    value = parameters.get(name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float) or value == "":
        raise _unfit(f"{name!r} must be a text or a number")
    text = str(value)
    if len(text) > MOST_VALUE or _STEERS.search(text):
        raise _unfit(f"{name!r} is too long or has a slash, backslash or control character")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise _unfit(f"{name!r} is no valid text") from None


def check_query(url: str, names: Mapping[str, Any]) -> None:
    """Raise HandlerError (permanent) if a parameter has the name of one that the URL itself sets.

    Of two values of one name servers take the first or the last, so it would replace the other.
    """
    given = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    fixed = {name.casefold() for name, _ in given}
    taken = sorted(name for name in names if name.casefold() in fixed)
    if taken:
        raise _unfit(f"{taken[0]!r} is set by the URL {shown(url)} itself")


def _unfit(reason: str) -> HandlerError:
    return HandlerError(
        f"The endpoint cannot be called with these parameters: {reason}",
        error_class=ErrorClass.PERMANENT,
        may_repeat=True,
    )
