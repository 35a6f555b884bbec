"""Computes every number of a cutover's verdicts, of its dossier and of `explain` again, from the journal and nothing else.

usage: recount.py JOURNAL DOSSIER [EXPLAINED…]        (what `tidegate explain --json` said, in files)

It shares no code with Tidegate: the standard library reads the journal, and what the words mean (docs of the policy, of
`judge::Counts`, of `judge::Histogram`) is written down a second time here. Prints what it checked; ends with 1 at the first
number that is not the same.
"""

import html
import json
import math
import pathlib
import re
import sqlite3
import sys

CLASSES = ("requests", "status_2xx", "status_3xx", "status_4xx", "status_5xx", "failed", "abandoned")
# A source that fails more than a tripwire's `source_limit` of at least so many requests is a broken world: not judged.
SOURCE_REQUESTS_MIN = 20
checked = 0


def same(what, ours, theirs, tolerance=1e-9):
    """One number, computed twice."""
    global checked
    checked += 1
    if ours is None or theirs is None:
        equal = ours is theirs
    else:
        equal = abs(ours - theirs) <= tolerance * max(1.0, abs(ours))
    if not equal:
        sys.exit(f"{what}: the journal's counts give {ours}, and it says {theirs}")


def nothing():
    return {**dict.fromkeys(CLASSES, 0), "latency": {}, "exchange": {}}


def add(to, counts):
    for name in CLASSES:
        to[name] += counts.get(name, 0)
    for name in ("latency", "exchange"):
        for bucket, count in counts[name]["buckets"]:
            to[name][bucket] = to[name].get(bucket, 0) + count


def errors(counts):
    return counts["status_5xx"] + counts["failed"]


HITS = {
    "errors": errors,
    "baseline": errors,
    "success": lambda counts: errors(counts) + counts["status_4xx"],
    "client_errors": lambda counts: counts["status_4xx"],
    "redirects": lambda counts: counts["status_3xx"],
}


def quantile(histogram, q):
    """The upper edge, in ms, of the bucket that holds the quantile: 2^(bucket/16) us."""
    total = sum(histogram.values())
    rank = max(1, math.ceil(q * total))
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= rank:
            return 2 ** (bucket / 16) / 1000
    return None


def buckets_of(ratio):
    """A ratio of latencies in whole buckets of 2^(1/16), rounded up."""
    return max(0, math.ceil(math.log2(ratio) * 16 - 1e-9))


def both_classes(observation, policy, share):
    """What is compared: reads and writes together where one weight split them both, else the reads."""
    block = {"source": nothing(), "target": nothing()}
    together = policy["shift"]["writes"] == "split" and share["reads"] == share["writes"]
    for kind in ("reads", "writes") if together else ("reads",):
        for side in block:
            add(block[side], observation[kind][side])
    return block


def broken_world(block, policy):
    limits = [wire["source_limit"] for wire in policy["tripwires"] if wire["kind"] == "errors"]
    source = block["source"]
    return source["requests"] >= SOURCE_REQUESTS_MIN and errors(source) / source["requests"] > min(limits, default=1.0)


def compare(guard, verdict, step, baseline, where):
    """One guard's verdict against the sums of its step."""
    kind = guard["kind"]
    target, reference = step["target"], step["source"]
    if kind == "baseline":
        reference = baseline
    if kind in HITS:
        shares = [
            HITS[kind](side) / side["requests"] if side["requests"] else None for side in (target, reference)
        ]
        same(f"{where}: target's share", shares[0], verdict["target_value"])
        same(f"{where}: reference's share", shares[1], verdict["reference_value"])
        bound = None if shares[1] is None else min(1.0, guard["ratio"] * shares[1] + guard["margin"])
        same(f"{where}: bound", bound, verdict["bound"])
        same(f"{where}: requests of the target", target["requests"], verdict["target_requests"])
        same(f"{where}: requests of the reference", reference["requests"], verdict["reference_requests"])
        return
    name = "exchange" if kind == "exchange" else "latency"
    counted = [sum(side[name].values()) for side in (target, reference)]
    same(f"{where}: answers of the target", counted[0], verdict["target_requests"])
    same(f"{where}: answers of the reference", counted[1], verdict["reference_requests"])
    values = [(quantile(target[name], q), quantile(reference[name], q)) for q in (0.5, 0.9, 0.99)]
    said = (verdict["target_value"], verdict["reference_value"])
    fits = [pair for pair in values if all(near(*two) for two in zip(pair, said))]
    if not fits:
        sys.exit(f"{where}: the histograms' quantiles are {values}, and it says {said}")
    bound = None if said[1] is None else said[1] * 2 ** (buckets_of(guard["ratio"]) / 16)
    same(f"{where}: bound", bound, verdict["bound"])


def interval(hits, requests, alpha=0.05, best_at=10_000):
    """Between what and what a share lies at every look, by the beta-binomial mixture (arXiv 1810.08240)."""
    if not requests:
        return 0.0, 1.0
    log = math.log(1 / 0.05)
    seen = hits / requests

    def log_beta(a, b):
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    def over(p):
        g, h = p, 1 - p
        s, v = (seen - p) * requests, g * h * requests
        rho = g * h * best_at / (2 * log + math.log(1 + 2 * log))
        r = max(rho - g * h, 1e-3 * g * h)
        mixture = -(v + h * s) / h * math.log(g) - (v - g * s) / g * math.log(h)
        mixture += log_beta((r + v - g * s) / g, (r + v + h * s) / h) - log_beta(r / g, r / h)
        return mixture + math.log(alpha)

    def root(inside, outside):
        for _ in range(200):
            middle = (inside + outside) / 2
            if over(middle) < 0:
                inside = middle
            else:
                outside = middle
        return (inside + outside) / 2

    return (root(seen, 0.0) if seen > 0 else 0.0), (root(seen, 1.0) if seen < 1 else 1.0)


def near(ours, theirs):
    if ours is None or theirs is None:
        return ours is theirs
    return abs(ours - theirs) <= 1e-9 * max(1.0, abs(ours))


def judged_windows(entries, samples, policy):
    """The samples of each step in order, as (step, sample): from its confirmation and warm-up to the last one judged.

    Which one that was the journal says where the step ends: an interval may be counted a moment after the decision that
    made nobody judge it any more.
    """
    confirmed, steps = None, []
    for entry in entries:
        phase, judged = entry["next"]["phase"], entry["next"]["evidence"]["judged"]
        begins = entry["reason"]["kind"] == "weight_confirmed" and phase["phase"] == "baking"
        ends = phase["phase"] in ("shifting", "draining", "reverting", "reverted", "done", "aborted", "stuck")
        if confirmed is not None and (begins or ends):
            steps.append((*confirmed, judged["to"] if judged else -math.inf))
        if begins or ends:
            confirmed = (entry["at"], phase["step"]) if begins else None
    if confirmed is not None:
        steps.append((*confirmed, math.inf))
    warm_up = policy["shift"]["warm_up"]
    for begun, step, ended in steps:
        for sample in samples:
            window = sample["observation"]["window"]
            if window["from"] >= begun + warm_up and window["to"] <= ended:
                yield step, sample


def verdicts(entries, samples):
    """Every verdict after every judged interval."""
    policy = entries[-1]["next"]["policy"]
    guards = {guard["guard"]["kind"]: guard["guard"] for guard in policy["guards"]}
    baseline = nothing()
    recorded = entries[-1]["next"]["evidence"]["baseline"]
    if recorded:
        add(baseline, recorded["counts"])
    current, sums, highest, count = None, None, 1.0, 0
    for step, sample in judged_windows(entries, samples, policy):
        if not sample["guards"]:
            continue
        block = both_classes(sample["observation"], policy, sample["configured"])
        if step != current:
            current, sums = step, {"source": nothing(), "target": nothing()}
        if not broken_world(block, policy):
            for side, into in sums.items():
                for name in CLASSES:
                    into[name] += block[side][name]
                for name in ("latency", "exchange"):
                    for bucket, more in block[side][name].items():
                        into[name][bucket] = into[name].get(bucket, 0) + more
            count += 1
        for verdict in sample["guards"]:
            where = f"step {step + 1}, interval to {sample['observation']['window']['to']}, {verdict['guard']}"
            compare(guards[verdict["guard"]], verdict, sums, baseline, where)
        highest = max(highest, sample["evidence"])
        same("where evidence reverts", 1 / policy["false_revert_max"], sample["evidence_max"])
    judgement = entries[-1]["next"]["evidence"]["judgement"]
    if judgement:
        same("p", min(1.0, 1 / highest), judgement["p_value"], 1e-6)
    return count


def grouped(number):
    return f"{number:,}"


def share(value):
    percent = value * 100
    if percent == 0:
        return "0 %"
    digits = 1 if percent >= 10 else 2 if percent >= 0.1 else 3 if percent >= 0.001 else 4
    return f"{percent:.{digits}f} %"


def millis(value):
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def dossier(page, entries, samples):
    """The page's sums and its last verdicts."""
    global checked
    text = html.unescape(page)
    for side in ("source", "target"):
        all_of = nothing()
        for sample in samples:
            for kind in ("reads", "writes"):
                add(all_of, sample["observation"][kind][side])
        failed = share(errors(all_of) / all_of["requests"]) if all_of["requests"] else "-"
        cells = [side, grouped(all_of["requests"]), grouped(errors(all_of)), failed]
        cells += [grouped(all_of["status_4xx"]), grouped(all_of["abandoned"])]
        cells += [millis(quantile(all_of["latency"], q)) for q in (0.5, 0.99)]
        cells += [millis(quantile(all_of["exchange"], 0.99))]
        row = re.search(rf"<tr><td>{side}</td>(.*?)</tr>", text)
        found = re.findall(r"<td[^>]*>(.*?)</td>", row.group(0)) if row else None
        checked += len(cells)
        if found != cells:
            sys.exit(f"the dossier's sums of the {side} are {found}, and the journal's counts give {cells}")
    if f"Sums over {len(samples)} counted intervals" not in text:
        sys.exit(f"the dossier does not speak of the {len(samples)} intervals of the journal")
    judgement = entries[-1]["next"]["evidence"]["judgement"]
    for verdict in judgement["guards"] if judgement else []:
        checked += 1
        if verdict["sentence"] not in text:
            sys.exit(f"the dossier does not say: {verdict['sentence']}")
        numbers(verdict)
        if verdict["on"] and verdict["guard"] in HITS:
            sides = []
            for which in ("reference", "target"):
                value, requests = verdict[f"{which}_value"], verdict[f"{which}_requests"]
                if value is None:
                    break
                sides.append(" to ".join(share(end) for end in interval(round(value * requests), requests)))
            for side in sides if len(sides) == 2 else []:
                checked += 1
                if f'<td class="n t">{side}</td>' not in text:
                    sys.exit(f"the dossier does not show that a share of {verdict['guard']} lies between {side}")


def numbers(verdict):
    """The counts that a verdict's sentence names are those of the verdict."""
    global checked
    sentence = verdict["sentence"]
    if sentence.startswith(("off", "nothing")):
        return
    for name in ("target_requests", "reference_requests"):
        checked += 1
        if grouped(verdict[name]) not in sentence:
            sys.exit(f"`{sentence}` does not name the {verdict[name]} {name.replace('_', ' of the ')}")


def explained(said, samples):
    """What `explain` said while the cutover ran: the verdicts of one interval, which are checked already."""
    global checked
    at = [sample for sample in samples if sample["guards"] == said["guards"]]
    if not at:
        sys.exit("what was explained are the verdicts of no interval of the journal")
    shown = [sides for sides in said["intervals"] if sides]
    for verdict in said["guards"]:
        if not (verdict["on"] and verdict["guard"] in HITS and verdict["target_value"] is not None):
            continue
        sides = next(sides for sides in shown if sides["guard"] == verdict["guard"])
        for which in ("reference", "target"):
            value, requests = verdict[f"{which}_value"], verdict[f"{which}_requests"]
            for ours, theirs in zip(interval(round(value * requests), requests), sides[which]):
                same(f"explained: where the {which}'s share of {verdict['guard']} lies", ours, theirs, 1e-6)
    if not shown:
        sys.exit("nothing of what was explained has a share to show")


def main():
    journal, page, *said = sys.argv[1:]
    base = sqlite3.connect(journal)
    entries = []
    for at, body in base.execute("SELECT at, body FROM entry ORDER BY id"):
        entries.append({"at": at, **json.loads(body)})
    samples = [json.loads(body) for (body,) in base.execute("SELECT body FROM sample ORDER BY at")]
    judged = verdicts(entries, samples)
    if judged == 0:
        sys.exit("nothing was judged, so nothing is shown by this")
    dossier(pathlib.Path(page).read_text(), entries, samples)
    for file in said:
        explained(json.loads(pathlib.Path(file).read_text()), samples)
    print(f"{checked} numbers of {judged} judged intervals and of the dossier are the journal's")


main()
