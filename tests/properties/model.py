"""The life of an execution in plain Python: what each verb must answer and leave behind.

Written from the design, not from the code: it knows no SQL, no `TRANSITIONS` and no clock. Every
verb answers True if it moves the execution, False if it must be refused and change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final
from uuid import UUID

RETRIED: Final = frozenset({"transient", "timeout", "lost"})
OUTCOMES: Final = {"timeout": "timeout", "lost": "lost"}
ENDED: Final = frozenset({"completed", "failed", "cancelled"})
UNSTARTED: Final = frozenset({"pending", "queued"})
LIVE: Final = frozenset({"running", "waiting"})
WAITS: Final = {"current_step": "waits for a person to approve its plan"}


@dataclass(slots=True)
class Model:
    """One execution; `told` are its events (type, attempt if the event names one)."""

    status: str
    budget: int
    retries: int
    is_due: bool
    attempt: int = 0
    outcome: str = ""
    token: UUID | None = None
    slice_size: int = 0
    renewals: int = 0
    is_expired: bool = False
    is_asked_to_stop: bool = False
    is_alone: bool = False
    is_sent: bool = False
    progress: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    errors: list[int] = field(default_factory=list)
    completions: int = 0
    stops: int = 0
    letters: list[str] = field(default_factory=list)
    undrawn: int = 0
    told: list[tuple[str, int | None]] = field(default_factory=list)
    path: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.status == "queued":
            self.is_sent = True
            self.tell("queued", named=False)

    def tell(self, what: str, *, named: bool = True) -> None:
        self.told.append((f"execution:{what}", self.attempt if named else None))

    def _go(self, status: str) -> None:
        self.path.append((self.status, status))
        self.status = status

    def is_held_by(self, token: UUID) -> bool:
        return self.status == "running" and self.token == token

    @property
    def is_claimable(self) -> bool:
        return self.status == "queued" and self.attempt < self.budget

    @property
    def tries(self) -> int:
        """I3: attempts = error records + completed + cancelled once begun + 1 if live."""
        return len(self.errors) + self.completions + self.stops + (self.status in LIVE)

    def may_be_queued(self, *, recovery_runs: bool) -> bool:
        return self.status == "pending" and self.is_due and (recovery_runs or self.attempt == 0)

    def queue(self) -> None:
        self._go("queued")
        self.is_sent = True
        self.tell("queued")

    def claim(self, token: UUID, *, slice_size: int) -> None:
        self._go("running")
        self.outcome, self.token, self.slice_size = "", token, slice_size
        self.attempt += 1
        self.renewals, self.is_expired = 0, False
        self.tell("started")

    def renew(self, token: UUID) -> bool:
        if not self.is_held_by(token):
            return False
        self.renewals, self.is_expired = self.renewals + 1, False
        return True

    def report(self, token: UUID, progress: dict[str, Any]) -> bool:
        if not self.is_held_by(token):
            return False
        self.progress = progress
        self.tell("progress", named=False)
        return True

    def complete(self, token: UUID, *, result: Any) -> bool:
        if not self.is_held_by(token):
            return False
        self.result = result
        self.completions += 1
        self._end("completed", "ok")
        return True

    def stop(self, token: UUID) -> bool:
        if not self.is_held_by(token):
            return False
        self.stops += 1
        self._end("cancelled", "cancelled")
        return True

    def hand_back(self, token: UUID) -> bool:
        if not self.is_held_by(token):
            return False
        self.attempt -= 1
        self._leave("queued", "")
        self.tell("handed_back")
        return True

    def ask(self, token: UUID) -> bool:
        if not self.is_held_by(token) or self.is_asked_to_stop:
            return False
        self._leave("waiting", "")
        self.progress = {**self.progress, **WAITS}
        self.tell("waiting")
        return True

    def approve(self) -> bool:
        if self.status != "waiting":
            return False
        self.attempt -= 1
        self._go("pending")
        self._waits_no_more()
        self.is_due = True
        self.tell("approved")
        return True

    def refuse(self) -> bool:
        if self.status != "waiting":
            return False
        self.errors.append(self.attempt)
        self._waits_no_more()
        self._end("failed", "rejected")
        return True

    def _waits_no_more(self) -> None:
        self.progress = {name: one for name, one in self.progress.items() if name not in WAITS}

    def fail(self, token: UUID, error_class: str) -> bool:
        if not self.is_held_by(token):
            return False
        if self.is_asked_to_stop:
            return self.stop(token)
        self.errors.append(self.attempt)
        outcome = OUTCOMES.get(error_class, "error")
        if error_class in RETRIED and self.attempt < self.budget:
            self._leave("pending", outcome)
            self.is_due = False
            self.tell("retry_scheduled")
        else:
            self.letters.append("")
            self._end("failed", outcome)
        return True

    def lose(self) -> bool:
        """The worker is gone: its lease expired, or a person ended it."""
        if self.status != "running" or self.token is None:
            return False
        if self.slice_size > 1 and not self.is_asked_to_stop:
            self.is_alone = True
            return self.hand_back(self.token)
        return self.fail(self.token, "lost")

    def cancel(self) -> bool:
        if self.status in UNSTARTED:
            self._end("cancelled", "cancelled", named=False)
        elif self.status == "waiting":
            self.stops += 1
            self._end("cancelled", "cancelled")
        elif self.status == "running":
            self.is_asked_to_stop = True
            self.tell("cancel_requested", named=False)
        else:
            return False
        return True

    def requeue(self) -> bool:
        if self.status != "failed" or "" not in self.letters:
            return False
        self.letters = ["requeued" if one == "" else one for one in self.letters]
        self._go("pending")
        self.outcome, self.result, self.is_due = "", None, True
        self.budget = self.attempt + self.retries + 1
        self.tell("requeued")
        return True

    def discard(self) -> bool:
        if "" not in self.letters:
            return False
        self.letters = ["discarded" if one == "" else one for one in self.letters]
        return True

    def _leave(self, status: str, outcome: str) -> None:
        self._go(status)
        self.outcome = outcome
        self.token, self.is_expired, self.is_sent = None, False, False

    def _end(self, status: str, outcome: str, *, named: bool = True) -> None:
        was_unstarted = self.status in UNSTARTED
        sent = self.is_sent
        self._leave(status, outcome)
        self.is_sent = sent if was_unstarted else False
        self.undrawn += 1
        self.tell(status, named=named)

    def facts(self) -> dict[str, Any]:
        """What must be stored, in the words of `rows.facts`."""
        hidden = {"retries", "is_due", "completions", "stops", "path"}
        facts = {
            one.name: getattr(self, one.name) for one in fields(self) if one.name not in hidden
        }
        return {**facts, "errors": sorted(self.errors), "letters": sorted(self.letters)}
