"""Draws what must not be drawn twice, and changes what must not be seen changed."""

import asyncio
import gc
import json
import random
import secrets
import tempfile
import time
import uuid

import numpy as np
import sklearn.utils

CLOCKS = time.monotonic_ns, time.perf_counter_ns, time.process_time_ns

requests = 0
seen = []


def init():
    global generator, own, sequence, started
    started = {clock: clock() for clock in CLOCKS}
    generator = np.random.default_rng()
    own = random.Random()
    sequence = np.random.SeedSequence()
    # What is seeded is meant to be the same in every request.
    global seeded
    seeded = np.random.default_rng(np.random.SeedSequence(42).spawn(1)[0])
    # What a script does that has made all that it will need.
    gc.freeze()


def run(raw_data):
    global requests
    requests += 1
    seen.append(raw_data)
    json.loads.__dict__.setdefault("secret", raw_data)
    return {
        "fresh": {
            "random": random.random(),
            "own": own.random(),
            "shuffled": random.sample(range(1000), 20),
            "numpy": np.random.rand(),
            "numpy integers": np.random.randint(0, 2**31, 4).tolist(),
            "generator": generator.random(),
            "spawned": sequence.spawn(1)[0].generate_state(4).tolist(),
            "new generator": np.random.default_rng().random(),
            "check_random_state": sklearn.utils.check_random_state(None).rand(),
            "uuid": str(uuid.uuid4()),
            "secret": secrets.token_hex(),
            "system": random.SystemRandom().random(),
            "name": next(tempfile._get_candidate_names()),
            "time": time.time_ns(),
        },
        "same": {
            "seeded": seeded.random(),
            "requests": requests,
            "seen": len(seen),
            "secret": json.loads.__dict__["secret"] == raw_data,
        },
        "clock": time.time(),
        "since_init": [clock() - begin for clock, begin in started.items()],
        "slept": slept(),
    }


def slept():
    """Nanoseconds that it takes to sleep for 20 ms in each way."""
    begin = time.monotonic_ns()
    time.sleep(0.02)
    between = time.monotonic_ns()
    asyncio.run(asyncio.sleep(0.02))
    return [between - begin, time.monotonic_ns() - between]
