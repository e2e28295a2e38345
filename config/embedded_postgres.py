"""Before any execution exists: the embedded PostgreSQL, run from the binaries of a pip package.

The package's own launcher is not used: it opens every ancestor folder to all users, keeps a list
of process ids and stops the server when the first process that used it exits.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from config import embedded_instance
from config.embedded_daemon import (
    Daemon,
    ServiceError,
    last_lines,
    launch,
    leftover,
    run,
    wait_until,
)
from config.embedded_instance import Instance
from config.embedded_programs import MAJOR, os_user, programs_for

DATABASE = "cadenza"
SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108, other systems' 104
START_SECONDS = 120  # recovery after a crash reads up to max_wal_size
STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 15.0), (signal.SIGKILL, 5.0))
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
}
FASTER_THAN_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """The cluster of one data folder; `durable=False` gives up crash safety (for tests)."""

    data_dir: Path
    durable: bool = True

    @property
    def cluster(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def log(self) -> Path:
        return self.data_dir / "logs" / "postgres.log"

    def url(self, instance: Instance) -> str:
        return f"postgresql://postgres@/{DATABASE}?host={quote(instance.socket_dir, safe='')}"

    def find(self, instance: Instance) -> Daemon | None:
        """The server of this folder if it answers with the instance's token."""
        try:
            with self._connect(instance) as connection:
                row = connection.execute(
                    "SELECT current_setting('cadenza.instance', true),"
                    " current_setting('data_directory')"
                ).fetchone()
        except psycopg.Error:
            return None
        if row != (instance.token, str(self.cluster)):
            return None
        return leftover(self.cluster / "postmaster.pid", name="postgres", directory=self.cluster)

    def start(self, instance: Instance) -> Daemon:
        """Run the server and make its database; raises ServiceError with the end of its log."""
        user = os_user(self.data_dir)
        programs = programs_for(user, data_dir=self.data_dir)
        self._create_cluster(programs, user=user)
        self._remove_leftover(instance)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            daemon = self._launch(programs, instance, user=user)
            if daemon is not None:
                self._create_database(instance)
                return daemon
            if "shared memory block" not in last_lines(self.log):
                break
            time.sleep(0.2)  # the backends of a killed server hold its memory a moment longer
        raise ServiceError(f"PostgreSQL does not start; {self.log} ends:\n{last_lines(self.log)}")

    def stop(self, daemon: Daemon) -> None:
        daemon.stop(STOP_SIGNALS)

    def _launch(self, programs: Path, instance: Instance, *, user: str | None) -> Daemon | None:
        daemon = launch(
            [str(programs / "postgres"), "-D", str(self.cluster), *self._options(instance)],
            log=self.log,
            cwd=self.cluster,
            user=user,
        )
        wait_until(
            lambda: not daemon.is_alive() or self.find(instance) is not None, seconds=START_SECONDS
        )
        if self.find(instance) is not None:
            return daemon
        if daemon.is_alive():
            self.stop(daemon)
        return None

    def _options(self, instance: Instance) -> list[str]:
        settings = {
            **SETTINGS,
            **({} if self.durable else FASTER_THAN_DURABLE),
            "unix_socket_directories": instance.socket_dir,
            "cadenza.instance": instance.token,
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _connect(
        self, instance: Instance, *, dbname: str = "postgres"
    ) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=instance.socket_dir,
            user="postgres",
            dbname=dbname,
            connect_timeout=5,
            autocommit=True,
        )

    def _create_database(self, instance: Instance) -> None:
        with self._connect(instance) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _create_cluster(self, programs: Path, *, user: str | None) -> None:
        """Make the cluster in a draft folder and rename it, so that it is whole or absent."""
        version = self.cluster / "PG_VERSION"
        if version.exists():
            if version.read_text().strip() != MAJOR:
                raise ServiceError(
                    f"{self.cluster} was made by PostgreSQL {version.read_text().strip()}, the "
                    f"installed package has {MAJOR}; dump it with the old release and load it here"
                )
            return
        draft = self.data_dir / "postgres.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(draft, user, user)
        made = run(
            [
                str(programs / "initdb"),
                *("--pgdata", str(draft), "--username=postgres", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if self.durable else ("--no-sync",)),
            ],
            cwd=draft,
            user=user,
        )
        if made.returncode != 0:
            raise ServiceError(f"PostgreSQL's initdb failed in {draft}:\n{made.stderr.strip()}")
        if self.cluster.exists():
            self.cluster.rmdir()
        draft.rename(self.cluster)

    def _remove_leftover(self, instance: Instance) -> None:
        """End a server on our cluster that cannot be adopted, else drop misleading lock files."""
        pid_file = self.cluster / "postmaster.pid"
        found = leftover(pid_file, name="postgres", directory=self.cluster)
        if found is not None:
            found.stop(STOP_SIGNALS)
            return
        for lock in (pid_file, Path(instance.socket_dir) / f"{SOCKET_NAME}.lock"):
            if lock.exists() and psutil.pid_exists(int(lock.read_text().split()[0])):
                # A reused or unreaped process id: PostgreSQL would take it for a living server.
                # The owner's lock excludes a rival, the shared memory's key what a rival forked.
                lock.unlink()


def with_socket_dir(instance: Instance) -> Instance:
    """The instance with a folder for the socket: private, its path short, kept between starts."""
    data_dir = Path(instance.data_dir)
    user = os_user(data_dir)
    uid = os.geteuid() if user is None else pwd.getpwnam(user).pw_uid
    near = data_dir / "run"
    if len(os.fsencode(near / SOCKET_NAME)) < LONGEST_SOCKET_PATH:
        near.mkdir(mode=0o700, exist_ok=True)
        chosen = near
    else:
        known = Path(instance.socket_dir) if instance.socket_dir else None
        is_usable = known is not None and known.is_dir() and known.lstat().st_uid == uid
        chosen = known if known and is_usable else Path(tempfile.mkdtemp(prefix="cadenza-"))
    os.chown(chosen, uid, -1)
    chosen.chmod(0o700)
    updated = replace(instance, socket_dir=str(chosen))
    embedded_instance.save(updated)
    return updated
