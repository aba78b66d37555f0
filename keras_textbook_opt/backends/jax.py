"""JAX: within a compiled step, a branch cannot assign to a variable."""

from typing import final

import jax
import keras

from keras_textbook_opt.backends.plain import Backend


@final
class Jax(Backend):
    """The operations of JAX."""

    trains_on_values = True

    def branch(self, condition, assign, variables):
        """The branch assigns in its own `StatelessScope`, and returns the values."""
        if not isinstance(condition, jax.core.Tracer):
            if condition:
                assign()
            return
        old = [variable.value for variable in variables]

        def assigned(old):
            scope = keras.StatelessScope(state_mapping=list(zip(variables, old)))
            with scope:
                assign()
            return [scope.get_current_value(variable) for variable in variables]

        new = jax.lax.cond(condition, assigned, lambda old: old, old)
        for variable, value in zip(variables, new):
            variable.assign(value)
