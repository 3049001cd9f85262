"""What the tests of ``losskit perplexity`` share: small models on disk, factories, and a process that forks runs to be killed."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn

from losskit.cli import main

BIGRAM = "evaluate_helpers_cli:bigram"
TESTS = Path(__file__).parent
NAMES = sorted(topics)[:12]
TEXTS = [topics[name][: 300 + 40 * i] for i, name in enumerate(NAMES)]


class Letters:
    """Bytes as tokens, and a BOS token."""

    bos_token_id = 256
    vocab_size = 257

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(each for each in ids if each < 256).decode(errors="replace")


class Bigram(nn.Module):
    """Scores that depend on the last token only."""

    def __init__(self, seed: int = 0, pause: float = 0.0, size: int = 257) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(size, size, generator=drawn))
        self.pause = pause

    def forward(self, ids: Tensor) -> Tensor:
        time.sleep(self.pause)
        return self.table[ids]


def bigram() -> tuple[Any, Any]:
    return Bigram(), Letters()


def other() -> tuple[Any, Any]:
    return Bigram(1), Letters()


def better() -> tuple[Any, Any]:
    """The scores of bigram, one letter in two made likelier."""
    found = Bigram()
    found.table.data[:, ::2] += 0.5
    return found, Letters()


def slow() -> tuple[Any, Any]:
    return Bigram(pause=0.006), Letters()


def dying() -> tuple[Any, Any]:
    """Rank 1 is killed after some batches."""

    class Dying(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            self.pause += 0.001
            if os.environ["RANK"] == "1" and self.pause > 0.02:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().forward(ids)

    Dying.__name__ = "Bigram"
    return Dying(), Letters()


def small() -> tuple[Any, Any]:
    return Bigram(size=100), Letters()


def unsure() -> tuple[Any, Any]:
    found = Bigram()
    found.table.data[ord("e"), 0] = torch.nan
    return found, Letters()


def mute() -> tuple[Any, Any]:
    return Bigram(), None


def failing() -> tuple[Any, Any]:
    class Failing(Bigram):
        def forward(self, ids: Tensor) -> Tensor:
            raise RuntimeError("no more memory\nand more lines")

    return Failing(), Letters()


def wrong() -> Any:
    return Bigram()


@cache
def zoo() -> Path:
    """A folder of models with their tokenizers, as transformers saves them."""
    import transformers

    from evaluate_tokenizers import tokenizer

    transformers.utils.logging.disable_progress_bar()
    home = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, home)
    words, plain = tokenizer("bpe", bos=True, eos=True), tokenizer("byte", bos=False)
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "llama": (transformers.LlamaForCausalLM, _llama(words), words),
        "plain": (transformers.LlamaForCausalLM, _llama(plain), plain),
        "narrow": (transformers.LlamaForCausalLM, _llama(words, vocab_size=300), words),
        "headless": (transformers.LlamaModel, _llama(words), words),
        "bert": (transformers.BertForMaskedLM, _bert(words), words),
    }
    for name, (kind, config, host) in kinds.items():
        torch.manual_seed(0)
        kind(config).save_pretrained(home / name)
        host.save_pretrained(home / name)
    return home


def _llama(host: Any, **more: Any) -> Any:
    from transformers import LlamaConfig

    given = {"vocab_size": len(host), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    given |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    return LlamaConfig(**(given | more), bos_token_id=0, eos_token_id=1)


def _bert(host: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(host), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip


def data(folder: Path, count: int = 12) -> str:
    """A JSONL file of documents with an id and a group."""
    path = folder / "data.jsonl"
    rows = [{"text": text, "name": name, "kind": "ab"[len(name) % 2]} for name, text in zip(NAMES, TEXTS, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
    return str(path)


def without_run(path: Path) -> dict[str, Any]:
    """The JSON of a report but for what changes from run to run."""
    found: dict[str, Any] = json.loads(path.read_text())
    del found["run"]
    return found


def losskit(*arguments: object, status: int = 0) -> None:
    """Run ``losskit perplexity`` here and hold it to an exit code."""
    assert main(["perplexity", *map(str, arguments)]) == status


def result(folder: Path, *arguments: object, name: str = "a", status: int = 0) -> Path:
    """The JSON of a run."""
    path = folder / f"{name}.json"
    losskit(*arguments, "--quiet", "--json", path, status=status)
    return path


def overall(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["overall"]
    return found


def environment(**more: str) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8",
        "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error", **more,
    }  # fmt: skip


class Nursery:
    """A process that has everything loaded and forks one run after another, each of which can be killed."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=TESTS
        )

    def _ask(self, **question: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, arguments: list[str], output: Path) -> int:
        """The process id of a run whose stdout and stderr go to a file."""
        return self._ask(arguments=arguments, output=str(output))

    def wait(self, process: int) -> int:
        """Its exit status; negative for a signal."""
        return self._ask(wait=process)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def _serve() -> None:
    for module in ("evaluate.run", "cli.perplexity_gates", "cli.perplexity_load", "evaluate.side_by_side"):
        import_module(f"losskit.{module}")  # loaded once, for all that are forked
    torch.set_num_threads(1)
    sys.path.insert(0, str(TESTS))
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            print(os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if not child:
            file = os.open(question["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            status = main(question["arguments"])
            sys.stdout.flush()
            os._exit(status)
        print(child, flush=True)


if __name__ == "__main__":
    _serve()
