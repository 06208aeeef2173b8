"""A user's own class or function, by its name."""

import importlib
import sys
from pathlib import Path
from typing import Any

from bt_gym.errors import ConfigError


def load(name: Any, key: str) -> Any:
    """What `module:Name` names, importable from the working directory too; anything else but text is itself.

    Args:
        name: `module:Name`, or the class or function.
        key: of the configuration, for messages.

    Raises:
        ConfigError: it can't be imported.
    """
    if not isinstance(name, str):
        return name
    module, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:  # an installed command doesn't look into the working directory by itself
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}: {name}: {error}: give module:Name importable from {folder}") from None
