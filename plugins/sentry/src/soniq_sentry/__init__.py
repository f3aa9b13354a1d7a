"""Sentry for Soniq: errors of jobs, traces through their attempts, and the Queues page."""

from .plugin import Report, SentryPlugin

__all__ = ["Report", "SentryPlugin"]
