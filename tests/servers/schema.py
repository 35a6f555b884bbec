"""Holds policy files against the JSON Schema that editors complete them by.

Usage: schema.py SCHEMA FILE...: a line for each file, `FILE: valid` or `FILE: PATH: what is wrong`, and at the end exit
code 0 when all are valid. The validator is `jsonschema`, by people who know nothing of Tidegate.
"""

import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
validator_class = jsonschema.validators.validator_for(schema)
validator_class.check_schema(schema)
validator = validator_class(schema)
sound = True
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        policy = tomllib.load(file)
    errors = sorted(validator.iter_errors(policy), key=lambda error: error.json_path)
    for error in errors:
        print(f"{path}: {error.json_path}: {error.message[:200]}")
    if not errors:
        print(f"{path}: valid")
    sound = sound and not errors
sys.exit(0 if sound else 1)
