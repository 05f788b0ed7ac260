"""Taxes against numpy and finite differences; the controller on a model of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from lsr.training.config import ControllerConfig, RegularizerConfig
from lsr.training.regularizers import (
    L1,
    DFFlops,
    Flops,
    SparsityController,
    build_regularizer,
    df_activation,
    idf_term_weights,
    quadratic_warmup,
)

Array = NDArray[np.float64]
B, V = 4, 6
IDF = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])


@pytest.fixture
def vectors(rng: np.random.Generator) -> Array:
    return np.maximum(rng.normal(size=(B, V)), 0) + np.array([[1.0], [0.0], [0.0], [0.0]])


def numpy_flops(w: Array, a: Array | None = None, min_terms: int = 0) -> float:
    taxed = (w > 0).sum(axis=1) > min_terms if min_terms else np.ones(len(w), dtype=bool)
    squares = (w * taxed[:, None]).mean(axis=0) ** 2
    return float((squares if a is None else squares * a).sum())


def idf_weights() -> Array:
    a = 1 / np.maximum(IDF, 0.1) ** 2
    return a / a.mean()


CASES: list[tuple[object, Callable[[Array], float]]] = [
    (Flops(), numpy_flops),
    (Flops(min_terms=3), lambda w: numpy_flops(w, min_terms=3)),
    (Flops(idf_term_weights(torch.tensor(IDF))), lambda w: numpy_flops(w, idf_weights())),
    (L1(), lambda w: float(w.sum(axis=1).mean())),
]


@pytest.mark.parametrize(("tax", "reference"), CASES)
def test_value_and_gradient_are_numpys(
    tax: Flops, reference: Callable[[Array], float], vectors: Array
) -> None:
    w = torch.tensor(vectors, requires_grad=True)
    value = tax(w)
    assert value.item() == pytest.approx(reference(vectors))
    value.backward()
    active = np.argwhere(vectors > 0)
    for at in map(tuple, active):
        up, down = vectors.copy(), vectors.copy()
        up[at] += 1e-6
        down[at] -= 1e-6
        slope = (reference(up) - reference(down)) / 2e-6
        assert w.grad[at].item() == pytest.approx(slope, abs=1e-6)


def test_lambda_does_not_depend_on_batch_or_group(vectors: Array) -> None:
    w = torch.tensor(vectors)
    assert Flops()(w.repeat(3, 1)).item() == pytest.approx(Flops()(w).item())
    assert L1()(w.repeat(3, 1)).item() == pytest.approx(L1()(w).item())


def test_both_views_of_idf_aware_flops_agree(vectors: Array) -> None:
    """Plain FLOPS on w is FLOPS on u = idf · w with a = 1 / idf²."""
    idf = torch.tensor(IDF + 0.5)
    w = torch.tensor(vectors)
    assert Flops()(w).item() == pytest.approx(Flops(idf.pow(-2))(idf * w).item())


def test_l0_mask_leaves_sparse_documents_alone() -> None:
    w = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]], requires_grad=True)
    Flops(min_terms=2)(w).backward()
    assert w.grad[0].abs().sum() > 0
    assert w.grad[1].abs().sum() == 0


def test_df_activation_rises_through_one_half() -> None:
    x = torch.tensor([0.0, 0.05, 0.1, 0.2, 1.0])
    y = df_activation(x, 0.1, 10.0)
    assert y[2].item() == pytest.approx(0.5, abs=1e-6)
    assert y[0] < 1e-6
    assert y[4].item() == pytest.approx(1.0)
    assert (y.diff() > 0).all()


def test_df_flops_taxes_frequent_terms() -> None:
    tax = DFFlops(3, every=2)
    w = torch.tensor([[1.0, 1.0, 0], [1.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0]] * 10)
    rare = torch.zeros(40, 3)
    rare[:, 0] = 1.0
    rare[0, 1] = 1.0
    tax.observe(rare)
    first = tax.state["used"].clone()
    assert first[0] > 0.99
    assert first[1] < 0.01
    tax.observe(w)
    assert torch.equal(tax.state["used"], first)
    tax.observe(w)
    assert not torch.equal(tax.state["used"], first)
    assert tax(w).item() == pytest.approx(
        sum((float(a) * float(m)) ** 2 for a, m in zip(tax.state["used"], w.mean(0), strict=True))
    )


@pytest.mark.parametrize(
    ("kind", "cls"), [("flops", Flops), ("idf-flops", Flops), ("df-flops", DFFlops), ("l1", L1)]
)
def test_recipes_build_each(kind: str, cls: type) -> None:
    config = RegularizerConfig.model_validate({"kind": kind})
    made = build_regularizer(config, idf=torch.tensor(IDF), vocabulary_size=V)
    assert isinstance(made, cls)
    assert made.name == kind.replace("-", "_")


def test_quadratic_warmup() -> None:
    assert [quadratic_warmup(s, 10) for s in (0, 5, 10, 20)] == [0, 0.25, 1, 1]
    assert quadratic_warmup(0, 0) == 1


@pytest.mark.parametrize("delay", [100, 800])
@pytest.mark.parametrize("start", [1e-5, 1.0])
def test_controller_reaches_the_target(delay: int, start: float, rng: np.random.Generator) -> None:
    """Terms follow a power of λ with a delay, and are measured with noise."""
    config = ControllerConfig(target_doc_terms=190, ramp_steps=2000)
    controller = SparsityController(config, start)
    log_terms, seen = math.log(400), []
    for _ in range(9000):
        settled = math.log(190) - 0.5 * (controller.log_weight - math.log(8e-3))
        log_terms += (settled - log_terms) / delay
        controller.observe(math.exp(log_terms) * (1 + 0.03 * float(rng.normal())))
        seen.append(math.exp(log_terms))
    assert np.abs(np.array(seen[-1000:]) / 190 - 1).max() < 0.05
    assert controller.weight == pytest.approx(8e-3, rel=0.3)


def test_controller_goes_on_from_its_state() -> None:
    config = ControllerConfig(target_doc_terms=100, ramp_steps=10)
    a, b = SparsityController(config, 1e-3), SparsityController(config, 1.0)
    for terms in (300, 250, 260):
        a.observe(terms)
    b.load_state(a.state())
    assert b.observe(240) == a.observe(240)


def test_controller_stays_within_bounds() -> None:
    config = ControllerConfig(target_doc_terms=10, ramp_steps=1, max_weight=0.5, gain=1.0)
    controller = SparsityController(config, 0.1)
    for _ in range(100):
        controller.observe(10_000)
    assert controller.weight == pytest.approx(0.5)
