"""What the benchmarks that time queries share: the texts that are asked, and a report's frame."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eval.latency import Latency
from lsr.core.manifest import describe_machine, source_commit


def query_texts(path: Path, n: int, seed: int) -> list[str]:
    """Return `n` texts of a JSON-lines file with ``text``, drawn with the seed."""
    with open(path, encoding="utf-8") as lines:
        texts = [str(json.loads(line)["text"]) for line in lines]
    return [texts[at] for at in np.random.default_rng(seed).permutation(len(texts))[:n]]


def report(latencies: Mapping[str, Latency], **facts: float) -> float:
    """Print all that was measured and where, as JSON on standard error; return the load."""
    load = os.getloadavg()[0]
    measured: dict[str, Any] = {
        **facts,
        "load": load,
        "latencies": {name: latency.model_dump() for name, latency in latencies.items()},
        "machine": describe_machine().model_dump(),
        "commit": source_commit(),
    }
    print(json.dumps(measured, indent=1), file=sys.stderr)
    return load
