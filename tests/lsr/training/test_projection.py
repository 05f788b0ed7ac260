"""`max_project` is relu(max(h Wᵀ) + b), value and gradient, in any chunking."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pathlib import Path

from lsr.training.config import ExecutionConfig
from lsr.training.projection import max_project

BATCH, LENGTH, WIDTH, VOCABULARY = 5, 7, 8, 50


@pytest.fixture
def inputs() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden = torch.randn(BATCH, LENGTH, WIDTH, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    bias = torch.randn(VOCABULARY, requires_grad=True)
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, 4:] = 0
    mask[2, :3] = 0  # padding on the left
    mask[4] = 0
    return hidden, weight, bias, mask


def plain(hidden, weight, bias, mask):  # type: ignore[no-untyped-def]
    logits = (hidden @ weight.T + bias).masked_fill(~mask.bool()[:, :, None], -1e9)
    return torch.relu(logits.amax(dim=1))


@pytest.mark.parametrize("max_bytes", [1 << 28, 2000, 100])
def test_value_and_gradient(inputs: tuple[torch.Tensor, ...], max_bytes: int) -> None:
    hidden, weight, bias, mask = inputs
    probe = torch.randn(BATCH, VOCABULARY)
    wanted = plain(hidden, weight, bias, mask)
    ours = max_project(hidden, weight, bias, mask, max_bytes=max_bytes)
    torch.testing.assert_close(ours, wanted)
    ours_grad = torch.autograd.grad((ours * probe).sum(), (hidden, weight, bias))
    wanted_grad = torch.autograd.grad((wanted * probe).sum(), (hidden, weight, bias))
    for a, b in zip(ours_grad, wanted_grad, strict=True):
        torch.testing.assert_close(a, b)


def test_gradient_by_finite_differences(inputs: tuple[torch.Tensor, ...]) -> None:
    hidden, weight, bias, mask = (x.detach() for x in inputs)
    hidden.requires_grad_()
    max_project(hidden, weight, bias, mask).sum().backward()
    for at in [(0, 0, 0), (1, 3, 2), (1, 5, 1), (3, 6, 7)]:
        moved = []
        for sign in (1, -1):
            h = hidden.detach().double().clone()
            h[at] += sign * 1e-6
            moved.append(plain(h, weight.double(), bias.double(), mask).sum())
        slope = (moved[0] - moved[1]).item() / 2e-6
        assert hidden.grad[at].item() == pytest.approx(slope, abs=1e-3)


def test_the_logits_never_stand_in_memory(inputs: tuple[torch.Tensor, ...]) -> None:
    hidden, weight, bias, mask = inputs
    out = max_project(hidden, weight, bias, mask, max_bytes=100)
    saved = [t for t in out.grad_fn.saved_tensors if t.numel() > BATCH * VOCABULARY]
    assert all(t is hidden or t is weight or t.numel() <= weight.numel() for t in saved)


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("saturation", [1, 2])
def test_encode_is_the_modules_own_forward(backbone: Path, pooling: str, saturation: int) -> None:
    from lsr.encoders.torch_sides import MaskedLMSide
    from lsr.training.network import encode, load_masked_lm

    model, fresh = load_masked_lm(backbone)
    assert not fresh
    # [PAD] is the zero vector: its logits tie at all positions, and amax shares the gradient.
    torch.nn.init.normal_(model.get_input_embeddings().weight.data[0])
    side = MaskedLMSide(model.eval(), pooling=pooling, saturation=saturation)  # type: ignore[arg-type]
    torch.manual_seed(1)
    ids = torch.randint(5, side.vocabulary_size, (6, 9))
    mask = torch.ones_like(ids)
    mask[2, 5:] = 0
    wanted = side(ids, mask)
    ours = encode(side, ids, mask, ExecutionConfig(projection_bytes=1 << 16))
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    probe = torch.randn_like(ours)
    parameters = [p for p in side.parameters() if p.requires_grad]
    a = torch.autograd.grad((ours * probe).sum(), parameters, allow_unused=True)
    b = torch.autograd.grad((wanted * probe).sum(), parameters, allow_unused=True)
    for x, y in zip(a, b, strict=True):
        if y is not None:
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)
