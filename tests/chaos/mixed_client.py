#!/usr/bin/env python3
"""The official OpenSearch client with a mix of everything, each request with a name of its own in its target.

usage: mixed_client.py PORT STOP_FILE

Writes, reads, searches and deletes documents by several threads that share its connection pool, without retries, until
STOP_FILE exists. Prints one JSON object: how many requests were made, and every failure.
"""

import json
import logging
import os
import sys
import threading
import time

from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError, OpenSearchException

THREADS = 4
BULK_DOCUMENTS = 20
PAUSE_SECONDS = 0.02


def main() -> None:
    port, stop_file = sys.argv[1:]
    logging.disable(logging.WARNING)  # failures are reported below, once
    client = OpenSearch(
        hosts=[{"host": "127.0.0.1", "port": int(port)}],
        pool_maxsize=THREADS,
        max_retries=0,
        retry_on_timeout=False,
        timeout=60,
        http_compress=True,
    )
    done = [0] * THREADS
    failures: list[str] = []

    def work(number: int) -> None:
        turn = 0
        while not os.path.exists(stop_file) and len(failures) < 100:
            turn += 1
            # A filter that filters nothing: the server takes it everywhere, and it names the request.
            named = {"filter_path": f"-id_p{number}_{turn}"}
            index, document = "mixed", f"{number}-{turn // 8}"
            lines = []
            for line in range(BULK_DOCUMENTS):
                lines += [{"index": {"_id": f"{document}-{line}"}}, {"text": "water " * 20, "n": turn}]
            calls = (
                lambda: client.index(index=index, id=document, body={"text": "one", "n": turn}, params=named),
                lambda: client.get(index=index, id=document, params=named),
                lambda: client.search(index=index, body={"query": {"match": {"text": "water"}}, "size": 3}, params=named),
                lambda: client.bulk(index=index, body=lines, params=named),
                lambda: client.exists(index=index, id=document, params=named),
                lambda: client.update(index=index, id=document, body={"doc": {"text": "two"}}, params=named),
                lambda: client.get(index=index, id="nobody", params=named),
                lambda: client.delete(index=index, id=document, params=named),
            )
            try:
                calls[turn % len(calls)]()
            except NotFoundError:
                pass
            except OpenSearchException as problem:
                failures.append(f"{type(problem).__name__}: {problem}"[:500])
            done[number] += 1
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"requests": sum(done), "failures": failures}))


if __name__ == "__main__":
    main()
