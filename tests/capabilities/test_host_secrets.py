from __future__ import annotations

import logging
import os
import sys

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringError

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.secret_stores import DirectorySecrets, KeyringSecrets
from dataflare.capabilities.secrets import MAX_SECRET_BYTES, EnvironmentSecrets, MemorySecrets, imports, is_secret_name
from dataflare.errors import ConfigError
from dataflare.values import Ok

SECRETS = {"api-token": "s3cr3t", "db_password": "pä ss\tword", "empty": "", "lines": "a\nb"}


class Ring(KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service, username):
        if self.locked:
            raise KeyringError("locked")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


@pytest.fixture
def ring():
    before = keyring.get_keyring()
    ring = Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "secrets"
    path.mkdir(mode=0o700)
    return path


def write(directory, name: str, data: bytes, mode: int = 0o600):
    path = directory / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.fixture(params=["memory", "environment", "directory", "keyring"])
def store(request, directory, ring):
    match request.param:
        case "memory":
            return MemorySecrets(SECRETS)
        case "environment":
            names = {f"T_{name.upper().replace('-', '_')}": secret for name, secret in SECRETS.items()}
            return EnvironmentSecrets("T_", environ=names | {"API_TOKEN": "wrong", "HOME": "wrong"})
        case "directory":
            for name, secret in SECRETS.items():
                write(directory, name, secret.encode())
            return DirectorySecrets(directory)
    for name, secret in SECRETS.items():
        keyring.set_password("service", name, secret)
    return KeyringSecrets("service")


class TestEveryStore:
    @pytest.mark.parametrize("name", SECRETS)
    def test_secret_comes_as_it_was_put(self, store, name):
        assert store.get(name) == SECRETS[name]

    @pytest.mark.parametrize("name", ["absent", "", "API-TOKEN", "../api-token", "a/b", "a\0b", "home", ".", "é"])
    def test_there_is_no_secret_under_another_name(self, store, name):
        assert store.get(name) is None

    def test_plugin_gets_a_granted_secret(self, store):
        assert imports(store, frozenset({"api-token"}))["get"]("api-token") == Ok("s3cr3t")

    def test_absent_and_not_granted_are_told_in_the_same_words(self, store):
        get = imports(store, frozenset({"api-token", "absent"}))["get"]
        absent, other = get("absent").error, get("db_password").error
        assert absent.case == other.case == "not-granted"
        assert absent.value.replace("absent", "X") == other.value.replace("db_password", "X")

    def test_store_is_not_asked_for_what_is_not_granted(self, store, monkeypatch):
        def ask(name):
            raise AssertionError(name)

        monkeypatch.setattr(store, "get", ask)
        assert imports(store, frozenset())["get"]("api-token").error.case == "not-granted"

    def test_secrets_are_not_shown(self, store):
        assert "s3cr3t" not in repr(store)


@pytest.mark.parametrize(
    ("name", "good"), [("a", True), ("a-b_1", True), ("a" * 64, True), ("a" * 65, False), ("1a", False), ("a\n", False)]
)
def test_names_have_a_form(name, good):
    assert is_secret_name(name) is good


def test_store_that_cannot_be_reached_is_unavailable():
    class Down:
        def get(self, name):
            raise CapabilityFailure("unavailable", "later")

    assert imports(Down(), frozenset({"a"}))["get"]("a").error.case == "unavailable"


def test_changed_secret_is_given_next_time():
    store = MemorySecrets({"a": "1"})
    get = imports(store, frozenset({"a"}))["get"]
    store.put("a", "2")
    assert get("a") == Ok("2")
    store.put("a", None)
    assert get("a").error.case == "not-granted"


class TestEnvironment:
    def test_variables_are_those_of_the_process(self, monkeypatch):
        monkeypatch.setenv("DATAFLARE_SECRET_API_TOKEN", "x")
        assert EnvironmentSecrets().get("api-token") == "x"

    def test_variable_that_is_no_text_is_not_used(self):
        store = EnvironmentSecrets("T_", environ={"T_A": os.fsdecode(b"s3cr3t\xff")})
        with pytest.raises(CapabilityFailure) as caught:
            store.get("a")
        assert caught.value.case == "other" and "s3cr3t" not in str(caught.value)

    @pytest.mark.parametrize("prefix", ["", "_", "lower_", "NONE", "A=_", "A_\n"])
    def test_prefix_that_keeps_nothing_apart_is_refused(self, prefix):
        with pytest.raises(ConfigError, match=r"secrets\.prefix"):
            EnvironmentSecrets(prefix)


class TestDirectory:
    @pytest.mark.parametrize(
        ("data", "secret"),
        [(b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b"a", "a"), (b"a\r", "a\r"), (b"\n", ""), (b" a ", " a ")],
    )
    def test_one_line_break_at_the_end_is_left_out(self, directory, data, secret):
        write(directory, "a", data)
        assert DirectorySecrets(directory).get("a") == secret

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o611, 0o666])
    def test_file_that_is_open_to_others_is_not_used(self, directory, mode, caplog):
        write(directory, "a", b"s3cr3t", mode)
        with pytest.raises(CapabilityFailure, match=f"{mode:04o}") as caught:
            DirectorySecrets(directory).get("a")
        assert caught.value.case == "other"
        assert "s3cr3t" not in str(caught.value) and str(directory) not in str(caught.value)
        assert str(directory) in caplog.text  # which the operator needs

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
    def test_file_that_is_open_to_nobody_else_is_used(self, directory, mode):
        write(directory, "a", b"x", mode)
        assert DirectorySecrets(directory).get("a") == "x"

    @pytest.mark.parametrize(
        ("owner", "mode", "good"), [(0, 0o640, True), (0, 0o644, False), (0, 0o660, False), (4711, 0o600, False)]
    )
    def test_owner_counts(self, directory, owner, mode, good, monkeypatch):
        write(directory, "a", b"x", mode)
        found = os.fstat

        def owned(descriptor):
            result = list(found(descriptor))
            result[4] = owner
            return os.stat_result(result)

        store = DirectorySecrets(directory)
        monkeypatch.setattr(os, "fstat", owned)
        if good:
            assert store.get("a") == "x"
        else:
            with pytest.raises(CapabilityFailure) as caught:
                store.get("a")
            assert caught.value.case == "other"

    def test_links_within_the_directory_are_followed(self, directory):
        (directory / "..data").mkdir()
        write(directory / "..data", "a", b"x")
        (directory / "a").symlink_to("..data/a")
        assert DirectorySecrets(directory).get("a") == "x"

    def test_links_out_of_the_directory_are_not(self, directory, tmp_path):
        write(tmp_path, "outside", b"x")
        (directory / "a").symlink_to("../outside")
        (directory / "b").symlink_to("b")
        (directory / "c").symlink_to("nowhere")
        store = DirectorySecrets(directory)
        for name in ("a", "b"):
            with pytest.raises(CapabilityFailure) as caught:
                store.get(name)
            assert caught.value.case in ("other", "unavailable")
        assert store.get("c") is None

    def test_what_is_no_file_is_no_secret(self, directory):
        (directory / "a").mkdir()
        os.mkfifo(directory / "b", 0o600)
        store = DirectorySecrets(directory)
        for name in ("a", "b"):
            with pytest.raises(CapabilityFailure, match="not a file"):
                store.get(name)

    def test_secret_that_is_too_long_or_no_text_is_refused(self, directory):
        write(directory, "a", b"x" * MAX_SECRET_BYTES + b"\n")
        write(directory, "b", b"x" * (MAX_SECRET_BYTES + 1))
        write(directory, "c", b"\xff")
        store = DirectorySecrets(directory)
        assert len(store.get("a")) == MAX_SECRET_BYTES
        for name in ("b", "c"):
            with pytest.raises(CapabilityFailure) as caught:
                store.get(name)
            assert caught.value.case == "other"

    def test_directory_that_others_can_write_to_is_refused(self, directory):
        directory.chmod(0o777)
        with pytest.raises(ConfigError, match="others can put files"):
            DirectorySecrets(directory)
        directory.chmod(0o1777)  # where nobody can take another's file away
        DirectorySecrets(directory)

    def test_directory_has_to_be_there(self, tmp_path):
        (tmp_path / "file").touch()
        for name in ("absent", "file"):
            with pytest.raises(ConfigError, match=r"secrets\.directory"):
                DirectorySecrets(tmp_path / name)


class TestKeyring:
    def test_locked_keyring_is_unavailable(self, ring, caplog):
        ring.kept["dataflare", "a"] = "x"
        ring.locked = True
        caplog.set_level(logging.WARNING)
        with pytest.raises(CapabilityFailure) as caught:
            KeyringSecrets().get("a")
        assert caught.value.case == "unavailable"
        assert "locked" in caplog.text

    def test_secrets_of_another_service_are_not_seen(self, ring):
        ring.kept["other", "a"] = "x"
        assert KeyringSecrets("mine").get("a") is None

    def test_package_has_to_be_there(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "keyring", None)
        with pytest.raises(ConfigError, match="keyring is not installed"):
            KeyringSecrets()
