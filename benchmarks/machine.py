"""Beside the numbers: the machine and the versions that they belong to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil
import redis

PACKAGES: Final = ("celery", "django", "kombu", "psycopg", "redis")


def described() -> dict[str, Any]:
    """Processor, cores, memory, system, and how busy it was with other work at the end."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    """Python and the packages that ours runs on."""
    return {
        "python": platform.python_version(),
        **{f"{name} (ours)": version(name) for name in PACKAGES},
    }


def redis_version(broker: redis.Redis) -> str:
    """Of the server."""
    found: Any = broker.info("server")
    return str(found["redis_version"])
