"""The pieces of a script that split, train and save."""

from __future__ import annotations

import re

from . import target
from .flat import flat, shift
from .loss import LOG_MEAN, Code, expected
from .plan import Plan

__all__ = ["CHECK", "MAKE", "build", "fit", "main", "of_all", "predict", "split"]

_BUILD = '''def build(width):
    """The model: change it as you like."""
    hidden = min(256, max(16, 2 * width))
    layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, {outputs})]
{last}'''
_SMALL = (
    "    nn.init.normal_(layers[-1].weight, std=0.01)  # begin by knowing nothing, so that the first loss is the expected one\n"
    "    nn.init.zeros_(layers[-1].bias)\n"
)
_PLAIN = "    return nn.Sequential(*layers)"
_UNITS = "    return nn.Sequential(*layers, Units({outputs}))"
_UNITS_CLASS = '''class Units(nn.Module):
    """From numbers around 0 and of size 1 to those of the target."""

    def __init__(self, width):
        super().__init__()
        self.register_buffer("middle", torch.zeros(width))
        self.register_buffer("size", torch.ones(width))

    def forward(self, input):
        return self.middle + self.size * input'''
_SPLIT = '''def split(target):
    """Rows to train on, and a fifth held out; rows whose target is not known are left out."""
    known = target.reshape(len(target), -1).isfinite().all(1).nonzero()[:, 0]
    known = known[torch.randperm(len(known))]{strata}
    held = torch.arange(len(known)) % 5 == 4
    return known[~held], known[held]'''
_STRATA = "\n    known = known[target[known].argsort(stable=True)]  # class by class: both parts have their share of each"
_SPLIT_GROUPS = '''def split(target, ids):
    """Rows to train on, and a fifth of the groups held out; rows whose target is not known are left out."""
    known = target.reshape(len(target), -1).isfinite().all(1).nonzero()[:, 0]
    known = known[ids[known].argsort(stable=True)]
    groups = ids[known].unique()
    held = torch.isin(ids[known], groups[torch.randperm(len(groups))[: max(1, len(groups) // 5)]])
    return known[~held], known[held]'''
_FIT = '''def fit(model, optimizer, {given}batches, held{without}):
    """Train until the validation loss has not fallen for PATIENCE epochs, and keep the best weights."""
    with torch.no_grad():
        lowest, since = {loss}(model.eval(), held).item(), 0
    best = copy.deepcopy(model.state_dict())
    print(f"validation loss at the start {{lowest:.4g}}{expected}")
    with losskit.doctor.Monitor(model, optimizer, step={loss}) as monitor:  # prints what is wrong, if anything is
        for epoch in range(1, EPOCHS + 1):
            losses = []
            model.train()
            for batch in batches():
                optimizer.zero_grad()
                loss = {loss}(model, batch)
                loss.backward()
                monitor.step(loss, batch=batch)
                optimizer.step()
                losses.append(loss.item())
            with torch.no_grad():
                value = {loss}(model.eval(), held).item()
            print(f"epoch {{epoch}} loss {{sum(losses) / len(losses):.4g}} val_loss {{value:.4g}}")
            since += 1
            if value < lowest:
                lowest, since, best = value, 0, copy.deepcopy(model.state_dict())
            if since == PATIENCE:
                break
    model.load_state_dict(best)
    print(f"validation loss at best {{lowest:.4g}}{constant}, in epoch {{epoch - since}} of {{epoch}}"){nothing}'''
_NOTHING = """
    if not lowest < without:
        print(f"nothing was learned from the inputs: try another RATE, and see losskit check {Path(__file__).name}:make")"""
MAKE = '''def make():
    """What `losskit check`, with this file and :make, looks at: the model and a batch, with its loss."""
    return start()[0]'''
CHECK = """report = losskit.doctor.check(**made, budget_s=5)
    if any(finding.severity != "info" for finding in report.findings):
        print(report)"""


def build(plan: Plan, code: Code) -> list[str]:
    """build(), and what stands behind its last layer."""
    if plan.task in ("regression", "count") and not code.constants:
        return [_UNITS_CLASS, _BUILD.format(outputs=plan.outputs, last=_SMALL + _UNITS.format(outputs=plan.outputs))]
    return [_BUILD.format(outputs=plan.outputs, last=_PLAIN if plan.task == "embedding" else _SMALL + _PLAIN)]


def split(plan: Plan) -> str:
    """split(): by groups where there are some, else each class in its share."""
    if plan.group is not None:
        return _SPLIT_GROUPS
    classes = plan.task in ("binary", "multiclass", "embedding") and not plan.soft
    return _SPLIT.format(strata=_STRATA if classes else "")


def fit(plan: Plan, code: Code, *, without: bool) -> str:
    """fit(); ``without`` is whether it is told the loss without inputs."""
    return _FIT.format(
        expected=expected(plan, without=without),
        constant=" (without inputs {without:.4g})" if without else "",
        without=", without" if without else "",
        nothing=_NOTHING if without else "",
        loss="loss_fn" if code.whole else "loss_of",
        given="loss_fn, " if code.whole else "",
    )


def main(plan: Plan, code: Code) -> list[str]:
    """start(), make() and main()."""
    known = flat(plan, code) is not None
    moved = ', saved["shift"]' if shift(plan, code) else ""
    given = "loss_fn, " if code.whole else ""
    lines = [
        f"made, batches, train, held, saved{', without' if known else ''} = start()",
        'model, optimizer = made["model"], made["optimizer"]',
        *(['loss_fn = made["step"]'] if code.whole else []),
        CHECK.replace("\n    ", "\n"),
        f"fit(model, optimizer, {given}batches, held{', without' if known else ''})",
        f"judge(model, train, held{moved})",
        'torch.save({"model": model.state_dict(), **saved}, SAVED)',
    ]
    return [_start(plan, code), MAKE, function("main()", "Train, judge, save.", lines)]


def function(head: str, says: str, lines: list[str]) -> str:
    """A function of its lines."""
    body = "\n".join(f"    {line}" if line else "" for line in "\n".join(lines).split("\n"))
    return f'def {head}:\n    """{says}"""\n{body}'


def _start(plan: Plan, code: Code) -> str:
    """start(): from the file to a model, its batches, and what comes without inputs."""
    grouped, ranking = plan.group is not None, plan.task == "ranking"
    kind = ".long()" if plan.task in ("multiclass", "embedding") and not plan.soft else ""
    loss = "loss_fn" if code.whole else "loss_of"
    lines = ["torch.manual_seed(SEED)", "table = read()", *target.target(plan)]
    if ranking:
        lines.append("target = target - target.nan_to_num(0).min().clamp(max=0)  # gains begin at 0")
    if grouped:
        lines += ["number_of = {}", "ids = torch.tensor([number_of.setdefault(word(c), len(number_of)) for c in table[GROUP]])"]
    lines.append("train, held = split(target, ids)" if grouped else "train, held = split(target)")
    lines += ["known = prepare(table, train)", "input = inputs_of(table, known)", "model = build(input.shape[1])"]
    if code.whole:
        lines.append(f"loss_fn = partial(loss_of, **of_all(target[torch.cat([train, held])]{kind}))")
    lines += ["optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)", "", "def batch(rows):"]
    lines += [f"    return input[rows], target[rows]{kind}" + (", ids[rows]" if ranking else ""), "", "def batches():"]
    lines += _batches(ranking=ranking)
    known, moved = flat(plan, code), shift(plan, code)
    if re.search(r"\by\.", f"{known} {moved}"):
        lines.append(f"y = target[train]{kind}")
    if known:
        made = f"{loss}(lambda input: flat.expand(len(input), -1), batch(%s)).item()"
        without = made % "held"
        if "cost(" in known:
            lines += ["", "def cost(flat, rows):", f"    return {made % 'rows'}", ""]
            without = "cost(flat, held)"
        lines += [f"flat = {known}  # the best answer without inputs"]
        lines += [f"without = {without}"]
    lines += _units(plan, code, known=known is not None)
    lines += [f'made = {{"model": model, "batch": next(iter(batches())), "step": {loss}, "optimizer": optimizer}}']
    saved = '{"known": known, "width": input.shape[1]' + (f', "shift": {moved}}}' if moved else "}")
    lines += [f"saved = {saved}"]
    lines += ["return made, batches, batch(train), batch(held), saved" + (", without" if known else "")]
    return function("start()", "Read, split, and what training begins with.", lines)


def _batches(*, ranking: bool) -> list[str]:
    if not ranking:
        return ["    return (batch(rows) for rows in train[torch.randperm(len(train))].split(BATCH))", ""]
    return [
        "    lists = ids[train].unique()",
        "    parts = lists[torch.randperm(len(lists))].split(LISTS)",
        "    return (batch(train[torch.isin(ids[train], part)]) for part in parts)",
        "",
    ]


def of_all(code: Code) -> str:
    """of_all(): what the loss needs to know of all targets, so that no class is lacking in it."""
    made = ", ".join(f'"{name}": {name}' for name in code.more)
    body = "\n".join(f"    {line}" for line in code.whole)
    return f'def of_all(target):\n    """What the loss knows of all targets."""\n{body}\n    return {{{made}}}'


def _units(plan: Plan, code: Code, *, known: bool) -> list[str]:
    """Where the model begins, so that its first steps are not lost on the scale of the target."""
    if plan.task not in ("regression", "count") or code.constants:
        return []
    if LOG_MEAN in code.names:
        return ["model[-1].middle.copy_(flat)"]
    # a constant target column has no size
    return [
        f"model[-1].middle.copy_({'flat' if known else 'target[train].median(0).values'})",
        "model[-1].size.copy_(target[train].std(0).clamp(min=1e-9))",
    ]


_PREDICT = '''@torch.no_grad()
def predict(table, file=SAVED):
    """{what}"""
    saved = torch.load(file)
    model = build(saved["width"]).eval()
    model.load_state_dict(saved["model"])
    return {made}'''


def predict(what: str, made: str) -> str:
    """predict(), which gives what was ``made`` of the model."""
    return _PREDICT.format(what=what, made=made.replace("model(input)", 'model(inputs_of(table, saved["known"]))'))
