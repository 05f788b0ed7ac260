from __future__ import annotations

from pathlib import Path

import pytest

from eval.measures import parse_measures
from eval.suite import Suite, load_suite, shipped_suites
from lsr.core.errors import ArgumentError, ConfigError

COLLECTIONS = [{"name": "a", "source": "a"}, {"name": "b", "source": "b"}]
SYSTEMS = [
    {"name": "x", "kind": "sparse", "encoder": "lexical"},
    {"name": "y", "kind": "dense", "encoder": "m"},
    {"name": "mix", "kind": "convex", "of": ["x", "y"], "tuned_on": ["b"]},
    {"name": "again", "kind": "rerank", "first": "x", "by": "y"},
]


def _suite(**changes: object) -> Suite:
    return Suite.model_validate(
        {"name": "s", "collections": COLLECTIONS, "systems": SYSTEMS, **changes}
    )


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_are_valid(name: str) -> None:
    pytest.importorskip("ir_measures")
    suite = load_suite(name)
    assert suite.about
    for collection in suite.collections:
        if collection.measures:
            parse_measures(collection.measures)
    assert len(suite.systems) > 1


def test_what_ships_covers_the_public_benchmarks() -> None:
    beir = load_suite("beir")
    assert sum(c.group == "cqadupstack" for c in beir.collections) == 12
    assert len({c.group or c.name for c in beir.collections}) == 14
    dl = {c.name: c for c in load_suite("msmarco").collections}
    assert "RR(rel=2)@10" in dl["trec-dl-2019"].measures
    assert {(e.collection, e.system): e.value for e in load_suite("trec-runs").expected} == {
        ("dl19", "bm25"): 0.5058,
        ("dl20", "bm25"): 0.4796,
        ("dl19", "splade++ed"): 0.7308,
        ("dl20", "splade++ed"): 0.7197,
    }


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"collections": [*COLLECTIONS, COLLECTIONS[0]]}, "'a' stands twice"),
        ({"systems": [SYSTEMS[2], SYSTEMS[0], SYSTEMS[1]]}, "does not stand before it"),
        ({"baseline": "z"}, "baseline 'z'"),
        ({"expected": [{"collection": "a", "system": "z", "value": 1}]}, "expected of 'z'"),
        (
            {"systems": [*SYSTEMS[:2], {**SYSTEMS[2], "tuned_on": ["c"]}]},
            "tuned on 'c', which is no collection",
        ),
        ({"systems": [{**SYSTEMS[2], "weight": 0.5}]}, "either a weight or"),
        ({"systems": [{"name": "x", "kind": "spars", "encoder": "lexical"}]}, "kind"),
    ],
)
def test_names_that_do_not_fit_are_reported(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        _suite(**changes)


def test_a_part_keeps_what_it_is_made_of() -> None:
    part = _suite(baseline="y").only(("a",), ("mix",))
    assert [s.name for s in part.systems] == ["x", "y", "mix"]
    assert [c.name for c in part.collections] == ["a", "b"], "b is what the weight is tuned on"
    assert part.baseline == "y"
    assert [c.name for c in _suite().only(("a",), ("x",)).collections] == ["a"]
    with pytest.raises(ArgumentError, match="Did you mean 'mix'"):
        _suite().only((), ("mixx",))


def test_a_suite_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[[collections]]\nname = "a"\nsource = "a"\nsplitt = "test"\n')
    with pytest.raises(ConfigError, match="Did you mean 'split'"):
        load_suite(str(file))
    file.write_text('name = "mine"\n[[collections]]\nname = "a"\nsource = "a"\n')
    assert load_suite(str(file)).collections[0].split == "test"
    with pytest.raises(ConfigError, match="Did you mean 'beir'"):
        load_suite("bier")
