"""Recorded JSON lines made into tables and pictures."""
