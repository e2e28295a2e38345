"""What people tell agents: by which doors, about whose work, and that it opens nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from agents_app import memory
from agents_app.models import Agent, Memory
from agents_app.models_memory import MemoryKind
from agents_app.objects import remarks
from executions_app import clock, retention
from scheduler_app.models import Schedule
from tests.agents_app import objects
from tests.agents_app.objects import agent, audited
from tests.factories import ScheduleFactory
from tests.rest import ids_of, signed_in
from tests.terminal import run

pytestmark = pytest.mark.django_db
TEXT = "Prefer the cheaper endpoint at night."
KINDS = ("messages", "facts")


@pytest.fixture
def ada() -> User:
    return objects.person()


@pytest.fixture
def caller(ada: User) -> APIClient:
    return signed_in(ada)


@pytest.fixture
def warmer() -> Agent:
    return agent(name="warmer")


def planned(owner: User, **words: Any) -> Schedule:
    """A schedule that an AI plans."""
    config = {"goal": "Keep it warm.", "tools": ["now"]}
    made: Schedule = ScheduleFactory.create(
        owner=owner, **{"task_type": "agent", "task_config": config, **words}
    )
    return made


def door(of: Agent, kind: str = "messages") -> str:
    return f"/api/agents/{of.id}/{kind}"


def told(of: Agent, owner: User, *, schedule: Schedule | None = None) -> list[str]:
    """What stands in the prompts of an owner's cycles."""
    found = memory.recall(
        of.id, owner_id=owner.pk, schedule_id=schedule.id if schedule else uuid4()
    )
    return [one.text for one in (*found.messages, *found.others)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_tells_an_agent_something_about_one_schedule_or_all(
    caller: APIClient, ada: User, warmer: Agent, kind: str
) -> None:
    nightly, hourly = planned(ada, name="nightly"), planned(ada)

    of_all = caller.post(door(warmer, kind), {"text": TEXT})
    of_one = caller.post(door(warmer, kind), {"text": "Be brief.", "scheduleId": str(nightly.id)})
    by_name = caller.post(door(warmer, kind), {"text": "At once.", "schedule_id": "nightly"})

    assert [one.status_code for one in (of_all, of_one, by_name)] == [201, 201, 201]
    assert of_all.json() == {
        "id": of_all.json()["id"],
        "agent_id": str(warmer.id),
        "text": TEXT,
        "schedule_id": None,
        "shared": False,
        "owner": ada.pk,
        "author": ada.username,
        "execution_id": None,
        "created_at": of_all.json()["created_at"],
    }
    assert by_name.json()["schedule_id"] == of_one.json()["schedule_id"] == str(nightly.id)
    assert told(warmer, ada, schedule=nightly) == ["At once.", "Be brief.", TEXT]
    assert told(warmer, ada, schedule=hourly) == [TEXT]
    listed = caller.get(door(warmer, kind)).json()
    assert [one["text"] for one in listed["results"]] == ["At once.", "Be brief.", TEXT]
    chosen = caller.get(f"{door(warmer, kind)}?schedule_id={nightly.id}").json()
    assert len(chosen["results"]) == 2


def test_messages_and_facts_are_two_lists(caller: APIClient, warmer: Agent) -> None:
    caller.post(door(warmer), {"text": "a message"})
    caller.post(door(warmer, "facts"), {"text": "a fact"})

    for kind in KINDS:
        (one,) = caller.get(door(warmer, kind)).json()["results"]
        assert one["text"] == f"a {kind[:-1]}"
        other = "facts" if kind == "messages" else "messages"
        assert caller.delete(f"{door(warmer, other)}/{one['id']}").status_code == 404


def test_it_is_told_once_however_often_the_request_arrives(
    caller: APIClient, warmer: Agent
) -> None:
    for _ in range(2):
        caller.post(door(warmer), {"text": TEXT}, headers={"Idempotency-Key": "once"})

    assert Memory.objects.count() == 1


def test_what_is_told_is_in_the_audit_log_and_without_secrets(
    caller: APIClient, ada: User, warmer: Agent
) -> None:
    made = caller.post(door(warmer), {"text": "password=hunter2-hunter2 is the key"}).json()
    caller.delete(f"{door(warmer)}/{made['id']}")

    entries = audited(made["id"])

    assert "hunter2" not in str(made) + objects.everything_audited()
    assert set(entries) == {"memory.created", "memory.deleted"}
    assert entries["memory.created"].actor == ada.username
    assert "is the key" in (entries["memory.deleted"].before or {})["text"]
    assert told(warmer, ada) == []


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"text": ""},
        {"text": "   "},
        {"text": "x" * 2_001},
        {"text": 7},
        {"text": TEXT, "schedule_id": "of somebody else"},
        {"text": TEXT, "schedule_id": "no AI plans this"},
        {"text": TEXT, "schedule_id": str(uuid4())},
        {"text": TEXT, "shared": "yes"},
        {"text": TEXT, "kind": "outcome"},
    ],
)
def test_what_cannot_be_told_is_refused(
    caller: APIClient, ada: User, warmer: Agent, words: dict[str, Any]
) -> None:
    planned(objects.person(), name="of somebody else")
    ScheduleFactory.create(owner=ada, name="no AI plans this")

    answer = caller.post(door(warmer), words)

    assert answer.status_code == 400
    assert not Memory.objects.exists()


def test_nobody_says_who_they_are_or_whose_work_it_is(
    caller: APIClient, ada: User, warmer: Agent
) -> None:
    other = objects.person()
    words = {"text": TEXT, "author": "root", "owner": other.pk, "agent_id": str(uuid4())}

    made = caller.post(door(warmer), words).json()

    assert (made["author"], made["owner"]) == (ada.username, ada.pk)
    assert told(warmer, other) == []


def test_what_belongs_to_others_is_not_there(caller: APIClient, warmer: Agent) -> None:
    other = objects.person()
    theirs = signed_in(other).post(door(warmer), {"text": TEXT}).json()
    operator = signed_in(objects.operator())

    for client in (caller, operator):
        assert ids_of(client.get(door(warmer)).json()) == []
        assert client.delete(f"{door(warmer)}/{theirs['id']}").status_code == 404
    root = signed_in(User.objects.create_superuser("root"))
    assert ids_of(root.get(door(warmer)).json()) == [theirs["id"]]
    assert root.delete(f"{door(warmer)}/{theirs['id']}").status_code == 204
    assert APIClient().get(door(warmer)).status_code == 401
    assert caller.get(f"/api/agents/{uuid4()}/messages").status_code == 404
    assert caller.post(f"/api/agents/{uuid4()}/messages", {"text": TEXT}).status_code == 404


def test_operators_tell_agents_something_about_everybodys_work(
    caller: APIClient, ada: User, warmer: Agent
) -> None:
    operator = signed_in(objects.operator())
    words = {"text": TEXT, "shared": True}
    assert caller.post(door(warmer), words).status_code == 403

    made = operator.post(door(warmer), words).json()

    assert (made["shared"], made["owner"]) == (True, None)
    assert told(warmer, ada) == [TEXT]
    assert ids_of(caller.get(f"{door(warmer)}?shared=true").json()) == [made["id"]]
    assert caller.delete(f"{door(warmer)}/{made['id']}").status_code == 403
    both = {**words, "schedule_id": str(planned(ada).id)}
    assert operator.post(door(warmer), both).status_code == 400
    assert operator.delete(f"{door(warmer)}/{made['id']}").status_code == 204


def test_an_administrators_message_about_a_schedule_belongs_to_its_owner(
    ada: User, warmer: Agent
) -> None:
    nightly = planned(ada)
    root = signed_in(User.objects.create_superuser("root"))

    made = root.post(door(warmer), {"text": TEXT, "schedule_id": str(nightly.id)}).json()

    assert (made["owner"], made["author"]) == (ada.pk, "root")
    assert told(warmer, ada, schedule=nightly) == [TEXT]
    assert told(warmer, ada) == []


def test_an_agents_own_facts_are_seen_and_taken_back(
    caller: APIClient, ada: User, warmer: Agent
) -> None:
    noted = memory.New(agent_id=warmer.id, owner_id=ada.pk, kind=MemoryKind.FACT, text="noted")
    memory.remember(noted)

    (one,) = caller.get(door(warmer, "facts")).json()["results"]

    assert (one["text"], one["author"]) == ("noted", "")
    assert caller.delete(f"{door(warmer, 'facts')}/{one['id']}").status_code == 204
    assert told(warmer, ada) == []


def test_messages_and_what_an_agent_noted_go_after_90_days_and_facts_of_people_stay(
    ada: User, warmer: Agent
) -> None:
    nightly = planned(ada)
    for schedule_id in (None, str(nightly.id), str(planned(ada, name="gone").id)):
        words = {"text": f"a fact about {schedule_id}", "schedule_id": schedule_id}
        remarks.leave(warmer.id, words, kind=MemoryKind.FACT, user=ada)
    remarks.leave(warmer.id, {"text": "a message"}, kind=MemoryKind.MESSAGE, user=ada)
    memory.remember(
        memory.New(agent_id=warmer.id, owner_id=ada.pk, kind=MemoryKind.FACT, text="noted")
    )
    Schedule.objects.filter(name="gone").delete()

    retention.apply(clock.now() + timedelta(days=89))
    assert Memory.objects.count() == 5
    retention.apply(clock.now() + timedelta(days=91))

    kept = Memory.objects.order_by("id").values_list("schedule_id", flat=True)
    assert list(kept) == [None, nightly.id]


# The page


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_page_tells_and_takes_back(ada: User, warmer: Agent) -> None:
    nightly, browser = planned(ada, name="nightly"), browser_of(ada)
    page = f"/agents/{warmer.id}/messages"
    assert f'href="{page}"' in browser.get("/agents").content.decode()
    assert "Nobody has told it anything yet" in browser.get(page).content.decode()

    words = {"text": "<b>Be brief.</b>", "kind": "fact", "schedule": str(nightly.id)}
    shown = browser.post(page, words, follow=True).content.decode()

    made = Memory.objects.get()
    assert (made.kind, made.schedule_id, made.author) == ("fact", nightly.id, ada.username)
    assert "warmer is told this" in shown
    for word in ("&lt;b&gt;Be brief.", "nightly", ada.username, "<td>fact</td>"):
        assert word in shown
    assert browser_of(objects.person()).get(page).content.decode().count("Be brief.") == 0
    assert browser_of(objects.person()).post(f"{page}/{made.id}/remove").status_code == 404
    browser.post(f"{page}/{made.id}/remove")
    assert not Memory.objects.exists()


def test_the_page_keeps_what_was_refused_and_says_why(ada: User, warmer: Agent) -> None:
    browser, page = browser_of(ada), f"/agents/{warmer.id}/messages"

    refused = browser.post(page, {"text": TEXT, "shared": "on"}).content.decode()

    assert "Only operators may" in refused
    assert f'value="{TEXT}"' in refused
    assert 'name="shared"' not in refused
    operator = browser_of(objects.operator())
    shared = operator.post(page, {"text": TEXT, "shared": "on"}, follow=True).content.decode()
    assert '<td data-label="about">everybody\'s work</td>' in shared
    made = Memory.objects.get()
    assert f"{made.id}/remove" not in browser.get(page).content.decode()
    browser.post(f"{page}/{made.id}/remove")
    assert Memory.objects.exists()
    assert Client().get(page).status_code == 302
    assert browser.get(f"/agents/{uuid4()}/messages").status_code == 404


# The terminal


def test_the_terminal_tells_lists_and_forgets(ada: User, warmer: Agent) -> None:
    User.objects.create_superuser("root")
    planned(ada, name="nightly")
    by_ada = ("--user", ada.username)

    made = run("agents", "message", "warmer", TEXT, "--schedule", "nightly", "--json", *by_ada)
    fact = run("agents", "message", "warmer", "It is slow.", "--fact", "--shared")
    listed = run("agents", "messages", "warmer", *by_ada)
    refused = run("agents", "message", "warmer", TEXT, "--schedule", "nobody's", *by_ada)
    theirs = run("agents", "forget", str(Memory.objects.get(kind="fact").id), *by_ada)
    gone = run("agents", "forget", made.document["id"], *by_ada)

    assert made.document["author"] == ada.username
    assert fact.exit_code == gone.exit_code == 0, fact.stderr + gone.stderr
    assert all(word in listed.stdout for word in (TEXT, "It is slow.", "everybody's", "root"))
    assert (refused.exit_code, theirs.exit_code) == (2, 5)
    assert "nobody's" in refused.stderr
    assert run("agents", "forget", made.document["id"]).exit_code == 4
    assert [one["text"] for one in run("agents", "messages", "warmer", "--json").document] == [
        "It is slow."
    ]


# The admin


def test_the_admin_tells_and_takes_back_and_never_edits(warmer: Agent) -> None:
    root = User.objects.create_superuser("root")
    browser = browser_of(root)
    add = reverse("admin:agents_app_memory_add")
    words = {"agent": str(warmer.id), "kind": "message", "text": TEXT, "schedule_id": ""}

    refused = browser.post(add, {**words, "schedule_id": "none of this name"}, follow=True)
    browser.post(add, {**words, "shared": "on"})

    assert "there is no schedule" in refused.content.decode()
    made = Memory.objects.get()
    assert (made.author, made.owner_id) == ("root", None)
    one = reverse("admin:agents_app_memory_change", args=[made.id])
    shown = browser.get(one).content.decode()
    assert TEXT in shown
    assert browser.post(one, {**words, "text": "another"}).status_code == 403
    browser.post(reverse("admin:agents_app_memory_delete", args=[made.id]), {"post": "yes"})
    assert not Memory.objects.exists()
    assert set(audited(made.id)) == {"memory.created", "memory.deleted"}


def test_staff_see_their_own_and_shared_ones_in_the_admin(warmer: Agent) -> None:
    staff = objects.person(is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__model="memory"))
    for text, owner_id in (("mine", staff.pk), ("everybody's", None), ("theirs", 0)):
        new = memory.New(
            agent_id=warmer.id, owner_id=owner_id, kind=MemoryKind.MESSAGE, text=text, author="x"
        )
        memory.remember(new)

    listed = browser_of(staff).get(reverse("admin:agents_app_memory_changelist"))

    shown = listed.content.decode()
    assert ">mine<" in shown
    assert "theirs" not in shown
