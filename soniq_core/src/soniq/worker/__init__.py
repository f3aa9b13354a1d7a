"""A worker, along the way of a job: claim (with lanes), execute, settle; beside it the lease, and
maintenance.
"""
