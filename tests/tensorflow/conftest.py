"""TensorFlow, quietly and once."""

from __future__ import annotations

import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with warnings.catch_warnings():
    # What TensorFlow's own modules warn of while they are imported is not ours to mend.
    warnings.simplefilter("ignore")
    import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(2)
