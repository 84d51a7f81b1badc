"""Turns `cargo tree --prefix none --format '{p}|{l}'` into a software bill of materials: CycloneDX 1.6, JSON.

Only what is linked into the executable stands there: `-e normal` leaves out what builds and tests need.
"""

import json
import re
import sys

LINE = re.compile(r"^(?P<name>[\w-]+) v(?P<version>\S+?)(?P<notes>( \([^)]*\))*)\|(?P<licence>.*)$")


def component(match):
    name, version = match["name"], match["version"]
    made = {"type": "library", "name": name, "version": version, "bom-ref": f"{name}@{version}"}
    if licence := match["licence"].replace("/", " OR "):
        made["licenses"] = [{"expression": licence}]
    # Our own crates come from this repository and from no registry.
    if "(/" not in match["notes"]:
        made["purl"] = f"pkg:cargo/{name}@{version}"
    return made


def main():
    components = {}
    for number, line in enumerate(sys.stdin, 1):
        # A tree shows a subtree once, and marks it where it stands again.
        line = line.strip().removesuffix(" (*)")
        if not line:
            continue
        match = LINE.match(line)
        if match is None:
            sys.exit(f"sbom.py: line {number} is none of cargo tree: {line}")
        made = component(match)
        components[made["bom-ref"]] = made
    if not components:
        sys.exit("sbom.py: there is nothing on standard input")
    whole = next(iter(components.values()))
    parts = [part for ref, part in sorted(components.items()) if ref != whole["bom-ref"]]
    whole = {**whole, "type": "application"}
    json.dump({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": whole},
               "components": parts}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
