"""Each "Silent when" of a rule is healthy code that it hears nothing of; and what looks like it and is sick."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from doctor_seen import found
from losskit.doctor import check
from losskit.doctor.before.overfit import falls_surely
from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.overfit import Attempt, Overfit
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.run import Reading, Run, Series
from losskit.doctor.evidence.wiring import Parameter, Wiring
from losskit.doctor.examine import examine


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


X, Y = torch.randn(64, 20, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 5


def checked(step, *, outputs=5, batch=(X, Y), optimizer=None, **more):
    """What check() finds of a step function, by code, consequences too; and the case."""
    model = nn.Linear(batch[0].shape[1], outputs)
    given = None if optimizer is None else optimizer(model.parameters())
    case = check(model, batch, step=step, optimizer=given, **{"overfit": False, **more}).cases[0]
    assert not case.faults
    return {f.code: f for one in case.findings for f in (one, *one.consequences)}, case


def both(part):
    """Cross-entropy and what a user makes of a second loss."""

    def step(model, batch):
        out = model(batch[0])
        return F.cross_entropy(out, batch[1]) + part(out, F.one_hot(batch[1], 5).float())

    return step


# ------------------------------------------------------------------ D201


@pytest.mark.parametrize(
    ("part", "times"),
    [
        (lambda out, y: F.mse_loss(out, y).item(), 1),
        (lambda out, y: F.mse_loss(out, y).detach(), 1),
        (lambda out, y: F.mse_loss(out.detach(), y), 1),
        (lambda out, y: 0.1 * F.mse_loss(out.detach(), y), 0.1),
        (lambda out, y: 0.25 * F.mse_loss(out, y).item(), 0.25),
        (lambda out, y: 30 * F.mse_loss(out, y).detach(), 30),
    ],
)
def test_a_part_that_is_cut_off_is_named_with_what_it_is_multiplied_by(part, times):
    with torch.random.fork_rng():
        model = nn.Linear(20, 5)
    report = check(model, (X, Y), step=both(part), overfit=False)
    (finding,) = [one for one in report.findings if one.code == "D201"]
    value = float(F.mse_loss(model(X).detach(), F.one_hot(Y, 5).float()))
    assert finding.severity == "warning"
    assert finding.hit.numbers["part"] == pytest.approx(times * value, rel=1e-3)


@pytest.mark.parametrize(
    "part",
    [
        lambda out, y: 0 * out.sum() if F.mse_loss(out.detach(), y) else 0,  # for a log
        lambda out, y: 0.1 * F.mse_loss(out, y),
        lambda out, y: 1e-4 * F.mse_loss(out.detach(), y),  # less than a thousandth of the loss
        lambda out, y: 0.123457 * out.square().mean() + 0 * F.mse_loss(out.detach(), y),  # a penalty by hand beside a metric
    ],
)
def test_a_loss_for_a_log_and_a_penalty_by_hand_are_not_cut_off(part):
    assert "D201" not in checked(both(part))[0]


def test_a_loss_made_anew_from_its_number_reaches_no_weight():
    codes, _ = checked(lambda model, b: torch.tensor(F.cross_entropy(model(b[0]), b[1]).item(), requires_grad=True))
    assert codes["D201"].severity == "error"
    assert codes["D201"].hit.numbers["trainable"] == 2
    assert "D202" in {one.code for one in codes["D201"].consequences}


# ------------------------------------------------------------------ D106, D110, D109, D119


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_broadcast_in_a_loss_that_is_only_logged_is_silent_and_in_one_that_trains_is_not():
    column, row = torch.randn(8, 1, requires_grad=True), torch.randn(8)

    def logged():
        F.mse_loss(column.detach(), row)
        return F.mse_loss(column, row[:, None])

    assert not found(logged, codes=("D106",))
    assert found(lambda: F.mse_loss(column, row), codes=("D106",))["D106"].hit.numbers["compared"] == 64


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "loss", [F.mse_loss, F.huber_loss, F.poisson_nll_loss, losskit.expectile_loss, losskit.cauchy_loss, losskit.mape_loss]
)
def test_every_loss_of_elements_is_known_by_its_card(loss):
    column, row = torch.rand(8, 1, requires_grad=True), torch.rand(8) + 1
    assert found(lambda: loss(column, row), codes=("D106",))["D106"].hit.numbers["input"] == 8
    assert not found(lambda: loss(column, row[:, None]), codes=("D106",))


def test_nll_loss_over_one_class_is_named():
    scores = torch.randn(8, 1, requires_grad=True)
    named = found(lambda: F.nll_loss(scores.log_softmax(1), torch.zeros(8, dtype=torch.long)))
    assert list(named) == ["D110"]
    assert named["D110"].hit.numbers["loss"] == 0


def test_a_softmax_over_the_batch_starts_at_ln_n_under_nll_loss_only():
    scores, y = torch.zeros(64, 5, requires_grad=True) * 1, torch.arange(64) % 5
    own = torch.randn(64, 5, requires_grad=True)
    assert "ln 64" in found(lambda: F.nll_loss((scores + own).log_softmax(0), y))["D109"].hit.said
    said = found(lambda: F.cross_entropy((scores + own).softmax(0), y))["D109"].hit.said
    assert "ln 64" not in said
    assert f"the loss is {float(F.cross_entropy(own.detach().softmax(0), y)):.4f}" in said


@pytest.mark.parametrize(
    ("work", "terms"),
    [
        (lambda: F.mse_loss(torch.randn(64, 16, requires_grad=True), torch.randn(64, 16), reduction="sum"), 64 * 16),
        (lambda: F.cross_entropy(torch.randn(8, 5, 10, requires_grad=True), torch.zeros(8, 10).long(), reduction="sum"), 80),
        (lambda: F.cross_entropy(torch.randn(8, 5, requires_grad=True), torch.tensor([0, 1] + 6 * [-100]), reduction="sum"), 2),
        (lambda: F.cross_entropy(torch.randn(8, 5, requires_grad=True), torch.arange(8) % 5, reduction="none").sum(), 8),
    ],
)
def test_a_sum_is_over_all_numbers_that_count(work, terms):
    finding = found(work, codes=("D119",))["D119"]
    assert finding.hit.numbers["terms"] == terms
    assert f"its gradient is {terms} times" in finding.hit.said


# ------------------------------------------------------------------ D217, D116


def test_a_regression_that_falls_slowly_but_surely_is_no_error():
    target = 450 * torch.randn(64, 1)
    codes, _ = checked(lambda m, b: F.mse_loss(m(b[0]), b[1]), outputs=1, batch=(X, target), overfit=True)
    assert "D217" not in codes
    assert codes["D116"].severity == "warning"
    assert codes["D116"].hit.numbers["made"] < 0.1
    near = 20 + torch.randn(64, 1)  # far from the outputs, but not out of their reach
    by_hand = checked(lambda m, b: (m(b[0]) - b[1]).square().mean(), outputs=1, batch=(X, near), overfit=True)[0]
    assert not by_hand.keys() & {"D116", "D217"}


def test_scores_that_creep_to_the_class_frequencies_are_not_learned():
    skewed = torch.cat((torch.zeros(50), torch.arange(14) % 5)).long()

    def step(model, batch):
        return F.cross_entropy(model(batch[0]).detach() + 10 * model.bias, batch[1])

    codes, _ = checked(step, batch=(X, skewed), overfit=True)
    assert codes.keys() & {"D202", "D217"}


def test_what_falls_at_one_pace_falls_surely_and_what_comes_to_rest_or_wavers_does_not():
    line = [1 - 1e-3 * step for step in range(201)]
    assert falls_surely(line)
    assert not falls_surely([math.exp(-step / 30) for step in range(201)])
    assert not falls_surely([1 + 0.1 * (step % 2) - 1e-4 * step for step in range(201)])
    assert not falls_surely([1 - 1e-7 * step for step in range(201)])
    assert not falls_surely([1.0, math.nan] * 100)
    assert not falls_surely([])


def test_targets_that_the_optimizer_reaches_are_only_noted():
    attempt = Attempt("Adam 1e-3", (1e6, 10.0), 150, reached=True)
    seen = Overfit(32, 1e6, 0.0, 1e5, None, attempt)
    named = found(
        lambda: F.mse_loss(torch.ones(8, 1, requires_grad=True), torch.full((8, 1), 1e3)), codes=("D116", "D217"), overfit=seen
    )
    assert {code: one.severity for code, one in named.items()} == {"D116": "info"}


# ------------------------------------------------------------------ D204, D111, D213, D214, D215, D115


def parameter(name, *, fan_in=8, optimized=True):
    return Parameter(name, 8, True, optimized, "finite", 1.0, 1.0, True, "float32", fan_in=fan_in)


@pytest.mark.parametrize(
    ("foreign", "optimized", "severity"),
    [
        (((9, 7), (9,)), False, "error"),  # a head of another size in place of the one it lacks
        (((9, 7),), False, "warning"),  # a matrix alone in place of a matrix and a bias
        (((9, 7), (9,)), True, "info"),  # strangers beside all that the model has
        ((), False, None),
    ],
)
def test_an_optimizer_with_strangers_is_judged_by_what_it_lacks(foreign, optimized, severity):
    own = (
        parameter("body"),
        parameter("head.weight", optimized=optimized),
        parameter("head.bias", fan_in=0, optimized=optimized),
    )
    wiring = Wiring(own, loss_requires_grad=True, foreign=foreign, optimizer="SGD")
    findings, faults = examine(Evidence("before", wiring=wiring), codes=("D204",))
    assert not faults
    assert [one.severity for one in findings] == ([severity] if severity else [])


@pytest.mark.parametrize(("rows", "severity"), [((8, 0, 0), "warning"), ((0, 0), "error"), ((8, 0, 8), None), ((8, 8), None)])
def test_batches_without_labels_later_in_a_live_run_are_named(rows, severity):
    looks = tuple(Look(10 * i, supervised=n) for i, n in enumerate(rows))
    findings, faults = examine(Evidence("during", probes=Probes(looks)), codes=("D111",))
    assert not faults
    assert [one.severity for one in findings] == ([severity] if severity else [])


def series(values, kind="train_loss"):
    return Series(kind, kind, torch.arange(len(values)), torch.as_tensor(values, dtype=torch.float64))


def test_a_clip_that_throttles_names_the_norm_to_raise_it_to():
    run = Run("r", (series([1.0] * 200), series([3.0] * 200, "grad_norm")), Reading("live"), facts={"optimizer": "SGD"})
    evidence = Evidence("during", probes=Probes(clip_ratios=(1e-4,) * 100), run=run)
    (finding,) = examine(evidence, codes=("D213",))[0]
    assert finding.hit.numbers["median norm"] == 3
    assert "to about 3" in finding.fix


def test_a_live_run_of_a_known_length_is_not_over_where_its_log_ends():
    rates = [0.1] * 100 + [0.0] * 60
    run = Run("r", (series([1.0] * 160), series(rates, "lr")), Reading("live"), facts={"max_steps": 1000})
    (finding,) = examine(Evidence("during", run=run), codes=("D214",))[0]
    assert finding.hit.numbers["share of the run"] == pytest.approx(100 / 999, rel=0.02)


def test_a_fresh_loss_of_four_times_chance_is_a_multiple_and_a_weight_of_a_task_only_noted():
    def step(model, batch):
        return 4 * F.cross_entropy(0.01 * model(batch[0]), batch[1])

    noted = checked(step, from_scratch=True)[0]["D215"]
    assert (noted.severity, noted.hit.numbers["factor"]) == ("info", 4)
    assert noted.hit.numbers["total"] == pytest.approx(4 * math.log(5), rel=0.01)
    assert checked(step, from_scratch=True, accumulate=4)[0]["D215"].severity == "error"
    assert "D215" not in checked(step)[0]
    assert "D215" not in checked(lambda m, b: F.cross_entropy(0.01 * m(b[0]), b[1]), from_scratch=True)[0]


def test_raw_pixels_are_the_cause_of_a_loss_that_starts_high_summed_or_not():
    pixels = torch.randint(0, 256, (64, 200)).float()
    for reduction in ("mean", "sum"):
        named, _ = checked(lambda m, b, r=reduction: F.cross_entropy(m(b[0]), b[1], reduction=r), batch=(pixels, Y))
        assert "D401" in {one.code for one in named["D115"].consequences}
        assert named["D115"].hit.numbers["guess"] == pytest.approx(math.log(5))
    with_norm = checked(lambda m, b: F.cross_entropy(m(F.layer_norm(b[0], (200,))), b[1]), batch=(pixels, Y))[0]
    assert "D115" not in with_norm


# ------------------------------------------------------------------ what could not be looked at


def test_a_step_that_raises_and_a_probe_that_could_not_look_are_told():
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            raise RuntimeError("no step today")

    _, case = checked(lambda m, b: F.cross_entropy(m(b[0]), b[1]), optimizer=lambda p: Broken(p, lr=0.1))
    assert "no step today" in dict(case.left_out)["one step of Broken"]
    _, case = checked(lambda m, b: F.cross_entropy(m(b[0]) + torch.rand(1), b[1]) * 0 + m.weight.sum())
    assert all(why for _, why in case.left_out)


def test_a_loss_of_losskit_with_targets_of_0_to_1_takes_binary_scores():
    probability = torch.randn(8, requires_grad=True).sigmoid()
    y = (torch.arange(8) % 2).float()
    for loss in (losskit.binary_cross_entropy_with_logits, losskit.binary_focal_loss, losskit.asymmetric_loss):
        assert "D103" in found(lambda loss=loss: loss(probability, y))
    assert "D103" not in found(lambda: losskit.auc_hinge_loss(probability, y))  # of their order alone
