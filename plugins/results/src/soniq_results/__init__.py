"""Large results outside PostgreSQL: set SONIQ_RESULTS_URL, and `get_result` reads them."""

from .errors import ResultDamaged, ResultMissing, ResultsError, StoreUnavailable, UploadExpired
from .plugin import ResultsPlugin

__all__ = [
    "ResultDamaged",
    "ResultMissing",
    "ResultsError",
    "ResultsPlugin",
    "StoreUnavailable",
    "UploadExpired",
]
