"""Golden files, rewritten with `--refresh-golden`, and a cache of its own for every test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tracekit.caching import sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty cache folder of one test, also for the processes that it starts."""
    folder = tmp_path_factory.mktemp("cache") / "tracekit"
    monkeypatch.setenv("TRACEKIT_CACHE", str(folder))
    monkeypatch.delenv("TRACEKIT_CACHE_SIZE", raising=False)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine the threads of tiny operations wait for each other, for seconds."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def every_size_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache small files as well."""
    monkeypatch.setattr(sources, "MIN_PLAIN_BYTES", 1)
    monkeypatch.setattr(sources, "MIN_GZIP_BYTES", 1)


@pytest.fixture
def trust_mtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that keeps no change time."""
    monkeypatch.setattr(
        sources.Signature,
        "of",
        classmethod(
            lambda cls, s: cls(s.st_size, s.st_mtime_ns, 0, s.st_ino, s.st_dev)  # type: ignore[misc]
        ),
    )
