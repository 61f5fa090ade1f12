"""Where tests keep what they fetch or build once: the Makefile's cache, so `uv` is there too."""

import os
from pathlib import Path


def cache() -> Path:
    """The folder of this project in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251
    return Path(root) / "event-mesh"
