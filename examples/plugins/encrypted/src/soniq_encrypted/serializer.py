"""The serializer: a value as JSON, encrypted.

The bytes are: version (1), length of the key's id (1), the id, a nonce (12), and AES-GCM's ciphertext with its tag.
All before the nonce is associated data, so that neither version nor id can be changed unnoticed.
"""

import os
import re
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag

from soniq import JobId

from .errors import DecryptionError
from .keys import Keys

NAME = "encrypted"
VERSION = 1
NONCE_BYTES = 12

HARMLESS = re.compile(r"Expected `|Object missing required field `")
"""How those of msgspec's messages begin that quote the type only; the others may quote the value."""
PLACE = re.compile(r" - at `(key` in `)?\$[\w.\[\]]*`$")


class EncryptedSerializer:
    """Arguments and results as encrypted JSON, as strict about types as the core's JSON is."""

    name = NAME

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def dumps(self, value: object) -> bytes:
        """Encrypt a value with the newest key."""
        key_id, cipher = self._keys.newest()
        header = bytes([VERSION, len(key_id)]) + key_id.encode()
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, msgspec.json.encode(value, enc_hook=_to_json), header)

    def loads(self, data: bytes, type: Any) -> Any:
        """Decrypt a value of a type. Raises `DecryptionError`, or `ValueError` for a value of another type."""
        try:
            return msgspec.json.decode(self._decrypted(data), type=type, dec_hook=_from_json)
        except msgspec.DecodeError as error:
            problem = _without_values(str(error))
        raise ValueError(problem)  # outside of the except, whose error would come along as its context

    def _decrypted(self, data: bytes) -> bytes:
        if len(data) < 2 or data[0] != VERSION:
            raise DecryptionError("these bytes are not in the format of this version of soniq-encrypted")
        start = 2 + data[1]
        header, nonce = data[:start], data[start : start + NONCE_BYTES]
        key_id = header[2:].decode("ascii", "backslashreplace")
        cipher = self._keys.get(key_id)
        try:
            return cipher.decrypt(nonce, data[start + NONCE_BYTES :], header)
        except (InvalidTag, ValueError):
            raise DecryptionError(
                f"the bytes do not fit the key {key_id!r}: they were changed, or encrypted with another key of that id"
            ) from None


def _without_values(message: str) -> str:
    """What msgspec says of a value that does not fit its type, without the value."""
    place = PLACE.search(message)
    return message if HARMLESS.match(message) else f"a value that does not fit its type{place[0] if place else ''}"


def _to_json(value: object) -> str:
    """A subclass of `str`, such as a job's id, is its text."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"objects of type {type(value).__module__}.{type(value).__qualname__} are not supported by JSON")


def _from_json(type: Any, value: object) -> object:
    if type is JobId and isinstance(value, str):
        return JobId(value)
    raise TypeError(f"{type} cannot be made from JSON")
