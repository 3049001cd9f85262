"""check(): the order of its probes, what it says of them, and what it does when the user's code, or a probe, fails."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from losskit.doctor import check
from losskit.doctor.before import phases

CLASSES = 10


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def perceptron(*last, inputs=20, outputs=CLASSES):
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, outputs), *last)


def points(n=48):
    return torch.randn(n, 20), torch.arange(n) % CLASSES


def adam(model, lr=1e-3):
    return torch.optim.Adam(model.parameters(), lr=lr)


def case_of(*arguments, **options):
    (case,) = check(*arguments, **options).cases
    return case


def codes(case):
    return [(one.code, one.severity) for one in case.findings if one.severity != "info"]


# ------------------------------------------------------------------ a healthy one


def test_a_healthy_model_is_silent_and_the_report_says_what_was_looked_at():
    model, (x, y) = perceptron(), points()
    report = check(model, (x, y), nn.CrossEntropyLoss(), adam(model), from_scratch=True)
    (case,) = report.cases
    assert codes(case) == []
    assert report.exit_code == 0
    assert (case.problem, case.faults, case.left_out) == ("", (), ())
    with torch.no_grad():
        loss = float(F.cross_entropy(model(x), y))
    assert case.facts["loss"] == pytest.approx(loss)
    assert "2.303 (ln 10" in case.facts["expected of fresh weights"]
    assert case.facts["trainable weights"] == 20 * 64 + 64 + 64 * CLASSES + CLASSES
    assert case.facts["gradient norm"] > 0
    assert "4 of 4 parameters" in " ".join(case.looked_at)
    assert "32 samples are learned by heart, as they should be, with Adam" in " ".join(case.looked_at)
    assert any(math.isclose(level.value, math.log(CLASSES)) for level in case.levels)


class ReturnsItsLoss(nn.Module):
    """As models of transformers do."""

    def __init__(self):
        super().__init__()
        self.body = perceptron()

    def forward(self, inputs, labels=None):
        logits = self.body(inputs)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def test_a_model_that_returns_its_loss_needs_no_loss_function():
    model, (x, y) = ReturnsItsLoss(), points()
    case = case_of(model, {"inputs": x, "labels": y}, optimizer=adam(model), from_scratch=True)
    assert codes(case) == []
    assert case.facts["samples"] == 48


def test_a_loss_of_losskit_is_known_by_name():
    case = case_of(perceptron(), points(), losskit.FocalLoss(), from_scratch=True, overfit=False)
    assert codes(case) == []
    assert "focal_loss" in case.looked_at[0]
    chance = (1 - 1 / CLASSES) ** 2 * math.log(CLASSES)
    assert any(level.kind == "chance" and math.isclose(level.value, chance) for level in case.levels)


def test_a_compiled_model_is_looked_at_uncompiled():
    case = case_of(torch.compile(perceptron(nn.Softmax(1))), points(), F.cross_entropy, overfit=False)
    assert case.subject == "Sequential"
    assert codes(case)[0] == ("D101", "error")


def test_the_same_arguments_say_the_same():
    model, batch = perceptron(nn.Softmax(1)), points()
    one, other = (case_of(model, batch, F.cross_entropy, adam(model), seed=5, overfit=False) for _ in range(2))
    assert [f.as_dict() for f in one.findings] == [f.as_dict() for f in other.findings]
    assert one.looked_at == other.looked_at


# ------------------------------------------------------------------ sick ones: the cause comes first, once


def shifted(out, y):
    return F.cross_entropy(out, y + 1)


def two_classes(out, y):
    return F.binary_cross_entropy_with_logits(out[:, 0], (y > 4).float())


SICK = {
    "softmax twice": ("D101", lambda: perceptron(nn.Softmax(1)), F.cross_entropy),
    "a label too many": ("D104", perceptron, shifted),
    "detached": ("D202", lambda: Detached(), F.cross_entropy),
    "cut off": ("D201", perceptron, lambda out, y: F.cross_entropy(out, y).detach()),
    "minus": ("D220", perceptron, lambda out, y: -F.cross_entropy(out, y)),
    "a sigmoid twice": ("D103", lambda: perceptron(nn.Sigmoid(), outputs=1), lambda out, y: two_classes(out, y)),
    "square against a row": ("D106", lambda: perceptron(outputs=1), lambda out, y: (out - y.float()).square().mean()),
}


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(20, 64), nn.Linear(64, CLASSES)

    def forward(self, x):
        return self.head(self.encoder(x).relu().detach())


@pytest.mark.parametrize("name", SICK)
def test_the_cause_is_the_first_finding(name):
    code, make, loss_fn = SICK[name]
    model = make()
    case = case_of(model, points(), loss_fn, adam(model), from_scratch=True, overfit=False)
    assert codes(case)[0] == (code, "error"), codes(case)
    assert case.problem == ""
    assert not case.faults


def test_an_optimizer_of_another_model_is_the_first_finding():
    model, other = perceptron(), perceptron()
    case = case_of(model, points(), F.cross_entropy, adam(other), from_scratch=True, budget_s=4)
    assert codes(case) == [("D204", "error")]


def test_a_nan_in_the_batch_is_traced_and_nothing_is_said_of_the_learning_rate():
    model, (x, y) = perceptron(), points()
    x[7, 3] = math.nan
    case = case_of(model, (x, y), F.cross_entropy, adam(model), from_scratch=True)
    assert codes(case)[0] == ("D301", "error")
    assert "learning rate" not in case.findings[0].fix.lower()
    assert "one batch by heart" in [what for what, _ in case.left_out]


def test_an_infinite_gradient_of_a_finite_loss_is_traced():
    model = perceptron()
    case = case_of(model, points(), lambda out, y: F.cross_entropy(out, y) + (out * 0).sum().sqrt(), adam(model))
    assert codes(case)[0] == ("D304", "error")


# ------------------------------------------------------------------ what cannot be looked at


def test_a_loss_that_raises_is_a_problem_with_its_line():
    def loss_fn(out, y):
        raise ValueError("no luck today")

    report = check(perceptron(), points(), loss_fn)
    assert report.cases[0].problem.startswith("ValueError: no luck today (test_doctor_check.py:")
    assert report.exit_code == 3


def test_a_loss_that_raises_for_a_reason_that_is_known_is_a_finding():
    report = check(perceptron(), (torch.randn(8, 20), torch.full((8,), 12)), F.cross_entropy)
    assert codes(report.cases[0]) == [("D104", "error")]
    assert report.cases[0].problem == ""
    assert report.exit_code == 2


def test_a_batch_that_the_step_cannot_read_is_a_problem_with_a_remedy():
    assert "step=lambda model, batch" in case_of(perceptron(), torch.randn(8, 20), F.cross_entropy).problem


def test_a_loss_of_many_elements_is_a_problem_with_a_remedy():
    problem = case_of(perceptron(), points(), nn.CrossEntropyLoss(reduction="none")).problem
    assert "(48,), expected the loss, a tensor of one element" in problem


def test_a_batch_on_another_device_is_named_and_nothing_is_moved():
    model, (x, y) = perceptron(), points()
    case = case_of(model, (x.to("meta"), y), F.cross_entropy)
    assert case.problem == '"batch" has \'0\' on meta, expected cpu, where the model is: move it with .to("cpu")'


def test_a_loader_is_no_batch():
    loader = torch.utils.data.DataLoader([0])
    assert "next(iter(loader))" in case_of(perceptron(), loader, F.cross_entropy).problem


def test_weights_without_a_shape_are_named():
    assert "0.weight" in case_of(nn.Sequential(nn.LazyLinear(4)), points(), F.cross_entropy).problem


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match='"model" is a function, expected'):
        check(lambda x: x, points(), F.cross_entropy)


def test_a_budget_that_is_spent_leaves_out_the_rest_and_says_so():
    case = case_of(perceptron(), points(), F.cross_entropy, budget_s=0.0)
    assert dict(case.left_out)["one batch by heart"] == "the budget of 0 s was spent"
    assert case.facts["loss"] > 0


def test_an_adversarial_loss_is_not_asked_to_fall():
    case = case_of(perceptron(), points(), F.cross_entropy, objective="adversarial")
    assert dict(case.left_out) == {"one batch by heart": "an adversarial loss need not fall"}


def test_a_probe_of_ours_that_fails_is_our_fault_and_takes_nothing_with_it(monkeypatch):
    def broken(*_arguments, **_options):
        raise AssertionError("oops")

    monkeypatch.setattr(phases, "_OURS", __file__)
    monkeypatch.setattr(phases, "look_at_modes", broken)
    model = perceptron(nn.Softmax(1))
    case = case_of(model, points(), F.cross_entropy, adam(model), overfit=False)
    assert [(fault.where, fault.problem.partition(" (")[0]) for fault in case.faults] == [
        ("train and eval mode", "AssertionError: oops")
    ]
    assert codes(case)[0][0] == "D101"


def test_a_model_that_cannot_run_in_eval_mode_is_not_our_fault():
    class TrainOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = perceptron()

        def forward(self, x):
            if not self.training:
                raise NotImplementedError("only for training")
            return self.body(x)

    model = TrainOnly()
    case = case_of(model, points(), F.cross_entropy, adam(model), overfit=False)
    assert not case.faults
    assert "only for training" in dict(case.left_out)["train and eval mode"]


def test_a_model_in_eval_mode_is_checked_in_train_mode():
    modes = []

    class Noted(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = perceptron()

        def forward(self, x):
            modes.append(self.training)
            return self.body(x)

    case_of(Noted().eval(), points(), F.cross_entropy, overfit=False)
    assert modes[0] is True


def test_a_check_inside_of_no_grad_sees_gradients_all_the_same():
    with torch.no_grad():
        case = case_of(perceptron(), points(), F.cross_entropy, overfit=False)
        assert not torch.is_grad_enabled()
    assert codes(case) == []


def test_a_training_loop_in_step_says_what_it_keeps_from_being_looked_at():
    model = perceptron()
    optimizer = adam(model)

    def step(model, batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.item()

    case = case_of(model, points(), step=step)
    assert codes(case) == []
    assert (case.problem, case.faults) == ("", ())
    assert "return the loss before" in case.left_out[0][1]
    assert case.facts["optimizer"] == "Adam, lr 0.001"


def test_the_report_of_a_check_can_be_printed_and_written(tmp_path):
    report = check(perceptron(nn.Softmax(1)), points(), F.cross_entropy, overfit=False)
    assert "D101" in str(report)
    assert report.to_json(tmp_path / "r.json")["cases"][0]["findings"][0]["code"] == "D101"
