"""Arguments and results of Soniq's jobs, encrypted in the database."""

from .errors import DecryptionError
from .plugin import EncryptedPlugin

__all__ = ["DecryptionError", "EncryptedPlugin"]
