"""Reads captured topics by itself: the second reader, which holds ours.

usage: capture_reader.py TOPIC                       say what is in a topic, an object a request
       capture_reader.py TOPIC --client FILE         compare it with what a client sent and got
       capture_reader.py TOPIC --clients FILE        compare it with what many clients sent and got, whose requests have
                                                     names; say which are not there, an object
       capture_reader.py TOPIC --cat FILE            compare it with what `tidegate capture cat --json` said
       capture_reader.py TOPIC --strict              check every rule that a writer must keep

A topic is a base64 record a line, in the order of the topic; files that end in .gz are unzipped.

It shares no code with Tidegate and uses the standard library alone: the messages of TrafficCaptureStream.proto and what the
Replayer 3.3.6 makes of them are written down here a second time. Prints what it checked; ends with 1 at the first thing
that is not as it should be.
"""

import base64
import gzip
import json
import re
import sys

TIMEOUT_SECONDS = 360
NAMED = re.compile(rb"filter_path=-(id_\w+)")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CAPTURES = {
    2: "bind",
    3: "connect",
    4: "read",
    5: "read segment",
    6: "released",
    8: "write",
    9: "write segment",
    10: "disconnect",
    11: "close",
    12: "exception",
    14: "segment end",
    15: "end of message",
    16: "dropped",
}
# The bytes of the segments have another number than those of the whole ones.
DATA = {"read": 1, "write": 1, "read segment": 2, "write segment": 2, "exception": 1}


def fail(what):
    sys.exit(what)


def varint(data, place):
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            fail("a number is cut off or too long")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place


def fields(data):
    """The fields of a message as (number, value), in order."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = varint(data, place)
        elif kind == 2:
            length, place = varint(data, place)
            value, place = data[place : place + length], place + length
            if place > len(data):
                fail(f"field {number} is cut off")
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
            value = None
        else:
            fail(f"field {number} has the wire type {kind}")
        yield number, value


def int32(value):
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def observation(data):
    """(seconds, nanoseconds, what, content)"""
    seconds = nanos = 0
    what, content = None, b""
    for number, value in fields(data):
        if number == 1:
            time = dict(fields(value))
            seconds, nanos = time.get(1, 0), time.get(2, 0)
        elif number in CAPTURES:
            what = CAPTURES[number]
            inner = dict(fields(value))
            if what == "end of message":
                content = (inner.get(1), inner.get(2))
            else:
                content = bytes(inner.get(DATA.get(what), b""))
    return seconds, nanos, what, content


def record(data):
    """One TrafficStream."""
    chunk = {"connection": "", "node": "", "index": None, "last": False, "prior": None, "unfinished": None, "seen": []}
    for number, value in fields(data):
        if number == 1:
            chunk["connection"] = value.decode()
        elif number == 2:
            chunk["seen"].append(observation(value))
        elif number in (3, 4):
            chunk["index"], chunk["last"] = int32(value), number == 4
        elif number == 5:
            chunk["node"] = value.decode()
        elif number == 6:
            chunk["prior"] = int32(value)
        elif number == 7:
            chunk["unfinished"] = value != 0
    return chunk


def lines(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt") as file:
        return [line.strip() for line in file if line.strip()]


class Connection:
    """What is known of one name: the state table of the Replayer's accumulator."""

    def __init__(self, chunk):
        self.name = chunk["connection"]
        self.first = (chunk["prior"] or 0) + (chunk["unfinished"] is not None)
        self.state = "skipping" if chunk["unfinished"] else "waiting"
        self.completed = 0
        self.exchange = None
        self.segments = None
        self.latest = 0

    def over(self, end, out):
        if self.exchange:
            if not self.exchange["complete"] and self.segments:
                self.exchange["request"] += self.segments
            self.exchange["end"] = end
            out.append(self.exchange)
        self.exchange = self.segments = None

    def begin(self):
        self.state = "reading"
        self.exchange = {
            "connection": self.name,
            "index": self.first + self.completed,
            "request": b"",
            "response": None,
            "complete": False,
            "early": [],
        }

    def put(self, content):
        if self.state == "reading":
            self.exchange["request"] += content
        else:
            self.exchange["response"] = (self.exchange["response"] or b"") + content

    def take(self, what, content, out):
        """One observation; whether the name is over with it."""
        if what == "close":
            self.over("close", out)
            return True
        if self.state == "skipping":
            if what in ("write", "write segment", "end of message", "dropped"):
                self.state = "waiting"
                self.first -= what == "dropped"
            return False
        if what in ("read", "read segment"):
            if self.state != "reading":
                self.over("next", out)
                self.begin()
            if what == "read":
                self.put(content)
            else:
                self.segments = (self.segments or b"") + content
        elif what in ("write", "write segment") and self.state == "responding":
            if what == "write":
                self.put(content)
            else:
                self.segments = (self.segments or b"") + content
        elif what == "segment end" and self.exchange:
            if self.segments is None:
                fail(f"{self.name}: segments end that never began; the Replayer dies of that")
            self.put(self.segments)
            self.segments = None
        elif what == "end of message" and self.state == "reading":
            self.segments = None
            self.exchange["complete"] = True
            self.completed += 1
            self.state = "responding"
        elif what == "dropped" and self.state == "reading":
            self.over("dropped", out)
            self.state = "waiting"
        elif what == "exception" and self.exchange:
            self.over("exception", out)
            self.state = "waiting"
        elif what in ("write", "write segment") and self.state == "reading":
            self.exchange["early"].append(content)
        return False


def exchanges(chunks):
    """Every request of a topic, in the order in which the exchanges ended."""
    names, out, now = {}, [], None
    for chunk in chunks:
        if not chunk["seen"]:
            fail(f"{chunk['connection']}: a chunk without observations; the Replayer dies of that")
        key = (chunk["node"], chunk["connection"])
        for seconds, _, what, content in chunk["seen"]:
            name = names.setdefault(key, Connection(chunk))
            name.latest = max(name.latest, seconds)
            if now is None or seconds > now:
                now = seconds
                for other in sorted(one for one in names if one != key and names[one].latest < now - TIMEOUT_SECONDS):
                    names.pop(other).over("expiry", out)
            if name.take(what, content, out):
                del names[key]
                break
    for key in sorted(names):
        names[key].over("end of input", out)
    return out


def strict(chunks):
    """The rules that only a check of the records notices: indices, counts, marks, order, times."""
    known, checked = {}, 0
    for chunk in chunks:
        key = (chunk["node"], chunk["connection"])
        here = known.setdefault(key, {"index": 0, "ends": 0, "at": "between", "open": False, "run": None, "time": (0, 0), "read": None})
        name = f"{chunk['connection']}.{chunk['index']}"
        here["index"] += 1
        wanted = {
            "index": here["index"],
            "prior": here["ends"] or None,
            "unfinished": True if here["open"] else None,
        }
        for what, value in wanted.items():
            if chunk[what] != value:
                fail(f"{name}: {what} is {chunk[what]}, and should be {value}")
        for seconds, nanos, what, content in chunk["seen"]:
            checked += 1
            time, at = (seconds, nanos), here["at"]
            if time < here["time"]:
                fail(f"{name}: time runs backwards")
            here["time"] = time
            if here["run"] and what not in (here["run"], "segment end"):
                fail(f"{name}: {what} among segments")
            if what in ("read", "read segment") and at in ("between", "reading", "responding"):
                here["at"], here["read"] = "reading", time
            elif what == "end of message" and at == "reading":
                if time != here["read"]:
                    fail(f"{name}: an end of message has another time than its last read")
                here["at"], here["ends"] = "responding", here["ends"] + 1
            elif what in ("write", "write segment") and at == "responding":
                pass
            elif what == "dropped" and at == "reading":
                here["at"] = "between"
            elif what == "segment end" and here["run"]:
                here["run"] = None
            elif what == "exception" and at in ("between", "reading", "responding"):
                here["at"] = "failed"
            elif what == "close" and at != "closed":
                here["at"] = "closed"
            else:
                fail(f"{name}: {what} while {at}")
            # An exception neither ends nor drops the request that it cuts off.
            here["open"] = here["at"] == "reading" or (here["open"] and here["at"] in ("failed", "closed"))
            if what in ("read segment", "write segment"):
                here["run"] = what
        if chunk["last"] != (here["at"] == "closed"):
            fail(f"{name}: the mark of the last chunk is wrong")
    print(f"{checked} observations of {len(known)} connections keep every rule")


def client(found, path):
    """What a client sent and got, connection by connection, each byte of it."""
    by_sent = {}
    for one in found:
        connection = by_sent.setdefault(one["connection"], {"sent": b"", "got": b"", "complete": [], "early": 0})
        connection["sent"] += one["request"]
        connection["got"] += one["response"] or b""
        connection["complete"].append(one["complete"])
        connection["early"] += len(b"".join(one["early"]))
    by_sent = {connection["sent"]: connection for connection in by_sent.values()}
    octets = 0
    for line in lines(path):
        told = json.loads(line)
        sent, received = (base64.b64decode(told[way]) for way in ("sent", "received"))
        if not sent:
            continue
        connection = by_sent.pop(sent, None) or fail(f"{told['name']}: nothing was recorded like what it sent")
        if told["category"] == "expect-100":
            early = received.count(CONTINUE) * len(CONTINUE)
            received = received.replace(CONTINUE, b"")
            if early != connection["early"]:
                fail(f"{told['name']}: {early} bytes of interim responses, {connection['early']} were passed over")
        if connection["got"] != received:
            fail(f"{told['name']}: got other bytes than were recorded")
        if connection["complete"] != [request["complete"] for request in told["requests"]]:
            fail(f"{told['name']}: other requests are complete")
        octets += len(sent) + len(received)
    if by_sent:
        fail(f"{len(by_sent)} connections that no client had")
    print(f"{octets} bytes are what the client sent and got")


def message(data, place, begins, to_head=False):
    """A message of HTTP at a place: its first line and where it ends; no end if it is cut off."""
    head_end = data.find(b"\r\n\r\n", place)
    if head_end < 0:
        return None, None
    head = data[place:head_end].split(b"\r\n")
    line, place = head[0], head_end + 4
    names = {name.strip().lower(): value.strip() for name, _, value in (field.partition(b":") for field in head[1:])}
    if begins == b"HTTP/" and (to_head or line[9:12] in (b"204", b"304") or line[9:10] == b"1"):
        return line, place
    if names.get(b"transfer-encoding", b"").lower() == b"chunked":
        while True:
            size_end = data.find(b"\r\n", place)
            if size_end < 0:
                return line, None
            size, place = int(data[place:size_end].split(b";")[0], 16), size_end + 2
            if size == 0:
                while (end := data.find(b"\r\n", place)) != place:
                    if end < 0:
                        return line, None
                    place = end + 2
                return line, place + 2
            place += size + 2
    place += int(names.get(b"content-length", b"0"))
    return line, place if place <= len(data) else None


def said(told):
    """What one client connection sent and got, request by request: (name, line, request, response or None, when)."""
    sent, received = (base64.b64decode(told[way]) for way in ("sent", "received"))
    moments = iter(told["moments"])
    upto, when = next(moments, (0, 0))
    out = inn = 0
    while out < len(sent):
        line, end = message(sent, out, b"")
        if end is None:
            return
        while upto < end:
            upto, when = next(moments)
        response = b""
        while True:
            status, response_end = message(received, inn, b"HTTP/", line.startswith(b"HEAD "))
            if response_end is None:
                response = None
                break
            if status[9:10] != b"1":
                response = received[inn:response_end]
            inn = response_end
            if response:
                break
        name = NAMED.search(line)
        yield name and name[1].decode(), line, sent[out:end], response, when
        out = end


def clients(found, path):
    """What clients with named requests sent and got. What is there must be as it was, once and in order."""
    known, connections = {}, 0
    for connection, line in enumerate(lines(path)):
        connections += 1
        for place, one in enumerate(said(json.loads(line))):
            if one[0] is None:
                continue
            if one[0] in known:
                fail(f"two requests have the name {one[0]}")
            known[one[0]] = (connection, place, *one[1:])
    there, cut, at, octets = set(), [], {}, 0
    for one in found:
        line = one["request"].split(b"\r\n")[0]
        name = NAMED.search(line)
        if not one["complete"] or name is None:
            continue
        name = name[1].decode()
        if name in there:
            fail(f"{name} is there twice")
        there.add(name)
        connection, place, line, request, response, when = known.get(name) or fail(f"{name} was sent by no client")
        where = f"{one['connection']}, {name}"
        if one["request"] != request:
            fail(f"{where}: the request is another")
        before = at.get(one["connection"])
        if before is not None and before != (connection, place - 1):
            fail(f"{where}: it is not the next of its connection")
        at[one["connection"]] = (connection, place)
        if response is not None and one["response"] != response:
            if not response.startswith(one["response"] or b""):
                fail(f"{where}: the response is another")
            cut.append({"name": name, "when": when})
        octets += len(request) + len(response or b"")
    missing = []
    for name, (_, _, line, _, response, when) in known.items():
        if name not in there and response is not None:
            missing.append({"name": name, "line": line.decode(), "status": int(response[9:12]), "when": when})
    print(
        json.dumps(
            {
                "connections": connections,
                "requests": len(known),
                "there": len(there),
                "octets": octets,
                "answered": sum(one[4] is not None for one in known.values()),
                "cut": cut,
                "missing": missing,
            }
        )
    )


def cat(found, path):
    """What `tidegate capture cat --json` said of the same topic."""
    ours = [json.loads(line) for line in lines(path)]
    if len(ours) != len(found):
        fail(f"it says {len(ours)} requests, and there are {len(found)}")
    for said, one in zip(ours, found):
        where = f"{one['connection']}, request {one['index']}"
        for word in ("connection", "index", "complete"):
            if said[word] != one[word]:
                fail(f"{where}: {word} is {one[word]}, and it says {said[word]}")
        for word in ("request", "response"):
            bytes_said = None if said[word] is None else base64.b64decode(said[word], validate=True)
            if bytes_said != one[word]:
                fail(f"{where}: it says another {word}")
    print(f"{len(ours)} requests are said as they are recorded")


def main():
    if len(sys.argv) not in (2, 3, 4):
        fail(__doc__)
    chunks = [record(base64.b64decode(line, validate=True)) for line in lines(sys.argv[1])]
    if sys.argv[2:] == ["--strict"]:
        strict(chunks)
        return
    found = exchanges(chunks)
    match sys.argv[2:]:
        case []:
            for one in found:
                shown = {word: one[word] for word in ("connection", "index", "complete", "end")}
                for word in ("request", "response"):
                    shown[word] = None if one[word] is None else base64.b64encode(one[word]).decode()
                print(json.dumps(shown))
            return
        case ["--client", path]:
            client(found, path)
        case ["--clients", path]:
            clients(found, path)
            return
        case ["--cat", path]:
            cat(found, path)
        case _:
            fail(__doc__)
    complete = sum(one["complete"] for one in found)
    answered = sum(bool(one["response"]) for one in found)
    print(f"{len(found)} requests, {complete} complete, {answered} answered")


main()
