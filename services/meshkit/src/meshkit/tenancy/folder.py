"""A folder of tenant files, looked at again and again: only files that changed are parsed.

A look may be told which names changed; then it costs no more than those files, however many there
are beside them. Hidden files are passed over, so editors' drafts and the hidden folders behind a
mounted ConfigMap do not count; links count as what they point to.
"""

import errno
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from meshkit.clock import unix_ms
from meshkit.tenancy.yaml_files import Signature, TenantFile, read_file

_SUFFIXES = (".yaml", ".yml", ".json")
_UNSETTLED: Signature = ()
# A file written again within one tick of the file system's clock keeps its signature, so one
# read this soon after it was written is read once more.
_SETTLED_AFTER_MS = 50


def is_tenant_file(name: str) -> bool:
    """Whether a file of this name in the folder is read."""
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def look(
    folder: Path, known: Mapping[str, TenantFile], only: Collection[str] | None = None
) -> dict[str, TenantFile]:
    """Return the tenant files of `folder` by name, in order of names.

    `known` is what the last look found. Where `only` is given, no other names have changed.
    Raises OSError where the folder itself cannot be read.
    """
    names = os.listdir(folder) if only is None else only
    found = {} if only is None else {name: f for name, f in known.items() if name not in only}
    for name in names:
        if not is_tenant_file(name):
            continue
        path = os.path.join(folder, name)
        try:
            signed = _signature(path)
        except FileNotFoundError:
            # Deleted; unless it is the folder that went, which raises here and deletes nobody, or
            # a link that points to nothing, which reading it will say.
            os.stat(folder)
            if not os.path.lexists(path):
                continue
            signed = (errno.ENOENT,)
        except OSError as error:
            # One file that cannot be reached is its own problem, which reading it will say.
            signed = (error.errno or 0,)
        before = known.get(name)
        if before is not None and before.signature == signed:
            found[name] = before
        else:
            found[name] = read_file(Path(path), _settled(signed))
    return dict(sorted(found.items()))


def folder_identity(folder: Path) -> tuple[int, int]:
    """Return what tells `folder` from another one under its name. Raises OSError."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _signature(path: str) -> Signature:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def _settled(signed: Signature) -> Signature:
    age_ms = unix_ms() - signed[0] // 1_000_000
    return _UNSETTLED if abs(age_ms) < _SETTLED_AFTER_MS else signed


__all__ = ["folder_identity", "is_tenant_file", "look"]
