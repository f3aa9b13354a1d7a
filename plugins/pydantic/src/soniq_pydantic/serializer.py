"""The serializer: JSON, where Pydantic reads and writes what is its own, and msgspec the rest.

Pydantic is imported for the first value or type, and not for an app that has the plugin only.
"""

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from .reading import Reader

NAME = "pydantic"


class PydanticSerializer:
    """Arguments and results as JSON.

    A model is written by the names of its fields, and read by them or by aliases.
    """

    name = NAME

    def __init__(self) -> None:
        self._readers: dict[Any, Reader] = {}

    def dumps(self, value: object) -> bytes:
        """JSON for a value with models in it."""
        from .reading import to_json

        return msgspec.json.encode(value, enc_hook=to_json)

    def loads(self, data: bytes, type: Any) -> Any:
        """The value as a type.

        Raises ValueError, which says by field what is wrong, or `UnknownArguments`.
        """
        return self._reader(type).read(data)

    def check(self, type: Any) -> None:
        """Raise TypeError for a type that cannot be stored, as a Struct with a model in it."""
        self._reader(type)

    def _reader(self, type: Any) -> "Reader":
        try:
            reader = self._readers.get(type)
        except TypeError:  # cannot be hashed
            return _made(type)
        if reader is None:
            reader = self._readers[type] = _made(type)
        return reader


def _made(type: Any) -> "Reader":
    from .reading import reader

    return reader(type)
