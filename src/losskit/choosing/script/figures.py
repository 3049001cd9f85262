"""The pieces of a script that say what a model predicts, and how good that is."""

from __future__ import annotations

from ..candidates import PAIRED
from .flat import level, shift
from .loss import LOG_MEAN, Code
from .plan import Plan

__all__ = ["answer", "judge", "judging"]


def _has_shares(plan: Plan) -> bool:
    return not plan.first.loss.startswith(PAIRED)


def answer(plan: Plan, code: Code) -> tuple[str, str]:
    """What is wanted of a model, in words and made of ``model(input)``."""
    moved = shift(plan, code) is not None
    if plan.task == "binary":
        if not _has_shares(plan):
            return "A score for each row: the higher, the likelier a yes.", "model(input)[:, 0]"
        said = "The probability of a yes, the second of CLASSES, for each row"
        return f"{said}{_decided(moved, '> 0')}", f"{_probable('model(input)[:, 0]', moved)}.sigmoid()"
    if plan.task == "multiclass":
        if moved:
            said = "The probability of each class, (N, C), in the order of CLASSES"
            return f"{said}{_decided(moved, '.argmax(1)')}", '(model(input) + saved["shift"]).softmax(-1)'
        return "The probability of each class, (N, C), in the order of CLASSES.", "model(input).softmax(-1)"
    if plan.task == "multilabel":
        return f"The probability of each label, (N, L){_decided(moved, '> 0')}", f"{_probable('model(input)', moved)}.sigmoid()"
    if plan.task == "embedding":
        return (
            "A vector of length one for each row: compare them by their products.",
            "nn.functional.normalize(model(input), dim=-1)",
        )
    if plan.task == "ranking":
        return "A score for each item: sort the items of a list by it, the highest first.", "model(input)[:, 0]"
    if LOG_MEAN in code.names:
        return "The predicted mean of each row.", "model(input)[:, 0].exp()"
    one = "[:, 0]" if plan.outputs == 1 else ""
    if code.constants:
        return "The predicted number of each row.", f"centre + spread * model(input){one}.double()"
    return "The predicted number of each row.", f"model(input){one}"


def _probable(logits: str, moved: bool) -> str:
    """Scores of a balanced loss with the prior put back."""
    return f'({logits} + saved["shift"])' if moved else logits


def _decided(moved: bool, rule: str) -> str:
    """The end of a sentence on probabilities: they are not what a balanced loss decides by."""
    space = " " if rule.startswith(">") else ""
    return f". The balanced decision is logits{space}{rule}, without the shift." if moved else "."


_HEAD = '''@torch.no_grad()
def judge({given}):
    """Figures of the rows held out, beside those of {answer} that ignores the inputs."""
    model.eval()
    {unpacked}
    figures = [
{figures}
    ]
    for name, ours, flat in figures:
        print(f"{{name:<22}} {{float(ours):10.4g}}   without inputs {{float(flat):10.4g}}")'''


def judge(plan: Plan, code: Code) -> str:
    """judge(model, train, held), with the figures of the task."""
    lines, figures = _JUDGED[plan.task]
    if plan.task == "multiclass" and plan.soft:
        lines = _SOFT
    if plan.task == "count" and LOG_MEAN not in code.names:  # what is predicted may be 0 or less, which has no deviance
        lines, figures = _NUMBERS
    if plan.task == "binary" and not _has_shares(plan):
        figures = [one for one in figures if "log loss" not in one and "accuracy" not in one]
        lines = [line for line in lines if not line.startswith("share")]
    made = answer(plan, code)[1].replace("model(input)", "model(held[0])")
    given = "model, train, held"
    if shift(plan, code):
        given += ", shift"
        figures = [one.replace("(logits, share)", "(logits + shift, share)") for one in figures]
    if plan.task == "ranking" and plan.first.loss in _RANKED:
        more, figure = _RANKED[plan.first.loss]
        lines, figures = [*lines, *more], [*figures, figure]
    at = level(plan)
    if at is not None and "quantile" in plan.first.options:
        lines, figures = [*lines, f"bound = known.quantile({at!r}, 0).expand_as(target)"], [*_bound(at), *figures]
    first = "balanced" if shift(plan, code) else _FIRST.get(plan.first.loss, " ")
    figures = sorted(figures, key=lambda one: not one.startswith(f'("{first}'))  # what was wanted comes first
    return judging(given, "the best answer", [line.replace("ANSWER", made) for line in lines], figures)


def _bound(at: float) -> list[str]:
    """What a quantile costs, and how often it is passed."""
    return [
        f'("pinball loss at {at:g}", *(losskit.quantile_loss(v, target, quantile={at!r}) for v in (prediction, bound)))',
        f'("above ({1 - at:.4g} is wanted)", *((target > v).float().mean() for v in (prediction, bound)))',
    ]


_FIRST = {
    "quantile_loss": "pinball",
    "l1_loss": "MAE",
    "mse_loss": "RMSE",
    "poisson_deviance_loss": "Poisson",
    "cross_entropy": "log loss",
    "binary_cross_entropy_with_logits": "log loss",
    "pairwise_mse_loss": "RMSE of",
    "approx_mrr_loss": "MRR",
    "pairwise_logistic_loss": "pairs in order",
}


def judging(given: str, answer: str, lines: list[str], figures: list[str]) -> str:
    """judge() of what it is ``given``: the figures that its lines make, beside those of an answer without inputs."""
    rows = "\n".join(f"        {one}," for one in figures)
    return _HEAD.format(given=given, answer=answer, unpacked="\n    ".join(lines), figures=rows)


_RANKED = {
    "pairwise_logistic_loss": (
        [],
        '("pairs in order", *(losskit.evaluate.concordance(s, relevance, offsets=offsets) for s in (scores, flat)))',
    ),
    "pairwise_mse_loss": (
        [
            "place, count = torch.unique_consecutive(ids, return_inverse=True, return_counts=True)[1:]",
            "apart = [s - relevance for s in (scores, flat)]",
            "apart = [e - (torch.zeros(len(count)).index_add(0, place, e) / count)[place] for e in apart]",
        ],
        '("RMSE of differences", *(e.square().mean().sqrt() for e in apart))',
    ),
}
_SOFT = [
    "logits, wanted = model(held[0]), held[1]",
    "share = train[1].mean(0).log().expand(len(wanted), -1)",
    "said, truth = logits.argmax(1), wanted.argmax(1)",
    "recall = [(said[truth == c] == c).float().mean() for c in truth.unique()]",
]
_JUDGED: dict[str, tuple[list[str], list[str]]] = {
    "binary": (
        [
            "logits, target = model(held[0])[:, 0], held[1]",
            "yes = (target > 0.5).float()",
            "share = train[1].mean().logit().expand(len(target))",
        ],
        [
            '("AUC", losskit.evaluate.auc(logits, yes), 0.5)',
            '("average precision", losskit.evaluate.average_precision(logits, yes), yes.mean())',
            '("balanced accuracy", ((logits > 0)[yes > 0].float().mean() + (logits <= 0)[yes < 1].float().mean()) / 2, 0.5)',
            '("log loss", *(losskit.binary_cross_entropy_with_logits(z, target) for z in (logits, share)))',
        ],
    ),
    "multiclass": (
        [
            "logits, wanted = model(held[0]), held[1]",
            "share = (train[1].bincount(minlength=logits.shape[1]) + 1e-6).log().expand(len(wanted), -1)",
            "said, truth = logits.argmax(1), wanted",
            "recall = [(said[truth == c] == c).float().mean() for c in truth.unique()]",
        ],
        [
            '("accuracy", (said == truth).float().mean(), (share.argmax(1) == truth).float().mean())',
            '("balanced accuracy", torch.stack(recall).mean(), 1 / len(recall))',
            '("log loss", *(losskit.cross_entropy(z, wanted) for z in (logits, share)))',
        ],
    ),
    "multilabel": (
        [
            "logits, target = model(held[0]), held[1]",
            "share = train[1].mean(0).clamp(1e-6, 1 - 1e-6).logit().expand(len(target), -1)",
            "yes = (target > 0.5).float()",
            "some = (yes.mean(0) > 0) & (yes.mean(0) < 1)  # labels that have rows of both kinds",
        ],
        [
            '("mean avg. precision", losskit.evaluate.average_precision(logits.T[some], yes.T[some]), yes[:, some].mean())',
            '("log loss", *(losskit.binary_cross_entropy_with_logits(z, target) for z in (logits, share)))',
        ],
    ),
    "ranking": (
        [
            "_, relevance, ids = held",
            "scores, flat = ANSWER, torch.zeros(len(ids))",
            "offsets = losskit.offsets_from_lengths(torch.unique_consecutive(ids, return_counts=True)[1])",
        ],
        [
            '("NDCG@10", *(losskit.evaluate.ndcg(s, relevance, k=10, offsets=offsets) for s in (scores, flat)))',
            '("MRR", *(losskit.evaluate.mrr(s, relevance, offsets=offsets) for s in (scores, flat)))',
        ],
    ),
    "embedding": (
        [
            "vectors, labels = ANSWER, held[1]",
            "found = losskit.evaluate.retrieval(",
            "    vectors, vectors, losskit.evaluate.Relevance.labels(labels, labels), k=(1,), exclude_self=True",
            ")",
            "others = labels.bincount()[labels] - 1",
            "chance = others[others > 0].float().mean() / (len(labels) - 1)",
        ],
        [
            '("recall@1", found["hit_rate@1"], chance)',
            '("MAP@R", found["map@r"], chance)',
        ],
    ),
}
_NUMBERS = (
    ["prediction, target = ANSWER, held[1]", "known = train[1]"],
    [
        '("RMSE", losskit.rmse_loss(prediction, target), losskit.rmse_loss(known.mean(0).expand_as(target), target))',
        '("MAE", losskit.l1_loss(prediction, target), losskit.l1_loss(known.median(0).values.expand_as(target), target))',
    ],
)
_JUDGED["regression"] = _NUMBERS
_JUDGED["count"] = (
    [*_NUMBERS[0], "flat = known.mean().expand_as(target)"],
    [
        *_NUMBERS[1],
        '("Poisson deviance", *(losskit.poisson_deviance_loss(mean.log(), target) for mean in (prediction, flat)))',
    ],
)
