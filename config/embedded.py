"""Before any execution exists: PostgreSQL and Redis out of pip packages, when no URL is given.

One owner per data folder (an exclusive lock on `owner.lock`) starts the services, revives them when
they die and stops them last. While it runs, `services.json` tells every other command where they
are. What a killed owner left running is recognised by its token and adopted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Self

from config import embedded_instance
from config.embedded_daemon import Daemon, ServiceError
from config.embedded_postgres import Postgres, with_socket_dir
from config.embedded_redis import Redis

if TYPE_CHECKING:
    from config.env import Env

__all__ = [
    "AlreadyRunning", "Owner", "ServiceError", "Services",
    "addresses", "discover", "resolve_data_dir", "start", "verify",
]  # fmt: skip

SHARED_FOLDER: Final = Path("/var/lib/cadenza")
NOWHERE: Final = "redis://127.0.0.1:1/0"  # nobody listens there: a clear refusal, no stranger


class AlreadyRunning(ServiceError):
    """Another process owns this data folder."""


@dataclass(frozen=True)
class Services:
    """Where everything of one running installation is; the content of `services.json`."""

    data_dir: str
    database_url: str
    redis_url: str
    token: str = ""
    web_url: str = ""
    flower_url: str = ""
    owner_pid: int = 0
    pids: dict[str, int] = field(default_factory=dict)


def resolve_data_dir(configured: str, checkout: Path) -> Path:
    """The absolute data folder: as configured (relative to the checkout), if it can serve.

    PostgreSQL refuses to run as root and another user cannot enter a private home: root then gets
    a folder of the same name under /var/lib/cadenza. No folder's rights are changed for it.
    """
    path = (checkout / Path(configured).expanduser()).resolve()
    if os.geteuid() != 0 or _others_may_enter(path):
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return SHARED_FOLDER / f"{checkout.name}-{digest}"


def _others_may_enter(path: Path) -> bool:
    existing = (folder for folder in (path, *path.parents) if folder.exists())
    return all(folder.stat().st_mode & 0o001 for folder in existing)


def discover(data_dir: Path) -> Services | None:
    """What `services.json` says, unverified and without touching a service; None if absent."""
    content = embedded_instance.read_json(data_dir / "services.json")
    return None if content is None else Services(**content)


def verify(services: Services) -> bool:
    """Whether both embedded services answer with the token of their data folder."""
    data_dir = Path(services.data_dir)
    instance = embedded_instance.load(data_dir)
    if instance is None or instance.token != services.token:
        return False
    postgres, redis = Postgres(data_dir), Redis(data_dir)
    return (
        services.database_url != postgres.url(instance) or postgres.find(instance) is not None
    ) and (services.redis_url != redis.url(instance) or redis.find(instance) is not None)


def addresses(env: Env) -> Services:
    """Where this process finds PostgreSQL and Redis: the given URLs, else the embedded services.

    When nothing runs, the URLs point where the services would be, so that a command which needs
    them fails with a refused connection and one which does not need them works.
    """
    data_dir = resolve_data_dir(env.cadenza_data_dir, Path(__file__).resolve().parent.parent)
    found = None
    if not (env.database_url and env.redis_url):
        found = discover(data_dir)
    known = found or Services(
        data_dir=str(data_dir),
        database_url=f"postgresql://postgres@/cadenza?host={data_dir / 'run'}",
        redis_url=NOWHERE,
    )
    return replace(
        known,
        database_url=env.database_url or known.database_url,
        redis_url=env.redis_url or known.redis_url,
    )


class Owner:
    """Holds the lock of a data folder and the services it started or adopted."""

    def __init__(self, data_dir: Path, *, lock: IO[str], durable: bool) -> None:
        self.data_dir = data_dir
        self.postgres: Daemon | None = None
        self.redis: Daemon | None = None
        self._lock = lock
        self._postgres = Postgres(data_dir, durable=durable)
        self._redis = Redis(data_dir)
        self._instance = embedded_instance.load_or_create(data_dir)
        self.services = Services(
            str(data_dir), "", "", token=self._instance.token, owner_pid=os.getpid()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def run(self, *, database_url: str, redis_url: str) -> None:
        """Start or adopt each service whose URL was not given."""
        if not redis_url:
            self._choose_redis_port()
        if not database_url:
            self._instance = with_socket_dir(self._instance)
            self.postgres = self._postgres.find(self._instance) or self._start_postgres()
        if not redis_url:
            self.redis = self._redis.find(self._instance) or self._redis.start(self._instance)
        self.publish(
            database_url=database_url or self._postgres.url(self._instance),
            redis_url=redis_url or self._redis.url(self._instance),
            pids=self._pids(),
        )

    def ensure_alive(self) -> list[str]:
        """Start again what died, on the same data and address; returns the names of those.

        Cheap while all live: meant to be called every second. Raises ServiceError.
        """
        revived = []
        if self.postgres is not None and not self.postgres.is_alive():
            self.postgres = self._start_postgres()
            revived.append("postgres")
        if self.redis is not None and not self.redis.is_alive():
            self.redis = self._redis.start(self._instance)
            revived.append("redis")
        if revived:
            self.publish(pids={**self.services.pids, **self._pids()})
        return revived

    def publish(self, **changes: object) -> None:
        """Tell other commands: write the changed fields to `services.json`."""
        self.services = replace(self.services, **changes)  # type: ignore[arg-type]
        embedded_instance.write_json(self.data_dir / "services.json", asdict(self.services))

    def stop(self) -> None:
        """Stop the services, forget their addresses and give up the lock."""
        try:
            if self.redis is not None:
                self._redis.stop(self.redis)
            if self.postgres is not None:
                self._postgres.stop(self.postgres)
        finally:
            (self.data_dir / "services.json").unlink(missing_ok=True)
            self._lock.close()

    def _pids(self) -> dict[str, int]:
        running = {"postgres": self.postgres, "redis": self.redis}
        return {name: daemon.pid for name, daemon in running.items() if daemon is not None}

    def _start_postgres(self) -> Daemon:
        return self._postgres.start(self._instance)

    def _choose_redis_port(self) -> None:
        if "redis" in self._instance.ports and self._redis.find(self._instance) is not None:
            return
        embedded_instance.remember_port(self.data_dir, name="redis", preferred=0)
        self._instance = embedded_instance.load_or_create(self.data_dir)


def start(
    data_dir: Path, *, database_url: str = "", redis_url: str = "", durable: bool = True
) -> Owner:
    """Own the data folder and run the services whose URL is not given.

    Resumes what a former run left, adopts what a killed owner left running. With `durable=False`
    PostgreSQL gives up crash safety for speed (tests). Raises AlreadyRunning, ServiceError.
    """
    data_dir = data_dir.resolve()
    _make(data_dir)
    if os.geteuid() == 0 and not (database_url or _others_may_enter(data_dir)):
        raise ServiceError(
            f"PostgreSQL cannot run in {data_dir}: as root it runs as another user, who may not "
            "enter that folder; set CADENZA_DATA_DIR to one that all users may enter"
        )
    (data_dir / "logs").mkdir(exist_ok=True)
    owner = Owner(data_dir, lock=_lock(data_dir), durable=durable)
    try:
        owner.run(database_url=database_url, redis_url=redis_url)
    except BaseException:
        owner.stop()
        raise
    return owner


def _make(data_dir: Path) -> None:
    """Create the folder and what lacks above it; as root, so that PostgreSQL's user may enter."""
    for folder in reversed([one for one in (data_dir, *data_dir.parents) if not one.exists()]):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755 if os.geteuid() == 0 else 0o700)


def _lock(data_dir: Path) -> IO[str]:
    lock = (data_dir / "owner.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        found = discover(data_dir)
        where = f" at {found.web_url}" if found and found.web_url else ""
        raise AlreadyRunning(
            f"Cadenza already runs on {data_dir}{where}; use that one, stop it with Ctrl-C in its "
            "terminal, or choose another folder with CADENZA_DATA_DIR"
        ) from None
    return lock
