"""A loaded state, from the load to the first step.

Weights may be loaded after the optimizer, or long before its variables are known to it.
So a state whose owners are not certain yet is kept in memory. Whenever somebody reads
the optimizer's variables, what is known then is assigned; the first step does so for
good, and what was kept is dropped.
"""

import json
import warnings
from typing import Any, NamedTuple, final

from keras_textbook_opt.state import archive, restore
from keras_textbook_opt.state.archive import Entry, Saved, SavedVariable
from keras_textbook_opt.state.slots import States


def written_list(states: States) -> str:
    """Who the variables are, as a checkpoint of TensorFlow keeps it."""
    variables = [archive.identity(variable) for variable in states.variables]
    return json.dumps([[v.path, v.shape, v.dtype, v.checksum] for v in variables])


class Facts(NamedTuple):
    """What an optimizer tells of itself for a file."""

    class_name: str  # the registered one
    own: dict[str, Any]  # its variables that belong to no other, by name
    rules: dict[str, Any]  # its patterns


@final
class LoadedState:
    """What was loaded and is not assigned for good."""

    def __init__(self) -> None:
        self.saved: Saved | None = None  # in memory
        # Who the variables were, in a checkpoint of TensorFlow, which restores states
        # by position.
        self.listed: list[SavedVariable] | None = None
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
        found, is_certain = restore.match(saved, states)
        assignments, problems = restore.plan_own(saved, facts.own)
        if is_certain:
            saved.verify()
        else:
            saved.keep()
        for assign in assignments:
            assign()
        if problems:
            warnings.warn("\n".join(problems), stacklevel=4)
        self.saved, self._fresh, self._done = saved, [], {}
        # What a subclass creates in its `build`, and so has not created yet.
        left = {} if len(states) or saved.is_foreign else saved.own
        self._left = {n: e.kept() for n, e in left.items() if n not in facts.own}
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
        """Assign what the variables tell now; another replica may have done so."""
        if self.saved is not None:
            found, _ = restore.match(self.saved, states)
            self._fresh = restore.assign(
                self.saved, states, found, facts.rules, self._done
            )
            for name in self._left.keys() & facts.own.keys():
                restore.put(facts.own[name], self._left.pop(name).read())
        elif for_good and self.listed is not None:
            self._fresh = restore.check_positions(self.listed, states)
            self.listed = None

    def read_list(self, text: str) -> None:
        """A checkpoint was restored: remember who its variables were."""
        self.listed = [
            SavedVariable(path, tuple(shape), dtype, contents)
            for path, shape, dtype, contents in json.loads(text)
        ]

    def drop(self) -> None:
        """What is assigned now is so for good. Warn of variables that start fresh."""
        had_none = self.saved is not None and not (
            self.saved.variables or self.saved.numbered
        )
        if self._fresh and not had_none:  # nothing is lost if there was nothing
            warnings.warn(restore.fresh_message(self._fresh), stacklevel=4)
        self.saved, self._fresh = None, []

    def warn_if_lost(self, states: States) -> None:
        """Warn if a file had a state that Keras's loader did not hand over."""
        if self.loader_built_nothing:
            self._fresh = states.paths()
            self.drop()
        self.loader_built_nothing = False

    def to_write(self, now: Saved) -> Saved:
        """What to save while the variables are not known: the same entries again."""
        if self.saved is not None:
            now.class_name, now.variables = self.saved.class_name, self.saved.variables
            now.own = self._left | now.own
        return now
