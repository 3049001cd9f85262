"""Every hostile input of ``losskit perplexity``: its exit code and one sentence, never a traceback."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluate_helpers_cli import BIGRAM, data, zoo
from losskit.cli import main


def ends(arguments: Sequence[object], status: int, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run, and hold that it ends with the status and one sentence on stderr that has the words."""
    assert main(["perplexity", *map(str, arguments), "--quiet"]) == status
    out, err = capsys.readouterr()
    for word in words:
        assert word in err, err
    if status:
        assert err.startswith("losskit: ")
        assert err.count("\n") == 1, err
    else:
        assert err == ""
    return out


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


FILES: dict[str, tuple[bytes, int, str]] = {
    "empty.txt": (b"", 3, "nothing can be scored in 1 documents of 0 tokens"),
    "binary.txt": (b"MZ\x90\0\3\0\0", 3, "binary.txt:1: a NUL byte at byte 3"),
    "latin.txt": (b"first\ncaf\xe9 au lait", 3, "latin.txt:2: byte 9 is 0xe9, which is not UTF-8"),
    "field.jsonl": (b'{"text": "a"}\n{"body": "b"}\n', 3, 'field.jsonl:2: no field "text"'),
    "null.jsonl": (b'{"text": null}\n', 3, 'null.jsonl:1: field "text" is null'),
    "broken.jsonl": (b'{"text": "a"}\n{"text": \n', 3, "broken.jsonl:2:"),
    "empty.jsonl": (b"", 3, "no document in"),
    "zip.gz": (b"no gzip", 3, "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_data_that_cannot_be_read_is_code_3(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, status, words = FILES[name]
    ends([BIGRAM, written(tmp_path, name, content)], status, words, capsys=capsys)


def test_missing_files_and_empty_folders_are_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends([BIGRAM, tmp_path / "no.txt"], 3, "no.txt", "does not exist", capsys=capsys)
    ends([BIGRAM, tmp_path], 3, "no document in", str(tmp_path), capsys=capsys)


def test_one_token_is_scored_behind_a_prefix_and_nothing_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = written(tmp_path, "one.txt", b"a")
    found = json.loads(ends([BIGRAM, one, "--json", "-"], 0, capsys=capsys))
    assert (found["overall"]["tokens"], found["overall"]["perplexity_interval"]) == (1, None)
    ends([BIGRAM, one, "--bos", "none"], 3, "nothing can be scored in 1 documents of 1 tokens", capsys=capsys)


def test_ids_beyond_the_vocabulary_are_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends([zoo() / "narrow", data(tmp_path)], 3, "has 300 tokens", "do not belong together", capsys=capsys)
    ids = written(tmp_path, "ids.jsonl", b'{"tokens": [1, 2, 999]}\n')
    ends([zoo() / "llama", ids], 3, "has id 999", capsys=capsys)


def test_ids_beyond_the_vocabulary_of_a_model_without_a_head_are_code_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(["evaluate_helpers_cli:small", data(tmp_path)], 4, capsys=capsys)


USES: dict[str, tuple[list[str], str]] = {
    "stride": (["--window", "32", "--stride", "33"], '"stride" is 33, expected 1 to 32'),
    "slots": (["--window", "32", "--stride", "32"], '"stride" is 32, expected 1 to 31'),
    "positions": (["--window", "65"], '"window" is 65, expected at most 64, the positions that'),
    "device": (["--device", "abacus"], "'abacus'"),
    "folder": (["--json", "no/folder/a.json"], "is in a folder that does not exist"),
    "twice": (["--json", "a.json", "--html", "./a.json"], "is named twice"),
    "baseline": (["--baseline", "none.json"], "none.json: No such file or directory"),
    "needs": (["--fail-if-worse", "1%"], 'needs "--baseline"'),
    "percent": (["--fail-if-worse", "0.01"], "expected a percentage"),
    "gate": (["--fail-if", "perplexity=12"], "expected a figure"),
    "figure": (["--fail-if", "perplexty>12"], "names the figure 'perplexty'"),
    "units": (["--units", "token", "--fail-if", "bits_per_byte>2"], "names the figure 'bits_per_byte'"),
    "number": (["--fail-if", "perplexity>nan"], "expected a number"),
    "bos": (["--bos", "999"], '"bos" is 999'),
}


@pytest.mark.parametrize("name", USES)
def test_wrong_use_is_code_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    more, words = USES[name]
    ends([zoo() / "llama", data(tmp_path), *more], 2, words, capsys=capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


@pytest.mark.parametrize(
    "more",
    [
        ["--window", "0"], ["--window", "x"], ["--stride", "third"], ["--bos", "-1"], ["--level", "95"], ["--units", "line"],
        ["--batch-tokens", "0"], ["--interval", "iid"], ["--dtype", "int8"], ["--compat", "best"], ["--no-such-flag"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_flag_that_cannot_be_read_is_code_2(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["perplexity", BIGRAM, "a.txt", *more])
    assert end.value.code == 2
    assert more[0].removeprefix("--no-such") in capsys.readouterr().err


def models(folder: Path) -> dict[str, tuple[str, str]]:
    (folder / "nothing").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    (folder / "odd").mkdir()
    (folder / "odd" / "config.json").write_text('{"model_type": "t5"}')
    written(folder, "file.bin", b"x")
    return {
        "no such folder": ("./nowhere", "does not exist"),
        "no such id": ("no-such-model-anywhere", "cannot be loaded"),
        "empty folder": (f"{folder}/nothing", "has no config.json"),
        "file": (f"{folder}/file.bin", "is a file"),
        "broken": (f"{folder}/broken", "cannot be loaded"),
        "not causal at all": (f"{folder}/odd", "cannot be loaded"),
        "bert": (f"{zoo()}/bert", "is not causal"),
        "headless": (f"{zoo()}/headless", "lacks weights of a causal language model: lm_head.weight"),
        "no module": ("no_such_module:factory", "cannot be called"),
        "no factory": ("evaluate_helpers_cli:factory", "cannot be called"),
        "wrong factory": ("evaluate_helpers_cli:wrong", "returned Bigram, expected (model, tokenizer)"),
        "no tokenizer": ("evaluate_helpers_cli:mute", "comes without a tokenizer"),
        "failing": ("evaluate_helpers_cli:failing", "no more memory"),
    }


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_a_model_that_cannot_be_evaluated_is_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = data(tmp_path)
    for name, words in models(tmp_path).values():
        ends([name, text], 4, words, capsys=capsys)


def test_a_missing_transformers_is_named_with_its_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    ends([zoo() / "llama", data(tmp_path)], 4, "pip install 'losskit[hf]'", capsys=capsys)


def test_references_of_other_tokens_are_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = data(tmp_path)
    ends(
        [zoo() / "llama", text, "--reference", zoo() / "plain"], 4, "read document 'data.jsonl:1' as other tokens", capsys=capsys
    )
    ends([BIGRAM, text, "--reference", "evaluate_helpers_cli:small"], 4, capsys=capsys)
    ends([zoo() / "llama", text, "--reference", tmp_path], 4, "has no config.json", capsys=capsys)


def test_logits_that_are_nan_are_code_5_or_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = data(tmp_path)
    ends(["evaluate_helpers_cli:unsure", text], 5, "data.jsonl:", "-log p is nan", capsys=capsys)
    gate = ["--fail-if", "perplexity<0"]
    assert main(["perplexity", "evaluate_helpers_cli:unsure", text, "--quiet", "--nonfinite", "report", *gate]) == 1
    out, err = capsys.readouterr()
    assert "not a number" in out
    assert err == "losskit: gate failed: perplexity is nan, which fails at <0\n"


def test_a_tokenizer_without_bos_and_pad_is_fine_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ends([zoo() / "plain", data(tmp_path)], 0, capsys=capsys)
    assert "note: without a prefix token the first token of each document is not scored: 12 tokens" in " ".join(out.split())
    ends([zoo() / "plain", data(tmp_path), "--bos", "every"], 2, "has no such token", capsys=capsys)


def test_a_full_disk_is_code_2_and_the_journal_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [BIGRAM, data(tmp_path), "--batch-tokens", "256", "--window", "64", "--resume", tmp_path / "journal"]
    write, room = os.write, [3]

    def full(number: int, content: Any) -> int:
        if b'"id"' in bytes(content):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(number, content)

    with monkeypatch.context() as patch:
        patch.setattr("losskit.evaluate.running.journal.os.write", full)
        ends(given, 2, "No space left on device", "from before are safe; make room, then resume", capsys=capsys)
    assert (tmp_path / "journal").read_text().count("\n") > 1
    ends(given, 0, capsys=capsys)


def test_a_full_disk_leaves_no_half_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a.json")

    monkeypatch.setattr("losskit.evaluate.files.os.replace", full)
    ends([BIGRAM, data(tmp_path), "--json", tmp_path / "a.json"], 2, "a.json: No space left on device", capsys=capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_journal_of_another_run_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [BIGRAM, data(tmp_path), "--resume", tmp_path / "journal"]
    ends(given, 0, capsys=capsys)
    ends([*given, "--window", "100"], 2, "is of another evaluation", '"window" was 2048, is 100', capsys=capsys)
    ends(["evaluate_helpers_cli:other", *given[1:]], 2, '"model" was', capsys=capsys)
    held = written(tmp_path, "held.txt", b"a letter to a friend")
    ends([*given[:2], "--resume", held], 2, "is not a journal of losskit", capsys=capsys)
    assert held.read_bytes() == b"a letter to a friend"


def test_results_that_cannot_be_compared_are_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    ends([BIGRAM, data(tmp_path), "--json", a], 0, capsys=capsys)
    ends([BIGRAM, data(tmp_path), "--json", b, "--limit", "5"], 0, capsys=capsys)

    def compared(*arguments: object) -> str:
        assert main(["perplexity", "compare", *map(str, arguments)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("losskit: ")
        assert err.count("\n") == 1
        return err

    assert "different documents" in compared(a, b)
    assert "No such file" in compared(a, tmp_path / "c.json")
    assert "is not JSON" in compared(a, data(tmp_path))
    assert "is a folder" in compared(a, a, "--json", tmp_path)
    ends([zoo() / "llama", data(tmp_path), "--json", b], 0, capsys=capsys)
    assert "tokens of two tokenizers are not the same unit" in compared(a, b, "--unit", "token")


def test_a_plan_that_cannot_be_is_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def planned(*arguments: str) -> str:
        assert main(["perplexity", "plan", *arguments]) == 2
        return capsys.readouterr().err

    assert "--tokens N" in planned()
    assert "--tokens N" in planned("--tokens", "5", data(tmp_path))
    assert '"--tokenizer" is needed' in planned(data(tmp_path))
    assert '"stride" is 33' in planned("--tokens", "99", "--window", "32", "--stride", "33")
