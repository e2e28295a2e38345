"""Gives the work of an execution to a Conductor: three calls of its threads, over the HTTP door.

The Conductor's address is an operator's setting, so it may be private; nothing else may be reached
through this door. Every message carries the Idempotency-Key of its execution and attempt budget:
a Conductor answers a repeated key with the first message, so that a lost answer costs no second
run.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from pydantic import ValidationError

from agents_app.clients import conductor_errors, http
from agents_app.clients.conductor_errors import ConductorError, ConductorRefused
from agents_app.clients.conductor_shapes import Cancellation, Message, Thread
from agents_app.clients.outgoing import DEFAULT_PORTS
from agents_app.clients.patience import pause
from config.env import env
from errors_app import backoff
from errors_app.backoff import Jitter, Strategy
from errors_app.breakers import local
from errors_app.breakers.local import Breakers
from errors_app.breakers.refusal import BreakerOpen
from errors_app.taxonomy import RETRYABLE, ErrorClass, HandlerError

LEAST_SECONDS: Final = 0.05  # with less time left, a try says only that there was none
MOST_RETRIES: Final = 3
BASE_MS: Final = 500
CAP_MS: Final = 30_000
CANCEL_SECONDS: Final = 10.0
MOST_WAIT_SECONDS: Final = 60.0
# What is stored of a result is cut by the ledger, which marks it; half a JSON says nothing.
MOST_ANSWER_BYTES: Final = max(2 * 1024 * 1024, 4 * env.result_max_bytes)
_THREAD_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,199}")
_random: Final = random.SystemRandom()

Check = Callable[[], None]


class ConductorClient:
    """One Conductor; used by many threads. `timeout_ms` bounds a whole call with its retries."""

    def __init__(
        self, base_url: str, *, timeout_ms: int, door: http.Door, rng: random.Random = _random
    ) -> None:
        self._base = base_url.rstrip("/")
        self._timeout_ms = timeout_ms
        self._door = door
        self._rng = rng

    def execute_task(
        self,
        thread_id: str,
        message: Message,
        *,
        key: str,
        request_id: str = "",
        check: Check = lambda: None,
    ) -> Thread:
        """POST the message; answers the thread, which may still be running.

        Tried again up to MOST_RETRIES times where that may help. Raises ConductorError.
        `request_id`: what X-Request-ID says; unless given, the id of the execution.
        """
        return self._call(
            "POST",
            self._path(thread_id, "messages"),
            body=message.model_dump(mode="json", by_alias=True),
            headers={
                "Idempotency-Key": key,
                "X-Request-ID": request_id or str(message.execution_id),
            },
            check=check,
            seconds=min(message.timeout_ms, self._timeout_ms) / 1000,
        )

    def get_thread_status(
        self,
        thread_id: str,
        *,
        request_id: str = "",
        seconds: float | None = None,
        check: Check = lambda: None,
    ) -> Thread:
        """GET the thread; retries and errors as `execute_task`. No `request_id`: none is said."""
        return self._call(
            "GET",
            self._path(thread_id),
            headers={"X-Request-ID": request_id} if request_id else {},
            check=check,
            seconds=self._timeout_ms / 1000 if seconds is None else seconds,
        )

    def cancel_thread(
        self,
        thread_id: str,
        *,
        execution_id: UUID,
        reason: str = "",
        request_id: str = "",
        seconds: float = CANCEL_SECONDS,
    ) -> Thread | None:
        """POST the cancellation; None if there is nothing to cancel (404, 409, 410).

        Retries, errors and `request_id` as `execute_task`.
        """
        body = Cancellation(execution_id=execution_id, reason=reason)
        try:
            return self._call(
                "POST",
                self._path(thread_id, "cancel"),
                body=body.model_dump(mode="json", by_alias=True),
                headers={
                    "Idempotency-Key": f"{execution_id}:cancel",
                    "X-Request-ID": request_id or str(execution_id),
                },
                seconds=seconds,
            )
        except ConductorRefused as error:
            if error.context.get("status") in {404, 409, 410}:
                return None
            raise

    def _path(self, thread_id: str, *more: str) -> str:
        if not _THREAD_ID.fullmatch(thread_id):
            raise ConductorRefused(
                f"{thread_id!r} is no id of a thread: letters, digits, - . _ ~ up to 200",
                error_class=ErrorClass.PERMANENT,
                may_repeat=True,
            )
        return "/".join((self._base, "api", "threads", quote(thread_id, safe=""), *more))

    def _call(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str],
        body: object = None,
        check: Check = lambda: None,
    ) -> Thread:
        request = http.Request(
            method=method,
            url=url,
            headers={"Accept": "application/json", **headers},
            json=json.loads(json.dumps(body)) if body is not None else None,
            max_redirects=0,
        )
        ends = time.monotonic() + seconds
        for attempt in range(1, MOST_RETRIES + 2):
            try:
                return self._once(request, ends=ends, check=check)
            except ConductorError as error:
                wait = self._wait(error, attempt=attempt)
                if wait is None or time.monotonic() + wait + LEAST_SECONDS >= ends:
                    error.context["attempts"] = attempt
                    raise
            pause(wait, check)
        raise AssertionError("the last try is not waited for")

    def _wait(self, error: ConductorError, *, attempt: int) -> float | None:
        """Seconds until the next try; None after the last, or where none may help."""
        if attempt > MOST_RETRIES or error.error_class not in RETRYABLE:
            return None
        if isinstance(error.__cause__, BreakerOpen) or (error.retry_after or 0) > MOST_WAIT_SECONDS:
            return None
        wait = backoff.delay(
            attempt,
            strategy=Strategy.EXPONENTIAL,
            base_ms=BASE_MS,
            cap_ms=CAP_MS,
            jitter=Jitter.FULL,
            rng=self._rng,
        ).total_seconds()
        return max(wait, error.retry_after or 0.0)

    def _once(self, request: http.Request, *, ends: float, check: Check) -> Thread:
        try:
            response = self._door.fetch(
                request,
                timeout=max(0.0, ends - time.monotonic()),
                check=check,
                max_bytes=MOST_ANSWER_BYTES,
            )
        except HandlerError as error:
            raise conductor_errors.unreached(error) from error
        if not 200 <= response.status < 300:
            raise conductor_errors.refused(request, response)
        if response.truncated:
            raise conductor_errors.too_large(MOST_ANSWER_BYTES)
        try:
            return Thread.model_validate(response.body)
        except ValidationError as error:
            raise conductor_errors.unread(error) from None


def door_to(base_url: str, breakers: Breakers | None = None) -> http.Door:
    """A door that may reach this address although it is private, and else what all may."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    entry = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return http.Door([*env.outbound_allow, entry], breakers)


@lru_cache(maxsize=1)
def _client_of_process(pid: int) -> ConductorClient:
    del pid
    return ConductorClient(
        env.conductor_base_url,
        timeout_ms=env.conductor_timeout,
        door=door_to(env.conductor_base_url, local.of_this_process()),
    )


def client() -> ConductorClient:
    """The client of this process; a forked child opens its own."""
    return _client_of_process(os.getpid())
