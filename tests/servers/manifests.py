"""Holds rendered manifests against the published schemas, strictly: a field that is not known is an error.

Usage: manifests.py SCHEMAS YAML JSON VERSION...: the YAML documents must say what the items of the JSON list say. Those of
Kubernetes itself must be valid in each version, those of Strimzi by the definitions in the folder SCHEMAS (`schemas.sh`), those
of cert-manager by the models that are made of its definitions. A line for each, `KIND/NAME: valid in VERSION` or what is wrong.
Exit code 0 when nothing is wrong.
"""

import hashlib
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml
from cloudcoil.models.cert_manager import v1 as cert_manager

# The file with the models of cert-manager 1.17.1, by its checksum: another one may refuse less.
CERT_MANAGER = "b25ec9f1e798574dab81620e014a930b38e23720502dd5afbf335b3dec613725"


def closed(schema):
    """The same schema, in which an object has the fields that are named and no other."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(value) for name, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


def of_strimzi(document, folder):
    """What Strimzi's definition of a kind says of its version."""
    definition = yaml.safe_load((folder / f"{document['kind']}.yaml").read_text(encoding="utf-8"))["spec"]
    versions = {f"{definition['group']}/{version['name']}": version for version in definition["versions"]}
    return versions[document["apiVersion"]]["schema"]["openAPIV3Schema"]


def of_another(document, folder):
    """The schema of what is not of Kubernetes itself, with whose and which it is; its metadata are Kubernetes' own."""
    if document["apiVersion"].startswith("kafka.strimzi.io/"):
        schema, whose = of_strimzi(document, folder), "Strimzi 0.47.0"
    else:
        schema, whose = getattr(cert_manager, document["kind"]).model_json_schema(), "cert-manager 1.17.1"
    schema = closed(schema)
    schema["properties"]["metadata"] = {"type": "object"}
    return schema, whose


def complaints(document, folder, versions):
    """Where a document was held against a schema, and what is wrong, or None."""
    core = document
    if "." in document["apiVersion"] and not document["apiVersion"].split("/")[0].endswith(".k8s.io"):
        schema, whose = of_another(document, folder)
        error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(document))
        yield whose, error
        core = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
    for version in versions:
        try:
            kubernetes_validate.validate(core, version, strict=True)
            wrong = None
        except kubernetes_validate.ValidationError as error:
            wrong = error
        if core is document or wrong:
            yield version, wrong


def main():
    folder = pathlib.Path(sys.argv[1])
    if hashlib.sha256(pathlib.Path(cert_manager.__file__).read_bytes()).hexdigest() != CERT_MANAGER:
        sys.exit("the models of cert-manager are not those of requirements.txt: install them anew by `tests/run`")
    documents = list(yaml.safe_load_all(pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")))
    items = json.loads(pathlib.Path(sys.argv[3]).read_text(encoding="utf-8"))["items"]
    sound = documents == items
    if not sound:
        print("the YAML does not say what the JSON says")
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        for where, error in complaints(document, folder, sys.argv[4:]):
            if error is None:
                print(f"{name}: valid in {where}")
                continue
            print(f"{name}: {where}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}")
            sound = False
    sys.exit(0 if sound else 1)


main()
