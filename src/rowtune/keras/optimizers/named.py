"""Keras's optimizers by their own names, arguments and defaults, row by row where there are rows."""

from __future__ import annotations

from typing import ClassVar

import keras

from rowtune.keras.optimizers.rowwise import Rowwise

_registered = keras.saving.register_keras_serializable(package="rowtune")
_MOMENTS = {"beta1": "beta_1", "beta2": "beta_2", "eps": "epsilon"}


@_registered
class SGD(Rowwise, keras.optimizers.SGD):  # type: ignore[misc]
    """`keras.optimizers.SGD`; rows by the rules sgd, momentum and nesterov."""

    @property
    def _hyper(self) -> dict[str, str]:  # type: ignore[override]
        return {"momentum": "momentum"} if self.momentum else {}

    def _rule(self) -> str:
        if not self.momentum:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"


@_registered
class Adam(Rowwise, keras.optimizers.Adam):  # type: ignore[misc]
    """`keras.optimizers.Adam`; rows by the rules adam and amsgrad."""

    _hyper: ClassVar[dict[str, str]] = _MOMENTS

    def _rule(self) -> str:
        return "amsgrad" if self.amsgrad else "adam"


@_registered
class AdamW(Rowwise, keras.optimizers.AdamW):  # type: ignore[misc]
    """`keras.optimizers.AdamW`; rows by the rules adam and amsgrad, decoupled decay with them."""

    _hyper: ClassVar[dict[str, str]] = _MOMENTS

    def _rule(self) -> str:
        return "amsgrad" if self.amsgrad else "adam"


@_registered
class Adamax(Rowwise, keras.optimizers.Adamax):  # type: ignore[misc]
    """`keras.optimizers.Adamax`; rows by the rule adamax."""

    _hyper: ClassVar[dict[str, str]] = _MOMENTS

    def _rule(self) -> str:
        return "adamax"


@_registered
class Lion(Rowwise, keras.optimizers.Lion):  # type: ignore[misc]
    """`keras.optimizers.Lion`; rows by the rule lion."""

    _hyper: ClassVar[dict[str, str]] = {"beta1": "beta_1", "beta2": "beta_2"}

    def _rule(self) -> str:
        return "lion"


@_registered
class Adagrad(Rowwise, keras.optimizers.Adagrad):  # type: ignore[misc]
    """`keras.optimizers.Adagrad`; rows by the rule adagrad."""

    _hyper: ClassVar[dict[str, str]] = {
        "eps": "epsilon",
        "initial_accumulator_value": "initial_accumulator_value",
    }

    def _rule(self) -> str:
        return "adagrad"


@_registered
class RowwiseAdagrad(Adagrad):
    """Adagrad with one accumulator for a whole row: k numbers of state in the place of k x C.

    Dense variables have `keras.optimizers.Adagrad`.
    """

    def _rule(self) -> str:
        return "rowwise_adagrad"


@_registered
class Adadelta(Rowwise, keras.optimizers.Adadelta):  # type: ignore[misc]
    """`keras.optimizers.Adadelta`; rows by the rule adadelta."""

    _hyper: ClassVar[dict[str, str]] = {"rho": "rho", "eps": "epsilon"}

    def _rule(self) -> str:
        return "adadelta"


@_registered
class RMSprop(Rowwise, keras.optimizers.RMSprop):  # type: ignore[misc]
    """`keras.optimizers.RMSprop`; rows by the four rules of rmsprop."""

    @property
    def _hyper(self) -> dict[str, str]:  # type: ignore[override]
        names = {"alpha": "rho", "eps": "epsilon"}
        return {**names, "momentum": "momentum"} if self.momentum else names

    def _rule(self) -> str:
        name = "centered_rmsprop" if self.centered else "rmsprop"
        return f"{name}_momentum" if self.momentum else name
