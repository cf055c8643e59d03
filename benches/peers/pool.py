"""Times pools of two workers: CPython's, loky's and pebble's.

Reads lines `pool|executor|loky|pebble chunk|automatic|millisecond|mebibyte|queue COUNT` and answers each with the seconds for each task, or with an empty line if there is no such library.
"""

import concurrent.futures
import functools
import multiprocessing
import sys
import time


def trivial(n):
    return (n * 3) & (2**64 - 1)


def busy(microseconds):
    until = time.perf_counter() + microseconds / 1e6
    while time.perf_counter() < until:
        pass


def echo(data):
    return data


@functools.cache
def pool_of(which):
    context = multiprocessing.get_context("fork")
    if which == "pool":
        return context.Pool(2)
    if which == "executor":
        return concurrent.futures.ProcessPoolExecutor(2, mp_context=context)
    if which == "loky":
        import loky

        return loky.ProcessPoolExecutor(2)
    import pebble

    return pebble.ProcessPool(2, context=context)


def submit(which, function, argument):
    """Hands in one task; what to call for its result."""
    pool = pool_of(which)
    if which == "pool":
        return pool.apply_async(function, (argument,)).get
    if which == "pebble":
        return pool.schedule(function, args=(argument,)).result
    return pool.submit(function, argument).result


def map_all(which, function, inputs, chunk):
    """Maps in chunks of this size, or of a usual one."""
    pool = pool_of(which)
    if which == "pool":
        return pool.map(function, inputs, chunk)
    chunk = chunk or max(1, len(inputs) // 8)
    if which == "pebble":
        return pool.map(function, inputs, chunksize=chunk).result()
    return pool.map(function, inputs, chunksize=chunk)


def run(which, section, count):
    if section == "mebibyte":
        return sum(len(submit(which, echo, b"\7" * (1 << 20))()) >> 20 for _ in range(count))
    if section == "queue":
        results = [submit(which, trivial, n) for n in range(count)]
        return sum(1 for result in results if result() is not None)
    chunk = {"chunk": 1, "millisecond": 1}.get(section)
    function, inputs = (busy, [1000] * count) if section == "millisecond" else (trivial, range(count))
    return sum(1 for _ in map_all(which, function, inputs, chunk))


def main():
    for line in sys.stdin:
        which, section, count = line.split()
        count = int(count)
        try:
            pool_of(which)
        except ImportError:
            print(flush=True)
            continue
        begin = time.perf_counter()
        done = run(which, section, count)
        taken = time.perf_counter() - begin
        assert done == count
        print(taken / count, flush=True)


if __name__ == "__main__":
    main()
