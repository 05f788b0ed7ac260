"""Losses against numpy, finite differences and sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from lsr.training.config import InfoNCEConfig, KLConfig, MarginMSEConfig
from lsr.training.losses import (
    InfoNCE,
    KLDivergence,
    Loss,
    MarginMSE,
    Scores,
    build_losses,
)

N, G = 3, 4
Array = NDArray[np.float64]


@pytest.fixture
def student(rng: np.random.Generator) -> Array:
    return rng.normal(size=(N, N * G)) * 2


@pytest.fixture
def teacher(rng: np.random.Generator) -> Array:
    return rng.normal(size=(N, N * G)) * 2


def logsumexp(x: Array) -> float:
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum()))


def own(scores: Array) -> Array:
    return np.stack([scores[i, i * G : (i + 1) * G] for i in range(N)])


def numpy_info_nce(s: Array, kind: str, temperature: float) -> float:
    total = 0.0
    for i in range(N):
        keep = []
        for j in range(N * G):
            mine, positive = j // G == i, j % G == 0
            if (
                kind == "all"
                or (kind == "own-and-negatives" and (mine or not positive))
                or (kind == "positives-and-own" and (positive or (mine and j % G == 1)))
            ):
                keep.append(j)
        total += logsumexp(s[i, keep] / temperature) - s[i, i * G] / temperature
    return total / N


def numpy_kl(s: Array, t: Array, temperature: float) -> float:
    total = 0.0
    for a, b in zip(s / temperature, t / temperature, strict=True):
        log_q, log_p = a - logsumexp(a), b - logsumexp(b)
        total += float((np.exp(log_p) * (log_p - log_q)).sum())
    return temperature**2 * total / len(s)


def numpy_margin_mse(s: Array, t: Array) -> float:
    ds, dt = s[:, :1] - s[:, 1:], t[:, :1] - t[:, 1:]
    return float(((ds - dt) ** 2).mean())


CASES: list[tuple[Loss, Callable[[Array, Array], float]]] = [
    (InfoNCE(0.7, "all"), lambda s, t: numpy_info_nce(s, "all", 0.7)),
    (InfoNCE(1.0, "own-and-negatives"), lambda s, t: numpy_info_nce(s, "own-and-negatives", 1.0)),
    (InfoNCE(1.0, "positives-and-own"), lambda s, t: numpy_info_nce(s, "positives-and-own", 1.0)),
    (KLDivergence(1.0, "batch"), lambda s, t: numpy_kl(s, t, 1.0)),
    (KLDivergence(2.0, "own"), lambda s, t: numpy_kl(own(s), own(t), 2.0)),
    (MarginMSE("positive", "own"), lambda s, t: numpy_margin_mse(own(s), own(t))),
]


@pytest.mark.parametrize(("loss", "reference"), CASES, ids=lambda x: getattr(x, "name", ""))
def test_value_and_gradient_are_numpys(
    loss: Loss, reference: Callable[[Array, Array], float], student: Array, teacher: Array
) -> None:
    s = torch.tensor(student, requires_grad=True)
    value = loss(Scores(s, G, torch.tensor(teacher)))
    assert value.item() == pytest.approx(reference(student, teacher), rel=1e-9)
    value.backward()
    numeric = np.zeros_like(student)
    for at in np.ndindex(*student.shape):
        for sign in (1, -1):
            moved = student.copy()
            moved[at] += sign * 1e-5
            numeric[at] += sign * reference(moved, teacher) / 2e-5
    np.testing.assert_allclose(s.grad.numpy(), numeric, atol=1e-7)


def test_margin_mse_over_all_pairs_and_over_the_batch(student: Array, teacher: Array) -> None:
    s, t = own(student), own(teacher)
    pairs = [(i, j) for i in range(G) for j in range(i + 1, G)]
    wanted = np.mean([((s[:, i] - s[:, j]) - (t[:, i] - t[:, j])) ** 2 for i, j in pairs])
    scores = Scores(torch.tensor(student), G, torch.tensor(teacher))
    assert float(MarginMSE("all", "own")(scores)) == pytest.approx(wanted)
    total = 0.0
    for i in range(N):
        ds, dt = student[i, i * G] - student[i], teacher[i, i * G] - teacher[i]
        total += float(((ds - dt) ** 2).sum())
    wanted = total / (N * (N * G - 1))
    assert float(MarginMSE("positive", "batch")(scores)) == pytest.approx(wanted)


def test_teacher_scores_of_own_documents_only(student: Array, teacher: Array) -> None:
    whole = Scores(torch.tensor(student), G, torch.tensor(teacher))
    mine = Scores(torch.tensor(student), G, torch.tensor(own(teacher)))
    loss = KLDivergence(1.0, "own")
    assert float(loss(whole)) == pytest.approx(float(loss(mine)))


def test_known_positives_are_no_negatives(student: Array) -> None:
    positives = torch.zeros(N, N * G, dtype=torch.bool)
    positives[0, 0] = positives[1, G] = positives[2, 2 * G] = True
    positives[0, 5] = True
    s = torch.tensor(student, requires_grad=True)
    InfoNCE()(Scores(s, G, positives=positives)).backward()
    assert s.grad[0, 5] == 0
    assert s.grad[0, 6] != 0


def test_mixture_adds_weighted_parts(student: Array, teacher: Array) -> None:
    mixture = build_losses(
        [KLConfig(weight=1.0), MarginMSEConfig(weight=0.05), InfoNCEConfig(weight=0.2)]
    )
    total, parts = mixture(Scores(torch.tensor(student), G, torch.tensor(teacher)))
    wanted = parts["kl"] + 0.05 * parts["margin_mse"] + 0.2 * parts["info_nce"]
    assert float(total) == pytest.approx(float(wanted))


class _Embeddings(torch.nn.Module):
    """Stands for a sentence-transformers model: `features` are the vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, features: dict[str, object]) -> dict[str, object]:
        return features


@pytest.fixture
def vectors(rng: np.random.Generator) -> tuple[object, object]:
    q = np.maximum(rng.normal(size=(N, 12)), 0)
    d = np.maximum(rng.normal(size=(N * G, 12)), 0)
    return torch.tensor(q, dtype=torch.float32), torch.tensor(d, dtype=torch.float32)


class TestAgainstSentenceTransformers:
    """Same vectors, same loss, to 1e-6."""

    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("sentence_transformers.sparse_encoder.losses")

    def columns(self, d: object) -> list[object]:
        """Return our documents (query by query) as their columns (document by document)."""
        return [d[j::G] for j in range(G)]  # type: ignore[index]

    def test_info_nce(self, vectors: tuple[object, object]) -> None:
        from sentence_transformers.sparse_encoder.losses import (
            SparseMultipleNegativesRankingLoss,
        )

        q, d = vectors
        theirs = SparseMultipleNegativesRankingLoss(_Embeddings(), scale=2.0)
        wanted = theirs.compute_loss_from_embeddings([q, *self.columns(d)], None)
        ours = InfoNCE(temperature=0.5, negatives="all")(Scores(q @ d.T, G))  # type: ignore[attr-defined,operator]
        assert float(ours) == pytest.approx(float(wanted), rel=1e-6)

    def test_margin_mse(self, vectors: tuple[object, object], teacher: Array) -> None:
        from sentence_transformers.sparse_encoder.losses import SparseMarginMSELoss

        q, d = vectors
        t = torch.tensor(own(teacher), dtype=torch.float32)
        labels = t[:, :1] - t[:, 1:]
        theirs = SparseMarginMSELoss(_Embeddings())
        wanted = theirs.compute_loss_from_embeddings([q, *self.columns(d)], labels)
        ours = MarginMSE()(Scores(q @ d.T, G, t))  # type: ignore[attr-defined,operator]
        assert float(ours) == pytest.approx(float(wanted), rel=1e-6)

    def test_kl(self, vectors: tuple[object, object], teacher: Array) -> None:
        from sentence_transformers.sparse_encoder.losses import SparseDistillKLDivLoss

        q, d = vectors
        t = torch.tensor(own(teacher), dtype=torch.float32)
        theirs = SparseDistillKLDivLoss(_Embeddings(), temperature=2.0)
        wanted = theirs.compute_loss_from_embeddings([q, *self.columns(d)], t)
        ours = KLDivergence(2.0, "own")(Scores(q @ d.T, G, t))  # type: ignore[attr-defined,operator]
        assert float(ours) == pytest.approx(float(wanted), rel=1e-6)

    def test_flops_and_splade(self, vectors: tuple[object, object]) -> None:
        """SpladeLoss is ranking + λ_d FLOPS(documents) + λ_q FLOPS(queries), all documents in
        one mean: our convention too."""
        from sentence_transformers.sparse_encoder.losses import (
            FlopsLoss,
            SparseMultipleNegativesRankingLoss,
            SpladeLoss,
        )

        from lsr.training.regularizers import Flops

        q, d = vectors
        theirs = FlopsLoss(_Embeddings()).compute_loss_from_embeddings(d)
        assert float(Flops()(d)) == pytest.approx(float(theirs), rel=1e-6)  # type: ignore[arg-type]
        model = _Embeddings()
        ranking = SparseMultipleNegativesRankingLoss(model, scale=1.0)
        splade = SpladeLoss(
            model, ranking, document_regularizer_weight=0.3, query_regularizer_weight=0.2
        )
        features = [{"sentence_embedding": x} for x in (q, *self.columns(d))]
        parts = splade(features, None)
        wanted = sum(float(p) for p in parts.values())
        ours = (
            InfoNCE()(Scores(q @ d.T, G))  # type: ignore[attr-defined,operator]
            + 0.3 * Flops()(d)  # type: ignore[arg-type]
            + 0.2 * Flops()(q)  # type: ignore[arg-type]
        )
        assert float(ours) == pytest.approx(wanted, rel=1e-6)
