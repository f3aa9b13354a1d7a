"""Sentry for Soniq: errors of jobs, traces from the enqueue through the attempts, and the data of its Queues page."""

from .plugin import Report, SentryPlugin

__all__ = ["Report", "SentryPlugin"]
