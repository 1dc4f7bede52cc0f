"""DSSE envelopes: signed texts with signatures and public keys. They are parsed here, not verified.

The format: https://github.com/secure-systems-lab/dsse
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signature  # type: ignore[attr-defined]  # not re-exported explicitly

from dataflare.documents.models import StrictModel
from dataflare.security import manifest as manifests
from dataflare.security.keys import PublicKey

__all__ = [
    "MAX_ENVELOPE_BYTES",
    "MAX_SIGNATURES",
    "canonical_json",
    "envelope_bytes",
    "is_made_by",
    "parse_envelope",
    "problem_of",
]

MAX_ENVELOPE_BYTES: Final = 64 * 2**10
MAX_SIGNATURES: Final = 16

_Model = TypeVar("_Model", bound=BaseModel)


class _SignatureEntry(StrictModel):
    keyid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    sig: Annotated[str, StringConstraints(max_length=1024)]
    key: Annotated[str, StringConstraints(max_length=100)] | None = None


class _EnvelopeFile(StrictModel):
    payload: str
    payloadType: str  # the format's name
    signatures: Annotated[list[_SignatureEntry], Field(min_length=1, max_length=MAX_SIGNATURES)]


def parse_envelope(data: bytes, statement: type[_Model], *, payload_type: str) -> tuple[_Model, Envelope]:
    """Read an envelope without verifying it.

    Args:
        data: The envelope as JSON.
        statement: The type of the statement that it signs.
        payload_type: The required type of the payload.

    Raises:
        ValueError, RecursionError: It is not such an envelope; `problem_of` says why.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise ValueError(f"it is longer than {MAX_ENVELOPE_BYTES} bytes")
    file = _EnvelopeFile.model_validate_json(data)
    # Repeated keys are refused, since two readers may use different ones.
    json.loads(data, object_pairs_hook=manifests.unique_keys)
    if file.payloadType != payload_type:
        raise ValueError(f"it signs {file.payloadType[:80]!r}, not {payload_type!r}")
    payload = _decoded(file.payload, "payload")
    found = statement.model_validate_json(payload)
    json.loads(payload, object_pairs_hook=manifests.unique_keys)
    signatures: dict[str, Signature] = {}
    for entry in file.signatures:
        if entry.keyid in signatures:
            raise ValueError(f"the key {entry.keyid} is there twice")
        raw = _decoded(entry.sig, "signature")
        carried = {} if entry.key is None else {"key": entry.key}
        signatures[entry.keyid] = Signature(entry.keyid, raw.hex(), carried)
    return found, Envelope(payload, payload_type, signatures)


def _decoded(text: str, what: str) -> bytes:
    """Decode Base64. One text is valid for the same bytes, so that an envelope cannot be written in other ways."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"the {what} is not Base64") from error
    if base64.b64encode(raw).decode() != text:
        raise ValueError(f"the {what} is Base64 with padding or bits that do not belong there")
    return raw


def problem_of(error: ValueError | RecursionError) -> str:
    """Describe what is wrong with an envelope, given the error that `parse_envelope` raised."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"


def is_made_by(envelope: Envelope, key: PublicKey) -> bool:
    """Whether one of the signatures was made by this key, and is genuine."""
    try:
        envelope.verify([key.verifier()], 1)
    except VerificationError:
        return False
    return True


def envelope_bytes(envelope: Envelope) -> bytes:
    """Write an envelope as a file."""
    return json.dumps(envelope.to_dict(), sort_keys=True, indent=1).encode() + b"\n"


def canonical_json(statement: BaseModel) -> bytes:
    """Write the signed text as canonical JSON: keys sorted, no spaces."""
    value = statement.model_dump(mode="json", by_alias=True)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
