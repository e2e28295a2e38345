"""Before any execution exists: what one installation remembers between two starts.

`instance.json` in the data folder holds the token by which both services are recognised, and the
ports and password that stay the same, so that addresses survive a restart.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FILE = "instance.json"


@dataclass(frozen=True)
class Instance:
    """Who these services are; `data_dir` is kept so that a copied folder becomes a new one."""

    data_dir: str
    token: str
    redis_password: str
    socket_dir: str = ""
    ports: dict[str, int] = field(default_factory=dict)


def load(data_dir: Path) -> Instance | None:
    """The instance of this folder; None if there is none yet, or it was copied from elsewhere."""
    content = read_json(data_dir / FILE)
    if content is None or content.get("data_dir") != str(data_dir):
        return None
    return Instance(**content)


def load_or_create(data_dir: Path) -> Instance:
    known = load(data_dir)
    if known is not None:
        return known
    created = Instance(
        data_dir=str(data_dir), token=secrets.token_hex(16), redis_password=secrets.token_hex(24)
    )
    save(created)
    return created


def save(instance: Instance) -> None:
    write_json(Path(instance.data_dir) / FILE, asdict(instance))


def remember_port(data_dir: Path, *, name: str, preferred: int) -> int:
    """A free port for `name`: the one used last time, else the first free from `preferred` up.

    With `preferred` 0 the system picks. The choice is remembered in the data folder.
    """
    instance = load_or_create(data_dir)
    known = instance.ports.get(name, preferred)
    port = known if known and is_free(known) else next_free(preferred)
    save(replace(instance, ports={**instance.ports, name: port}))
    return port


def is_free(port: int) -> bool:
    """Whether a service could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def next_free(start: int) -> int:
    """The first free loopback port from `start` up (a hundred are tried), else any free one."""
    if start:
        for port in range(start, min(start + 100, 65536)):
            if is_free(port):
                return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None when there is no file or it holds no object."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by one rename, readable by its owner only (mode 0600)."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as output:
        json.dump(content, output, indent=1)
    Path(draft).replace(path)
