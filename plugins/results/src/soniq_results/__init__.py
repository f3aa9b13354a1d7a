"""Large results outside PostgreSQL, for Soniq: install it, set SONIQ_RESULTS_URL, and `get_result` reads through it."""

from .errors import ResultDamaged, ResultMissing, ResultsError, StoreUnavailable, UploadExpired
from .plugin import ResultsPlugin

__all__ = ["ResultDamaged", "ResultMissing", "ResultsError", "ResultsPlugin", "StoreUnavailable", "UploadExpired"]
