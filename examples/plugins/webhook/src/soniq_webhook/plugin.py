"""The plugin: a webhook job for each job that is dead, and the job that posts it."""

import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass

from soniq import Backoff, ConfigurationError, JobContext, Soniq, hookimpl
from soniq.plugin import JobDefinition, Outcome, Secret, TransactionConnection

from .sender import Sender

log = logging.getLogger("soniq.webhook")

JOB = "soniq_webhook.post"
"""The name of the job that posts."""
MAX_ATTEMPTS = 20
RETRY = Backoff(first=1.0, factor=2.0, cap=3600.0)
"""With 20 attempts, a receiver may be away for about eight hours."""
LONGEST_MESSAGE = 2_000


@dataclass(frozen=True)
class Webhook:
    """Whether one job has webhooks, whatever the plugin says: `@app.job(Webhook(False))`."""

    when_dead: bool = True


@dataclass(frozen=True)
class DeadJob:
    """What is told of a job: nothing of its arguments."""

    id: str
    name: str
    queue: str
    attempt: int
    error_type: str
    error_message: str


async def post(job: DeadJob, sender: Sender, ctx: JobContext) -> None:
    """The job that posts. Its id is that of the webhook, the same for all its attempts."""
    event = {
        "id": ctx.job_id,
        "type": "job.dead",
        "created_at": ctx.created_at.isoformat(),
        "job": asdict(job),
    }
    await sender.send(json.dumps(event).encode())


class WebhookPlugin:
    """Posts a signed webhook for each job that is dead.

    `url` and `secret`: where to, and what signs it; else SONIQ_WEBHOOK_URL and
    SONIQ_WEBHOOK_SECRET. Without a URL the plugin does nothing. `timeout`: seconds for one post;
    else SONIQ_WEBHOOK_TIMEOUT (10). `default`: whether jobs without a `Webhook` option have
    webhooks; else SONIQ_WEBHOOK_DEFAULT, true or false (true). One for each app. Raises
    `ConfigurationError`.
    """

    def __init__(
        self,
        url: str | None = None,
        secret: str | None = None,
        *,
        timeout: float | None = None,
        default: bool | None = None,
    ) -> None:
        url = Secret(url or os.environ.get("SONIQ_WEBHOOK_URL") or "")
        secret = Secret(secret or os.environ.get("SONIQ_WEBHOOK_SECRET") or "")
        if url and not secret:
            raise ConfigurationError(
                "webhooks are signed, and there is no secret: set SONIQ_WEBHOOK_SECRET"
            )
        seconds = _timeout(timeout)
        self._sender = Sender(url, secret, seconds) if url and secret else None
        self._default = _default(default)
        self._chosen: dict[str, bool] = {}
        self._app: Soniq | None = None

    def __repr__(self) -> str:
        return f"<WebhookPlugin {self._sender or 'without a URL'}>"

    @hookimpl
    def withdraw_hooks(self) -> Sequence[str]:
        """A `settle_tx` that is there costs each settlement a transaction, whatever it does."""
        return () if self._sender is not None else ("settle_tx",)

    @hookimpl
    async def lifespan(self, app: Soniq) -> AsyncIterator[None]:
        """Add the job that posts to the app."""
        if self._app not in (None, app):  # the same one comes again in a process that was forked
            raise ConfigurationError("one WebhookPlugin was passed to two apps; make one for each")
        self._app = app
        if self._sender is None:
            log.info("SONIQ_WEBHOOK_URL is not set: no webhook is sent")
        else:
            known = app.registry.get(JOB)
            if known is None or known.function is not post:  # an app that is used again has it
                app.job(name=JOB, max_attempts=MAX_ATTEMPTS, retry=RETRY)(post)
        try:
            yield
        finally:
            self._app = None
            if self._sender is not None:
                await self._sender.close()

    @hookimpl
    def provide(
        self, annotation: object
    ) -> Callable[[JobContext], AbstractContextManager[Sender]] | None:
        """The sender for the job that posts: what is configured is in no row."""
        sender = self._sender
        return (
            (lambda ctx: nullcontext(sender))
            if sender is not None and annotation is Sender
            else None
        )

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Read the job's own choice."""
        option = job.option(Webhook)
        if option is not None:
            self._chosen[job.name] = option.when_dead

    @hookimpl
    async def settle_tx(self, tx: TransactionConnection, outcomes: Sequence[Outcome]) -> None:
        """Enqueue a webhook for each dead job, in its queue, in the transaction that says that it
        is dead.
        """
        if self._app is None or self._sender is None:
            return
        dead = [
            outcome
            for outcome in outcomes
            if outcome.status == "dead" and self._is_told(outcome.job_name)
        ]
        for queue in sorted({outcome.queue for outcome in dead}):
            jobs = [{"job": _described(outcome)} for outcome in dead if outcome.queue == queue]
            await self._app.enqueue_many(JOB, jobs, queue=queue, connection=tx)

    def _is_told(self, name: str) -> bool:
        """A webhook that is dead has none of its own."""
        return name != JOB and self._chosen.get(name, self._default)


def _described(outcome: Outcome) -> DeadJob:
    return DeadJob(
        id=outcome.job_id,
        name=outcome.job_name,
        queue=outcome.queue,
        attempt=outcome.attempt,
        error_type=outcome.error_type or outcome.kind,
        error_message=(outcome.error_message or outcome.reason or "")[:LONGEST_MESSAGE],
    )


def _timeout(given: float | None) -> float:
    text = os.environ.get("SONIQ_WEBHOOK_TIMEOUT") or "10"
    source, value = ("timeout=", given) if given is not None else ("SONIQ_WEBHOOK_TIMEOUT", text)
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ConfigurationError(
            f"{source} {value!r} cannot be used: seconds, more than 0 and 3,600 at most"
        )
    return seconds


def _default(given: bool | None) -> bool:
    if given is not None:
        return given
    text = os.environ.get("SONIQ_WEBHOOK_DEFAULT") or "true"
    if text not in ("true", "false"):
        raise ConfigurationError(f"SONIQ_WEBHOOK_DEFAULT is true or false, not {text!r}")
    return text == "true"
