"""Fields that a model does not declare: whether it keeps them, and which ones would be dropped."""

import dataclasses
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from pydantic import BaseModel

from .mentions import found

KEPT_OR_REFUSED = ("allow", "forbid")
MISSING: Any = object()


def allows_extra(annotation: object) -> bool:
    """Whether a model in it takes fields that it does not declare (`extra="allow"`)."""
    return any(
        getattr(kind, "model_config", {}).get("extra") == "allow" for kind in found(annotation)
    )


def dropped(with_all: object, value: object) -> str | None:
    """The place of a field that `value` has lost; None where it has lost none.

    `with_all` is of the same data, and was read as if each type kept the fields that it does not
    declare. The counterpart of a set's member is another one of its type: of these two only the
    attributes are compared.
    """
    if (lost := _lost(with_all, value)) is not None:
        return lost

    for place, one, other in _parts(with_all, value):
        if (lost := dropped(one, other)) is not None:
            return place + lost
    return None


def _lost(with_all: object, value: object) -> str | None:
    """The place of a field of this very value, not of one within it, that `value` has lost."""
    names: Iterable[object] = ()
    kept: Container[object] = ()
    if isinstance(with_all, BaseModel):
        if type(with_all).model_config.get("extra") not in KEPT_OR_REFUSED:
            names = with_all.model_extra or ()
    elif _is_dataclass(with_all):
        names = getattr(with_all, "__dict__", {})
        kept = getattr(value, "__dict__", names)
    elif isinstance(with_all, Mapping):
        names = with_all
        kept = value if isinstance(value, Mapping) else with_all
    return next((f".{name}" for name in names if name not in kept), None)


def _parts(with_all: object, value: object) -> Iterator[tuple[str, object, object]]:
    """What is within a value, each with its place and its counterpart."""
    if names := _fields(with_all):
        for name in names:
            yield f".{name}", getattr(with_all, name), getattr(value, name, MISSING)

    elif isinstance(with_all, Mapping):
        read = value if isinstance(value, Mapping) else with_all
        for key, each in with_all.items():
            yield f".{key}", each, read[key]

    elif isinstance(with_all, list | tuple):
        others = value if isinstance(value, list | tuple) else (MISSING,) * len(with_all)
        for number, (each, other) in enumerate(zip(with_all, others, strict=False)):
            yield f"[{number}]", each, other

    elif isinstance(with_all, Set):
        twins = {type(each): each for each in value} if isinstance(value, Set) else {}
        for number, each in enumerate(with_all):
            yield f"[{number}]", each, twins.get(type(each), MISSING)


def _fields(value: object) -> Sequence[str]:
    """The names of the fields of a model or a dataclass; none of another value."""
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    return ()


def _is_dataclass(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
