"""Who comes in where `soniq dashboard` serves."""

import asyncio
import base64
from collections.abc import Mapping

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from soniq_dashboard.web import Authorize, User, entrance
from soniq_dashboard.web.entrance import behind_proxy, is_loopback, local, with_password

PASSWORD = "a long password: with ü"


def request(headers: Mapping[str, str], client: str = "127.0.0.1") -> Request:
    return Request(
        {
            "type": "http",
            "client": (client, 1),
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
    )


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def user_of(authorize: Authorize, asks: Request) -> User | None:
    found = authorize(asks)
    return await found if asyncio.iscoroutine(found) else found  # type: ignore[return-value]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
)
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.test", ""])
def test_these_are_not(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8800", "127.0.0.1:80", "[::1]:80", "[::1]"]
)
async def test_this_machine_comes_in_by_its_own_names(host: str) -> None:
    assert await user_of(local({"retry"}), request({"Host": host})) == User(
        "local", frozenset({"retry"})
    )


@pytest.mark.parametrize("host", ["jobs.test", "localhost.test:80", "127.0.0.1.test", "", "[::2]"])
async def test_a_name_that_another_site_made_lead_here_does_not(host: str) -> None:
    assert await user_of(local({"retry"}), request({"Host": host})) is None


async def test_who_knows_the_password_comes_in() -> None:
    found = await user_of(with_password(PASSWORD, {"pause"}), request(basic(f"eva:{PASSWORD}")))
    assert found == User("eva", frozenset({"pause"}))


@pytest.mark.parametrize(
    "headers",
    [
        {}, basic("eva:wrong"), basic("eva"), basic(PASSWORD), basic(":"), basic(f"eva:{PASSWORD} "),
        {"Authorization": "Basic !"}, {"Authorization": "Basic /w=="},
        {"Authorization": f"Bearer {PASSWORD}"},
    ],
)  # fmt: skip
async def test_who_does_not_is_asked_for_it(headers: dict[str, str]) -> None:
    with pytest.raises(HTTPException) as caught:
        await user_of(with_password(PASSWORD, set()), request(headers))
    assert caught.value.status_code == 401
    assert PASSWORD not in str(caught.value)


async def test_many_wrong_passwords_take_time_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entrance, "PAUSE", 0.05)
    authorize, loop = with_password(PASSWORD, set()), asyncio.get_running_loop()

    async def wrong() -> None:
        with pytest.raises(HTTPException):
            await user_of(authorize, request(basic("eva:wrong")))

    began = loop.time()
    await asyncio.gather(*(wrong() for _ in range(entrance.FREE_TRIES + 4)))
    assert loop.time() - began >= 4 * 0.05
    assert await user_of(authorize, request(basic(f"eva:{PASSWORD}")))


async def test_a_proxy_names_who_comes_in() -> None:
    authorize = behind_proxy("X-User", ["10.0.0.1"], {"retry"})
    assert await user_of(authorize, request({"X-User": "eva"}, "10.0.0.1")) == User(
        "eva", frozenset({"retry"})
    )
    assert await user_of(authorize, request({"X-User": "eva"}, "10.0.0.2")) is None
    assert await user_of(authorize, request({"X-User": ""}, "10.0.0.1")) is None
    assert await user_of(authorize, request({}, "10.0.0.1")) is None
