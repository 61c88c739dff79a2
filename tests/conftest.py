"""Golden files: expected outputs beside the tests, rewritten with `--refresh-golden`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--refresh-golden",
        action="store_true",
        help="rewrite the golden files that differ, and fail the tests that wrote one",
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """A function `(file name, text)` that compares the text with the golden file, byte by byte.

    A refresh fails the test that wrote, so no run can pass on what it has just made up.
    """
    refresh = bool(request.config.getoption("--refresh-golden"))

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        expected = path.read_bytes().decode() if path.is_file() else None
        if refresh and expected != text:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
            pytest.fail(f"{path} was refreshed: look at the difference, then run again without")
        assert expected is not None, f"{path} is missing: run with --refresh-golden"
        assert text == expected

    return compare
