"""What ``printed_numbers.py`` lets pass, each with its reason."""

from __future__ import annotations

SKIPPED = (
    r"(ARCHITECTURE|CONTRIBUTING|CHANGELOG)\.md",  # for those who work on losskit
    r"docs/guide/\w+_(cpu|cuda)\.md",  # tables that benchmarks write
    r"docs/explanation/claims\.md",  # tools/claims.py writes it
)

_PACKAGES = "python|torch|transformers|torchmetrics|triton|cuda|accelerate|lightning|sentence-transformers|scikit-learn|rich"
# (regular expression, reason): taken out of the prose before it is read
PATTERNS: tuple[tuple[str, str], ...] = (
    (r"(?<![\d.,])(19|20)\d\d(?=[ ,.;:)|]|$)", "years"),
    (r"arXiv:? ?\d{4}\.\d{4,5}", "arXiv ids"),
    (rf"(?i)\b({_PACKAGES})\W*(version )?(>=? ?)?\d+(\.\d+)+", "versions"),
    (r"\bversion \d+(\.\d+)+", "versions"),
)

# page: the files of benchmarks/results that it quotes; of demos.json one demo
RESULTS: dict[str, tuple[str, ...]] = {
    "README.md": ("against_torch_cpu.json", "demos.json#why-cross-entropy"),
    "docs/explanation/choosing.md": ("demos.json#outliers", "demos.json#rare-class", "demos.json#find-function"),
    "docs/explanation/imbalance_and_smoothing.md": ("demos.json#rare-class",),
    "docs/explanation/squared_or_absolute.md": ("demos.json#outliers",),
    "docs/explanation/why_cross_entropy.md": ("demos.json#why-cross-entropy",),
    "docs/guide/from-pytorch-metric-learning.md": ("docs/guide/embeddings_cpu.md",),
    "docs/tutorials/search_encoder.md": ("demos.json#find-function",),
}

_SPREAD = "spread over ten splits: losskit demo outliers prints it beside its mean"
_PML = "pytorch-metric-learning 2.8.1, which is not installed here; measured once, its temperature is not on the page"
_HOSTS = "gradients of models in Accelerate 1.15, Lightning 2.6.6, transformers 5.24; the law is tests/test_claims_hosts.py"
# page: {number as printed: reason}
EXEMPT: dict[str, dict[str, str]] = {
    "docs/explanation/perplexity.md": dict.fromkeys(("11.18", "46.83"), "transformers 5.23 on a tiny Llama, measured once"),
    "docs/explanation/squared_or_absolute.md": {
        "346": "the largest progression score of scikit-learn's diabetes data",
        "16.5": _SPREAD,
        "25.2": _SPREAD,
    },
    "docs/guide/error-bars.md": {"97": "of 400 corpora, which the slow tests draw"},
    "docs/guide/from-liger.md": dict.fromkeys(("0.0625", "0.0486"), "Liger at ead96b6, not installed here; measured once"),
    "docs/guide/from-pytorch-metric-learning.md": {
        "7.012": _PML,
        "7.119": _PML,
        "1.96": "their wrapper on two ranks, measured once",
        "0.995": "their wrapper on two ranks, measured once",
    },
    "docs/guide/means.md": dict.fromkeys(("0.6263", "0.9776", "0.626", "0.459", "2.013", "24.43", "33.5", "4.16"), _HOSTS),
    "docs/guide/perplexity.md": {"2,048": "positions, an input", "151,936": "the vocabulary of Qwen2.5, an input"},
    "docs/tutorials/sick_run.md": {"79": "moves a little with the machine: the example above it holds it over 70 %"},
    "docs/tutorials/search_encoder.md": {
        "127": "the other rows of a batch of 128",
        "891": "functions that this split holds out: a comment of the example has it",
    },
}
