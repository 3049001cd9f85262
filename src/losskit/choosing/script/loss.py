"""The code of an advice as a function of a model and a batch: the same lines, with their names made from the model."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from .names import commented, uses
from .plan import Plan

__all__ = ["Code", "code_of", "expected", "loss_of"]

WHOLE = "# of all of the training data"
LOG_MEAN = "log_mean"  # the name of an output that is the logarithm of a mean
GIVEN = {
    "binary": {"logits", "target"},
    "multiclass": {"logits", "target"},
    "multilabel": {"logits", "target"},
    "regression": {"prediction", "log_mean", "target"},
    "count": {"prediction", "log_mean", "target"},
    "ranking": {"scores", "relevance", "ids"},
    "embedding": {"embedding", "labels"},
    "language": {"logits", "tokens"},
}
PAIRS = {"query", "key", "anchor", "positive", "negative", "target", "key_ids"}


@dataclass(frozen=True)
class Code:
    """``Candidate.code`` in its parts."""

    body: list[str]
    """Comments, and lines that every batch needs; the last one leaves ``loss``."""
    constants: list[str]
    """Lines that give names to numbers."""
    whole: list[str]
    """Lines that look at all targets at once."""
    names: set[str]

    @property
    def more(self) -> list[str]:
        """What the lines of ``whole`` make."""
        return [line.split(" = ")[0] for line in self.whole]


def code_of(plan: Plan) -> Code:
    """The parts, if a script has all that they read.

    Raises:     ValueError for code that needs what a small model does not have, such as a teacher.
    """
    code = plan.first.code
    names = uses(code) - {"torch", "losskit"}
    lacking = names - (PAIRS if plan.kind == "pairs" else GIVEN[plan.task])
    if lacking:
        raise ValueError(
            f"{plan.first.loss} takes {', '.join(sorted(lacking))}, which a script of one file does not have: "
            f"put the lines of the advice into a loop of your own, as docs/tutorials/first_loss.md has one"
        )
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith("import ")]
    whole = [line for line in lines if line.endswith(WHOLE)]
    constants = [line for line in lines if _literal(line)]
    return Code([line for line in lines if line not in whole and line not in constants], constants, whole, names)


def _literal(line: str) -> bool:
    """Whether a line only gives names to numbers: centre, spread = 12.0, 3.0"""
    (statement,) = ast.parse(line).body or (None,)
    if not isinstance(statement, ast.Assign):
        return False
    try:
        ast.literal_eval(statement.value)
    except ValueError:
        return False
    return True


def loss_of(plan: Plan, code: Code, unpacked: list[str] | None = None) -> str:
    """loss_of(model, batch): as the doctor takes it too; ``unpacked`` are the lines that make the names of the code."""
    head = [
        f"def loss_of({', '.join(['model', 'batch', *code.more])}):",
        '    """The loss of a batch, as losskit choose gave it."""',
    ]
    made = [*(unpacked or _unpacked(plan, code)), *_levels(plan), *code.body]
    return "\n".join([*head, *(f"    {line}" for line in made), "    return loss"])


def _unpacked(plan: Plan, code: Code) -> list[str]:
    """From model and batch to the names of the code."""
    if plan.task == "ranking":
        return ["input, relevance, ids = batch", "scores = model(input)[:, 0]"]
    if plan.task == "embedding":
        return ["input, labels = batch", "embedding = model(input)"]
    name = LOG_MEAN if LOG_MEAN in code.names else "prediction" if "prediction" in code.names else "logits"
    one = "[:, 0]" if plan.outputs == 1 and (plan.task != "multilabel") else ""
    double = ".double()" if code.constants else ""
    return ["input, target = batch", f"{name} = model(input){one}{double}"]


def _levels(plan: Plan) -> list[str]:
    """The numbers to expect, and what to know of the loss."""
    first = plan.first
    if plan.task == "language":  # the vocabulary of the script is its own
        return commented("expect the logarithm of the vocabulary at the start") + (
            commented(first.warning) if first.warning else []
        )
    known = {"at the start": first.start, "of the best answer without inputs, on all rows": first.constant, "at best": first.best}
    said = [f"{value:.4g} {where}" for where, value in known.items() if value is not None]
    lines = commented(f"expect {', '.join(said)}") if said else []
    return lines + (commented(first.warning) if first.warning else [])


def expected(plan: Plan, *, without: bool) -> str:
    """What is printed beside the loss at the start: what fresh weights cost, or the constant that they begin at."""
    if plan.task == "language":
        return ", expected ln {model.head.out_features} = {math.log(model.head.out_features):.4g}"
    if plan.first.start is not None and plan.task != "embedding":  # vectors that are projected know something already
        plain = plan.first.loss in ("cross_entropy", "binary_cross_entropy_with_logits") and not plan.first.options
        return (
            f", expected {'' if plain else 'about '}{plan.first.start:.4g}"  # shares of the rows held out are a little different
        )
    if without and plan.task in ("regression", "count"):
        return ", expected about {without:.4g}, as without inputs"
    return ""
