"""What is wrong with the labels of sequences and with a perplexity."""

import math

import pytest
import torch
import torch.nn.functional as F

from doctor_seen import found, numbers
from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.dependence import Dependence
from losskit.doctor.evidence.run import Reading, Run, Series
from losskit.doctor.examine import examine

IGNORED = -100


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def scores(*shape):
    return torch.randn(*shape, requires_grad=True) * 1


def text(rows=16, tokens=24, vocabulary=50, eos=None):
    """Rows of random words with padding 0 at their ends: ids and the number of words of each row."""
    ids = torch.randint(3, vocabulary, (rows, tokens))
    lengths = torch.randint(tokens // 4, tokens // 2, (rows,))
    ids[torch.arange(tokens) >= lengths[:, None]] = 0
    if eos is not None:
        ids[torch.arange(rows), lengths - 1] = eos
    return ids, lengths


def next_token(ids, labels=None, vocabulary=50, ahead=1, **more):
    labels = ids if labels is None else labels
    wide = ids.shape[1] - ahead
    return F.cross_entropy(scores(len(ids) * wide, vocabulary), labels[:, ahead:].reshape(-1), **more)


def test_padding_that_is_learned_is_named_with_the_loss_without_it():
    ids, _ = text()
    finding = found(lambda: next_token(ids), batch={"input_ids": ids})["D112"]
    share = float((ids[:, 1:] == 0).double().mean())
    assert finding.hit.numbers["share"] == pytest.approx(share)
    assert "loss without it" in finding.hit.numbers
    assert not found(lambda: next_token(ids, ignore_index=0), batch={"input_ids": ids})
    assert not found(lambda: next_token(ids, ids.masked_fill(ids == 0, IGNORED)), batch={"input_ids": ids})
    assert "D112" in found(lambda: next_token(ids.flip(1)), batch={"input_ids": ids.flip(1)})


def test_padding_of_labels_beside_constant_features_is_named_and_a_state_that_lasts_is_not():
    features, lengths = torch.randn(16, 24, 3), torch.randint(8, 12, (16,))
    late = torch.arange(24) >= lengths[:, None]
    labels = torch.randint(1, 5, (16, 24)).masked_fill(late, 0)

    def work():
        return F.cross_entropy(scores(16 * 24, 5), labels.reshape(-1))

    assert not found(work, batch=(features, labels))
    assert "D112" in found(work, batch=(features.masked_fill(late[..., None], 0.0), labels))


def test_a_word_of_a_small_vocabulary_that_rows_end_in_is_noted_and_padding_is_named():
    ids, lengths = text()
    late = torch.arange(ids.shape[1]) >= lengths[:, None]

    def severity(pad, vocabulary=50, **more):
        other = torch.where(late, pad, ids.where(ids != pad, 10))
        given = {"input_ids": other, **{k: v for k, v in more.items() if k == "mask"}}
        special = {k: v for k, v in more.items() if k != "mask"}
        return found(lambda: next_token(other, vocabulary=vocabulary), batch=given, **special)["D112"].severity

    assert severity(22) == "info"  # as a state that lasts to the end
    assert [severity(pad) for pad in (0, 1, 2, 3, 49)] == ["warning"] * 5
    assert severity(22, vocabulary=300) == "warning"
    assert severity(22, mask=(~late).long()) == "warning"
    assert severity(22, tokenizer={"pad_token_id": 22}) == "warning"


def test_labels_at_the_place_of_their_token_are_named_if_the_model_is_causal():
    ids = torch.randint(3, 50, (4, 12))
    batch = {"input_ids": ids}
    causal = {"dependence": Dependence(future=0.0)}
    finding = found(lambda: next_token(ids, ahead=0), batch=batch, **causal)["D801"]
    assert finding.severity == "error"
    assert finding.hit.numbers["same place"] == 1
    assert found(lambda: next_token(ids, ahead=0), batch=batch)["D801"].severity == "info"
    assert found(lambda: next_token(ids, ahead=0), batch=batch, settings=Settings(task="language"))["D801"].severity == "error"
    assert not found(lambda: next_token(ids), batch=batch, **causal)


def test_tags_of_frames_are_not_taken_for_tokens():
    tags = torch.randint(0, 50, (4, 12))
    causal = {"dependence": Dependence(future=0.0), "settings": Settings(task="language")}
    assert not found(lambda: next_token(tags, ahead=0), batch=(torch.randn(4, 12, 3), tags), **causal)
    assert not found(lambda: next_token(tags, ahead=0), batch={"frames": torch.randn(4, 12, 3), "labels": tags}, **causal)


def test_labels_of_masked_words_are_not_taken_for_a_copy():
    ids = torch.randint(3, 50, (4, 40))
    hidden = torch.rand(4, 40) < 0.15
    labels = ids.masked_fill(~hidden, IGNORED)
    batch = {"input_ids": ids.masked_fill(hidden, 1), "labels": labels}
    assert not found(lambda: next_token(ids, labels, ahead=0), batch=batch, settings=Settings(task="language"))


def test_labels_shifted_twice_are_named_unless_another_head_looks_at_the_next_token():
    ids = torch.randint(3, 50, (4, 12))
    inputs, targets = ids[:, :-1], ids[:, 1:]
    finding = found(lambda: next_token(targets), batch={"input_ids": inputs, "labels": targets})["D802"]
    assert finding.hit.numbers == {"two on": 1, "next": finding.hit.numbers["next"], "labels": 4 * 10}
    assert finding.hit.numbers["next"] < 0.5
    assert not found(lambda: next_token(targets, ahead=0), batch={"input_ids": inputs, "labels": targets})
    assert not found(lambda: next_token(ids) + next_token(ids, ahead=2), batch={"input_ids": ids})
    padded = F.pad(ids[:, 1:], (0, 1), value=IGNORED)
    assert not found(lambda: next_token(ids, padded, ahead=0), batch={"input_ids": ids})


def test_a_text_of_one_word_says_nothing_about_shifts():
    ids = torch.full((4, 12), 7)
    assert not found(lambda: next_token(ids, ahead=0), batch={"input_ids": ids}, codes=("D801", "D802"))


def test_an_end_of_text_that_is_masked_with_the_padding_is_named():
    ids, lengths = text(eos=2)
    ids[ids == 0] = 2  # pad_token = eos_token
    tokenizer = {"eos_token_id": 2, "pad_token_id": 2}
    sick = ids.masked_fill(ids == 2, IGNORED)
    healthy = ids.masked_fill(torch.arange(24) >= lengths[:, None], IGNORED)
    hit = numbers(lambda: next_token(ids, sick), "D803", batch={"input_ids": ids}, tokenizer=tokenizer)
    assert (hit["ends learned"], hit["rows that end"]) == (0, 16)
    assert not found(lambda: next_token(ids, healthy), batch={"input_ids": ids}, tokenizer=tokenizer)
    assert not found(lambda: next_token(ids, sick), batch={"input_ids": ids})
    windows = torch.randint(3, 50, (4, 12))
    assert not found(lambda: next_token(windows), batch={"input_ids": windows}, tokenizer=tokenizer)


def test_a_mean_of_perplexities_is_named_beside_the_perplexity():
    spread = torch.linspace(0.1, 6, 8)[:, None, None]
    z, y = torch.randn(8, 20, 50, requires_grad=True) * spread, torch.randint(0, 50, (8, 20))
    each = F.cross_entropy(z.transpose(1, 2), y, reduction="none").detach()
    hit = numbers(lambda: F.cross_entropy(z.transpose(1, 2), y, reduction="none").mean(1).exp().mean(), "D805")
    assert hit["mean of exponentials"] == pytest.approx(float(each.mean(1).exp().mean()), rel=1e-5)
    assert hit["perplexity"] == pytest.approx(math.exp(float(each.mean())), rel=1e-5)
    assert not found(lambda: F.cross_entropy(z.transpose(1, 2), y).exp())
    even = torch.zeros(8, 20, 50, requires_grad=True) * 1  # all rows have the perplexity 50: the two means are one
    assert not found(lambda: F.cross_entropy(even.transpose(1, 2), y, reduction="none").mean(1).exp().mean())
    assert not found(lambda: F.cross_entropy(z.transpose(1, 2), y))


def logged(perplexity):
    steps = torch.arange(10) * 100
    loss = 4 - torch.linspace(0, 1, 10, dtype=torch.float64)
    series = (Series("eval/loss", "eval_loss", steps, loss), Series("eval/ppl", "perplexity", steps, perplexity(loss)))
    findings, faults = examine(Evidence("after", run=Run("a", series, Reading("jsonl"))), codes=("D805",))
    assert not faults
    return {one.code: one.hit.numbers for one in findings}


def test_a_logged_perplexity_above_that_of_the_logged_loss_is_named():
    assert logged(lambda loss: 1.08 * loss.exp())["D805"]["ratio"] == pytest.approx(1.08)
    assert not logged(torch.exp)
    assert not logged(lambda loss: loss.exp() * torch.linspace(0.9, 1.2, 10, dtype=torch.float64))
    assert not logged(lambda loss: 2**loss)
