"""Measuring: knows nothing about losses."""
