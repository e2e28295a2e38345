"""How a provider is asked for an answer that an execution can use: JSON, streamed, measured.

Providers differ in what they take. One that complains of a part of the form is asked again at once
without that part. How it takes JSON is remembered in its row for a day, the rest by this process.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from agents_app.clients.llm_question import USUAL_ANSWER_TOKENS, Message, Question
from agents_app.models import Provider
from agents_app.models_objects import ModelMode

SERVES: Final = timedelta(days=1)
MOST_KNOWN: Final = 1_000
NEXT_MODE: Final[Mapping[str, ModelMode]] = {
    ModelMode.JSON_SCHEMA: ModelMode.JSON_OBJECT,
    ModelMode.JSON_OBJECT: ModelMode.TEXT,
}
REFUSALS: Final = frozenset({400, 404, 405, 415, 422, 501})
FORMAT: Final = "response_format"
LONG_ANSWER: Final = "long answer"
_COMPLAINTS: Final = (
    ("stream_options", re.compile(r"stream_options|include_usage", re.IGNORECASE)),
    ("stream", re.compile(r"\bstream(?:ing|ed)?\b", re.IGNORECASE)),
    ("max_tokens", re.compile(r"\bmax_tokens\b|max_completion_tokens", re.IGNORECASE)),
    ("temperature", re.compile(r"\btemperature\b", re.IGNORECASE)),
    (
        FORMAT,
        re.compile(
            r"response_format|json_schema|json_object|json mode|structured output|\bschema\b"
            r"|\bgrammar\b|guided",
            re.IGNORECASE,
        ),
    ),
)
_IS_ANSWER: Final = re.compile(
    r"max_(?:completion_)?tokens\b.*(?:too large|at most|less than|maximum)|in the completion",
    re.IGNORECASE | re.DOTALL,
)
_IS_CONTEXT: Final = re.compile(r"context (?:length|window)|too (?:long|large|many)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """What a request asks for beside its messages; `without`: parameters that were refused."""

    mode: ModelMode
    without: frozenset[str] = frozenset()

    @property
    def is_streamed(self) -> bool:
        return "stream" not in self.without

    def body(self, question: Question) -> dict[str, Any]:
        """The request's JSON."""
        body: dict[str, Any] = {
            "model": question.model,
            "messages": [one.as_json() for one in self.messages(question)],
        }
        most = "max_completion_tokens" if "max_tokens" in self.without else "max_tokens"
        body[most] = question.max_tokens
        if LONG_ANSWER in self.without:
            body[most] = min(question.max_tokens, USUAL_ANSWER_TOKENS)
        if "temperature" not in self.without:
            body["temperature"] = question.temperature
        if self.is_streamed:
            body["stream"] = True
            if "stream_options" not in self.without:
                body["stream_options"] = {"include_usage": True}
        return body | _response_format(question, self.mode)

    def messages(self, question: Question) -> tuple[Message, ...]:
        """Those of the question; the form in words where the provider does not enforce it."""
        messages = question.messages
        is_json = question.schema is not None or question.wants_json
        if not is_json or self.mode is ModelMode.JSON_SCHEMA:
            return messages
        words = "Answer with one JSON object and nothing else."
        if question.schema:
            words += f" It fits this JSON Schema:\n{json.dumps(question.schema, sort_keys=True)}"
        if messages and messages[0].role == "system":
            return (Message("system", f"{messages[0].content}\n\n{words}"), *messages[1:])
        return (Message("system", words), *messages)

    def after(self, refused: str) -> Form | None:
        """The form to ask in next, without what was refused; None if there is nothing to drop."""
        if refused == FORMAT:
            following = NEXT_MODE.get(self.mode)
            return None if following is None else replace(self, mode=following)
        if refused in self.without:
            return None
        return replace(self, without=self.without | {refused})


def _response_format(question: Question, mode: ModelMode) -> dict[str, Any]:
    match mode:
        case ModelMode.JSON_SCHEMA:
            name = question.schema_name or "answer"
            schema = {"name": name, "schema": question.schema, "strict": True}
            return {FORMAT: {"type": "json_schema", "json_schema": schema}}
        case ModelMode.JSON_OBJECT:
            return {FORMAT: {"type": "json_object"}}
    return {}


def refused_part(status: int, message: str, *, parameter: str) -> str:
    """The part of the form of which an error answer complains; empty if of none."""
    if status in REFUSALS and _IS_ANSWER.search(message):
        return LONG_ANSWER
    if status not in REFUSALS or _IS_CONTEXT.search(message):
        return ""
    for text in (parameter, message):
        for part, complaint in _COMPLAINTS:
            if complaint.search(text):
                return part
    return ""


class Manners:
    """What the models met by this process refuse; forgotten after a day. Used by many threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[float, frozenset[str]]] = {}

    def of(self, base_url: str, model: str) -> frozenset[str]:
        learned_at, without = self._known.get((base_url, model), (0.0, frozenset()))
        serves = time.monotonic() - learned_at < SERVES.total_seconds()
        return without if serves else frozenset()

    def learn(self, base_url: str, model: str, without: frozenset[str]) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        if without:
            self._known[base_url, model] = (time.monotonic(), without)

    def forget(self) -> None:
        self._known.clear()


manners: Final = Manners()


def first_form(question: Question, *, base_url: str, now: datetime) -> Form:
    """The form to begin with: the strictest, unless the provider showed lately what it takes."""
    without = manners.of(base_url, question.model)
    if question.schema is None and not question.wants_json:
        return Form(ModelMode.TEXT, without)
    mode = known_mode(question.provider, now=now) or ModelMode.JSON_SCHEMA
    if mode is ModelMode.JSON_SCHEMA and question.schema is None:
        mode = ModelMode.JSON_OBJECT
    return Form(mode, without)


def known_mode(provider: Provider, *, now: datetime) -> ModelMode | None:
    """How it took JSON within the last day; None if nobody has asked."""
    if not provider.mode or provider.probed_at is None or now - provider.probed_at >= SERVES:
        return None
    return ModelMode(provider.mode)


def remember(question: Question, form: Form, *, base_url: str, now: datetime) -> None:
    """Note what form was answered, where that is news.

    How long an answer may be depends on the prompt: the next one may have room for more.
    """
    manners.learn(base_url, question.model, form.without - {LONG_ANSWER})
    # Only a question with a schema tries the forms from the strictest on.
    if question.schema is None or known_mode(question.provider, now=now) is form.mode:
        return
    provider = question.provider
    provider.mode, provider.probed_at = form.mode.value, now
    Provider.objects.filter(pk=provider.pk).update(mode=provider.mode, probed_at=now)
