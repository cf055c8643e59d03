"""Starts and joins processes of CPython's multiprocessing, for the benchmark beside us.

Reads lines `METHOD TOGETHER REPEATS` and answers each with the seconds per process of every repeat.
"""

import multiprocessing
import sys
import time


def nothing():
    pass


def main():
    for line in sys.stdin:
        method, together, repeats = line.split()
        context = multiprocessing.get_context(method)
        samples = []
        for _ in range(int(repeats)):
            begin = time.perf_counter()
            processes = [context.Process(target=nothing) for _ in range(int(together))]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            samples.append((time.perf_counter() - begin) / int(together))
        print(*samples, flush=True)


if __name__ == "__main__":
    main()
