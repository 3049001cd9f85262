"""What one step of an optimizer does: D220 climbs, D306 divides by nothing, D307 rounds away."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from doctor_checked import CLASSES, asked, checked, perceptron, points, sgd
from losskit.doctor.evidence import Settings
from losskit.doctor.evidence.calls import LossCall
from losskit.doctor.evidence.precision import Precision
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.wiring import Parameter, Wiring

CODES = ("D220", "D306", "D307")


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


# ------------------------------------------------------------------ D220

OPTIMIZERS = {
    "SGD with much decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=10.0),
    "AdamW with much decay": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=100.0),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
    "L-BFGS": lambda p: torch.optim.LBFGS(p, lr=1.0, line_search_fn="strong_wolfe"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down(name):
    model, (x, y) = perceptron(), points()
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(15):  # now larger weights are better ones, and decay pulls against the gradient
        adam.zero_grad()
        F.cross_entropy(model(x), y).backward()
        adam.step()
    assert not checked(model, (x, y), F.cross_entropy, OPTIMIZERS[name](model.parameters()))


def test_an_optimizer_in_the_middle_of_its_run_goes_down():
    model, (x, y) = perceptron(), points()
    optimizer = sgd(model, momentum=0.99)
    for _ in range(5):
        optimizer.zero_grad()
        (-F.cross_entropy(model(x), y)).backward()  # its momentum points uphill
        optimizer.step()
    assert not checked(model, (x, y), F.cross_entropy, optimizer)


def test_maximize_climbs():
    model = perceptron()
    found = checked(model, points(), F.cross_entropy, sgd(model, maximize=True))
    assert found["D220"].hit.numbers["cosine"] == pytest.approx(1.0)
    assert "maximize" in found["D220"].fix


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_minus_a_cross_entropy_climbs(reduction):
    model, (x, y) = perceptron(), points()
    found = checked(model, (x, y), lambda out, y: -F.cross_entropy(out, y, reduction=reduction).mean(), sgd(model))
    assert found["D220"].severity == "error"
    assert found["D220"].hit.numbers["slope"] == pytest.approx(-1)
    with torch.no_grad():
        loss = F.cross_entropy(model(x), y, reduction=reduction).mean()
    assert found["D220"].hit.numbers["loss"] == pytest.approx(-float(loss))


def test_a_minus_that_maximize_takes_back_is_silent():
    model = perceptron()
    assert not checked(model, points(), lambda out, y: -F.cross_entropy(out, y), sgd(model, maximize=True))
    call = LossCall("cross_entropy", "torch", {}, {}, torch.tensor(2.0), slope=-1.0)
    assert not asked(CODES, "before", calls=(call,), total=-2.0, wiring=Wiring((), True, maximize=True))  # no step was made


def test_a_reward_that_is_maximized_is_silent():
    model = perceptron(1)
    step, optimizer = (lambda model, x: -(model(x) - 1).square().mean()), sgd(model, maximize=True)
    assert not checked(model, torch.randn(24, 6), step=step, optimizer=optimizer)


def test_a_main_loss_minus_an_entropy_is_silent():
    model = perceptron()

    def loss_fn(out, y):
        uniform = torch.full_like(out, 1 / CLASSES)
        return F.cross_entropy(out, y) - 0.1 * F.kl_div(out.log_softmax(1), uniform, reduction="batchmean")

    assert not checked(model, points(), loss_fn, sgd(model))


def test_a_live_minus_is_seen_in_the_calls():
    value = torch.tensor(2.0)
    call = LossCall("cross_entropy", "torch", {}, {}, value, slope=-1.0, where="train.py:3")
    found = asked(CODES, calls=(call,), total=-2.0)
    assert found["D220"].hit.where == "train.py:3"
    assert not asked(CODES, calls=(call,), total=-2.0, settings=Settings(objective="adversarial"))
    assert not asked(CODES, calls=(call,), total=5.0)


# ------------------------------------------------------------------ D306, D307


def test_adams_eps_is_nothing_in_float16_and_something_in_bfloat16():
    found = asked(CODES, "before", precision=Precision(epsilons=((1e-8, "float16"), (1e-8, "bfloat16"), (1e-8, "float32"))))
    assert found["D306"].hit.numbers == {"eps": 1e-8, "smallest": 2.0**-24}
    assert not asked(CODES, "before", precision=Precision(epsilons=((1e-4, "float16"), (1e-8, "bfloat16"))))


def test_a_float16_model_under_adam_is_named():
    model = perceptron().half()
    x, y = points()
    found = checked(model, (x.half(), y), F.cross_entropy, torch.optim.AdamW(model.parameters(), lr=1e-3))
    assert found["D306"].hit.numbers["eps"] == 1e-8
    with torch.no_grad():  # and this is what it does to a weight without gradient
        weight, optimizer = model[0].weight, torch.optim.Adam(model.parameters(), lr=1e-3)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert weight.isnan().any()


@pytest.mark.parametrize(("lr", "severity"), [(1e-7, "error"), (1e-3, None)])
def test_small_updates_of_bfloat16_weights_round_away(lr, severity):
    model = perceptron().bfloat16()
    x, y = points()
    found = checked(model, (x.bfloat16(), y), F.cross_entropy, torch.optim.AdamW(model.parameters(), lr=lr))
    assert (found["D307"].severity if "D307" in found else None) == severity
    if severity:
        assert found["D307"].hit.numbers["lost"] > 0.99
        assert found["D307"].hit.numbers["lr"] == lr


class Careful(torch.optim.Optimizer):
    """SGD on bfloat16 weights that loses nothing: by chance on average, by a sum of what was lost, or by a float32 copy."""

    def __init__(self, parameters, how, lr=1e-5):
        super().__init__(parameters, {"lr": lr})
        self.how = how

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                update = -group["lr"] * p.grad.float()
                if self.how == "chance":
                    exact = p.float() + update
                    bits = exact.view(torch.int32) + torch.randint(0, 1 << 16, exact.shape, dtype=torch.int32)
                    p.copy_((bits & -65536).view(torch.float32))
                elif self.how == "compensation":
                    update += state.get("lost", 0)
                    old = p.float()
                    p.copy_(old + update)
                    state["lost"] = (update - (p.float() - old)).to(p.dtype)
                elif self.how == "copy":
                    state.setdefault("copy", p.float()).add_(update)
                    p.copy_(state["copy"])
                else:
                    p.add_(update)


@pytest.mark.parametrize(("how", "silent"), [("chance", True), ("compensation", True), ("copy", True), ("plain", False)])
def test_an_optimizer_that_keeps_small_updates_is_silent_where_plain_rounding_is_not(how, silent):
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, CLASSES)).bfloat16()
    x, y = points()
    assert ("D307" not in checked(model, (x.bfloat16(), y), F.cross_entropy, Careful(model.parameters(), how))) == silent


def weights(step, lost, lr):
    one = Parameter("w", 100, True, True, "finite", 1.0, 1.0, True, "bfloat16", 0.1, lost, lr)
    return Look(step, parameters=(one,))


def test_live_updates_are_judged_at_the_full_rate_only():
    warm_up = tuple(weights(i, 1.0, 1e-6 * (i + 1)) for i in range(3))
    full = tuple(weights(10 + i, 0.2, 1e-3) for i in range(3))
    decayed = tuple(weights(20 + i, 1.0, 1e-7) for i in range(6))
    assert not asked(CODES, probes=Probes(looks=warm_up))
    assert not asked(CODES, probes=Probes(looks=warm_up + full + decayed))
    lost = tuple(weights(10 + i, 0.95, 1e-3) for i in range(3))
    found = asked(CODES, probes=Probes(looks=warm_up + lost + decayed))
    assert found["D307"].severity == "warning"
    assert found["D307"].hit.numbers == {"lost": 0.95, "lr": 1e-3}
