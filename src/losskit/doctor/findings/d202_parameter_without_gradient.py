"""D202: the loss depends on a trainable parameter, and its gradient is cut off."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.measured import some
from ..during.still import still
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["parameter_without_gradient"]

FELT = 1e-5  # relative change of the loss: ten times what float32 rounding makes of a mean


@finding("D202", severity="error", phases=("before", "during"), explains=("D205", "D217", "D218", "D310", "D403", "D504", "D505"))
def parameter_without_gradient(evidence: Evidence) -> Iterator[Hit]:
    """The loss changes when the parameter is changed, but backward() gives it no gradient: the graph is cut between them.

    Cause:       A detach(), torch.no_grad(), argmax, .data or a NumPy detour behind the parameter; or reentrant checkpointing,
                 which cuts the graph when no input of the block requires a gradient.
    Rule:        A parameter with requires_grad that the optimizer holds (or no optimizer was given) has grad None after
                 backward, with three sets of random numbers, and the loss moves by more than 1e-5 of itself when random noise
                 is added to it. A parameter in no optimizer is none of these. Info: such parameters that the loss does not
                 feel at all, it does not use them. Live: at two looks or more every trainable parameter has grad None and none
                 has changed a bit since the first.
    Silent when: the gradient is exactly 0 (that is another finding); a parameter is a teacher's: its student has the same names
                 and nearly the same values, and a gradient.
    Fix:         remove the detach or no_grad behind the module that is named; torch.utils.checkpoint.checkpoint(...,
                 use_reentrant=False); for a discrete choice a straight-through estimator.
    Confirm:     after loss.backward(), parameter.grad is not None.
    Reference:   huggingface/transformers issue 26221; torch.utils.checkpoint, "use_reentrant".
    Example:
        logits = head(encoder(x).detach())   # sick: the encoder is in the optimizer
        logits = head(encoder(x))            # healthy
    """
    seen = evidence.wiring
    if seen is None:
        yield from _live(evidence)
        return
    if not seen.loss_requires_grad or seen.own_step:
        return
    trainable = [p for p in seen.parameters if p.requires_grad and p.home in ("model", "criterion")]
    without = [p for p in trainable if p.grad == "none" and p.felt is not None and p.optimized is not False]
    cut = [p for p in without if (p.felt or 0.0) > FELT and not p.twin]
    if cut:
        felt, share = max(p.felt or 0.0 for p in cut), sum(p.numel for p in cut) / sum(p.numel for p in trainable)
        names = some([p.name for p in cut])
        said = f"{len(cut)} of {len(trainable)} trainable parameters get no gradient although the loss depends on them: {names}"
        said += f" (changing them moves the loss by {felt:.1%})"
        yield Hit(said, {"parameters": len(cut), "of": len(trainable), "share": share, "felt": felt}, where=cut[0].name)
    unused = [p for p in without if p.felt == 0]
    if unused:
        names = some([p.name for p in unused])
        said = f"{len(unused)} of {len(trainable)} trainable parameters are not used by this loss: {names}"
        numbers = {"parameters": len(unused), "of": len(trainable), "weights": sum(p.numel for p in unused)}
        fix = "nothing if they are meant for other batches; else call the module and use what it returns, or freeze it"
        yield Hit(said, numbers, where=unused[0].name, severity="info", fix=fix)


def _live(evidence: Evidence) -> Iterator[Hit]:
    """A loss that is cut off from the whole model; weights that move all the same had their gradients cleared before the look."""
    found = still(evidence)
    if found is None:
        return
    trained, stood, step = found
    if trained and len(stood) == len(trained) and all(p.grad == "none" for p in trained):
        said = f"backward() gives none of the {len(trained)} trainable parameters a gradient, and none has changed by step {step}"
        yield Hit(said, {"parameters": len(trained), "of": len(trained), "step": step}, where=trained[0].name)
