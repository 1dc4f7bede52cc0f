"""Ed25519 keys: the private ones that sign plugins, and the public ones that operators trust."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]  # not re-exported explicitly

from dataflare.errors import ConfigError
from dataflare.security.atomic_files import write_atomically
from dataflare.user_files import as_path, read_file

__all__ = ["PrivateKey", "PublicKey", "generate_key_files"]

_PREFIX: Final = "ed25519:"
_RAW_BYTES: Final = 32
_COORDINATE: Final = 2**255 - 1
_PRIME: Final = 2**255 - 19
_ORDER_8: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
"""The coordinate of a point of order 8."""
_MAX_FILE_BYTES: Final = 16 * 2**10
_MAX_PASSPHRASE_BYTES = 1023  # OpenSSL's maximum


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: 32 bytes. `str()` writes it as `ed25519:` and Base64."""

    raw: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read what `str()` writes.

        Raises:
            ConfigError: It is not a valid key.
        """
        encoded = text.strip()
        try:
            raw = base64.b64decode(encoded.removeprefix(_PREFIX).encode("ascii"), validate=True)
            if not encoded.startswith(_PREFIX) or len(raw) != _RAW_BYTES:
                raise ValueError
            Ed25519PublicKey.from_public_bytes(raw)
            if _is_weak(raw):
                raise ValueError
        except (ValueError, binascii.Error) as error:
            # A private key that was given by mistake must not be shown.
            what = "a private key" if "PRIVATE" in text else repr(text[:80])
            raise ConfigError(
                f"{what} is not a public key", hint="it is ed25519: and 44 letters of Base64, as in a .pub file"
            ) from error
        return cls(raw)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PublicKey:
        """Read a `.pub` file.

        Raises:
            ConfigError: The file cannot be read, or has no valid key.
        """
        data = read_file(path, _MAX_FILE_BYTES)
        try:
            return cls.parse(data.decode("ascii", "replace"))
        except ConfigError as error:
            # Whatever is in the file: it may be a secret.
            raise ConfigError("is not a public key", where=str(path), hint=error.hint) from error

    @property
    def id(self) -> str:
        """The key's id in signatures: 64 hexadecimal digits computed from the key."""
        return str(self.verifier().keyid)

    def verifier(self) -> SSlibKey:
        """The key as securesystemslib has it."""
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(self.raw))

    def __str__(self) -> str:
        return _PREFIX + base64.b64encode(self.raw).decode()


def _is_weak(raw: bytes) -> bool:
    """Whether anyone can make signatures of a key, or it is another way to write one.

    A point of a small order signs any text without a private key. A coordinate beyond the field's prime means the same
    point as a smaller one. https://eprint.iacr.org/2020/1244
    """
    y = int.from_bytes(raw, "little") & _COORDINATE
    return y >= _PRIME or y in (0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8)


class PrivateKey:
    """A private key. Its `repr` reveals nothing of it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> PrivateKey:
        """Generate a key with the system's random numbers."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, passphrase: str | None = None) -> PrivateKey:
        """Read a key file.

        Raises:
            ConfigError: The file cannot be read, users other than its owner may read it, the passphrase is wrong,
                missing or not needed, or it has no Ed25519 key.
        """
        file = as_path(path, where="key")
        where = str(file)
        data = read_file(file, _MAX_FILE_BYTES, check=lambda status: _require_private(status, file))
        try:
            key = serialization.load_pem_private_key(data, None if passphrase is None else passphrase.encode())
        except TypeError as error:
            # The library raises this if a passphrase is missing, or given for a key without one.
            missing = passphrase is None
            raise ConfigError(
                "is protected by a passphrase" if missing else "is not protected by a passphrase, but one was given",
                where=where,
                hint="give the passphrase" if missing else "leave the passphrase out",
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError("the passphrase is wrong, or this is not a private key in PEM", where=where) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError("is not an Ed25519 key", where=where, hint="make one with: dataflare key generate")
        return cls(key)

    def save(self, path: str | os.PathLike[str], *, passphrase: str | None = None) -> None:
        """Write the key to a new file that only its owner may read (mode 0600), as PKCS #8 in PEM.

        Raises:
            ConfigError: The file exists or cannot be written, or the passphrase is empty or longer than 1,023 bytes.
        """
        if passphrase == "":
            raise ConfigError("an empty passphrase protects nothing", where=str(path), hint="give one, or none at all")
        if passphrase is not None and len(passphrase.encode()) > _MAX_PASSPHRASE_BYTES:
            raise ConfigError(f"the passphrase is longer than {_MAX_PASSPHRASE_BYTES} bytes", where=str(path))
        protection: serialization.KeySerializationEncryption = (
            serialization.NoEncryption()
            if passphrase is None
            else serialization.BestAvailableEncryption(passphrase.encode())
        )
        data = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
        write_atomically(Path(path), data, mode=0o600, replace=False)

    @property
    def public(self) -> PublicKey:
        """The public key that belongs to it."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def signer(self) -> CryptoSigner:
        """The key as securesystemslib has it."""
        return CryptoSigner(self._key, self.public.verifier())

    def __repr__(self) -> str:
        return f"<PrivateKey of {self.public}>"


def _require_private(status: os.stat_result, file: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"can be read or changed by others (mode {mode:04o})", where=str(file), hint=f"chmod 600 {file}"
        )


def generate_key_files(path: str | os.PathLike[str], *, passphrase: str | None = None) -> PublicKey:
    """Make a key: the private one in a file `path`, the public one beside it in `path` with `.pub` added.

    Raises:
        ConfigError: One of the files exists or cannot be written.
    """
    private = as_path(path, where="key")
    public = private.parent / f"{private.name}.pub"
    if os.path.lexists(public):  # unlike the method of a path, it accepts any name
        raise ConfigError("exists already", where=str(public), hint="choose another name, or remove it first")
    key = PrivateKey.generate()
    key.save(private, passphrase=passphrase)
    try:
        write_atomically(public, f"{key.public}\n".encode(), replace=False)
    except BaseException:
        private.unlink()  # a private key without its public key is of no use
        raise
    return key.public
