"""Davy: an open platform for work-safety supervision, from the sensor to the ministry."""

__version__ = "0.1.0"
