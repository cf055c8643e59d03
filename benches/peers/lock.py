"""Times CPython's multiprocessing.Lock: seconds for acquire + release, with one process and with two."""

import multiprocessing
import time

COUNT = 50_000


def work(lock, start):
    start.wait()
    for _ in range(COUNT):
        lock.acquire()
        lock.release()


def main():
    context = multiprocessing.get_context("fork")
    lock, start = context.Lock(), context.Event()
    start.set()
    begin = time.perf_counter()
    work(lock, start)
    alone = (time.perf_counter() - begin) / COUNT
    start.clear()
    other = context.Process(target=work, args=(lock, start))
    other.start()
    begin = time.perf_counter()
    start.set()
    work(lock, start)
    other.join()
    print(alone, (time.perf_counter() - begin) / (2 * COUNT))


if __name__ == "__main__":
    main()
