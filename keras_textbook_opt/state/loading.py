"""A loaded state, from the load to the first step.

Weights may be loaded after the optimizer, or before `build`. So a state is kept in
memory until its variables are certain. Each read of the optimizer's variables assigns
the entries that match by then. The first step does so for good, and drops the entries.
"""

import json
import warnings
from typing import Any, NamedTuple, final

from keras_textbook_opt.state import archive, restore
from keras_textbook_opt.state.archive import Entry, Saved, SavedVariable
from keras_textbook_opt.state.slots import States


def identities_of(states: States) -> str:
    """The identities of the variables, as text for a checkpoint of TensorFlow."""
    found = [(archive.identity(s.variable), list(s.by_kind())) for s in states]
    return json.dumps([[v.path, v.shape, v.dtype, v.checksum, k] for v, k in found])


class Facts(NamedTuple):
    """The facts about an optimizer that its file contains."""

    class_name: str  # the registered one
    own: dict[str, Any]  # its variables that belong to no other, by name
    rules: dict[str, Any]  # its patterns


@final
class LoadedState:
    """A loaded state that is not assigned for good."""

    def __init__(self) -> None:
        self.saved: Saved | None = None  # in memory
        # The identities in a checkpoint of TensorFlow, which restores by position.
        self.listed: restore.Listed | None = None
        # The loader of `.h5` files calls `build([])`, then `set_weights`: with a
        # `LossScaleOptimizer`, of that one only.
        self.loader_built_nothing = False
        self._fresh: list[str] = []
        self._done: restore.Done = {}
        self._left: dict[str, Entry] = {}

    def load(self, saved: Saved | None, states: States, facts: Facts) -> None:
        """Assign what can be assigned now, and keep the rest.

        No array of `saved` is read yet. A corrupted one is a `ValueError`, and nothing
        has changed.
        """
        if saved is None:
            warnings.warn(restore.NO_STATE, stacklevel=4)
            return
        if not saved.class_name:
            warnings.warn(restore.FROM_KERAS, stacklevel=4)
            return
        saved.is_foreign = saved.class_name != facts.class_name
        if saved.is_foreign:
            saved.variables = []
        found, is_certain = restore.match(saved.variables, states)
        assignments, problems = restore.plan_own(saved, facts.own)
        if is_certain:
            saved.verify()
        else:
            saved.keep()
        # Entries of variables that a subclass creates in its `build`, later.
        left = {} if len(states) or saved.is_foreign else saved.own
        self._left = {n: e.in_memory() for n, e in left.items() if n not in facts.own}
        for assign in assignments:
            assign()
        if problems:
            warnings.warn("\n".join(problems), stacklevel=4)
        self.saved, self._fresh, self._done = saved, [], {}
        if is_certain:
            self._fresh = restore.assign(saved, states, found, facts.rules)
            self.drop()

    def set_weights(
        self, values: Any, variables: list, states: States, facts: Facts
    ) -> None:
        """Assign `values` to `variables`; keep them if there are none yet."""
        self.loader_built_nothing = False
        if variables:
            restore.assign_all(variables, values)
            self.saved = None
        else:
            saved = restore.numbered(values, facts.class_name, facts.own)
            self.load(saved, states, facts)

    def is_due(self, for_good: bool) -> bool:
        """Whether something was loaded that can be assigned."""
        return self.saved is not None or (for_good and self.listed is not None)

    def assign(self, states: States, facts: Facts, for_good: bool) -> None:
        """Assign the entries that match now; another replica may have done so."""
        if self.saved is not None:
            found, _ = restore.match(self.saved.variables, states)
            self._fresh = restore.assign(
                self.saved, states, found, facts.rules, self._done
            )
            for name in self._left.keys() & facts.own.keys():
                restore.put(facts.own[name], self._left.pop(name).read())
        elif for_good and self.listed is not None:
            self._fresh = restore.check_positions(self.listed, states)
            self.listed = None

    def read_identities(self, text: str) -> None:
        """Remember the identities of the variables in a restored checkpoint."""
        self.listed = [
            (SavedVariable(path, tuple(shape), dtype, contents), kinds)
            for path, shape, dtype, contents, kinds in json.loads(text)
        ]

    def drop(self) -> None:
        """Drop the kept entries, and warn of variables that start fresh."""
        had_none = self.saved is not None and not (
            self.saved.variables or self.saved.numbered
        )
        if self._fresh and not had_none:  # nothing is lost if there was nothing
            warnings.warn(restore.fresh_message(self._fresh), stacklevel=4)
        self.saved, self._fresh = None, []

    def warn_if_lost(self, states: States) -> None:
        """Warn if a file had a state that Keras's loader did not pass on."""
        if self.loader_built_nothing:
            self._fresh = [state.path for state in states]
            self.drop()
        self.loader_built_nothing = False

    def to_save(self, now: Saved, lists_variables: bool) -> Saved:
        """The state to save before `build`: the loaded entries again."""
        if lists_variables:
            warnings.warn(
                "The variables in `exclude_from_weight_decay(var_list=…)` are saved by "
                "their paths, which Keras may change: call `build(variables)` first, "
                "or exclude them with patterns.",
                stacklevel=4,
            )
        if self.saved is not None:
            now.class_name, now.variables = self.saved.class_name, self.saved.variables
            now.own = self._left | now.own
        return now
