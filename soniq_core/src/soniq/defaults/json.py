"""JSON through msgspec: fast, strict about types, readable with any tool."""

import numbers
from collections.abc import Callable, Hashable
from typing import Any

import msgspec
from msgspec.inspect import CustomType

from soniq.fields import info
from soniq.hooks.markers import hookimpl
from soniq.hooks.values import Serializer
from soniq.ids import JobId


class JsonSerializer:
    """Arguments and results as JSON, in UTF-8."""

    name = "json"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=to_json).encode
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}

    def dumps(self, value: object) -> bytes:
        return self._encode(value)

    def loads(self, data: bytes, type: Any) -> Any:
        try:
            decode = self._decoders[type]
        except (KeyError, TypeError):  # not met before, or one that has no hash
            decode = msgspec.json.Decoder(type, dec_hook=_from_json).decode
            if isinstance(type, Hashable):
                self._decoders[type] = decode
        return decode(data)

    def check(self, type: Any) -> None:
        """Raise TypeError for a type that JSON cannot be read as, whatever its values are."""
        msgspec.json.Decoder(type)
        kind = info(type)
        if isinstance(kind, CustomType) and kind.cls is not JobId:
            raise TypeError(f"nothing makes a {kind.cls.__qualname__} of JSON")


class JsonPlugin:
    """The serializer of every job that names no other."""

    name = "json"

    @hookimpl
    def serializers(self) -> list[Serializer]:
        return [JsonSerializer()]


def to_json(value: object) -> str | int | float:
    """What msgspec does not encode by itself: a subclass of `str`, such as a job's id, and numbers
    such as NumPy's.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(
        f"objects of type {type(value).__module__}.{type(value).__qualname__} are not supported by"
        " JSON"
    )


def _from_json(type: Any, value: object) -> object:
    if type is JobId and isinstance(value, str):
        return JobId(value)
    raise TypeError(f"{type} cannot be made from JSON")
