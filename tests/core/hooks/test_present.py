"""present: what operators are shown of jobs, and what they are not."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from soniq import InvalidOption, SerializationError, Soniq, hookimpl
from soniq.plugin import JobDefinition, Presentable, Secret, presented
from tests.core.hooks.support import MakeApp, MakePlugin

SECRETS = {
    "Password": "hunter2", "client_secret": 1, "tokens": ["a", "b"], "Authorization": "Bearer x", "cookies": {"a": 1},
    "api_key": "x", "API-Key": "x", "apikey": "x", "card": {"number": 4111}, "iban": "DE00",
}  # fmt: skip


@pytest.mark.parametrize("what", ["args", "result", "headers", "progress"])
async def test_values_of_keys_that_name_a_secret_are_masked_at_any_depth(
    app: Soniq, what: Presentable
) -> None:
    value = {"user": 7, "deep": [{"more": SECRETS}], **SECRETS}
    masked = dict.fromkeys(SECRETS, "***")
    assert await presented(app, "job", what, value) == {
        "user": 7,
        "deep": [{"more": masked}],
        **masked,
    }
    assert SECRETS["Password"] == "hunter2"


async def test_what_names_no_secret_is_shown_as_it_is(app: Soniq) -> None:
    for value in (None, 2**70, "text", [1, None], {"password": None, "user": {"1": 2.5}}):
        assert await presented(app, "job", "args", value) == value
    assert await presented(app, "job", "error", "no such user") == "no such user"


@dataclass
class Login:
    user: str
    password: str


class Plain:
    def __init__(self) -> None:
        self.token = "hunter2"
        self.login = Login("eva", "hunter2")
        self.key = Secret("hunter2")
        self._own = "hunter2"


async def test_objects_are_masked_by_their_attributes(app: Soniq) -> None:
    assert await presented(app, "job", "result", [Plain()]) == [
        {"token": "***", "login": {"user": "eva", "password": "***"}, "key": "***"}
    ]


async def test_a_value_that_has_no_form_in_json_is_not_shown(app: Soniq) -> None:
    loop: list[Any] = ["hunter2"]
    loop.append(loop)
    shown = await presented(app, "job", "result", loop)
    assert shown == "*** (RecursionError: it cannot be shown)"


class TestHide:
    """The option `hide` of a job."""

    async def shown(self, app: Soniq, hide: list[str], value: object) -> Any:
        @app.job(name="pay", hide=hide)
        async def pay() -> None: ...

        return await presented(app, "pay", "args", value)

    @pytest.mark.parametrize(
        ("hide", "value", "shown"),
        [
            (["pin"], {"pin": 1, "b": {"pin": 2}}, {"pin": "***", "b": {"pin": 2}}),
            (["a.b"], {"a": {"b": 1, "c": 2}, "b": 3}, {"a": {"b": "***", "c": 2}, "b": 3}),
            (["a.b"], {"a": [{"b": 1}, {"c": 2}]}, {"a": [{"b": "***"}, {"c": 2}]}),
            (["a.b"], {"a.b": 1, "a": {"b": 2}}, {"a.b": "***", "a": {"b": 2}}),
            (["a.b"], {"a": '{"b": 1}'}, {"a": "***"}),
            (["a", "c"], {"a": 1, "b": 2, "c": 3}, {"a": "***", "b": 2, "c": "***"}),
            (["a"], [{"a": 1}, 2], [{"a": "***"}, 2]),
            (["a"], "text", "text"),
        ],
    )
    async def test_what_lies_at_the_paths_is_masked(
        self, app: Soniq, hide: list[str], value: object, shown: object
    ) -> None:
        assert await self.shown(app, hide, value) == shown

    async def test_no_presenter_sees_it(self, make_app: MakeApp, make_plugin: MakePlugin) -> None:
        app = make_app(plugins=[make_plugin("shows", present=lambda value: value)])
        shown = await self.shown(app, ["pin"], {"pin": 1, "password": 2})
        assert shown == {"pin": "***", "password": 2}

    async def test_a_plugin_may_add_to_it(self, make_app: MakeApp, make_plugin: MakePlugin) -> None:
        def configure_job(job: JobDefinition) -> None:
            job.hide = (*job.hide, "b")

        app = make_app(plugins=[make_plugin("adds", configure_job=configure_job)])
        assert await self.shown(app, ["a"], {"a": 1, "b": 2}) == {"a": "***", "b": "***"}

    @pytest.mark.parametrize("hide", ["token", ["a", 1], [""], 7])
    def test_it_takes_a_list_of_texts(self, app: Soniq, hide: Any) -> None:
        with pytest.raises(InvalidOption, match="hide="):
            app.job(hide=hide)


async def test_a_presenter_is_told_what_it_is_and_has_the_last_word(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    seen = []

    async def present(job_name: str, what: Presentable, value: object) -> object:
        seen.append((job_name, what, value))
        return {"password": 1} if what == "args" else None

    app = make_app(plugins=[make_plugin("own", present=present)])
    assert await presented(app, "job", "args", {"token": 1}) == {"password": 1}
    assert await presented(app, "job", "result", {"token": 1}) == {"token": "***"}
    assert seen == [("job", "args", {"token": 1}), ("job", "result", {"token": 1})]


def raises() -> None:
    raise ValueError("hunter2")


async def hangs() -> None:
    await asyncio.Event().wait()


async def cancels() -> None:
    raise asyncio.CancelledError("hunter2")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(raises, "ValueError"), (hangs, "HookTimeout"), (cancels, "CancelledError")],
)
async def test_a_presenter_that_fails_leaves_a_placeholder_and_no_trace_of_the_value(
    make_app: MakeApp,
    make_plugin: MakePlugin,
    caplog: pytest.LogCaptureFixture,
    wrong: Any,
    error: str,
) -> None:
    fails = make_plugin("fails", present=wrong)
    app = make_app(plugins=[fails], hook_timeout=0.1)
    with caplog.at_level(logging.ERROR, "soniq.hooks"):
        shown = await presented(app, "job", "args", {"user": "hunter2"})
    assert shown == "*** (present of fails failed)"
    (record,) = caplog.records
    assert record.getMessage() == (
        f"present of fails failed for the args of job with {error}, and nothing is shown of it"
    )
    assert "hunter2" not in caplog.text


async def test_what_a_presenter_returns_is_made_plain(
    make_app: MakeApp, make_plugin: MakePlugin
) -> None:
    app = make_app(plugins=[make_plugin("own", present=lambda value: Login("eva", "x"))])
    assert await presented(app, "job", "args", {}) == {"user": "eva", "password": "x"}


class Sealed:
    """A serializer whose values are not to be shown."""

    name = "sealed"
    readable = False

    def __init__(self) -> None:
        self.read = 0

    def dumps(self, value: object) -> bytes:
        return b"sealed"

    def loads(self, data: bytes, type: Any) -> Any:
        self.read += 1
        return {"a": 1}


async def test_what_a_serializer_does_not_show_is_not_even_read(make_app: MakeApp) -> None:
    sealed = Sealed()

    class Plugin:
        name = "sealed"

        @hookimpl
        def serializers(self) -> list[Sealed]:
            return [sealed]

    app = make_app(plugins=[Plugin()])

    @app.job(name="job", serializer="sealed")
    async def job(a: int) -> None: ...

    job_id = await app.enqueue(job, a=1)
    sealed.read = 0

    async def read() -> Any:
        return await app.get_args(job_id)

    shown = await presented(app, "job", "args", read, serializer="sealed")
    assert shown == "*** (what the serializer 'sealed' has written is not shown)"
    assert sealed.read == 0
    assert await presented(app, "job", "args", read, serializer="json") == {"a": 1}
    assert sealed.read == 1


async def test_what_cannot_be_read_is_told_to_who_asks(app: Soniq) -> None:
    async def read() -> Any:
        raise SerializationError("no key", job="job")

    with pytest.raises(SerializationError, match="no key"):
        await presented(app, "job", "args", read)
