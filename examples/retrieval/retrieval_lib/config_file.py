"""From a TOML file, and settings of the command line, to a checked configuration."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from retrieval_lib.config import Config, check
from retrieval_lib.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_config(path: Path, settings: Sequence[str] = ()) -> Config:
    """The file's settings, overridden by ``section.name=value`` ones, values in TOML."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    for setting in settings:
        _override(document, setting)
    return check(_filled(Config, document, str(path), ""))


def _override(document: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set {setting}: expected section.name=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, last = name.strip().split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise ConfigError(f"--set {setting}: {section} is no section")
    document[last] = value


def _filled(kind: type, given: Any, source: str, prefix: str) -> Any:
    """A dataclass with its fields from a table, of the declared types."""
    if not isinstance(given, dict):
        raise ConfigError(f"{source}: {prefix.rstrip('.')}: got {given!r}, expected a section")
    known = get_type_hints(kind)
    filled = {}
    for name, value in given.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"{source}: {prefix}{name} is no setting; {hint}")
        if dataclasses.is_dataclass(known[name]):
            filled[name] = _filled(known[name], value, source, f"{prefix}{name}.")
        else:
            filled[name] = _typed(known[name], value, f"{source}: {prefix}{name}")
    return kind(**filled)


def _typed(kind: Any, value: Any, name: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str):
        fits = type(value) is kind
    elif kind == list[int]:
        fits = isinstance(value, list) and all(type(one) is int for one in value)
    elif kind == list[float]:
        fits = isinstance(value, list) and all(type(one) in (int, float) for one in value)
    else:
        fits = isinstance(value, dict)
    if not fits:
        wanted = kind.__name__ if isinstance(kind, type) else str(kind)
        raise ConfigError(f"{name}: got {value!r}, expected {wanted}")
    return value
