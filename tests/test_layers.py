"""Who may import whom, and what the package costs to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "losskit"
# each layer and the layers of ours that it may import; "torch" or a host is checked apart
MAY = {
    "core": {"core"},
    "ops": {"core", "ops"},
    "parallel": {"core"},
    "losses": {"core", "ops", "parallel", "losses"},
    "evaluate": {"core", "ops", "parallel", "losses", "evaluate"},
    "doctor": {"core", "losses", "evaluate", "doctor"},
    "choosing": {"core", "losses", "evaluate", "choosing"},
    "explore": {"core", "losses", "explore"},
    "demos": {"core", "losses", "evaluate", "doctor", "choosing", "explore", "demos", "api"},
    "verify": {"core", "losses", "evaluate", "doctor", "choosing", "explore", "demos", "verify", "api"},
    "api": {"core", "losses", "evaluate", "doctor", "choosing"},
    "integrations": {"core", "ops", "parallel", "losses", "evaluate", "doctor", "integrations"},
    "__init__": {"api"},
    "__main__": {"cli"},
    "cli": {"core", "ops", "losses", "evaluate", "doctor", "choosing", "explore", "demos", "verify", "api", "__init__", "cli"},
}
THIRD_PARTY = {
    "core": {"torch", "typing_extensions"},
    "ops": {"torch"},
    "parallel": {"torch"},
    "losses": {"torch", "typing_extensions"},
    "evaluate": {"torch", "typing_extensions"},
    "doctor": {"torch", "rich", "typing_extensions"},
    "choosing": {"torch", "rich"},
    "explore": {"torch"},
    "integrations": {
        "torch",
        "torchmetrics",
        "sentence_transformers",
        "transformers",
        "lightning",
        "accelerate",
        "typing_extensions",
    },
    "api": set(),
    "__init__": set(),
}

# what several losses share, of which a user sees nothing
HELPERS = {
    "contrast.py",
    "embeddings.py",
    "false_negatives.py",
    "gains.py",
    "labelled.py",
    "listed_pairs.py",
    "lists.py",
    "rare_positives.py",
}


def imports(path: Path) -> list[str]:
    """Absolute names of everything a file imports, losskit's own included."""
    found: list[str] = []
    package = ["losskit", *path.relative_to(SOURCE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found += [stem] if node.module else [f"{stem}.{alias.name}" for alias in node.names]
    return found


def layer(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    mine = layer(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "losskit" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in MAY[mine], f"{path.name} ({mine}) imports {name}"
        elif parts[0] == "losskit":
            allowed = mine in ("cli", "demos", "verify") or name == "losskit.__version__"
            assert allowed, f"{path.name} ({mine}) imports the public face"
        elif parts[0] not in sys.stdlib_module_names and mine in THIRD_PARTY:
            assert parts[0] in THIRD_PARTY[mine], f"{path.name} ({mine}) imports {name}"


def test_triton_is_in_one_folder() -> None:
    for path in SOURCE.rglob("*.py"):
        if (SOURCE / "ops" / "triton") not in path.parents:
            assert "import triton" not in path.read_text(), path
            assert 'import_module("triton' not in path.read_text(), path


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_package_and_its_help_do_not_import_torch() -> None:
    code = """
import sys, losskit, losskit.cli
try: losskit.cli.main(["--help"])
except SystemExit: pass
print("loaded:", [m for m in ("torch", "rich", "numpy") if m in sys.modules])
"""
    assert "loaded: []" in run(code)


def test_every_public_name_is_reachable_and_listed() -> None:
    import losskit
    from losskit import api

    listed = {n for n in vars(api) if not n.startswith("_")}
    assert set(losskit.__all__) == listed
    assert listed <= set(dir(losskit))
    with pytest.raises(AttributeError, match="no attribute 'focus'"):
        losskit.focus  # noqa: B018  # the access is the test


def test_every_losses_file_is_public() -> None:
    from losskit import api

    for path in (SOURCE / "losses").glob("[a-z]*.py"):
        if path.name in HELPERS:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
                for name in ast.literal_eval(node.value):
                    assert hasattr(api, name), f"{name} of {path.name} is not in losskit.api"
