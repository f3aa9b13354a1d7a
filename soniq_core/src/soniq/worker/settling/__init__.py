"""Settling: what is written of the jobs that have ended, in the statement that claims the next
ones.
"""
