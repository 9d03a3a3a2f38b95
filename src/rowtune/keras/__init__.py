"""The Keras 3 layer and its optimizers, on TensorFlow, JAX and PyTorch alike.

import rowtune.keras as rk

embedding = rk.Embedding(75_000, 300, weights=vectors, train=new_ids, mask_zero=True)
model = keras.Sequential([keras.Input((None,), dtype="int32"), embedding, ...])
model.compile(rk.optimizers.Adam(1e-3), "binary_crossentropy")
model.fit(ids, labels)  # touched rows move; the rest of the model is Keras's own Adam's
"""

from __future__ import annotations

try:
    import keras
except ImportError:
    raise ImportError('rowtune.keras needs Keras 3: pip install "rowtune[keras]"') from None

if int(keras.__version__.split(".")[0]) < 3:
    raise ImportError(
        f'rowtune.keras needs Keras 3, not {keras.__version__}: pip install "rowtune[keras]"'
    )

from rowtune.keras import optimizers
from rowtune.keras.embedding import Embedding

__all__ = ["Embedding", "optimizers"]
