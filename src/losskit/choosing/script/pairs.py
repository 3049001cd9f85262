"""The script of pairs or triplets of vectors: a small projection that brings near what belongs together."""

from __future__ import annotations

from . import reading, training
from .figures import judging
from .loss import Code, code_of, loss_of
from .names import assigned, commented, literal
from .plan import Plan
from .rows import header, usage

__all__ = ["script"]

_BUILD = '''def build(widths):
    """A projection of each part to {outputs} numbers, the same one for parts of one width; put your encoder in its place."""
    towers = {{width: nn.Linear(width, {outputs}) for width in widths}}
    return nn.ModuleList(towers[width] for width in widths)'''
_TARGET = '''def target_of(table):
    """How the parts of a row belong together; NaN where it is not known."""
    return torch.tensor([number(c, TARGET, i) for i, c in enumerate(table[TARGET], 1)])'''
_FORWARD = '''def project(model, parts):
    """Each part by its own projection."""
    return [tower(part) for tower, part in zip(model, parts, strict=True)]'''
_ANSWER = '''@torch.no_grad()
def answer(model, parts):
    """Vectors of length one for each part: compare them by their products."""
    return [nn.functional.normalize(part, dim=-1) for part in project(model, parts)]'''
_START = '''def start():
    """Read, split, and what training begins with."""
    torch.manual_seed(SEED)
    table = read()
    parts = [vectors(table[name]).float() for name in PARTS]
    {target}
    known = torch.stack([part.isfinite().all(1) for part in parts]).all(0){known}
    rows = known.nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows))]
    held, train = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    model = build([part.shape[1] for part in parts])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def batch(rows):
        return [part[rows] for part in parts]{more}

    def batches():
        return (batch(rows) for rows in train[torch.randperm(len(train))].split(BATCH))

    made = {{"model": model, "batch": next(iter(batches())), "step": loss_of, "optimizer": optimizer}}
    return made, batches, batch(held), [part.shape[1] for part in parts]'''
_MAIN = f'''def main():
    """Train, judge, save."""
    made, batches, held, widths = start()
    model, optimizer = made["model"], made["optimizer"]
    {training.CHECK}
    fit(model, optimizer, batches, held)
    judge(model, held)
    torch.save({{"model": model.state_dict(), "widths": widths}}, SAVED)'''
_PREDICT = '''def predict(table, file=SAVED):
    """The vectors of each part for the rows of a table, such as read("another file") gives."""
    saved = torch.load(file)
    model = build(saved["widths"])
    model.load_state_dict(saved["model"])
    return answer(model.eval(), [vectors(table[name]).float() for name in PARTS])'''
_FOUND = [
    "query, key = answer(model, held)",
    "ids = torch.unique(held[1], dim=0, return_inverse=True)[1]  # keys that are the same are right for the same queries",
    "found = losskit.evaluate.retrieval(query, key, losskit.evaluate.Relevance.labels(ids, ids), k=(1,))",
    "chance = ids.bincount()[ids].float().mean() / len(ids)",
]
_TRIPLES = [
    "anchor, positive, negative = answer(model, held)",
    "nearer = (anchor * positive).sum(1) > (anchor * negative).sum(1)",
]
_SCORED = ["*parts, target = held", "query, key = answer(model, parts)", "cosine = (query * key).sum(1)"]


def script(plan: Plan, name: str) -> str:
    """All pieces in the order in which they are read."""
    code = code_of(plan)
    scored = "target" in code.names
    pieces = [
        reading.reader(plan),
        *reading.cells(plan, words=scored, numbers=scored, vectors=True),
        *([_TARGET] if scored else []),
        _BUILD.format(outputs=plan.outputs),
        _FORWARD,
        _loss(plan, code),
        _ANSWER,
        _judge(plan, code),
        training.fit(plan, code, without=False),
        _start(code),
        training.MAKE,
        _MAIN,
        _PREDICT,
    ]
    settings = [f"PARTS = [{', '.join(map(literal, plan.roles.values()))}]  # {', '.join(plan.roles)}"]
    settings += [assigned("TARGET", plan.targets[0].name), reading.missing()] if scored else []
    settings += ["SEED, EPOCHS, PATIENCE, RATE = 0, 100, 10, 3e-3", "BATCH = 128"]
    return header(plan, name, ["copy", "math"], settings) + "\n\n\n".join(pieces) + "\n\n\n" + usage(name)


def _loss(plan: Plan, code: Code) -> str:
    parts, scored = ", ".join(plan.roles), "target" in code.names
    lines = ["*parts, target = batch"] if scored else []
    lines += [f"{parts} = project(model, {'parts' if scored else 'batch'})"]
    if "key_ids" in code.names:
        lines.append("key_ids = torch.unique(batch[1], dim=0, return_inverse=True)[1]")
    return loss_of(plan, code, lines)


def _judge(plan: Plan, code: Code) -> str:
    if "anchor" in plan.roles:
        lines, figures = _TRIPLES, ['("triplets in order", nearer.float().mean(), 0.5)']
    elif "target" not in code.names:
        lines = _FOUND
        figures = ['("recall@1", found["hit_rate@1"], chance)']
    elif len(plan.targets[0].known.unique()) > 2:
        lines, figures = _SCORED, ['("Kendall tau", losskit.evaluate.kendall_tau(cosine, target), 0.0)']
    else:
        lines, figures = _SCORED, ['("AUC", losskit.evaluate.auc(cosine, (target > 0).float()), 0.5)']
    return judging("model, held", "an answer", lines, figures)


def _start(code: Code) -> str:
    scored = "target" in code.names
    given = {
        "target": "target = target_of(table)" if scored else commented("a fifth of the rows is held out")[0],
        "known": " & target.isfinite()" if scored else "",
        "more": " + [target[rows]]" if scored else "",
    }
    return _START.format(**given)
