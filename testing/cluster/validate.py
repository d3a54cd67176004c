"""Validates manifests on stdin against Kubernetes' own schemas, strictly: an unknown field is an error.

Resources of others (Prometheus' operator) have no schema here: of these only the envelope is checked. Prints a line for
each resource; ends with 1 where one is wrong.
"""

import sys

import kubernetes_validate
import yaml

VERSION = "1.31"
OTHERS = {"monitoring.coreos.com/v1"}

wrong = 0
seen = 0
for document in yaml.safe_load_all(sys.stdin):
    if document is None:
        continue
    seen += 1
    name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
    try:
        if document.get("apiVersion") in OTHERS:
            if not (document.get("kind") and document.get("metadata", {}).get("name") and document.get("spec")):
                raise ValueError("it lacks a kind, a name or a spec")
        else:
            kubernetes_validate.validate(document, VERSION, strict=True)
    except Exception as error:  # each library has its own
        wrong += 1
        print(f"{name}: {error}", file=sys.stderr)
    else:
        print(f"{name} is valid")
if seen == 0:
    sys.exit("there is no manifest on stdin")
sys.exit(1 if wrong else 0)
