"""The folder of a test is its tier."""

from pathlib import Path

import pytest

_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the name of its folder under tests/."""
    for item in items:
        tier = item.path.relative_to(_TESTS).parts[0]
        item.add_marker(getattr(pytest.mark, tier))
