"""D208: dropout and batch norm are in the mode of evaluation while the model trains."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.measured import some
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["wrong_mode"]

LOOKS = 2  # of a live run: one may have fallen into an evaluation
MODAL = ("Dropout", "BatchNorm", "AlphaDropout", "FeatureAlphaDropout", "SyncBatchNorm")


@finding("D208", severity="warning", phases=("before", "during"))
def wrong_mode(evidence: Evidence) -> Iterator[Hit]:
    """The model is trained in eval mode, or parts of it carry on in another mode than the rest.

    Cause:       After model.eval() dropout does nothing and batch norm uses its running moments, which no longer move; a
                 loop that evaluates between epochs and does not call model.train() again trains on like that.
    Rule:        In a live run: the model was in eval mode in the two last looks at a training step, and it has dropout or
                 batch norm modules. Dropouts or batch norms in eval mode within a model in train mode are told as info,
                 before and during.
    Silent when: there is neither dropout nor batch norm. Before training a model in eval mode is info: the loop may yet
                 call train().
    Fix:         model.train() at the beginning of every epoch, after each evaluation.
    Confirm:     model.training is True at the step, and all(m.training for m in model.modules()).
    Reference:   torch.nn.Module.train.
    Example:
        for epoch in range(9): train(model); model.eval(); validate(model)                 # sick from the second epoch on
        for epoch in range(9): model.train(); train(model); model.eval(); validate(model)  # healthy
    """
    looks = evidence.probes.looks if evidence.probes is not None else ()
    late = looks[-LOOKS:]
    if len(late) == LOOKS and not any(look.training for look in late):
        modal = sorted({module.name for module in late[-1].modules if module.kind.startswith(MODAL)})
        if modal:
            said = f"the model trains in eval mode, which matters to {len(modal)} dropout and batch norm modules ({some(modal)})"
            yield Hit(said, {"modules": len(modal)}, where=modal[0], step=late[0].step)
        return
    modes = evidence.modes
    mixed = modes.mixed if modes is not None else late[-1].mixed if late else ()
    training = modes.training if modes is not None else bool(late and late[-1].training)
    if mixed and training:
        said = f"{len(mixed)} dropouts or batch norms are in eval mode within a model in train mode ({some(mixed)}): frozen?"
        yield Hit(said, {"modules": len(mixed)}, where=mixed[0], severity="info")
    elif modes is not None and not modes.training and modes.train != modes.evaluation:
        said = f"the model came in eval mode, with a loss of {modes.evaluation:.4g}; in train mode it is {modes.train:.4g}"
        yield Hit(said, {"evaluation": modes.evaluation, "train": modes.train}, severity="info")
