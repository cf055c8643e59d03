"""Times CPython's pools of two workers.

Reads lines `pool|executor chunk|automatic|millisecond|mebibyte|queue COUNT` and answers each with the seconds for each task.
"""

import concurrent.futures
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


def run(which, pool, executor, section, count):
    if section == "mebibyte":
        apply = (lambda data: pool.apply(echo, (data,))) if which == "pool" else (lambda data: executor.submit(echo, data).result())
        return sum(len(apply(b"\7" * (1 << 20))) >> 20 for _ in range(count))
    if section == "queue":
        if which == "pool":
            return sum(1 for task in [pool.apply_async(trivial, (n,)) for n in range(count)] if task.get() is not None)
        return sum(1 for task in [executor.submit(trivial, n) for n in range(count)] if task.result() is not None)
    chunk = {"chunk": 1, "millisecond": 1}.get(section)
    function, inputs = (busy, [1000] * count) if section == "millisecond" else (trivial, range(count))
    if which == "pool":
        return len(pool.map(function, inputs, chunk))
    return len(list(executor.map(function, inputs, chunksize=chunk or max(1, count // 8))))


def main():
    context = multiprocessing.get_context("fork")
    pool = context.Pool(2)
    executor = concurrent.futures.ProcessPoolExecutor(2, mp_context=context)
    for line in sys.stdin:
        which, section, count = line.split()
        count = int(count)
        begin = time.perf_counter()
        done = run(which, pool, executor, section, count)
        taken = time.perf_counter() - begin
        assert done == count
        print(taken / count, flush=True)


if __name__ == "__main__":
    main()
