"""What one step calls: the endpoint or the tool of its row, as it was when the plan was frozen."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError

from agents_app import calling, connections, rights, tools
from agents_app.cycle import holder
from agents_app.cycle.keeping import Work
from agents_app.models import Cycle, Endpoint
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.states import StepStatus
from executions_app.steps import End, HeldStep


def make(cycle: Cycle, held: HeldStep, work: Work) -> End:
    """Make the call; raises HandlerError if it failed, and what `work.check` raises."""
    if held.config["target"] == "endpoint":
        _check_enabled(held)
        called = calling.call(
            calling.Call(
                endpoint=held.config["endpoint"],
                parameters=held.config.get("parameters", {}),
                step_id=held.id,
                correlation_id=held.correlation_id or str(cycle.execution_id),
                deadline=work.ends_at,
                check=work.check,
            )
        )
        return End(StepStatus.COMPLETED, result=called.as_json())
    return End(StepStatus.COMPLETED, result=_run_tool(cycle, held, work).as_json())


def _run_tool(cycle: Cycle, held: HeldStep, work: Work) -> tools.Ran:
    config = holder.config_of(holder.of(cycle))
    agent = rights.agent_of(cycle.agent_id, config)
    allowed = frozenset(config.tools).intersection(agent.tools if agent else ())
    connections.let_go()
    return tools.run(
        held.name,
        held.config.get("parameters", {}),
        tools.ToolContext(
            owner_id=cycle.owner_id,
            execution_id=cycle.execution_id,
            step_id=held.id,
            deadline=work.ends_at,
            schedule_id=cycle.schedule_id,
            agent_id=agent.id if agent else None,
            allowed=allowed,
            check=work.check,
            took=work.add,
        ),
    )


def _check_enabled(held: HeldStep) -> None:
    """A plan may have waited for long, and a person have switched off meanwhile what it calls."""
    known = Endpoint.objects.filter(id=held.config["endpoint"]["id"], enabled=True)
    try:
        is_enabled = known.exists()
    except (OperationalError, InterfaceError) as error:
        raise HandlerError(
            f"{held.name!r} was not called: the database is away ({error})",
            error_class=ErrorClass.TRANSIENT,
            may_repeat=True,
        ) from error
    finally:
        connections.let_go()
    if not is_enabled:
        raise HandlerError(
            f"The endpoint {held.name!r} was removed or switched off since the plan was made",
            error_class=ErrorClass.PERMANENT,
            may_repeat=True,
        )
