"""The application's table, mapped, and its URL."""

import os
from collections.abc import Awaitable, Callable

from sqlalchemy import URL, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Kept = Callable[[], Awaitable[list[str]]]
"""`await kept()`: the orders that others see."""

THREADS = min(32, (os.cpu_count() or 1) + 4)
"""The threads that an event loop has for `asyncio.to_thread`."""


class Base(DeclarativeBase):
    pass


class Order(Base):
    """A business row; each `what` may be there once."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(unique=True)


def url_for(database_url: str, driver: str) -> URL:
    """The URL of the tests' server, as SQLAlchemy writes it for a driver."""
    return make_url(database_url).set(drivername=f"postgresql+{driver}")
