"""Checks of the Helm chart where there is neither Go nor helm: its values against its schema, strictly."""

import copy
import hashlib
import json
import pathlib
import sys

import jsonschema
import yaml

CHART = pathlib.Path(__file__).parents[2] / "deploy/helm/frontdesk"


class Strict(yaml.SafeLoader):
    """A key that stands twice is a mistake."""


def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=deep) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"{twice} stands twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def read(name):
    return yaml.load((CHART / name).read_text(), Strict)


def merged(below, above):
    """As Helm does it: maps are merged, anything else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copy.deepcopy(above)
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def main():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    values = read("values.yaml")
    failed = passed = 0

    def check(what, right):
        nonlocal failed, passed
        passed, failed = passed + right, failed + (not right)
        if not right:
            print(f"FAILED: {what}")

    variants = sorted((CHART / "ci").glob("*.yaml"))
    check("there are files of values", len(variants) >= 4)
    for file in variants:
        for error in validator.iter_errors(merged(values, read(f"ci/{file.name}"))):
            print(f"{file.name}: {'.'.join(map(str, error.path))}: {error.message}")
            failed += 1
        passed += 1
    for wrong in (
        {"egde": {}},
        {"edge": {"replica": 3}},
        {"edge": {"settings": {"allowed-origins": "x"}}},
        {"edge": {"sites": [{"id": "a", "api_key": "x"}]}},
        {"analytics": {"replicas": 2}},
        {"secrets": {"JWT_SECRET": "x"}},
        {"natsClient": {"url": "nats://user:password@nats:4222"}},
    ):
        check(f"{wrong} is refused", not validator.is_valid(merged(values, wrong)))
    for line in (CHART / "charts.sha256").read_text().splitlines():
        digest, name = line.split()
        check(f"{name} has its hash", hashlib.sha256((CHART / name).read_bytes()).hexdigest() == digest)
    check("the dependency is pinned", all(not set("^~*<>x ") & set(it["version"]) for it in read("Chart.yaml")["dependencies"]))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
