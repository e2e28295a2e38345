"""`manage.py replay_cycle`: what an AI decided, decided once more; of stored answers, or anew."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from rich.console import Group

from agents_app.budget import BudgetSpent
from agents_app.clients.llm import ModelError, ModelNotConfigured
from agents_app.models import Agent, Cycle, Provider
from agents_app.objects import defaults
from agents_app.replay import recorded
from agents_app.replay.recorded import NothingToReplay, Recorded
from agents_app.replay.telling import Section
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    Options,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    execution_named,
    one_line,
)
from scheduler_app import replayed, replayed_by_model
from scheduler_app.commands import ScheduleCommand

UNTOUCHED = "No endpoint was called, and nothing was changed."
SAME = "Today the same would be decided."
DIFFERENT = "Today it would be decided differently:"


class Command(ScheduleCommand):
    help = (
        "Decide once more what the AI of an execution decided, and show the difference. Without "
        "--model from the stored answers, at zero tokens; with --model that model is asked. No "
        "endpoint is called and no schedule is changed. Exit code 3: it would be decided otherwise."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        parser.set_defaults(run=self.replay)
        parser.add_argument(
            "id", metavar="ID", help="of a cycle or an execution, or the number of an execution"
        )
        parser.add_argument("--model", help="ask this model; its tokens count in the budgets")
        parser.add_argument("--provider", metavar="NAME", help="whose model (default: the agent's)")
        add_acting_user(parser)

    def replay(self, options: Options) -> Answer:
        cycle = _cycle_named(options["id"])
        if options["model"]:
            return self._by_model(cycle, options)
        if options["provider"]:
            raise CommandProblem(
                "--provider says whose model is asked, and none is named",
                "Name it with --model, or leave --provider out",
                Exit.USAGE,
            )
        try:
            found = replayed.of_cycle(cycle)
        except NothingToReplay as error:
            raise _nothing(error) from None
        differs = found.differences
        ending = [DIFFERENT, *(f"- {one}" for one in differs)] if differs else [SAME]
        head = f"{_head(found.offline.recorded)} No model was asked. {UNTOUCHED}"
        return Answer(
            found.document(),
            _text(head, found.sections, ending),
            Exit.DRIFT if differs else Exit.OK,
        )

    def _by_model(self, cycle: Cycle, options: Options) -> Answer:
        acting = actor(options)
        provider = _provider(cycle, options["provider"])
        try:
            found = replayed_by_model.ask(
                cycle, provider=provider, model=options["model"], actor=acting
            )
        except NothingToReplay as error:
            raise _nothing(error) from None
        except (ModelNotConfigured, BudgetSpent) as error:
            todo = "No call was made that this concerns; correct it and repeat"
            raise CommandProblem(str(error), todo, Exit.REFUSED) from None
        except ModelError as error:
            todo = "What was asked before counts in the budgets; `manage.py agents test` may help"
            raise CommandProblem(str(error), todo, Exit.FAILED) from None
        head = f"{_head(found.recorded)} {UNTOUCHED}"
        return Answer(found.document(), _text(head, found.sections, []), _exit_of(found))


def _exit_of(found: replayed_by_model.ByModel) -> Exit:
    if not found.anew.is_usable:
        return Exit.FAILED
    return Exit.DRIFT if found.differences else Exit.OK


def _cycle_named(reference: str) -> Cycle:
    as_id = as_uuid(reference)
    found = recorded.cycle_named(as_id or execution_named(reference).id)
    if found is None:
        todo = "`manage.py execution list` shows executions; those of AI schedules have a cycle"
        raise CommandProblem(f"There is no cycle of {reference!r}", todo, Exit.NOT_FOUND)
    return found


def _provider(cycle: Cycle, name: str | None) -> Provider:
    defaults.ensure()
    rows = Provider.objects.select_related("credential")
    if name is not None:
        found = rows.filter(name=name).first()
        if found is None:
            todo = "`GET /api/agents/providers` and the admin show what there is"
            raise CommandProblem(f"There is no provider {name!r}", todo, Exit.NOT_FOUND)
        return found
    agent = None
    if cycle.agent_id is not None:
        agent = (
            Agent.objects.select_related("provider__credential").filter(id=cycle.agent_id).first()
        )
    if agent is None:
        todo = "Name one with --provider"
        raise CommandProblem("The cycle had no agent, or it is gone", todo, Exit.USAGE)
    return agent.provider


def _nothing(error: NothingToReplay) -> CommandProblem:
    return CommandProblem(str(error), "Nothing was changed; choose another cycle", Exit.REFUSED)


def _head(known: Recorded) -> str:
    return one_line(f"Replay of the cycle of execution #{known.number} ({known.name}).")


def _text(head: str, sections: Sequence[Section], ending: Sequence[str]) -> Group:
    lines = [head]
    for number, section in enumerate(sections, start=1):
        lines += ["", f"{number}. {one_line(section.title)}"]
        lines += [f"   {one_line(line)}" for line in section.lines]
    lines += ["", *(one_line(one) for one in ending)] if ending else []
    return Group(*lines)
