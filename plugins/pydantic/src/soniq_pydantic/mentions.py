"""Whether Pydantic has to read a type: whether something of Pydantic's is in it."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.dataclasses import is_pydantic_dataclass
from typing_extensions import is_typeddict

from .packages import PYDANTICS


def mentions_pydantic(annotation: object) -> bool:
    """Whether there is a type of Pydantic's in it, at any depth."""
    return any(True for _ in found(annotation))


def found(annotation: object) -> Iterator[object]:
    """Each type of Pydantic's in an annotation, also those that fields of other types are of."""
    return _found(annotation, [])


def _found(annotation: object, seen: list[object]) -> Iterator[object]:
    if any(each is annotation for each in seen):
        return
    seen.append(annotation)
    if get_origin(annotation) is Annotated and any(
        _is_pydantics(type(each)) for each in get_args(annotation)[1:]
    ):
        yield annotation
    if isinstance(annotation, type) and (
        _is_pydantics(annotation) or is_pydantic_dataclass(annotation)
    ):
        yield annotation
    for part in (*get_args(annotation), *_fields(annotation)):
        yield from _found(part, seen)


def _is_pydantics(kind: type) -> bool:
    return issubclass(kind, BaseModel) or kind.__module__.partition(".")[0] in PYDANTICS


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _fields(kind: Any) -> Iterator[object]:
    """The types of the fields of a class that has some, as far as they can be read."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from (field.annotation for field in kind.model_fields.values())
    elif (
        dataclasses.is_dataclass(kind)
        or is_typeddict(kind)
        or hasattr(kind, "__struct_fields__")
        or _is_named_tuple(kind)
    ):
        try:
            yield from get_type_hints(kind, include_extras=True).values()
        except Exception:  # which the core reports; text is evaluated
            return
