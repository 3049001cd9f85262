"""Which runs a path holds: a file, the folder of a run, or folders of runs at any depth."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from .source import Source, sniff, speaks_of_a_loss

__all__ = ["find_runs"]

DEEPEST = 12  # folders below the one that was named
MOST_ENTRIES = 100_000  # looked at in all: a path that was a mistake ("/") ends
MOST_METRICS = 5000  # files of one MLflow run
_FLAT = (".jsonl", ".ndjson", ".csv", ".tsv", ".log", ".txt", ".out", ".err", ".json")
_SKIPPED = frozenset(
    {".git", "__pycache__", "node_modules", ".venv", "venv", "site-packages", ".ipynb_checkpoints", ".hg", ".svn"}
)
_CHECKPOINT = re.compile(r"^checkpoint-(\d{1,15})$")
_TENSORBOARD_STAMP = re.compile(r"tfevents\.(\d{1,15})")


class _Walk:
    """One walk, which sees each folder once, however links lead there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: set[tuple[int, int]] = set()
        self.entries = 0
        self.found: list[Source] = []

    def name(self, path: Path) -> str:
        """Below the folder that was named, which itself goes by its own name."""
        below = path.relative_to(self.root).as_posix() if path != self.root else ""
        return f"{self.root.name}/{below}" if below and self.root.name else below or self.root.resolve().name or str(path)

    def folder(self, folder: Path, depth: int = 0) -> None:
        """The runs of a folder and of those below it."""
        listed = self._listed(folder)
        if listed is None:
            return
        files, folders = listed
        claimed, folders = self._structured(folder, files, folders)
        if not claimed:
            self._flat(files)
        if depth < DEEPEST:
            for one in folders:
                self.folder(one, depth + 1)

    def _listed(self, folder: Path) -> tuple[list[Path], list[Path]] | None:
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in self.seen or self.entries > MOST_ENTRIES:
                return None
            self.seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: _natural(entry.name))
        except OSError:
            return None
        self.entries += len(entries)
        paths = [Path(entry.path) for entry in entries]
        files = [path for path in paths if path.is_file()]
        folders = [path for path in paths if path.is_dir()]
        # W&B's "latest-run" is a second name of a run
        return files, [f for f in folders if f.name not in _SKIPPED and f.name != "latest-run"]

    def _structured(self, folder: Path, files: list[Path], folders: list[Path]) -> tuple[bool, list[Path]]:
        """Takes the logs of trackers; says whether the folder is a run of one, and which folders are left to look into."""
        names = {file.name for file in files}
        checkpoints = _newest_first(folder, names, folders)
        if checkpoints:
            inner = [f for f in folders if f.name in ("runs", "logs", "tb", "tensorboard")]
            board = (path for one in inner for path in islice(one.rglob("*tfevents*"), MOST_METRICS) if path.is_file())
            self.found.append(Source(folder, "hf", checkpoints, self.name(folder), also=event_files(board)))
            return True, [f for f in folders if not _CHECKPOINT.match(f.name) and f not in inner]
        wandb = [file for file in files if file.suffix == ".wandb"]
        if wandb:
            self.found += [Source(f, "wandb", (f,), self.name(folder if len(wandb) == 1 else f)) for f in wandb]
            return True, []
        if "meta.yaml" in names and any(f.name == "metrics" for f in folders):
            metrics = tuple(sorted(path for path in (folder / "metrics").rglob("*") if path.is_file()))[:MOST_METRICS]
            self.found.append(Source(folder, "mlflow", metrics, self.name(folder)))
            return True, []
        claimed = self._databases(files)
        if "metrics.csv" in names and speaks_of_a_loss(folder / "metrics.csv"):
            self.found.append(Source(folder, "lightning", (folder / "metrics.csv",), self.name(folder)))
            return True, folders
        events = event_files(files)
        if events:
            self.found.append(Source(folder, "tensorboard", events, self.name(folder)))
        return claimed or bool(events), folders

    def _databases(self, files: list[Path]) -> bool:
        found = [s for file in files if file.suffix in (".db", ".sqlite", ".sqlite3") for s in of_file(file, self.name(file))]
        self.found += [source for source in found if not source.problem]
        return any(not source.problem for source in found)

    def _flat(self, files: list[Path]) -> None:
        """Logs of no tracker: those files that speak of a loss."""
        for file in files:
            if file.suffix not in _FLAT:
                continue
            try:
                kind, problem = sniff(file)
                if not problem and kind and speaks_of_a_loss(file):
                    self.found.append(Source(file, kind, (file,), self.name(file)))
            except OSError:
                continue


def find_runs(path: str | os.PathLike[str]) -> list[Source]:
    """The runs at a path, in the order of their names; what cannot be read is a source with a problem."""
    root = Path(path)
    try:
        if not root.exists():
            return [Source(root, "", (), str(root), problem="no such file or folder")]
        if not root.is_dir():
            return of_file(root, root.name)
        if not os.access(root, os.R_OK | os.X_OK):
            return [Source(root, "", (), str(root), problem="the folder may not be read")]
    except (OSError, ValueError) as problem:
        return [Source(root, "", (), str(root), problem=str(problem))]
    walk = _Walk(root)
    walk.folder(root)
    return walk.found or [Source(root, "", (), root.name or str(root), problem=_nothing(walk))]


def _nothing(walk: _Walk) -> str:
    return (
        f"no log among {walk.entries} files and folders: expected trainer_state.json, metrics.csv, TensorBoard event files, "
        "*.wandb, an MLflow or trackio store, or JSONL, CSV or text with a loss"
    )


def of_file(path: Path, name: str) -> list[Source]:
    """The runs of one file: a database may hold several."""
    try:
        if not path.is_file():
            return [Source(path, "", (), name, problem="not an ordinary file")]
        kind, problem = sniff(path)
        if kind == "sqlite":
            from .sqlite import runs_of

            return runs_of(path, name)
    except OSError as error:
        return [Source(path, "", (), name, problem=error.strerror or str(error))]
    if kind in ("lightning", "hf"):
        name = path.parent.name or name
    return [Source(path, kind, (path,), name, problem=problem)]


def event_files(files: Iterable[Path]) -> tuple[Path, ...]:
    """The TensorBoard files of one folder in the order in which they were begun."""

    def begun(path: Path) -> tuple[int, str]:
        stamp = _TENSORBOARD_STAMP.search(path.name)
        return (int(stamp[1]) if stamp else 0), path.name

    return tuple(sorted((file for file in files if "tfevents" in file.name), key=begun))


def _newest_first(folder: Path, names: set[str], folders: list[Path]) -> tuple[Path, ...]:
    """The trainer_state.json of the folder itself, then those of its checkpoints, the newest first."""
    numbered = [(int(match[1]), f) for f in folders if (match := _CHECKPOINT.match(f.name))]
    states = [f / "trainer_state.json" for _, f in sorted(numbered, reverse=True)]
    own = [folder / "trainer_state.json"] if "trainer_state.json" in names else []
    return tuple(own + [state for state in states if state.is_file()])


def _natural(name: str) -> list[tuple[int, int, str]]:
    """version_2 before version_10."""
    return [(0, int(p), "") if p.isdigit() and p.isascii() else (1, 0, p) for p in re.split(r"(\d{1,15})", name)]
