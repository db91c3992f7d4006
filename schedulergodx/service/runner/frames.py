"""What passes between the service and the process of a hard task: one frame each way, and no pickle of our own.

A frame is its length, the length of its head, the head (JSON text by the rules of `results`), and raw bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.utils.keys.access import Access, broker_and_keys
from schedulergodx.utils.keys.ring import parse_keys
from schedulergodx.utils.message import results
from schedulergodx.utils.message.seals import from_own_service
from schedulergodx.utils.rmq_property import RmqConnect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schedulergodx.utils.message.seals import Verified

LENGTH = struct.Struct(">Q")
_RAW_FIELDS = ("function", "arguments", "arguments_by_value")  # large: they travel beside the head, as they are


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a worker is to do: the arguments of `execution.run_payload`."""

    task: Verified
    start_number: int
    broker: object | None
    result_bytes_max: int


class FrameReader:
    """Collects one frame from pieces. `length_max` bounds what is kept of a sender that has gone mad."""

    def __init__(self, length_max: int | None = None) -> None:
        self._data = bytearray()
        self._length_max = length_max
        self.is_broken = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece; what comes behind the frame is not kept."""
        if self.is_broken or self.is_complete:
            return
        self._data += piece
        length = self._length()
        if length is not None and self._length_max is not None and length > self._length_max:
            self.is_broken = True
            self._data.clear()

    @property
    def is_complete(self) -> bool:
        """Whether the whole frame is here."""
        length = self._length()
        return length is not None and len(self._data) >= LENGTH.size + length

    def body(self) -> bytes:
        """Return what the frame holds, once it is complete."""
        return bytes(memoryview(self._data)[LENGTH.size : LENGTH.size + (self._length() or 0)])

    def _length(self) -> int | None:
        if len(self._data) < LENGTH.size:
            return None
        length: int = LENGTH.unpack_from(self._data)[0]
        return length


def pack_order(order: Order) -> bytes:
    """Return the frame that tells a worker what to do. Raises nothing."""
    task = {field.name: getattr(order.task, field.name) for field in fields(TaskSpec) if field.name not in _RAW_FIELDS}
    task["limits"] = order.task.limits.given()
    broker, ring = broker_and_keys(order.broker)
    head = {
        "task": task,
        "start_number": order.start_number,
        "broker": _broker_facts(broker),
        "keys": None if ring is None else ring.text(),
        "result_bytes_max": order.result_bytes_max,
    }
    return _pack(head, [getattr(order.task, name) for name in _RAW_FIELDS])


def unpack_order(body: bytes) -> Order:
    """Read what `pack_order` wrote."""
    head, blobs = _unpack(body)
    limits = TaskLimits(**head["task"].pop("limits"))
    return Order(
        task=from_own_service(TaskSpec(**(head["task"] | dict(zip(_RAW_FIELDS, blobs, strict=True))), limits=limits)),
        start_number=head["start_number"],
        broker=_access(_broker(head["broker"]), head["keys"]),
        result_bytes_max=head["result_bytes_max"],
    )


def pack_report(report: Report) -> bytes:
    """Return the frame that tells the service what came of a run."""
    head = {
        "code": report.code.value,
        "exception_type": report.exception_type,
        "message": report.message,
        "traceback": report.traceback,
    }
    return _pack(head, [None if report.result is None else report.result.encode("ascii")])


def unpack_report(body: bytes) -> Report | None:
    """Read what `pack_report` wrote; None when it is something else: the task could write into its pipe, too."""
    try:
        head, (result,) = _unpack(body)
        report = Report(
            **{**head, "code": Code(head["code"])}, result=None if result is None else result.decode("ascii")
        )
        if report.result is not None:
            results.decode(report.result)  # it goes into an answer as it stands
        return report if all(isinstance(text, str) for text in head.values()) else None
    except Exception:  # noqa: BLE001 - these bytes come from the process of the task, and may be anything
        return None


def _pack(head: Mapping[str, object], blobs: Sequence[bytes | None]) -> bytes:
    sizes = [None if blob is None else len(blob) for blob in blobs]
    text = results.encode({"head": dict(head), "sizes": sizes}).encode("ascii")
    parts = [LENGTH.pack(len(text)), text, *(blob for blob in blobs if blob is not None)]
    return b"".join([LENGTH.pack(sum(map(len, parts))), *parts])


def _unpack(body: bytes) -> tuple[dict[str, Any], list[bytes | None]]:
    place = LENGTH.size + LENGTH.unpack_from(body)[0]
    decoded = results.decode(body[LENGTH.size : place].decode("ascii"))
    blobs: list[bytes | None] = []
    for size in decoded["sizes"]:
        blobs.append(None if size is None else body[place : place + size])
        place += size or 0
    return decoded["head"], blobs


def _broker_facts(broker: object | None) -> object:
    """Return what a worker needs to find the broker as plain data, or None where there is nothing such."""
    if isinstance(broker, str):
        return broker
    if not isinstance(broker, RmqConnect):
        return None
    facts = {"parameters": broker.rmq_parameters, "credentials": broker.rmq_credentials, "uses_tls": broker.uses_tls}
    try:
        results.encode(facts)
    except results.Unserializable:  # an object of pika among the parameters; hard tasks then cannot launch others
        return None
    return facts


def _access(broker: object | None, keys: str | None) -> object | None:
    if keys is None:
        return broker
    ring = parse_keys(keys, origin="the service's keys")
    return Access(broker, lambda: ring)


def _broker(facts: Any) -> object | None:
    if isinstance(facts, dict):
        return RmqConnect(facts["parameters"], facts["credentials"], uses_tls=facts["uses_tls"])
    broker: object | None = facts
    return broker
