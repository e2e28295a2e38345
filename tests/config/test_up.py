"""`manage.py up` as a stranger meets it: from an empty folder to pages, and back to nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from config import embedded, embedded_instance
from config.embedded_daemon import wait_until
from config.supervisor import marked, read_procfile

CHECKOUT = Path(__file__).resolve().parent.parent.parent
UP = [sys.executable, str(CHECKOUT / "manage.py"), "up"]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="cadenza-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """As in a new terminal, but for the data folder."""
    others = {"DATABASE_URL", "REDIS_URL", "PORT", "FLOWER_PORT", "CADENZA_ADMIN_PASSWORD"}
    inherited = {name: value for name, value in os.environ.items() if name not in others}
    return {
        **inherited,
        "CADENZA_DATA_DIR": str(folder),
        "DJANGO_ENV": "development",
        "DRAIN_SECONDS": "5",
    }


def refused(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*UP, *arguments],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextlib.contextmanager
def up(environment: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A running `up`; whatever the test does to it, nothing of it stays."""
    complained = folder / "stderr"
    with (
        complained.open("w") as stderr,
        subprocess.Popen(
            [*UP, "--json"],
            env=dict(environment),
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as running,
    ):
        try:
            yield running
        finally:
            running.terminate()


def ready(running: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    assert running.stdout is not None
    said = running.stdout.readline()
    assert said, (folder / "stderr").read_text()
    document: dict[str, Any] = json.loads(said)
    return document


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return int(answer.status)


def test_a_second_up_says_where_the_first_runs_and_leaves_it_alone(
    folder: Path, environment: dict[str, str]
) -> None:
    with embedded.start(folder, durable=False) as owner:
        owner.publish(web_url="http://127.0.0.1:8000")

        second = refused(environment)

        assert second.returncode == 75
        assert f"already runs on {folder} at http://127.0.0.1:8000" in second.stderr
        assert embedded.verify(owner.services)


@pytest.mark.parametrize("name", ["PORT", "FLOWER_PORT"])
def test_a_port_that_was_asked_for_and_is_in_use_stops_the_start(
    folder: Path, environment: dict[str, str], name: str
) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]

        stopped = refused({**environment, name: str(port)})

    assert stopped.returncode == 2
    assert f"port {port} is in use" in stopped.stderr
    assert f"set {name} to another port" in stopped.stderr
    assert embedded.discover(folder) is None


@pytest.mark.journey
def test_up_that_is_interrupted_while_it_prepares_takes_down_what_there_is(
    folder: Path, environment: dict[str, str]
) -> None:
    with up(environment, folder) as running:
        said = folder / "stderr"
        assert wait_until(lambda: "Running manage.py migrate" in said.read_text(), seconds=120)

        running.terminate()
        running.wait(timeout=120)

    assert running.returncode == 0
    assert embedded.discover(folder) is None
    instance = embedded_instance.read_json(folder / "instance.json")
    assert instance is not None
    assert list(marked(instance["token"])) == []


@pytest.mark.journey
def test_up_brings_everything_to_life_and_the_next_one_ends_what_a_killed_one_left(
    folder: Path, environment: dict[str, str]
) -> None:
    with up(environment, folder) as killed, socket.socket() as stranger:
        taken = taken_by(stranger, folder)
        before = ready(killed, folder)
        check_alive(before, folder)
        assert before["web_url"] != f"http://127.0.0.1:{taken}"
        assert before["admin"]["password"]
        killed.kill()

    with up(environment, folder) as running:
        after = ready(running, folder)
        check_alive(after, folder)
        assert after["admin"]["password"] is None
        leaders, sessions = leaders_and_sessions(after["token"], running.pid)
        assert after["pids"]["postgres"] == before["pids"]["postgres"]
        assert leaders == {
            pid for name, pid in after["pids"].items() if name not in {"postgres", "redis"}
        }
        assert sessions <= leaders

        running.send_signal(signal.SIGINT)
        running.wait(timeout=120)

    assert running.returncode == 130
    assert wait_until(lambda: not list(marked(after["token"])), seconds=60)
    assert embedded.discover(folder) is None


def leaders_and_sessions(token: str, owner: int) -> tuple[set[int], set[int]]:
    """Which of an installation's processes its owner has started, and the sessions of the rest."""
    leaders, sessions = set(), set()
    for one in marked(token):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has just ended
            if one.ppid() == owner:
                leaders.add(one.pid)
            else:
                sessions.add(os.getsid(one.pid))
    return leaders, sessions


def taken_by(stranger: socket.socket, folder: Path) -> int:
    """The port that `up` has chosen for its pages, which another program takes before they do."""

    def chosen() -> int:
        content = embedded_instance.read_json(folder / "instance.json") or {"ports": {}}
        return int(content["ports"].get("PORT", 0))

    assert wait_until(lambda: chosen() != 0, seconds=120, pause=0.005)
    port = chosen()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stranger.bind(("127.0.0.1", port))
    stranger.listen()
    return port


def check_alive(document: dict[str, Any], folder: Path) -> None:
    """Pages answer, every process runs, there is one administrator."""
    assert status_of(f"{document['web_url']}/api/health/live") == 200
    assert read_procfile(CHECKOUT / "Procfile").keys() <= document["pids"].keys()
    found = embedded.discover(folder)
    assert found is not None
    assert found.web_url == document["web_url"]
    assert embedded.verify(found)
    with psycopg.connect(found.database_url) as connection:
        admins = connection.execute("SELECT username FROM auth_user").fetchall()
    assert (document["admin"]["user"], admins) == ("admin", [("admin",)])
