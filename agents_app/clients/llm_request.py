"""One request to a model, for an execution that waits: sent, listened to, and told whatever came.

What a provider sends is anybody's: it is read as plain JSON, each part is looked at before it is
used, and nothing that is wrong with it raises anything but a ModelError.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import httpx2

from agents_app.clients.llm_access import Access
from agents_app.clients.llm_errors import ModelError
from agents_app.clients.llm_form import Form, refused_part
from agents_app.clients.llm_question import Question
from agents_app.clients.llm_transport import ModelPatience, Transport
from agents_app.clients.statuses import retry_after
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.scrub import scrub

if TYPE_CHECKING:
    from openai import APIStatusError, Stream

WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
MOST_TOKENS: Final = 10_000_000
MOST_SHOWN: Final = 500


@dataclass(slots=True)
class Heard:
    """What came back of one request; `error` is None if it was an answer, perhaps an empty one.

    `was_sent`: the provider may have worked on it; not if it `was_rejected` with an error status.
    `refused`: the part of the form it complained
    of. `is_usable`: there was an answer of the protocol's form.
    """

    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_ms: int = 0
    first_token_ms: int | None = None
    error: Exception | None = None
    was_sent: bool = False
    refused: str = ""
    was_rejected: bool = False
    is_usable: bool = False
    declined: str = ""


@cache
def _library() -> Any:
    """Loaded with the first question: it takes half a second and 20 MB of each process."""
    return import_module("openai")


def send(question: Question, form: Form, *, access: Access) -> Heard:
    """Send it once and listen until it is said, the time is over, or `check` raises."""
    _library()  # no time of the question's
    began = time.monotonic()
    ends_at = min(question.deadline, began + env.llm_timeout_seconds)
    begins_by = began + env.llm_first_token_seconds if form.is_streamed else None
    call = ModelPatience(ends_at=ends_at, begins_by=begins_by, check=question.check)
    listener = _Listener(call, began=began)
    transport = Transport(call, headers={**access.headers, **question.headers})
    heard = listener.heard
    try:
        call.seconds()
        _exchange(question, form, access=access, transport=transport, listener=listener)
    except Exception as error:  # noqa: BLE001  the library and hostile answers may raise anything
        heard.error = call.stopped_by or _typed(error, heard, access=access, question=question)
    finally:
        heard.text = listener.text
        heard.was_sent = call.has_sent and not heard.was_rejected
        heard.latency_ms = round((time.monotonic() - began) * 1000)
    return heard


def _exchange(
    question: Question, form: Form, *, access: Access, transport: Transport, listener: _Listener
) -> None:
    library = _library()
    with (
        httpx2.Client(transport=transport, trust_env=False, follow_redirects=False) as http,
        # What it takes from the environment goes no further: the transport sends its own headers.
        library.OpenAI(
            api_key="-", base_url=access.base_url, max_retries=0, http_client=http
        ) as client,
    ):
        stream: Stream[Any] = client.post(
            "/chat/completions",
            body=form.body(question),
            cast_to=object,
            stream=True,
            stream_cls=library.Stream[Any],
        )
        with stream:
            _listen(stream, listener, transport)
    if not listener.heard.is_usable:
        raise _no_answer()


def _listen(stream: Stream[Any], listener: _Listener, transport: Transport) -> None:
    if "event-stream" not in stream.response.headers.get("content-type", "").lower():
        stream.response.read()
        listener.whole(stream.response.json())
        return
    for event in stream:
        listener.event(event)
    if not (listener.heard.finish_reason or (transport.body and transport.body.is_whole)):
        raise _broken_off()


class _Listener:
    """Puts an answer together from its events."""

    def __init__(self, call: ModelPatience, *, began: float) -> None:
        self.heard = Heard()
        self._call = call
        self._began = began
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def event(self, event: object) -> None:
        """One event of a stream."""
        if isinstance(event, Mapping):
            self._usage(event.get("usage"))
            self._choice(event.get("choices"), said="delta")

    def whole(self, document: object) -> None:
        """An answer that comes at once."""
        if isinstance(document, Mapping):
            self._usage(document.get("usage"))
            self._choice(document.get("choices"), said="message")

    def _choice(self, choices: object, *, said: str) -> None:
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, Mapping):
            return
        message = first.get(said)
        if isinstance(message, Mapping):
            self.heard.is_usable = True
            self._words(message)
        if isinstance(reason := first.get("finish_reason"), str):
            self.heard.finish_reason = reason[:100]

    def _words(self, message: Mapping[Any, Any]) -> None:
        content, refusal = message.get("content"), message.get("refusal")
        thought = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(refusal, str):
            self.heard.declined = (self.heard.declined + refusal)[:MOST_SHOWN]
        if isinstance(content, str):
            self._parts.append(content)
        if self.heard.first_token_ms is None and (content or refusal or thought):
            self._call.has_begun()
            self.heard.first_token_ms = round((time.monotonic() - self._began) * 1000)

    def _usage(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            self.heard.prompt_tokens = _count(usage.get("prompt_tokens"))
            self.heard.completion_tokens = _count(usage.get("completion_tokens"))


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MOST_TOKENS else None


def _typed(error: Exception, heard: Heard, *, access: Access, question: Question) -> Exception:
    """The failure in our own words, without the key; what `check` raised is no business of ours."""
    name = question.provider.name
    match error:
        case ModelError():
            return error
        case HandlerError():  # of the connection
            return ModelError(
                access.without_secrets(f"Provider {name!r}: {error}"),
                error_class=error.error_class,
                retry_after=error.retry_after,
            )
        case _ if isinstance(error, _library().APIStatusError):
            return _refusal(error, heard, access=access, name=name)
        case _ if isinstance(error, _library().APIError):  # in the middle of a stream
            said = _shown(error.message, access)
            return ModelError(
                f"Provider {name!r} broke off: {said}", error_class=ErrorClass.TRANSIENT
            )
    return ModelError(
        f"Provider {name!r} answered with what is no chat completion ({type(error).__name__})",
        error_class=ErrorClass.MALFORMED,
    )


def _refusal(error: APIStatusError, heard: Heard, *, access: Access, name: str) -> ModelError:
    heard.was_rejected = True
    status, said = error.status_code, _shown(error.message, access)
    heard.refused = refused_part(status, error.message, parameter=str(error.param or ""))
    wait = retry_after(error.response.headers.get("retry-after", ""), now=datetime.now(UTC))
    # More money, not more patience, is what such a provider asks for.
    is_unpaid = error.code == "insufficient_quota"
    may_help = (status in WORTH_ANOTHER_TRY or status >= 500) and not is_unpaid
    if 300 <= status < 400:
        said = "it redirects, which is not followed; set its final address"
    return ModelError(
        f"Provider {name!r} answered {status}: {said}",
        error_class=ErrorClass.TRANSIENT if may_help else ErrorClass.PERMANENT,
        retry_after=wait,
        status=status,
    )


def _shown(message: str, access: Access) -> str:
    return scrub(access.without_secrets(str(message)))[:MOST_SHOWN]


def _broken_off() -> ModelError:
    return ModelError(
        "The answer ended before it was complete: the connection was closed",
        error_class=ErrorClass.TRANSIENT,
    )


def _no_answer() -> ModelError:
    return ModelError(
        "The provider answered with what is no chat completion: it holds no message",
        error_class=ErrorClass.MALFORMED,
    )
