"""Packs a recorded corpus into a few files that can be carried."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Final

LARGEST_BYTES: Final = 15 << 20
"""Most that one packed file holds, with room for the headers of tar."""


def pack(corpus: Path, target: Path) -> tuple[Path, ...]:
    """Write `corpus-0.tar`, `corpus-1.tar`, … and return their paths.

    Traces are compressed already, so the files are not. What a case needs is in one file.
    """
    target.mkdir(parents=True, exist_ok=True)
    shares: list[list[Path]] = [[]]
    size = 0
    for entry in sorted(corpus.iterdir()):
        files = sorted(path for path in entry.rglob("*") if path.is_file()) or [entry]
        weight = sum(path.stat().st_size + 2048 for path in files if path.is_file())
        if size + weight > LARGEST_BYTES and shares[-1]:
            shares.append([])
            size = 0
        shares[-1] += [path for path in files if path.is_file()]
        size += weight
    packed = []
    for number, files in enumerate(shares):
        path = target / f"corpus-{number}.tar"
        with tarfile.open(path, "w") as archive:
            for file in files:
                archive.add(file, file.relative_to(corpus))
        packed.append(path)
    return tuple(packed)
