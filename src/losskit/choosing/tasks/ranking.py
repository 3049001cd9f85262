"""Items of a list in order: search results, recommendations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..advice import Advice, Answer, Candidate, Fact, Question
from ..candidates import candidate
from ..profile_lists import Lists, lists_of
from ..seen import Choice, Seen, again
from ..wants import Want

__all__ = ["advise"]

SHAPES = "scores, relevance and ids (T,): the items of all lists, sorted by ids, integers: the list of each item"
SIZES = "sizes = torch.unique_consecutive(ids, return_counts=True)[1]"
OFFSETS = "offsets = losskit.offsets_from_lengths(sizes)  # (B + 1,): where each list begins"
SHOWN = ("position", "pos", "rank", "rank_shown", "shown_position", "display_position", "slot")
LONG = 1000
CUT = 10
DIFFERENCES = ("pairwise_logistic_loss", "pairwise_mse_loss", "listmle_loss")


def advise(seen: Seen) -> Advice:
    """Pairs where there are clicks, a softmax over the list where there are grades."""
    if seen.target is None:
        choice = Choice(_pairs("", {}), [_softmax("", {}), _lambda("Where NDCG is what is reported.")], [])
        return seen.advice(*_wanted(seen.want, choice))
    if seen.target.groups is None:
        missing = Question(
            "Which rows belong to one list?",
            _groups(seen),
        )
        return seen.advice(None, [], [], questions=[missing])
    if seen.target.values.ndim != 1:
        return seen.refused("Several numbers a row: a ranking needs one relevance for each item.")
    lists = lists_of(seen.target.values, seen.target.groups)
    facts, warnings = _facts(lists), [*_shown(seen), *_warnings(lists)]
    if not lists.informative:
        why = "have one item" if lists.longest == 1 else "have only items of one grade"
        return seen.refused(f"All {lists.lists:,} lists {why}: there is no order to learn.", facts)
    if seen.want is not None and seen.want.word in ("ndcg", "first") and not (lists.binary or lists.graded):
        raise ValueError(
            f'"want" is "{seen.want}", and the target has no grades but more than 20 values: want order or differences, or '
            "make grades of them"
        )
    advice = _chosen(seen, lists, facts, warnings)
    # for the first relevant one the lowest grade is that of what is not relevant
    shifted = lists.negative or (seen.want is not None and seen.want.word == "first" and lists.grades[0] > 0)
    return _named(_from_zero(advice) if shifted else advice, seen)


def _groups(seen: Seen) -> tuple[Answer, ...]:
    """Columns whose values come again may be that of the list."""
    inputs = () if seen.columns is None else seen.columns.inputs
    again = [one.name for one in inputs if one.kind in ("number", "text") and 1 < len(one.known.unique()) <= len(one) / 2]
    return (
        *(Answer(f'those of one "{name}"', "a ranking within each list", {"group": name}) for name in again[:3]),
        Answer("those of another column", "name it as the group"),
        Answer("all rows are one list", "add a column that is the same everywhere, and name it as the group"),
    )


def _wanted(want: Want | None, choice: Choice) -> Choice:
    """What the want makes of the choice."""
    if want is None:
        return choice
    former = choice.first
    first = {
        "order": lambda: _pairs("The order is wanted: every pair of a list counts.", {}),
        "differences": lambda: _one("pairwise_mse_loss", "The differences are wanted, not only the order.", {}),
        "ndcg": lambda: _lambda("NDCG is wanted: pairs weighed by what they move it."),
        "first": lambda: _one("approx_mrr_loss", "The first relevant item is wanted as far up as can be.", {}),
    }[want.word]()
    same = (first.loss, first.options) == (former.loss, former.options)
    fits = {"order": ("listmle_loss", "listnet_loss"), "ndcg": ("listnet_loss",), "first": ("listnet_loss",)}.get(want.word, ())
    others = [one for one in choice.alternatives if one.loss in fits]
    why = {"differences": "Where only the order counts.", "order": "Where the top counts more than the rest."}
    if not same:
        others.insert(0, again(former, why.get(want.word, "The same lists without that weight on the top.")))
    size = (
        "A pair that is further apart than its values is pulled together again: that is of their size, and the order is wanted."
    )
    wrong = [replace(one, reason=size) for one in choice.alternatives if one.loss == "pairwise_mse_loss"]
    return choice._replace(first=first, alternatives=others, avoid=[*choice.avoid, *(wrong if want.word == "order" else [])])


def _named(advice: Advice, seen: Seen) -> Advice:
    """The column of the ids by its name."""
    name = seen.columns.group.name if seen.columns is not None and seen.columns.group is not None else ""

    def told(one: Candidate) -> Candidate:
        return replace(one, code=one.code.replace("the list of each item", f"column {name!r}", 1))

    assert advice.first is not None
    others, avoid = tuple(map(told, advice.alternatives)), tuple(map(told, advice.avoid))
    return replace(advice, first=told(advice.first), alternatives=others, avoid=avoid)


def _shown(seen: Seen) -> list[str]:
    """Inputs that say where an item stood when it was judged."""
    assert seen.columns is not None
    names = [column.name for column in seen.columns.inputs if column.name.lower() in SHOWN]
    return [
        f'Input "{name}" seems to be where the item was shown: in click logs that is bias, and in use it is not known yet. '
        "Leave it out of the inputs."
        for name in names
    ]


def _from_zero(advice: Advice) -> Advice:
    """Gains and reciprocal ranks are of relevance from 0 on; a loss of differences takes any number."""
    line = "relevance = relevance - relevance.min()  # from 0: a gain of less is none\n"

    def told(one: Candidate) -> Candidate:
        if one.loss in DIFFERENCES and not one.options:
            return one
        return replace(one, code=one.code.replace("loss = ", f"{line}loss = ", 1))

    assert advice.first is not None
    return replace(advice, first=told(advice.first), alternatives=tuple(map(told, advice.alternatives)))


def _chosen(seen: Seen, lists: Lists, facts: list[Fact], warnings: list[str]) -> Advice:
    same = {"list_size": lists.longest} if lists.shortest == lists.longest else None
    grades = ", ".join(f"{g:g}" for g in lists.grades[:6])
    if lists.binary:
        first = _pairs(f"Two grades, {grades}: what was taken shall score above what was not.", {})
        others = [_softmax("The list as a whole.", same)] if not lists.negative else []
        if lists.relevant <= 1:
            others.append(_first_hit(f"{lists.relevant:g} relevant item a list."))
        others.append(_lambda("Where NDCG is what is reported."))
    elif lists.graded and not lists.negative:
        reason = (
            f"{len(lists.grades)} grades ({grades}) in lists of {lists.median:g} items, {lists.relevant:g} of them above the "
            "lowest grade: the top counts."
        )
        first = _softmax(reason, same)
        others = [_lambda(f"{len(lists.grades)} grades, pairs weighed by what they move NDCG."), _pairs("", {})]
    else:
        first = _pairs("The order of the values is learned, not their size.", {})
        others = [_whole("listmle_loss"), _whole("pairwise_mse_loss")]
    questions = [_judged(lists)] if seen.want is None else []
    return seen.advice(*_wanted(seen.want, Choice(first, others, [])), facts, warnings, questions)


def _judged(lists: Lists) -> Question:
    """What is wanted, as far as the values have it: a top and a first one need grades, a difference more than two values."""
    order = Answer("the order of every pair", "pairwise_logistic_loss", {"want": "order"}, taken=True)
    differences = Answer("how far apart items are, too", "pairwise_mse_loss", {"want": "differences"})
    if not (lists.binary or lists.graded):
        return Question("Do the differences of the values mean something, or only their order?", (order, differences))
    answers = [
        order,
        Answer("the top of the list (NDCG)", "pairwise_logistic_loss, weighed by what a pair moves NDCG", {"want": "ndcg"}),
        Answer("the first relevant item (MRR)", "approx_mrr_loss", {"want": "first"}),
    ]
    if lists.graded and not lists.negative:
        answers = [Answer("the list as a whole", "listnet_loss", taken=True), replace(order, taken=False), *answers[1:]]
    answers += [differences] if lists.graded else []
    return Question("What is judged in the end: the order, the top of the list, or its first relevant item?", tuple(answers))


def _facts(lists: Lists) -> list[Fact]:
    sizes = f"{lists.longest} items" if lists.shortest == lists.longest else f"{lists.shortest} to {lists.longest} items"
    sizes += f", median {lists.median:g}" if lists.shortest < lists.longest else ""
    some = ", ".join(f"{g:g}" for g in lists.grades[:6]) + (", ..." if len(lists.grades) > 6 else "")
    number = len(lists.grades) if len(lists.grades) < 21 else "more than 20"
    return [
        Fact("lists", lists.lists, f"{lists.lists:,} lists of {sizes}"),
        Fact("grades", len(lists.grades), f"{number} grades: {some}"),
        Fact(
            "informative lists",
            lists.informative / lists.lists,
            f"{lists.informative:,} of {lists.lists:,} lists have items of different grades",
        ),
    ]


def _warnings(lists: Lists) -> list[str]:
    found: list[str] = []
    silent = lists.lists - lists.informative
    if silent > 0.1 * lists.lists and lists.informative:
        found.append(
            f"{silent:,} of {lists.lists:,} lists have items of one grade only: they teach nothing and count in no metric."
        )
    if lists.informative < 50:
        found.append(
            f"Only {lists.informative} list{'s' * (lists.informative != 1)} with an order: below about 50 every number is noisy."
        )
    if lists.longest > LONG:
        found.append(f"The longest list has {lists.longest:,} items: a lambda weight goes by pairs there.")
    return found


def _one(loss: str, reason: str, facts: dict[str, Any] | None, **more: Any) -> Candidate:
    arguments = ["scores", "relevance", "offsets=offsets"]
    return candidate(loss, reason, shapes=SHAPES, arguments=arguments, before=[SIZES, OFFSETS], facts=facts, **more)


def _pairs(reason: str, facts: dict[str, Any]) -> Candidate:
    return _one("pairwise_logistic_loss", reason, facts)


def _softmax(reason: str, facts: dict[str, Any] | None) -> Candidate:
    return _one("listnet_loss", reason, facts)


def _lambda(reason: str) -> Candidate:
    weight = f"losskit.DeltaNDCG(k={CUT})"
    made = _one("pairwise_logistic_loss", reason, None, options={"lambda_weight": weight}, names=["lambda_weight"], card="none")
    return replace(made, warning="The value is no longer comparable with that of other weights: watch NDCG.")


def _first_hit(reason: str) -> Candidate:
    return _one("approx_mrr_loss", reason, None)


def _whole(loss: str) -> Candidate:
    return _one(loss, "", None)
