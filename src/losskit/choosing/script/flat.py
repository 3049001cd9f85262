"""The best answer that ignores the inputs, of the training rows and for the loss at hand, as the model would give it."""

from __future__ import annotations

from ...core.card import CATALOGUE
from ..candidates import PAIRED
from .loss import LOG_MEAN, Code
from .plan import Plan

__all__ = ["flat", "level", "shift"]

_MEAN = ("mse_loss", "rmse_loss")
_BINARY = ("binary_cross_entropy_with_logits", "mse_loss")  # lowest at the share of a yes
_SHARES = ("cross_entropy", "kl_div_loss", "mse_loss")
_GRID = "y.quantile(torch.linspace(0, 1, 101, dtype=y.dtype), 0)[:, None]"


def level(plan: Plan) -> float | None:
    """Which quantile of the targets is asked for; the median is that of 0.5."""
    if plan.first.loss == "l1_loss":
        return 0.5
    return float(plan.first.options["quantile"]) if plan.first.loss == "quantile_loss" else None


def flat(plan: Plan, code: Code) -> str | None:
    """Code that makes its outputs, (O,), of the targets ``y``; None where this loss has no honest one."""
    loss, weights = plan.first.loss, _weights(code, plan)
    if plan.task in ("regression", "count"):
        return _number(plan, code)
    if plan.task == "ranking":
        return "torch.zeros(1)" if CATALOGUE[loss].task == "ranking" else None
    if loss == "logit_adjusted_loss" or (plan.task == "binary" and loss.startswith(PAIRED)):
        return f"torch.zeros({plan.outputs})"
    if plan.task in ("binary", "multilabel") and loss in _BINARY:
        mean = "y.mean(0, keepdim=True)" if plan.task == "binary" else "y.mean(0)"
        return f"{mean}.logit(1e-6)" + (f" + {weights}" if weights else "")
    if plan.task == "multiclass" and loss in _SHARES and not plan.first.options:
        return _log_shares(plan)
    return None


def _number(plan: Plan, code: Code) -> str | None:
    at, loss, one = level(plan), plan.first.loss, plan.outputs == 1
    keep = ", keepdim=True" if one else ""
    if LOG_MEAN in code.names:
        return f"y.mean(0{keep}).log()"
    if loss in _MEAN:
        made = f"y.mean(0{keep})"
    elif at is not None:
        made = f"y.quantile({at!r}, 0{keep})"
    elif one:  # no formula: of all quantiles the one that costs least
        middles = f"({_GRID} - centre) / spread" if code.constants else _GRID
        return f"min({middles}, key=lambda flat: cost(flat, train))"
    else:
        return None
    return f"({made} - centre) / spread" if code.constants else made


def shift(plan: Plan, code: Code) -> str | None:
    """Code that makes of ``y`` what scores of a balanced loss lack of the logits of probabilities; None where they are those."""
    if plan.first.loss == "logit_adjusted_loss":
        return "y.mean(0, keepdim=True).logit(1e-6)" if plan.task == "binary" else _log_shares(plan)
    weights = _weights(code, plan)
    return f"-{weights}" if weights else None


def _weights(code: Code, plan: Plan) -> str:
    """The logarithm of what a yes counts more."""
    found = plan.first.options.get("pos_weight")
    if found is None:
        return ""
    if "pos_weight" in code.more:
        return 'loss_fn.keywords["pos_weight"].log()'
    return f"torch.tensor({found!r}).log()"


def _log_shares(plan: Plan) -> str:
    if plan.soft:
        return "y.mean(0).log()"
    return f"((y.bincount(minlength={plan.outputs}) + 1e-6) / len(y)).log()"
