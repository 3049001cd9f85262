"""What a replay says, in words: the place, the operation, and what keeps it finite."""

from __future__ import annotations

from ..evidence.replay import Replay

__all__ = ["fix_of_backward", "fix_of_operation", "overflows", "place", "what_came_out", "what_went_in"]

_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028e38, "float64": 1.7977e308}

_OPERATIONS = {
    "log": "Take the logarithm where the probability is made: log_softmax(z) for log(softmax(z)), logsigmoid(z) for "
    "log(sigmoid(z)), torch.xlogy(y, p) for y * log(p), or losskit's loss of the logits.",
    "log2": "Give it positive numbers; from logits use log_softmax(z) / math.log(2).",
    "log1p": "Its input must be above -1: look at what makes it lower.",
    "sqrt": "Its input must not be negative: a variance as (x - mean).square().mean(), not as mean(x**2) - mean(x)**2.",
    "rsqrt": "Its input must be above 0: rsqrt(variance + eps).",
    "div": "Divide by torch.where(below == 0, 1, below), or normalise with F.normalize(x, eps=1e-12).",
    "reciprocal": "Take it of torch.where(x == 0, 1, x).",
    "std": "A standard deviation needs two values: correction=0, or x.square().mean().add(eps).sqrt(); larger batches.",
    "var": "A variance needs two values: correction=0, or larger batches.",
    "exp": "Stay in the logarithm: logsumexp, softmax, softplus, log1p; subtract the row's maximum before exp.",
    "acos": "Rounding leaves [-1, 1]: atan2(sine, cosine), or clamp the cosine to within 1e-6 of the bounds.",
    "asin": "Rounding leaves [-1, 1]: atan2(sine, cosine), or clamp the sine to within 1e-6 of the bounds.",
    "pow": "A negative number has no real power: take abs() or relu() first; a power below 0 needs an input above 0.",
    "mean": "The tensor is empty: x.sum() / max(x.numel(), 1), or skip the batch.",
    "nll_loss": "A target class has probability 0 (its logit is -inf), or no row counts: losskit.cross_entropy is 0 where "
    "nothing is to be learned; do not mask the target's own class.",
}
_BACKWARDS = {
    "sqrt": "Its derivative at 0 is infinite: sqrt(x + 1e-12), or for a distance torch.where on the input as well: "
    "safe = torch.where(x > 0, x, 1); torch.where(x > 0, safe.sqrt(), 0).",
    "norm": "The derivative of a root at 0: (x.square().sum(-1) + 1e-12).sqrt() of a row of zeros.",
    "pow": "A power below 1 has an infinite derivative at 0: mask the input before the power, not the output after it.",
    "log": "0 * inf behind a mask: mask the input before the logarithm, torch.where(keep, x, 1).log(), not only its output.",
    "div": "0 * inf behind a mask: mask the divisor before the division, x / torch.where(keep, y, 1).",
    "acos": "Its derivative at -1 and 1 is infinite: clamp the cosine to within 1e-6 of the bounds.",
    "asin": "Its derivative at -1 and 1 is infinite: clamp the sine to within 1e-6 of the bounds.",
    "std": "The derivative of a root at 0: (x.var(...) + eps).sqrt() of a constant column.",
    "exp": "0 * inf behind a mask: clamp or mask its input, not its output.",
    "cdist": "The derivative of a distance at 0: squared distances, or mask the pairs of equal rows before the root.",
}


def place(replay: Replay) -> str:
    """Where an operation stands: '"encoder.layers.3" (Linear), model.py:41'."""
    kind = f" ({replay.module_kind})" if replay.module_kind else ""
    inside = f'"{replay.module}"' if replay.module else "the model"
    module = f"{inside}{kind}" if replay.module or replay.module_kind else "the loss"
    return f"{module}, {replay.where}" if replay.where else module


def what_came_out(replay: Replay) -> str:
    """How many values of what, and of which sample."""
    sample = "" if replay.sample is None else f", from sample {replay.sample} alone"
    return f"{replay.bad} of {replay.numel} values are {replay.value}{sample}"


def what_went_in(replay: Replay) -> str:
    """The numbers that the operation got."""
    known = []
    if replay.lowest_before is not None:
        what = "divisor nearest to 0:" if replay.op in ("div", "rsqrt", "reciprocal") else "lowest"
        known.append(f"{what} {replay.lowest_before:.4g}")
    if replay.largest_before is not None:
        known.append(f"largest magnitude {replay.largest_before:.4g}")
    return f"what goes in is finite ({', '.join(known)})" if known else "what goes in is finite"


def overflows(replay: Replay) -> bool:
    """Whether a half-precision format is to blame: the same batch is finite in a wider one."""
    return replay.dtype in ("float16", "bfloat16") and bool(replay.finite_in)


def fix_of_operation(replay: Replay) -> str:
    """The concrete change for an operation of the forward pass; "" where only the rule's own words are known."""
    if replay.name:
        return "Look at the tensor that is neither in the batch nor in the model: class weights as 1 / counts.clamp(min=1)."
    if replay.masked_row:
        return (
            "Let each row of the mask keep one place (its own, or a first token), or set rows without any to 0 after the softmax."
        )
    if replay.empty_count:
        keep = (
            "Divide by max(count, 1): total / count.clamp(min=1), or losskit's loss with mask=, which is 0 where nothing counts."
        )
        return _OPERATIONS.get(replay.op, keep) if replay.op in ("std", "var", "mean", "nll_loss") else keep
    if overflows(replay):
        return (
            f"The numbers leave {replay.dtype} (largest {_LARGEST[replay.dtype]:.5g}): run {replay.module or 'this operation'} "
            f"in {replay.finite_in[0]} (torch.autocast(..., enabled=False)), or use bfloat16 instead of float16."
        )
    return _OPERATIONS.get(replay.op, "")


def fix_of_backward(replay: Replay) -> str:
    """The same for an operation of the backward pass."""
    if overflows(replay):
        wide, what = replay.finite_in[0], replay.module or "this operation"
        return f"The gradient leaves {replay.dtype}: torch.amp.GradScaler, or {wide} for {what}."
    return _BACKWARDS.get(replay.op, "")
