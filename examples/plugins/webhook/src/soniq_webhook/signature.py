"""The signature: HMAC-SHA256 over the time and the body, so that neither is changed nor an old
request repeated.

`Soniq-Signature: t=<seconds since 1970>,v1=<hex>`, as Stripe's webhooks have it
(docs.stripe.com/webhooks/signature).
"""

import hashlib
import hmac
import re
import time

HEADER = "Soniq-Signature"
FORM = re.compile(r"t=([0-9]{1,12}),(.+)")


def sign(secret: str, body: bytes, timestamp: int) -> str:
    """The header's value for a body that is sent at `timestamp`, in seconds since 1970."""
    return f"t={timestamp},v1={_digest(secret, body, timestamp)}"


def verify(secret: str, body: bytes, header: str | None, *, tolerance: float = 300.0) -> bool:
    """Whether the header of a request signs its body, and is not older or newer than `tolerance`
    seconds.

    `body` is what was received, byte for byte; `header` None where the request has none. Compares
    in constant time.
    """
    found = FORM.fullmatch(header or "")
    if found is None or abs(time.time() - int(found[1])) > tolerance:
        return False
    expected = f"v1={_digest(secret, body, int(found[1]))}".encode()
    return any(hmac.compare_digest(expected, each.encode()) for each in found[2].split(","))


def _digest(secret: str, body: bytes, timestamp: int) -> str:
    return hmac.new(secret.encode(), b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()
