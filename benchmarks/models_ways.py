"""The ways to train the rows of a language model's new tokens: what people use, and ours.

The model is a transformers Llama without layers between table and head: those cost every way the
same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import peft
import torch
import transformers
from torch import Tensor, nn

import rowtune.torch as rt

LR = 1e-2
OURS, PEFT = "rowtune.torch", "PEFT TrainableTokens"
MASK, FULL = "gradient mask", "whole tables (modules_to_save)"


class Size(NamedTuple):
    rows: int
    width: int
    trainable: int
    is_tied: bool


class Way(NamedTuple):
    """A model that trains, by its parts."""

    model: nn.Module  # the transformers model, whoever wraps it
    optimizer: torch.optim.Optimizer
    tables: Callable[[], list[Tensor]]  # the chosen rows of table and head as they are now
    saved: Callable[[Path], int]  # bytes that a save keeps


def tables_of(size: Size) -> list[Tensor]:
    """What the model has trained before: a table, and one for a head that is not tied."""
    torch.manual_seed(0)
    return [torch.randn(size.rows, size.width).mul_(0.02) for _ in range(2 - size.is_tied)]


def chosen(size: Size) -> Tensor:
    torch.manual_seed(1)
    return torch.randperm(size.rows)[: size.trainable].sort().values


def llama(tables: list[Tensor], is_copied: bool) -> Any:
    config = transformers.LlamaConfig(
        hidden_size=tables[0].shape[1], intermediate_size=8, num_hidden_layers=0,
        num_attention_heads=8, vocab_size=2, bos_token_id=0, eos_token_id=1,
        tie_word_embeddings=len(tables) == 1,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    config.vocab_size = model.vocab_size = len(tables[0])
    mine = [nn.Parameter(t.clone() if is_copied else t, requires_grad=False) for t in tables]
    for module, weight in zip((model.model.embed_tokens, model.lm_head), (mine * 2)[:2],
                              strict=True):  # fmt: skip
        module._parameters["weight"] = weight
    model.model.embed_tokens.num_embeddings = model.lm_head.out_features = len(tables[0])
    return model.requires_grad_(False)


def fused(parameters: list[Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0, fused=True)


def ours(tables: list[Tensor], ids: Tensor) -> Way:
    model = llama(tables, is_copied=False)
    handle = rt.train_rows(model, rows=ids, head=True)

    def saved(folder: Path) -> int:
        handle.save(folder / "rows.safetensors")
        return size_of(folder)

    optimizer = rt.optim.AdamW(handle.parameters(), lr=LR, weight_decay=0.0)
    return Way(model, optimizer, lambda: [p.detach() for p in handle.parameters()], saved)


def trainable_tokens(tables: list[Tensor], ids: Tensor) -> Way:
    inner = llama(tables, is_copied=False)
    names = ["embed_tokens"] if len(tables) == 1 else ["embed_tokens", "lm_head"]
    config = peft.TrainableTokensConfig(token_indices=ids.tolist(), target_modules=names)
    wrapped = peft.get_peft_model(inner, config)
    own = list(dict.fromkeys(p for p in wrapped.parameters() if p.requires_grad))

    def saved(folder: Path) -> int:
        wrapped.save_pretrained(folder)
        return size_of(folder)

    return Way(inner, fused(own), lambda: [p.detach() for p in own], saved)


def whole_tables(tables: list[Tensor], ids: Tensor) -> Way:
    model = llama(tables, is_copied=True)
    own = list(dict.fromkeys((model.model.embed_tokens.weight, model.lm_head.weight)))
    for weight in own:
        weight.requires_grad_(True)

    def saved(_folder: Path) -> int:
        return sum(w.nbytes for w in own)  # not written: gigabytes

    return Way(model, fused(own), lambda: [w.detach()[ids] for w in own], saved)


def gradient_mask(tables: list[Tensor], ids: Tensor) -> Way:
    """A hook blanks the gradient of frozen rows, in place; without weight decay they stay."""
    way = whole_tables(tables, ids)
    is_frozen = torch.ones(len(tables[0]), dtype=torch.bool)
    is_frozen[ids] = False
    frozen = is_frozen.nonzero().squeeze(1)
    for weight in way.optimizer.param_groups[0]["params"]:
        weight.register_hook(lambda grad: grad.index_fill_(0, frozen, 0.0))
    return way


def size_of(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir() if f.suffix == ".safetensors")


def saved_bytes(way: Way) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return way.saved(Path(folder))


WAYS: dict[str, Callable[[list[Tensor], Tensor], Way]] = {
    PEFT: trainable_tokens, FULL: whole_tables, MASK: gradient_mask, OURS: ours,
}  # fmt: skip
