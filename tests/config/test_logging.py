"""What a log line says of an error: its stack, and nothing of what the functions were given."""

from __future__ import annotations

import logging

import pytest
import structlog
from django.conf import settings

SECRET = ("hun", "ter2")  # no line of the source says it whole


def fails_with(password: str) -> None:
    raise ValueError(f"{len(password)} characters are too few")


def formatted(renderers: list[structlog.types.Processor]) -> str:
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        foreign_pre_chain=settings.SHARED_PROCESSORS,
    )
    try:
        fails_with("".join(SECRET))
    except ValueError as error:
        about = (type(error), error, error.__traceback__)
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it broke", (), about)
        return formatter.format(record)
    raise AssertionError


@pytest.mark.parametrize(
    "renderers",
    [
        settings.RENDERERS,
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
    ],
    ids=["for people", "for programs"],
)
def test_a_logged_stack_shows_no_values(renderers: list[structlog.types.Processor]) -> None:
    told = formatted(renderers)

    assert "fails_with" in told
    assert "7 characters are too few" in told
    assert "".join(SECRET) not in told
