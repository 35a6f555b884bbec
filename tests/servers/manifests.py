"""Holds rendered manifests against the published schemas of Kubernetes, strictly: a field that is not known is an error.

Usage: manifests.py YAML JSON VERSION...: the YAML documents must say what the items of the JSON list say; each of them that is
of Kubernetes itself must be valid in each version. A line for each, `KIND/NAME: valid in VERSION` or what is wrong; kinds of
other projects, whose schemas are not published as a package, are named. Exit code 0 when nothing is wrong.
"""

import json
import sys

import kubernetes_validate
import yaml

# cert-manager's and Strimzi's.
OTHERS = {"Certificate", "KafkaTopic", "KafkaUser"}

with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
with open(sys.argv[2], encoding="utf-8") as file:
    items = json.load(file)["items"]
sound = True
if documents != items:
    print("the YAML does not say what the JSON says")
    sound = False
for document in documents:
    name = f"{document['kind']}/{document['metadata']['name']}"
    if document["kind"] in OTHERS:
        print(f"{name}: of another project")
        continue
    for version in sys.argv[3:]:
        try:
            kubernetes_validate.validate(document, version, strict=True)
            print(f"{name}: valid in {version}")
        except kubernetes_validate.ValidationError as error:
            print(f"{name}: {version}: {'.'.join(map(str, error.path))}: {error.message[:200]}")
            sound = False
sys.exit(0 if sound else 1)
