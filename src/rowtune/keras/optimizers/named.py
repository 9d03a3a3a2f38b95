"""Keras's optimizers by their own names and defaults; row by row where there are rows."""

from __future__ import annotations

from typing import Any

import keras

from rowtune.errors import RuleError
from rowtune.keras.optimizers.rowwise import Rowwise


def _keras_own(optimizer: Any) -> Any:
    """The class that Keras makes of its own: on PyTorch one that moves all variables at once."""
    return type(optimizer.__new__(optimizer))


_registered = keras.saving.register_keras_serializable(package="rowtune")


@_registered
class SGD(Rowwise, _keras_own(keras.optimizers.SGD)):  # type: ignore[misc]
    """`keras.optimizers.SGD`; rows by the rules sgd, momentum and nesterov."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        if not self.momentum:
            return "sgd", {}
        return "nesterov" if self.nesterov else "momentum", {"momentum": self.momentum}


@_registered
class Adam(Rowwise, _keras_own(keras.optimizers.Adam)):  # type: ignore[misc]
    """`keras.optimizers.Adam`; rows by the rules adam and amsgrad."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        return "amsgrad" if self.amsgrad else "adam", _moments(self)


@_registered
class RowwiseAdam(Adam):
    """Adam with one second moment for a whole row: about half of its state.

    Dense variables have `keras.optimizers.Adam`. There is no amsgrad of it for rows.
    """

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        if self.amsgrad:
            raise RuleError(
                "RowwiseAdam has no amsgrad for rows; use rowtune.keras.optimizers.Adam"
            )
        return "rowwise_adam", _moments(self)


@_registered
class AdamW(Rowwise, _keras_own(keras.optimizers.AdamW)):  # type: ignore[misc]
    """`keras.optimizers.AdamW`; rows by the rules adam and amsgrad, with decoupled decay."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        return "amsgrad" if self.amsgrad else "adam", _moments(self)


@_registered
class Adamax(Rowwise, _keras_own(keras.optimizers.Adamax)):  # type: ignore[misc]
    """`keras.optimizers.Adamax`; rows by the rule adamax."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        return "adamax", _moments(self)


@_registered
class Lion(Rowwise, _keras_own(keras.optimizers.Lion)):  # type: ignore[misc]
    """`keras.optimizers.Lion`; rows by the rule lion."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        return "lion", {"beta1": self.beta_1, "beta2": self.beta_2}


@_registered
class Adagrad(Rowwise, _keras_own(keras.optimizers.Adagrad)):  # type: ignore[misc]
    """`keras.optimizers.Adagrad`; rows by the rule adagrad."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        first = self.initial_accumulator_value
        return "adagrad", {"eps": self.epsilon, "initial_accumulator_value": first}


@_registered
class RowwiseAdagrad(Adagrad):
    """Adagrad with one accumulator for a whole row: k numbers of state in the place of k x C.

    Dense variables have `keras.optimizers.Adagrad`.
    """

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        return "rowwise_adagrad", super()._row_rule()[1]


@_registered
class Adadelta(Rowwise, _keras_own(keras.optimizers.Adadelta)):  # type: ignore[misc]
    """`keras.optimizers.Adadelta`; rows by the rule adadelta."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        return "adadelta", {"rho": self.rho, "eps": self.epsilon}


@_registered
class RMSprop(Rowwise, _keras_own(keras.optimizers.RMSprop)):  # type: ignore[misc]
    """`keras.optimizers.RMSprop`; rows by the four rules of rmsprop."""

    def _row_rule(self) -> tuple[str, dict[str, Any]]:
        name = "centered_rmsprop" if self.centered else "rmsprop"
        hyper = {"alpha": self.rho, "eps": self.epsilon}
        if not self.momentum:
            return name, hyper
        return f"{name}_momentum", {**hyper, "momentum": self.momentum}


def _moments(optimizer: Any) -> dict[str, Any]:
    return {"beta1": optimizer.beta_1, "beta2": optimizer.beta_2, "eps": optimizer.epsilon}
