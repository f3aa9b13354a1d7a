"""What the serializer reads and writes with: Pydantic for models, msgspec for the rest."""

import re
from typing import Any, Literal

import msgspec
import pydantic_core
from pydantic import (
    BaseModel,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from soniq import JobId
from soniq.errors import UnknownArguments

from .extra import allows_extra, dropped
from .mentions import mentions_pydantic

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What Pydantic calls a field that a type does not have."""


class Reader:
    """Reads a type of msgspec's."""

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_from_json)

    def read(self, data: bytes) -> Any:
        return self._decoder.decode(data)


class PydanticReader(Reader):
    """Reads a type with models in it."""

    def __init__(self, kind: Any) -> None:
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise TypeError(
                f"Pydantic cannot read {kind}: {str(error).partition(' Set `arbitrary')[0]}"
            ) from error
        self._allows_extra = allows_extra(kind)

    def read(self, data: bytes) -> Any:
        if not self._allows_extra:
            return self._validated(data, "forbid")
        value = self._validated(data, None)
        try:
            with_all = self._validated(data, "allow")
        except AttributeError as error:  # of a dataclass with slots, which has none for this field
            name = re.search(r"no attribute '(\w+)'", str(error))
            raise UnknownArguments(name[1] if name else str(error), job="") from None
        if (place := dropped(with_all, value)) is not None:
            raise UnknownArguments(place.lstrip("."), job="")
        return value

    def _validated(self, data: bytes, extra: Literal["allow", "forbid"] | None) -> Any:
        """The value; `extra` stands for what each model says of fields that it does not declare."""
        try:
            return self._adapter.validate_json(data, by_alias=True, by_name=True, extra=extra)
        except ValidationError as error:
            problem = _told(error)
        raise problem  # outside of the except, whose error would come along with its values


class ArgumentsReader(Reader):
    """Reads a job's arguments, each as its own type says."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._fields = {field.name: reader(field.type) for field in msgspec.structs.fields(kind)}

    def read(self, data: bytes) -> Any:
        raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        unknown = sorted(raw.keys() - self._fields.keys())
        if unknown:
            raise ValueError(f"Object contains unknown field `{unknown[0]}`")
        return self._kind(**{name: self._field(name, value) for name, value in raw.items()})

    def _field(self, name: str, value: msgspec.Raw) -> object:
        try:
            return self._fields[name].read(bytes(value))
        except msgspec.ValidationError as error:
            text = str(error)
            place = re.sub(r"`\$([^`]*)`$", rf"`$.{name}\1`", text)
            raise ValueError(place if place != text else f"{text} - at `$.{name}`") from None
        except UnknownArguments as error:
            place = str(error)
            within = place if place.startswith("[") else f".{place}"
            raise UnknownArguments(name + within, job="") from None
        except ValueError as error:
            raise ValueError(f"the argument {name!r}: {error}") from None


def to_json(value: object) -> Any:
    """What msgspec does not encode by itself."""
    if isinstance(value, BaseModel):
        text = value.__pydantic_serializer__.to_json(value, by_alias=False, round_trip=True)
        return msgspec.Raw(text)
    if isinstance(value, str):
        return str(value)
    if type(value).__module__.partition(".")[0] == "pydantic":
        return msgspec.Raw(pydantic_core.to_json(value))
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"objects of type {kind} are not supported by JSON")


def reader(kind: Any) -> Reader:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__name__ == "Arguments":
        return ArgumentsReader(kind)
    return PydanticReader(kind) if mentions_pydantic(kind) else Reader(kind)


def _told(error: ValidationError) -> ValueError | UnknownArguments:
    """What Pydantic found, by field, without the values: they may be secret."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    places = [".".join(str(part) for part in each["loc"]) for each in problems]

    unknown = [
        place for place, each in zip(places, problems, strict=True) if each["type"] in UNKNOWN
    ]
    if len(unknown) == len(problems):
        return UnknownArguments(", ".join(unknown), job="")

    texts = (
        f"{place}: {each['msg']}" if place else each["msg"]
        for place, each in zip(places, problems, strict=True)
    )
    return ValueError("; ".join(texts))


def _from_json(kind: Any, value: object) -> object:
    if kind is JobId and isinstance(value, str):
        return JobId(value)
    raise TypeError(f"{kind} cannot be made from JSON")
