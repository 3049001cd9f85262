"""check() leaves no trace: everything that can be reached is equal to the last bit afterwards, whatever happened."""

import random
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from losskit.doctor import check
from losskit.doctor.before.keep import state_hash, untouched


class Busy(nn.Module):
    """A model that keeps state wherever a model can."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 3)
        self.calls = 0
        self.queue = []
        self.memory = torch.zeros(3)
        self.hidden = [nn.Linear(8, 8)]
        self.noise = torch.Generator().manual_seed(7)

    def forward(self, x):
        self.calls += 1
        self.queue.append(len(x))
        self.memory += 1
        jitter = torch.randn(8, generator=self.noise) * 0.01
        return self.head(self.drop(self.hidden[0](self.norm(self.encoder(x))).relu() + jitter))


def training(seed=0):
    """A model in the middle of its training, with everything that belongs to one."""
    torch.manual_seed(seed)
    model = Busy()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=10)
    scaler = torch.amp.GradScaler("cpu")
    x, y = torch.randn(12, 6), torch.randint(3, (12,))
    scaler.scale(F.cross_entropy(model(x), y)).backward()
    scaler.step(optimizer)
    scaler.update()
    scheduler.step()
    return model, optimizer, scheduler, scaler, (x, y)


def test_a_whole_check_leaves_every_bit_as_it_was():
    model, optimizer, scheduler, scaler, batch = everything = training()
    before = state_hash(*everything)
    report = check(model, batch, nn.CrossEntropyLoss(), optimizer, scheduler=scheduler, scaler=scaler)
    assert not report.cases[0].faults
    assert report.cases[0].facts["loss"] > 0
    assert state_hash(*everything) == before


def test_a_check_in_eval_mode_leaves_eval_mode():
    model, optimizer, *_, batch = everything = training()
    model.eval()
    before = state_hash(*everything)
    check(model, batch, F.cross_entropy, optimizer, overfit=False)
    assert not model.training
    assert state_hash(*everything) == before


@pytest.mark.parametrize("bad_call", range(1, 12))
def test_a_loss_that_raises_in_the_middle_leaves_no_trace(bad_call):
    model, optimizer, scheduler, scaler, batch = everything = training()
    calls = 0

    def loss_fn(output, target):
        nonlocal calls
        calls += 1
        if calls >= bad_call:
            raise RuntimeError("out of luck")
        return F.cross_entropy(output, target)

    before = state_hash(*everything)
    report = check(model, batch, loss_fn, optimizer, scheduler=scheduler, scaler=scaler, budget_s=5)
    (case,) = report.cases
    assert state_hash(*everything) == before
    assert calls >= bad_call
    assert "out of luck" in str((case.problem, case.left_out, case.faults))


def test_an_interrupt_restores_and_leaves():
    model, optimizer, *_, batch = everything = training()
    calls = 0

    def loss_fn(output, target):
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt
        return F.cross_entropy(output, target)

    before = state_hash(*everything)
    with pytest.raises(KeyboardInterrupt):
        check(model, batch, loss_fn, optimizer)
    assert state_hash(*everything) == before


def test_an_optimizer_inside_of_step_is_restored_too():
    model, optimizer, scheduler, _, batch = everything = training()

    def step(model, batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    before = state_hash(*everything)
    check(model, batch, step=step)
    assert state_hash(*everything) == before


def test_a_loss_that_writes_into_its_batch_leaves_the_batch():
    model, optimizer, *_ = training()
    batch = {"x": torch.randn(4, 6), "y": torch.tensor([0, 1, 2, 0])}

    def step(model, batch):
        batch["y"][0] = -100
        batch["x"].mul_(0.5)
        batch["extra"] = torch.ones(1)
        return F.cross_entropy(model(batch["x"]), batch["y"])

    before = state_hash(batch)
    check(model, batch, step=step, optimizer=optimizer, overfit=False)
    assert state_hash(batch) == before
    assert "extra" not in batch


def test_gradients_that_were_there_are_there_again():
    model, optimizer, *_, batch = training()
    kept = {p: (p.grad, p.grad.clone()) for p in model.parameters()}
    assert all(values.any() for _, values in kept.values())
    check(model, batch, F.cross_entropy, optimizer, overfit=False)
    assert all(p.grad is grad and torch.equal(grad, values) for p, (grad, values) in kept.items())


def test_python_torch_and_numpy_draw_the_numbers_that_they_would_have_drawn():
    numpy = pytest.importorskip("numpy")  # losskit does without it
    model, optimizer, *_, batch = training()
    random.seed(1), torch.manual_seed(1), numpy.random.seed(1)
    expected = random.random(), float(torch.rand(())), numpy.random.rand()
    random.seed(1), torch.manual_seed(1), numpy.random.seed(1)
    check(model, batch, lambda out, y: F.cross_entropy(out, y) * (1 + 0 * numpy.random.rand()), optimizer, overfit=False)
    assert "numpy" in sys.modules
    assert (random.random(), float(torch.rand(())), numpy.random.rand()) == expected


def _weight(model):
    model.head.weight.data[0, 0] += 1e-6


CHANGES = {
    "a weight": lambda m, o, s, c, b: _weight(m),
    "a running mean": lambda m, o, s, c, b: m.norm.running_mean.add_(1e-3),
    "the mode of one module": lambda m, o, s, c, b: m.drop.eval(),
    "a frozen weight": lambda m, o, s, c, b: m.head.bias.requires_grad_(False),
    "a missing gradient": lambda m, o, s, c, b: setattr(m.head.bias, "grad", None),
    "another gradient": lambda m, o, s, c, b: m.head.bias.grad.add_(1),
    "a forward hook": lambda m, o, s, c, b: m.head.register_forward_hook(lambda *_: None),
    "a hook of a gradient": lambda m, o, s, c, b: m.head.weight.register_hook(lambda g: g),
    "a hook after accumulation": lambda m, o, s, c, b: m.head.weight.register_post_accumulate_grad_hook(lambda p: None),
    "a hook of the optimizer": lambda m, o, s, c, b: o.register_step_pre_hook(lambda *_: None),
    "a moment of the optimizer": lambda m, o, s, c, b: o.state[m.head.weight]["exp_avg"].add_(1),
    "no state of the optimizer": lambda m, o, s, c, b: o.state.clear(),
    "a learning rate": lambda m, o, s, c, b: o.param_groups[0].update(lr=0.5),
    "a step of the schedule": lambda m, o, s, c, b: s.step(),
    "the loss scale": lambda m, o, s, c, b: c.update(2.0),
    "the batch": lambda m, o, s, c, b: b[0].mul_(2),
    "torch's random numbers": lambda m, o, s, c, b: torch.rand(1),
    "Python's random numbers": lambda m, o, s, c, b: random.random(),
    "a generator of the model": lambda m, o, s, c, b: torch.rand(1, generator=m.noise),
    "a plain counter": lambda m, o, s, c, b: setattr(m, "calls", 99),
    "a plain queue": lambda m, o, s, c, b: m.queue.append(1),
    "a plain tensor": lambda m, o, s, c, b: m.memory.add_(1),
    "a module in a list": lambda m, o, s, c, b: m.hidden[0].weight.data.add_(1),
    "another buffer": lambda m, o, s, c, b: setattr(m.norm, "running_var", torch.full((8,), 2.0)),
    "another precision": lambda m, o, s, c, b: m.double(),
    "another parameter": lambda m, o, s, c, b: setattr(m.head, "bias", nn.Parameter(torch.ones(3))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_hash_sees_every_change_and_untouched_takes_it_back(name):
    model, optimizer, scheduler, scaler, batch = everything = training()
    before = state_hash(*everything)
    with untouched(model, optimizer, scheduler, scaler, batch=batch):
        CHANGES[name](*everything)
        assert state_hash(*everything) != before
    assert state_hash(*everything) == before


def test_weights_come_back_into_their_own_memory():
    model, *_ = training()
    addresses = [p.data_ptr() for p in model.parameters()]
    with untouched(model):
        model.double()
    assert [p.data_ptr() for p in model.parameters()] == addresses
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_training_goes_on_as_if_nothing_had_been():
    def three_steps(*, checked):
        model, optimizer, scheduler, _, (x, y) = training(seed=3)
        if checked:
            check(model, (x, y), F.cross_entropy, optimizer, scheduler=scheduler)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        return losses

    assert three_steps(checked=True) == three_steps(checked=False)
