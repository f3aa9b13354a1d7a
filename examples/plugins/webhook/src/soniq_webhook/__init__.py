"""A signed webhook for each job of Soniq's that is dead. `verify` is for whoever receives it."""

from .plugin import Webhook, WebhookPlugin
from .sender import WebhookError
from .signature import HEADER, sign, verify

__all__ = ["HEADER", "Webhook", "WebhookError", "WebhookPlugin", "sign", "verify"]
