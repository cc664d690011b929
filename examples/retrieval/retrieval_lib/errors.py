"""Errors that a user can mend: train.py prints their message and nothing else."""

from __future__ import annotations


class UserError(Exception):
    """The message says what was found, where, and what is wanted."""


class ConfigError(UserError):
    """A setting that is unknown, of a wrong type or out of range."""


class DataError(UserError):
    """Missing files, a wrong split file, an image that cannot be read."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or of another run."""


def message_of(error: UserError) -> str:
    """The message, without the traceback that a loader worker puts around it."""
    return str(error).rsplit(f"{type(error).__name__}: ", 1)[-1].strip()
