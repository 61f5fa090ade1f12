"""The charts as Helm renders them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_tools import HELMS, lack, tool

CHARTS = Path(__file__).parents[2] / "charts"
Rendered = dict[tuple[str, str], Any]
Render = Callable[..., Rendered]


def helm(*arguments: str | Path, major: str = "helm3") -> subprocess.CompletedProcess[str]:
    """Run Helm; skips the test where there is none of that major."""
    if reason := lack(major):
        pytest.skip(reason)
    command = [str(tool(major)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="session")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The umbrella chart with its parts in it; the tree stays as it is."""
    folder = tmp_path_factory.mktemp("charts") / "charts"
    built = shutil.ignore_patterns("*.tgz", "Chart.lock")
    shutil.copytree(CHARTS, folder, ignore=built)
    updated = helm("dependency", "update", folder / "event-mesh", "--skip-refresh")
    assert updated.returncode == 0, updated.stderr
    return folder / "event-mesh"


@pytest.fixture(scope="session")
def render(umbrella: Path) -> Render:
    """Return the objects of release `mesh` in namespace `mesh`, by kind and name."""

    def rendered(*arguments: str, profile: str = "dev", major: str = "helm3") -> Rendered:
        values = ("-f", umbrella / f"ci/{profile}-values.yaml")
        ran = helm("template", "mesh", umbrella, "-n", "mesh", *values, *arguments, major=major)
        assert ran.returncode == 0, ran.stderr
        return by_name(ran.stdout)

    return rendered


def by_name(text: str) -> Rendered:
    """Return objects by kind and name."""
    objects = [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


@pytest.fixture(params=HELMS)
def major(request: pytest.FixtureRequest) -> str:
    """Each major of Helm in turn."""
    return str(request.param)
