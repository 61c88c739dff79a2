"""What machine and which versions a run was recorded with, and what it can do."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import HostError, MissingDependencyError

if TYPE_CHECKING:
    import types

INSTALL: Final = "pip install 'gpu-tracekit[collect]'"
_LIBRARIES: Final = ("diffusers", "transformers", "accelerate", "triton")
_NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia/version")


def import_torch() -> types.ModuleType:
    """Return torch.

    Raises
    ------
    MissingDependencyError
        It is not installed, or does not load.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise missing("torch") from error
    module: types.ModuleType = torch
    return module


def missing(library: str) -> MissingDependencyError:
    """Return the error that says which extra brings a library."""
    return MissingDependencyError(f"{library} is not installed; run {INSTALL}")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that the memory of the host or of a GPU did not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release_memory() -> None:
    """Give back the memory of a GPU that nobody holds any more."""
    import gc

    torch = import_torch()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def check_device(device: str) -> None:
    """Raise when a device is not there.

    Raises
    ------
    MissingDependencyError
        torch is not installed.
    HostError
        There is no such device, or torch cannot use it.
    """
    torch = import_torch()
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return
    if kind != "cuda":
        raise HostError(f"--device {device}: is not supported; give cuda or cpu")
    if torch.version.cuda is None and torch.version.hip is None:
        why = f"torch {torch.__version__} is built without CUDA"
    elif not torch.cuda.is_available():
        why = "torch finds no usable GPU"
    elif index and int(index) >= torch.cuda.device_count():
        why = f"this machine has {torch.cuda.device_count()} GPUs"
    else:
        return
    raise HostError(f"--device {device}: {why}; to try without a GPU give --device cpu --tiny")


def describe_environment() -> dict[str, Any]:
    """Return versions, host and devices for the manifest; unknown is null."""
    torch = import_torch()
    return {
        "versions": {
            "tracekit": _version("gpu-tracekit") or _own_version(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "cuda": torch.version.cuda,
            "hip": torch.version.hip,
            "cudnn": _cudnn(torch),
            "driver": _driver() if torch.cuda.is_available() else None,
            **{name: _version(name) for name in _LIBRARIES},
        },
        "host": {
            "system": platform.platform(),
            "processor": _processor(),
            "processors": os.cpu_count(),
        },
        "devices": _devices(torch),
    }


def rank_and_size() -> tuple[int | None, int | None]:
    """Return this process's rank and the number of ranks, null outside of a distributed run."""
    rank, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if rank.isdecimal() and size.isdecimal() and int(size) > 1:
        return int(rank), int(size)
    return None, None


def _own_version() -> str:
    from tracekit import __version__

    return __version__


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cudnn(torch: Any) -> str | None:
    if not torch.cuda.is_available():
        return None
    with suppress(Exception):
        return str(torch.backends.cudnn.version())
    return None


def _driver() -> str | None:
    with suppress(OSError):
        found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", _NVIDIA_DRIVER.read_text())
        if found:
            return found[1]
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
        return done.stdout.split("\n")[0].strip() or None
    return None


def _processor() -> str | None:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or None


def _devices(torch: Any) -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found.append(
            {
                "index": index,
                "name": facts.name,
                "memory_bytes": facts.total_memory,
                "capability": f"{facts.major}.{facts.minor}",
                "multiprocessors": facts.multi_processor_count,
            }
        )
    return found
