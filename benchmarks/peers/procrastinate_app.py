"""Beside the product: the procrastinate application: two jobs."""

from __future__ import annotations

from procrastinate import App, PsycopgConnector

from benchmarks.peers import stage

app = App(connector=PsycopgConnector(conninfo=stage.DATABASE_URL, min_size=4, max_size=20))


@app.task(name="noop")
async def noop() -> None:
    """Nothing."""


@app.task(name="clocked")
async def clocked() -> None:
    """A note of the time."""
    stage.note_start()
