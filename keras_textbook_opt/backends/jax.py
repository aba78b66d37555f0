"""JAX: a step becomes one program, in which a branch computes and cannot assign."""

from __future__ import annotations

from typing import final

import jax
import keras

from keras_textbook_opt.backends.plain import Backend


@final
class Jax(Backend):
    """What JAX does in its own way."""

    pairs_by_position = True

    def either(self, condition, then, otherwise, variables):
        """Each function assigns in a scope of its own, and its branch returns that."""
        if not isinstance(condition, jax.core.Tracer):
            return then() if condition else otherwise()
        old = [variable.value for variable in variables]

        def branch(assigning):
            def values(old):
                scope = keras.StatelessScope(state_mapping=list(zip(variables, old)))
                with scope:
                    assigning()
                return [scope.get_current_value(variable) for variable in variables]

            return values

        new = jax.lax.cond(condition, branch(then), branch(otherwise), old)
        for variable, value in zip(variables, new):
            variable.assign(value)

    def chosen(self, condition, then, otherwise):
        """Outside of a program, to branch would be to compile both each time."""
        if not isinstance(condition, jax.core.Tracer):
            return then() if condition else otherwise()
        return super().chosen(condition, then, otherwise)

    def compiles_branches(self):
        return True

    def l2_loss(self, x):
        """Of an `x` of its own: the compiler writes down an `x²` that Adam shares."""
        return super().l2_loss(jax.lax.optimization_barrier(x))

    def column(self, scalars):
        """JAX takes long to compile a stack of many scalars."""
        return scalars

    def scalars(self, column, count):
        return column

    def held(self, model, variables):
        """In a `fit`, Keras has all values in a list, and gives them back at its end.

        To ask for that earlier would cost each batch a pass over all variables.
        """
        if getattr(model, "_jax_state_synced", True):
            return super().held(model, variables)
        values = model._jax_state["optimizer_variables"]
        of = {id(v): value for v, value in zip(model.optimizer.variables, values)}
        return jax.device_get([of[id(variable)] for variable in variables])
