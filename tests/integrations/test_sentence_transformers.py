"""Our losses inside of sentence-transformers' own trainer, on a small model made on the spot, and beside its own losses."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import losskit

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here is on a hub, and nothing may be looked for there
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("datasets", reason="the trainer of sentence-transformers needs datasets")
pytest.importorskip("accelerate", reason="the trainer of sentence-transformers needs accelerate")

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer import losses as theirs
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from losskit.integrations.sentence_transformers import SentenceTransformerLoss

COLOURS = ["red", "green", "blue", "white", "black", "yellow", "brown", "pink"]
THINGS = ["car", "house", "bird", "tree"]
QUERIES = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]
KEYS = [f"the {thing} that is {colour}" for colour in COLOURS for thing in THINGS]
WRONG = [f"the {thing} that is not {colour}" for colour in COLOURS for thing in THINGS]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer of 20 thousand parameters and its tokenizer, as files."""
    where = tmp_path_factory.mktemp("model")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([*QUERIES, *KEYS, *WRONG], trainers.WordLevelTrainer(special_tokens=special))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(where)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(where)
    return where


def fresh(folder: Path) -> SentenceTransformer:
    torch.manual_seed(0)
    transformer = Transformer(str(folder))
    return SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension())], device="cpu")


def fit(model: SentenceTransformer, loss: nn.Module, data: dict[str, list[Any]], out: Path, **options: Any) -> list[float]:
    """Train with their trainer; the loss of each step that it logs."""
    arguments = {"max_steps": 12, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_steps": 1, **options}
    settings = SentenceTransformerTrainingArguments(
        str(out),
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=1,
        **arguments,
    )
    trainer = SentenceTransformerTrainer(model=model, args=settings, train_dataset=Dataset.from_dict(data), loss=loss)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def gradients(
    model: SentenceTransformer, loss: nn.Module, columns: list[list[str]], labels: Tensor | None
) -> tuple[float, Tensor]:
    """The loss of one batch and its gradient with respect to all weights of the model."""
    model.zero_grad()
    value = loss([model.preprocess(column) for column in columns], labels)
    value.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return float(value.detach()), found.clone()


PAIRS = {"anchor": QUERIES, "positive": KEYS}
SAME = [i % 2 for i in range(len(QUERIES))]
CASES = {
    "pairs": (losskit.MultipleNegativesRankingLoss(temperature=0.05), PAIRS),
    "hard negatives": (losskit.MultipleNegativesRankingLoss(), {**PAIRS, "negative": WRONG}),
    "triplets": (losskit.TripletMarginLoss(margin=1.0), {**PAIRS, "negative": WRONG}),
    "scores": (losskit.CoSENTLoss(), {"a": QUERIES, "b": [*KEYS[::2], *WRONG[::2]], "score": [float(s) for s in SAME]}),
    "labelled pairs": (
        losskit.ContrastiveLoss(),
        {"a": QUERIES, "b": [k if s else w for k, w, s in zip(KEYS, WRONG, SAME, strict=True)], "label": SAME},
    ),
    "labels": (
        losskit.SupervisedContrastiveLoss(),
        {"text": [*QUERIES, *KEYS], "label": [i % 4 for i in range(2 * len(QUERIES))]},
    ),
}


@pytest.mark.claim("R38")
@pytest.mark.parametrize("name", CASES)
def test_their_trainer_lowers_our_loss_and_moves_the_model(name: str, folder: Path, tmp_path: Path) -> None:
    model, (loss, data) = fresh(folder), CASES[name]
    before = model.encode(QUERIES[:4], convert_to_tensor=True)
    values = fit(model, SentenceTransformerLoss(model, loss), data, tmp_path)
    assert len(values) == 12
    assert all(math.isfinite(value) for value in values)
    assert sum(values[-3:]) < 0.95 * sum(values[:3])
    assert float((model.encode(QUERIES[:4], convert_to_tensor=True) - before).abs().max()) > 1e-3


@pytest.mark.parametrize("options", [{"gradient_accumulation_steps": 2}, {"bf16": True}], ids=str)
def test_accumulation_and_autocast_are_the_trainers_own_business(options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    model = fresh(folder)
    values = fit(model, SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss()), PAIRS, tmp_path, **options)
    assert values[-1] < values[0]
    assert values[0] == pytest.approx(math.log(8), rel=0.5)  # a mean over the micro-batches, not their sum


def test_under_autocast_the_loss_is_float32(folder: Path) -> None:
    model = fresh(folder)
    loss = SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss())
    features = [model.preprocess(QUERIES[:8]), model.preprocess(KEYS[:8])]
    exact = loss(features, None)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss(features, None)
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=0.05)


@pytest.mark.claim("R18")
def test_one_step_of_multiple_negatives_is_theirs(folder: Path) -> None:
    model = fresh(folder)
    for columns in ([QUERIES[:8], KEYS[:8]], [QUERIES[:8], KEYS[:8], WRONG[:8]], [QUERIES[:8], KEYS[:8], WRONG[:8], WRONG[8:16]]):
        ours = gradients(
            model, SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss(temperature=0.05)), columns, None
        )
        wanted = gradients(model, theirs.MultipleNegativesRankingLoss(model, scale=20.0), columns, torch.empty(0))
        assert ours[0] == pytest.approx(wanted[0], rel=1e-5)
        assert float(wanted[1].abs().max()) > 1e-3
        torch.testing.assert_close(ours[1], wanted[1], rtol=1e-3, atol=1e-5 * float(wanted[1].abs().max()))


def test_one_step_of_contrastive_loss_is_theirs(folder: Path) -> None:
    model, labels = fresh(folder), torch.tensor([1, 0, 0, 1, 1, 0, 1, 0])
    ours = gradients(
        model, SentenceTransformerLoss(model, losskit.ContrastiveLoss(margin=0.5)), [QUERIES[:8], KEYS[4:12]], labels
    )
    wanted = gradients(model, theirs.ContrastiveLoss(model, margin=0.5), [QUERIES[:8], KEYS[4:12]], labels)
    assert ours[0] == pytest.approx(wanted[0], rel=1e-5)
    assert float(wanted[1].abs().max()) > 1e-3
    torch.testing.assert_close(ours[1], wanted[1], rtol=1e-3, atol=1e-5 * float(wanted[1].abs().max()))


@pytest.mark.parametrize(("our", "their"), [(losskit.CoSENTLoss, theirs.CoSENTLoss), (losskit.AnglELoss, theirs.AnglELoss)])
def test_one_step_of_scored_pairs_is_theirs(our: type[Any], their: type[Any], folder: Path) -> None:
    model, scores = fresh(folder), torch.tensor([0.1, 0.9, 0.4, 0.4, 0.7, 0.0, 1.0, 0.2])
    ours = gradients(model, SentenceTransformerLoss(model, our(temperature=0.05)), [QUERIES[:8], KEYS[4:12]], scores)
    wanted = gradients(model, their(model, scale=20.0), [QUERIES[:8], KEYS[4:12]], scores)
    assert ours[0] == pytest.approx(wanted[0], rel=1e-4)
    assert float(wanted[1].abs().max()) > 1e-3
    torch.testing.assert_close(ours[1], wanted[1], rtol=1e-3, atol=1e-4 * float(wanted[1].abs().max()))


def test_it_is_trained_inside_of_matryoshka(folder: Path, tmp_path: Path) -> None:
    model = fresh(folder)
    loss = theirs.MatryoshkaLoss(model, SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss()), [32, 8])
    values = fit(model, loss, PAIRS, tmp_path)
    assert values[-1] < values[0]


def test_a_learned_temperature_is_trained(folder: Path, tmp_path: Path) -> None:
    model, temperature = fresh(folder), nn.Parameter(torch.tensor(0.07))
    fit(model, SentenceTransformerLoss(model, losskit.InfoNCELoss(temperature=temperature)), PAIRS, tmp_path)
    assert float(temperature.detach()) != pytest.approx(0.07, rel=1e-3)


def test_checkpoints_hold_the_model_alone_and_a_card_that_names_the_loss(folder: Path, tmp_path: Path) -> None:
    model = fresh(folder)
    loss = SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss(temperature=0.1, directions="both"))
    fit(model, loss, PAIRS, tmp_path, max_steps=2)
    model.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.equal(again.encode(QUERIES[:4], convert_to_tensor=True), model.encode(QUERIES[:4], convert_to_tensor=True))
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "losskit.integrations.sentence_transformers.SentenceTransformerLoss" in card
    assert '"temperature": 0.1' in card
    assert '"directions": "both"' in card
    assert "arXiv:1705.00652" in card


def test_what_the_data_lack_is_said(folder: Path) -> None:
    model = fresh(folder)

    def rows(count: int) -> list[Tensor]:
        return [torch.randn(4, 8) for _ in range(count)]

    with pytest.raises(
        ValueError, match="has 1 columns of text, expected 2 or more for multiple_negatives_ranking_loss: query, key"
    ):
        SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss()).compute_loss_from_embeddings(rows(1), None)
    with pytest.raises(ValueError, match="has 3 columns of text, expected 2 for cosent_loss"):
        SentenceTransformerLoss(model, losskit.CoSENTLoss()).compute_loss_from_embeddings(rows(3), torch.zeros(4))
    with pytest.raises(ValueError, match='no label, and cosent_loss takes "target": name a column "label" or "score"'):
        SentenceTransformerLoss(model, losskit.CoSENTLoss()).compute_loss_from_embeddings(rows(2), None)


def test_a_label_that_nobody_takes_is_said(folder: Path) -> None:
    loss = SentenceTransformerLoss(fresh(folder), losskit.MultipleNegativesRankingLoss())
    rows = torch.randn(4, 8)
    with pytest.raises(ValueError, match="takes none: leave it out"):
        loss.compute_loss_from_embeddings([rows, rows], torch.zeros(4))


def test_other_losses_are_refused(folder: Path) -> None:
    model = fresh(folder)
    with pytest.raises(TypeError, match=r'"loss" is CrossEntropyLoss, expected a losskit module'):
        SentenceTransformerLoss(model, nn.CrossEntropyLoss())
    with pytest.raises(TypeError, match=r"focal_loss, which takes \(input, target\): expected embeddings"):
        SentenceTransformerLoss(model, losskit.FocalLoss())
    with pytest.raises(ValueError, match='reduction="none", expected "mean" or "sum"'):
        SentenceTransformerLoss(model, losskit.MultipleNegativesRankingLoss(reduction="none"))


@pytest.mark.claim("R34")
def test_every_loss_of_embeddings_without_weights_of_its_own_fits(folder: Path) -> None:
    """Read from the cards: a new loss needs no line in the adapter."""
    model, generator = fresh(folder), torch.Generator().manual_seed(0)
    fitted: list[str] = []
    for card in losskit.CATALOGUE.values():
        if card.task != "embedding" or not {"linear_weight", "proxies"}.isdisjoint(card.tensors) or card.module is None:
            continue
        loss = SentenceTransformerLoss(model, card.module())
        rows = [torch.randn(8, 6, generator=generator, requires_grad=True) for _ in loss.columns.texts]
        wanted = card.sample.get(loss.columns.label or "")
        signs = torch.tensor([1, -1] * 4) if card.name == "cosine_embedding_loss" else torch.tensor([0, 1] * 4)
        value = loss.compute_loss_from_embeddings(rows, None if wanted is None else signs)
        assert math.isfinite(float(value.detach())), card.name
        fitted.append(card.name)
    assert {"multiple_negatives_ranking_loss", "cosent_loss", "triplet_margin_loss", "supervised_contrastive_loss"} <= set(fitted)


def test_without_sentence_transformers_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["sentence_transformers"] = None
try:
    import losskit.integrations.sentence_transformers
except ImportError as problem:
    print(problem)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "needs sentence-transformers: pip install 'losskit[sentence-transformers]'" in found
