from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from pydantic import JsonValue

from agents_app import tools
from agents_app.models import Agent, Memory, Provider
from agents_app.models_objects import SideEffect
from agents_app.tools import registry, running
from agents_app.tools.base import (
    Tool,
    ToolArguments,
    ToolContext,
    ToolFailed,
    ToolRefused,
    ToolTimedOut,
    ToolUnknown,
)
from config.env import env
from errors_app.taxonomy import Cancelled, DeadlineExceeded, ErrorClass, HandlerError
from executions_app import clock, ids
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus, StepStatus
from tests.factories import ExecutionFactory, UserFactory

SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"size": {"type": "integer", "maximum": 9}},
    "additionalProperties": False,
}
AWAY = HandlerError("away", error_class=ErrorClass.TRANSIENT)
Made = Callable[..., Tool]


@pytest.fixture
def made() -> Iterator[Made]:
    """Registers a tool for the time of the test."""
    names: list[str] = []

    def make(name: str, work: Any = None, **promises: Any) -> Tool:
        decorate = tools.tool(name, description=f"does {name}", schema=SCHEMA, **promises)
        names.append(name)
        return registry.register(decorate(work or (lambda arguments, _: dict(arguments))))

    yield make
    for name in names:
        registry._registered.pop(name, None)


def _context(**given: Any) -> ToolContext:
    words: dict[str, Any] = {
        "owner_id": 0,
        "execution_id": uuid4(),
        "step_id": uuid4(),
        "deadline": time.monotonic() + 20,
    }
    return ToolContext(**{**words, **given})


def _raises(error: BaseException, calls: list[int] | None = None) -> Any:
    def work(_: Mapping[str, Any], __: ToolContext) -> JsonValue:
        if calls is not None:
            calls.append(1)
        raise error

    return work


# Running


def test_a_tool_yields_a_real_result(made: Made) -> None:
    made("double", lambda arguments, _: 2 * arguments["size"])

    ran = tools.run("double", {"size": 4}, _context())

    assert (ran.tool, ran.output, ran.attempts, ran.notes) == ("double", 8, 1, ())
    assert ran.as_json()["output"] == 8


@pytest.mark.parametrize("arguments", [{"size": 10}, {"size": "4"}, {"colour": "red"}])
def test_arguments_that_do_not_fit_run_nothing(made: Made, arguments: dict[str, Any]) -> None:
    calls: list[int] = []
    made("double", _raises(AWAY, calls), alternatives=("other",))
    made("other")

    with pytest.raises(ToolArguments, match="do not fit the tool 'double'") as caught:
        tools.run("double", arguments, _context())

    assert (calls, caught.value.error_class) == ([], ErrorClass.PERMANENT)
    assert len(caught.value.problems) == 1


def test_a_tool_that_nobody_knows_is_named() -> None:
    with pytest.raises(ToolUnknown, match=r"no tool 'teleport'; known are .*wait"):
        tools.run("teleport", {}, _context())


def test_only_what_schedule_and_agent_name_may_be_used(made: Made) -> None:
    made("double")

    with pytest.raises(ToolRefused, match="neither the schedule nor its agent"):
        tools.run("double", {}, _context(allowed=frozenset({"wait"})))


@pytest.mark.django_db
def test_a_tool_may_ask_for_a_permission_of_the_owner(made: Made) -> None:
    made("double", permission="auth.add_user")
    owner = UserFactory.create()

    with pytest.raises(ToolRefused, match=r"permission 'auth.add_user'"):
        tools.run("double", {}, _context(owner_id=owner.pk))
    owner.user_permissions.add(Permission.objects.get(codename="add_user"))

    assert tools.run("double", {}, _context(owner_id=owner.pk)).output == {}
    assert User.objects.count() == 1


def test_a_tool_that_hangs_is_left_in_time_and_hears_of_it(made: Made) -> None:
    heard = threading.Event()

    def hang(_: Mapping[str, Any], context: ToolContext) -> JsonValue:
        try:
            while True:
                context.check()
                threading.Event().wait(0.01)
        finally:
            heard.set()

    made("hang", hang, timeout_seconds=0.1)

    with pytest.raises(ToolTimedOut, match="'hang' was not done within its time") as caught:
        tools.run("hang", {}, _context())

    assert heard.wait(20)
    assert caught.value.error_class is ErrorClass.TIMEOUT


@pytest.mark.parametrize("is_deaf", [True, False])
@pytest.mark.parametrize("side_effect", list(SideEffect))
def test_a_tool_that_is_cut_off_by_the_time_limit_says_if_it_may_be_run_again(
    made: Made, side_effect: SideEffect, is_deaf: bool
) -> None:
    is_over = threading.Event()

    began = iter([True])  # it is asked once before the tool begins

    def check() -> None:
        if not next(began, False):
            raise DeadlineExceeded("the time limit of the execution has passed")

    def act(_: Mapping[str, Any], context: ToolContext) -> JsonValue:
        if not is_deaf:
            context.check()
        is_over.wait(20)
        return {}

    made("act", act, side_effect=side_effect, retries=0)
    with pytest.raises(DeadlineExceeded) as caught:
        tools.run("act", {}, _context(check=check))

    assert caught.value.may_repeat is (side_effect is SideEffect.READ)
    is_over.set()


def test_a_tool_that_hears_nothing_is_left_behind_and_too_many_are_refused(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MOST_LEFT_BEHIND", 1)
    is_over = threading.Event()
    made("deaf", lambda _, __: is_over.wait(20), timeout_seconds=0.05, retries=0)

    with pytest.raises(ToolTimedOut):
        tools.run("deaf", {}, _context())
    with pytest.raises(ToolFailed, match="runs of tools do not end") as caught:
        tools.run("deaf", {}, _context())

    assert caught.value.error_class is ErrorClass.RESOURCE
    is_over.set()


def test_a_step_that_is_to_stop_waits_for_no_tool(made: Made) -> None:
    is_over = threading.Event()
    made("deaf", lambda _, __: is_over.wait(20))

    def check() -> None:
        if any(one.name == "tool:deaf" for one in threading.enumerate()):
            raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        tools.run("deaf", {}, _context(check=check))
    is_over.set()


def test_a_passing_failure_is_tried_again(made: Made) -> None:
    calls: list[int] = []

    def work(_: Mapping[str, Any], __: ToolContext) -> JsonValue:
        calls.append(1)
        if len(calls) == 1:
            raise AWAY
        return "ok"

    made("shy", work)

    ran = tools.run("shy", {}, _context())

    assert (ran.output, ran.attempts) == ("ok", 2)


def test_when_a_tool_is_down_its_alternative_is_used_and_noted(made: Made) -> None:
    calls: list[int] = []
    made("first", _raises(AWAY, calls), alternatives=("nobody", "forbidden", "second"))
    made("forbidden")
    made("second", lambda _, __: "from the second")
    allowed = frozenset({"first", "second", "nobody"})

    ran = tools.run("first", {}, _context(allowed=allowed))

    assert (ran.tool, ran.output, ran.attempts) == ("second", "from the second", 3)
    assert len(calls) == 2
    assert [note.split(":")[0] for note in ran.notes] == [
        "The tool 'first' failed",
        "There is no tool 'nobody'; known are " + ", ".join(tools.names()),
        "The tool 'forbidden' may not be used here",
    ]


def test_when_all_are_down_the_first_failure_is_told(made: Made) -> None:
    made("first", _raises(ZeroDivisionError("no")), alternatives=("second",))
    made("second", _raises(AWAY))

    with pytest.raises(ToolFailed, match="The tool 'first' failed: no") as caught:
        tools.run("first", {}, _context())

    assert caught.value.error_class is ErrorClass.UNKNOWN
    assert len(caught.value.context["notes"]) == 2  # type: ignore[arg-type]


def test_what_may_have_had_its_effect_is_not_done_by_another_tool(made: Made) -> None:
    calls: list[int] = []
    made("first", _raises(AWAY, calls), alternatives=("second",), side_effect=SideEffect.WRITE)
    made("second", lambda _, __: "twice")

    with pytest.raises(ToolFailed, match="'first' failed: away"):
        tools.run("first", {}, _context())

    assert len(calls) == 1


def test_an_output_is_bounded_and_without_secrets(made: Made) -> None:
    made("wordy", lambda _, __: {"password": "hidden-word", "text": "x" * 200_000})

    ran = tools.run("wordy", {}, _context())

    assert ran.truncated
    assert isinstance(ran.output, dict)
    assert ran.output["password"] == "[scrubbed]"
    assert len(str(ran.output)) <= running.MOST_ANSWER_BYTES


# The registry


def test_a_name_that_is_taken_is_refused(made: Made) -> None:
    made("double")

    with pytest.raises(ValueError, match="a tool 'double' already"):
        made("double")
    with pytest.raises(ValueError, match="a tool 'wait' already"):
        made("wait")


def test_every_tool_of_the_table_is_there_under_its_name() -> None:
    known = [tools.find(name).as_json()["name"] for name in tools.names()]

    assert known == tools.names() == sorted(registry.TOOLS)


def test_a_tool_is_added_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    given = env.model_copy(update={"extra_tools": ["shout=tests.agents_app.test_tools.shout"]})
    monkeypatch.setattr(registry, "env", given)
    registry.paths.cache_clear()

    try:
        assert tools.run("shout", {"size": 3}, _context()).output == "!!!"
    finally:
        registry.paths.cache_clear()


@tools.tool("shout", description="shouts", schema=SCHEMA)
def shout(arguments: Mapping[str, Any], _: ToolContext) -> JsonValue:
    size: int = arguments["size"]
    return "!" * size


@pytest.mark.parametrize("entry", ["shout", "shout=", "=a.b", "shout=nodots"])
def test_an_entry_of_another_form_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="EXTRA_TOOLS"):
        registry.extra_tools([entry])


def test_a_path_to_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="no tool named 'other'"):
        registry._tool_at("other", "tests.agents_app.test_tools.shout")


# Choosing


def test_two_tasks_get_two_different_sets_of_tools() -> None:
    looking_back = tools.suited("Look at earlier executions: which failed last night?")
    waiting = tools.suited("Restart it, pause until it settles, then note what time it is.")

    assert looking_back == ["read_execution"]
    assert set(waiting) == {"now", "remember", "wait"}


def test_required_tools_come_first_and_unknown_ones_are_left_out() -> None:
    found = tools.suited("wait a minute", ["json_extract", "teleport"])

    assert found == ["json_extract", "wait"]
    assert tools.suited("wait", ["json_extract"], allowed={"wait"}) == ["wait"]


def test_an_agents_capabilities_bring_in_their_tools(made: Made) -> None:
    made("double", capabilities=frozenset({"arithmetic"}))

    assert tools.suited("anything", capabilities=["arithmetic"]) == ["double"]


# The built-in ones


def test_now_tells_the_time_of_a_zone(db: None) -> None:
    output = tools.run("now", {"zone": "Asia/Tokyo"}, _context()).output

    assert isinstance(output, dict)
    assert str(output["local"]).endswith("+09:00")
    with pytest.raises(ToolFailed, match="no time zone 'Mars/Base'"):
        tools.run("now", {"zone": "Mars/Base"}, _context())


def test_wait_waits_and_is_bounded() -> None:
    output = tools.run("wait", {"seconds": 0.05}, _context()).output

    assert isinstance(output, dict)
    assert isinstance(output["waited_seconds"], float)
    assert output["waited_seconds"] >= 0.05
    with pytest.raises(ToolArguments, match="seconds"):
        tools.run("wait", {"seconds": 3_600}, _context())


@pytest.mark.parametrize(
    ("value", "pointer", "expected"),
    [
        ({"a": [1, {"b/c": 2}]}, "/a/1/b~1c", 2),
        ('{"a": {"": 3}}', "/a/", 3),
        ([1, 2], "", [1, 2]),
        ({"0": "x"}, "/0", "x"),
    ],
)
def test_json_extract_takes_one_part(value: Any, pointer: str, expected: Any) -> None:
    given = {"value": value, "pointer": pointer}

    assert tools.run("json_extract", given, _context()).output == expected


@pytest.mark.parametrize(
    ("value", "pointer"),
    [({"a": 1}, "/b"), ([1], "/1"), ([1], "/-1"), ([1], "/01"), ("{", "/a"), (1, "a")],
)
def test_json_extract_says_that_there_is_nothing(value: Any, pointer: str) -> None:
    with pytest.raises(ToolFailed, match="Nothing was extracted") as caught:
        tools.run("json_extract", {"value": value, "pointer": pointer}, _context())

    assert caught.value.error_class is ErrorClass.MALFORMED


@pytest.mark.django_db(transaction=True)
def test_json_extract_reads_the_results_of_its_own_execution_only() -> None:
    mine, others = ExecutionFactory.create(), ExecutionFactory.create()
    for number, one in enumerate((mine, others)):
        Step.objects.create(
            id=ids.new(clock.now()),
            execution_id=one.id,
            position=0,
            name=f"step-{number}",
            status=StepStatus.COMPLETED,
            result={"body": {"size": number}},
        )
    context = _context(execution_id=mine.id)

    found = tools.run("json_extract", {"step": "step-0", "pointer": "/body/size"}, context)

    assert found.output == 0
    with pytest.raises(ToolFailed, match="no step 'step-1' of this execution"):
        tools.run("json_extract", {"step": "step-1", "pointer": ""}, context)


@pytest.mark.django_db(transaction=True)
def test_read_execution_shows_earlier_ones_of_the_same_schedule_and_owner() -> None:
    owner, other = UserFactory.create(), UserFactory.create()
    schedule_id = uuid4()
    first = ExecutionFactory.create(owner=owner, schedule_id=schedule_id)
    second = ExecutionFactory.create(owner=owner, schedule_id=schedule_id)
    ExecutionFactory.create(owner=owner, schedule_id=uuid4())
    ExecutionFactory.create(owner=other, schedule_id=schedule_id)
    Execution.objects.filter(id=first.id).update(result={"token": "hidden", "ok": True})
    context = _context(owner_id=owner.pk, schedule_id=schedule_id, execution_id=second.id)

    output = tools.run("read_execution", {"limit": 3}, context).output

    assert isinstance(output, list)
    (shown,) = output
    assert isinstance(shown, dict)
    assert (shown["number"], shown["status"]) == (first.number, ExecutionStatus.QUEUED)
    assert shown["result"] == {"token": "[scrubbed]", "ok": True}
    assert tools.run("read_execution", {"status": "failed"}, context).output == []
    assert tools.run("read_execution", {}, _context(owner_id=owner.pk)).output == []


@pytest.mark.django_db(transaction=True)
def test_remember_keeps_a_fact_for_the_agent() -> None:
    owner = UserFactory.create()
    provider = Provider.objects.create(name="models")
    agent = Agent.objects.create(name="keeper", provider=provider, model="small")
    schedule_id = uuid4()
    context = _context(owner_id=owner.pk, agent_id=agent.id, schedule_id=schedule_id)

    tools.run("remember", {"fact": "the cache is cold on Mondays"}, context)

    (kept,) = Memory.objects.all()
    assert (kept.kind, kept.text) == ("fact", "the cache is cold on Mondays")
    assert (kept.agent_id, kept.schedule_id, kept.owner_id) == (agent.id, schedule_id, owner.pk)
    with pytest.raises(ToolRefused, match="no agent"):
        tools.run("remember", {"fact": "x"}, _context(owner_id=owner.pk))
