"""Which outputs hang on which inputs: D209, D210, D211, and doubles in contrastive batches: D704."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from losskit.doctor.before.dependence import look_at_dependence, next_tokens
from losskit.doctor.before.facts import look_at_batch
from losskit.doctor.before.spy import Spy
from losskit.doctor.before.wiring import look_at_wiring
from losskit.doctor.evidence import Evidence
from losskit.doctor.examine import examine
from losskit.doctor.step import Step

CODES = ("D209", "D210", "D211", "D704")
VOCABULARY = 31


def found(step, batch):
    """The findings by code, from a pass under the spy and the probe."""
    with Spy() as spy:
        total = step(batch)
    evidence = Evidence("before", calls=spy.finish(total), batch=look_at_batch(batch), dependence=look_at_dependence(step, batch))
    findings, faults = examine(evidence, codes=CODES)
    assert not faults
    return {one.code: one for one in findings}


def classifier(*last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4), *last)


def points(n=12):
    torch.manual_seed(1)
    return torch.randn(n, 6), torch.randint(4, (n,))


class Multiplied(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.inner, self.factor = classifier(), factor

    def forward(self, x):
        return self.inner(x * self.factor)


def test_an_output_that_ignores_its_input_is_named_with_its_change():
    said = found(Step(Multiplied(0.0), F.cross_entropy), points())["D209"]
    assert said.severity == "error"
    assert said.hit.numbers == {"change": 0.0}


def test_a_signal_that_vanishes_is_left_to_the_finding_of_the_gradient():
    torch.manual_seed(0)
    model = nn.Sequential(*[layer for _ in range(20) for layer in (nn.Linear(6, 6), nn.Sigmoid())])
    step, batch = Step(model, F.cross_entropy), points()
    wiring = look_at_wiring(step, batch, [torch.optim.SGD(model.parameters(), lr=0.1)])
    seen = look_at_dependence(step, batch)
    assert seen.shuffled < 1e-6
    assert [one.code for one in examine(Evidence("before", dependence=seen, wiring=wiring))[0]] == ["D310"]
    assert [one.code for one in examine(Evidence("before", dependence=seen))[0]] == ["D209"]


def test_a_model_that_looks_at_its_input_is_silent():
    assert not found(Step(Multiplied(1.0), F.cross_entropy), points())


def test_a_last_layer_that_starts_at_zero_ignores_nothing():
    model = classifier()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    step = Step(model, F.cross_entropy)
    assert look_at_dependence(step, points()).shuffled > 0
    assert not model[2].weight.any()  # zero as before
    assert not found(step, points())


def test_a_generator_that_draws_its_own_input_is_not_accused():
    def step(model, batch):
        return F.mse_loss(model(torch.randn(len(batch[0]), 6)), batch[0][:, :4])

    seen = look_at_dependence(Step(classifier(), step=step), points())
    assert seen.shuffled is None
    assert "does not depend on the samples" in seen.why_not


class Recurrent(nn.Module):
    def __init__(self, batch_first, every=False):
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.head, self.every = nn.LSTM(5, 8, batch_first=batch_first), nn.Linear(8, 3), every

    def forward(self, x):
        out = self.head(self.lstm(x)[0])
        return out if self.every else out[:, -1]


def sequences(n=9, time=7):
    torch.manual_seed(2)
    return torch.randn(n, time, 5), torch.randint(3, (n,))


def test_a_recurrent_net_that_takes_samples_for_time_mixes_them():
    said = found(Step(Recurrent(batch_first=False), F.cross_entropy), sequences())["D210"]
    assert said.hit.numbers["change"] > 0.05
    assert said.hit.numbers["sample"] != said.hit.numbers["changed"]


def test_batch_first_keeps_samples_apart():
    step = Step(Recurrent(batch_first=True), F.cross_entropy)
    assert look_at_dependence(step, sequences()).others == 0
    assert not found(step, sequences())


def test_samples_that_the_step_mixes_by_random_numbers_are_no_mixture_of_the_model():
    def mixup(model, batch):
        x, y = batch
        share, other = torch.rand(()), torch.randperm(len(x))
        output = model(share * x + (1 - share) * x[other])
        return share * F.cross_entropy(output, y) + (1 - share) * F.cross_entropy(output, y[other])

    assert not found(Step(classifier(), step=mixup), points())


def test_a_model_that_mixes_is_named_though_its_step_draws_as_well():
    def noisy(model, batch):
        return F.cross_entropy(model(batch[0] + 0.1 * torch.randn_like(batch[0])), batch[1])

    assert "D210" in found(Step(Recurrent(batch_first=False), step=noisy), sequences())


def test_a_step_that_always_mixes_the_same_rows_is_named():
    def neighbours(model, batch):
        return F.cross_entropy(model(batch[0] + batch[0].roll(1, 0)), batch[1])

    assert "D210" in found(Step(classifier(), step=neighbours), points())


def test_time_in_front_is_a_layout_and_no_mixture():
    x, _ = sequences()
    target = torch.randint(3, x.shape[:2])
    step = Step(Recurrent(batch_first=False, every=True), lambda out, t: F.cross_entropy(out.flatten(0, 1), t.flatten()))
    assert not found(step, (x, target))


def test_a_view_in_place_of_a_transpose_mixes_samples():
    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(7, 3)

        def forward(self, x):
            return self.head(x.transpose(0, 1).reshape(len(x), -1, 7).mean(1))

    assert "D210" in found(Step(Viewed(), F.cross_entropy), sequences())


def test_batch_norm_in_train_mode_is_no_mixture():
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4))
    step = Step(model, F.cross_entropy)
    assert not found(step, points())
    seen = look_at_dependence(step, points())
    assert seen.others == 0
    assert seen.shuffled > 0


def test_scores_of_samples_against_samples_may_mix():
    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = nn.Linear(6, 8)

        def forward(self, a, b):
            return self.tower(a) @ self.tower(b).T

    x, _ = points()
    assert not found(Step(Towers(), F.cross_entropy), (x, x + 0.1, torch.arange(len(x))))


class Tokens(nn.Module):
    """A small transformer with or without a causal mask; batches of transformers are mappings."""

    def __init__(self, causal):
        super().__init__()
        torch.manual_seed(0)
        self.causal = causal
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, VOCABULARY)

    def forward(self, input_ids, labels=None):
        time = input_ids.shape[1]
        mask = torch.full((time, time), -torch.inf).triu(1) if self.causal else None
        logits = self.head(self.layer(self.embedding(input_ids), src_mask=mask))
        if labels is None:
            return logits
        return {"loss": next_token_loss(logits[:, :-1], labels[:, 1:]), "logits": logits}


def next_token_loss(logits, target):
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def tokens(time=10):
    return torch.randint(VOCABULARY, (4, time), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", ["pair", "mapping", "one tensor"])
def test_future_tokens_are_seen_where_the_mask_is_missing(causal, form):
    model, ids = Tokens(causal), tokens()
    if form == "pair":
        step, batch = Step(model, next_token_loss), (ids[:, :-1], ids[:, 1:])
    elif form == "mapping":
        step, batch = Step(model), {"input_ids": ids, "labels": ids}
    else:
        step, batch = Step(model, step=lambda model, ids: next_token_loss(model(ids[:, :-1]), ids[:, 1:])), ids
    said = found(step, batch)
    assert set(said) == (set() if causal else {"D211"})
    if not causal:
        assert said["D211"].hit.numbers["change"] > 0.1
        assert said["D211"].severity == "error"


def test_a_masked_language_model_may_see_both_sides():
    ids = tokens()
    hidden = torch.rand(ids.shape, generator=torch.Generator().manual_seed(4)) < 0.2
    batch = (torch.where(hidden, 0, ids), torch.where(hidden, ids, -100))
    assert look_at_dependence(Step(Tokens(False), next_token_loss), batch).future > 0.1
    assert not found(Step(Tokens(False), next_token_loss), batch)


def test_next_tokens_are_told_from_equal_ones():
    ids = tokens()
    assert next_tokens((ids[:, :-1], ids[:, 1:]))
    assert not next_tokens((ids, ids))
    assert not next_tokens((torch.ones(3, 5), torch.ones(3, 5)))  # constants follow themselves


def pairs(doubles, n=16):
    torch.manual_seed(5)
    images, texts = torch.randn(n, 6), torch.randn(n, 6)
    texts[:doubles] = texts[0]
    return images, texts


def contrastive(**ids):
    model = nn.Linear(6, 8)
    return Step(model, step=lambda model, batch: losskit.clip_loss(model(batch[0]), model(batch[1]), **ids))


def test_doubles_in_a_contrastive_batch_make_a_floor():
    said = found(contrastive(), pairs(doubles=8))["D704"]
    assert said.hit.numbers["share"] == 8 / 16
    assert said.hit.numbers["floor"] == pytest.approx(8 / 16 * math.log(8))


def test_doubles_count_in_a_square_cross_entropy_too():
    step = Step(nn.Linear(6, 8), step=lambda m, b: F.cross_entropy(m(b[0]) @ m(b[1]).T, torch.arange(len(b[0]))))
    assert found(step, pairs(doubles=4))["D704"].hit.numbers["floor"] == pytest.approx(4 / 16 * math.log(4))


def test_ids_that_leave_doubles_out_and_rare_doubles_are_silent():
    ids = torch.arange(16)
    ids[:8] = 0
    assert not found(contrastive(query_ids=ids, key_ids=ids), pairs(doubles=8))
    assert not found(contrastive(), pairs(doubles=1))
    assert not found(contrastive(), pairs(doubles=2, n=64))


def test_the_probe_leaves_no_trace():
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4))
    model[3].weight.data.zero_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch, state = points(), torch.get_rng_state()
    look_at_dependence(Step(model, F.cross_entropy), batch)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not model._forward_hooks


def test_batches_that_cannot_be_cut_are_left_out_with_a_reason():
    seen = look_at_dependence(
        Step(classifier(), lambda out, target: F.cross_entropy(out[target], target)), (points()[0], torch.tensor([1]))
    )
    assert seen.shuffled is None
    assert "one row a sample" in seen.why_not
    assert look_at_dependence(Step(classifier(), step=lambda m, _: m(torch.ones(1, 6)).sum()), ()).why_not
