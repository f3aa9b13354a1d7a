"""The error of this plugin."""

from soniq import SoniqError


class DecryptionError(SoniqError):
    """Bytes that cannot be decrypted: of an unknown key or format, or changed. It holds nothing of
    what they hide.
    """
