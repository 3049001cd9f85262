"""Advice made up by hand, with a proof: what the printer and the page are tested on."""

from __future__ import annotations

import math

from losskit.choosing.advice import Advice, Answer, Candidate, Comparison, Fact, Proof, Question, Scored

__all__ = ["HOSTILE", "advice"]

HOSTILE = '<script>alert("x")</script>\x1b[31m'


def advice(proof: str = "agrees: l1_loss is better than mse_loss by 85.4 (28.1 to 143)", hostile: str = "") -> Advice:
    """Advice for a regression; ``hostile`` stands where data can put words."""
    code = "import losskit\n\n# prediction and target (N,)\nloss = losskit.l1_loss(prediction, target)"
    first = Candidate("l1_loss", f"Tails are heavy{hostile}: a median.", code, start=2.5, constant=1.25, best=0.0)
    huber = Candidate("huber_loss", "The mean of the good ones.", "loss = losskit.huber_loss(prediction, target, delta=118.7)")
    wrong = Candidate("mse_loss", "Outliers lead it.", "loss = losskit.mse_loss(prediction, target)", warning="Do not.")
    scores = [
        Scored(loss, model, metric, mean, mean - 10, mean + 10, 10)
        for metric in ("MAE", "RMSE")
        for loss, mean in (("l1_loss", 184.2), ("huber_loss", 185.5), ("mse_loss", 269.6))
        for model in ("linear", "mlp")
    ]
    gaps = [
        Comparison(model, metric, "l1_loss", other, gap, gap - 5, gap + 5)
        for metric in ("MAE", "RMSE")
        for model in ("linear", "mlp")
        for other, gap in (("huber_loss", 1.3), ("mse_loss", 85.4))
    ]
    told = {"MAE": "the mean error; lower is better", "RMSE": "its square"}
    shown = Proof(told, tuple(scores), tuple(gaps), proof, "Ten folds.", 442, 2.6) if proof else None
    answers = (
        Answer("median", "l1_loss", {"want": "median"}, taken=True),
        Answer("mean", "mse_loss", {"group": f"a b{hostile}"}),
    )
    question = Question(f"Mean or median{hostile}?", answers)
    facts = (Fact(f"tails{hostile}", 17.3, f"17.3; a normal has 2.91{hostile}"), Fact("odd", math.inf, "no number"))
    return Advice("regression", first, (huber,), (wrong,), facts, (f"Standardise{hostile}.",), (question,), "", shown)
