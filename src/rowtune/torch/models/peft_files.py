"""Token rows in the files of PEFT's TrainableTokens, for serving stacks that read those.

A folder with ``adapter_config.json`` and ``adapter_model.safetensors``: the ids, and for each
module that reads the table the rows themselves, under a name that calls them a delta.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rowtune.atomic import replacing
from rowtune.errors import PatchError

CONFIG, ROWS = "adapter_config.json", "adapter_model.safetensors"
_START, _END = "base_model.model.", ".trainable_tokens_delta"
_KIND = "TRAINABLE_TOKENS"


def write(
    folder: str | os.PathLike[str], ids: Tensor, rows: Mapping[str, Tensor], targets: list[str]
) -> None:
    """Write rows (k, D) by the names of the modules that read them; ``targets`` are those that PEFT
    is to look for.

    Raises
    ------
    OSError
        A file cannot be written; older ones of these names are kept.
    """
    from safetensors.torch import save  # noqa: PLC0415 - `import rowtune.torch` stays light

    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": _KIND,
        "token_indices": ids.tolist(),
        "target_modules": targets,
        "inference_mode": True,
        "base_model_name_or_path": None,
        "task_type": None,
    }
    # Each a tensor of its own: the format has no word for rows that are shared.
    tensors = {f"{_START}{name}{_END}": r.detach().cpu().clone() for name, r in rows.items()}
    with replacing(where / ROWS) as file:
        file.write(save(tensors, metadata={"format": "pt"}))
    with replacing(where / CONFIG) as file:
        file.write(json.dumps(config, indent=2).encode())


def read(folder: str | os.PathLike[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The ids (k,) as they stand there, and the rows (k, D) by the names of modules.

    Raises
    ------
    PatchError
        Another kind of adapter, or a damaged one.
    FileNotFoundError
        No such folder or file.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    where = Path(folder)
    config = _config(where / CONFIG)
    try:
        tensors = load((where / ROWS).read_bytes())
    except SafetensorError as error:
        raise PatchError(f"{where / ROWS} is damaged: {error}") from None
    ids = torch.tensor(config["token_indices"], dtype=torch.int64)
    rows = {
        name.removeprefix(_START).removesuffix(_END): tensor
        for name, tensor in tensors.items()
        if name.endswith(_END)
    }
    if not rows or any(r.ndim != 2 or len(r) != len(ids) for r in rows.values()):
        raise PatchError(f"{where / ROWS} does not hold {len(ids)} rows for each of its modules")
    return ids, rows


def read_for(
    folder: str | os.PathLike[str], ids: Tensor, blocks: Mapping[str, nn.Parameter]
) -> list[tuple[nn.Parameter, Tensor]]:
    """As `read`, for exactly these ids (k,), ascending: each block and its rows (k, D).

    Parameters
    ----------
    blocks : by the names of the modules that read them, of which several may share one

    Raises
    ------
    PatchError
        Rows of other ids, modules or widths, or two for one block.
    """
    there, found = read(folder)
    order = there.argsort()
    if there[order].tolist() != ids.tolist():
        raise PatchError(f"{folder} holds the rows of other ids than those that train here")
    mine: dict[nn.Parameter, Tensor] = {}
    for name, block in blocks.items():
        if name not in found:
            continue
        rows = found[name][order]
        if rows.shape != block.shape:
            raise PatchError(
                f"{folder}: rows of {name} have shape {tuple(rows.shape)}; expected "
                f"{tuple(block.shape)}"
            )
        if block in mine and not torch.equal(mine[block], rows):
            raise PatchError(f"{folder} has other rows for {name} than for what it shares")
        mine[block] = rows
    if set(mine) != set(blocks.values()):
        raise PatchError(f"{folder} has rows for {', '.join(found)}; expected {', '.join(blocks)}")
    return list(mine.items())


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise PatchError(f"{path} is not JSON: {error}") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != _KIND:
        raise PatchError(f"{path} is an adapter of kind {kind}; expected {_KIND}")
    ids = config.get("token_indices")
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
        raise PatchError(
            f"{path} names its tokens by module, or not at all; expected a list of ids"
        )
    found: dict[str, Any] = config
    return found
