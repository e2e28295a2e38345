"""Why the last fires did or did not run, as a table on the schedule's page in the admin."""

from __future__ import annotations

from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions_app import clock
from executions_app.wording import iso
from scheduler_app.foresight import why
from scheduler_app.foresight.why_unrecorded import off
from scheduler_app.models import FireRecord, Schedule

SHOWN: Final = 5


def last_fires(schedule: Schedule) -> SafeString | str:
    """The latest fires with their sentences and what keeps it from more; with none, why not."""
    if schedule._state.adding:  # noqa: SLF001  the form of one that is not stored yet
        return "-"
    recorded = FireRecord.objects.filter(schedule_id=schedule.id)
    now = clock.now()
    fires = list(recorded.order_by("-nominal_at")[:SHOWN])
    if not fires:
        return why.explain(schedule, at=None, now=now).sentence
    answers = [why.of_record(schedule, one, now=now) for one in fires]
    rows = format_html_join(
        "",
        '<tr><td class="pr-4 align-top whitespace-nowrap">{}</td>'
        '<td class="pr-4 align-top whitespace-nowrap">{}</td><td>{}</td></tr>',
        ((iso(one.at), one.code, one.sentence) for one in answers),
    )
    held = off(schedule, now=now)
    return format_html(
        "<table>{}</table>{}", rows, "" if held is None else format_html("<p>{}</p>", held.sentence)
    )
