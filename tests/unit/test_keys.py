"""Keys: what is one, where they come from, what is refused, and that nothing shows one."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta

import pytest

from schedulergodx.cli import main
from schedulergodx.errors import InvalidParameter, KeysRefused
from schedulergodx.utils.keys import files
from schedulergodx.utils.keys.files import read_key_file, replace_key_file, write_key_file
from schedulergodx.utils.keys.ring import KEYS_MAX, Key, KeyRing, length_prefixed, new_key, parse_keys
from schedulergodx.utils.keys.source import KEY_FILE_VARIABLE, KEYS_VARIABLE, Keys

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECRET = base64.b64encode(bytes(range(100, 132))).decode()


def key(number: int, **facts) -> Key:
    """Return a key that is told apart by its number."""
    return Key(key_id=f"k{number}", secret=bytes([number]) * 32, **facts)


def private_file(path, text: str, mode: int = 0o600):
    """Write a file as an editor would, and set its mode."""
    path.write_text(text)
    path.chmod(mode)
    return path


# --- the ring ---------------------------------------------------------------------------------------------------------


def test_the_first_key_whose_time_it_is_signs_and_all_are_found():
    """A new key can be handed out before it signs; an old one verifies until it is removed."""
    ring = KeyRing([key(3, not_before=NOON + HOUR), key(2), key(1, not_after=NOON)])
    assert ring.signing(NOON).key_id == "k2"
    assert ring.signing(NOON + HOUR).key_id == "k3"
    assert [ring.find(f"k{number}").key_id for number in (1, 2, 3)] == ["k1", "k2", "k3"]
    assert ring.find("k4") is None
    assert ring.find("k1").is_retired(NOON)
    assert not ring.find("k1").is_retired(NOON - HOUR)


@pytest.mark.parametrize(
    ("facts", "is_always"),
    [({}, True), ({"not_before": NOON}, False), ({"not_after": NOON}, False), ({"client": "shop"}, False)],
)
def test_a_newest_key_without_conditions_signs_always(facts, is_always):
    """Then nobody need ask what time it is; whatever the keys behind it say."""
    ring = KeyRing([key(2, **facts), key(1, not_after=NOON)])
    assert ring.always == (key(2) if is_always else None)
    assert not is_always or {
        ring.signing(moment, client=name) for moment in (NOON, NOON + HOUR) for name in (None, "farm")
    } == {ring.always}


def test_without_a_key_whose_time_it_is_nothing_is_signed():
    """A ring of retired and future keys says so, naming them."""
    ring = KeyRing([key(1, not_after=NOON), key(2, not_before=NOON + HOUR)])
    with pytest.raises(KeysRefused, match="none of the keys k1, k2 may sign now for a service"):
        ring.signing(NOON)


def test_a_ring_survives_its_text():
    """What is written is read again, moments and names included."""
    ring = KeyRing([key(1, not_before=NOON, not_after=NOON + HOUR), new_key()])
    assert parse_keys(ring.text(), origin="text").keys == ring.keys
    shop = ring.for_client("a shop, and = more ü")
    assert parse_keys(shop.text(), origin="text").keys == shop.keys


def test_the_environment_takes_commas_for_lines():
    """Several keys fit into one line."""
    ring = Keys(None, {KEYS_VARIABLE: f"a {SECRET}, b {SECRET}"}).ring()
    assert [one.key_id for one in ring.keys] == ["a", "b"]


def test_a_clients_key_is_another_one_for_each_client():
    """Who has one client's key has neither another's nor the ring's; the ring has the same one for it."""
    ring = KeyRing([key(1)])
    shop, farm = (ring.for_client(name) for name in ("shop", "farm"))
    secrets = {ring.keys[0].secret, shop.keys[0].secret, farm.keys[0].secret}
    assert len(secrets) == 3
    assert ring.keys[0].client_secret("shop") == shop.keys[0].client_secret("shop") == shop.keys[0].secret
    with pytest.raises(KeysRefused, match="may sign now for client 'farm'"):
        shop.signing(NOON, client="farm")
    with pytest.raises(KeysRefused, match="may sign now for a service"):
        shop.signing(NOON)
    with pytest.raises(KeysRefused, match="for one client already"):
        shop.for_client("farm")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it holds no key"),
        ("# only a comment\n\n", "it holds no key"),
        ("k1", "it, line 1: a key is its id and its secret"),
        (f"k1 {SECRET}\nk2 short", "it, line 2: the secret is not base64"),
        ("k1 c2hvcnQ=", "key 'k1' has 5 bytes; 32 to 1024 are needed"),
        (f"k/1 {SECRET}", "the id of a key has 1 to 40"),
        (f"k1 {SECRET}\nk1 {SECRET}", "it: two keys have one id"),
        (f"k1 {SECRET} until=tomorrow", "nothing else"),
        (f"k1 {SECRET} not_after=2026-01-01T00:00:00", "not_after must be a moment with an offset"),
        (f"k1 {SECRET} not_after=soon", "not_after must be a moment with an offset"),
        (f"k1 {SECRET} client=%0a", "client must be a text"),
        (f"k1 {SECRET} client=a client=b", "an option stands twice"),
        ("\n".join(f"k{number} {SECRET}" for number in range(KEYS_MAX + 1)), "101 keys are given"),
    ],
)
def test_what_is_no_ring_is_refused_and_not_shown(text, why):
    """The error names the line and what is wrong, and shows nothing of the line."""
    with pytest.raises(KeysRefused) as raised:
        parse_keys(text, origin="it")
    assert why in str(raised.value)
    assert SECRET not in str(raised.value)


def test_nothing_shows_a_secret():
    """Neither a key nor a ring shows its secret, however it is asked."""
    one = Key(key_id="k1", secret=b"planted-secret-planted-secret-00")
    for shown in (repr(one), str(one), f"{KeyRing([one])}", repr(Keys(KeyRing([one])))):
        assert "planted" not in shown


def test_two_lists_of_facts_never_give_the_same_bytes():
    """Each fact stands behind its length, so nothing can be moved from one to the next."""
    lists = [("a", "bc"), ("ab", "c"), ("abc",), ("", "abc"), ("abc", "")]
    assert len({length_prefixed(*facts) for facts in lists}) == len(lists)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_new_file_is_for_this_user_alone_and_is_never_overwritten(tmp_path):
    """It is made with mode 0600, whatever the umask; another one of the name is left alone."""
    path, ring = tmp_path / "keys", KeyRing([new_key()])
    before = os.umask(0)
    try:
        write_key_file(path, ring)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path).keys == ring.keys
    with pytest.raises(KeysRefused, match="exists already"):
        write_key_file(path, KeyRing([new_key()]))
    assert read_key_file(path).keys == ring.keys


def test_a_file_is_replaced_as_a_whole(tmp_path):
    """Its reader gets the old keys or the new ones; nothing else is left behind."""
    path = tmp_path / "keys"
    write_key_file(path, KeyRing([key(1)]))
    replace_key_file(path, read_key_file(path).with_new(key(2)))
    assert [one.key_id for one in read_key_file(path).keys] == ["k2", "k1"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_file_that_others_can_use_is_refused(tmp_path, mode):
    """The error says the mode and what to do."""
    path = private_file(tmp_path / "keys", f"k1 {SECRET}\n", mode)
    with pytest.raises(KeysRefused, match=rf"its mode is {mode:04o}\): `chmod 600` it") as raised:
        read_key_file(path)
    assert SECRET not in str(raised.value)


def test_what_is_no_key_file_is_refused_with_its_reason(tmp_path, monkeypatch):
    """A missing, empty, short, binary, endless or foreign file, a folder and a pipe each have their sentence."""

    def reason(path) -> str:
        with pytest.raises(KeysRefused) as raised:
            read_key_file(path)
        assert str(path) in str(raised.value)
        return str(raised.value)

    assert "cannot be read (No such file" in reason(tmp_path / "missing")
    assert "is empty" in reason(private_file(tmp_path / "empty", ""))
    assert "has 5 bytes; 32 to" in reason(private_file(tmp_path / "short", "k1 c2hvcnQ=\n"))
    assert "is not plain text" in reason(private_file(tmp_path / "binary", "\xff\xfe" * 20))
    assert f"has more than {files.FILE_BYTES_MAX} bytes" in reason(
        private_file(tmp_path / "large", "#" * (files.FILE_BYTES_MAX + 1))
    )
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir(mode=0o700)
    os.mkfifo(pipe, 0o600)
    assert "is not a regular file" in reason(folder)
    assert "is not a regular file" in reason(pipe)
    foreign = private_file(tmp_path / "foreign", f"k1 {SECRET}\n")
    uid = foreign.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    if uid != 0:
        assert "belongs to another user" in reason(foreign)


# --- where they come from ---------------------------------------------------------------------------------------------


def test_the_environment_gives_keys_or_a_file_or_nothing(tmp_path):
    """One variable holds the keys, the other one names a file; without both there are none."""
    path = private_file(tmp_path / "keys", f"k2 {SECRET}\n")
    assert Keys(None, {}).ring() is None
    assert Keys(None, {KEYS_VARIABLE: f"k1 {SECRET}"}).ring().keys[0].key_id == "k1"
    assert Keys(None, {KEY_FILE_VARIABLE: str(path)}).ring().keys[0].key_id == "k2"
    assert Keys(path, {KEYS_VARIABLE: f"k1 {SECRET}"}).ring().keys[0].key_id == "k2"


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({KEYS_VARIABLE: ""}, "SCHEDULERGODX_KEYS is set, and empty"),
        ({KEYS_VARIABLE: "  \n"}, "SCHEDULERGODX_KEYS is set, and empty"),
        ({KEY_FILE_VARIABLE: ""}, "SCHEDULERGODX_KEY_FILE is set, and empty"),
        ({KEYS_VARIABLE: f"k1 {SECRET}", KEY_FILE_VARIABLE: "/keys"}, "are both set"),
        ({KEYS_VARIABLE: "k1"}, "environment variable SCHEDULERGODX_KEYS, line 1"),
    ],
)
def test_a_setting_that_is_wrong_never_means_no_keys(environment, why):
    """Whoever sets an empty variable wanted keys, and is told, instead of going on without."""
    with pytest.raises(KeysRefused, match=why):
        Keys(None, environment).ring()


@pytest.mark.parametrize("source", ["", " ", 5, b"keys", ["k1"], "a\0b"])
def test_keys_are_a_ring_or_a_path(source):
    """Anything else is refused when it is given, and not shown."""
    with pytest.raises(InvalidParameter, match="keys must be a KeyRing or the path of a key file"):
        Keys(source, {})


def test_reading_again_takes_the_new_keys_and_a_broken_file_leaves_the_old_ones(tmp_path):
    """A mistake in the file while it is changed does not leave the program without keys."""
    path = private_file(tmp_path / "keys", f"k1 {SECRET}\n")
    keys = Keys(path)
    assert keys.ring().keys[0].key_id == "k1"
    private_file(path, f"k2 {SECRET}\n")
    assert keys.ring().keys[0].key_id == "k1"
    assert keys.reload().keys[0].key_id == "k2"
    private_file(path, "k3")
    with pytest.raises(KeysRefused, match="line 1"):
        keys.reload()
    assert keys.ring().keys[0].key_id == "k2"


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_makes_renews_lists_and_hands_out_keys_and_shows_none(tmp_path, capsys):
    """What the four actions write into files is usable, and none of it is on the terminal."""
    path, shop = tmp_path / "keys", tmp_path / "shop"
    assert main(["keys", "new", str(path)]) == 0
    assert main(["keys", "add", str(path), "--not-before", "2999-01-01T00:00:00Z"]) == 0
    assert main(["keys", "list", str(path)]) == 0
    assert main(["keys", "client", str(path), "shop", str(shop)]) == 0
    ring = read_key_file(path)
    new, old = ring.keys
    assert read_key_file(shop).keys == ring.for_client("shop").keys
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines() if line.startswith(("id", new.key_id, old.key_id))]
    assert lines[0] == ["id", "state", "from", "until", "for"]
    assert lines[1] == [new.key_id, "verifies", "2999-01-01", "00:00", "-", "all"]
    assert lines[2] == [old.key_id, "signs", "-", "-", "all"]
    for one in (*ring.keys, *read_key_file(shop).keys):
        assert one.line().split()[1] not in shown.out + shown.err


def test_the_command_leaves_a_file_alone_that_it_cannot_use(tmp_path, capsys):
    """An existing file is not overwritten, one that others can read is not added to; the exit code is that of usage."""
    path = private_file(tmp_path / "keys", f"k1 {SECRET}\n", 0o644)
    assert main(["keys", "new", str(path)]) == 2
    assert main(["keys", "add", str(path)]) == 2
    assert main(["keys", "list", str(path)]) == 2
    assert path.read_text() == f"k1 {SECRET}\n"
    assert "exists already" in capsys.readouterr().err
