"""Where a secret may travel: to the hosts that it names, whoever says where an endpoint leads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from agents_app import credential_hosts
from agents_app.clients import http, llm
from agents_app.clients.outgoing import target
from agents_app.models import Credential
from agents_app.objects import credentials, endpoints, providers
from agents_app.objects.drafts import Invalid
from config import doctor
from config.doctor import Level
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import encryption
from executions_app.audit import SYSTEM
from tests.agents_app.asking import question
from tests.agents_app.endpoints import make, registered, secret
from tests.agents_app.objects import SECRET, audited, credential, endpoint, person, provider
from tests.fakes.model_script import says
from tests.fakes.model_server import model_server

pytestmark = pytest.mark.django_db
KEY_HEADER = {"Authorization": {"credential": "key"}}


@pytest.fixture
def door() -> Iterator[http.Door]:
    door = http.Door(["127.0.0.1"])
    yield door
    door.close()


def of_before(name: str = "key") -> Credential:
    """A shared one as it was stored before hosts had to be named."""
    return Credential.objects.create(name=name, value=encryption.encrypt(SECRET))


# The entries


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        ("API.example.com", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com:8443", "api.example.com:8443"),
        ("*.Example.com", "*.example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[2001:DB8::0:1]:443", "[2001:db8::1]:443"),
        ("[::1]", "[::1]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_an_entry_is_kept_in_one_spelling(entry: str, kept: str) -> None:
    assert credential_hosts.checked([entry, entry]) == [kept]


@pytest.mark.parametrize(
    "entry",
    [
        *("", " ", "*", "*.", "*.com", "a.*.com", "*example.com", "**.example.com", "bücher.de"),
        *("https://api.example.com", "api.example.com/path", "user@api.example.com", "a b.com"),
        *("api.example.com:0", "api.example.com:65536", "api.example.com:", "::1", "[::1"),
        *("10.0.0.0/8", "[10.0.0.1]x", "-a.com", "a..com", f"{'a' * 64}.com", "a\x00.com"),
    ],
)
def test_what_names_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"host|too much|port"):
        credential_hosts.checked([entry])


@pytest.mark.parametrize(
    ("entry", "url", "may_travel"),
    [
        ("api.example.com", "https://api.example.com/x", True),
        ("api.example.com", "https://API.EXAMPLE.COM./x", True),
        ("api.example.com", "http://api.example.com:8080/", True),
        ("api.example.com", "https://api.example.com.attacker.net/", False),
        ("api.example.com", "https://attacker.net/?api.example.com", False),
        ("api.example.com", "https://xapi.example.com/", False),
        ("api.example.com", "https://api.example.com@attacker.net/", False),
        ("api.example.com:443", "https://api.example.com/", True),
        ("api.example.com:443", "http://api.example.com/", False),
        ("api.example.com:443", "https://api.example.com:8443/", False),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://attackerexample.com/", False),
        ("*.example.com:8443", "https://a.example.com:8443/", True),
        ("*.example.com:8443", "https://a.example.com/", False),
        ("127.0.0.1", "http://127.0.0.1:99/", True),
        ("127.0.0.1", "http://127.0.0.2/", False),
        ("127.0.0.1", "http://localhost/", False),
        ("[::1]", "http://[0:0:0:0:0:0:0:1]:8000/", True),
        ("[::1]:8000", "http://[::1]/", False),
        ("xn--bcher-kva.example", "https://bücher.example/", True),
    ],
)
def test_an_entry_stands_for_its_hosts_and_no_others(
    entry: str, url: str, may_travel: bool
) -> None:
    entries = credential_hosts.checked([entry])

    assert credential_hosts.admits(entries, target(url)) is may_travel


# What is stored


def test_a_shared_one_names_its_hosts() -> None:
    with pytest.raises(Invalid, match="hosts: a shared credential names the hosts") as refused:
        credential(name="key", hosts=[])

    assert [one.code for one in refused.value.problems] == ["required"]
    assert not Credential.objects.exists()


def test_an_owners_own_may_be_bound_or_not() -> None:
    ada = person()

    assert credential(ada, name="anywhere").hosts == []
    assert credential(ada, name="bound", hosts=["API.example.com"]).hosts == ["api.example.com"]


def test_another_list_of_hosts_counts_at_once_and_is_told() -> None:
    made = credential(name="key", hosts=["api.example.com"])

    credentials.change(made.id, {"hosts": ["other.example.com:8443"]}, actor=SYSTEM)

    row = Credential.objects.get(id=made.id)
    assert row.hosts == ["other.example.com:8443"]
    assert credentials.secret_of(row) == SECRET
    told = audited(made.id)["credential.updated"]
    assert (told.before, told.after) == (
        {"hosts": ["api.example.com"]},
        {"hosts": ["other.example.com:8443"]},
    )
    with pytest.raises(Invalid, match="a shared credential names the hosts"):
        credentials.change(made.id, {"hosts": []}, actor=SYSTEM)


def test_one_of_before_is_named_by_the_doctor_until_it_gets_hosts() -> None:
    made = of_before("unbound-key")
    credential(name="bound-key")
    credential(person(), name="own-key")

    found = {one.name: one for one in doctor.examine()}["credentials"]
    assert found.level is Level.WARN
    assert "'unbound-key'" in found.fact
    assert "bound-key'" not in found.fact.replace("'unbound-key'", "")
    assert "own-key" not in found.fact
    with pytest.raises(Invalid, match="a shared credential names the hosts"):
        credentials.change(made.id, {"value": "n3w-value"}, actor=SYSTEM)
    credentials.change(made.id, {"value": "n3w-value", "hosts": ["a.example.com"]}, actor=SYSTEM)

    mended = {one.name: one for one in doctor.examine()}["credentials"]
    assert (mended.level, mended.fact) == (Level.OK, "shared ones name their hosts")


def test_keys_are_rotated_with_one_of_before_among_them() -> None:
    made = of_before()

    assert credentials.renew_all() >= 1
    assert credentials.secret_of(Credential.objects.get(id=made.id)) == SECRET


def test_an_endpoint_that_leads_elsewhere_is_refused_when_it_is_saved() -> None:
    ada = person()
    shared = credential(name="key", hosts=["api.example.com"])
    made = endpoint(ada, url="https://api.example.com/", headers=KEY_HEADER)

    message = "bound to api.example.com and may not travel to attacker.net:443; an operator can add"
    for url in ("https://attacker.net/", "https://api.example.com.attacker.net/"):
        with pytest.raises(Invalid, match=r"headers.Authorization.credential: credential 'key'"):
            endpoint(ada, url=url, headers=KEY_HEADER)
    with pytest.raises(Invalid, match=message):
        endpoints.change(made.id, {"url": "https://attacker.net/"}, actor=SYSTEM)
    credentials.change(shared.id, {"hosts": ["other.example.com"]}, actor=SYSTEM)
    assert endpoints.change(made.id, {"enabled": False}, actor=SYSTEM).enabled is False


def test_a_provider_that_is_elsewhere_is_refused_when_it_is_saved() -> None:
    shared = credential(name="key", hosts=["models.example.com"])
    made = provider(base_url="https://models.example.com/v1", credential="key")

    for url in ("https://attacker.net/v1", ""):
        with pytest.raises(Invalid, match=r"bound to models\.example\.com"):
            providers.change(made.id, {"base_url": url}, actor=SYSTEM)
        with pytest.raises(Invalid, match=r"bound to models\.example\.com"):
            provider(base_url=url, credential="key")
    credentials.change(shared.id, {"hosts": ["api.openai.com"]}, actor=SYSTEM)
    assert provider(base_url="", credential="key").credential == shared
    assert providers.change(made.id, {"enabled": False}, actor=SYSTEM).enabled is False


# The call


@pytest.mark.parametrize("words", [{}, {"kind": "query", "parameter": "k"}])
def test_a_shared_secret_does_not_leave_for_a_host_that_it_does_not_name(
    door: http.Door, httpserver: HTTPServer, words: dict[str, Any]
) -> None:
    secret(None, "key", SECRET, hosts=["api.example.com"], **words)
    header = words.get("parameter", "Authorization")
    mine = registered(httpserver.url_for("/"), headers={header: {"credential": "key"}})

    with pytest.raises(HandlerError, match="an operator can add that host") as refused:
        make(mine, door)

    assert refused.value.error_class is ErrorClass.PERMANENT
    assert refused.value.may_repeat
    assert "api.example.com" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert httpserver.log == []


def test_an_own_one_goes_anywhere_unless_it_is_bound(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_json({})
    ada = person()
    own = secret(ada, "key", SECRET)
    mine = registered(httpserver.url_for("/"), owner=ada, headers=KEY_HEADER)

    make(mine, door)
    Credential.objects.filter(id=own.id).update(hosts=[f"localhost:{httpserver.port}"])
    make(mine, door)
    Credential.objects.filter(id=own.id).update(hosts=[f"localhost:{httpserver.port + 1}"])
    with pytest.raises(HandlerError, match="its owner can add that host"):
        make(mine, door)

    sent = [request.headers["Authorization"] for request, _ in httpserver.log]
    assert sent == [f"Bearer {SECRET}"] * 2


def test_a_plan_that_was_made_before_carries_it_no_further_than_the_list_of_now(
    door: http.Door, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_json({})
    shared = secret(None, "key", SECRET, hosts=["localhost"])
    mine = registered(httpserver.url_for("/"), headers=KEY_HEADER)
    make(mine, door)

    credentials.change(shared.id, {"hosts": ["api.example.com"]}, actor=SYSTEM)

    with pytest.raises(HandlerError, match="may not travel to localhost"):
        make(mine, door)
    assert len(httpserver.log) == 1


def test_a_redirect_carries_it_to_no_other_host(httpserver: HTTPServer) -> None:
    elsewhere = f"http://127.0.0.1:{httpserver.port}/stolen"
    httpserver.expect_request("/").respond_with_response(
        Response(status=307, headers={"Location": elsewhere})
    )
    httpserver.expect_request("/stolen").respond_with_json({})
    secret(None, "key", SECRET, hosts=["localhost"])
    mine = registered(httpserver.url_for("/"), headers=KEY_HEADER)
    door = http.Door(["127.0.0.1", "localhost"])

    with pytest.raises(HandlerError, match="a redirect; they are not followed"):
        make(mine, door)

    assert [request.path for request, _ in httpserver.log] == ["/"]
    door.close()


def test_one_of_before_travels_as_it_did(door: http.Door, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_json({})
    of_before()

    make(registered(httpserver.url_for("/"), headers=KEY_HEADER), door)

    assert httpserver.log[0][0].headers["Authorization"] == f"Bearer {SECRET}"


def test_the_key_of_a_model_does_not_leave_for_a_host_that_it_does_not_name() -> None:
    with model_server() as server:
        server.key = SECRET
        key = credential(name="key", value=SECRET)
        made = provider(base_url=server.url, credential="key")
        server.on("plan", says("hello"))

        assert llm.ask(question(made)).text == "hello"
        credentials.change(key.id, {"hosts": ["models.example.com"]}, actor=SYSTEM)
        made.refresh_from_db()
        with pytest.raises(llm.ModelNotConfigured, match="may not travel to 127") as refused:
            llm.ask(question(made))

        assert server.count() == 1
    assert refused.value.error_class is ErrorClass.PERMANENT
    assert SECRET not in str(refused.value)
