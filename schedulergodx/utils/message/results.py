"""Results as JSON text: what a function returns, on its way back to the client.

JSON alone loses tuples, bytes, moments and large numbers, and a pickle could make its reader run code. So results are
JSON with a few tagged objects, each of them an object with one key that begins with `$`:

| Python                              | JSON text                              | arrives as                       |
|-------------------------------------|----------------------------------------|----------------------------------|
| None, True, False                   | `null`, `true`, `false`                | the same                         |
| int of 64 bits, with sign           | `12`                                   | int                              |
| a larger int                        | `{"$int": "0x10000000000000000"}`      | int                              |
| float                               | `1.5`                                  | float, bit for bit               |
| float nan, inf, -inf                | `{"$float": "nan"}`                    | float                            |
| str                                 | `"text"`                               | str                              |
| list                                | `[1, 2]`                               | list                             |
| dict with str keys                  | `{"key": 1}`                           | dict, in its order               |
| dict with other keys                | `{"$dict": [[1, "one"]]}`              | dict, in its order               |
| dict whose only key begins with `$` | `{"$dict": [["$x", 1]]}`               | dict                             |
| tuple, namedtuple                   | `{"$tuple": [1, 2]}`                   | tuple                            |
| set                                 | `{"$set": [1, 2]}`, sorted as text     | set                              |
| frozenset                           | `{"$frozenset": [1, 2]}`, sorted       | frozenset                        |
| bytes, bytearray, memoryview        | `{"$bytes": "AAE="}`, base64           | bytes                            |
| datetime, naive or aware            | `{"$datetime": "2026-01-02T03:04:05"}` | datetime; a zone as fixed offset |
| date                                | `{"$date": "2026-01-02"}`              | date                             |
| time                                | `{"$time": "03:04:05"}`                | time                             |
| timedelta                           | `{"$timedelta": [1, 2, 3]}`            | timedelta of days, s and us      |
| Decimal                             | `{"$decimal": "1.10"}`                 | Decimal                          |
| UUID                                | `{"$uuid": "…"}`                       | UUID                             |

A subclass of int, float, str, bytes, list, tuple, dict, set, Decimal or UUID arrives as that plain type (so a member
of an `IntEnum` arrives as a number). Everything else is refused by a sentence that names the place, and so are: what
contains itself, more than 100 levels, and a subclass of datetime, date, time or timedelta, which may know more than
these texts can say (nanoseconds, "not a time"). The text is ASCII, compact, and never holds NaN.

Nothing here calls a method of the user's classes unguarded: types are compared, contents are read by the methods of
the plain types.
"""

from __future__ import annotations

import base64
import json
import math
import reprlib
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any
from uuid import UUID

from schedulergodx.errors import MessageRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LEVELS_MAX = 100
"""Deepest nesting of lists, tuples, sets and dicts."""
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""Whole numbers beyond these travel tagged: many readers of JSON keep 64 bits only."""
BRACKETS = 2
"""Characters around the contents of a container, at the least."""
KEY_CHARACTERS_MAX = 40
"""Longest key that is shown in the sentence of a refusal."""


class Unserializable(ValueError):
    """The value cannot travel as JSON text.

    Attributes:
        reason: a sentence that names the place, e.g. `result['a'][3] is a generator`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooLarge(Unserializable):
    """The text would be larger than allowed."""


class _Refused(Exception):
    """Why a value is refused, and the way to it, collected from the inside to the outside."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.steps: list[str] = []

    def sentence(self) -> str:
        return f"result{''.join(reversed(self.steps))} {self.why}"


def encode(value: object, *, bytes_max: int | None = None) -> str:
    """Return `value` as JSON text by the table above; `decode` reads it.

    Args:
        value: anything; it is only read.
        bytes_max: how large the text may be; None: without limit.

    Raises:
        TooLarge: the text would be above `bytes_max`.
        Unserializable: there is something in it that the table does not name.
    """
    write = _SHORT.get(type(value))
    try:
        text = _Encoder(bytes_max).text(value, level=0, is_key=False) if write is None else write(value)
    except _Refused as refused:
        raise Unserializable(refused.sentence()) from None
    except Unserializable:
        raise
    except RecursionError:
        raise Unserializable("result is nested too deeply for this stack") from None
    except Exception as error:
        raise Unserializable(f"result cannot be read: {type_name(type(error))} while doing so") from error
    if bytes_max is not None and len(text) > bytes_max:
        raise TooLarge(f"the result is larger than {bytes_max} bytes of JSON")
    return text


def decode(text: str) -> Any:
    """Return the value that `encode` wrote as `text`.

    Raises:
        MessageRejected: `text` was not written by these rules.
    """
    try:
        return _decoder.decode(text)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise MessageRejected(f"the result is not JSON data by the rules of this version: {error}") from error


def safe_repr(value: object, limit: int = 1000) -> str:
    """Return `repr(value)` on one line in at most `limit` characters, whatever the value's own methods do.

    Contents of containers are shortened, and control characters are escaped. Never raises.
    """
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = shortener.maxlong = max(limit, 20)
    shortener.maxlist = shortener.maxtuple = shortener.maxset = shortener.maxfrozenset = 30
    shortener.maxdict = shortener.maxarray = shortener.maxdeque = 30
    try:
        # Of bytes `reprlib` writes all before it shortens the text.
        shown = value[: limit + 1] if isinstance(value, bytes | bytearray) else value
        text = str.__str__(shortener.repr(shown))
    except BaseException as error:  # noqa: BLE001 - a repr is user code and may raise anything
        text = f"<{type_name(type(value))} whose repr raised {type_name(type(error))}>"
    text = "".join(_escaped(character) for character in text[: limit + 1])
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"


def type_name(kind: type) -> str:
    """Return the qualified name of a type, without `builtins.`; never raises, whatever its metaclass does."""
    try:
        module, name = str.__str__(kind.__module__), str.__str__(kind.__qualname__)
    except BaseException:  # noqa: BLE001 - a metaclass is user code and may raise anything
        return "an unnamed type"
    name = "".join(_escaped(character) for character in f"{module}.{name}"[:300])
    return name.removeprefix("builtins.")


def _a(kind: type) -> str:
    name = type_name(kind)
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


_TEXTS = frozenset({str, bytes, bytearray})
"""Whose text is at least as long as they are."""


class _Encoder:
    """Writes one value. Keeps the containers on the way, and the size of all that is written."""

    def __init__(self, bytes_max: int | None) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._open: set[int] = set()

    def text(self, value: object, *, level: int, is_key: bool) -> str:
        """Return `value` as text. `is_key`: it must arrive as something that can be hashed."""
        kind = type(value)
        writer = _SCALARS.get(kind)
        if writer is None:
            for base, container in _CONTAINERS:
                if issubclass(kind, base):
                    return self._container(value, container, level=level, is_key=is_key)
            writer = next((write for base, write in _SUBCLASSED if issubclass(kind, base)), None)
        if writer is None:
            raise _Refused(f"is {_a(kind)}")
        if kind in _TEXTS:
            self._refuse_long(value)
        text = _guarded(writer, value)
        self._count(len(text))
        return text

    def _refuse_long(self, value: Any) -> None:
        """Refuse what is too long before it is written: it may be gigabytes."""
        if self._bytes_max is not None and len(value) > self._bytes_max:
            self._count(len(value))

    def _container(self, value: object, container: _Container, *, level: int, is_key: bool) -> str:
        if level >= LEVELS_MAX:
            raise _Refused(f"is nested deeper than {LEVELS_MAX} levels")
        if id(value) in self._open:
            raise _Refused("contains itself")
        if is_key and not container.is_hashable:
            raise _Refused(f"is {_a(type(value))}, which could not be in a set or a key where it arrives")
        self._open.add(id(value))
        try:
            return container.write(self, value, level + 1, is_key)
        finally:
            self._open.discard(id(value))

    def items(self, values: Iterable[object], level: int, *, is_key: bool) -> list[str]:
        """Return each of `values` as text; a refusal learns the index."""
        texts: list[str] = []
        try:
            for value in values:
                texts.append(self.text(value, level=level, is_key=is_key))  # noqa: PERF401 - the index is in `texts`
        except _Refused as refused:
            refused.steps.append(f"[{len(texts)}]")
            raise
        self._count(BRACKETS)
        return texts

    def pairs(self, items: Iterable[tuple[object, object]], level: int) -> list[tuple[str, str]]:
        """Return the keys and values of a dict as texts; a refusal learns the key."""
        texts: list[tuple[str, str]] = []
        keys: set[str] = set()
        for key, value in items:
            try:
                key_text = self.text(key, level=level, is_key=True)
            except _Refused as refused:
                refused.steps.append(f" has a key that cannot travel: {safe_repr(key, KEY_CHARACTERS_MAX)}, it")
                raise
            if key_text in keys:
                raise _Refused("has two keys that would arrive as the same")
            keys.add(key_text)
            try:
                texts.append((key_text, self.text(value, level=level, is_key=False)))
            except _Refused as refused:
                refused.steps.append(f"[{safe_repr(key, KEY_CHARACTERS_MAX)}]")
                raise
        self._count(BRACKETS)
        return texts

    def _count(self, size: int) -> None:
        """Stop early: what is counted is never more than the whole text will have."""
        self._size += size
        if self._bytes_max is not None and self._size > self._bytes_max:
            raise TooLarge(f"the result is larger than {self._bytes_max} bytes of JSON")


def _guarded(writer: Callable[[Any], str], value: object) -> str:
    """Write a value whose type may run user code (a time zone, a subclass of UUID)."""
    try:
        return writer(value)
    except _Refused:
        raise
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        raise _Refused(f"is {_a(type(value))} that raised {type_name(type(error))} when read") from None


def _write_int(value: int) -> str:
    plain = int.__int__(value)
    return int.__repr__(plain) if INT_MIN <= plain <= INT_MAX else f'{{"$int":"{plain:#x}"}}'


def _write_float(value: float) -> str:
    plain = float.__float__(value)
    text = float.__repr__(plain)
    return text if math.isfinite(plain) else f'{{"$float":"{text}"}}'


def _write_str(value: str) -> str:
    return encode_basestring_ascii(str.__str__(value))


def _write_bytes(value: bytes | bytearray | memoryview) -> str:
    return f'{{"$bytes":"{base64.b64encode(bytes(memoryview(value))).decode("ascii")}"}}'


def _write_datetime(value: datetime) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise _Refused("is a datetime whose time zone has no offset for it")
    return f'{{"$datetime":"{value.isoformat()}"}}'


def _write_time(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise _Refused("is a time whose time zone has no offset without a date")
    return f'{{"$time":"{value.isoformat()}"}}'


def _write_timedelta(value: timedelta) -> str:
    return f'{{"$timedelta":[{value.days},{value.seconds},{value.microseconds}]}}'


_SCALARS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: _write_int,
    float: _write_float,
    str: _write_str,
    bytes: _write_bytes,
    memoryview: _write_bytes,
    datetime: _write_datetime,
    date: lambda value: f'{{"$date":"{value.isoformat()}"}}',
    time: _write_time,
    timedelta: _write_timedelta,
}
_SHORT: dict[type, Callable[[Any], str]] = {kind: _SCALARS[kind] for kind in (type(None), bool, int, float)}
"""What is written in one go, since nothing in it can be refused."""
_SUBCLASSED: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (int, _write_int),
    (float, _write_float),
    (str, _write_str),
    (bytes, _write_bytes),
    (bytearray, _write_bytes),
    (Decimal, lambda value: f'{{"$decimal":"{Decimal.__str__(value)}"}}'),
    (UUID, lambda value: f'{{"$uuid":"{UUID.__str__(value)}"}}'),
)


class _Container:
    """How one kind of container is written, and whether what arrives can be hashed."""

    def __init__(self, write: Callable[[_Encoder, Any, int, bool], str], *, is_hashable: bool = False) -> None:
        self.write = write
        self.is_hashable = is_hashable


def _write_list(encoder: _Encoder, value: list[object], level: int, _is_key: bool) -> str:
    return f"[{','.join(encoder.items(list.__iter__(value), level, is_key=False))}]"


def _write_tuple(encoder: _Encoder, value: tuple[object, ...], level: int, is_key: bool) -> str:
    return f'{{"$tuple":[{",".join(encoder.items(tuple.__iter__(value), level, is_key=is_key))}]}}'


def _set_writer(tag: str, base: type[set[object] | frozenset[object]]) -> Callable[..., str]:
    def write(encoder: _Encoder, value: Any, level: int, _is_key: bool) -> str:
        texts = sorted(encoder.items(base.__iter__(value), level, is_key=True))
        if len(set(texts)) < len(texts):
            raise _Refused("has two members that would arrive as the same")
        return f'{{"${tag}":[{",".join(texts)}]}}'

    return write


def _write_dict(encoder: _Encoder, value: dict[object, object], level: int, _is_key: bool) -> str:
    pairs = encoder.pairs(dict.items(value), level)
    is_plain = all(key.startswith('"') for key, _ in pairs)
    if not is_plain or (len(pairs) == 1 and pairs[0][0].startswith('"$')):
        return f'{{"$dict":[{",".join(f"[{key},{item}]" for key, item in pairs)}]}}'
    return f"{{{','.join(f'{key}:{item}' for key, item in pairs)}}}"


_CONTAINERS: tuple[tuple[type, _Container], ...] = (
    (dict, _Container(_write_dict)),
    (list, _Container(_write_list)),
    (tuple, _Container(_write_tuple, is_hashable=True)),
    (set, _Container(_set_writer("set", set))),
    (frozenset, _Container(_set_writer("frozenset", frozenset), is_hashable=True)),
)


# --- Reading ---------------------------------------------------------------------------------------------------------


def _from_pairs(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1 and pairs[0][0].startswith("$"):
        tag, value = pairs[0]
        reader = _READERS.get(tag)
        if reader is None:
            raise ValueError(f"the tag {tag[:KEY_CHARACTERS_MAX]!r} is unknown")
        wanted = list if tag in _LIST_TAGS else str
        if type(value) is not wanted:
            raise ValueError(f"the tag {tag} holds a {type(value).__name__}")
        return reader(value)
    return _from_unique(pairs)


def _from_unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    count = 0
    for count, (key, value) in enumerate(pairs, start=1):  # noqa: B007 - used below
        result[key] = value
    if len(result) != count:
        raise ValueError("a key is there twice")
    return result


def _read_float(text: str) -> float:
    if text not in {"nan", "inf", "-inf"}:
        raise ValueError("the tag $float holds nan, inf or -inf")
    return float(text)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": _from_unique,
    "$timedelta": lambda parts: timedelta(*parts),
    "$int": lambda text: int(text, 16),
    "$float": _read_float,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$decimal": Decimal,
    "$uuid": UUID,
}
_LIST_TAGS = frozenset({"$tuple", "$set", "$frozenset", "$dict", "$timedelta"})


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:KEY_CHARACTERS_MAX]} is beyond a float")
    return value


# Made once: to make it takes longer than to read a number with it. Any thread may use it.
_decoder = json.JSONDecoder(object_pairs_hook=_from_pairs, parse_constant=_refuse_constant, parse_float=_finite_float)
