"""What a job is to its author: the decorated function with its options, and the context of one
attempt. `from soniq.job import JobContext` is as good as `from soniq import JobContext`.
"""

from soniq.job.context import JobContext

__all__ = ["JobContext"]
