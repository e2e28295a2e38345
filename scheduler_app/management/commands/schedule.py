"""`manage.py schedule`: create, look at, trigger, switch and delete schedules."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime

from executions_app import clock
from executions_app.audit import Actor
from executions_app.commands import (
    Answer,
    Options,
    Verbs,
    acting_user,
    actor,
    add_acting_user,
    add_common_options,
    facts,
    moment_of,
    one_line,
    row_count,
    table,
    user_named,
)
from executions_app.wording import moment
from scheduler_app import (
    by_hand,
    definition,
    many_schedules,
    next_run_source,
    permissions,
    policy_words,
    schedule_words,
    schedules,
    stats,
    webhook_verbs,
)
from scheduler_app.bulk import at_once
from scheduler_app.by_hand import Wanted
from scheduler_app.commands import ScheduleCommand, document, documents, schedule_named
from scheduler_app.foresight import verbs as foresight_verbs
from scheduler_app.models import Schedule
from scheduler_app.policies import OverlapPolicy


class Command(ScheduleCommand):
    help = "Create, look at, trigger, switch and delete schedules."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="schedules, the newest first")
        listing.add_argument("--owner", metavar="NAME", help="only those of this user")
        listing.add_argument("--limit", type=row_count, default=100)
        creating = verbs.add("create", self.create, help_text="store a new schedule")
        schedule_words.add_options(creating)
        creating.add_argument("--owner", metavar="NAME", help="default: who acts")
        add_acting_user(creating)
        for name, run, help_text in (
            ("show", self.show, "everything about one schedule"),
            ("trigger", self.trigger, "run it now, whatever its cadence"),
            ("pause", self.pause, "no fires until --until, or until it is resumed"),
            ("resume", self.resume, "end a pause"),
            ("enable", self.enable, "fire again from now on"),
            ("disable", self.disable, "no fires until it is enabled"),
            ("delete", self.delete, "remove it; its executions stay readable"),
        ):
            one = verbs.add(name, run, help_text=help_text)
            is_for_many = name in {"pause", "resume"}
            one.add_argument("schedule", metavar="NAME|ID", nargs="?" if is_for_many else None)
            if is_for_many:
                many_schedules.add_options(one)
            add_acting_user(one)
            if name == "trigger":
                _add_trigger_options(one)
            if name == "pause":
                _add_pause_options(one)
        foresight_verbs.add_to(verbs)
        webhook_verbs.add_to(verbs)

    def list_all(self, options: Options) -> Answer:
        chosen = Schedule.objects.order_by("-id")
        if options["owner"]:
            chosen = chosen.filter(owner=user_named(options["owner"]))
        found, now = list(chosen[: options["limit"]]), clock.now()
        rows = (
            (
                one.name,
                _state(one, now),
                policy_words.starts(one),
                one.task_type,
                moment(one.next_run_at, now=now),
            )
            for one in found
        )
        shown = table("NAME", "STATE", "WHEN", "TASK TYPE", "NEXT RUN", rows=rows)
        return Answer(documents(found), shown)

    def show(self, options: Options) -> Answer:
        schedule = self._named(options)
        answer = self._answer(schedule)
        return Answer({**answer.document, "stats": stats.of(schedule)}, answer.text)

    def create(self, options: Options) -> Answer:
        user = acting_user(options)
        owner = user_named(options["owner"]) if options["owner"] else user
        words = definition.parse(schedule_words.read(options))
        permissions.check_task_type(user, words.task_type)
        return self._answer(schedules.create(words, owner_id=owner.pk, actor=Actor.of(user)))

    def trigger(self, options: Options) -> Answer:
        parameters = schedule_words.json_object(options["parameters"] or "{}", field="parameters")
        overlap = OverlapPolicy(options["overlap"]) if options["overlap"] else None
        wanted = Wanted(parameters, overlap=overlap, unique_key=options["unique_key"])
        triggered = by_hand.trigger(self._named(options), wanted, actor=actor(options))
        answer = triggered.document()
        if answer["number"] is None:
            return Answer(answer, "The work was done already; its execution is not kept any more")
        found = "was there already and " if triggered.is_duplicate else ""
        return Answer(answer, f"Execution #{answer['number']} {found}is {answer['status']}")

    def pause(self, options: Options) -> Answer:
        until = moment_of(options["until"], field="until") if options["until"] else None
        chosen = many_schedules.chosen(options)
        if chosen is not None:
            self.confirm(f"Pausing {chosen.count()} schedules", options)
            user, reason = acting_user(options), options["reason"]
            return many_schedules.answer(
                at_once.pause(chosen, reason=reason, until=until, user=user), "paused"
            )
        schedule = self._named(options)
        return self._answer(
            schedules.pause(
                schedule.id, reason=options["reason"], until=until, actor=actor(options)
            )
        )

    def resume(self, options: Options) -> Answer:
        chosen = many_schedules.chosen(options)
        if chosen is not None:
            self.confirm(f"Resuming {chosen.count()} schedules", options)
            done = at_once.resume(chosen, user=acting_user(options))
            return many_schedules.answer(done, "resumed")
        return self._answer(schedules.resume(self._named(options).id, actor=actor(options)))

    def enable(self, options: Options) -> Answer:
        return self._answer(schedules.enable(self._named(options).id, actor=actor(options)))

    def disable(self, options: Options) -> Answer:
        return self._answer(schedules.disable(self._named(options).id, actor=actor(options)))

    def delete(self, options: Options) -> Answer:
        schedule = self._named(options)
        self.confirm(f"Deleting schedule {schedule.name!r}", options)
        schedules.delete(schedule.id, actor=actor(options))
        return Answer({"deleted": schedule.id}, f"Schedule {one_line(schedule.name)} is deleted")

    def _named(self, options: Options) -> Schedule:
        return schedule_named(options["schedule"], user=acting_user(options))

    def _answer(self, schedule: Schedule) -> Answer:
        now = clock.now()
        shown = {
            "id": schedule.id,
            "name": schedule.name,
            "owner": schedule.owner.get_username(),
            "state": _state(schedule, now),
            "when": policy_words.starts(schedule, policy_words.upstream_names(schedule)),
            "task": f"{schedule.task_type} {schedule.task_config}",
            "priority": schedule.priority,
            **dict(policy_words.bounds(schedule)),
            "next run": f"{moment(schedule.next_run_at, now=now)}{_source(schedule)}",
            "last run": moment(schedule.last_run_at, now=now),
            "runs": schedule_words.counted(stats.of(schedule)),
        }
        return Answer(document(schedule), facts(shown))


def _source(schedule: Schedule) -> str:
    decision_id = next_run_source.decisions([schedule]).get(schedule.id)
    return "" if decision_id is None else f", {next_run_source.words(schedule, decision_id)}"


def _state(schedule: Schedule, now: datetime) -> str:
    reason = f": {schedule.pause_reason}" if schedule.pause_reason else ""
    if not schedule.enabled:
        return f"disabled{reason}"
    if schedule.paused_until is not None and schedule.paused_until > now:
        return f"paused until {moment(schedule.paused_until, now=now)}{reason}"
    return "enabled"


def _add_trigger_options(parser: ArgumentParser) -> None:
    parser.add_argument("--parameters", metavar="JSON", help="an object for this run")
    parser.add_argument(
        "--overlap", choices=list(OverlapPolicy), help="instead of its overlap policy"
    )
    parser.add_argument("--unique-key", metavar="KEY", default="")


def _add_pause_options(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="")
    parser.add_argument("--until", metavar="ISO")
