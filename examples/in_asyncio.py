"""Launching and waiting in an asyncio program: everything waits on events, nothing polls."""

import asyncio

from schedulergodx import Client

client = Client(name="in-asyncio")


@client.task
async def fetch(page: int) -> str:
    """Run to completion by the service, in an event loop of its own."""
    await asyncio.sleep(0.05)
    return f"page {page}"


async def main() -> None:
    """Launch three, then wait for all of them together."""
    ids = await asyncio.gather(*(fetch.launch_async(page) for page in range(3)))
    async with asyncio.timeout(10):
        print(*[await message_id for message_id in ids], sep=", ")


if __name__ == "__main__":
    with client:
        asyncio.run(main())
