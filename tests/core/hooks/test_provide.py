"""provide: values for parameters that are not passed but made for each attempt."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Annotated, Any

import pytest

from soniq import InvalidArguments, JobContext, Retry, Soniq
from soniq.errors import JobDefinitionError, PluginError
from tests.core.hooks.support import MakeApp, MakePlugin, Run


class Client:
    """What a plugin here provides."""

    def __init__(self, name: str = "client") -> None:
        self.name = name


class Session(Client):
    """Another thing that a plugin here provides."""


class HandlerError(Exception):
    """What a handler here fails with."""


@pytest.fixture
def app_with(make_app: MakeApp, make_plugin: MakePlugin) -> Callable[..., Soniq]:
    """An app with a plugin that provides a type with a factory."""

    def app_with(factory: Callable[[JobContext], Any], kind: object = Client) -> Soniq:
        def provide(annotation: object) -> object:
            return factory if annotation is kind else None

        return make_app(plugins=[make_plugin("provider", provide=provide)])

    return app_with


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_the_value_is_made_for_each_attempt_and_not_passed_by_the_caller(
    app_with: Callable[..., Soniq], calls: list[str], run: Run, asynchronous: bool
) -> None:
    @asynccontextmanager
    async def waiting(ctx: JobContext) -> AsyncIterator[Client]:
        await asyncio.sleep(0)
        calls.append("enter")
        yield Client(f"attempt {ctx.attempt}")
        await asyncio.sleep(0)
        calls.append("leave")

    @contextmanager
    def plain(ctx: JobContext) -> Iterator[Client]:
        calls.append("enter")
        yield Client(f"attempt {ctx.attempt}")
        calls.append("leave")

    app = app_with(waiting if asynchronous else plain)

    @app.job()
    async def handler(a: int, client: Client) -> str:
        calls.append("handler")
        return f"{client.name}, {a}"

    assert (await run(app, handler, a=1))["result"] == "attempt 1, 1"
    assert calls == ["enter", "handler", "leave"]
    with pytest.raises(InvalidArguments):
        await app.enqueue(handler, a=1, client=2)


@pytest.mark.parametrize(
    "annotation", [Client, Client | None, Annotated[Client, "meta"], Annotated[Client | None, 1]]
)
async def test_optional_and_annotated_are_taken_off(
    app_with: Callable[..., Soniq], run: Run, annotation: Any
) -> None:
    app = app_with(lambda ctx: nullcontext(Client()))

    async def handler(client: Any = None) -> str:
        return str(client.name)

    handler.__annotations__["client"] = annotation
    assert (await run(app, app.job()(handler)))["result"] == "client"


async def test_before_job_runs_with_the_values_made_and_a_thread_gets_them_too(
    app_with: Callable[..., Soniq], calls: list[str], run: Run
) -> None:
    @contextmanager
    def factory(ctx: JobContext) -> Iterator[Client]:
        calls.append("enter")
        yield Client()
        calls.append("leave")

    app = app_with(factory)
    app.before_job(lambda: calls.append("before"))
    app.after_job(lambda: calls.append("after"))

    @app.job()
    def handler(client: Client) -> None:
        calls.append(client.name)

    await run(app, handler)
    assert calls == ["enter", "before", "client", "leave", "after"]


async def test_several_leave_in_reverse_and_each_sees_the_error(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str], run: Run
) -> None:
    def factory(kind: type[Client]) -> Any:
        @asynccontextmanager
        async def make(ctx: JobContext) -> AsyncIterator[Client]:
            try:
                yield kind()
            except HandlerError as error:
                calls.append(f"{kind.__name__} saw {error}")
                raise

        return make

    def provide(annotation: object) -> object:
        return factory(annotation) if annotation in (Client, Session) else None

    app = make_app(plugins=[make_plugin("provider", provide=provide)])

    @app.job(max_attempts=1)
    async def handler(client: Client, session: Session) -> None:
        raise HandlerError("this")

    await run(app, handler)
    assert calls == ["Session saw this", "Client saw this"]


@pytest.mark.parametrize("signal", [False, True])
async def test_it_cannot_swallow_an_error_or_a_signal(
    app_with: Callable[..., Soniq], run: Run, signal: bool
) -> None:
    @asynccontextmanager
    async def factory(ctx: JobContext) -> AsyncIterator[Client]:
        try:
            yield Client()
        except Exception:
            return

    app = app_with(factory)

    @app.job(max_attempts=1 if not signal else 2)
    async def handler(client: Client) -> None:
        raise Retry(3600) if signal else HandlerError

    status = await run(app, handler)
    if signal:
        assert (status["status"], status["error"]) == ("queued", None)
    else:
        assert status["status"] == "dead"
        assert status["error"] is not None
        assert status["error"]["type"].endswith("HandlerError")


async def test_an_error_while_entering_fails_the_attempt_and_those_entered_are_left(
    make_app: MakeApp, make_plugin: MakePlugin, calls: list[str], run: Run
) -> None:
    @asynccontextmanager
    async def first(ctx: JobContext) -> AsyncIterator[Client]:
        try:
            yield Client()
        finally:
            calls.append("left")

    def broken(ctx: JobContext) -> Any:
        raise HandlerError("no session to be had")

    factories = {Client: first, Session: broken}
    app = make_app(
        plugins=[make_plugin("provider", provide=lambda annotation: factories.get(annotation))]
    )
    app.before_job(lambda: calls.append("before"))
    app.on_error(lambda ctx, error: calls.append(f"on_error {error}"))

    @app.job(max_attempts=1)
    async def handler(client: Client, session: Session) -> None:
        calls.append("handler")

    assert (await run(app, handler))["status"] == "dead"
    assert calls == ["left", "on_error no session to be had"]


async def test_an_error_while_leaving_fails_the_attempt(
    app_with: Callable[..., Soniq], run: Run
) -> None:
    @asynccontextmanager
    async def factory(ctx: JobContext) -> AsyncIterator[Client]:
        yield Client()
        raise HandlerError("cannot commit")

    app = app_with(factory)

    @app.job(max_attempts=1)
    async def handler(client: Client) -> int:
        return 5

    status = await run(app, handler)
    assert (status["status"], status["result"]) == ("dead", None)
    assert status["error"] is not None
    assert status["error"]["message"] == "cannot commit"


async def test_the_nearest_that_knows_the_type_provides_it_before_the_cores_own(
    make_app: MakeApp, make_plugin: MakePlugin, run: Run
) -> None:
    def providing(name: str, kind: object) -> Any:
        def provide(annotation: object) -> object:
            return (lambda ctx: nullcontext(name)) if annotation is kind else None

        return make_plugin(name, provide=provide)

    plugins = [
        providing("none", None),
        providing("one", Client),
        providing("two", Client),
        providing("3", JobContext),
    ]
    app = make_app(plugins=plugins)

    @app.job()
    async def handler(client: Client, ctx: JobContext) -> str:
        return f"{client}, {ctx}"

    assert (await run(app, handler))["result"] == "one, 3"


async def test_an_error_at_the_registration_names_the_plugin_and_the_job(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    def provide(annotation: object) -> object:
        raise KeyError("no such type")

    app = make_app(plugins=[make_plugin("breaks", provide=provide)])

    @app.job(name="the-job")
    async def handler(a: int) -> None: ...

    with pytest.raises(
        PluginError, match=r"provide of breaks failed for the-job: KeyError: 'no such type'"
    ):
        await app.start()


async def test_a_type_that_nobody_provides_is_an_error_that_asks_for_the_plugin(app: Soniq) -> None:
    @app.job(name="the-job")
    async def handler(what: Client | Session) -> None: ...

    with pytest.raises(JobDefinitionError, match=r"the-job: .*is that plugin installed\?"):
        await app.start()
