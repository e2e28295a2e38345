"""Fills the parameters of an execution into the prompt of its `llm` schedule.

Jinja's sandbox without what could take forever or outgrow the memory: values, conditions and a few
filters are all that a prompt may use. What it names must be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from errors_app.taxonomy import ErrorClass, HandlerError

MOST_CHARACTERS: Final = 400_000
ALLOWED: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr),
    *(nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const, nodes.Filter, nodes.Compare),
    *(nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test),
)


class InvalidPrompt(ValueError):
    """The prompt cannot be read, or uses what it may not."""


def _joined(values: Any, separator: str = ", ") -> str:
    listed = values if isinstance(values, list) else [values]
    if len(listed) * len(separator) > MOST_CHARACTERS:
        raise TemplateError("join: the text would be too long")
    return separator.join(one if isinstance(one, str) else json.dumps(one) for one in listed)


def _default(value: Any, instead: Any = "") -> Any:
    return instead if isinstance(value, StrictUndefined) else value


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "default": _default,
    "join": _joined,
    "length": len,
    "lower": lambda value: str(value).lower(),
    "tojson": lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True),
    "trim": lambda value: str(value).strip(),
    "upper": lambda value: str(value).upper(),
}
TESTS: Final = ("defined", "none")


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    made.globals.clear()
    made.filters = dict(FILTERS)
    made.tests = {name: made.tests[name] for name in TESTS}
    return made


ENVIRONMENT: Final = _environment()


def checked(text: str) -> str:
    """The prompt as given; raises InvalidPrompt."""
    _read(text)
    return text


def filled(text: str, parameters: Mapping[str, Any]) -> str:
    """The prompt with its values; raises HandlerError if one is missing or it grows too long."""
    try:
        said = _read(text).render(**{str(name): value for name, value in parameters.items()})
    except (TemplateError, TypeError, ValueError) as error:
        raise HandlerError(
            f"The prompt cannot be filled in: {error}; give the parameter, or a default",
            error_class=ErrorClass.PERMANENT,
        ) from None
    if len(said) > MOST_CHARACTERS:
        raise HandlerError(
            f"The prompt has {len(said)} characters with its values, more than {MOST_CHARACTERS}",
            error_class=ErrorClass.PERMANENT,
        )
    return said


def _is_inner(node: nodes.Node) -> bool:
    """What begins with an underscore is Python's, not the parameters'; the sandbox says so, too."""
    return isinstance(node, nodes.Getattr) and node.attr.startswith("_")


@lru_cache(maxsize=256)
def _read(text: str) -> Template:
    try:
        tree = ENVIRONMENT.parse(text)
        for node in tree.find_all(nodes.Node):
            if not isinstance(node, ALLOWED) or _is_inner(node):
                raise InvalidPrompt(
                    f"line {node.lineno}: {type(node).__name__.lower()} has no place in a prompt; "
                    "values, conditions and filters do"
                )
        return ENVIRONMENT.from_string(tree)
    except TemplateError as error:
        raise InvalidPrompt(f"The template cannot be read: {error}") from None
