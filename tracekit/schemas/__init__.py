"""The JSON Schemas of what tracekit writes, shipped with it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def read_schema(name: str) -> dict[str, Any]:
    """Return a schema by its name without `.schema.json`, such as `analysis-1`.

    Raises `FileNotFoundError` for a name that is not shipped.
    """
    text = files(__name__).joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
