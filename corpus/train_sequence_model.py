"""Trains the network of `tracekit.classifying.sequence_model` and judges it on models left out.

    python -m corpus.train_sequence_model TRACE_OR_FOLDER… [--judge] [--folds N] [-o FILE]

Every rich trace below the folders is classified by its labels, ops and modules; the network learns
to tell the same from the kernels alone. Traces whose folder is called `MODEL.MODE` are of one
model, and `--judge` trains once for each model without its traces, prints what it gets right of
their kernel time, and sets the temperature by what it was not trained on. `--folds N` does so with
N networks, each trained without an N-th of the models.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import tracekit
from tracekit.categories import ATTENTION, CODE_OF, EVIDENCES
from tracekit.classifying.by_sequence import CERTAIN
from tracekit.classifying.kernel_names import verdict_for_kernel_name
from tracekit.classifying.kernel_sequences import KernelSequences, kernel_sequences
from tracekit.classifying.sequence_model import CLASSES, FILE, REACH
from tracekit.trace import ACTIVITY_KINDS

EMBEDDING, HIDDEN, BATCH = 24, 256, 512
DROPOUT: Final = 0.6
WIDTH: Final = 2 * REACH + 1
_TARGET: Final = Path(tracekit.__file__).parent / "classifying" / FILE


@dataclass(frozen=True)
class Example:
    """One trace: distinct windows of kernels, their classes, and their shares of its time.

    Only kernels whose names leave something open have windows; `certain` and `certain_right` are
    the shares of time that names decide, and decide rightly.
    """

    model: str
    name: str
    features: Any
    windows: Any
    classes: Any
    weight: Any
    certain: float
    certain_right: float


def examples(paths: Sequence[Path]) -> Iterator[Example]:
    """Yield the traces that tell something by themselves."""
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*.json.gz"))
        for file in files:
            example = None if file.name == "kernels.json.gz" else _example(file)
            if example is not None:
                yield example


def _example(file: Path) -> Example | None:
    try:
        table = tracekit.kernels(file)
    except tracekit.TracekitError as error:
        print(f"{file}: {error}", file=sys.stderr)
        return None
    strong = table.linked.labels.category >= 0
    if not strong.any():
        strong = np.isin(table.evidence, [EVIDENCES.index(e) for e in ("op", "module", "shape")])
    if table.linked.basis != "gpu" or strong.sum() < 30:
        return None
    code = table.category.astype(np.int64)
    named, sure = _by_name(table)
    time = table.dur_ns / table.dur_ns[strong].sum()
    certain = strong & sure
    rows = np.flatnonzero(strong & ~sure)
    sequences = kernel_sequences(table.linked)
    windows = _windows(sequences, rows)
    keys = np.concatenate([windows, code[rows][:, None]], axis=1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    folder = file.parent.name if file.name in ("trace.json.gz", "eager.json.gz") else file.name
    padded = np.concatenate([sequences.features, np.zeros((1, sequences.features.shape[1]))])
    return Example(
        model=folder.split(".")[0],
        name=f"{folder}/{file.name}" if folder != file.name else folder,
        features=torch.tensor(padded, dtype=torch.float32),
        windows=torch.tensor(windows[first]),
        classes=torch.tensor(code[rows][first]),
        weight=torch.tensor(
            np.bincount(which.ravel(), time[rows], len(first)), dtype=torch.float32
        ),
        certain=float(time[certain].sum()),
        certain_right=float(time[certain & (named == code)].sum()),
    )


def _by_name(table: Any) -> tuple[Any, Any]:
    """Return the class that each kernel's name says, and whether it is certain."""
    activities, text = table.linked.trace.activities, table.linked.trace.text
    found: dict[tuple[int, int], tuple[int, bool]] = {}
    for key in set(zip(activities.name.tolist(), activities.kind.tolist(), strict=True)):
        verdict = verdict_for_kernel_name(text(key[0]) or "", ACTIVITY_KINDS[key[1]])
        # Of attention the axis stays open.
        sure = verdict.confidence >= CERTAIN and verdict.category != ATTENTION
        found[key] = CODE_OF[verdict.category], sure
    rows = [
        found[key] for key in zip(activities.name.tolist(), activities.kind.tolist(), strict=True)
    ]
    return np.array([code for code, _ in rows]), np.array([sure for _, sure in rows])


def _windows(sequences: KernelSequences, rows: Any) -> Any:
    at = sequences.place[rows][:, None] + np.arange(-REACH, REACH + 1)
    inside = (at >= 0) & (at < len(sequences.kernels))
    windows = np.where(inside, sequences.kernels[np.clip(at, 0, len(sequences.kernels) - 1)], -1)
    return np.where(windows < 0, len(sequences.features), windows)


class Network(torch.nn.Module):
    """The network, for training."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Linear(size, EMBEDDING)
        self.hidden = torch.nn.Linear(WIDTH * EMBEDDING, HIDDEN)
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.output = torch.nn.Linear(HIDDEN, len(CLASSES))

    def forward(
        self, table: torch.Tensor, windows: torch.Tensor, is_seen: torch.Tensor
    ) -> torch.Tensor:
        """Return the scores of windows `(batch, WIDTH)` of rows of a table of features."""
        embedded = torch.relu(self.embedding(table))
        seen = torch.nn.functional.embedding(windows, embedded) * is_seen[..., None]
        return self.output(self.dropout(torch.relu(self.hidden(seen.flatten(1)))))


def train(data: Sequence[Example], epochs: int, device: str, seed: int = 0) -> Network:
    """Return a network trained on these traces, each of the same weight."""
    torch.manual_seed(seed)
    size = data[0].features.shape[1]
    network = Network(size).to(device)
    features, windows, classes, weight = [], [], [], []
    base = 0
    for example in data:
        features.append(example.features)
        windows.append(example.windows + base)
        base += len(example.features)
        classes.append(example.classes)
        # Half by time, half by count: long kernels count, and rare ones are still learned.
        count = len(example.classes)
        weight.append(
            (example.weight.sqrt() / example.weight.sqrt().sum() + 1 / count) * count**0.5
        )
    table, rows = torch.cat(features).to(device), torch.cat(windows).to(device)
    target, importance = torch.cat(classes).to(device), torch.cat(weight).to(device)
    importance = importance / importance.mean()
    is_pad_row = torch.zeros(len(table), dtype=torch.bool, device=device)
    is_pad_row[torch.cumsum(torch.tensor([len(f) for f in features]), 0) - 1] = True
    without_grid = table.clone()
    without_grid[:, -8:] = 0
    both = torch.cat([table, without_grid])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.03)
    steps = epochs * (len(rows) // BATCH + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(rows), device=device)
        for start in range(0, len(rows), BATCH):
            chosen = order[start : start + BATCH]
            window = rows[chosen]
            # Neighbours and grids may be missing elsewhere.
            is_seen = ~is_pad_row[window] & (torch.rand(window.shape, device=device) > 0.05)
            is_seen[:, REACH] = True
            grid = (torch.rand(len(chosen), 1, device=device) < 0.15) * len(table)
            loss = torch.nn.functional.cross_entropy(
                network(both, window + grid, is_seen),
                target[chosen], reduction="none", label_smoothing=0.02,
            )  # fmt: skip
            optimizer.zero_grad()
            (loss * importance[chosen]).mean().backward()
            optimizer.step()
            schedule.step()
    return network.cpu().eval()


def scores_of(network: Network, example: Example) -> Any:
    """Return the scores of all windows of a trace."""
    is_seen = example.windows != len(example.features) - 1
    with torch.no_grad():
        return network(example.features, example.windows, is_seen)


def judge(data: Sequence[Example], options: argparse.Namespace, only: Sequence[str]) -> float:
    """Print what networks that never saw a model get right of it; return the temperature."""
    by_model: dict[str, list[Example]] = defaultdict(list)
    part_of = _parts(data, options.folds)
    for example in data:
        by_model[part_of[example.model]].append(example)
    held, results = [], []
    ends = time.monotonic() + options.seconds
    for model, own in by_model.items():
        if only and model not in only:
            continue
        if time.monotonic() > ends:
            print(f"out of time: {model} and what follows are not judged")
            break
        others = [example for example in data if part_of[example.model] != model]
        network = train(others, options.epochs, options.device)
        for example in own:
            scores = scores_of(network, example)
            right = (scores.argmax(1) == example.classes).float()
            share = float((right * example.weight).sum()) + example.certain_right
            results.append((share, example.name))
            held.append((scores, example.classes, example.weight))
            wrong: dict[tuple[str, str], float] = defaultdict(float)
            columns = (scores.argmax(1), example.classes, example.weight)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            for got, true, weight in rows:
                if got != true:
                    wrong[CLASSES[true], CLASSES[got]] += weight
            worst = sorted(wrong.items(), key=lambda item: -item[1])[:3]
            told = ", ".join(f"{true} as {got} {share:.1%}" for (true, got), share in worst)
            print(f"{share:7.2%}  {example.name:50s} {told}", flush=True)
    shares = [share for share, _ in results]
    print(f"mean {np.mean(shares):.2%}, worst {min(shares):.2%} of {len(shares)} traces")
    return _temperature(held)


def _parts(data: Sequence[Example], folds: int) -> dict[str, str]:
    """Return for each model which are left out with it: itself alone, or an N-th of all."""
    models = sorted({example.model for example in data})
    if not folds:
        return {model: model for model in models}
    random.Random(5).shuffle(models)  # noqa: S311 - no secret
    return {model: f"part {at % folds}" for at, model in enumerate(models)}


def _temperature(held: Sequence[tuple[Any, Any, Any]]) -> float:
    def loss(temperature: float) -> float:
        return sum(
            float(
                (torch.nn.functional.cross_entropy(s / temperature, c, reduction="none") * w).sum()
            )
            for s, c, w in held
        )

    return float(min(np.arange(0.4, 4, 0.1), key=loss))


def main() -> None:
    """Read the command line, judge, train on everything, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for judging")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("-o", "--output", type=Path, default=_TARGET)
    options = parser.parse_args()
    data = list(examples(options.paths))
    print(f"{len(data)} traces, {sum(len(e.classes) for e in data)} kernels", flush=True)
    network = train(data, options.epochs, options.device)
    save(network, options.temperature, options.output)
    if options.judge:
        only = [name for name in options.only.split(",") if name]
        temperature = judge(data, options, only)
        print(f"temperature {temperature:.1f}")
        save(network, temperature, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e3:.0f} kB")


def save(network: Network, temperature: float, path: Path) -> None:
    """Write the weights in half precision."""
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    np.savez_compressed(
        path,
        embedding=weights["embedding.weight"].T.astype(np.float16),
        embedding_bias=weights["embedding.bias"].astype(np.float16),
        hidden=weights["hidden.weight"].T.reshape(WIDTH, EMBEDDING, HIDDEN).astype(np.float16),
        hidden_bias=weights["hidden.bias"].astype(np.float16),
        output=weights["output.weight"].T.astype(np.float16),
        output_bias=weights["output.bias"].astype(np.float16),
        temperature=np.float16(temperature),
    )


if __name__ == "__main__":
    main()
