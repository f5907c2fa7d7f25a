"""What procrastinate's worker and its client share, and the worker: `python -m storing.procrastinate_app`."""
import asyncio
import os

import procrastinate

POSTGRES = "HERO_BENCH_POSTGRES"


def make(connections):
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(
        conninfo=os.environ[POSTGRES], min_size=4, max_size=connections))

    @app.task(name="empty")
    async def empty():
        pass

    return app, empty


async def work():
    app, _ = make(16)
    async with app.open_async():
        await app.run_worker_async(concurrency=64)


if __name__ == "__main__":
    asyncio.run(work())
