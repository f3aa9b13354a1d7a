"""The serializer: a value as JSON, encrypted.

The bytes are: version (1), whether they are bound to a job's id (1), length of the key's id (1),
the id, a nonce (12), and AES-GCM's ciphertext with its tag. Associated data are all before the
nonce and whose bytes they are: purpose, name and id of the job. None of it can be changed
unnoticed.
"""

import os
import re
from typing import Any

import msgspec

from soniq import JobId
from soniq.plugin import Payload

from .errors import DecryptionError
from .keys import Keys

NAME = "encrypted"
VERSION = 1
NONCE_BYTES = 12

HARMLESS = re.compile(r"Expected `|Object missing required field `")
"""How those of msgspec's messages begin that quote the type only; the others may quote the value.
"""
PLACE = re.compile(r" - at `(key` in `)?\$[\w.\[\]]*`$")


class EncryptedSerializer:
    """Arguments and results as encrypted JSON, as strict about types as the core's JSON is."""

    name = NAME
    readable = False  # operators are not shown what is encrypted

    def __init__(self, keys: Keys, payload: Payload | None = None) -> None:
        self._keys = keys
        self._payload = payload

    def bound_to(self, payload: Payload) -> "EncryptedSerializer":
        """The serializer for one payload."""
        return EncryptedSerializer(self._keys, payload)

    def dumps(self, value: object) -> bytes:
        """Encrypt a value with the newest key."""
        key_id, cipher = self._keys.newest()
        by_id = self._payload is not None and self._payload.job_id is not None
        header = bytes([VERSION, by_id, len(key_id)]) + key_id.encode()
        nonce = os.urandom(NONCE_BYTES)
        text = msgspec.json.encode(value, enc_hook=_to_json)
        return header + nonce + cipher.encrypt(nonce, text, self._associated(header))

    def loads(self, data: bytes, type: Any) -> Any:
        """Decrypt a value of a type. Raises `DecryptionError`, or `ValueError` for a value of
        another type.
        """
        try:
            return msgspec.json.decode(self._decrypted(data), type=type, dec_hook=_from_json)
        except msgspec.DecodeError as error:
            problem = _without_values(str(error))
        raise ValueError(
            problem
        )  # outside of the except, whose error would come along as its context

    def _decrypted(self, data: bytes) -> bytes:
        if len(data) < 3 or data[0] != VERSION:
            raise DecryptionError(
                "these bytes are not in the format of this version of soniq-encrypted"
            )
        start = 3 + data[2]
        header, nonce = data[:start], data[start : start + NONCE_BYTES]
        key_id = header[3:].decode("ascii", "backslashreplace")
        cipher = self._keys.get(key_id)
        from cryptography.exceptions import InvalidTag  # not before there is a key

        try:
            return cipher.decrypt(nonce, data[start + NONCE_BYTES :], self._associated(header))
        except (InvalidTag, ValueError):
            raise DecryptionError(
                f"the bytes do not fit the key {key_id!r}: they were changed, are those of"
                " another job or another purpose, or were encrypted with another key of that id"
            ) from None

    def _associated(self, header: bytes) -> bytes:
        """What is not encrypted and cannot be changed: the header, and whose bytes they are."""
        about = self._payload
        if about is None:
            return header
        bound_to = [about.purpose, about.job_name, about.job_id if header[1] else None]
        return header + msgspec.json.encode(bound_to)


def _without_values(message: str) -> str:
    """What msgspec says of a value that does not fit its type, without the value."""
    place = PLACE.search(message)
    return (
        message
        if HARMLESS.match(message)
        else f"a value that does not fit its type{place[0] if place else ''}"
    )


def _to_json(value: object) -> str:
    """A subclass of `str`, such as a job's id, is its text."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(
        f"objects of type {type(value).__module__}.{type(value).__qualname__} are not supported by"
        " JSON"
    )


def _from_json(type: Any, value: object) -> object:
    if type is JobId and isinstance(value, str):
        return JobId(value)
    raise TypeError(f"{type} cannot be made from JSON")
