"""The application that the examples of a deployment run: `app:eq`."""

from soniq import Soniq

eq = Soniq()  # SONIQ_DATABASE_URL


@eq.job()
async def greet(name: str) -> str:
    return f"Hello, {name}"
