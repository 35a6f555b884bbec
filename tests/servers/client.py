#!/usr/bin/env python3
"""The official OpenSearch client under load: several threads that share its connection pool, without retries.

usage: client.py PORT INDEX READ_INDEX READ_DOCUMENTS STOP_FILE

Writes documents with unique ids to INDEX by bulk and singly, and searches READ_INDEX, which has READ_DOCUMENTS documents on
both sides, until STOP_FILE exists. Prints one JSON object: how many of each were done, and every failure.
"""

import json
import logging
import os
import sys
import threading
import uuid

from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException

THREADS = 6
BULK_DOCUMENTS = 20


def main() -> None:
    port, index, read_index, read_documents, stop_file = sys.argv[1:]
    logging.disable(logging.WARNING)  # failures are reported below, once
    # A pool of our threads' size; a failure must reach us, so the client may not hide it behind a second try.
    client = OpenSearch(
        hosts=[{"host": "127.0.0.1", "port": int(port)}],
        pool_maxsize=THREADS,
        max_retries=0,
        retry_on_timeout=False,
        timeout=60,
        http_compress=True,
    )
    done = {"searches": 0, "documents": 0}
    failures: list[str] = []
    lock = threading.Lock()

    def search() -> None:
        found = client.search(index=read_index, body={"query": {"match_all": {}}, "track_total_hits": True, "size": 5})
        total = found["hits"]["total"]["value"]
        if total != int(read_documents):
            raise ValueError(f"found {total} documents instead of {read_documents}")
        with lock:
            done["searches"] += 1

    def bulk() -> None:
        lines = []
        for _ in range(BULK_DOCUMENTS):
            lines += [{"create": {"_index": index, "_id": uuid.uuid4().hex}}, {"text": "water " * 20}]
        if (answer := client.bulk(body=lines))["errors"]:
            raise ValueError(f"bulk items failed: {json.dumps(answer)[:500]}")
        with lock:
            done["documents"] += BULK_DOCUMENTS

    def single() -> None:
        client.index(index=index, id=uuid.uuid4().hex, body={"text": "one"}, op_type="create")
        with lock:
            done["documents"] += 1

    def work(number: int) -> None:
        turn = number
        while not os.path.exists(stop_file):
            turn += 1
            try:
                (search, bulk, search, single)[turn % 4]()
            except (OpenSearchException, ValueError) as problem:
                with lock:
                    failures.append(f"{type(problem).__name__}: {problem}"[:500])
                    if len(failures) >= 100:
                        return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(done | {"failures": failures}))


if __name__ == "__main__":
    main()
