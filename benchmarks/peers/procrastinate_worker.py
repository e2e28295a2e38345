"""Beside the product: one procrastinate worker; its argument is how many jobs it runs at a time."""

from __future__ import annotations

import asyncio
import sys

from benchmarks.peers import stage
from benchmarks.peers.procrastinate_app import app


async def _work(concurrency: int) -> None:
    async with app.open_async():
        stage.say_ready()
        await app.run_worker_async(concurrency=concurrency, install_signal_handlers=True)


if __name__ == "__main__":
    asyncio.run(_work(int(sys.argv[1])))
