"""The PyTorch engine: embeddings whose chosen rows train, and optimizers that move those looked up.

import rowtune.torch as rt

emb = rt.Embedding.from_pretrained(vectors, train=new_ids, init="mean")
optimizer = rt.optim.Adam(model.parameters(), lr=1e-3)  # the whole model's
"""

from __future__ import annotations

try:
    import torch  # noqa: F401
except ImportError:
    raise ImportError('rowtune.torch needs PyTorch: pip install "rowtune[torch]"') from None

from rowtune.torch import optim, team
from rowtune.torch.bag import EmbeddingBag
from rowtune.torch.clip import clip_grad_norm_, clip_grad_row_norms_
from rowtune.torch.embedding import Embedding
from rowtune.torch.models import Handle, load_rows, train_rows
from rowtune.torch.parameter import RowParameter
from rowtune.torch.patches import load_patch, save_patch
from rowtune.torch.subset import Subset, subset

__all__ = [
    "Embedding",
    "EmbeddingBag",
    "Handle",
    "RowParameter",
    "Subset",
    "clip_grad_norm_",
    "clip_grad_row_norms_",
    "load_patch",
    "load_rows",
    "optim",
    "save_patch",
    "subset",
    "train_rows",
]

team.join()
