"""Whether a value arrives as what was passed: what was decoded is compared with it, since encoders
drop in silence.

A value may be passed in the form that JSON has for it (a mapping for a dataclass, text for a
`datetime`, a list for a tuple or a set, and the other way round a tuple for a list). Everything
else that changes is told, with its place.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from soniq.text import LONGEST, shown
from soniq.tracebacks import text_of

PLAIN = frozenset({str, int, bool, type(None)})
"""Types whose values are the same in every serializer, and are read as nothing else by most types.
"""

FLAT = PLAIN | {float}
MANY = 8
"""Items from which it is quicker to look at all of their types at once."""
MISSING: Any = object()


class Difference(NamedTuple):
    """Where a value would not arrive as it was passed (`.lines[0].price`), and what would become of
    it.
    """

    place: str
    words: str


def difference(passed: object, arrived: object, *, loose: bool = False) -> Difference | None:
    """What would arrive otherwise than it was passed, first of all; None where all is as it was.

    `loose`: for what has no type to be read as, the form that JSON has for it will do: text for a
    `datetime`.
    """
    try:
        return _Comparison(loose).compare(passed, arrived)
    except RecursionError:
        return Difference("", "it is nested too deeply")
    except Exception as error:  # of the value's own
        return Difference("", f"it cannot be compared: {type(error).__name__}: {text_of(error)}")


class _Comparison:
    def __init__(self, loose: bool) -> None:
        self._loose = loose

    def compare(self, passed: Any, arrived: Any) -> Difference | None:
        kind = type(passed)
        if kind is type(arrived):  # as nearly always
            if kind in FLAT and passed == arrived:
                return None
            if kind is list or kind is tuple:
                return self._items(passed, arrived)
            if kind is dict:
                return self._keys(passed, arrived)
            if (names := _field_names(kind)) is not None:
                return self._fields(names, passed, arrived)
        return self._other(passed, arrived)

    def _other(self, passed: Any, arrived: Any) -> Difference | None:
        """Two of different types, or of one without parts that the comparison knows."""
        if (
            isinstance(passed, float)
            and not math.isfinite(passed)
            and not isinstance(arrived, float)
        ):
            return Difference(
                "", f"{passed} is not a number that JSON has, and would arrive as {arrived!r:.40}"
            )

        if isinstance(passed, Mapping):
            return (
                self._keys(passed, arrived)
                if isinstance(arrived, Mapping)
                else self._as_fields(passed, arrived)
            )
        if isinstance(passed, list | tuple) and isinstance(arrived, list | tuple):
            return self._items(passed, arrived)
        if isinstance(passed, list | tuple | Set) and isinstance(arrived, Set):
            return _members(passed, arrived)
        if self._loose and isinstance(passed, Set) and isinstance(arrived, list):
            return self._items(list(passed), arrived)
        if (
            self._loose
            and isinstance(arrived, dict)
            and (names := _field_names(type(passed))) is not None
        ):
            return self._fields(names, passed, arrived)

        return self._value(passed, arrived)

    def _value(self, passed: Any, arrived: Any) -> Difference | None:
        if type(passed) is type(arrived):
            return None if _equal(passed, arrived) else _changed(passed, arrived)
        if self._loose:
            return _changed(passed, arrived) if arrived is None or _has_odd_offset(passed) else None
        if isinstance(passed, str):
            ok = (
                str(passed) == arrived
                if isinstance(arrived, str)
                else not isinstance(arrived, bytes | bytearray)
            )
        elif isinstance(passed, bytes | bytearray | memoryview):
            ok = isinstance(arrived, bytes | bytearray | memoryview) and bytes(passed) == bytes(
                arrived
            )
        else:
            ok = _equal(passed, arrived.value if isinstance(arrived, Enum) else arrived)
        return None if ok and not _is_parent(arrived, passed) else _retyped(passed, arrived)

    def _items(self, passed: Sequence[Any], arrived: Sequence[Any]) -> Difference | None:
        if len(passed) != len(arrived):
            return Difference("", f"{len(passed)} items would arrive as {len(arrived)}")
        if len(passed) > MANY and _all_flat(passed, arrived):
            return None
        for number, (one, other) in enumerate(zip(passed, arrived, strict=True)):
            if found := self.compare(one, other):
                return Difference(f"[{number}]{found.place}", found.words)
        return None

    def _keys(self, passed: Mapping[Any, Any], arrived: Mapping[Any, Any]) -> Difference | None:
        if len(passed) != len(arrived):
            lost = next((key for key in passed if key not in arrived), "")
            return Difference(
                f".{lost}", f"there is no such key in its type{_nearest(lost, arrived)}"
            )

        if (
            len(passed) > MANY
            and _all_flat(passed, arrived)
            and _all_flat(passed.values(), arrived.values())
        ):
            return None

        for (key, value), (other_key, other) in zip(passed.items(), arrived.items(), strict=True):
            found = self.compare(key, other_key)
            if found and key in arrived:  # a serializer that orders keys
                found, other = None, arrived[key]
            if found:
                return Difference(f".{key}", f"the key {key!r:.40}: {found.words}")
            if found := self.compare(value, other):
                return Difference(f".{key}{found.place}", found.words)
        return None

    def _fields(self, names: Mapping[str, str], passed: Any, arrived: Any) -> Difference | None:
        for name, encoded in names.items():
            value = getattr(passed, name, MISSING)
            other = (
                arrived.get(encoded, value)
                if isinstance(arrived, dict)
                else getattr(arrived, name, MISSING)
            )
            if found := self.compare(value, other):
                return Difference(f".{name}{found.place}", found.words)
        return None

    def _as_fields(self, passed: Mapping[Any, Any], arrived: Any) -> Difference | None:
        """A mapping that stands for a value with fields."""
        names = _encoded_names(type(arrived))
        if names is None:
            return None if not isinstance(arrived, PARTLESS) else _retyped(passed, arrived)
        for key, value in passed.items():
            if key not in names:
                return Difference(
                    f".{key}", f"{type(arrived).__name__} has no such field{_nearest(key, names)}"
                )
            name = names[key]
            if name is not None and (found := self.compare(value, getattr(arrived, name))):
                return Difference(f".{key}{found.place}", found.words)
        return None


PARTLESS = (str, int, float, bytes, bytearray, type(None), list, tuple, Set, date, time)
"""What a mapping cannot stand for."""


def _all_flat(passed: Any, arrived: Any) -> bool:
    """Whether many values are the same, at the speed of C: all of plain types, and equal."""
    kinds = set(map(type, passed))
    return kinds <= FLAT and kinds >= set(map(type, arrived)) and list(passed) == list(arrived)


def _equal(passed: Any, arrived: Any) -> bool:
    try:
        if (
            isinstance(passed, datetime)
            and isinstance(arrived, datetime)
            and passed.utcoffset() is not None
        ):
            return passed.astimezone(UTC) == arrived.astimezone(UTC)  # one hour comes twice a year
        if isinstance(passed, time) and isinstance(arrived, time) and passed.tzinfo is not None:
            return passed == arrived and arrived.tzinfo is not None  # a zone needs a day to count
        return bool(passed == arrived) or bool(passed != passed and arrived != arrived)
    except Exception:  # a signalling NaN, or a comparison of the value's own
        return str(passed) == str(arrived)


def _has_odd_offset(value: object) -> bool:
    """Whether a time has an offset with seconds, which its text in JSON has not."""
    offset = value.utcoffset() if isinstance(value, datetime | time) else None
    return offset is not None and offset.total_seconds() % 60 != 0


def _members(passed: Any, arrived: Any) -> Difference | None:
    """What is passed for a set, or as one: where the members are not equal, they are in JSON's form
    of them.
    """
    if _has_no_number(passed) and not _has_no_number(arrived):
        return Difference("", "JSON has no such number as NaN or infinity")
    try:
        if set(passed) == set(arrived) and {type(each) for each in passed} <= {
            type(each) for each in arrived
        }:
            return None
    except TypeError:  # which cannot be hashed, and so are JSON's form of what can
        return None
    if all(type(each) in PLAIN for each in passed) and len(set(passed)) == len(arrived):
        return None
    one, other = next(iter(passed), None), next(iter(arrived), None)
    return _retyped(one, other) if type(one) is not type(other) else _changed(passed, arrived)


def _has_no_number(members: Any) -> bool:
    return any(isinstance(each, float) and not math.isfinite(each) for each in members)


def _is_parent(arrived: object, passed: object) -> bool:
    """Whether what arrived is of a parent of the type that was passed, which may have had more to
    it.
    """
    parent = type(arrived)
    return isinstance(passed, parent) and parent not in BUILT_IN


BUILT_IN = frozenset(
    {str, int, float, bytes, bytearray, list, tuple, dict, set, frozenset, datetime, date, time}
)


def _changed(passed: object, arrived: object) -> Difference:
    if shown(passed, LONGEST) != shown(arrived, LONGEST):
        return Difference("", f"{shown(passed, 60)} would arrive as {shown(arrived, 60)}")
    return Difference(
        "",
        f"what is read from its JSON looks the same, and is not equal to it ({shown(passed, 60)}):"
        " it holds what is not written, as private attributes and secrets",
    )


def _retyped(passed: object, arrived: object) -> Difference:
    one, other = type(passed).__name__, type(arrived).__name__
    return Difference("", f"a value of type {one} would arrive as {_article(other)} {other}")


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


def _nearest(name: object, names: Any) -> str:
    nearest = get_close_matches(str(name), [str(each) for each in names], 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _find_field_names(kind: Any) -> Mapping[str, str] | None:
    """The attributes that hold the parts of a type, with their names when encoded; None for one
    without such parts.
    """
    if hasattr(kind, "__struct_fields__"):
        return dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    if dataclasses.is_dataclass(kind):
        return {field.name: field.name for field in dataclasses.fields(kind)}
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else {each.name: each.name for each in attributes}


def _find_encoded_names(kind: Any) -> Mapping[object, str | None] | None:
    """The keys that a mapping may have which stands for a value of this type, with the
    attributes.
    """
    names = _field_names(kind)
    if names is None:
        return None
    keys: dict[object, str | None] = {encoded: name for name, encoded in names.items()}
    tag = getattr(getattr(kind, "__struct_config__", None), "tag_field", None)
    return {**keys, tag: None} if tag is not None else keys


_field_names: Callable[[Any], Mapping[str, str] | None] = lru_cache(1_000)(_find_field_names)
_encoded_names: Callable[[Any], Mapping[object, str | None] | None] = lru_cache(1_000)(
    _find_encoded_names
)
