#!/usr/bin/env python3
"""Check the crates of the default build against .deny.toml: bans, licences, sources, and how many there are.

  check-crates.py [--most 290]

The same rules as `cargo deny`, for machines without it (advisories need cargo-deny and its database).
"""
import argparse
import re
import subprocess
import sys
import tomllib


def tree(edges):
    command = ["cargo", "tree", "--locked", "--prefix", "none", "--no-dedupe", "-e", edges, "-f", "{p}|{l}|{r}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    crates = {}
    for line in filter(None, lines):
        name, licence, _ = line.split("|", 2)
        crates[" ".join(name.split()[:2])] = (licence.strip(), name)
    return crates


def allowed(expression, licences):
    """Evaluate an SPDX expression (the old `A/B` means `A OR B`)."""
    tokens = re.findall(r"\(|\)|[^()\s]+", expression.replace("/", " OR "))

    def any_of():
        result = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = all_of() or result
        return result

    def all_of():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = any_of()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return token in licences

    return bool(tokens) and any_of() and not tokens


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--most", type=int, default=290, help="largest number of crates in the default build")
    a = p.parse_args()
    with open(".deny.toml", "rb") as f:
        deny = tomllib.load(f)
    licences = set(deny["licenses"]["allow"])
    banned = {b["crate"] for b in deny["bans"]["deny"]}
    build, everything = tree("normal,build"), tree("normal,build,dev")
    wrong = []
    for crate, (licence, full) in sorted(everything.items()):
        name = crate.split()[0]
        if name in banned and crate in build:
            wrong.append(f"{crate}: banned by .deny.toml")
        if not allowed(licence, licences):
            wrong.append(f"{crate}: licence {licence!r} is not in the list of .deny.toml")
        if re.search(r"\((git|https?)\b", full):
            wrong.append(f"{crate}: comes from {full}")
    if len(build) > a.most:
        wrong.append(f"{len(build)} crates in the default build, at most {a.most} are wanted")
    print(f"{len(build)} crates in the default build, {len(everything)} with tests; licences, bans and sources checked")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
