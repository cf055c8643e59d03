"""Times CPython's pools of two workers: lines `pool|executor chunk|automatic|millisecond COUNT`, answered by the seconds each."""

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


def main():
    context = multiprocessing.get_context("fork")
    pool = context.Pool(2)
    executor = concurrent.futures.ProcessPoolExecutor(2, mp_context=context)
    for line in sys.stdin:
        which, section, count = line.split()
        count = int(count)
        chunk = {"chunk": 1, "millisecond": 1}.get(section)
        function, inputs = (busy, [1000] * count) if section == "millisecond" else (trivial, range(count))
        begin = time.perf_counter()
        if which == "pool":
            results = pool.map(function, inputs, chunk)
        else:
            results = list(executor.map(function, inputs, chunksize=chunk or max(1, count // 8)))
        taken = time.perf_counter() - begin
        assert len(results) == count
        print(taken / count, flush=True)


if __name__ == "__main__":
    main()
