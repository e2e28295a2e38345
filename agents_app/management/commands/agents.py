"""`manage.py agents`: who carries out cycles, their room, if they answer, what they are told."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from agents_app import health
from agents_app.api.remarks import RemarkSerializer
from agents_app.api.serializers import AgentSerializer
from agents_app.clients import llm
from agents_app.clients.llm import ModelError, ModelNotConfigured
from agents_app.models import Agent
from agents_app.models_memory import MemoryKind
from agents_app.objects import agents, defaults, drafts, remarks, standing, uses
from agents_app.objects.drafts import Invalid
from agents_app.objects.standing import Standing
from executions_app import clock
from executions_app.command_problems import CommandProblem, Exit
from executions_app.commands import (
    Answer,
    DoorCommand,
    Options,
    Verbs,
    acting_user,
    actor,
    add_acting_user,
    add_common_options,
    as_uuid,
    facts,
    one_line,
    row_count,
    table,
)
from executions_app.wording import moment


class Command(DoorCommand):
    help = "Agents, which plan and carry out the work of AI schedules."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_common_options(parser)
        verbs = Verbs(parser)
        listing = verbs.add("list", self.list_all, help_text="all, with room and health")
        listing.add_argument("--limit", type=row_count, default=200, help="at most so many")
        showing = verbs.add("show", self.show, help_text="one, with what it is made of")
        showing.add_argument("agent", metavar="NAME|ID", help="which agent")
        testing = verbs.add("test", self.test, help_text="ask its model for next to nothing")
        testing.add_argument("agent", metavar="NAME|ID", help="which agent")
        add_acting_user(testing)
        self._add_remarks(verbs)

    def _add_remarks(self, verbs: Verbs) -> None:
        listing = verbs.add("messages", self.messages, help_text="what one is told, by whom")
        listing.add_argument("--limit", type=row_count, default=50, help="at most so many")
        telling = verbs.add("message", self.message, help_text="tell one something")
        for one in (listing, telling):
            one.add_argument("agent", metavar="NAME|ID", help="which agent")
            add_acting_user(one)
        telling.add_argument("text", help="such as: prefer the cheaper endpoint at night")
        telling.add_argument("--schedule", metavar="NAME|ID", help="about this one (default: all)")
        telling.add_argument("--shared", action="store_true", help="about everybody's work")
        telling.add_argument("--fact", action="store_true", help="it lasts, as a fact")
        forgetting = verbs.add("forget", self.forget, help_text="take one back, by its id")
        forgetting.add_argument("remark", metavar="ID", help="of `manage.py agents messages`")
        add_acting_user(forgetting)

    def list_all(self, options: Options) -> Answer:
        defaults.ensure()
        rows = agents.with_use().order_by("name")[: options["limit"]]
        found, now = standing.of(rows, now=clock.now()), clock.now()
        shown = (
            (
                one.agent.name,
                one.state,
                one.agent.provider.name,
                one.agent.model,
                f"{one.capacity.used} of {one.capacity.max}",
                ", ".join(one.agent.capabilities),
                one.agent.fallback_agent and one.agent.fallback_agent.name,
                moment(one.agent.last_error_at, now=now),
            )
            for one in found
        )
        columns = ("AGENT", "STATE", "PROVIDER", "MODEL", "IN USE", "CAPABILITIES", "STAND-IN")
        text: Any = table(*columns, "LAST ERROR", rows=shown)
        if not found:
            text = "There is no agent; set OPENAI_API_KEY, or make one in the admin"
        return Answer([_document(one) for one in found], text)

    def show(self, options: Options) -> Answer:
        found = agent_named(options["agent"])
        row, now = found.agent, clock.now()
        shown: dict[str, object] = {
            "agent": row.name,
            "id": row.id,
            "state": found.state,
            "provider": row.provider.name,
            "model": row.model or "none is named",
            "temperature": row.temperature,
            "in use": f"{found.capacity.used} of {found.capacity.max}",
            "capabilities": ", ".join(row.capabilities),
            "tools": ", ".join(row.tools),
            "stand-in": row.fallback_agent and row.fallback_agent.name,
            "schedules": drafts.named(uses.schedules_of_agent(row.name)),
            "last success": moment(row.last_success_at, now=now),
            "last error": f"{moment(row.last_error_at, now=now)} {row.last_error}".strip(),
            "left out until": moment(row.unhealthy_until, now=now),
            "instructions": row.instructions,
        }
        return Answer(_document(found), facts(shown))

    def test(self, options: Options) -> Answer:
        found = agent_named(options["agent"])
        row, acting = found.agent, actor(options)
        try:
            answer = llm.probe(row.provider, model=row.model)
        except ModelNotConfigured as error:
            todo = "No call was made; `manage.py agents show` and the guide say what is missing"
            raise CommandProblem(str(error), todo, Exit.REFUSED) from None
        except ModelError as error:
            health.asked(row, row.provider, error=error)
            todo = "Look at its provider, and at the calls of models in the admin"
            raise CommandProblem(str(error), todo, Exit.FAILED) from None
        health.asked(row, row.provider)
        drafts.record("tested", row, acting)
        document = {
            "agent": row.name,
            "model": row.model,
            "mode": answer.mode,
            "latency_ms": answer.latency_ms,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "cost_usd": answer.cost_usd,
        }
        text = (
            f"{one_line(row.name)} answers: {one_line(row.model)} took {answer.latency_ms} ms, "
            f"JSON by {answer.mode}"
        )
        return Answer(document, text)

    def messages(self, options: Options) -> Answer:
        user, now = acting_user(options), clock.now()
        rows = remarks.seen_by(user).filter(agent_id=agent_named(options["agent"]).agent.id)
        found = list(rows.order_by("-id")[: options["limit"]])
        shown = (
            (
                row.id,
                row.kind,
                row.author or "itself",
                "everybody's" if row.owner_id is None else row.schedule_id,
                moment(row.created_at, now=now),
                one_line(row.text),
            )
            for row in found
        )
        columns = ("ID", "KIND", "FROM", "ABOUT", "WHEN", "TEXT")
        text: Any = table(*columns, rows=shown) if found else "Nobody has told it anything yet"
        return Answer(RemarkSerializer(found, many=True).data, text)

    def message(self, options: Options) -> Answer:
        agent, user = agent_named(options["agent"]).agent, acting_user(options)
        kind = MemoryKind.FACT if options["fact"] else MemoryKind.MESSAGE
        words = {
            "text": options["text"],
            "schedule_id": options["schedule"],
            "shared": options["shared"],
        }
        try:
            row = remarks.leave(agent.id, words, kind=kind, user=user)
        except Invalid as error:
            raise CommandProblem(str(error), "Correct that; nothing was told", Exit.USAGE) from None
        told = f"{one_line(agent.name)} is told this from its next cycle on ({row.id})"
        return Answer(dict(RemarkSerializer(row).data), told)

    def forget(self, options: Options) -> Answer:
        user, as_id = acting_user(options), as_uuid(options["remark"])
        row = remarks.seen_by(user).filter(id=as_id).first() if as_id else None
        if row is None:
            todo = "`manage.py agents messages AGENT` shows what there is"
            raise CommandProblem(f"There is no {options['remark']!r}", todo, Exit.NOT_FOUND)
        remarks.remove(row.id, user=user)
        return Answer({"id": str(row.id)}, "It is told in no further cycle")


def agent_named(reference: str) -> Standing:
    """The agent of a name or an id; raises CommandProblem."""
    defaults.ensure()
    as_id = as_uuid(reference)
    chosen = agents.with_use()
    rows = chosen.filter(name=reference) if as_id is None else chosen.filter(id=as_id)
    found: Agent | None = rows.first()
    if found is None:
        todo = "`manage.py agents list` shows what there is"
        raise CommandProblem(f"There is no agent {reference!r}", todo, Exit.NOT_FOUND)
    (stands,) = standing.of([found], now=clock.now())
    return stands


def _document(one: Standing) -> dict[str, Any]:
    shown: Any = one  # what the serializer of an agent shows besides the agent
    return dict(AgentSerializer(shown).data)
