"""A job's signature: which parameters are arguments, which are provided, and of what types they
are.
"""

import inspect
import math
import re
import sys
import types
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from functools import partial, reduce
from operator import getitem, or_
from pathlib import PurePath
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from soniq.checks import nearest
from soniq.errors import InvalidArguments, JobDefinitionError, UnknownArguments
from soniq.faithful import PLAIN, Difference, difference
from soniq.fields import finder, holds_set, info
from soniq.job.options import OPTION_NAMES
from soniq.signals import Signal

STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)
Provide = Callable[[object], Any]


class _Provided:
    def __repr__(self) -> str:
        return "PROVIDED"


PROVIDED: Any = _Provided()
"""The default of a parameter that is provided, for type checkers: `ctx: JobContext = PROVIDED` is
not to be passed.
"""


class Signature:
    """The parameters of a job's function, compiled once.

    `arguments` is a msgspec Struct type with a field for each parameter that is passed, which
    serializers decode into; `provided` are the factories for those that are not; `returns` is the
    type of the result.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], hints: Mapping[str, object], provide: Provide
    ) -> None:
        self.name = name
        self.provided: dict[str, Any] = {}
        self.types: dict[str, Any] = {}
        """What each parameter that is passed is declared to be."""
        self._signature = inspect.signature(function)
        passed = self._passed_of(parameters(name, function), hints, provide)

        self._passed = self._signature.replace(parameters=passed)
        self.names = frozenset(self.types)
        """The names of the parameters that are passed."""
        self._defaults = {p.name: p.default for p in passed if p.default is not p.empty}
        self._required = self.names - self._defaults.keys()
        self.arguments = self._struct()

        self.returns = _returned(name, without_signals(hints.get("return", Any)))
        kinds = {
            name: kind
            for name, annotation in self.types.items()
            if (kind := info(annotation)) is not None
        }
        self._simple = frozenset(name for name, kind in kinds.items() if _is_simple(kind))
        """The parameters for which a plain value can be read as nothing else."""
        self._finders = {
            name: find for name, kind in kinds.items() if (find := finder(kind)) is not None
        }
        self.has_fields = bool(self._finders)
        """Whether a type has fields: what is stored for it may have others, which decoders skip in
        silence.
        """
        self.has_sets = any(holds_set(kinds[name]) for name in self._finders)
        """Whether values with fields may be in sets, whose members have no order to be compared in.
        """

        returns = info(self.returns)
        self.find_in_result = finder(returns)
        """What finds a field of a stored result that the type of the result does not have."""
        self.result_has_sets = self.find_in_result is not None and holds_set(cast("Any", returns))

    def _passed_of(
        self,
        declared: Iterable[inspect.Parameter],
        hints: Mapping[str, object],
        provide: Provide,
    ) -> list[inspect.Parameter]:
        """Note which parameters are provided, and the types of the others, which are returned."""
        passed = []
        for parameter in declared:
            annotation = _anything(hints.get(parameter.name, Any))
            factory = provide(bare(annotation))
            if factory is not None:
                self.provided[parameter.name] = factory
                continue
            if parameter.default is PROVIDED:
                raise JobDefinitionError(
                    f"{self.name}: nothing provides the parameter {parameter.name!r}, declared as"
                    f" {annotation}; is the plugin installed that does?",
                    job=self.name,
                )
            passed.append(parameter)
            self.types[parameter.name] = annotation
        return passed

    def _struct(self) -> type[msgspec.Struct]:
        """What serializers decode arguments into."""
        fields: list[tuple[str, type] | tuple[str, type, Any]] = [
            (name, kind, msgspec.field(default_factory=_constant(self._defaults[name])))
            if name in self._defaults
            else (name, kind)
            for name, kind in self.types.items()
        ]
        try:
            return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        except Exception as error:
            named = [name for name in self.types if name.startswith("__")]
            raise JobDefinitionError(
                f"{self.name}: its parameters cannot be stored under these names"
                f" ({', '.join(named)}): {error}",
                job=self.name,
            ) from error

    def check_types(self, serializer: object) -> None:
        """Raise `JobDefinitionError` for a type that the serializer cannot store."""
        check: Callable[[Any], object] = getattr(serializer, "check", msgspec.json.Decoder)
        for what, kind in (
            *(("parameter " + name, kind) for name, kind in self.types.items()),
            ("result", self.returns),
        ):
            try:
                check(kind)
            except RecursionError:
                raise self._cannot_store(
                    what, "it contains itself; a class that does is one way"
                ) from None
            except Exception as error:  # the annotations of its fields may be text, too
                raise self._cannot_store(what, str(error)) from error
        check(self.arguments)

    def _cannot_store(self, what: str, why: str) -> JobDefinitionError:
        return JobDefinitionError(
            f"{self.name}: the annotation of the {what} is of a type that cannot be stored: {why}."
            " Parameters of types that a plugin provides are not passed, and soniq-pydantic stores"
            " Pydantic's; is that plugin installed?",
            job=self.name,
        )

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """All arguments by name, defaults included. Raises `InvalidArguments` for those missing or
        too many.
        """
        if not args and self._required <= kwargs.keys() <= self.names:
            return {**self._defaults, **kwargs}
        try:
            bound = self._passed.bind(*args, **kwargs)
        except TypeError as error:
            expected = ", ".join(str(p) for p in self._passed.parameters.values())
            unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            hint = nearest(unexpected[1], [*self.names, *OPTION_NAMES]) if unexpected else ""
            raise InvalidArguments(
                f"{self.name}({expected}): {error}{hint}", job=self.name
            ) from None
        bound.apply_defaults()
        return bound.arguments

    def check_arrival(self, args: Mapping[str, object], arrived: object) -> None:
        """Raise `InvalidArguments` unless the arguments, as they were decoded, are what was
        passed.
        """
        for name, value in args.items():
            if type(value) in PLAIN and name in self._simple:
                continue
            found = difference(value, getattr(arrived, name))
            if found is not None:
                raise self._changed(name, found)

    def unknown_field(self, stored: object) -> str | None:
        """The place of a field, in stored arguments as plain values, that its type does not have
        (`batch.items[0].price`); None where there is none.
        """
        if not isinstance(stored, dict):
            return None
        for name, find in self._finders.items():
            if name in stored and (place := find(stored[name])) is not None:
                return name + place
        return None

    def check_fields(self, stored: object) -> None:
        """Raise `InvalidArguments` for a field, in arguments as plain values, that its type does
        not have.
        """
        if (place := self.unknown_field(stored)) is not None:
            name = re.split(r"[.\[]", place, maxsplit=1)[0]
            raise self._changed(
                name, Difference(place.removeprefix(name), "there is no such field in its type")
            )

    def _changed(self, name: str, found: Difference) -> InvalidArguments:
        parameter = self._passed.parameters[name]
        hint = "; annotate it with its type" if self.types[name] is Any else ""
        return InvalidArguments(
            f"{self.name}: the argument {name + found.place!r:.200} (declared {parameter}):"
            f" {found.words}{hint}",
            job=self.name,
        )

    def explain(self, error: Exception, args: Mapping[str, object]) -> InvalidArguments:
        """What is wrong with arguments that do not decode into their types, said by parameter and
        expected type.
        """
        text = str(error)
        if isinstance(error, UnknownArguments):
            return InvalidArguments(
                f"{self.name}: what is declared has no field {text!r:.200}", job=self.name
            )

        place = text.rpartition("`$.")[2].removesuffix("`") if "`$." in text else ""
        parameter = self._passed.parameters.get(place.split(".")[0].split("[")[0])
        if parameter is None:
            return InvalidArguments(f"{self.name}: {text}", job=self.name)

        reason = text.partition(" - at `")[0]
        got, value = "", args.get(parameter.name)
        if isinstance(value, float) and not math.isfinite(value):
            got = f"; {value} is not a number that JSON has"
        elif place == parameter.name:
            got = got_type(error, value)
        return InvalidArguments(
            f"{self.name}: the argument {place!r} (declared {parameter}): {reason}{got}",
            job=self.name,
        )


def parameters(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a job's function. Raises `JobDefinitionError` for one that cannot be passed
    by name.
    """
    try:
        found = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError) as error:
        raise JobDefinitionError(
            f"{name}: the parameters of {function!r} cannot be read; write a function that"
            " calls it",
            job=name,
        ) from error

    for parameter in found:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise JobDefinitionError(
                f"{name}: the parameter {parameter} cannot be a job's; name each parameter, so that"
                " it can be checked, stored and passed by name",
                job=name,
            )
    return found


def resolve_hints(
    name: str, function: Callable[..., Any], local: Mapping[str, Any]
) -> dict[str, object]:
    """The annotations of a function as types, also where they are text. `local` are names of the
    defining frame.

    Raises `JobDefinitionError` for one that names nothing.
    """
    annotated = inspect.unwrap(function)
    while isinstance(annotated, partial):
        annotated = inspect.unwrap(annotated.func)
    if not inspect.isroutine(annotated):
        annotated = type(annotated).__call__
    try:
        return get_type_hints(annotated, localns=dict(local), include_extras=True)
    except Exception as error:  # text is evaluated, and may do anything
        raise JobDefinitionError(
            f"{name}: an annotation cannot be read: {error}", job=name
        ) from error


def frame_locals(depth: int) -> Mapping[str, Any]:
    """The local names `depth` calls up, where annotations of a function defined there may point."""
    frame = sys._getframe(depth + 1)
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)


def got_type(error: object, value: object) -> str:
    """What follows an error about a value: its type, where the error does not say it."""
    name = type(value).__name__
    return "" if f"got `{name}`" in str(error) else f"; got {name}"


def bare(annotation: object) -> object:
    """An annotation without Annotated, and without Optional where that leaves one type."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        others = [each for each in get_args(annotation) if each is not type(None)]
        if len(others) == 1:
            return bare(others[0])
    return annotation


def without_signals(annotation: object) -> Any:
    """A return annotation without the signals that a handler may return instead of a result."""
    if annotation in (typing.NoReturn, typing.Never):
        return type(None)
    if get_origin(annotation) is Annotated:
        inner, *about = get_args(annotation)
        return getitem(cast("Any", Annotated), (without_signals(inner), *about))
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [each for each in get_args(annotation) if not _is_signal(each)]
        return reduce(or_, kept) if kept else type(None)
    return type(None) if _is_signal(annotation) else annotation


def _anything(annotation: object) -> Any:
    """`object` says as much as Any: whatever the serializer gives."""
    return Any if annotation is object else annotation


def _returned(name: str, annotation: object) -> Any:
    """The type that results are decoded into; those that are streamed are not decoded."""
    kind = bare(annotation)
    if inspect.isclass(kind) and issubclass(kind, PurePath):
        return Any
    if get_origin(kind) in STREAMS or kind in STREAMS:
        if get_args(kind)[:1] not in ((), (bytes,)):
            raise JobDefinitionError(
                f"{name}: a streamed result is made of bytes; it returns {annotation}", job=name
            )
        return Any
    return _anything(annotation)


def _is_signal(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Signal)


SIMPLE = (
    msgspec.inspect.AnyType, msgspec.inspect.NoneType, msgspec.inspect.BoolType,
    msgspec.inspect.IntType, msgspec.inspect.StrType, msgspec.inspect.DateTimeType,
    msgspec.inspect.DateType, msgspec.inspect.TimeType, msgspec.inspect.TimeDeltaType,
    msgspec.inspect.UUIDType, msgspec.inspect.DecimalType, msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
)  # fmt: skip
"""Types that text, integers and truth values are not changed by: not bytes (text is read as
Base64), nor floats.
"""


def _is_simple(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _is_simple(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return all(map(_is_simple, kind.types))
    return isinstance(kind, SIMPLE)


def _constant(value: object) -> Callable[[], object]:
    return lambda: value
