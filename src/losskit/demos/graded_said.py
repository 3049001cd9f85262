"""What the graded search says of its numbers: each sentence is chosen by what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from .graded_judged import BASE, RANKING, best, key_of, verdict
from .graded_models import LOSSES, UNITS

__all__ = ["answer", "limits", "loss_sentence", "share_sentence", "span", "verdict_sentences"]

Facts = Mapping[str, float]


def span(facts: Facts, name: str) -> str:
    """A change with its interval."""
    return f"{facts[name]:+.3f}, {facts[f'{name}_low']:+.3f} to {facts[f'{name}_high']:+.3f}"


def answer(facts: Facts) -> str:
    """Whose the gain is; then in numbers what BM25 finds, and what features, learning and loss add."""
    numbers = [_begin(facts), _features(facts), _learning(facts), loss_sentence(facts), share_sentence(facts)]
    return f"{verdict_sentences(facts)}\n\n{' '.join(numbers)}"


def verdict_sentences(facts: Facts) -> str:
    """Whose the gain over BM25 is in the linear model, and whether a ranking loss adds to the pointwise one in any model."""
    return f"{_whose(facts)} {_ranking(facts)}"


def _whose(facts: Facts) -> str:
    whole = verdict(facts, "gain_all_linear")
    if whole != "better":
        return {
            "worse": "BM25 ranks better than the linear model on more features, even with the best ranking loss.",
            "open": "No gain over BM25 could be told, with more features, learning and ranking losses together.",
        }[whole]
    named = {
        "gain_features": "the features",
        "gain_learning_linear": "the learning of their weights",
        "gain_loss_linear": "the loss",
    }
    parts = sorted(named, key=lambda part: -facts[part])
    told = [named[part] for part in parts if verdict(facts, part) == "better"]
    lost = " and ".join(named[part] for part in parts if verdict(facts, part) == "worse")
    cost = f"; some of it is lost again by {lost}" if lost else ""
    if not told:
        return f"There is a gain over BM25, but whether by the features, the learning or the loss could not be told{cost}."
    if named[parts[0]] not in told:
        return f"Of the gain over BM25 only {' and '.join(told)} can be told, though {named[parts[0]]} may be more{cost}."
    return f"The gain over BM25 is {', then '.join(told)}{cost}."


def _ranking(facts: Facts) -> str:
    found = {model: verdict(facts, f"gain_loss_{model}") for model in UNITS}
    better = " and the ".join(model for model, one in found.items() if one == "better")
    if better:
        return f"A ranking loss adds to {BASE} in the {better} model."
    if set(found.values()) == {"worse"}:
        return f"Ranking losses take away: even the best is worse than {BASE}."
    return f"No ranking loss adds anything to {BASE} that could be told."


def _begin(facts: Facts) -> str:
    return (
        f"BM25 puts the {facts['topics']:.0f} topics of Python's help in order for {facts['queries']:.0f} queries with an NDCG@10 of "
        f"{facts['ndcg_bm25']:.3f} ({facts['ndcg_bm25_low']:.3f} to {facts['ndcg_bm25_high']:.3f})."
    )


def _features(facts: Facts) -> str:
    added = {
        "better": "is better, without learning anything",
        "worse": "is worse",
        "open": "cannot be told from it",
    }[verdict(facts, "gain_features")]
    alone = f"{facts['alone_below_bm25']:.0f} of {facts['features']:.0f} features of the texts rank worse than that on their own"
    return f"{alone}; their plain mean {added}: {facts['ndcg_mean']:.3f} ({span(facts, 'gain_features')})."


def _learning(facts: Facts) -> str:
    key = f"ndcg_linear_{key_of(BASE)}"
    added = {
        "better": "adds to that",
        "worse": "takes away from that on topics it did not see",
        "open": "changes that by less than can be told",
    }[verdict(facts, "gain_learning_linear")]
    return f"Learning their weights with {BASE}, each topic on its own, {added}: {facts[key]:.3f} ({span(facts, 'gain_learning_linear')})."


def loss_sentence(facts: Facts) -> str:
    """The best ranking loss against the pointwise one, in each model."""
    said: list[str] = []
    for model in UNITS:
        name = best(facts, model)
        found = {"better": "better", "worse": "worse, and no other has a higher mean", "open": "not to be told from it"}
        said.append(
            f"{name} with {facts[f'ndcg_{model}_{key_of(name)}']:.3f} in the {model} model is "
            f"{found[verdict(facts, f'gain_loss_{model}')]} ({span(facts, f'gain_loss_{model}')})"
        )
    return f"On the same features the best of {len(RANKING)} ranking losses against {BASE}: {'; '.join(said)}."


def share_sentence(facts: Facts) -> str:
    """How much of the whole gain is the features and how much the loss."""
    whole, loss = facts["gain_all_linear"], facts["gain_loss_linear"]
    if verdict(facts, "gain_all_linear") != "better":
        return f"All together is no gain over BM25 that could be told ({span(facts, 'gain_all_linear')}), so there is none to share out."
    return (
        f"Of {whole:+.3f} over BM25 in the linear model, {facts['gain_features']:+.3f} is the features, "
        f"{facts['gain_learning_linear']:+.3f} learning their weights, and {loss:+.3f} the loss."
    )


def _against(facts: Facts) -> str:
    """How many of the other losses can be told from the pointwise one."""
    names = [(model, name) for model in UNITS for name in LOSSES if name != BASE]
    found = [verdict(facts, f"change_{model}_{key_of(name)}") for model, name in names]
    better, worse = found.count("better"), found.count("worse")
    if not better + worse:
        return f"None of {len(found)} other trainings can be told from {BASE} by its interval."
    chance = 0.05 * len(found)
    return (
        f"Of {len(found)} other trainings {better} {'is' if better == 1 else 'are'} better than {BASE} by their intervals and {worse} worse; "
        f"about {chance:.1f} would be by chance alone, if all were the same."
    )


def _trainings(facts: Facts) -> str:
    lower, every = facts["ended_lower"], facts["trainings"]
    begun = "Every model starts as the mean of the features. "
    if lower == 0:
        return f"{begun}No training ended below that start on the topics held out."
    little = ": what is learned here does not carry over to other topics" if lower > every / 2 else ""
    number = f"All {every:.0f}" if lower == every else f"{lower:.0f} of {every:.0f}"
    return f"{begun}{number} trainings ended below that start on the topics held out, with rates chosen on topics held out from the rest{little}."


def _first(facts: Facts) -> str:
    """What the place of the answer alone says, beside NDCG."""
    name = best(facts, "linear", tuple(LOSSES))
    key = f"linear_{key_of(name)}"
    ndcg, mrr = facts[f"ndcg_{key}"] - facts["ndcg_bm25"], facts[f"mrr_{key}"] - facts["mrr_bm25"]
    same = "the same way" if ndcg * mrr > 0 else "the other way"
    return (
        f"MRR, which looks at the answer alone, goes {same}: {facts['mrr_bm25']:.3f} with BM25, {facts['mrr_mean']:.3f} with the mean of the "
        f"features, {facts[f'mrr_{key}']:.3f} with {name}, the best linear model by NDCG@10."
    )


def _grades(facts: Facts) -> str:
    """Where the grades come from, and how much of them the texts show."""
    above = ", ".join(f"grade {grade} in {100 * facts[f'above_{grade}']:.0f} %" for grade in (3, 2, 1))
    weak = facts["above_1"] < 0.75
    return (
        "Nobody judged the topics: grade 3 is what help() shows for the query, 2 what it lists as related, 1 what it lists below those and the "
        f"chapter around the answer ({facts['of_grade_2']:.1f} and {facts['of_grade_1']:.1f} topics a query). By the mean of the features a topic "
        f"stands above one of grade 0: {above} (by chance 50 %)"
        f"{'. Why a topic has grade 1, the texts hardly show.' if weak else ': the texts show all three.'}"
    )


def limits(facts: Facts) -> list[str]:
    """What the numbers do not show."""
    base = f"ndcg_linear_{key_of(BASE)}"
    half = max(
        facts[f"change_{model}_{key_of(name)}_high"] - facts[f"change_{model}_{key_of(name)}"]
        for model in UNITS
        for name in LOSSES
        if name != BASE
    )
    return [
        f"One small corpus: intervals count {facts['targets']:.0f} topics that answer a query; that of {BASE} is {facts[f'{base}_low']:.3f} to "
        f"{facts[f'{base}_high']:.3f}. A change between losses may have to be {half:.3f} to be seen.",
        _grades(facts),
        "The answers' names in Python's tables are no feature, but titles are: a search engine has them, and for "
        f"{100 * facts['in_title']:.0f} % of the queries the answer's title has all their words. Headings and the lines that define a name are taken out "
        "of the texts, because queries are made of them. The length of a text is a feature, and can stand for what help likes to list.",
        _first(facts),
        f"The best ranking loss was picked on the queries it is shown on; its intervals are widened for the {len(RANKING)} there were. {_against(facts)}",
        _trainings(facts),
        f"Starts of one training are up to {facts['starts_apart']:.3f} apart; figures are means over them. Rates were chosen from a few for each "
        "loss and fold; margins, temperatures and ties are the losses' defaults.",
    ]
