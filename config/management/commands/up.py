"""`manage.py up`: everything on one machine, from an empty folder to a page that answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from django.core.management.base import BaseCommand, CommandError

from config import embedded, embedded_instance
from config.embedded import AlreadyRunning, Owner, ServiceError
from config.env import CHECKOUT, env
from config.supervisor import Report, StopSignals, Supervisor, read_procfile

USAGE, UNAVAILABLE, TRY_AGAIN, INTERRUPTED = 2, 69, 75, 130
READY_SECONDS = 120
REVIVE_PAUSE_SECONDS = 5
SETTLE_SECONDS = 10  # added to the drain: a worker needs them to give back what it cut short
MANAGE = [sys.executable, str(CHECKOUT / "manage.py")]
PORT_OF = {"web": "PORT", "flower": "FLOWER_PORT"}
DEMO_PROCESS = "env CADENZA_ROLE=demo python manage.py demo --serve"


class Command(BaseCommand):
    help = "Run everything on this machine: services, web, beats, workers, Flower."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action=BooleanOptionalAction, default=False)
        parser.add_argument("--port", type=int, help="of the web pages; else PORT, else free")
        parser.add_argument("--json", action="store_true", help="one JSON document when ready")

    def handle(self, *_args: Any, **options: Any) -> None:
        data_dir = embedded.resolve_data_dir(env.cadenza_data_dir, CHECKOUT)
        signals = StopSignals()
        signals.listen()
        try:
            with embedded.start(
                data_dir, database_url=env.database_url, redis_url=env.redis_url
            ) as owner:
                self._run(owner, signals, options)
        except AlreadyRunning as error:
            raise CommandError(str(error), returncode=TRY_AGAIN) from None
        except ServiceError as error:
            raise CommandError(str(error), returncode=UNAVAILABLE) from None
        self.tell("Everything is stopped.")
        if signals.last == signal.SIGINT:
            sys.exit(INTERRUPTED)

    def tell(self, text: str) -> None:
        """For a person; a closed terminal must not stop the stopping."""
        with contextlib.suppress(OSError):
            self.stderr.write(text, style_func=str)  # the default is the red of errors
            self.stderr.flush()

    def _run(self, owner: Owner, signals: StopSignals, options: dict[str, Any]) -> None:
        self.tell(f"PostgreSQL and Redis answer; data and logs are in {owner.data_dir}")
        supervisor = Supervisor(
            environment={**os.environ, **addresses(owner, options)},
            mark=owner.services.token,
            cwd=CHECKOUT,
            logs=owner.data_dir / "logs",
            report=self.tell,
            signals=signals,
            drain_seconds=env.drain_seconds + SETTLE_SECONDS,
        )
        if supervisor.end_leftovers():
            self.tell("Ended what a killed run had left behind")
        admin = self._prepare(supervisor, options)
        if admin is None:
            return
        commands = read_procfile(CHECKOUT / "Procfile")
        if options["demo"]:
            commands["demo"] = DEMO_PROCESS
        try:
            supervisor.start(commands)
            self._supervise(owner, supervisor, admin=admin, options=options)
        finally:
            self.tell("Stopping; press Ctrl-C again not to wait for running work")
            supervisor.stop()
            supervisor.end_leftovers()  # jobs of a worker that was killed

    def _prepare(
        self, supervisor: Supervisor, options: dict[str, Any]
    ) -> dict[str, str | None] | None:
        """Tables, the first administrator, the demo; None when a signal asked to stop."""
        steps = {
            "migrate": ["migrate", "--no-input", "--verbosity=0"],
            "first_admin": ["first_admin", "--json"],
        }
        if options["demo"]:
            steps["demo_load"] = ["demo", "--load", "--json"]
        said: dict[str, str] = {}
        for name, arguments in steps.items():
            self.tell(f"Running manage.py {' '.join(arguments)}")
            try:
                output = supervisor.run_once(name, [*MANAGE, *arguments])
            except subprocess.CalledProcessError as error:
                raise CommandError(f"manage.py {name} failed:\n{error.stderr}") from None
            if output is None:
                return None
            said[name] = output
        admin = json.loads(said["first_admin"])
        return {"user": admin["username"], "password": admin["password"]}

    def _supervise(
        self,
        owner: Owner,
        supervisor: Supervisor,
        *,
        admin: dict[str, str | None],
        options: dict[str, Any],
    ) -> None:
        keeper = Keeper(owner, supervisor, self.tell, asked_ports(options))
        deadline = time.monotonic() + READY_SECONDS
        supervisor.watch(
            each_tick=keeper, until=lambda: keeper.web_answers() or time.monotonic() > deadline
        )
        if supervisor.signals.count:
            return
        if not keeper.is_ready:
            raise CommandError(f"the web process does not answer; read {supervisor.logs}/web.log")
        keeper()
        self._say_ready(owner, supervisor.environment, admin=admin, options=options)
        supervisor.watch(each_tick=keeper, until=lambda: False)

    def _say_ready(
        self,
        owner: Owner,
        environment: dict[str, str],
        *,
        admin: dict[str, str | None],
        options: dict[str, Any],
    ) -> None:
        services = owner.services
        if options["json"]:
            document = {**asdict(services), "admin": admin}
            document["demo_url"] = environment.get("DEMO_URL", "")
            self.stdout.write(json.dumps(document))
            self.stdout.flush()
        password = "as it was set" if admin["password"] is None else "shown once"
        if admin["password"] is not None and not options["json"]:
            password = f"{admin['password']} (shown only now: write it down)"
        lines = [
            "",
            "Cadenza is ready.",
            f"  pages     {services.web_url}",
            f"  sign in   {admin['user']}, password {password}",
            f"  Flower    {services.flower_url}",
            f"  logs      {owner.data_dir / 'logs'}",
            "  stop      Ctrl-C",
        ]
        self.tell("\n".join(lines))


@dataclass
class Keeper:
    """Between two looks at the processes: revives the services, keeps `services.json` true."""

    owner: Owner
    supervisor: Supervisor
    tell: Report
    asked_ports: Collection[str]
    is_ready: bool = False
    next_try_at: float = 0.0  # monotonic seconds

    def __call__(self) -> None:
        self._revive_services()
        for name, variable in PORT_OF.items():
            if name not in self.supervisor.pids and variable not in self.asked_ports:
                self._leave_a_taken_port(variable)
        found: dict[str, Any] = {"pids": {**self.owner.services.pids, **self.supervisor.pids}}
        if self.is_ready:
            found["web_url"] = f"http://127.0.0.1:{self.supervisor.environment['PORT']}"
            found["flower_url"] = f"http://127.0.0.1:{self.supervisor.environment['FLOWER_PORT']}"
        if replace(self.owner.services, **found) != self.owner.services:
            self.owner.publish(**found)

    def web_answers(self) -> bool:
        """Whether our web process, and no other installation's, answers that it lives."""
        pid = self.supervisor.pids.get("web")
        port = int(self.supervisor.environment["PORT"])
        self.is_ready = pid is not None and listens(pid, port=port) and is_live(port)
        return self.is_ready

    def _revive_services(self) -> None:
        if time.monotonic() < self.next_try_at:
            return
        try:
            for name in self.owner.ensure_alive():
                self.tell(f"{name} had died and was started again")
        except ServiceError as error:
            self.tell(str(error))
            self.next_try_at = time.monotonic() + REVIVE_PAUSE_SECONDS

    def _leave_a_taken_port(self, variable: str) -> None:
        """Before a dead process is started again: another may have taken the port it was given."""
        taken = int(self.supervisor.environment[variable])
        if not embedded_instance.is_free(taken):
            port = choose_port(self.owner.data_dir, variable, asked=None, default=taken)
            self.supervisor.environment[variable] = port
            self.tell(f"port {taken} was taken by another program; now {variable} is {port}")


def asked_ports(options: dict[str, Any]) -> dict[str, int]:
    """The ports a person named: they are used or refused, and never changed for others."""
    named = {"PORT": env.port, "FLOWER_PORT": env.flower_port}
    asked = {name: port for name, port in named.items() if name.lower() in env.model_fields_set}
    return {**asked, "PORT": options["port"]} if options["port"] else asked


def addresses(owner: Owner, options: dict[str, Any]) -> dict[str, str]:
    """What the processes are told by their environment; raises CommandError for a port in use."""
    asked = asked_ports(options)
    told = {
        "DATABASE_URL": owner.services.database_url,
        "REDIS_URL": owner.services.redis_url,
        "CADENZA_DATA_DIR": str(owner.data_dir),
        "PORT": choose_port(owner.data_dir, "PORT", asked=asked.get("PORT"), default=8000),
        "FLOWER_PORT": choose_port(
            owner.data_dir, "FLOWER_PORT", asked=asked.get("FLOWER_PORT"), default=5555
        ),
    }
    if options["demo"]:
        port = choose_port(owner.data_dir, "DEMO_PORT", asked=env.demo_port or None, default=0)
        told["DEMO_PORT"] = port
        told["DEMO_URL"] = f"http://127.0.0.1:{port}"
        told["OUTBOUND_ALLOW"] = ",".join([*env.outbound_allow, f"127.0.0.1:{port}"])
    return told


def choose_port(data_dir: Path, name: str, *, asked: int | None, default: int) -> str:
    """The port asked for, which must be free; else the remembered or next free one."""
    if asked is None:
        return str(embedded_instance.remember_port(data_dir, name=name, preferred=default))
    if not embedded_instance.is_free(asked):
        raise CommandError(
            f"port {asked} is in use; end what listens there, or set {name} to another port",
            returncode=USAGE,
        )
    return str(asked)


def listens(pid: int, *, port: int) -> bool:
    """Whether this process itself listens on the port."""
    with contextlib.suppress(psutil.Error):
        sockets = psutil.Process(pid).net_connections("tcp")
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)
    return False


def is_live(port: int) -> bool:
    """Whether the web process answers that it lives."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/api/health/live")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
