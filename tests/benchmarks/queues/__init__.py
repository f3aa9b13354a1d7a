"""Queues that Soniq is compared with: one file each, how they are measured, and what is told of it."""
