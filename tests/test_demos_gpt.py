"""The transformer of a demo: documents do not see each other, the future is not seen, and micro-batches add up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from losskit.demos import generator
from losskit.demos.gpt import GPT, Course, Orthogonal, Rows, Shape, off, orthogonal, pack, score, train, ways
from losskit.losses.linear_cross_entropy import linear_cross_entropy

SMALL = Shape(width=16, layers=2, heads=2, length=12)
documents = st.lists(st.integers(1, 40), max_size=8)


# rows


@given(documents, st.integers(2, 16), st.booleans())
def test_every_token_but_the_first_is_predicted_once_and_from_the_one_before_it(
    lengths: list[int], length: int, shuffled: bool
) -> None:
    """Tokens are numbered through all documents, with a gap between two: no document predicts the next."""
    firsts = [100 * i for i in range(len(lengths))]
    given = [list(range(first, first + size)) for first, size in zip(firsts, lengths, strict=True)]
    rows = pack(given, length, generator(0) if shuffled else None)
    targets = rows.targets()
    asked = targets >= 0
    assert (targets[asked] == rows.labels[asked] + 1).all()
    assert sorted(targets[asked].tolist()) == [token for one in given for token in one[1:]]
    assert rows.labels.shape == rows.document.shape == (len(rows.labels), length)
    assert ((rows.labels == -100) == (rows.document == -1)).all()


def test_short_documents_share_a_row() -> None:
    rows = pack([[1, 2, 3], [4, 5], [6, 7, 8, 9]], 6)
    assert rows.labels.tolist() == [[1, 2, 3, 4, 5, -100], [6, 7, 8, 9, -100, -100]]
    assert rows.document.tolist() == [[0, 0, 0, 1, 1, -1], [0, 0, 0, 0, -1, -1]]
    assert rows.targets().tolist() == [[2, 3, -100, 5, -100, -100], [7, 8, 9, -100, -100, -100]]


def test_a_source_changes_the_cuts_and_an_equal_one_does_not() -> None:
    given = [list(range(100)), list(range(200, 250))]
    first, again, other = (pack(given, 8, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.labels, again.labels)
    assert first.labels.shape != other.labels.shape or not torch.equal(first.labels, other.labels)


# the model


def awake(seed: int = 0) -> GPT:
    """A model whose blocks do add something."""
    model, source = GPT(50, SMALL, generator(seed)), generator(seed + 100)
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=source)
    return model


def hidden(model: GPT, labels: list[int], document: list[int]) -> torch.Tensor:
    return model(Rows(torch.tensor([labels]), torch.tensor([document]))).detach()[0]


def test_a_later_token_changes_no_earlier_score() -> None:
    before, after = (hidden(awake(), [1, 2, 3, 4, last, 6], [0] * 6) for last in (5, 45))
    torch.testing.assert_close(before[:4], after[:4])
    assert (before[4:] - after[4:]).abs().amax(-1).min() > 1e-2


def test_a_document_is_scored_the_same_whatever_is_beside_it_and_wherever_it_stands() -> None:
    alone = hidden(awake(), [1, 2, 3], [0, 0, 0])
    beside = hidden(awake(), [9, 8, 1, 2, 3, 7, 6, -100], [0, 0, 1, 1, 1, 2, 2, -1])
    torch.testing.assert_close(beside[2:5], alone, rtol=1e-4, atol=1e-5)
    assert (hidden(awake(), [2, 1, 3], [0, 0, 0])[2] - alone[2]).abs().max() > 1e-2  # the order does matter


def test_an_untrained_model_is_at_chance() -> None:
    model, rows, widths = (
        GPT(400, Shape(length=32), generator(0)),
        pack([list(range(200))], 32),
        torch.ones(400, dtype=torch.long),
    )
    found = score(model, rows, widths)
    assert (found.tokens, found.bytes) == (199, 199)
    assert found.perplexity == pytest.approx(400, rel=0.1)


def test_scores_add_up_over_documents_and_do_not_depend_on_the_rows() -> None:
    given, widths = [list(range(30)), list(range(40, 45)), [7, 7, 7, 8]], torch.arange(50)
    together = score(awake(), pack(given, 12), widths)
    apart = [score(awake(), pack([one], 12), widths) for one in given]
    assert together.nats == pytest.approx(sum(one.nats for one in apart), rel=1e-5)
    assert together.tokens == sum(one.tokens for one in apart) == 29 + 4 + 3
    assert together.bytes == sum(one.bytes for one in apart) == sum(range(1, 30)) + sum(range(41, 45)) + 7 + 7 + 8


def test_training_in_micro_batches_is_training_on_the_whole_batch() -> None:
    """With as unequal numbers of targets as there can be: rows of 11 and rows of 1."""
    given, widths = [list(range(12)), [3, 4], list(range(20, 32)), [9, 8]] * 4, torch.ones(50, dtype=torch.long)

    def trained(micro: int) -> tuple[list[float], GPT]:
        model = awake()
        course = Course(steps=4, rows=6, micro=micro, rate=0.01)
        return [one.loss for one in train(model, given, widths, course, 0, lambda step: None)], model

    (whole, wanted), (pieces, found) = trained(6), trained(1)
    assert pieces == pytest.approx(whole, rel=1e-4)
    assert whole[-1] < whole[0]
    before = awake().table
    moved = (wanted.table - before).norm()
    assert moved > 0.01
    assert (found.table - wanted.table).norm() < 0.01 * moved


def test_the_mean_of_means_is_off_by_what_the_unequal_pieces_make_it() -> None:
    source = generator(3)
    table = torch.randn(20, 4, generator=source, requires_grad=True)
    rows = [torch.randn(count, 4, generator=source) for count in (1, 3, 8)]
    targets = [torch.randint(20, (len(one),), generator=source) for one in rows]
    found = ways(rows, table, targets)
    each = [float(linear_cross_entropy(x, table, t).detach()) for x, t in zip(rows, targets, strict=True)]
    assert found["means"].loss == pytest.approx(sum(each) / 3)
    assert found["whole"].loss == pytest.approx((1 * each[0] + 3 * each[1] + 8 * each[2]) / 12)
    for name in ("plain", "counted"):
        assert max(map(abs, off(found[name], found["whole"]))) < 1e-6
    assert min(map(abs, off(found["means"], found["whole"]))) > 0.01
    assert found["whole"].gradient.norm() > 0.1
    equal = ways([one[:1] for one in rows], table, [one[:1] for one in targets])
    assert max(map(abs, off(equal["means"], equal["whole"]))) < 1e-6


@pytest.mark.parametrize("shape", [(3, 8, 24), (24, 8), (8, 8)])
def test_a_step_of_the_blocks_has_singular_values_near_one(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=generator(0))
    if matrix.ndim > 2:
        matrix *= torch.tensor([1e-3, 1.0, 1e3]).reshape(3, 1, 1)  # each layer is turned by itself
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert orthogonal(matrix).shape == shape
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_a_step_of_the_blocks_remembers_the_gradients_before_it() -> None:
    matrix = torch.eye(4).requires_grad_()
    steps, places = Orthogonal([matrix]), [matrix.detach().clone()]
    for gradient in (torch.eye(4), torch.zeros(4, 4)):
        matrix.grad = gradient
        steps.step(0.1)
        places.append(matrix.detach().clone())
    assert (places[1] - places[0]).trace() < -0.1
    assert (places[2] - places[1]).trace() < -0.1


def test_training_repeats_itself_and_learns_what_is_in_the_text() -> None:
    given = [[49, *([1, 2, 3, 4, 5] * 8)] for _ in range(8)]
    widths, course = torch.ones(50, dtype=torch.long), Course(steps=60, rows=4, micro=3, rate=0.03)
    seen: list[int] = []
    first, again = (train(GPT(50, SMALL, generator(0)), given, widths, course, 1, seen.append) for _ in range(2))
    assert first == again
    assert seen == [*range(61), *range(61)]
    assert first[0].perplexity == pytest.approx(50, rel=0.1)
    assert first[-1].perplexity < 1.5
    assert all(one.tokens == one.bytes > 30 for one in first)
