"""A disk that is full: who writes is told so, nothing is half stored, and room heals it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from agents_app.handlers import registry
from config.embedded_programs import os_user
from executions_app.models import Execution
from tests.faults.nemesis import Nemesis
from tests.faults.outages import Caller, Postgresql, patiently, postgresql
from tests.faults.test_outages import SETTINGS, firing, settled
from tests.journeys import scenario, services
from tests.journeys.handlers import Act
from tests.journeys.scenario import reaches, run, schedule
from tests.journeys.web import serving
from tests.processes import System

pytestmark = [pytest.mark.fault, pytest.mark.long]

SIZE: Final = "96m"
CHUNK: Final = b"\0" * 65_536


@contextmanager
def small_disk(server: Postgresql) -> Iterator[Path]:
    """A file system of little space, and a tablespace of that server on it."""
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system, which needs root")
    folder = Path(tempfile.mkdtemp(prefix="cadenza-small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        folder.chmod(0o755)
        inside = folder / "tablespace"
        inside.mkdir(mode=0o700)
        user = os_user(server.owner.data_dir)
        if user is not None:
            shutil.chown(inside, user, user)
        with psycopg.connect(server.url, autocommit=True) as administrator:
            administrator.execute(f"CREATE TABLESPACE small LOCATION '{inside}'")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


@pytest.fixture
def disk(django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Postgresql, Path]]:
    with django_db_blocker.unblock(), postgresql() as server, small_disk(server) as folder:
        yield server, folder
        server.end()


@pytest.fixture
def system(
    disk: tuple[Postgresql, Path], tmp_path_factory: pytest.TempPathFactory, nemesis: Nemesis
) -> Iterator[System]:
    """A system of which every table stands on the small disk."""
    server, _ = disk
    registry.register("act")(Act)
    folder = tmp_path_factory.mktemp("space")
    words = {"EXTRA_HANDLERS": scenario.EXTRA_HANDLERS, **SETTINGS}
    try:
        with services.system(folder, **words) as made:
            name = connection.settings_dict["NAME"]
            connection.close()
            with psycopg.connect(server.url, autocommit=True) as administrator:
                administrator.execute(f"ALTER DATABASE {name} SET TABLESPACE small")
            made.beat()
            made.worker(threads=4)
            made.wait_ready()
            nemesis.watch(made)
            yield made
            nemesis.look(made)
    finally:
        registry._registered.pop("act")


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as filler:
        while shutil.disk_usage(path).free:
            with contextlib.suppress(OSError):
                filler.write(CHUNK)


def test_a_full_disk_is_said_and_nothing_is_half_stored(
    system: System, disk: tuple[Postgresql, Path], nemesis: Nemesis
) -> None:
    filler = disk[1] / "filler"
    many = firing(5)
    big = schedule(overlap_policy="allow")
    trigger = f"/api/scheduler/schedules/{big.id}/trigger"
    system.until(lambda: Execution.objects.filter(status="completed").exists(), what="it works")

    with serving(system) as url, Caller(url, posts=[trigger]) as caller:
        nemesis.strikes("disk full")
        fill(filler)
        system.until(lambda: trigger in caller.refused(), what="who writes is refused", seconds=120)
        said = next(one for one in caller.answers if one.path == trigger and one.status == 503)
        filler.unlink()
        system.until(patiently(lambda: caller.answers[-1].status < 400), what="all is well")
    reaches(system, run(), "completed")
    wrong = settled(system, many, seconds=60)

    assert "has no space left" in said.text
    assert {one.name for one in system.processes.values() if one.deaths} == set()
    nemesis.found([*wrong, *caller.wrong()])
