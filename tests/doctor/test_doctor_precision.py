"""What formats and activations hold: D115, D305, D308, D311, D312, and the probe behind them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor.before.facts import look_at_batch
from losskit.doctor.before.modules import watch_modules
from losskit.doctor.before.precision import look_at_precision
from losskit.doctor.before.spy import Spy
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.precision import Module
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.replay import Replay
from losskit.doctor.examine import examine
from losskit.doctor.step import Step

CODES = ("D115", "D305", "D308", "D311", "D312")
HALF_MAX = 65504


def by_code(evidence):
    findings, faults = examine(evidence, codes=CODES)
    assert not faults
    return {one.code: one for top in findings for one in (top, *top.consequences)}


def found(step, batch, optimizer=None, settings=None):
    with Spy() as spy:
        total = step(batch)
    return by_code(
        Evidence(
            "before",
            settings or Settings(),
            calls=spy.finish(total),
            batch=look_at_batch(batch),
            precision=look_at_precision(step, batch, optimizer),
        )
    )


def net(*middle, inputs=20):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 32), *(middle or (nn.ReLU(),)), nn.Linear(32, 10))


def points(n=64, scale=1.0):
    torch.manual_seed(1)
    return torch.randn(n, 20) * scale, torch.randint(10, (n,))


def half_loss(out, target):
    return F.cross_entropy(out.float(), target)


def test_an_overflow_of_float16_is_named_with_the_module_and_the_loss_in_float32():
    model = net(nn.ReLU(), nn.Linear(32, 32)).half()
    with torch.no_grad():
        model[2].weight.fill_(20.0)
    x, y = points(scale=1000.0)
    step = Step(model, half_loss)
    said = found(step, (x.half(), y))["D305"]
    assert said.severity == "error"
    assert said.hit.where == "2"
    assert said.hit.numbers["limit"] == HALF_MAX
    assert math.isfinite(said.hit.numbers["loss_float32"])


def test_the_same_numbers_in_bfloat16_and_small_ones_in_float16_are_silent():
    model = net().bfloat16()
    x, y = points(scale=1e5)
    assert "D305" not in found(Step(model, half_loss), (x.bfloat16(), y))
    assert not found(Step(net().half(), half_loss), (points()[0].half(), y))


def test_half_of_the_range_is_a_warning_and_a_mask_of_the_lowest_number_is_none():
    class Scaled(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return torch.full_like(x, self.value)

    x, y = points(64)[0].half(), torch.zeros(64, 20).half()
    batch = x, y
    near = found(Step(nn.Sequential(Scaled(40000.0)), lambda out, t: (out.float() - t.float()).mean()), batch)["D305"]
    assert near.severity == "warning"
    assert near.hit.numbers["largest"] == 40000
    assert not found(Step(nn.Sequential(Scaled(-HALF_MAX)), lambda out, t: (out.float() - t.float()).mean()), batch)


def test_a_loss_that_is_infinite_in_float32_too_is_no_overflow_of_the_format():
    model = net().half()
    with torch.no_grad():
        model[0].weight.fill_(torch.inf)
    assert "D305" not in found(Step(model, half_loss), (points()[0].half(), points()[1]))


def test_a_replayed_overflow_is_told_from_a_logarithm_of_zero():
    overflow = Replay(
        7,
        "forward",
        op="matmul",
        where="model.py:3",
        value=math.inf,
        dtype="float16",
        finite_in=("float32",),
        largest_before=300.0,
    )
    said = by_code(Evidence("during", replay=overflow))["D305"]
    assert said.hit.step == 7
    assert said.hit.numbers["largest_before"] == 300
    pole = Replay(7, "forward", op="log", where="model.py:3", value=-math.inf, dtype="float16", finite_in=("float32",))
    assert not by_code(Evidence("during", replay=pole))


def test_autocast_is_compared_with_a_format_that_it_leaves_alone():
    def step(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(model(batch[0]).float(), batch[1])

    model, batch = net(), points()
    seen = look_at_precision(Step(model, step=step), batch)
    assert seen.modules[0].dtype == "bfloat16"
    assert seen.loss_float32 == pytest.approx(float(F.cross_entropy(model(batch[0]), batch[1]).detach()), abs=1e-6)
    assert seen.loss != seen.loss_float32
    assert look_at_precision(Step(model, F.cross_entropy), batch).loss_float32 is None  # nothing to compare


def test_eps_is_told_with_the_format_that_it_is_added_in():
    model = net().half()
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-8)
    seen = look_at_precision(Step(model, half_loss), (points()[0].half(), points()[1]), optimizer)
    assert seen.epsilons == ((1e-8, "float16"),)
    assert look_at_precision(Step(net(), F.cross_entropy), points(), torch.optim.SGD(model.parameters(), lr=0.1)).epsilons == ()


class Attention(nn.Module):
    def __init__(self, fill):
        super().__init__()
        torch.manual_seed(0)
        self.fill, self.head = fill, nn.Linear(20, 10)

    def forward(self, x, hidden):
        scores = (x @ x.transpose(1, 2)).masked_fill(hidden[:, None], self.fill)
        return self.head(scores.softmax(-1) @ x).mean(1)


def texts():
    torch.manual_seed(2)
    hidden = torch.zeros(6, 5, dtype=torch.bool)
    hidden[4] = True  # an empty text
    return torch.randn(6, 5, 20), hidden, torch.randint(10, (6,))


def test_a_fully_masked_row_is_counted_and_placed():
    said = found(Step(Attention(-torch.inf), F.cross_entropy), texts())["D308"]
    assert said.severity == "error"
    assert said.hit.numbers["rows"] == 5
    assert said.hit.where.startswith("test_doctor_precision.py:")


def test_a_finite_mask_and_a_row_that_does_not_matter_are_no_error():
    assert not found(Step(Attention(torch.finfo(torch.float32).min), F.cross_entropy), texts())
    only = Step(Attention(-torch.inf), step=lambda m, b: F.cross_entropy(m(b[0], b[1])[:4], b[2][:4]))
    assert found(only, texts())["D308"].severity == "warning"


@pytest.mark.parametrize("weights", [False, True])
def test_torchs_own_attention_is_looked_into(weights):
    class Multihead(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.attention, self.head = nn.MultiheadAttention(20, 2, batch_first=True), nn.Linear(20, 10)

        def forward(self, x, hidden):
            return self.head(self.attention(x, x, x, key_padding_mask=hidden, need_weights=weights)[0].mean(1))

    said = found(Step(Multihead(), F.cross_entropy), texts())
    loss = look_at_precision(Step(Multihead(), F.cross_entropy), texts()).loss
    assert ("D308" in said) == (not math.isfinite(loss))  # the fused kernel makes zeros of such rows
    if said:
        assert said["D308"].hit.numbers["rows"] == 2 * 5  # heads times queries


def test_a_replayed_masked_row_is_the_cause():
    said = by_code(Evidence("during", replay=Replay(3, "forward", op="softmax", where="model.py:9", masked_row=True, bad=40)))
    assert said["D308"].hit.numbers["bad"] == 40
    assert said["D308"].hit.where == "model.py:9"


def test_dead_units_are_counted_over_enough_rows():
    model = net()
    with torch.no_grad():
        model[0].bias[:30] = -100.0
    step = Step(model, F.cross_entropy)
    said = found(step, points(1024))["D311"]
    assert said.hit.numbers["dead"] == pytest.approx(30 / 32)
    assert said.hit.numbers["rows"] == 1024
    assert said.hit.where == "1"
    assert not found(step, points(512))  # too few rows to tell
    assert not found(Step(net(), F.cross_entropy), points(1024))


class Kept(nn.Module):
    """A penalty of long outputs, which none is, beside a layer of few units."""

    def __init__(self, dim, dead):
        super().__init__()
        self.first, self.act, self.last, self.over, self.dim = nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 10), nn.ReLU(), dim
        nn.init.constant_(self.first.bias, -100.0 if dead else 1.0)

    def forward(self, x):
        h = self.act(self.first(x))
        long = h.norm() if self.dim is None else h.norm(dim=1, keepdim=self.dim)
        return self.last(h) + 0 * self.over(long - 5000).sum()


@pytest.mark.parametrize("dim", [True, False, None])
def test_a_hinge_whose_penalty_is_met_for_all_samples_is_no_dead_layer(dim):
    torch.manual_seed(0)
    assert not found(Step(Kept(dim, dead=False), F.cross_entropy), points(1024))
    assert found(Step(Kept(dim, dead=True), F.cross_entropy), points(1024))["D311"].hit.where == "act"


def test_channels_are_the_units_of_a_convolution():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([-50.0] * 8))
    with watch_modules(model) as seen:
        model(torch.randn(32, 3, 8, 8))
    relu = seen.modules()[2]
    assert relu.dead == 1.0
    assert relu.rows == 32 * 6 * 6
    assert not model[0]._forward_hooks


def test_units_that_are_all_dead_add_their_rows_over_the_looks_of_a_live_run():
    def look(step, dead):
        return Look(step, modules=(Module("1", "ReLU", "float32", 0.0, True, True, dead, dead, 0.0, 300),))

    said = by_code(Evidence("during", probes=Probes(tuple(look(step, 1.0) for step in (10, 20, 30, 40)))))
    assert said["D311"].hit.numbers["rows"] == 4 * 300
    assert not by_code(Evidence("during", probes=Probes(tuple(look(step, 1.0) for step in (10, 20, 30)))))
    assert not by_code(Evidence("during", probes=Probes(tuple(look(step, 0.95) for step in (10, 20, 30, 40)))))


@pytest.mark.parametrize(("samples", "alive", "sick"), [(148, 0, False), (149, 0, True), (235, 1, False), (236, 1, True)])
def test_a_layer_that_answers_no_sample_is_dead_where_two_in_a_hundred_would_have_shown(samples, alive, sick):
    below = sum(math.comb(samples, k) * 0.02**k * 0.98 ** (samples - k) for k in range(alive + 1))
    assert (below < 0.05) == sick
    model, x = net(), torch.rand(samples, 20)
    x[:, 0] = 0
    x[:alive, 0] = 1e4
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
        model[0].weight[0, 0] = 1.0
        model[0].weight[1:, 0] = -1.0
    said = found(Step(model, F.cross_entropy), (x, torch.randint(10, (samples,))))
    assert ("D311" in said) == sick


def test_a_hidden_tanh_at_its_bounds_is_named_and_an_output_is_not():
    said = found(Step(net(nn.Tanh()), F.cross_entropy), points(scale=1e4))
    assert said["D312"].hit.numbers["saturated"] > 0.99
    assert said["D312"].hit.where == "1"
    output = nn.Sequential(nn.Linear(20, 10), nn.Tanh())
    assert "D312" not in found(Step(output, F.mse_loss), (points(scale=1e4)[0], torch.randn(64, 10)))
    assert not found(Step(net(nn.Tanh()), F.cross_entropy), points())


def test_unscaled_inputs_are_named_where_the_loss_shows_it():
    said = found(Step(net(), F.cross_entropy), points(scale=1000.0))["D115"]
    assert said.hit.numbers["deviation"] == pytest.approx(float(points(scale=1000.0)[0].std(0).max()))
    assert said.hit.numbers["guess"] == pytest.approx(math.log(10), rel=0.1)
    assert said.hit.numbers["loss"] > 5 * math.log(10)


def test_a_norm_in_front_or_trained_weights_make_unscaled_inputs_harmless():
    torch.manual_seed(0)
    normed = nn.Sequential(nn.BatchNorm1d(20), *net())
    assert not found(Step(normed, F.cross_entropy), points(scale=1000.0))
    trained = found(Step(net(), F.cross_entropy), points(scale=1000.0), settings=Settings(from_scratch=False))
    assert "D115" not in trained


def test_the_probe_leaves_no_trace():
    model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.Dropout(0.5), nn.Linear(32, 10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch, state = points(), torch.get_rng_state()
    look_at_precision(Step(model, F.cross_entropy), batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())
