"""Finding functions: what is read from Python's sources, what the losses are given, and what the demo says of them."""

from __future__ import annotations

import functools
import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console

from losskit.demos import DEMOS, Ran, Result, discover, generator, python_functions
from losskit.demos.find_function import LOSSES, Data, Plan, find_function, judge, start, twice
from losskit.demos.letters import BUCKETS, Towers, counts, pieces
from losskit.demos.python_functions import WORD, Function, described, functions, split
from losskit.demos.report import render
from losskit.demos.retrieved import key_of
from losskit.demos.terminal import show

SOURCE = '''
"""A module."""

def parse_line(text, *, strict=True):
    """Split one line with parse_line() into its fields.

    More of it.
    """

def undescribed(text): ...

def short():
    """Too short."""

class Reader:
    def read(self, size):
        """Return the next few bytes of it."""

    def _fill(self):
        """Ask for more bytes from below."""

    def __iter__(self):
        """Give the rows one by one."""

class Other:
    def read(self):
        """The same in two places."""

    async def again(self):
        """The same in two places."""
'''


SMALL = Plan(splits=(0,), steps=4, batch=32, every=6)


@functools.cache
def known() -> tuple[Function, ...]:
    return functions()


@functools.cache
def data() -> Data:
    some = known()[::4]
    return Data.of(some, (counts(one.description for one in some), counts(one.signature for one in some)), 0)


@functools.cache
def small() -> Result:
    return find_function(lambda share: None, SMALL)


@functools.cache
def whole() -> Result:
    return find_function(lambda share: None)


# the functions


def test_what_is_described_twice_is_left_out_and_so_are_private_modules_tests_and_broken_files(tmp_path: Path) -> None:
    (tmp_path / "package" / "test").mkdir(parents=True)
    for name in ("package/__init__.py", "package/_private.py", "_hidden.py", "package/test/more.py"):
        (tmp_path / name).write_text(SOURCE)
    (tmp_path / "package" / "broken.py").write_text("def f(:\n")
    (tmp_path / "package" / "own.py").write_text(SOURCE.replace("Split", "Cut"))
    # all else stands in package, package._private and package.own word for word
    assert [one.name for one in functions(tmp_path)] == ["package.own.parse_line"]


def test_a_description_is_one_paragraph_and_names_and_arguments_are_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(SOURCE)
    line, read, fill = functions(tmp_path)
    assert line == Function("one.parse_line", ("text", "strict"), "Split one line with () into its fields.")
    assert line.signature == "one.parse_line text strict"
    assert (read.name, read.arguments, read.module, read.public) == ("one.Reader.read", ("size",), "one", True)
    assert (fill.name, fill.public) == ("one.Reader._fill", False)


def test_a_name_is_taken_out_of_its_description_as_a_word_only() -> None:
    assert described("close the file; closed files: call close().", "close") == "the file; closed files: call ()."
    assert described("Close the file that is open.", "close") == "Close the file that is open."
    assert described("Too short", "f") == ""
    assert len(WORD.findall(described("word " * 500, "f"))) == 60


def test_the_standard_library_has_thousands_and_the_same_ones_every_time() -> None:
    assert len(known()) > 3000
    assert len({one.description.lower() for one in known()}) == len(known())
    assert functions.__wrapped__() == known()
    assert not [one.name for one in known() if one.module in ("test", "idlelib", "site-packages")]


def test_a_python_without_its_sources_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(python_functions.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ImportError, match="needs the sources of the standard library"):
        functions.__wrapped__()


@pytest.mark.parametrize("seed", [0, 1])
def test_no_module_is_in_both_splits_and_what_is_held_out_is_public(seed: int) -> None:
    learned, held = split(known(), seed)
    assert {one.module for one in learned}.isdisjoint(one.module for one in held)
    assert all(one.public for one in held)
    assert 0.15 * len(known()) < len(held) <= 0.25 * len(known())
    assert split(known(), seed + 1)[1] != held


# letters and towers


def test_a_word_is_itself_and_its_letters_in_a_row() -> None:
    parts = ["<cat>", "<ca", "cat", "at>", "<cat", "cat>"]
    assert len(pieces("cat")) == len(parts)
    assert set(pieces("cat")) & set(pieces("cats"))
    assert all(0 <= bucket < BUCKETS for bucket in pieces("anything"))


def test_rows_of_letters_have_length_one_and_know_names_from_words() -> None:
    rows = counts(["parse the HTML file", "parseHTMLFile", "zzz"])
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(3))
    alike = rows @ rows.T
    assert float(alike[0, 1]) > 0.8
    assert float(alike[0, 2]) < 0.1


def test_untrained_is_letters_in_common() -> None:
    query, key = Towers(generator(1))(data().unseen_query[:50], data().unseen_key[:50])
    exact = data().unseen_query[:50] @ data().unseen_key[:50].T
    assert float(((query @ key.T) - exact).detach().abs().max()) < 0.05
    assert judge(start(), data())["recall@1"] > 50 / len(data().held)


# the losses


def batch(rows: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    query, key = (torch.randn(rows, 8, generator=generator(i), dtype=torch.float64) for i in (0, 1))
    return torch.nn.functional.normalize(query, dim=-1), torch.nn.functional.normalize(key, dim=-1)


def test_the_losses_are_their_formulas() -> None:
    query, key = batch()
    scores, own = query @ key.T, (query * key).sum(-1)

    def nll(s: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(s / 0.05, torch.arange(len(s)))

    def apart(other: torch.Tensor) -> torch.Tensor:
        return (query - other).norm(dim=-1)

    random = key.roll(1, 0)
    hard = key[(scores - 9 * torch.eye(32)).argmax(1)]
    wanted = {
        "multiple negatives": nll(scores),
        "in batches of 16": (nll(scores[:16, :16]) + nll(scores[16:, 16:])) / 2,
        "triplet, hardest": (apart(key) - apart(hard) + 0.2).relu().mean(),
        "triplet, random": (apart(key) - apart(random) + 0.2).relu().mean(),
        "contrastive": ((1 - own).square().mean() + (0.5 + (query * random).sum(-1)).relu().square().mean()) / 4,
    }
    for name, loss in LOSSES.items():
        assert float(loss(query, key)) == pytest.approx(float(wanted[name]), rel=1e-6), name


def test_twins_cost_ln_2_without_ids_and_nothing_with_them() -> None:
    eye = torch.eye(8).repeat(2, 1)  # the first half is taken twice, all others are orthogonal
    noise = math.log1p(14 * math.exp(-1 / 0.05))
    assert float(twice(ids=True)(eye, eye)) == pytest.approx(noise, rel=1e-4)
    assert float(twice(ids=False)(eye, eye)) == pytest.approx(math.log(2), rel=1e-6)


# the demo


def test_it_is_found_by_its_name() -> None:
    assert "find-function" in [one.name for one in discover()]


def test_the_same_seeds_give_the_same_numbers_and_nothing_global_changes() -> None:
    state = torch.get_rng_state()
    first = small()
    again = find_function(lambda share: None, SMALL)
    assert again.facts == first.facts
    assert torch.equal(torch.get_rng_state(), state)
    assert all(isinstance(value, float) and math.isfinite(value) for value in first.facts.values())


def test_the_tables_fit_a_terminal_and_the_page_has_them() -> None:
    ran, out = Ran(DEMOS["find-function"], small(), 1.0), io.StringIO()
    show([ran], Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "Right (*)" in out.getvalue()
    assert "triplet, hardest" in render([ran])


def test_chance_is_its_formula() -> None:
    found, pool = small().facts, small().facts["held"]
    assert found["chance_recall"] == pytest.approx(1 / pool)
    assert found["chance_mrr"] == pytest.approx((math.log(pool) + 0.5772) / pool, rel=0.01)
    assert found["chance_loss"] == pytest.approx(math.log(32))


@pytest.mark.claim("R36")
@pytest.mark.slow
def test_what_the_demo_says_is_what_it_measured() -> None:
    found = whole().facts
    # what sees all wrong answers of a batch beats one random wrong answer, which beats pairs without a ranking
    best = min(found["mrr_multiple_negatives"], found["mrr_triplet_hardest"])
    assert best > found["mrr_triplet_random"] > found["mrr_contrastive"]
    # better than letters in common, beyond the interval over modules; pairwise contrastive is worse
    assert found["mrr_change_low_multiple_negatives"] > 0
    assert found["recall_multiple_negatives"] > found["recall_before"] > 100 * found["chance_recall"]
    assert found["mrr_contrastive"] < found["mrr_before"]
    # the lower loss is that of smaller batches, and twins hold it above ln 2
    assert found["loss_in_batches_of_16"] < found["loss_multiple_negatives"] < found["chance_loss"]
    assert found["loss_twice_without_ids"] > math.log(2) > found["loss_twice_with_ids"]
    for name in LOSSES:
        assert found[f"mrr_change_{key_of(name)}"] == pytest.approx(found[f"mrr_{key_of(name)}"] - found["mrr_before"], abs=0.005)
    assert f"{100 * found['recall_multiple_negatives']:.1f} % with multiple negatives" in whole().answer
