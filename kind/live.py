"""What a container runs below `tilt up`: a service, from a copy of its packages that Tilt can write
to, and again whenever a file in it changes. Its argument is the command of the service.

The image's own packages cannot be written to. A changed file alone is not enough: a folder without
its `__init__.py` gives way to the package that is installed.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

LIVE = Path("/tmp/live")  # noqa: S108 - a volume of the pod
PACKAGES = ("ai_gateway", "mesh", "meshkit", "tenant_operator", "user_service")


def copy_new(source: str, target: str) -> None:
    """Copy a file that is not there: what is there came from Tilt, before the process ended."""
    if not Path(target).exists():
        shutil.copyfile(source, target)


for package in PACKAGES:
    installed = Path(sysconfig.get_path("purelib"), package)
    if installed.exists():
        shutil.copytree(installed, LIVE / package, copy_function=copy_new, dirs_exist_ok=True)
watch = ["watchfiles", "--filter", "python", sys.argv[1], str(LIVE)]
os.execvp(watch[0], watch)  # noqa: S606 - this is what the container runs
