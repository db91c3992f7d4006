"""Functions and arguments on their way: packed, loaded, kept, refused."""

import functools
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.errors import InvalidParameter, TaskNotSerializable
from schedulergodx.rules.lifecycle import Code
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.utils.message import envelope, functions, launches, payload
from schedulergodx.utils.message.seals import from_own_service
from schedulergodx.utils.message.stateless import is_stateless
from schedulergodx_testing.specs import changed

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
a_lock = threading.Lock()
a_list: list[int] = []
a_number = 5
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def plain(a, b=2):
    return a + b


def task_spec(packed: payload.Packed):
    """Return the task that a service makes of it."""
    message = launches.envelope_of(
        packed,
        message_id="1",
        client="shop",
        reply_to="",
        issued_at=NOON,
        run_at=None,
        is_hard=False,
        lifetime_s=None,
        is_overdue_enabled=False,
    )
    return from_own_service(
        launches.task_of(envelope.parse(envelope.build(message), bytes_max=10**7), received_at=NOON)
    )


def run(packed: payload.Packed):
    loaded = payload.load(task_spec(packed))
    return loaded.function(*loaded.args, **loaded.kwargs)


@pytest.fixture
def module():
    """Makes modules out of text, in `sys.modules` for the test."""
    made = []

    def make(name: str, text: str) -> ModuleType:
        module = ModuleType(name)
        exec(compile(text, f"<{name}>", "exec"), vars(module))
        sys.modules[name] = module
        made.append(name)
        return module

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_both_ways_at_once():
    """What can be imported has value, reference and the hash of its code; each runs alone."""
    packed = payload.pack(plain, (1,), {"b": 5})
    assert packed.reference == f"{__name__}:plain"
    assert packed.function is not None
    assert len(packed.code_digest) == 64
    assert run(packed) == run(replace(packed, function=None)) == run(replace(packed, reference="")) == 6


def test_pinned_to_one_way():
    """`by` leaves the other one out, and a reference alone is not compared by its code."""
    value = payload.pack(plain, (1,), {}, by="value")
    assert (value.reference, value.code_digest) == ("", "")
    reference = payload.pack(plain, (1,), {}, by="reference")
    assert (reference.function, reference.code_digest) == (None, "")
    assert run(value) == run(reference) == 3


def test_packing_leaves_cloudpickle_as_it_was(module):
    """Modules travel by value during the pickling only, also after a failure, and also when the user registered one."""
    mine = module("mine_of_the_user", "def f(): return 1")
    cloudpickle.register_pickle_by_value(mine)
    try:
        payload.pack(plain, (1,), {}, by_value_modules=[mine.__name__, mine.__name__])
        with pytest.raises(TaskNotSerializable):
            payload.pack(lambda: a_lock, (), {})
        assert cloudpickle.list_registry_pickle_by_value() == {mine.__name__}
    finally:
        cloudpickle.unregister_pickle_by_value(mine)


def test_packing_in_many_threads():
    """Each thread gets its own value, and no registration is left."""
    results: list[object] = []

    def work(number: int) -> None:
        results.extend(run(payload.pack(lambda: number + a_number, (), {})) - number for _ in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [a_number] * 160
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_a_module_that_is_not_imported_cannot_travel():
    """It is named before anything is pickled."""
    with pytest.raises(InvalidParameter, match=r"'no\.such'"):
        payload.pack(plain, (), {}, by_value_modules=["no.such"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a): return a", "def f(a): return -a"),
        ("def f(a): return a + 1", "def f(a): return a + 2"),
        ("def f(a): return 1", "def f(a): return True"),
        ("def f(a): return a.x", "def f(a): return a.y"),
        ("def f(a): return a", "def f(b): return b"),
        ("def f(a): return a", "def f(*a): return a"),
        ("def f(a=1): return a", "def f(a=2): return a"),
        ("def f(*, a=1): return a", "def f(*, a=2): return a"),
        ("def f(a=(1, 2)): return a", "def f(a=(1, 3)): return a"),
        ("def f(): return lambda: 1", "def f(): return lambda: 2"),
        ("def g():\n  x = 1\n  return lambda: x\nf = g()", "def g():\n  x = 2\n  return lambda: x\nf = g()"),
        ("def d(g): return lambda: g()\n@d\ndef f(): return 1", "def d(g): return lambda: g()\n@d\ndef f(): return 2"),
        (
            "import functools\n@functools.cache\ndef f(): return 1",
            "import functools\n@functools.cache\ndef f(): return 2",
        ),
    ],
)
def test_other_code_has_another_hash(module, one, other):
    """Constants, names, signatures, defaults, inner and wrapped functions count."""
    assert functions.code_digest(module("one", one).f) != functions.code_digest(module("other", other).f)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a): return a in {'x', 'y', 'z'}", "# moved\n\ndef f(a):\n    return a in {'x', 'y', 'z'}"),
        ("def f(a=object()): return a", "def f(a=object()): return a"),
        ("x = 1\ndef f(): return x", "x = 2\ndef f(): return x"),
        (
            "def f(): return f\ndef g():\n def h(): return h\n return h\nf = g()",
            "def g():\n def h(): return h\n return h\nf = g()",
        ),
    ],
)
def test_the_same_code_has_the_same_hash(module, one, other):
    """File, line, module state and identities do not count, and a function may hold itself."""
    assert functions.code_digest(module("one", one).f) == functions.code_digest(module("other", other).f)


class Callable_:  # noqa: N801 - a name of its own
    def __call__(self):
        return 1

    def method(self):
        return 2


@pytest.mark.parametrize(
    "function",
    [lambda: 1, functools.partial(plain, 1), Callable_(), Callable_().method, functools.partial(Callable_().method)],
)
def test_what_no_module_holds_has_no_reference(function):
    """It goes by value, with the module that its code is of."""
    assert functions.reference_of(function) == ""
    assert functions.modules_of(function)
    assert set(functions.modules_of(function)) == {__name__}


def test_code_in_c_is_of_no_module():
    """Nothing of it could travel by value."""
    assert functions.modules_of(len) == functions.modules_of([].append) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.BAD_PAYLOAD),
        (b"\x80", Code.BAD_PAYLOAD),
        (cloudpickle.dumps(plain)[:-5], Code.BAD_PAYLOAD),
        (cloudpickle.dumps(5), Code.BAD_PAYLOAD),
        (b"cno_such_module_here\nfunction\n.", Code.TASK_NOT_IMPORTABLE),
        (b"cjson\nno_such_function\n.", Code.BAD_PAYLOAD),
        (b"cbuiltins\neval\n(V1/0\ntR.", Code.BAD_PAYLOAD),
    ],
)
def test_a_function_that_cannot_be_loaded(data, code):
    """Truncated, no function, of a missing module, or raising while it is loaded: each has its code."""
    with pytest.raises(payload.PayloadError) as caught:
        payload.load(changed(task_spec(payload.pack(plain, (1,), {}, by="value")), function=data))
    assert caught.value.code is code


@pytest.mark.parametrize("value", [5, None, ([], {}), ((), []), ((),), ((), {}, 1)])
def test_arguments_that_are_none(value):
    """A tuple and a dict, or it is refused."""
    task = changed(task_spec(payload.pack(plain, (1,), {})), arguments=cloudpickle.dumps(value))
    with pytest.raises(payload.PayloadError, match="not a tuple and a dict") as caught:
        payload.load(task)
    assert caught.value.code is Code.BAD_PAYLOAD


@pytest.mark.parametrize("python", ["3.9.1", "2.7", "", "4.0.0"])
def test_another_python_loads_no_code(python):
    """Bytecode differs, so nothing of the value is unpickled; by reference it runs all the same."""
    raising = b"cbuiltins\neval\n(V1/0\ntR."
    value = changed(task_spec(payload.pack(plain, (1,), {}, by="value")), python=python, function=raising)
    with pytest.raises(payload.PayloadError, match="Python") as caught:
        payload.load(value)
    assert caught.value.code is Code.PYTHON_MISMATCH
    by_reference = changed(task_spec(payload.pack(plain, (1,), {}, by="reference")), python=python)
    assert payload.load(by_reference).function is plain


def test_a_module_that_fails_to_import_is_no_way(module, monkeypatch, tmp_path):
    """Whatever its import raises, the value runs; without a value the reason is told."""
    (tmp_path / "failing_module.py").write_text("raise RuntimeError('no configuration')")
    monkeypatch.syspath_prepend(str(tmp_path))
    packed = replace(payload.pack(plain, (1,), {}), reference="failing_module:plain")
    assert run(packed) == 3
    with pytest.raises(payload.PayloadError, match=r"'failing_module' \(RuntimeError: no config") as caught:
        run(replace(packed, function=None))
    assert caught.value.code is Code.TASK_NOT_IMPORTABLE


def test_one_function_is_unpickled_once():
    """The same bytes give the same function, when its runs cannot leave anything in it."""
    first, second = (payload.load(task_spec(payload.pack(plain, (1,), {}, by="value"))).function for _ in range(2))
    assert first is second
    stateful = [payload.load(task_spec(payload.pack(lambda: a_list, (), {}))).function for _ in range(2)]
    assert stateful[0] is not stateful[1]


def keeper():
    box: list[int] = []
    number = 1

    def assigning():
        nonlocal number
        number += 1

    return {
        "appends to its closure": lambda: box.append(1),
        "assigns to its closure": assigning,
        "a mutable default": lambda box=[]: box,
        "a mutable keyword default": lambda *, box={}: box,
        "a mutable global": lambda: a_list,
        "names of globals": lambda: globals().update(a=1),
        "sets by name": lambda: setattr(plain, "a", 1),
        "runs text": lambda: exec("a = 1"),
        "through another": lambda: [assigning()],
        "an object": Callable_(),
        "a bound method": Callable_().method,
        "a partial": functools.partial(plain, []),
    }


def setting_an_attribute():
    setting_an_attribute.runs = 1


def assigning_a_global():
    global a_number  # noqa: PLW0603 - the subject
    a_number = 6


STATEFUL = keeper() | {"sets an attribute": setting_an_attribute, "assigns a global": assigning_a_global}


def by_value(function):
    """Return the function as a service gets it: with globals of its own."""
    return cloudpickle.loads(payload.pack(function, (), {}, by="value").function)


@pytest.mark.parametrize("what", STATEFUL)
def test_what_could_keep_state_is_not_kept(what):
    """A run of it could leave something behind that the next launch would see."""
    assert not is_stateless(by_value(STATEFUL[what]))


STATELESS = {
    "a plain function": plain,
    "constants": lambda: (a_number, "text", (1, 2)),
    "modules and builtins": lambda: (sys.version, len("a"), threading.current_thread()),
    "other functions": lambda: plain(1),
    "comprehensions and inner functions": lambda: [(lambda x=y: x) for y in range(3)],
    "a class of a module": lambda: threading.Thread,
}


@pytest.mark.parametrize("what", STATELESS)
def test_what_cannot_keep_state_is_kept(what):
    """Unpickling these once is enough."""
    assert is_stateless(by_value(STATELESS[what]))


pickles = st.binary(max_size=40).filter(lambda data: not data.startswith(b"{"))  # as no pickle does


@given(
    packed=st.builds(
        payload.Packed,
        name=names,
        function=st.none() | st.binary(max_size=40),
        reference=st.just("") | names,
        code_digest=st.just("") | names,
        arguments=pickles | st.just(b'{"$tuple":[[1],{}]}'),
        arguments_by_value=st.none() | st.binary(max_size=40),
    ),
    facts=st.fixed_dictionaries(
        {
            "message_id": names,
            "client": names,
            "reply_to": st.just("") | names,
            "issued_at": st.datetimes(timezones=st.just(UTC)),
            "run_at": st.none() | st.datetimes(timezones=st.just(UTC)),
            "is_hard": st.booleans(),
            "lifetime_s": st.sampled_from([None, 3, 3.0, 0.1, 1]),
            "is_overdue_enabled": st.booleans(),
            "max_starts": st.sampled_from([1, 2, 100]),
            "limits": st.sampled_from([NO_LIMITS, TaskLimits(), TaskLimits(cpu_s_max=1, open_files_max=3)]),
        }
    ),
)
def test_a_launch_is_written_by_parts_as_it_would_be_as_a_whole(packed, facts):
    """Whatever stands in it, also when what was made for another launch is used again."""
    whole = envelope.build(launches.envelope_of(packed, **facts, takes_bundles=True))
    assert launches.message_of(packed, **facts) == whole
