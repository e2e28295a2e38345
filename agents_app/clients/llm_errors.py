"""Why a model gave an execution no answer, and whether asking again may help."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from errors_app.taxonomy import ErrorClass, HandlerError


class ModelError(HandlerError):
    """A model gave no usable answer.

    `call_id` is the row of the last call that was made for it, `spent_tokens` and `spent_usd` what
    all of its calls used; `malformed_class` is set when there was an answer with nothing in it.
    """

    def __init__(
        self,
        message: str,
        *,
        error_class: ErrorClass,
        retry_after: float | None = None,
        malformed_class: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(message, error_class=error_class, retry_after=retry_after)
        if status is not None:
            self.context["status"] = status
        self.malformed_class = malformed_class
        self.call_id: UUID | None = None
        self.spent_tokens = 0
        self.spent_usd = Decimal(0)


class ModelNotConfigured(ModelError):
    """No call was made and no token used: a key, an address or the name of a model is missing."""

    code = "blocked_config"

    def __init__(self, message: str) -> None:
        super().__init__(message, error_class=ErrorClass.PERMANENT)
