"""Throw changed messages at everything that reads them: `python tests/fuzz.py COUNT [SEED]`, or `make fuzz`.

Each input is a good message, signed or not, changed in a few places, or bytes that were never one. Reading it either
succeeds or raises `MessageRejected` with a reason of the protocol; anything else ends the run with the input in hex.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from collections import Counter
from datetime import UTC, datetime

from schedulergodx.clock import SystemClock
from schedulergodx.errors import MessageRejected
from schedulergodx.utils.keys.ring import Key, KeyRing
from schedulergodx.utils.message import answers, bundles, envelope, launches, payload
from schedulergodx.utils.message.kinds import Message
from schedulergodx.utils.message.signature import Direction, Signatures

BYTES_MAX = 100_000
REASONS = {
    "TOO_LARGE",
    "BAD_ENCODING",
    "BAD_JSON",
    "BAD_MESSAGE",
    "UNKNOWN_VERSION",
    "UNKNOWN_TYPE",
    "BAD_SIGNATURE",
}
"""Everything that reading may be refused for; `docs/protocol.md` explains them."""
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PIECES = [
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"null", b"true"),
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 200,
        b"\\ud800",
        b"\\u0000",
        b"[" * 2000,
        b'{"a":' * 500,
        b"SGX1 ",
        b"SGXB1 ",
    ),
    *(b'"id":"x",', b'"$int":"0x1"', b'"v":2,', b"0" * 64, b"=", "ü\u2028".encode()),
]
VALUES = [
    *(None, True, False, 0, -1, 2, 10**18, 1.5, -0.0, "", " ", "a\n", "\ud800", "\u202e", "x" * 300, [], [1], {}),
    *(
        {"$int": "0x1"},
        {"cpu_s_max": 0},
        {"$tuple": [[], {}]},
        "e30=",
        "9999-12-31T23:59:59+00:01",
        "posix:system",
        "{",
    ),
]


def good_messages(signatures: Signatures) -> list[bytes]:
    """Return messages of every kind, unsigned and signed."""
    task = launches.envelope_of(
        payload.pack(len, ([1, 2],), {}),
        message_id="fuzz",
        client="shop",
        reply_to="service-client.shop.1",
        issued_at=NOON,
        run_at=NOON,
        is_hard=True,
        lifetime_s=1.5,
        is_overdue_enabled=True,
        takes_bundles=True,
    )
    named = json.loads(envelope.build(task))
    named["arguments"] |= {
        "args": None,
        "function": None,
        "args_json": '{"$tuple":[[1],{}]}',
        "limits": {"cpu_s_max": 1},
    }
    ask = envelope.Envelope(
        message_id="q", client="shop", kind=Message.ASK, reply_to="r", arguments={"ids": ["fuzz"], "wait": True}
    )
    told = {"status": 2, "code": "OK", "responce": 0, "result": {"$tuple": [1, "a"]}, "run_at": None}
    answer = envelope.Envelope(message_id="fuzz", client="shop", kind=Message.INFO, arguments=told)
    plain = [envelope.build(task), json.dumps(named).encode(), envelope.build(ask), envelope.build(answer)]
    return plain + [signatures.sign(Direction.REQUEST, "shop", one) for one in plain]


def changed(message: bytes, chance: random.Random) -> bytes:
    """Return a message with a few changes: bits, cuts, copies, insertions."""
    data = bytearray(message)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[min(place, len(data) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                del data[place : place + chance.choice((1, 1, 4, 50, 10_000))]
            case 2:
                data[place:place] = chance.choice(PIECES)
            case 3:
                data[place:place] = data[chance.randrange(len(data) + 1) :][:200]
            case 4 if data:
                data[min(place, len(data) - 1)] = chance.randrange(256)
            case _:
                data = data[:place]
    return bytes(data)


def reshaped(message: bytes, chance: random.Random) -> bytes:
    """Return a message that is still JSON, with one or two fields replaced, moved or removed."""
    fields = json.loads(message)
    for _ in range(chance.choice((1, 2))):
        inside = chance.choice((fields, fields.get("arguments") or fields))
        if not isinstance(inside, dict) or not inside:
            break
        name = chance.choice(list(inside))
        match chance.randrange(4):
            case 0:
                del inside[name]
            case 1:
                inside[chance.choice(("x", "id", "args_json", "limits", "code"))] = copy.deepcopy(inside[name])
            case _:
                inside[name] = copy.deepcopy(chance.choice(VALUES))
    return json.dumps(fields).encode()


def read(message: bytes, signatures: Signatures) -> str:
    """Read a message as service and client do; return why it is refused, or what it is. It raises nothing else."""
    try:
        envelope.check_size(message, bytes_max=BYTES_MAX)
        opened = signatures.open(Direction.REQUEST, message)
        parsed = envelope.parse(opened.body, bytes_max=BYTES_MAX)
        opened.check(parsed.client)
        match parsed.kind:
            case Message.TASK:
                launches.task_of(parsed, received_at=NOON)
            case Message.INFO | Message.ERROR:
                answers.outcome_of(parsed)
            case _:
                pass
    except MessageRejected as error:
        if error.reason not in REASONS or not str(error).isprintable():  # such a text would forge a line of the log
            raise AssertionError(ascii(f"{error.reason}: {error}")) from error
        return error.reason
    return parsed.kind.name


def read_any(message: bytes, signatures: Signatures) -> str:
    """Read a message that may be a bundle, of launches or answers; return why it is refused, or what it was."""
    try:
        parts = tuple(bundles.cut(message))
    except MessageRejected as error:
        if error.reason not in REASONS or not str(error).isprintable():
            raise AssertionError(ascii(f"{error.reason}: {error}")) from error
        return "no bundle"
    if parts != (message,) and not message.endswith(b"\n" + b"".join(parts)):
        raise AssertionError("a bundle was cut into what it does not hold")
    if bundles.count(message) != len(parts):
        raise AssertionError("a bundle was counted for what it does not hold")
    for part in parts:
        read(part, signatures)
    return "a bundle" if len(parts) > 1 else read(message, signatures)


def _bundle(seeds: list[bytes], chance: random.Random) -> bytes:
    """Return a bundle of messages, good and changed ones, and sometimes change its frame."""
    parts = [chance.choice(seeds) for _ in range(chance.randrange(2, 6))]
    parts[0] = changed(parts[0], chance) or b"{"
    bundle = bundles.join(parts)
    end = bundle.index(b"\n") + 1
    return bundle if chance.random() < 1 / 2 else changed(bundle[:end], chance) + bundle[end:]


def _input(number: int, seeds: list[bytes], signing: Signatures, chance: random.Random) -> bytes:
    plain = seeds[: len(seeds) // 2]
    match number % 9:
        case 0:
            return chance.randbytes(chance.randrange(300))
        case 8:
            return _bundle(seeds, chance)
        case 1 | 2:
            return changed(chance.choice(seeds), chance)
        case 3 | 4:  # behind a good signature: whoever has a key may send anything
            return signing.sign(Direction.REQUEST, "shop", changed(chance.choice(plain), chance))
        case 5:
            return changed(reshaped(chance.choice(plain), chance), chance)
        case _:
            return signing.sign(Direction.REQUEST, "shop", reshaped(chance.choice(plain), chance))


def fuzz(count: int, seed: int) -> Counter[str]:
    """Read `count` inputs and return how they ended."""
    chance = random.Random(seed)
    ring = KeyRing([Key(key_id="fuzz", secret=b"fuzz" * 8)])
    signing = Signatures(lambda: ring, queue="client-service", clock=SystemClock(), allow_unsigned=True)
    strict = Signatures(lambda: ring, queue="client-service", clock=SystemClock())
    seeds = good_messages(signing)
    assert [read(one, signing) for one in seeds] == ["TASK", "TASK", "ASK", "INFO"] * 2
    ends: Counter[str] = Counter()
    for number in range(count):
        message = _input(number, seeds, signing, chance)
        try:
            ends[read_any(message, strict if number % 4 == 0 else signing)] += 1
        except BaseException:
            sys.stderr.write(f"seed {seed}, input {number}: {message.hex()}\n")
            raise
    return ends


if __name__ == "__main__":
    total, start = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    for what, times in fuzz(total, start).most_common():
        sys.stdout.write(f"{times:>10}  {what}\n")
