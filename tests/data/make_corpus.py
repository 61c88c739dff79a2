"""Writes the corpus of nasty files beside it, byte for byte the same on every machine.

    python tests/data/make_corpus.py

What the files are is said in `tests/fuzz/corpus_files.py` and `corpus_events.py`; what is expected
of them, and that those on disk are the same, in `tests/test_corpus.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    from fuzz.corpus_files import files
    from fuzz.sample import real_sample

    made = files()
    folder = HERE / "corpus"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.name not in made:
            old.unlink()
    for name, data in made.items():
        (folder / name).write_bytes(data)
    (HERE / "real_sample.json").write_text(real_sample(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
