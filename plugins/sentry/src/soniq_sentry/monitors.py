"""Cron monitors: check-ins of the jobs that a schedule of soniq-schedules made."""

import re
import uuid
from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from soniq import JobContext

if TYPE_CHECKING:
    from soniq.plugin import Outcome

HEADER = "soniq-schedule"
"""The header of a job that a schedule made: `name`, and `cron` with `tz`, or `every` in seconds."""

LONGEST_SLUG = 50


class Monitors:
    """Tells Sentry when jobs of schedules begin, and how they end.

    `patterns`: names of schedules, separated by commas, as `nightly, report:*`. Those that Sentry
    cannot express, as ones with seconds, are left out.
    """

    def __init__(self, patterns: str) -> None:
        self._patterns = [each.strip() for each in patterns.split(",") if each.strip()]

    def begin(self, ctx: JobContext) -> None:
        """The first attempt begins."""
        if ctx.attempt == 1 and (found := self._monitor(ctx)):
            from sentry_sdk.crons import capture_checkin

            slug, config = found
            capture_checkin(slug, _check_in(ctx), "in_progress", monitor_config=config)  # type: ignore[arg-type]

    def end(self, ctx: JobContext, outcome: "Outcome | None", seconds: float | None) -> None:
        """An attempt has ended; where it runs again, nothing is said yet."""
        if outcome is None or outcome.status == "queued" or not (found := self._monitor(ctx)):
            return
        from sentry_sdk.crons import capture_checkin

        slug, config = found
        status = "error" if outcome.status == "dead" else "ok"
        capture_checkin(slug, _check_in(ctx), status, seconds, config)  # type: ignore[arg-type]

    def _monitor(self, ctx: JobContext) -> tuple[str, Mapping[str, Any]] | None:
        """The slug and the settings of the monitor that watches this job."""
        if not self._patterns:
            return None
        header = ctx.headers.get(HEADER)
        if not isinstance(header, Mapping) or not isinstance(name := header.get("name"), str):
            return None
        if not any(fnmatchcase(name, each) for each in self._patterns):
            return None
        config = monitor_config(header)
        return (slug_of(name), config) if config else None


def monitor_config(header: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """When Sentry expects a job; None for what it cannot express."""
    every = header.get("every")
    if isinstance(every, int | float):
        minutes, rest = divmod(every, 60)
        if rest or not minutes:
            return None
        return {"schedule": {"type": "interval", "value": int(minutes), "unit": "minute"}}

    cron = str(header.get("cron"))
    fields = cron.split()
    if len(fields) != 5 or set("LW#") & set(cron.upper().replace("JUL", "")):
        return None
    day, weekday = fields[2], fields[4]
    both_must_match = "*" not in (day, weekday) and "*" in (day[0], weekday[0])
    if both_must_match:  # to Sentry one of them is enough
        return None
    return {"schedule": {"type": "crontab", "value": cron}, "timezone": header.get("tz", "UTC")}


def slug_of(name: str) -> str:
    """The name of a schedule as a slug of Sentry's."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")
    if len(slug) <= LONGEST_SLUG and slug:
        return slug
    return f"{slug[: LONGEST_SLUG - 9]}-{sha256(name.encode()).hexdigest()[:8]}".lstrip("-")


def _check_in(ctx: JobContext) -> str:
    """One for each job: a check-in that is sent again is the same."""
    return uuid.UUID(ctx.job_id).hex
