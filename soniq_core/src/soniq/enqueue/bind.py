"""A job's signature: which parameters are arguments, which are provided, and of what types they are."""

import inspect
import sys
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from functools import partial, reduce
from operator import getitem, or_
from pathlib import PurePath
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from soniq.errors import InvalidArguments, JobDefinitionError
from soniq.signals import Signal

STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)
Provide = Callable[[object], Any]


class _Provided:
    def __repr__(self) -> str:
        return "PROVIDED"


PROVIDED: Any = _Provided()
"""The default of a parameter that is provided, for type checkers: `ctx: JobContext = PROVIDED` is not to be passed."""


class Signature:
    """The parameters of a job's function, compiled once.

    `arguments` is a msgspec Struct type with a field for each parameter that is passed, which serializers decode into;
    `provided` are the factories for those that are not; `returns` is the type of the result.
    """

    def __init__(self, name: str, function: Callable[..., Any], hints: Mapping[str, object], provide: Provide) -> None:
        self.name = name
        self.provided: dict[str, Any] = {}
        self._signature = inspect.signature(function)
        fields: list[tuple[str, type] | tuple[str, type, Any]] = []
        passed = []
        for parameter in parameters(name, function):
            annotation = _anything(hints.get(parameter.name, Any))
            factory = provide(bare(annotation))
            if factory is not None:
                self.provided[parameter.name] = factory
                continue
            if parameter.default is PROVIDED:
                raise JobDefinitionError(
                    f"{name}: nothing provides the parameter {parameter.name!r}, declared as {annotation}; "
                    "is the plugin installed that does?",
                    job=name,
                )
            passed.append(parameter)
            if parameter.default is parameter.empty:
                fields.append((parameter.name, cast("type", annotation)))
            else:
                default = msgspec.field(default_factory=_constant(parameter.default))
                fields.append((parameter.name, cast("type", annotation), default))
        self._passed = self._signature.replace(parameters=passed)
        self.names = frozenset(parameter.name for parameter in passed)
        """The names of the parameters that are passed."""
        self.types: Mapping[str, Any] = {name: annotation for name, annotation, *_ in fields}
        """What each of them is declared to be."""
        self._defaults = {p.name: p.default for p in passed if p.default is not p.empty}
        self._required = self.names - self._defaults.keys()
        self.returns = _returned(name, without_signals(hints.get("return", Any)))
        try:
            self.arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
            msgspec.json.Decoder(self.arguments)
            msgspec.json.Decoder(self.returns)
        except TypeError as error:
            raise JobDefinitionError(
                f"{name}: an annotation is of a type that cannot be stored: {error}. Parameters of types that a plugin "
                "provides are not passed; is that plugin installed?",
                job=name,
            ) from error

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """All arguments by name, defaults included. Raises `InvalidArguments` for those missing or too many."""
        if not args and self._required <= kwargs.keys() <= self.names:
            return {**self._defaults, **kwargs}
        try:
            bound = self._passed.bind(*args, **kwargs)
        except TypeError as error:
            expected = ", ".join(str(p) for p in self._passed.parameters.values())
            raise InvalidArguments(f"{self.name}({expected}): {error}", job=self.name) from None
        bound.apply_defaults()
        return bound.arguments

    def explain(self, error: Exception, args: Mapping[str, object]) -> InvalidArguments:
        """What is wrong with arguments that do not decode into their types, said by parameter and expected type."""
        text = str(error)
        place = text.rpartition("`$.")[2].removesuffix("`") if "`$." in text else ""
        parameter = self._passed.parameters.get(place.split(".")[0].split("[")[0])
        if parameter is None:
            return InvalidArguments(f"{self.name}: {text}", job=self.name)
        reason = text.partition(" - at `")[0]
        got = f"; got {type(args.get(parameter.name)).__name__}" if place == parameter.name else ""
        return InvalidArguments(
            f"{self.name}: the argument {place!r} (declared {parameter}): {reason}{got}", job=self.name
        )


def parameters(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a job's function. Raises `JobDefinitionError` for one that cannot be passed by name."""
    found = list(inspect.signature(function).parameters.values())
    for parameter in found:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise JobDefinitionError(
                f"{name}: the parameter {parameter} cannot be a job's; name each parameter, so that it can be "
                "checked, stored and passed by name",
                job=name,
            )
    return found


def resolve_hints(name: str, function: Callable[..., Any], local: Mapping[str, Any]) -> dict[str, object]:
    """The annotations of a function as types, also where they are text. `local` are names of the defining frame.

    Raises `JobDefinitionError` for one that names nothing.
    """
    annotated = inspect.unwrap(function)
    while isinstance(annotated, partial):
        annotated = inspect.unwrap(annotated.func)
    if not inspect.isroutine(annotated):
        annotated = type(annotated).__call__
    try:
        return get_type_hints(annotated, localns=dict(local), include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise JobDefinitionError(f"{name}: an annotation cannot be read: {error}", job=name) from error


def frame_locals(depth: int) -> Mapping[str, Any]:
    """The local names `depth` calls up, where annotations of a function defined there may point."""
    frame = sys._getframe(depth + 1)
    return {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)


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
            raise JobDefinitionError(f"{name}: a streamed result is made of bytes; it returns {annotation}", job=name)
        return Any
    return _anything(annotation)


def _is_signal(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Signal)


def _constant(value: object) -> Callable[[], object]:
    return lambda: value
