from __future__ import annotations

from xml.etree import ElementTree

import pytest

from eval.latency import Latency
from eval.plots import Bar, bars_plot, recall_latency_plot, scatter_plot
from eval.sweep import Sweep, SweepPoint
from lsr.core.manifest import Manifest

pytest.importorskip("matplotlib")


def _texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    return ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("text")]


def test_bars_have_their_groups_and_systems() -> None:
    old, new = Bar("bm25", 0.6, (0.5, 0.7)), Bar("new", 0.7, (0.6, 0.8), "▲")
    panels = {"scifact": [old, new], "nfcorpus": [old]}
    svg = bars_plot(panels, measure="nDCG@10", baseline="bm25")
    texts = _texts(svg)
    assert {"scifact", "nfcorpus", "bm25", "new", "nDCG@10", "0.700"} <= set(texts)


def test_points_have_names_and_axes() -> None:
    svg = scatter_plot([("a", 20, 0.3), ("b", 900, 0.5)], x_label="µs", y_label="nDCG@10")
    assert {"a", "b", "µs", "nDCG@10"} <= set(_texts(svg))
    assert svg == scatter_plot([("a", 20, 0.3), ("b", 900, 0.5)], x_label="µs", y_label="nDCG@10")


def test_a_curve_ends_in_exact_search() -> None:
    def point(recall: float, us: float, *, pareto: bool) -> SweepPoint:
        latency = Latency(
            mean_us=us, p50_us=us, p95_us=us, p99_us=us, n_queries=1, n_runs=1, n_warmup=0
        )
        return SweepPoint(params={"a": us}, recall=recall, latency=latency, pareto=pareto)

    curve = Sweep(
        name="clustered", layout="clustered", k=10, n_documents=5, n_queries=4, index_bytes=1,
        points=(point(0.9, 50, pareto=True), point(0.8, 70, pareto=False)),
        exact=point(1.0, 500, pareto=False), manifest=Manifest.new("sweep", 1),
    )  # fmt: skip
    texts = _texts(recall_latency_plot([curve]))
    assert {"clustered", "clustered: exact search", "recall@10 against exact search"} <= set(texts)
