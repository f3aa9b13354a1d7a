"""Keys by id: the first one encrypts, each one decrypts what it has encrypted."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from soniq import ConfigurationError
from soniq.plugin import Secret

from .errors import DecryptionError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEY_BYTES = 32
"""AES-256."""


class Keys:
    """Keys by id, in order of preference. Shows ids and never a key. Raises
    `ConfigurationError`.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ConfigurationError("keys= holds no key")
        wrong = next(filter(None, (_wrong(key_id, key) for key_id, key in keys.items())), None)
        if wrong is not None:
            del keys  # an error shows the variables where it was raised
            raise ConfigurationError(wrong)
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # not without a key

        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._ciphers)}>"

    def newest(self) -> "tuple[str, AESGCM]":
        """The key that encrypts, with its id."""
        return next(iter(self._ciphers.items()))

    def get(self, key_id: str) -> "AESGCM":
        """The key of an id. Raises `DecryptionError`."""
        if key_id not in self._ciphers:
            raise DecryptionError(
                f"no key has the id {key_id!r} here; there are {', '.join(self._ciphers)}"
            )
        return self._ciphers[key_id]


def _wrong(key_id: object, key: object) -> str | None:
    if not isinstance(key_id, str) or not KEY_ID.fullmatch(key_id):
        return "the id of a key is 1 to 64 letters, digits, dots, dashes and underscores"
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        return f"the key {key_id!r} must be {KEY_BYTES} bytes, made at random"
    return None


def parse(text: str) -> Keys:
    """Keys as SONIQ_ENCRYPTED_KEYS has them: `id:base64,id:base64`. Raises `ConfigurationError`."""
    text = Secret(text)
    found = _read(text)
    if isinstance(found, str):
        raise ConfigurationError(f"SONIQ_ENCRYPTED_KEYS: {found}")
    return Keys(found)


def _read(text: str) -> dict[str, bytes] | str:
    """The keys, or what is wrong with them. It raises nothing: keys would be among the
    variables.
    """
    keys: dict[str, bytes] = {}
    for number, part in enumerate(text.split(","), 1):
        key_id, colon, encoded = part.strip().partition(":")
        if not colon or not KEY_ID.fullmatch(key_id):
            return f"key number {number} is not written as id:base64"
        if key_id in keys:
            return f"two keys have the id {key_id!r}"
        try:
            keys[key_id] = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return f"the key {key_id!r} is no base64"
    return keys
