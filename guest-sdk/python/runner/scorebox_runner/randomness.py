"""Random numbers that differ between requests.

Every request starts from the same memory, so a generator that was made in `init()` would give every request the same
numbers. Those that nobody seeded are therefore seeded anew when a request begins. Those that the script seeded (or
unpickled) keep their state: with `random.seed(42)` in `init()` every request gets the same numbers, as asked for.

What asks the system each time (`os.urandom`, `secrets`, `uuid.uuid4`, generators made in `run()`) needs nothing.
"""

import _random
import gc
import os
import random
import sys
from types import ModuleType
from typing import Any
from weakref import WeakSet

from .imports import after_import


class _PythonRandomness:
    """`random.Random`: instances that were seeded without a seed."""

    def __init__(self) -> None:
        self._unseeded: WeakSet[random.Random] = WeakSet()
        self._generators: list[random.Random] = []

    def watch(self) -> None:
        unseeded = self._unseeded
        self._seed, self._setstate = seed, setstate = random.Random.seed, random.Random.setstate

        def watched_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            seed(self, a, version)
            (unseeded.add if a is None else unseeded.discard)(self)

        def watched_setstate(self: random.Random, state: Any) -> None:
            setstate(self, state)
            unseeded.discard(self)

        unseeded.add(random._inst)
        random.Random.seed, random.Random.setstate = watched_seed, watched_setstate
        self._bind()

    def settle(self) -> None:
        random.Random.seed, random.Random.setstate = self._seed, self._setstate
        self._bind()
        self._generators = list(self._unseeded)

    def _bind(self) -> None:
        """The functions of the module are methods of one hidden instance."""
        random.seed, random.setstate = random._inst.seed, random._inst.setstate

    def renew(self) -> None:
        entropy = int.from_bytes(os.urandom(24))
        for offset, generator in enumerate(self._generators):
            _random.Random.seed(generator, entropy + offset)
            generator.gauss_next = None


class _NumpyRandomness:
    """`numpy.random`: the legacy generator behind its functions, and generators that drew their seed from the system."""

    def __init__(self) -> None:
        self._numpy: ModuleType | None = None
        self._entropies: set[int] = set()
        self._global_unseeded = True
        self._states: list[Any] = []
        self._bit_generators: list[Any] = []

    def watch(self) -> None:
        after_import("numpy.random", self._watch)

    def _watch(self, numpy_random: ModuleType) -> None:
        self._numpy = numpy_random
        module = numpy_random.bit_generator
        draw, seed, set_state = module.randbits, numpy_random.seed, numpy_random.set_state

        def watched_draw(bits: int) -> int:
            entropy = draw(bits)
            self._entropies.add(entropy)
            return entropy

        def watched_seed(seed_value: Any = None) -> None:
            seed(seed_value)
            self._global_unseeded = seed_value is None

        def watched_set_state(state: Any) -> None:
            set_state(state)
            self._global_unseeded = False

        module.randbits = watched_draw
        watched_seed.__doc__, watched_set_state.__doc__ = seed.__doc__, set_state.__doc__
        for place in (numpy_random, numpy_random.mtrand):
            place.seed, place.set_state = watched_seed, watched_set_state
        self._restore = lambda: setattr(module, "randbits", draw)

    def settle(self) -> None:
        if self._numpy is None:
            return
        self._restore()
        numpy_random = self._numpy
        legacy = numpy_random.mtrand._rand
        states, bit_generators = [], []
        # Not isinstance: objects that pretend to be of another class may do anything when asked.
        for candidate in gc.get_objects():
            kind = type(candidate)
            if issubclass(kind, numpy_random.RandomState) and candidate is not legacy:
                states.append(candidate)
            elif issubclass(kind, numpy_random.BitGenerator):
                bit_generators.append(candidate)
        self._states = [state for state in states if self._is_unseeded(state._bit_generator)]
        if self._global_unseeded:
            self._states.append(legacy)
        owned = {id(state._bit_generator) for state in [*states, legacy]}
        self._bit_generators = [bits for bits in bit_generators if id(bits) not in owned and self._is_unseeded(bits)]

    def _is_unseeded(self, bit_generator: Any) -> bool:
        entropy = getattr(bit_generator.seed_seq, "entropy", None)
        return isinstance(entropy, int) and entropy in self._entropies

    def renew(self) -> None:
        for state in self._states:
            # The legacy generators take 32 bits at the price of a few instructions, and more of them at a hundredfold.
            state.seed(int.from_bytes(os.urandom(4)))
        for bits in self._bit_generators:
            fresh = type(bits)()
            bits.__setstate__((fresh.state, fresh.seed_seq))


_sources = (_PythonRandomness(), _NumpyRandomness())


def watch() -> None:
    """Begins to note which generators are seeded; before the script is imported."""
    for source in _sources:
        source.watch()


def settle() -> None:
    """Ends it and finds the generators to renew; after `init()`. Forgets what other modules derived from random numbers."""
    for source in _sources:
        source.settle()
    for module, names in (
        ("uuid", ("_node", "_last_timestamp", "_last_timestamp_v6", "_last_timestamp_v7")),
        ("tempfile", ("_name_sequence",)),
    ):
        for name in names:
            if hasattr(sys.modules.get(module), name):
                setattr(sys.modules[module], name, None)


def renew() -> None:
    """Seeds what nobody seeded; when a request begins."""
    for source in _sources:
        source.renew()
