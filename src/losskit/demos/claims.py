"""The claims of a page about losses, each with the figure that was measured here: the end of the story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import Cell, Column, Ran, Table, facts
from .chapter import verdict

__all__ = ["CLAIMS", "Claim", "claims"]

Facts = Mapping[str, float]
HOLDS, TIES, NOT = "yes", "a tie", "no"


@dataclass(frozen=True)
class Claim:
    """A sentence, the demo that measures it, its figure in words, and whether it holds, as a function of the demo's facts."""

    says: str
    demo: str
    figure: Callable[[Facts], str]
    holds: Callable[[Facts], str]


def _yes(found: bool) -> str:
    return HOLDS if found else NOT


def _told(key: str, digits: str) -> Callable[[Facts], str]:
    """By the verdict on a contrast."""
    return lambda f: {"better": HOLDS, "tie": TIES, "worse": NOT}[verdict(f, key, digits)]


def _gain(key: str, digits: str, unit: str = "") -> Callable[[Facts], str]:
    return lambda f: (
        f"{f[f'{key}_right']:{digits}} against {f[f'{key}_wrong']:{digits}}{unit}, "
        f"{f[f'{key}_gain']:+{digits}} ± {f[f'{key}_spread']:{digits}}"
    )


def _steps(f: Facts) -> str:
    if "steps_ce_sgd_b10" not in f or "steps_mse_sgd_b10" not in f:
        return "90 % is not reached in these steps"
    return f"{f['steps_ce_sgd_b10']:.0f} steps against {f['steps_mse_sgd_b10']:.0f}"


def _sooner(f: Facts) -> str:
    return _yes(f.get("steps_ce_sgd_b10", 1e9) < f.get("steps_mse_sgd_b10", 1e9))


CLAIMS: Sequence[Claim] = (
    Claim(
        "Binary: cross-entropy, not squared error",
        "rare-class",
        _gain("story_loss", ".2f", " average precision"),
        _told("story_loss", ".2f"),
    ),
    Claim(
        "A rare class: weights help",
        "rare-class",
        lambda f: (
            f"recall {f['recall_weighted']:.2f} against {f['recall_bce']:.2f}; a moved threshold alone {f['recall_moved']:.2f}"
        ),
        lambda f: _yes(f["recall_weighted"] > f["recall_bce"]),
    ),
    Claim(
        "A rare class: focal loss helps",
        "rare-class",
        lambda f: (
            f"recall {f['recall_focal']:.2f} without alpha, weighted {f['recall_weighted']:.2f}, plain {f['recall_bce']:.2f}"
        ),
        _told("story_focal", ".2f"),
    ),
    Claim(
        "Cross-entropy screams at a confident mistake, squared error shrugs",
        "why-cross-entropy",
        lambda f: f"at p = 0.01 a gradient of {f['logit_gradient_ce_p0.01']:.2f} against {f['logit_gradient_mse_p0.01']:.4f}",
        lambda f: _yes(f["logit_gradient_ce_p0.01"] > 10 * f["logit_gradient_mse_p0.01"]),
    ),
    Claim("Multi-class: cross-entropy gets out of a wrong belief sooner", "why-cross-entropy", _steps, _sooner),
    Claim(
        "Multi-class: also from an undecided start",
        "why-cross-entropy",
        _gain("story_b0", ".1f", " % accuracy"),
        _told("story_b0", ".1f"),
    ),
    Claim(
        "Regression: squared error where targets are clean",
        "outliers",
        _gain("story_clean", ".1f", " points off"),
        _told("story_clean", ".1f"),
    ),
    Claim(
        "Absolute error is robust to outliers", "outliers", _gain("story_slip", ".1f", " points off"), _told("story_slip", ".1f")
    ),
    Claim(
        "Embeddings: the whole batch as negatives, not one at random",
        "find-function",
        _gain("story_random", ".3f", " MRR"),
        _told("story_random", ".3f"),
    ),
    Claim(
        "Embeddings: the whole batch as negatives, not pairs and a margin",
        "find-function",
        _gain("story_pairs", ".3f", " MRR"),
        _told("story_pairs", ".3f"),
    ),
    Claim(
        "Embeddings: contrastive pairs and triplets learn too",
        "find-function",
        lambda f: f"MRR moved by {f['mrr_change_contrastive']:+.3f} and {f['mrr_change_triplet_random']:+.3f}",
        lambda f: _yes(min(f["mrr_change_contrastive"], f["mrr_change_triplet_random"]) > 0),
    ),
    Claim(
        "Perplexity is the number of choices",
        "language-model",
        lambda f: (
            f"untrained {f['perplexity_untrained']:.0f} of {f['vocabulary']:.0f} tokens, trained {f['perplexity_model']:.0f}"
        ),
        lambda f: _yes(abs(f["perplexity_untrained"] / f["vocabulary"] - 1) < 0.1),
    ),
    Claim(
        "It is one mean over all tokens",
        "language-model",
        lambda f: (
            f"{f['story_by_tokens']:.1f}; with a topic a batch {f['story_by_batches']:.1f} by batch means, "
            f"{f['story_by_perplexities']:.1f} by batch perplexities"
        ),
        _told("story_perplexities", ".1f"),
    ),
    Claim(
        "Ranking: a pairwise loss, not a pointwise one",
        "graded-search",
        _gain("story_logistic", ".3f", " NDCG@10"),
        _told("story_logistic", ".3f"),
    ),
    Claim(
        "Ranking: a listwise loss, not a pointwise one",
        "graded-search",
        _gain("story_listnet", ".3f", " NDCG@10"),
        _told("story_listnet", ".3f"),
    ),
    Claim(
        "A sick run can be told",
        "sick-runs",
        lambda f: f"{f['named']:.0f} of {f['sick']:.0f} named by the doctor's first words",
        lambda f: _yes(f["named"] == f["sick"]),
    ),
    Claim(
        "A healthy run is left in peace",
        "sick-runs",
        lambda f: f"{f['alarms']:.0f} false alarms in {f['healthy']:.0f} runs",
        lambda f: _yes(f["alarms"] == 0),
    ),
)


def claims(ran: Sequence[Ran]) -> Table:
    """The claims whose demo was run, each with its figure."""
    found = facts(ran)
    rows: list[list[Cell]] = []
    for claim in CLAIMS:
        own = {key.partition(".")[2]: value for key, value in found.items() if key.startswith(f"{claim.demo}.")}
        if own:
            rows.append([claim.says, claim.figure(own), claim.holds(own), claim.demo])
    return Table(
        "What is said of losses, and what was measured", [Column(n) for n in ("claim", "measured", "holds", "losskit demo")], rows
    )
