"""The graded search in tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from . import Cell, Chart, Column, Figure, Mark, Series, Table
from .graded_judged import BASE, Found, best, key_of, verdict
from .graded_models import FAMILIES, LOSSES, UNITS, Trained

__all__ = ["examples", "figures", "tables"]

Facts = Mapping[str, float]
EXAMPLES, FIRST, NAME = 3, 3, 28  # queries shown, topics of each, and characters: two titles and their grades fit 80
WIDTH = 0.35  # of a box, in places of the axis


def tables(found: Found, facts: Facts) -> list[Table]:
    """Every loss under both models, where the gain comes from, and which queries are hard."""
    return [*(_losses(facts, model) for model in UNITS), _parts(facts), _kinds(facts)]


def _row(facts: Facts, name: str, kind: str, key: str, change: str = "") -> list[Cell]:
    value, high = facts[f"ndcg_{key}"], facts[f"ndcg_{key}_high"]
    moved: list[Cell] = [facts[change], facts[f"{change}_high"] - facts[change]] if change else ["", ""]
    return [name, kind, value, high - value, facts[f"mrr_{key}"], *moved]


def _losses(facts: Facts, model: str) -> Table:
    columns = [
        Column("ranking by"),
        Column("kind"),
        Column("NDCG@10", ".3f"),
        Column("±", ".3f"),
        Column("MRR", ".3f"),
        Column("change", "+.3f"),
        Column("± ", ".3f"),
    ]
    rows = [_row(facts, "BM25", "", "bm25"), _row(facts, "mean of the features", "", "mean")]
    for kind, names in FAMILIES.items():
        for name in names:
            key = f"{model}_{key_of(name)}"
            rows.append(_row(facts, name, kind, key, "" if name == BASE else f"change_{key}"))
    note = (
        f"Queries whose topic no training saw. Change: of NDCG@10 against {BASE}, query by query. ±: half of the 95 % interval over "
        "topics. MRR: mean of 1 / rank of the topic that help() shows."
    )
    return Table(f"On the same features, {model} model", columns, rows, note)


def _parts(facts: Facts) -> Table:
    columns = [
        Column("from"),
        Column("to"),
        Column("NDCG@10", "+.3f"),
        Column("low", "+.3f"),
        Column("high", "+.3f"),
        Column("verdict"),
    ]
    steps = [("BM25", "mean of the features", "gain_features")]
    for model in UNITS:
        steps.append(("mean of the features", f"{BASE}, {model}", f"gain_learning_{model}"))
        steps.append((f"{BASE}, {model}", f"{best(facts, model)}, {model}", f"gain_loss_{model}"))
    rows: list[list[Cell]] = [
        [old, new, facts[name], facts[f"{name}_low"], facts[f"{name}_high"], verdict(facts, name)] for old, new, name in steps
    ]
    note = "Low and high: 95 % interval over topics, wider for what was picked as the best of several. Open: it holds 0."
    return Table("Features, learning, loss", columns, rows, note)


def _kinds(facts: Facts) -> Table:
    top = best(facts, "linear")
    columns = [
        Column("query"),
        Column("queries", ".0f"),
        *(Column(name, ".3f") for name in ("BM25", "mean of features", BASE, top)),
    ]
    kinds = [name.removeprefix("queries_") for name in facts if name.startswith("queries_")]
    rows: list[list[Cell]] = [
        [
            kind.replace("_", " "),
            facts[f"queries_{kind}"],
            *(facts[f"ndcg_{of}_{kind}"] for of in ("bm25", "mean", "base", "best")),
        ]
        for kind in kinds
    ]
    return Table("By kind of query", columns, rows, "NDCG@10, linear model.")


def examples(found: Found, facts: Facts) -> list[Table]:
    """What comes first: evenly spaced queries of a word or more, so that none is chosen."""
    search = found.search
    model = max(UNITS, key=lambda model: max(facts[f"ndcg_{model}_{key_of(name)}"] for name in LOSSES))
    name = best(facts, model, tuple(LOSSES))
    rankings = {"BM25": next(iter(found.features.values())), f"{name}, {model}": found.trained[model][name].scores[0]}
    some = [i for i, one in enumerate(search.queries) if one.text[0].isalpha()]
    made: list[Table] = []
    for n in range(EXAMPLES):
        i = some[(2 * n + 1) * len(some) // (2 * EXAMPLES)]
        query = search.queries[i]
        columns = [column for label in rankings for column in (Column(label), Column("grade", ".0f"))]
        first = [_first(scores[i], search.grades[i]) for scores in rankings.values()]
        rows: list[list[Cell]] = []
        rows += [
            [cell for place, grade in places for cell in (_short(search.topics[place].title), grade)]
            for places in zip(*first, strict=True)
        ]
        note = f"A {query.kind}. The answer: {search.topics[query.target].title}."
        made.append(Table(f'"{query.text}"', columns, rows, note))
    return made


def _first(scores: Tensor, grades: Tensor) -> list[tuple[int, float]]:
    return [(place, float(grades[place])) for place in scores.topk(FIRST).indices.tolist()]


def _short(title: str) -> str:
    return title if len(title) <= NAME else f"{title[: NAME - 3]}..."


def figures(found: Found, facts: Facts) -> list[Figure]:
    """NDCG by loss with its interval, what it is against the pointwise loss, and while the models learn."""
    zero = [Mark("y", 0.0, BASE)]
    levels = [_named(model, "NDCG@10", _boxes(facts, "ndcg", model, ("bm25", "mean"))) for model in UNITS]
    moved = [_named(f"change, {m}", f"change against {BASE}", _boxes(facts, "change", m), zero) for m in UNITS]
    curves = [
        Chart(
            model,
            "share of the steps",
            "NDCG@10 held out",
            [_curve(*one) for one in ran.items()],
            [Mark("y", facts["ndcg_bm25"], "BM25")],
        )
        for model, ran in found.trained.items()
    ]
    wide, narrow = (
        _half(facts, [f"{figure}_linear_{key_of(name)}" for name in LOSSES if name != BASE]) for figure in ("ndcg", "change")
    )
    cancels = "what is hard for everybody cancels in it" if narrow < wide else "little is hard for all alike"
    reading = (
        f"A box is the 95 % interval over topics, the line in it the mean. In the linear model a box of NDCG@10 reaches {wide:.3f} to each side, "
        f"one of the change {narrow:.3f}: {cancels}. A change whose box holds 0 cannot be told from {BASE}."
    )
    learned = "All begin as the mean of the features. Held out: queries of topics that this model does not learn from; means over folds and starts."
    return [Figure("NDCG@10 by loss", reading, [*levels, *moved]), Figure("While the models learn", learned, curves)]


def _named(name: str, y: str, boxes: Sequence[Series], marks: Sequence[Mark] = ()) -> Chart:
    return Chart(name, "ranking by", y, boxes, marks, names=[one.label for one in boxes])


def _boxes(facts: Facts, figure: str, model: str, others: Sequence[str] = ()) -> list[Series]:
    labels = {"bm25": "BM25", "mean": "mean of the features"}
    named = [(labels[other], f"{figure}_{other}") for other in others]
    named += [(name, f"{figure}_{model}_{key_of(name)}") for name in LOSSES if figure == "ndcg" or name != BASE]
    series: list[Series] = []
    for place, (label, key) in enumerate(named, 1):
        value, low, high = ((facts[f"{key}{end}"],) * 3 for end in ("", "_low", "_high"))
        series.append(Series(label, (place - WIDTH, place, place + WIDTH), value, low, high))
    return series


def _curve(name: str, one: Trained) -> Series:
    return Series(name, [i / (len(one.seen) - 1) for i in range(len(one.seen))], one.seen)


def _half(facts: Facts, names: Sequence[str]) -> float:
    """Half of an interval, in the mean over these."""
    return sum(facts[f"{name}_high"] - facts[name] for name in names) / len(names)
