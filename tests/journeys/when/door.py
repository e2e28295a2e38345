"""How a person or a program says when to run, over REST, and is told what came of it.

`disagreements` compares what is told, by REST and on the terminal, with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import requests
from django.contrib.auth import get_user_model
from django.utils import timezone

from executions_app import tokens
from executions_app.models import Execution
from scheduler_app.models import FireRecord
from tests import terminal
from tests.journeys import scenario

SHOWN = ("nominal_at", "nominal_until", "count", "reason", "cause", "execution_id", "lateness_ms")


@dataclass
class Door:
    """A caller with a token of an administrator."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    @classmethod
    def of(cls, url: str) -> Door:
        user = get_user_model().objects.get(pk=scenario.owner_id())
        door = cls(url)
        _, plain = tokens.create(user, name="journeys", now=timezone.now())
        door.session.headers["Authorization"] = f"Bearer {plain}"
        return door

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = path if path.startswith("http") else f"{self.url}/api/{path}"
        return self.session.request(method, url, json=body, headers=named, timeout=60)

    def get(self, path: str) -> Any:
        return _good(self.ask("GET", path)).json()

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return _good(self.ask("POST", path, body or {}, **headers)).json()

    def patch(self, path: str, body: Any) -> Any:
        return _good(self.ask("PATCH", path, body)).json()

    def delete(self, path: str) -> None:
        _good(self.ask("DELETE", path))

    def create(self, name: str, act: dict[str, Any] | None = None, **words: Any) -> dict[str, Any]:
        """A new schedule; manual unless `words` say what starts it."""
        by = {"schedule_type", "trigger_type"}.isdisjoint(words)
        when = {"trigger_type": "manual"} if by else {}
        usual = {"task_type": "act", "retry_policy": {"max_retries": 0}}
        made: dict[str, Any] = self.post(
            "scheduler/schedules",
            {"name": name, "task_config": act or {}, **usual, **when, **words},
        )
        return made

    def trigger(self, schedule: dict[str, Any], **body: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.post(f"scheduler/schedules/{schedule['id']}/trigger", body)
        return made

    def execution(self, triggered: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"execution/executions/{triggered['execution_id']}")
        return found

    def fires(self, schedule_id: str) -> Iterator[dict[str, Any]]:
        """All fires of a schedule, the latest first, page by page."""
        link = f"scheduler/schedules/{schedule_id}/fires?page_size=50"
        while link:
            page = self.get(link)
            yield from page["results"]
            link = page["next"]

    def disagreements(self, schedule_id: str) -> list[str]:
        """Where REST and `schedule why` tell another story of its fires than the rows."""
        rows = {row.id: row for row in fires(schedule_id)}
        shown = {UUID(one["id"]): one for one in self.fires(schedule_id)}
        found = [f"only one of both has {id_}" for id_ in rows.keys() ^ shown.keys()]
        for id_ in rows.keys() & shown.keys():
            told = {name: _read(shown[id_][name]) for name in SHOWN}
            stored = {name: getattr(rows[id_], name) for name in SHOWN}
            if told != stored:
                found.append(f"{told} is told of {stored}")
        for row in _first_and_last_of_each_reason(list(rows.values())):
            found += _contradictions(schedule_id, row)
        return found


def fires(schedule_id: Any) -> list[FireRecord]:
    return list(FireRecord.objects.filter(schedule_id=schedule_id).order_by("nominal_at", "id"))


def executions(schedule_id: Any) -> list[Execution]:
    return list(Execution.objects.filter(schedule_id=schedule_id).order_by("nominal_at", "id"))


def _good(answer: requests.Response) -> requests.Response:
    assert answer.ok, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    return answer


def _read(value: Any) -> Any:
    """A value of JSON as the row has it."""
    if not isinstance(value, str):
        return value
    for kind in (UUID, datetime.fromisoformat):
        try:
            read = kind(value)
        except ValueError:
            continue
        return read.astimezone(UTC) if isinstance(read, datetime) else read
    return value


def _first_and_last_of_each_reason(rows: list[FireRecord]) -> Iterator[FireRecord]:
    for reason in {row.reason for row in rows}:
        those = sorted(
            (row for row in rows if row.reason == reason), key=lambda one: one.nominal_at
        )
        yield from {one.id: one for one in (those[0], those[-1])}.values()


def _contradictions(schedule_id: str, row: FireRecord) -> Iterator[str]:
    """What the terminal's answer about one fire says against its row."""
    asked = ("schedule", "why", str(schedule_id), "--at", row.nominal_at.isoformat(), "--json")
    answered = terminal.run(*asked)
    if answered.exit_code:
        yield f"{asked} ended with {answered.exit_code}: {answered.stderr}"
        return
    why = answered.document
    named = [] if row.execution_id is None else [row.execution_id]
    execution = Execution.objects.filter(id__in=named).first()
    if (why["code"], (why["fire"] or {}).get("id")) != (row.reason, str(row.id)):
        yield f"{row.reason} at {row.nominal_at} is explained by {why}"
    if execution is not None and f"#{execution.number}" not in why["sentence"]:
        yield f"{why['sentence']!r} does not name execution #{execution.number}"
