"""Fifty replies at once over one connection.

Usage: python async_streams.py [HOST:PORT]
"""

import asyncio
import sys

from cascade_client import AsyncClient

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"


async def tell(client: AsyncClient, number: int) -> int:
    async with client.stream(f"Story number {number}:", max_tokens=40, seed=number) as stream:
        async for _ in stream:
            pass
    return len(stream.result.token_ids)


async def main() -> None:
    async with AsyncClient(address, timeout=300) as client:
        counts = await asyncio.gather(*(tell(client, number) for number in range(50)))
        print(f"{len(counts)} replies, {sum(counts)} tokens")


asyncio.run(main())
