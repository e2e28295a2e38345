"""`manage.py scheduler`: whether the whole dispatches; start, stop, one round by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from agents_app import cycle_times
from agents_app.cycle_times import Times
from config.env import env
from executions_app import clock
from executions_app.api.filters import held
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    actor,
    add_acting_user,
    add_common_options,
    facts,
)
from executions_app.models import Execution, SystemState
from executions_app.states import ACTIVE
from executions_app.wording import duration, moment
from scheduler_app import consequences, dispatcher, holds, system
from scheduler_app.commands import ScheduleCommand
from scheduler_app.limiting import unique
from scheduler_app.models import Schedule


class Command(ScheduleCommand):
    help = "The state of the whole system; start and stop dispatch."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        for name, run, help_text in (
            ("status", self.status, "idle, running, paused or error, and since when"),
            ("start", self.start, "resume dispatch; missed fires follow their catch-up policy"),
            ("stop", self.stop, "nothing new is queued until start; running work goes on"),
            ("tick", self.tick, "one dispatch round now, beside those of the beats"),
        ):
            add_acting_user(verbs.add(name, run, help_text=help_text))

    def status(self, _options: Options) -> Answer:
        return self._answer(system.read())

    def start(self, options: Options) -> Answer:
        return self._answer(system.start(actor(options)))

    def stop(self, options: Options) -> Answer:
        return self._answer(system.stop(actor(options)))

    def tick(self, _options: Options) -> Answer:
        if not system.read().scheduler_running:
            todo = "Start it with `manage.py scheduler start`"
            raise CommandProblem("The scheduler is stopped", todo, Exit.REFUSED)
        unique.release(limit=env.scheduler_batch_size)
        dispatcher.release_held(holds.Held())
        done = dispatcher.dispatch_due()
        drawn = consequences.draw()
        return Answer(
            {**asdict(done), "outcomes": drawn}, facts({**asdict(done), "outcomes": drawn})
        )

    def _answer(self, state: SystemState) -> Answer:
        now = clock.now()
        active = Execution.objects.filter(status__in=ACTIVE).order_by().values_list("status")
        document: dict[str, Any] = {
            "status": state.status,
            "scheduler_running": state.scheduler_running,
            "error_recovery_running": state.error_recovery_running,
            "scheduler_last_tick_at": state.scheduler_last_tick_at,
            "problem": state.problem,
            "schedules_enabled": Schedule.objects.filter(enabled=True).count(),
            "active_executions": active.count(),
            "held": held(Execution.objects.all(), "").count(),
        }
        last_tick = moment(state.scheduler_last_tick_at, now=now)
        times = cycle_times.ended_lately(now).times
        return Answer(
            {**document, "cycles": {name: asdict(one) for name, one in times.items()}},
            facts({**document, "scheduler_last_tick_at": last_tick, **_words(times)}),
        )


def _words(times: Mapping[str, Times]) -> dict[str, str]:
    """How long the cycles of the last hour took, a line per stage; none: no line."""
    return {
        f"last hour, {name}": f"count {one.count}, last {_length(one.last_ms)}, "
        f"mean {_length(one.mean_ms)}, total {_length(one.total_ms)}"
        for name, one in times.items()
    }


def _length(milliseconds: int) -> str:
    return duration(timedelta(milliseconds=milliseconds))
