"""Fields that stored values have and the types that they are read as do not: decoders skip these in
silence.

A type is looked at once, and gives a function that finds the first such field of a value; parts of
the type in which there can be none are not looked at again.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.inspect import (
    CollectionType,
    DataclassType,
    DictType,
    Field,
    FrozenDictType,
    FrozenSetType,
    Metadata,
    NamedTupleType,
    SetType,
    StructType,
    TupleType,
    Type,
    TypedDictType,
    UnionType,
    type_info,
)

Find = Callable[[Any], str | None]
"""Gives the place of a field that the type does not have (`[0].price`); None where there is
none. Takes plain values, as they are decoded without a type.
"""


def info(annotation: object) -> Type | None:
    """What msgspec knows of a type; None where only a serializer of a plugin's knows it."""
    try:
        return type_info(annotation)
    except Exception:  # annotations of its fields that are text are evaluated
        return None


def finder(kind: Type | None) -> Find | None:
    """What finds a field that this type, or one inside it, does not have; None where none can be
    skipped, or the type is not known.
    """
    return None if kind is None else _Finders().of(kind)


def holds_set(kind: Type) -> bool:
    """Whether there is a set in a type: what is read as one cannot be compared item by item."""
    return any(isinstance(each, SetType | FrozenSetType) for each in _within(kind, []))


class _Finders:
    """The functions for a type and those inside it, each made once: a type may contain itself."""

    def __init__(self) -> None:
        self._made: list[tuple[Type, list[Find]]] = []

    def of(self, kind: Type) -> Find | None:
        if not any(map(_skips_fields, _within(kind, []))):
            return None
        for known, before in self._made:
            if known is kind:
                return lambda stored: before[0](stored)
        made: list[Find] = []
        self._made.append((kind, made))
        made.append(self._make(kind))
        return made[0]

    def _make(self, kind: Type) -> Find:
        match kind:
            case Metadata():
                return self._make(kind.type)
            case UnionType():
                return _first([find for each in kind.types if (find := self.of(each))])
            case DictType() | FrozenDictType():
                return _in_mapping(self._required(kind.value_type))
            case TupleType():
                return _in_places([self.of(each) for each in kind.item_types])
            case NamedTupleType():
                return _in_places([self.of(each.type) for each in kind.fields])
            case StructType(array_like=True):
                return self._array_like(kind)
            case StructType() | DataclassType() | TypedDictType():
                return self._with_fields(kind)
            case CollectionType():
                return _in_items(self._required(kind.item_type))
        raise AssertionError(kind)

    def _required(self, kind: Type) -> Find:
        find = self.of(kind)
        assert find is not None, kind
        return find

    def _with_fields(self, kind: StructType | DataclassType | TypedDictType) -> Find:
        fields = {each.encode_name: self.of(each.type) for each in kind.fields}
        tag_field, tag = getattr(kind, "tag_field", None), getattr(kind, "tag", None)

        def find(stored: Any) -> str | None:
            if type(stored) is not dict or stored.get(tag_field, tag) != tag:
                return None
            for key, value in stored.items():
                if key not in fields:
                    if key == tag_field:
                        continue
                    return f".{key}"
                inner = fields[key]
                if inner is not None and (found := inner(value)) is not None:
                    return f".{key}{found}"
            return None

        return find

    def _array_like(self, kind: StructType) -> Find:
        parts = [self.of(each.type) for each in kind.fields]
        if kind.tag_field is not None:
            parts.insert(0, None)

        def find(stored: Any) -> str | None:
            if type(stored) is not list or (
                kind.tag_field is not None and stored[:1] != [kind.tag]
            ):
                return None
            if len(stored) > len(parts) and not kind.forbid_unknown_fields:
                return f"[{len(parts)}]"
            return _in_places(parts)(stored)

        return find


def _first(finds: Sequence[Find]) -> Find:
    """Of the types in a union only the one that a value is of finds something in it."""

    def find(stored: Any) -> str | None:
        for each in finds:
            if (found := each(stored)) is not None:
                return found
        return None

    return finds[0] if len(finds) == 1 else find


def _in_mapping(inner: Find) -> Find:
    def find(stored: Any) -> str | None:
        for key, value in stored.items() if type(stored) is dict else ():
            if (found := inner(value)) is not None:
                return f".{key}{found}"
        return None

    return find


def _in_items(inner: Find) -> Find:
    def find(stored: Any) -> str | None:
        for number, value in enumerate(stored) if type(stored) is list else ():
            if (found := inner(value)) is not None:
                return f"[{number}]{found}"
        return None

    return find


def _in_places(parts: Sequence[Find | None]) -> Find:
    def find(stored: Any) -> str | None:
        for number, (inner, value) in enumerate(
            zip(parts, stored, strict=False) if type(stored) is list else ()
        ):
            if inner is not None and (found := inner(value)) is not None:
                return f"[{number}]{found}"
        return None

    return find


def _skips_fields(kind: Type) -> bool:
    """Whether a type has fields, and skips those that it does not have."""
    return isinstance(kind, TypedDictType | DataclassType) or (
        isinstance(kind, StructType) and not kind.forbid_unknown_fields
    )


def _within(kind: object, seen: list[object]) -> Iterator[Type]:
    """A type, and all those inside it."""
    if isinstance(kind, tuple):
        for each in kind:
            yield from _within(each, seen)
    if isinstance(kind, Field):
        yield from _within(kind.type, seen)
    if not isinstance(kind, Type) or any(each is kind for each in seen):
        return
    seen.append(kind)
    yield kind
    for name in kind.__struct_fields__:
        yield from _within(getattr(kind, name), seen)
