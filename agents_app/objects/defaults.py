"""Makes the provider and the agent of the environment, so that one key is all a cycle needs.

Whoever is about to look for an agent calls `ensure` first: it asks nothing without a key, and with
one a single query while all is as the environment says, two once people have chosen its tools.
"""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction

from agents_app.models import Agent, Provider
from agents_app.models_objects import SideEffect
from agents_app.objects import agents, drafts, environment, providers
from agents_app.objects.environment import DEFAULT, Given
from agents_app.tools import registry
from executions_app import clock
from executions_app.audit import SYSTEM
from executions_app.models import AuditEntry

NOTE: Final = "as the environment says"


def ensure() -> Agent | None:
    """The agent of the environment, as that is now; None without a key.

    One that people have made under the same name is theirs and stays as it is: then there is none
    of the environment. Safe to call from many processes at once.
    """
    given = environment.provider()
    if given is None:
        return None
    found = Agent.objects.select_related("provider").filter(name=DEFAULT).first()
    if found is not None and found.is_from_environment:
        if _is_current(found, given):
            return found
    elif _is_theirs(found, given):
        return None
    with transaction.atomic():
        drafts.hold()
        provider = _provider(given)
        return None if provider is None else _agent_of(provider, given)


def _is_current(agent: Agent, given: Given) -> bool:
    is_followed = agent.model == given.model and agent.provider.base_url == given.base_url
    return is_followed and (agent.tools == _tools() or _are_chosen(agent))


def _is_theirs(agent: Agent | None, given: Given) -> bool:
    """Whether people have taken the name, and nothing is left to be made or moved."""
    row = Provider.objects.filter(name=DEFAULT).first()
    if row is None:
        return False
    return not row.is_from_environment or (agent is not None and row.base_url == given.base_url)


def _provider(given: Given) -> Provider | None:
    row = Provider.objects.select_for_update(of=("self",)).filter(name=DEFAULT).first()
    if row is None:
        row = Provider(name=DEFAULT, base_url=given.base_url, is_from_environment=True)
        drafts.save(row)
        _tell("created", row, providers.stored(row))
    elif not row.is_from_environment:
        return None
    elif row.base_url != given.base_url:
        row.base_url = given.base_url
        providers.forget(row)
        row.updated_at = clock.now()
        drafts.save(row, ("base_url", *providers.FORGOTTEN))
        _tell("updated", row, {"base_url": row.base_url})
    return row


def _agent_of(provider: Provider, given: Given) -> Agent | None:
    row = Agent.objects.select_for_update(of=("self",)).filter(name=DEFAULT).first()
    if row is None:
        row = Agent(name=DEFAULT, provider=provider, model=given.model, is_from_environment=True)
        row.tools = _tools()
        drafts.save(row)
        _tell("created", row, agents.stored(row))
    elif not row.is_from_environment:
        return None
    else:
        _follow(row, given)
    return row


def _follow(row: Agent, given: Given) -> None:
    after: dict[str, Any] = {}
    if row.model != given.model:
        after |= {"model": given.model}
        row.failures_in_row, row.unhealthy_until = 0, None
    if row.tools != _tools() and not _are_chosen(row):
        after |= {"tools": _tools()}
    for name, value in after.items():
        setattr(row, name, value)
    if after:
        row.updated_at = clock.now()
        drafts.save(row, (*after, *agents.FORGOTTEN))
        _tell("updated", row, after)


def _tools() -> list[str]:
    """What everybody may use: tools of Cadenza itself that only read and take no permission."""
    found = (registry.find(name) for name in registry.TOOLS)
    return sorted(
        one.name for one in found if one.side_effect is SideEffect.READ and not one.permission
    )


def _are_chosen(agent: Agent) -> bool:
    """Whether people have ever said which tools it has, also that it has none."""
    told = AuditEntry.objects.filter(object_type="agent", object_id=str(agent.id))
    return told.filter(after__has_key="tools").exclude(note=NOTE).exists()


def _tell(what: str, row: Provider | Agent, after: dict[str, Any]) -> None:
    drafts.record(what, row, SYSTEM, after=after, note=NOTE)
