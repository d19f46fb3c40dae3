"""An application like Cartographus, run by the tests: events of a stream become rows of a database.

It publishes events, takes them back through a durable consumer, writes each as a row, and keeps a
ledger of what it did: `published N NS` once the stream has the event, `acknowledged N` once that
was said. With `--hold SECONDS` it acknowledges at once and writes that much later, from memory.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import duckdb
import nats

if TYPE_CHECKING:
    from nats.aio.client import Client

STREAM = "EVENTS"
WORKER = "worker"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("database", type=Path)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--hold", type=float, default=0.0)
    parser.add_argument("--pace", type=float, default=0.005)
    return parser.parse_args()


async def publish(client: Client, ledger: IO[str], *, pace: float) -> None:
    js, number = client.jetstream(), 0
    while True:
        number += 1
        await js.publish("events.new", str(number).encode(), headers={"Nats-Msg-Id": str(number)})
        ledger.write(f"published {number} {time.time_ns()}\n")
        await asyncio.sleep(pace)


async def consume(
    client: Client, database: duckdb.DuckDBPyConnection, ledger: IO[str], *, hold: float
) -> None:
    worker = await client.jetstream().pull_subscribe_bind(WORKER, STREAM)
    held: list[int] = []
    flushed = time.monotonic()
    while True:
        try:
            messages = await worker.fetch(50, timeout=0.2)
        except TimeoutError:
            messages = []
        held += [int(message.data) for message in messages]
        if not hold or time.monotonic() - flushed >= hold:
            write(database, held)
            held, flushed = [], time.monotonic()
            ledger.write("flushed\n")
        for message in messages:
            await message.ack_sync()
            ledger.write(f"acknowledged {int(message.data)}\n")


def write(database: duckdb.DuckDBPyConnection, numbers: list[int]) -> None:
    if numbers:
        database.execute(
            "INSERT INTO events SELECT unnest(?::BIGINT[]) ON CONFLICT DO NOTHING", [numbers]
        )


async def main() -> None:
    said = arguments()
    database = duckdb.connect(str(said.database))
    database.execute("CREATE TABLE IF NOT EXISTS events (id BIGINT PRIMARY KEY)")
    database.execute("CHECKPOINT")
    client = await nats.connect(said.url)
    with said.ledger.open("a", buffering=1) as ledger:
        await asyncio.gather(
            publish(client, ledger, pace=said.pace),
            consume(client, database, ledger, hold=said.hold),
        )


if __name__ == "__main__":
    asyncio.run(main())
