"""Before any execution: brings the demo's schedules into the running system, as a person would."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth import get_user_model

from agents_app.models import Endpoint
from agents_app.objects import endpoints
from config.demo.schedules import DemoSchedule, demo_endpoints, demo_schedules, history_command
from config.env import CHECKOUT
from executions_app.audit import Actor
from executions_app.states import SchedulerException, Trigger
from scheduler_app import definition, schedules
from scheduler_app.definition import Definition
from scheduler_app.models import Schedule

A_PERSONS = ("enabled", "paused_until", "pause_reason")


class NotReady(SchedulerException):
    """There is nobody to own the demo's schedules yet."""


def load(*, url: str, now: datetime) -> list[str]:
    """Create the demo's schedules, or correct those that changed; answers the names of new ones.

    They and the endpoints of its AI belong to the first administrator. What a person has paused
    stays paused, a one-time schedule keeps its instant, and a new manual one is triggered once.
    Raises NotReady.
    """
    owner = get_user_model().objects.filter(is_superuser=True).order_by("pk").first()
    if owner is None:
        raise NotReady("There is no administrator yet; run `manage.py first_admin` first")
    actor = Actor.of(owner)
    _register(url, owner_id=owner.pk, actor=actor)
    stored = {one.name: one for one in Schedule.objects.filter(owner=owner)}
    new = []
    for demo in demo_schedules(url=url, now=now, history=history_command(CHECKOUT)):
        wanted = definition.parse(demo.definition)
        if demo.name in stored:
            schedules.update(stored[demo.name].id, _kept(wanted, stored[demo.name]), actor=actor)
        else:
            _create(demo, wanted, owner_id=owner.pk, actor=actor)
            new.append(demo.name)
    return new


def _register(url: str, *, owner_id: int, actor: Actor) -> None:
    """The endpoints that the AI's schedule names; one that moved is followed."""
    found = {one.name: one for one in Endpoint.objects.filter(owner_id=owner_id)}
    for words in demo_endpoints(url=url):
        known = found.get(words["name"])
        if known is None:
            endpoints.create(words, owner_id=owner_id, actor=actor)
        elif known.url != words["url"]:
            endpoints.change(known.id, {"url": words["url"]}, actor=actor)


def _create(demo: DemoSchedule, wanted: Definition, *, owner_id: int, actor: Actor) -> None:
    created = schedules.create(wanted, owner_id=owner_id, actor=actor)
    if demo.is_manual:
        schedules.trigger(created, source=Trigger.MANUAL, actor=actor)


def _kept(wanted: Definition, stored: Schedule) -> Definition:
    """The wanted definition, but for what is no longer the demo's to say."""
    kept = [*A_PERSONS, *(["schedule_config"] if stored.schedule_type == "one_time" else [])]
    return wanted.model_copy(update={name: getattr(stored, name) for name in kept})
