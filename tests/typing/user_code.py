"""Code as users write it, for the type checker only: what must be accepted, and what must be an error.

`# type: ignore[code]` marks a wanted error: strict mypy complains about each that is not needed.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_type

import schedulergodx.client as scheduler
from schedulergodx import Client, MessageId, Outcome, Service, Task
from schedulergodx.service import StopReport
from schedulergodx.utils import id_generators, rmq_property, storage
from schedulergodx_testing import Harness, survives_crashes

client = Client(name="shop", url="sqlite:///queues.db", id_generator=id_generators.autoincrement())
old_client = scheduler.Client("shop", "core", rmq_property.RmqConnect(*rmq_property.rmq_default_settings))


@client.task
def price(item: str, amount: int = 1, *, currency: str = "EUR") -> float:
    return len(item) * amount * len(currency)


@client.task(hard=True, delay=5, by="value", by_value_modules=["shop.prices"])
def report(year: int) -> dict[str, list[int]]:
    return {"year": [year]}


@client.task
async def fetch(url: str) -> bytes:
    await asyncio.sleep(0)
    return url.encode()


class Shop:
    @client.task
    def total(self, amount: int) -> float:
        return amount * 1.5


# The task keeps the function's signature ...
assert_type(Shop().total(3), float)
assert_type(Shop().total.launch(3), MessageId[float])
assert_type(Shop.total.launch(Shop(), 3), MessageId[float])
assert_type(client.task(len, hard=True).launch([1]), MessageId[int])
assert_type(price("tea"), float)
assert_type(price.launch("tea", 2, currency="USD"), MessageId[float])
assert_type(price.launch_at(datetime(2030, 1, 1, tzinfo=UTC), "tea", amount=2), MessageId[float])
assert_type(report.launch(2026), MessageId[dict[str, list[int]]])
plain: Callable[[int], dict[str, list[int]]] = report.func
price(1)  # type: ignore[arg-type]
price.launch()  # type: ignore[call-arg]
price.launch("tea", "two")  # type: ignore[arg-type]
price.launch("tea", 2, "USD")  # type: ignore[call-arg]
price.launch("tea", colour="red")  # type: ignore[call-arg]
price.launch_at("tomorrow", "tea")  # type: ignore[arg-type]
price.launch_at(datetime(2030, 1, 1, tzinfo=UTC))  # type: ignore[call-arg]
report.launch("2026")  # type: ignore[arg-type]
fetch.launch(5)  # type: ignore[arg-type]

# ... the id knows what the function returns ...
launched = price.launch("tea")
assert_type(launched.result(), float)
assert_type(launched.result(timeout_s=5), float)
assert_type(launched.outcome(), Outcome | None)
text: str = launched
wrong: int = launched.result()  # type: ignore[assignment]
launched.result("5")  # type: ignore[arg-type]


async def main() -> None:
    assert_type(await price.launch_async("tea"), MessageId[float])
    assert_type(await (await price.launch_async("tea")), float)
    assert_type(await report.launch(2026), dict[str, list[int]])
    await price.launch_async(5)  # type: ignore[arg-type]


# ... and the parameters are checked.
assert_type(price.options(delay=1.5), Task[..., float])  # type: ignore[assert-type]  # it is not `...`: P is kept
assert_type(price.options(delay=1.5).launch("tea"), MessageId[float])
price.set_parameters(hard=True, task_lifetime=None, hard_task_lifetime=10, enable_overdue=True)
price.set_parameters(delay="5")  # type: ignore[arg-type]
price.set_parameters(colour="red")  # type: ignore[call-arg]
price.options(by="copy")  # type: ignore[arg-type]
client.task(hard="yes")  # type: ignore[call-overload]
client.task("price")  # type: ignore[call-overload]
Client(url=5)  # type: ignore[arg-type]
Client("shop", "core", None, None, 3, 10, False, "sqlite:///queues.db")  # type: ignore[call-arg]

with Client() as another, another.batch():
    assert_type(another, Client)
    assert_type(another.task(len).launch("abc"), MessageId[int])

with Service(url="sqlite:///queues.db", db=storage.DB("tasks.db"), threads=4, processes=2) as service:
    assert_type(service.start(), StopReport)
    Service(db=5)  # type: ignore[arg-type]


# A scenario is made a test of with options or without, and what is no function is seen.
@survives_crashes
def test_without_options(scheduler: Harness) -> None:
    price.launch("tea")


@survives_crashes(client=True, seed=7)
def test_with_options(scheduler: Harness) -> None:
    price.launch("tea")


test_without_options()
test_with_options()
survives_crashes("W9")  # type: ignore[call-overload]
