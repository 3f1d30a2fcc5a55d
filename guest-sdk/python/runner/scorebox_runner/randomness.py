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
from functools import wraps
from types import ModuleType
from typing import Any
from weakref import WeakSet

from .imports import after_import


class _PythonRandomness:
    """`random.Random`: instances that were seeded without a seed, and those that got the state of one, as copies do."""

    def __init__(self) -> None:
        self._unseeded: WeakSet[random.Random] = WeakSet()
        self._unseeded_states: set[int] = set()
        self._generators: list[random.Random] = []

    def watch(self) -> None:
        unseeded, unseeded_states = self._unseeded, self._unseeded_states
        self._methods = seed, getstate, setstate = random.Random.seed, random.Random.getstate, random.Random.setstate

        def watched_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
            seed(self, a, version)
            (unseeded.add if a is None else unseeded.discard)(self)

        def watched_getstate(self: random.Random) -> tuple[Any, ...]:
            state = getstate(self)
            if self in unseeded:
                unseeded_states.add(hash(state))
            return state

        def watched_setstate(self: random.Random, state: Any) -> None:
            setstate(self, state)
            (unseeded.add if hash(getstate(self)) in unseeded_states else unseeded.discard)(self)

        unseeded.add(random._inst)
        self._bind(watched_seed, watched_getstate, watched_setstate)

    def find(self) -> None:
        self._generators = list(self._unseeded)

    def begin_anew(self) -> None:
        self.find()
        self.renew()

    def settle(self) -> None:
        self._bind(*self._methods)
        self.find()

    def _bind(self, *methods: Any) -> None:
        kind, hidden = random.Random, random._inst
        kind.seed, kind.getstate, kind.setstate = methods
        # The functions of the module are methods of one hidden instance.
        random.seed, random.getstate, random.setstate = hidden.seed, hidden.getstate, hidden.setstate

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
        self._mersenne_states: list[Any] = []
        self._other_states: list[Any] = []
        self._bit_generators: list[Any] = []
        self._sequences: list[Any] = []
        self._legacy_sequence: Any = None

    def watch(self) -> None:
        after_import("numpy.random", self._watch)

    def _watch(self, numpy_random: ModuleType) -> None:
        self._numpy = numpy_random
        module = numpy_random.bit_generator
        draw, seed, set_state = module.randbits, numpy_random.seed, numpy_random.set_state
        set_bit_generator = numpy_random.set_bit_generator

        def watched_draw(bits: int) -> int:
            entropy = draw(bits)
            self._entropies.add(entropy)
            return entropy

        @wraps(seed)
        def watched_seed(*arguments: Any, **named: Any) -> None:
            seed(*arguments, **named)
            self._global_unseeded = all(value is None for value in (*arguments, *named.values()))

        @wraps(set_state)
        def watched_set_state(state: Any) -> None:
            set_state(state)
            self._global_unseeded = False

        @wraps(set_bit_generator)
        def watched_set_bit_generator(bitgen: Any) -> None:
            set_bit_generator(bitgen)
            self._global_unseeded = self._is_unseeded(bitgen)

        module.randbits = watched_draw
        for place in (numpy_random, numpy_random.mtrand):
            place.seed, place.set_state = watched_seed, watched_set_state
            place.set_bit_generator = watched_set_bit_generator
        self._restore = lambda: setattr(module, "randbits", draw)

    def settle(self) -> None:
        if self._numpy is not None:
            self._restore()
        self.find()

    def find(self) -> None:
        if self._numpy is None:
            return
        numpy_random = self._numpy
        legacy = numpy_random.mtrand._rand
        states, bit_generators, sequences = [], [], []
        # What the script has frozen would not be found. The snapshot freezes it again.
        gc.unfreeze()
        # Not isinstance: objects that pretend to be of another class may do anything when asked.
        for candidate in gc.get_objects():
            kind = type(candidate)
            if issubclass(kind, numpy_random.RandomState) and candidate is not legacy:
                states.append(candidate)
            elif issubclass(kind, numpy_random.BitGenerator):
                bit_generators.append(candidate)
            elif issubclass(kind, numpy_random.SeedSequence):
                sequences.append(candidate)
        owned = {id(state._bit_generator) for state in [*states, legacy]}
        unseeded = [state for state in states if self._is_unseeded(state._bit_generator)]
        if self._global_unseeded:
            unseeded.append(legacy)
        self._mersenne_states, self._other_states = [], []
        for state in unseeded:
            is_mersenne = issubclass(type(state._bit_generator), numpy_random.MT19937)
            (self._mersenne_states if is_mersenne else self._other_states).append(state)
        self._bit_generators = [bits for bits in bit_generators if id(bits) not in owned and self._is_unseeded(bits)]
        self._bit_generators += [state._bit_generator for state in self._other_states]
        drawn = filter(self._is_drawn, sequences)
        self._sequences = [sequence for sequence in drawn if sequence is not self._legacy_sequence]

    def begin_anew(self) -> None:
        self.find()
        # Seeded in a way after which `find` still knows that nobody has given them a seed.
        self._bit_generators += [state._bit_generator for state in self._mersenne_states]
        self._mersenne_states, self._other_states = [], [*self._mersenne_states, *self._other_states]
        self.renew()
        if self._numpy is not None:
            # A request seeds NumPy's functions without it, and would only lose time with it.
            self._legacy_sequence = self._numpy.mtrand._rand._bit_generator.seed_seq

    def _is_unseeded(self, bit_generator: Any) -> bool:
        return self._is_drawn(getattr(bit_generator, "seed_seq", None))

    def _is_drawn(self, sequence: Any) -> bool:
        entropy = getattr(sequence, "entropy", None)
        return isinstance(entropy, int) and entropy in self._entropies

    def renew(self) -> None:
        for sequence in self._sequences:
            # Draws new entropy, and goes on counting children.
            self._numpy.SeedSequence.__init__(
                sequence,
                spawn_key=sequence.spawn_key,
                pool_size=sequence.pool_size,
                n_children_spawned=sequence.n_children_spawned,
            )
        for state in self._mersenne_states:
            # 128 bits, as `seed()` draws, in a tenth of its time.
            state.seed(sys.modules["numpy"].frombuffer(os.urandom(16), "u4"))
        renewed = set(map(id, self._sequences))
        for bits in self._bit_generators:
            # A class of the script's own may be made in another way than the one of numpy that it is made from.
            kind = next(kind for kind in type(bits).__mro__ if kind.__module__.startswith("numpy."))
            fresh = kind(bits.seed_seq if id(bits.seed_seq) in renewed else None)
            bits.__setstate__(({**fresh.state, "bit_generator": type(bits).__name__}, fresh.seed_seq))
        for state in self._other_states:
            # Forgets the second number of a pair that was drawn.
            state.set_state(state._bit_generator.state)


_sources = (_PythonRandomness(), _NumpyRandomness())


def watch() -> None:
    """Begins to note which generators are seeded; before the script is imported."""
    for source in _sources:
        source.watch()


def begin_anew() -> None:
    """Seeds what nobody has seeded yet, and goes on noting; when scripts may go on from one state."""
    for source in _sources:
        source.begin_anew()
    _forget_derived()


def settle() -> None:
    """Ends it and finds the generators to renew; after `init()`. Forgets what other modules derived from random numbers."""
    for source in _sources:
        source.settle()
    _forget_derived()


def _forget_derived() -> None:
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
