"""What is known of a run besides its curves: config files beside its log, as facts under losskit's names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...levels_config import NAMES
from .names import number
from .source import Source
from .text import decode

__all__ = ["facts_from", "facts_near", "yaml_values"]

FILES = (
    "config.json", "args.json", "params.json", "hparams.json", "training_args.json", "opts.json",
    "hparams.yaml", "hparams.yml", "config.yaml", "config.yml", "args.yaml", "params.yaml",
)  # fmt: skip
LARGEST = 1 << 22
MOST = 5000  # values of one config
# words that mean something else in a config: a decay of the learning rate, a regulariser's weight, a rule of a distribution
_VAGUE = frozenset({"gamma", "entropy", "variance", "prior", "priors"})
# only above 0 do these mean something; -1 and 0 say "not set"
_POSITIVE = frozenset({"num_classes", "vocab_size", "batch_size", "accumulate", "max_steps", "logging_steps"})


def facts_near(source: Source) -> dict[str, Any]:
    """The facts of the config files in the run's folder, or else in the one above."""
    if source.key:
        return {}  # a database has its own, and stands where the config of anything may stand
    folder = source.path if source.path.is_dir() else source.path.parent
    folders = [folder, *dict.fromkeys(path.parent for path in source.files[:3])]
    if source.format in ("hf", "lightning", "tensorboard"):
        folders.append(folder.parent)
    for one in dict.fromkeys(folders):
        values: dict[str, Any] = {}
        for name in FILES:
            for key, value in _values(one / name).items():
                values.setdefault(key, value)
        if found := facts_from(values):
            return found
    return {}


def facts_from(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values, flat, as facts."""
    lower = {str(k).rsplit("/", 1)[-1].rsplit(".", 1)[-1].lower().replace("-", "_"): v for k, v in reversed(list(values.items()))}
    facts: dict[str, Any] = {}
    for fact, names in NAMES.items():
        for name in (one for one in names if one not in _VAGUE):
            value = _fact(fact, lower.get(name))
            if value is not None:
                facts[fact] = value
                break
    if (said := str(lower.get("logging_nan_inf_filter")).lower()) in ("true", "false"):
        facts["logging_nan_inf_filter"] = said == "true"
    if isinstance(lower.get("id2label"), dict) and lower["id2label"]:
        facts.setdefault("num_classes", len(lower["id2label"]))
    return _of_a_transformer(facts, lower)


def _of_a_transformer(facts: dict[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """A transformers config says vocab_size whatever the head is: only the head says what the loss runs over."""
    heads = lower.get("architectures")
    head = str(heads[0]) if isinstance(heads, list) and heads else ""
    if head.endswith(("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration")):
        facts.pop("num_classes", None)
        facts["loss"] = "cross_entropy"
    elif "Classification" in head:
        facts.pop("vocab_size", None)
        losses = {"regression": "mse_loss", "multi_label_classification": "binary_cross_entropy_with_logits"}
        facts["loss"] = losses.get(str(lower.get("problem_type")), "cross_entropy")
    elif head:
        facts.pop("vocab_size", None)
    return facts


def _fact(name: str, value: Any) -> Any:
    if name == "loss":
        return value.strip() if isinstance(value, str) and 0 < len(value.strip()) < 100 else None
    if name == "prior" and isinstance(value, (list, dict)):
        return value if 1 < len(value) <= MOST else None
    if isinstance(value, bool) or (found := number(value)) is None or found != found or abs(found) == float("inf"):
        return None
    if name in _POSITIVE:
        return int(found) if found >= 1 and found == int(found) else None
    return found


def _values(path: Path) -> dict[str, Any]:
    """The values of a config file; nothing if it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        text = decode(path.read_bytes())
        if path.suffix != ".json":
            return dict(yaml_values(text))
        whole = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return dict(flat(whole)) if isinstance(whole, dict) else {}


def flat(values: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """All values by their last key, the outer ones first; a W&B config wraps each as {"value": ...}."""
    inner: list[Mapping[str, Any]] = []
    for key, value in list(values.items())[:MOST]:
        if isinstance(value, dict) and set(value) <= {"value", "desc"} and "value" in value:
            value = value["value"]
        yield str(key), value
        if isinstance(value, dict) and depth < 4:
            inner.append(value)
    for one in inner:
        yield from flat(one, depth + 1)


_ENTRY = re.compile(r"^(\s*)(?:- )?['\"]?([A-Za-z_][\w.\- ]{0,80}?)['\"]?\s*:(?:\s+(.*?))?\s*$")


def yaml_values(text: str) -> Iterator[tuple[str, Any]]:
    """The ``key: value`` lines of YAML, whatever they are nested in: all that a config needs, and nothing is constructed.

    A W&B config.yaml has the value a line below, as ``value:``.
    """
    above = ""
    for line in text.splitlines()[:MOST]:
        found = _ENTRY.match(line[:500])
        if not found:
            continue
        key, value = found[2], found[3]
        if value is None or value == "":
            above = key
        elif key == "value" and above:
            yield above, _scalar(value)
        else:
            yield key, _scalar(value)


def _scalar(text: str) -> Any:
    text = re.sub(r"\s+#.*$", "", text)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    known = {"true": True, "false": False, "null": None, "~": None, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    return number(text) if number(text) is not None else text
