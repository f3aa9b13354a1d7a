"""The plugin: its settings, and the hooks that give the store its part in a job's life."""

import logging
import os
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from soniq import ConfigurationError, Soniq, hookimpl
from soniq.plugin import Migration, Outcome, ResultStore, Secret, Task, TransactionConnection

from .objects import Objects, check_url, open_objects, place
from .reference import Reference
from .store import NAME, Results
from .uploads import MIGRATIONS, Uploads

log = logging.getLogger("soniq.results")


class ResultsPlugin:
    """Keeps results of jobs that are larger than a threshold in a store outside PostgreSQL.

    Each argument that is not given is read from SONIQ_RESULTS_<NAME>. `url`: where to (s3://,
    gs://, az://, file://, memory://, redis://, rediss://); none: the plugin does nothing.
    `threshold`: results of more bytes go there (65,536; 0: all). `timeout`: seconds for each call
    of the store (60). `grace`: seconds after which a stored result whose attempt has not ended
    counts as lost and is removed (86,400). One for each app. Raises `ConfigurationError`.
    """

    name = "results"

    def __init__(
        self,
        url: str | None = None,
        threshold: int | None = None,
        timeout: float | timedelta | None = None,
        grace: float | timedelta | None = None,
    ) -> None:
        source = "url=" if url is not None else "SONIQ_RESULTS_URL"
        url = Secret(url if url is not None else os.environ.get("SONIQ_RESULTS_URL", "").strip())
        self._url = url if url or source == "url=" else None
        if self._url is not None:
            check_url(self._url, source)

        self._threshold = int(_number("threshold", threshold, 65_536, smallest=0, kind=int))
        self._timeout = _number("timeout", timeout, 60.0, smallest=0.001)
        self._grace = _number("grace", grace, 86_400.0, smallest=2 * self._timeout)

        self._app: Soniq | None = None
        self._objects: Objects | None = None
        self._uploads: Uploads | None = None
        self._results: Results | None = None

    def __repr__(self) -> str:
        return f"<ResultsPlugin {place(self._url) if self._url else 'without a URL'}>"

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Belongs to this app from now on; at the close, connections of the store are closed."""
        if self._app not in (None, app):
            raise ConfigurationError("one ResultsPlugin was passed to two apps; make one for each")
        self._app = app
        if self._url is None:
            log.info("SONIQ_RESULTS_URL is not set: results stay in PostgreSQL")
        yield
        if self._objects is not None:
            await self._objects.close()

    @hookimpl
    def withdraw_hooks(self) -> Sequence[str]:
        """A `settle_tx` that is there costs each settlement a transaction, whatever it does."""
        return () if self._url is not None else ("settle_tx",)

    @hookimpl
    def migrations(self) -> Sequence[Migration]:
        return MIGRATIONS if self._url is not None else ()

    @hookimpl
    def result_stores(self) -> Sequence[ResultStore]:
        if self._url is None or self._app is None:
            return ()
        if self._objects is None:
            self._objects = open_objects(self._url, self._timeout)
        self._uploads = Uploads(self._app, NAME)
        self._results = Results(
            self._objects,
            self._uploads,
            place=place(self._url),
            schema=self._app.settings.schema,
            threshold=self._threshold,
            timeout=self._timeout,
        )
        return (self._results,)

    @hookimpl
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        """What was stored belongs to its job from the moment at which the job is done."""
        references = [
            Reference.decode(outcome.result_reference)
            for outcome in outcomes
            if outcome.status == "done"
            and outcome.result_store == NAME
            and outcome.result_reference is not None
        ]
        if references and self._uploads is not None:
            await self._uploads.settle(tx, references)

    @hookimpl
    def background_tasks(self, app: Soniq) -> Sequence[Task]:
        results = self._results
        if results is None:
            return ()
        return (Task(name="sweep", run=lambda: results.keep_swept(self._grace), elected=True),)


def _number(
    field: str,
    given: float | timedelta | None,
    default: float,
    *,
    smallest: float,
    kind: type = float,
) -> float:
    """A setting from the argument, the environment or the default. Raises `ConfigurationError`."""
    variable = f"SONIQ_RESULTS_{field.upper()}"
    text = os.environ.get(variable)
    source, value = (f"{field}=", given) if given is not None else (variable, text or default)
    try:
        number = float(value.total_seconds() if isinstance(value, timedelta) else value)
    except (TypeError, ValueError):
        number = -1.0
    if not smallest <= number < 1e10 or number != kind(number):
        what = "an integer" if kind is int else "a number"
        raise ConfigurationError(f"{source} {value!r} cannot be used: {what}, {smallest:g} or more")
    return number
