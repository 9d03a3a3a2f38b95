"""Models in folders, as transformers keeps them: give one new tokens, or rows out of files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from rowtune.errors import FormatError, RowtuneError
from rowtune.torch.models.handle import Handle
from rowtune.torch.models.load_rows import load_rows
from rowtune.torch.models.train_rows import train_rows

Progress = Callable[[str, int, int], None]
ROWS = "rows.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WEIGHTS = (".safetensors", ".h5", ".msgpack", ".onnx", *_PICKLES)


def add_tokens(
    folder: Path, tokens: Sequence[str], out: Path, init: str, progress: Progress | None = None
) -> Handle:
    """Write a model to ``out`` that has new tokens, and the rows that they begin with beside it.

    Every other row of its tables is as it was, bit for bit.

    Raises
    ------
    FormatError
        ``folder`` is not a model, or ``out`` is there already.
    RowtuneError
        transformers is not installed.
    """
    _refuse_existing(out)
    model, tokenizer = _load(folder, progress)
    known = set(tokenizer.get_vocab())
    there = [token for token in tokens if token in known]
    if there:
        raise FormatError(f"{folder} has the token {there[0]!r} already; leave it out")
    with torch.no_grad():
        handle = train_rows(model, tokens=tokens, tokenizer=tokenizer, init=init)
    _write(handle, tokenizer, folder, out, progress, rows=True)
    return handle


def merge_rows(
    folder: Path, files: Sequence[Path], out: Path, force: bool, progress: Progress | None = None
) -> Handle:
    """Write the model of ``folder`` to ``out`` with the rows of files in their places.

    Raises
    ------
    FormatError, PatchError, RowtuneError
        As `add_tokens` and `load_rows` do.
    """
    _refuse_existing(out)
    model, tokenizer = _load(folder, progress)
    with torch.no_grad():
        handle = load_rows(model, *files, tokenizer=tokenizer, force=force)
    _write(handle, tokenizer, folder, out, progress, rows=False)
    return handle


def _load(folder: Path, progress: Progress | None) -> tuple[Any, Any]:
    try:
        import transformers  # noqa: PLC0415 - heavy, and only here
    except ImportError:
        raise RowtuneError("this needs transformers: pip install transformers") from None
    if not (folder / "config.json").is_file():
        raise FormatError(f"{folder} has no config.json; expected the folder of a model")
    if progress:
        progress("loading the model", 0, 1)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        names = config.architectures or ["AutoModel"]
        # Safetensors alone: other weights are pickles.
        model = getattr(transformers, names[0], transformers.AutoModel).from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{folder} cannot be read as a model: {error}") from error
    if progress:
        progress("loading the model", 1, 1)
    return model, tokenizer


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise FormatError(f"{out} is there already; name a folder that is not")


def _write(
    handle: Handle, tokenizer: Any, folder: Path, out: Path, progress: Progress | None, rows: bool
) -> None:
    """A folder that appears whole or not at all, with what else was in the model's."""
    if progress:
        progress("writing", 0, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        if rows:
            handle.save(begun / ROWS)
        handle.merge().save_pretrained(begun)  # type: ignore[operator]
        handle.unmerge()
        tokenizer.save_pretrained(begun)
        _copy_the_rest(folder, begun)
        begun.chmod(0o755)  # of a folder like any other
        begun.replace(out)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    if progress:
        progress("writing", 1, 1)


def _copy_the_rest(folder: Path, begun: Path) -> None:
    """Such as a sentence model's pooling; not weights, which have been written, and not pickles."""
    for path in folder.iterdir():
        target = begun / path.name
        if target.exists() or path.suffix in _WEIGHTS or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.copytree(
                path, target, ignore=shutil.ignore_patterns(*(f"*{s}" for s in _PICKLES))
            )
        else:
            shutil.copy2(path, target)
