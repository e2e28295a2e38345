"""Why an execution's call brought no answer, in our own words, and whether another try may help."""

from __future__ import annotations

import http.client
import ssl

import urllib3.exceptions

from agents_app.clients.outgoing import Outgoing, shown
from errors_app.taxonomy import ErrorClass, HandlerError


def typed(error: BaseException, request: Outgoing) -> HandlerError:
    """The failure of a call: the words of the library hold object addresses and secrets."""
    causes = _causes(error)
    error_class, reason = ErrorClass.TRANSIENT, "the connection was lost"
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                error_class, reason = ErrorClass.PERMANENT, cause.verify_message
            case ssl.SSLError():
                reason = f"no TLS connection: {cause.reason}"
            case urllib3.exceptions.DecodeError():
                error_class, reason = ErrorClass.MALFORMED, "the body is not in its stated coding"
            case http.client.RemoteDisconnected() | http.client.IncompleteRead():
                reason = "the connection was closed before the answer was complete"
            case http.client.HTTPException() | urllib3.exceptions.InvalidHeader():
                error_class, reason = ErrorClass.MALFORMED, "the answer is no valid HTTP"
            case urllib3.exceptions.NewConnectionError():
                reason = "no connection: " + str(cause).rpartition(": ")[2]
            case urllib3.exceptions.ConnectTimeoutError() | urllib3.exceptions.ReadTimeoutError():
                reason = "no connection was made in time"
            case ConnectionResetError():
                reason = "the connection was reset"
            case _:
                continue
        break
    return HandlerError(
        f"{request.method} {shown(request.target.url)} failed: {reason}", error_class=error_class
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The errors from which this one was made, the innermost first."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(found) < 20:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
    return found[::-1]
