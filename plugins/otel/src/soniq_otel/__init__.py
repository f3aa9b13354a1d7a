"""OpenTelemetry for Soniq: a span for each enqueue and each attempt, and metrics of the queues."""

from .plugin import OtelPlugin

__all__ = ["OtelPlugin"]
