"""D212: gradients are clipped while the gradient scaler's factor is still in them."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["clipped_before_unscaled"]


@finding("D212", severity="error", phases=("during",), explains=("D213", "D310", "D403", "D504", "D505"))
def clipped_before_unscaled(evidence: Evidence) -> Iterator[Hit]:
    """Gradients are clipped before the scaler has unscaled them, and become smaller by its factor.

    Cause:       A GradScaler multiplies the loss, and so the gradients, by up to 65536. clip_grad_norm_ with max_norm=1 brings
                 the scaled gradients to norm 1, and scaler.step divides that by 65536: the weights get a gradient of norm
                 1.5e-5.
    Rule:        At a step that was looked at closely the gradients that reach the optimizer are smaller than the clip left them
                 by a power of two of at least 16, or the fused optimizer is told to divide by the scale after the clip.
    Silent when: scaler.unscale_(optimizer) comes before the clip: then the optimizer gets what the clip left.
    Fix:         scaler.scale(loss).backward(); scaler.unscale_(optimizer);
                 torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm); scaler.step(optimizer); scaler.update()
    Confirm:     The norm that clip_grad_norm_ returns falls by the factor of the scale.
    Reference:   PyTorch documentation, "Automatic mixed precision examples: gradient clipping"; Lightning issue 9599.
    Example:
        scaler.scale(loss).backward(); clip_grad_norm_(w, 1.0); scaler.step(opt)                        # sick
        scaler.scale(loss).backward(); scaler.unscale_(opt); clip_grad_norm_(w, 1.0); scaler.step(opt)  # healthy
    """
    probes = evidence.probes
    if probes is None or probes.clipped_scaled is None:
        return
    scale = probes.clipped_scaled
    said = (
        f"gradients were clipped with the scale of {scale:g} in them: what reaches the weights is that much smaller than max_norm"
    )
    yield Hit(said, {"scale": scale})
