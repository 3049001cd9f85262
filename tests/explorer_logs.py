"""Training logs made by formula for the loss clinic: healthy and sick curves, in every form that a person pastes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

Row = dict[str, float]
CLASSES: Mapping[str, Any] = {"loss": "cross_entropy", "num_classes": 10}
SMOOTH: Mapping[str, Any] = {**CLASSES, "label_smoothing": 0.1}
TOKENS: Mapping[str, Any] = {"loss": "cross_entropy", "vocab_size": 5000}
PAIRS: Mapping[str, Any] = {"loss": "info_nce_loss", "batch_size": 256}
NONE: Mapping[str, Any] = {}


class Log(NamedTuple):
    """A text, what is known of it, and the name that tells the doctor's reader what the page tells by looking."""

    name: str
    text: str
    facts: Mapping[str, Any]
    file: str = "log.txt"


# ---------------------------------------------------------------------- curves


def falling(n: int, start: float = 2.3, floor: float = 0.2, noise: float = 0.03, seed: int = 0, pace: float = 5.0) -> list[float]:
    """An exponential to a floor, with noise that is a share of the level."""
    random = Random(seed)
    clean = [floor + (start - floor) * math.exp(-pace * i / n) for i in range(n)]
    return [value * (1 + noise * random.gauss(0, 1)) for value in clean]


def around(n: int, level: float, noise: float, seed: int = 0) -> list[float]:
    """Noise about a level."""
    random = Random(seed)
    return [level + noise * random.gauss(0, 1) for _ in range(n)]


def rows(losses: Sequence[float], every: int = 1, **others: Mapping[int, float] | Sequence[float]) -> list[Row]:
    """Rows of steps and losses, with other columns where they have a value."""
    made = [{"step": float(i * every), "loss": value} for i, value in enumerate(losses)]
    for name, values in others.items():
        for i, value in values.items() if isinstance(values, Mapping) else enumerate(values):
            made[i][name] = value
    return made


def with_spikes(losses: list[float], places: Sequence[int], height: float) -> list[float]:
    """Ten points in a row that many times as high."""
    return [v * height if any(at <= i < at + 10 for at in places) else v for i, v in enumerate(losses)]


# ---------------------------------------------------------------------- texts


def csv(made: Sequence[Row], delimiter: str = ",") -> str:
    """A header, and an empty cell where nothing was logged."""
    names = list(dict.fromkeys(name for row in made for name in row))
    lines = [delimiter.join(f"{row[name]:.6g}" if name in row else "" for name in names) for row in made]
    return "\n".join([delimiter.join(names), *lines]) + "\n"


def json_lines(made: Sequence[Row]) -> str:
    """One object a line; Python writes NaN as NaN."""
    return "".join(json.dumps({k: int(v) if k == "step" else float(f"{v:.6g}") for k, v in row.items()}) + "\n" for row in made)


def printed(made: Sequence[Row]) -> str:
    """``step 100 loss 2.31``."""
    return "".join(" ".join(f"{name} {value:.6g}" for name, value in row.items()) + "\n" for row in made)


def colons(made: Sequence[Row]) -> str:
    """``[12/300] loss: 2.31, lr: 0.1``, among other words."""
    count = len(made)
    body = [
        f"[{i + 1}/{count}] " + ", ".join(f"{k}: {v:.5f}" for k, v in row.items() if k != "step") for i, row in enumerate(made)
    ]
    return "\n".join(["loading data ...", *body, "saved to checkpoint.pt"]) + "\n"


def hugging_face(made: Sequence[Row]) -> str:
    """What the Trainer prints, with an evaluation on a line of its own."""
    names = {"loss": "loss", "lr": "learning_rate", "grad_norm": "grad_norm"}
    lines = []
    for i, row in enumerate(made):
        said = {names[k]: float(f"{v:.4g}") for k, v in row.items() if k in names}
        lines.append(repr({**said, "epoch": round(i / len(made), 4)}))
        if "val_loss" in row:
            lines.append(repr({"eval_loss": row["val_loss"], "epoch": round(i / len(made), 4)}))
    return "\n".join(lines) + "\n"


def bare(made: Sequence[Row]) -> str:
    """One number a line."""
    return "".join(f"{row['loss']:.6g}\n" for row in made)


FORMS: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "csv": csv,
    "json": json_lines,
    "printed": printed,
    "colons": colons,
    "trainer": hugging_face,
    "bare": bare,
    "tabs": lambda made: csv(made, "\t"),
}


def text_of(name: str, made: Sequence[Row], form: str, facts: Mapping[str, Any]) -> Log:
    """Rows in one of the forms; bare numbers get the heading that a table needs."""
    text = FORMS[form](made)
    if form == "bare":
        return Log(f"{name}, bare", text, facts, "log.csv")
    return Log(f"{name}, {form}", text, facts)


def as_file(log: Log) -> str:
    """The text as a file has it."""
    return f"loss\n{log.text}" if log.file.endswith(".csv") else log.text


# ---------------------------------------------------------------------- cases


Case = tuple[list[Row], Mapping[str, Any]]


def cases() -> dict[str, Case]:
    """Rows and facts, by name."""
    return {**_standing(), **_moving()}


def _standing() -> dict[str, Case]:
    """Healthy ones, and those that stand at a level."""
    falls = falling(300)
    return {
        "healthy": (rows(falls), CLASSES),
        "healthy without facts": (rows(falls, 10), NONE),
        "healthy and noisy": (rows(falling(400, noise=0.25, seed=1)), CLASSES),
        "healthy with cosine": (rows(falls, lr=[0.05 * (1 + math.cos(math.pi * i / 300)) for i in range(300)]), CLASSES),
        "healthy tokens": (rows(falling(500, 8.5, 3.0, 0.02, 2, 9.0), 20), TOKENS),
        "healthy with evaluations": (rows(falls, val_loss={i: 1.1 * falls[i] for i in range(19, 300, 20)}), CLASSES),
        "chance": (rows(around(300, math.log(10), 0.05)), CLASSES),
        "near chance": (rows(around(300, 2.27, 0.02, 4)), CLASSES),
        "chance of tokens": (rows(around(200, math.log(5000), 0.05, 5), 10), TOKENS),
        "chance of pairs": (rows(around(200, math.log(256), 0.01, 6)), PAIRS),
        "chance but nobody said so": (rows(around(200, math.log(10), 0.05, 7)), NONE),
        "softmax twice": (rows(around(300, math.log(math.e + 9) - 1, 0.01, 8)), CLASSES),
        "ends beside softmax twice": (rows(falling(400, 2.3, 1.49, 0.001, 9, 12.0)), CLASSES),
        "smoothing floor": (rows([*falling(150, 2.3, 0.51, 0.01, 10, 12.0), *around(150, 0.503, 0.004, 11)]), SMOOTH),
        "ties": (rows([round(v, 1) for v in falls]), CLASSES),
        "all the same": (rows([1.0] * 100), NONE),
        "short": (rows(falls[:12]), CLASSES),
        "one point": (rows([2.3]), CLASSES),
        "twenty points": (rows(falling(20)), CLASSES),
        "smoothed softmax twice": (rows(around(300, math.log(math.e + 9) - 0.91, 0.01, 24)), SMOOTH),
    }  # fmt: skip


def _moving() -> dict[str, Case]:
    """Those that end, jump, climb, and those of which there is little."""
    nan, inf = math.nan, math.inf
    falls = falling(300)
    rising = [0.5 * math.exp(0.02 * max(0, i - 150)) for i in range(300)]
    evaluated = {i: 1.0 + 0.004 * abs(i - 100) for i in range(19, 400, 20)}
    learned = falling(400, 2.3, 0.02, 0.05, 3)
    norms = [*around(200, 1.0, 0.1, 18), *[1.1**i for i in range(100)]]
    schedule = [0.1 * max(0.0, 1 - i / 60) for i in range(300)]
    return {
        "nan tail": (rows([*falls[:120], *[nan] * 60]), CLASSES),
        "one nan": (rows([nan if i == 200 else v for i, v in enumerate(falls)]), CLASSES),
        "inf tail": (rows([*falls[:120], *[inf] * 20]), NONE),
        "inf beside bad gradients": (rows([*falls[:120], *[inf] * 20], grad_norm=[*[1.5] * 120, *[nan] * 20]), NONE),
        "explodes into nan": (rows([*falls[:100], *[0.7 * 1.6**i for i in range(20)], *[nan] * 10]), NONE),
        "explodes": (rows([*falls[:100], *[0.7 * 1.05**i for i in range(200)]]), CLASSES),
        "climbs": (rows([v + r - 0.5 for v, r in zip(falls, rising, strict=True)]), CLASSES),
        "far above its start": (rows([2.3, *around(200, 40.0, 5.0, 12)]), CLASSES),
        "exploded before the log": (rows(around(100, 4e7, 1e5, 13)), CLASSES),
        "a sum over tokens that hardly falls": (rows([8e6 * v for v in falling(300, 2.0, 1.6, 0.02, 25)]), TOKENS),
        "a sum over a batch that stays": (rows(around(100, 4e4, 100.0, 26)), CLASSES),
        "spikes": (rows(with_spikes(falling(500, noise=0.02, seed=14), (200, 350), 2.5)), CLASSES),
        "one small spike": (rows(with_spikes(falling(500, noise=0.01, seed=15), (300,), 1.25)), NONE),
        "level shift": (rows([*falls, *[2 * v for v in around(200, 0.3, 0.01, 16)]]), NONE),
        "overfits": (rows(learned, val_loss=evaluated), NONE),
        "overfits, but wavers": (rows(learned, val_loss={i: 1.0 + 0.05 * (i % 3) for i in range(19, 400, 20)}), NONE),
        "evaluations at chance": (rows(learned, val_loss={i: 2.31 + 0.01 * (i % 3) for i in range(19, 400, 20)}), CLASSES),
        "rate gone": (rows(falls, lr=schedule), NONE),
        "rate next to nothing": (rows(falls, lr=[0.1 if i < 50 else 1e-6 for i in range(300)]), NONE),
        "no improvement": (rows(around(300, 0.9, 0.1, 17)), NONE),
        "straight line": (rows([2.3 - 0.0003 * i for i in range(300)]), CLASSES),
        "negative": (rows([-0.1 * i for i in range(60)]), CLASSES),
        "exactly zero": (rows([0.0] * 40), CLASSES),
        "zeros beside nan": (rows([*falls[:80], *[0.0] * 40], grad_norm=[*[1.5] * 80, *[nan] * 40]), CLASSES),
        "gradients explode": (rows([*falls[:200], *[0.3 * 1.02**i for i in range(100)]], grad_norm=norms), NONE),
        "chance in wide noise": (rows(around(300, math.log(10), 0.5, 20)), CLASSES),
        "chance in some noise": (rows(around(300, math.log(10), 0.25, 21)), CLASSES),
        "a plateau in wide noise": (rows(around(120, math.log(math.e + 9) - 1, 0.3, 22)), CLASSES),
        "spikes as early ones": (rows(with_spikes(falling(600, noise=0.02, seed=23), (52, 200, 201, 350), 1.8)), CLASSES),
        "no gradient is finite": (rows(around(200, 1.7, 0.001, 19), grad_norm=[nan] * 200), NONE),
    }  # fmt: skip


def generated() -> Iterator[Log]:
    """Every case in two of the forms, by turns, and the forms that only some logs have."""
    forms = list(FORMS)
    for k, (name, (made, facts)) in enumerate(cases().items()):
        own = [form for form in forms if form != "bare" or not made[-1].keys() - {"step", "loss"}]
        for form in dict.fromkeys((own[k % len(own)], own[(k + 3) % len(own)])):
            if form not in ("bare", "colons") or len(made) < 2 or made[1]["step"] == 1:
                yield text_of(name, made, form, facts)
    falls = rows(falling(200))
    again = [*falls[:120], *falls[80:]]
    count = list(enumerate(row["loss"] for row in falls))
    inner = "".join(json.dumps({"train": {"loss": v}, "global_step": i}) + "\n" for i, v in count)
    epochs = csv([{"epoch": float(i // 50), "batch": float(i % 50), "loss": v} for i, v in count])
    both = csv([{"epoch": float(i), "train": v, "val": 1.2 * v} for i, v in count])
    commas = "step;loss\n" + "".join(f"{i};{v:.4f}\n".replace(".", ",") for i, v in count)
    networks = csv([{"step": float(i), "loss_G": v, "loss_D": 0.69} for i, v in count])
    tensors = "".join(f"tensor({v:.4f}, grad_fn=<NllLossBackward0>)\n" for _, v in count)
    parts = csv([{"step": float(i), "loss": 3 + v, "cls_loss": 2.3, "box_loss": 0.7 + v} for i, v in count])
    named = csv([{"step": float(i), "<i>loss</i>": v} for i, v in enumerate(around(100, 1.0, 0.1))])
    yield Log("restarted", csv(again), CLASSES)
    yield Log("shuffled", csv(Random(0).sample(falls, len(falls))), CLASSES)
    yield Log("each step twice", csv([row for row in falls for _ in range(2)]), CLASSES)
    yield Log("half a line", json_lines(falls) + '{"step": 200, "lo', CLASSES)
    yield Log("nested", inner, CLASSES)
    yield Log("epochs that count anew", epochs, NONE)
    yield Log("train and val", both, NONE)
    yield Log("decimal commas", commas, NONE)
    yield Log("two networks", networks, NONE)
    yield Log("tensors", tensors, CLASSES)
    yield Log("parts of a total", parts, CLASSES)
    yield Log("perplexity alone", csv([{"step": float(i), "ppl": math.exp(v)} for i, v in count]), CLASSES)
    yield Log("only words", "nothing of use stands here\nnor here\n", CLASSES)
    yield Log("markup", "<script>alert(1)</script>\n<b>loss</b> 2.3\nloss<img src=x> 2.2\n", NONE)
    yield Log("markup in a name", named, NONE)
    yield Log("spaces", " \n\n", NONE)


def drawn(count: int, seed: int = 0) -> Iterator[Log]:
    """Logs whose every part is drawn at random: length, noise, what happens, what else is logged, the form, what is known."""
    random = Random(seed)
    for k in range(count):
        made = _drawn(random)
        facts = random.choice((NONE, CLASSES, SMOOTH, TOKENS, PAIRS))
        forms = [form for form in FORMS if form != "bare" or not made[-1].keys() - {"step", "loss"}]
        yield text_of(f"drawn {k}", made, random.choice(forms), facts)


def _drawn(random: Random) -> list[Row]:
    n = int(math.exp(random.uniform(math.log(15), math.log(700))))
    start = random.choice((0.1, 1.0, 2.3, 4.2, 8.5, 300.0)) * random.uniform(0.9, 1.1)
    level = start * random.choice((0.01, 0.2, 0.6, 0.95, 1.0))
    losses = falling(n, start, level, random.choice((0.0, 0.005, 0.05, 0.3)), random.randrange(10**6), random.uniform(2, 12))
    at = random.randrange(n)
    kinds = ("nothing", "nothing", "nan", "one nan", "inf", "grows", "grows to nan", "spike", "shift", "zeros", "rounds")
    happens = random.choice(kinds)
    losses = [_then(happens, v, i - at) if i >= at else v for i, v in enumerate(losses)]
    losses = [round(v, 1) for v in losses] if happens == "rounds" else losses
    others: dict[str, Any] = {}
    if random.random() < 0.4:
        others["lr"] = [0.1 * random.choice((1.0, 1.0, max(0.0, 1 - i / max(1, at)))) for i in range(n)]
    if random.random() < 0.3:
        norms = [1.0 + 0.1 * random.gauss(0, 1) if math.isfinite(v) and v else math.nan for v in losses]
        others["grad_norm"] = [abs(v) * (1.1 ** max(0, i - at) if happens == "grows" else 1) for i, v in enumerate(norms)]
    if random.random() < 0.4:
        turn = random.uniform(0, 0.02)
        others["val_loss"] = {i: start * (0.6 + abs(turn * (i - at))) for i in range(n - 1, 0, -max(1, n // 12))}
    return rows(losses, random.choice((1, 1, 5, 100)), **others)


def _then(happens: str, value: float, since: int) -> float:
    """What becomes of a loss so many points after it happened."""
    if happens in ("nan", "inf", "zeros"):
        return {"nan": math.nan, "inf": math.inf, "zeros": 0.0}[happens]
    if happens == "grows to nan":
        return value * 1.5**since if since < 25 else math.nan
    if happens == "one nan" and since == 0:
        return math.nan
    return value * {"grows": 1.02**since, "shift": 1.7, "spike": 3.0 if since < 12 else 1.0}.get(happens, 1.0)
