"""losskit.evaluate.perplexity beside lm-evaluation-harness: the same model, windows and text; tokens a second, memory, sums.

By hand, with a Python that has lm_eval and transformers: ``python benchmarks/perplexity_peers.py``. Weights are random: time and
memory do not depend on them. Texts are cut so that lm-eval's last window, which it fills up with context, is no other than ours.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from linear_child import brief, resident
from linear_report import installed, machine, write

import losskit
import losskit.evaluate

Record = dict[str, Any]
WINDOWS_AT_ONCE = 4  # ours by batch_tokens, lm-eval's by batch_size; that has a default of 1
BARS = {"strided": 1.2}  # tokens a second over the faster lm-eval, on the shape of the whole model


@dataclass(frozen=True)
class Shape:
    """A model of the Qwen2 family."""

    name: str
    hidden: int
    layers: int
    heads: int
    groups: int
    inner: int
    vocabulary: int
    window: int
    windows: int  # of a case


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", 64, 2, 4, 2, 128, 5000, 64, 12),
        Shape("small", 256, 4, 4, 2, 688, 32000, 256, 36),
        Shape("head heavy", 896, 4, 14, 2, 4864, 151936, 512, 12),  # 0.5B with 4 of its 24 layers
        Shape("0.5B", 896, 24, 14, 2, 4864, 151936, 512, 12),  # Qwen2.5-0.5B
    )
}
CASES = ("disjoint", "strided")
CONTENDERS = ("losskit", "lm-eval, 1 window at once", f"lm-eval, {WINDOWS_AT_ONCE} windows at once")


@cache
def sources() -> list[str]:
    """The standard library of this Python, its longest files first."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda path: (-path.stat().st_size, path.name))
    return [path.read_text(encoding="utf-8") for path in files[:40]]


@cache
def tokenizer() -> Any:
    """Byte-level BPE of 4096 tokens learned from the sources; as Qwen2.5's it adds nothing to a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    found = Tokenizer(models.BPE())
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False)
    found.train_from_iterator(sources()[:10], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=found, bos_token="<s>")


def model(shape: Shape) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.groups, max_position_embeddings=shape.window,
        tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).float().eval()


def stride(shape: Shape, case: str) -> int:
    return shape.window if case == "disjoint" else shape.window // 4


def texts(shape: Shape, case: str, windows: int) -> list[str]:
    """Documents of twelve windows that are all full; of one window, if that is all."""
    each = min(12, windows)
    length = shape.window + (each - 1) * stride(shape, case)
    found: list[str] = []
    for text in sources():
        spans = tokenizer()(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
        for cut in range(length, length + 20):  # another cut where it goes through a word that is then other tokens
            part = text[: spans[cut - 1][1]] if cut <= len(spans) else ""
            if len(tokenizer().encode(part)) == length:
                found.append(part)
                break
        if len(found) == windows // each:
            return found
    raise SystemExit(f"too few sources of {length} tokens")


@contextmanager
def overlapping(context: int) -> Generator[None]:
    """lm-eval's own helper makes windows that overlap; its evaluation asks it for one token of context."""
    from lm_eval import utils

    plain = utils.get_rolling_token_windows
    utils.get_rolling_token_windows = lambda **told: plain(**{**told, "context_len": context})
    try:
        yield
    finally:
        utils.get_rolling_token_windows = plain


def theirs(network: Any, shape: Shape, case: str, batch: int, given: Sequence[str]) -> Callable[[], float]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    host = HFLM(pretrained=network, tokenizer=tokenizer(), max_length=shape.window, batch_size=batch)
    asked = [Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0) for text in given]

    def run() -> float:
        with overlapping(shape.window - stride(shape, case) + 1), redirect_stderr(io.StringIO()):  # its progress bars
            return -sum(host.loglikelihood_rolling(asked, disable_tqdm=True))

    return run


def ours(network: Any, shape: Shape, case: str, given: Sequence[str]) -> float:
    found = losskit.evaluate.perplexity(
        network, tokenizer(), list(given), window=shape.window, stride=stride(shape, case), bos="first",
        batch_tokens=WINDOWS_AT_ONCE * shape.window,
    )  # fmt: skip
    return found.overall.nats


def contender(name: str, network: Any, shape: Shape, case: str, given: Sequence[str]) -> Callable[[], float]:
    """From texts to nats."""
    if name == "losskit":
        return partial(ours, network, shape, case, given)
    return theirs(network, shape, case, int(name.split()[1]), given)


def alternated(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, Record]:
    """Each contender in turn, the order reversed every round: seconds by the clock and of this process, and the sum."""
    found: dict[str, Record] = {name: {"wall": [], "cpu": []} for name in runs}
    for k in range(rounds):
        for name in list(runs) if k % 2 else list(runs)[::-1]:
            clock, process = time.perf_counter(), time.process_time()
            found[name]["nats"] = runs[name]()
            found[name]["wall"].append(round(time.perf_counter() - clock, 4))
            found[name]["cpu"].append(round(time.process_time() - process, 4))
    return found


def timed(network: Any, shape: Shape, case: str, rounds: int) -> Record:
    """Tokens a second and sums of every contender."""
    given, short = texts(shape, case, shape.windows), texts(shape, case, 1)
    tokens = sum(len(tokenizer().encode(text)) for text in given)
    for name in CONTENDERS:
        contender(name, network, shape, case, short)()  # warm
    before = os.getloadavg()[0]
    entries = alternated({name: contender(name, network, shape, case, given) for name in CONTENDERS}, rounds)
    for entry in entries.values():
        entry["tokens_per_second"] = round(tokens / statistics.median(entry["wall"]), 2)
    peers = [name for name in entries if name != "losskit"]
    fastest = min(peers, key=lambda name: statistics.median(entries[name]["wall"]))

    def ratio(kind: str) -> float:
        pairs = zip(entries[fastest][kind], entries["losskit"][kind], strict=True)
        return round(statistics.median(theirs / ours for theirs, ours in pairs), 3)

    return {
        "shape": asdict(shape), "case": case, "stride": stride(shape, case), "tokens": tokens, "contenders": entries,
        "faster_lm_eval": fastest, "over_the_faster_lm_eval": ratio("wall"), "by_process_time": ratio("cpu"),
        "load_average": [round(before, 2), round(os.getloadavg()[0], 2)],
        "sums_apart": max(abs(entries[n]["nats"] / entries["losskit"]["nats"] - 1) for n in peers),
    }  # fmt: skip


def peak(shape: Shape, case: str, name: str) -> Record:
    """Bytes above model and texts, from a process of its own."""
    told = json.dumps({"shape": shape.name, "case": case, "name": name})
    command = [sys.executable, "-W", "ignore", __file__, "--child", told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": f"exit {done.returncode}: {brief(done.stderr, last=True)}"}
    return {"above_model": int(done.stdout.split()[-1])}


def child(told: Record) -> None:
    shape = SHAPES[told["shape"]]
    network = model(shape)
    given = texts(shape, told["case"], shape.windows)
    tiny = SHAPES["tiny"]
    contender(told["name"], model(tiny), tiny, told["case"], texts(tiny, told["case"], 1))()  # libraries are not its memory
    run = contender(told["name"], network, shape, told["case"], given)
    print(resident(lambda: run() and None))


def table(record: Record) -> str:
    """In Markdown."""
    lines = ["| model, windows | tool | tokens/s, median | MiB above the model | sum apart |", "|---|---|--:|--:|--:|"]
    for found in record["cases"]:
        mine = found["contenders"]["losskit"]["nats"]
        for name, entry in found["contenders"].items():
            memory = entry.get("memory", {}).get("above_model")
            apart = abs(entry["nats"] / mine - 1) if "nats" in entry else float("nan")
            rate, room = entry.get("tokens_per_second", ""), "" if memory is None else f"{memory / 2**20:.0f}"
            lines.append(f"| {found['shape']['name']}, {found['case']} | {name} | {rate} | {room} | {apart:.1e} |")
    return "\n".join(lines)


def judged(record: Record) -> list[Record]:
    """The bars, on the largest shape that ran."""
    found = [{"bar": "sums within 1e-6", "measured": max(c["sums_apart"] for c in record["cases"])}]
    found[0]["met"] = found[0]["measured"] <= 1e-6
    for case in record["cases"]:
        if case["shape"]["name"] == "0.5B" and case["case"] in BARS:
            got, bar = case["over_the_faster_lm_eval"], BARS[case["case"]]
            found.append({"bar": f"{case['case']}, tokens/s over lm-eval >= {bar}", "measured": got, "met": got >= bar})
    return found


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["small", "head heavy", "0.5B"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, help="default: torch's; 1 where others use the machine: then time is the process's"
    )
    parser.add_argument("--no-memory", action="store_true", help="no child processes")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "perplexity_peers_cpu.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    told = arguments(given)
    logging.disable(logging.WARNING)
    if told.threads:
        torch.set_num_threads(told.threads)
    if told.child:
        child(json.loads(told.child))
        return
    versions = {name: installed(name) for name in ("transformers", "tokenizers")}
    versions |= {"losskit": losskit.__version__, "torch": torch.__version__, "lm_eval": version("lm_eval")}
    record: Record = {"date": str(date.today()), "machine": machine("cpu"), "versions": versions, "cases": []}
    for shape in (SHAPES[name] for name in told.shapes):
        for case in told.cases:
            print(f"... {shape.name}, {case}", flush=True)
            found = timed(model(shape), shape, case, told.rounds)
            if not told.no_memory and case == "strided":  # the windows that are read at once are the same
                for name, entry in found["contenders"].items():
                    entry["memory"] = peak(shape, case, name)
            record["cases"].append(found)
            record["bars"] = judged(record)
            write(told.out, record)
    print(f"{table(record)}\n\n{json.dumps(record['bars'])}\nwritten: {told.out}")


if __name__ == "__main__":
    main()
