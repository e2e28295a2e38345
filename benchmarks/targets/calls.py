"""T8: a thousand HTTP executions at once against an endpoint that takes a second, one worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks import endpoints
from benchmarks.bench import Bench
from benchmarks.table import OURS, Check, Measured, Target, value

COUNT: Final = 1_000
ENDPOINT_SECONDS: Final = 1.0
DONE_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.02
MEBIBYTE: Final = 2**20
WORKER: Final = "worker_io"
DONE: Final = f"{OURS}, all done (s)"
MEMORY: Final = f"{OURS}, peak memory (MB)"


def measure(bench: Bench) -> Measured:
    """The io worker of the Procfile alone; memory is that of the process and its children."""
    ours = bench.installation
    bench.tell(f"{OURS}: {COUNT:,} calls at once")
    with endpoints.answering(ours, after_seconds=ENDPOINT_SECONDS) as endpoint:
        ours.programs.start([WORKER])
        try:
            first = _call(bench, endpoint.url, COUNT)
            found = bench.repeat(lambda: _call(bench, endpoint.url, COUNT))
            profile = bench.profiled(lambda: _call(bench, endpoint.url, COUNT))
        finally:
            ours.programs.stop()
    cold = f"a worker's first thousand, which makes its threads, in {first[DONE]:.2f} s"
    return Measured(
        found,
        notes=[
            f"From the first message published to the last durable outcome, one process; {cold}"
        ],
        profile=profile,
    )


def _call(bench: Bench, url: str, count: int) -> dict[str, float]:
    ours = bench.installation
    ours.forget()
    with _watching(bench) as memory:
        queued = ours.inside(
            *("queue",), count=count, task_type="http_request", task_config={"url": url}
        )
        ours.wait_completed(count, seconds=DONE_SECONDS)
    _, last = ours.drained_at()
    return {DONE: last - queued["published_at"], MEMORY: max(memory) / MEBIBYTE}


@contextmanager
def _watching(bench: Bench) -> Iterator[list[int]]:
    """The worker's memory, looked at again and again while this lasts."""
    seen: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_SECONDS):
            seen.append(bench.installation.programs.resident_bytes(WORKER))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()
        seen.append(bench.installation.programs.resident_bytes(WORKER))


TARGET: Final = Target(
    name="T8",
    title="1,000 HTTP executions at once against a 1 s endpoint, one worker process",
    unit="",
    measure=measure,
    checks=(
        Check("must", "all within 2 s", value(DONE), 2.0, "below", " s"),
        Check("must", "RSS < 500 MB", value(MEMORY), 500.0, "below", " MB"),
        Check("aim", "all within 1.3 s", value(DONE), 1.3, "below", " s"),
        Check("aim", "RSS < 250 MB", value(MEMORY), 250.0, "below", " MB"),
    ),
)
