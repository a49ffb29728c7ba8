#!/usr/bin/env python3
"""What the pages show of scripts/demo-ceremony and scripts/demo-personas is what they said.

usage: shown.py [--update] [--days] KEPT

KEPT holds NAME.out files. In docs/, the code block after a line `<!-- shown: NAME -->` must hold NAME.out, with digests, ids, times
and versions that are times replaced by others that are the same in every run; the days between two times stay. --update writes them.
Names that begin with `day-` are those of scripts/demo-personas, and looked at with --days alone.
"""
import datetime
import hashlib
import pathlib
import re
import sys

BLOCK = re.compile(r"(<!-- shown: ([a-z-]+) -->\n```\n)(.*?)(```\n)", re.S)


def in_order(tree: str) -> str:
    """A tree's referrers, which stand in the order of their digests, in that of what they are."""
    out, group = [], []
    for line in tree.splitlines() + [""]:
        if re.match("[├└]─ sha256:", line):
            group.append(line[2:])
            continue
        group.sort(key=lambda l: l.split("  ", 1)[1])
        out += [("└─" if n + 1 == len(group) else "├─") + l for n, l in enumerate(group)]
        group = []
        out.append(line)
    return "\n".join(out)


TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def parsed(time: str) -> datetime.datetime:
    return datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ")


def began(kept: pathlib.Path) -> datetime.datetime:
    """When a run began, to some minutes."""
    first = min(out.stat().st_mtime for out in kept.glob("*.out"))
    return datetime.datetime.fromtimestamp(first, datetime.timezone.utc).replace(tzinfo=None)


def steady(text: str, start: datetime.datetime) -> str:
    """The same text in every run: what differs is numbered in the order in which it appears. Times keep their days since `start`, to the nearest."""

    def day(match: re.Match) -> str:
        days = (parsed(match[0]) - start + datetime.timedelta(hours=12)).days
        return (datetime.datetime(2026, 11, 21, 9) + datetime.timedelta(days)).strftime("%Y-%m-%dT%H:%M:%SZ")

    text = re.sub(r"\b\d+ (?:second|minute)s?\b(?=  )", "1 minute", text)
    text = in_order(text)
    seen: dict[str, str] = {}

    def token(hexes: str) -> str:
        number = seen.setdefault(hexes[:8], str(len(seen)))
        return hashlib.sha256(number.encode()).hexdigest()[:8]

    text = re.sub(r"/tmp/[A-Za-z0-9._]+/", "", text)
    text = TIME.sub(day, text)
    text = re.sub(r"\b1[789]\d{8}\b", "1795251600", text)
    # Sets of keys stand in the order of their ids, which is another in each run: what stands alone is numbered first.
    ids = re.compile(r"\b[0-9a-f]{8}(?:, [0-9a-f]{8})+")
    for alone in re.finditer(r"\b(?:[0-9a-f]{12,64}|[0-9a-f]{8})\b", ids.sub("", text)):
        token(alone[0])
    text = re.sub(r"\b[0-9a-f]{12,64}\b", lambda m: token(m[0]) + "…", text)
    text = re.sub(r"\b[0-9a-f]{8}\b(?!…)", lambda m: token(m[0]), text)
    text = ids.sub(lambda m: ", ".join(sorted(m[0].split(", "))), text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def main() -> int:
    args = sys.argv[1:]
    update, days = "--update" in args, "--days" in args
    script = "demo-personas" if days else "demo-ceremony"
    kept = pathlib.Path([a for a in args if not a.startswith("--")][0])
    docs = pathlib.Path(__file__).resolve().parent.parent / "docs"
    wrong, blocks, start = [], 0, began(kept)
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text()

        def put(match: re.Match) -> str:
            nonlocal blocks
            if match[2].startswith("day-") != days:
                return match[0]
            blocks += 1
            source = kept / f"{match[2]}.out"
            if not source.exists():
                wrong.append(f"{page}: nothing is kept under {match[2]}")
                return match[0]
            return match[1] + steady(source.read_text(), start) + match[4]

        new = BLOCK.sub(put, text)
        if text.count("<!-- shown:") != len(BLOCK.findall(text)):
            wrong.append(f"{page}: a marker without a code block")
        if new != text:
            if update:
                page.write_text(new)
            else:
                wrong.append(f"{page}: it shows something else than the program says; UPDATE_PAGES=1 make {script}")
    for line in wrong:
        print(f"shown: {line}", file=sys.stderr)
    if not blocks:
        print("shown: no page shows anything", file=sys.stderr)
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
