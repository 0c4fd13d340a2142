import pytest
import torch
import torch.nn.functional as F

from srtlib.model.attention import _flex_attention, attend
from srtlib.model.packing import Layout

LENGTHS = (50, 3, 50, 1, 20, 50, 7, 30)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


def packed(d: int = 32) -> tuple[torch.Tensor, Layout]:
    """(qkv [256, 3 D], static layout) of sequences end to end, filled up with lone tokens."""
    positions = torch.cat([torch.arange(n) for n in LENGTHS])
    positions = F.pad(positions, (0, 256 - len(positions)))
    qkv = torch.randn(256, 3 * d, generator=torch.Generator().manual_seed(0))
    return qkv, Layout.static(positions, 64, 0)


def attention_reference(qkv: torch.Tensor, n_heads: int) -> torch.Tensor:
    """Each sequence by itself in float32: softmax(q k' / sqrt(d)) v over the tokens so far."""
    parts = []
    for x in qkv.split([*LENGTHS, *[1] * (256 - sum(LENGTHS))]):
        q, k, v = x.view(len(x), 3, n_heads, -1).permute(1, 2, 0, 3)
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(
            torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1), -torch.inf
        )
        parts.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    return torch.cat(parts)


@pytest.mark.parametrize("heads", [1, 2])
def test_static_attention_equals_each_sequence_by_itself(heads: int) -> None:
    qkv, layout = packed()
    inputs = [qkv.clone().requires_grad_() for _ in range(2)]
    outputs = [attend(inputs[0], layout, heads), attention_reference(inputs[1], heads)]
    torch.testing.assert_close(*outputs)
    weights = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1))
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("heads", [1, 2])
def test_flex_attention_equals_each_sequence_by_itself(heads: int) -> None:
    qkv, layout = packed()  # torch has no backward pass of it on a CPU
    torch.testing.assert_close(_flex_attention(qkv, layout, heads), attention_reference(qkv, heads))


@needs_gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_gpu_attention_and_its_gradient_equal_each_sequence_by_itself(compiled: bool) -> None:
    """Compiled it is flex_attention."""
    qkv, layout = packed()
    on_gpu = Layout.static(layout.positions.cuda(), 64, 0)
    inputs = [qkv.cuda().requires_grad_(), qkv.clone().requires_grad_()]
    function = torch.compile(attend, dynamic=False) if compiled else attend
    outputs = [function(inputs[0], on_gpu, 2), attention_reference(inputs[1], 2)]
    torch.testing.assert_close(outputs[0].cpu(), outputs[1], atol=2e-3, rtol=2e-3)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad.cpu(), inputs[1].grad, atol=5e-3, rtol=5e-3)
