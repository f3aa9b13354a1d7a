"""The plugin: its configuration, and the serializer that it offers."""

import logging
import os
from collections.abc import Mapping, Sequence

from soniq import ConfigurationError, hookimpl
from soniq.plugin import JobDefinition, Serializer

from .keys import Keys, parse
from .serializer import NAME, EncryptedSerializer

log = logging.getLogger("soniq.encrypted")


class EncryptedPlugin:
    """Encrypts arguments and results of jobs with `serializer="encrypted"`.

    `keys`: 32 random bytes each by id, the first of which encrypts; else SONIQ_ENCRYPTED_KEYS
    (`id:base64,id:base64`). Without keys the plugin does nothing. `default`: encrypt every job that
    names no serializer; else SONIQ_ENCRYPTED_DEFAULT, true or false (false). Raises
    `ConfigurationError`.
    """

    def __init__(
        self, keys: Mapping[str, bytes] | None = None, *, default: bool | None = None
    ) -> None:
        self._keys = _keys(keys)
        self._default = _default(default)
        if self._default and self._keys is None:
            raise ConfigurationError(
                "all jobs are to be encrypted, and there is no key: set SONIQ_ENCRYPTED_KEYS"
            )

    def __repr__(self) -> str:
        return f"<EncryptedPlugin {self._keys or 'without keys'}>"

    @hookimpl
    def serializers(self) -> Sequence[Serializer]:
        """Offer the serializer, if there are keys."""
        if self._keys is None:
            log.info("SONIQ_ENCRYPTED_KEYS is not set: nothing is encrypted")
            return ()
        return (EncryptedSerializer(self._keys),)

    @hookimpl
    def configure_job(self, job: JobDefinition) -> None:
        """Encrypt the jobs that name no serializer, if that is the choice."""
        if self._default and job.serializer is None:
            job.serializer = NAME
        if job.serializer == NAME and self._keys is None:
            raise ConfigurationError(
                f"{job.name} is to be encrypted, and there is no key: set SONIQ_ENCRYPTED_KEYS"
            )


def _keys(given: Mapping[str, bytes] | None) -> Keys | None:
    if given is not None:
        return Keys(given)
    text = os.environ.get("SONIQ_ENCRYPTED_KEYS")
    return parse(text) if text else None


def _default(given: bool | None) -> bool:
    if given is not None:
        return given
    text = os.environ.get("SONIQ_ENCRYPTED_DEFAULT") or "false"
    if text not in ("true", "false"):
        raise ConfigurationError(f"SONIQ_ENCRYPTED_DEFAULT is true or false, not {text!r}")
    return text == "true"
