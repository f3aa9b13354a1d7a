"""The dashboard at a glance, in a terminal: `soniq top`."""
