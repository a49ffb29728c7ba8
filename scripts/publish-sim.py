#!/usr/bin/env python3
"""A model of publishing to a registry that has no compare-and-swap.

Publishers, withdrawers and renewal jobs interleave at every registry request; some crash, some sleep, an
attacker puts old submissions back, a registry may serve an old state. The rules under test are those of
docs/adr/0003-publishing-without-compare-and-swap.md; `classify`, `merge`, `fold`, `sign` and `work` below are
the reference for the implementation and keep the names of that page. A group (docs/adr/0009) is finished files of
several roles in one submission: `stand` says whether it follows, as a whole or not at all. Delegations (a name and a value here)
are joined name by name, by the ids of the changes that each side knows.

What it does not model: which paths a delegation speaks for, and so roles that overlap and the order in which they are asked
(src/tuf/lineage/delegations/tests.rs); that a file which delegates anew is judged as a group, and the first file of the role that it
delegates to; keys of targets in the hands of who commits; candidates that several online keys sign (docs/adr/0017); target files,
revocation lists and their join; roots. tests/e2e/interleavings.rs runs the code itself, with all of these but overlapping roles, roots
and lists that contradict, over schedules of the same kind.

    python3 scripts/publish-sim.py                      every scenario, 2,000 runs each
    python3 scripts/publish-sim.py --self-test          a small fixed set (CI); exit 1 on a violation
    python3 scripts/publish-sim.py --scenario mixed --no-submit      what breaks without a rule

Everything is derived from --seed; the same arguments give the same figures.
"""
import argparse
import hashlib
import heapq
import random
import sys
from collections import Counter
from dataclasses import dataclass

WINDOW = 64           # ancestors and withdrawals are kept while their version > own version - WINDOW
MAX_ROUNDS = 16       # a commit that needs more gives up (exit 3)
MAX_SUBMISSIONS = 256 # files fetched and judged in one round
READ_TO_PUT = 600     # seconds: older reads are not committed on
SETTLED = 3600        # seconds: a submission may go once a live state signed that long ago holds it
PUT_TIMEOUT = 300     # seconds: a PUT has landed, or never will
ROLES = ("releases", "revocations", "targets")
KEYS = ("releases", "revocations")     # whoever commits may hold these; targets is signed offline and comes in groups
GROUP = "group"

GRANTS = set()        # ids of changes of delegations, of the run under way

READ, PUT_SUBMISSION, PUT_STATE, DELETE = "read", "put submission", "put state", "delete"     # requests
IN, FORWARD, FORK, STALE = "already-in", "fast-forward", "fork", "stale"

RULES = {
    "no-submit": "commit without having PUT a submission first",
    "no-relist": "read back only: do not list again after the PUT",
    "delete-at-once": "delete a submission as soon as it was read back",
    "no-ten-minutes": "commit on a read of any age",
    "no-memory": "sign without a memory of the newest verified state",
    "no-withdrawals": "do not record withdrawals in the role file",
    "no-window": "fold submissions of any age, related or not",
    "no-cover": "judge by ancestors alone, never by content",
    "direct-parent": "a fork is foldable only when its direct parent is the live file or its ancestor",
    "no-set-version": "conflicting values: the live one always stays (entries do not carry their version)",
    "no-clock-version": "timestamp version = known + 1, without the signing time",
    "no-version-in-tag": "the tag of a submission names its hash only",
    "sign-on-live": "a publisher signs on the live file without folding what is pending first",
    "delegations-by-content": "judge the delegations of targets like entries: one of two values is 'in' or 'newer'",
    "no-whole-groups": "take the files of a group one by one, as far as each follows",
    "delegations-by-version": "judge who knew of whose change of a delegation by versions, which a join writes anew, and not by ids",
    "no-entries-of-conflicts": "where two change one delegation, leave out the whole file of one of them",
    "no-look-before-put": "do not look at the state once more just before its PUT",
}


# ---------------------------------------------------------------------------------------------------------
# Role files. `ops` is the truth that only the checker sees: which intents this file knows of.

@dataclass(frozen=True)
class Entry:
    value: str
    set: int           # version of the role file that set this value
    over: frozenset = frozenset()      # the withdrawals of this path that the setter knew of and overrode


@dataclass(frozen=True)
class RoleFile:
    role: str
    hash: str
    version: int
    entries: dict
    withdrawn: dict    # path -> {id of a withdrawal: version at which this line of files learned of it}
    ancestors: dict    # hash -> version, every ancestor with version > own - WINDOW
    parent: str        # only for --direct-parent
    ops: frozenset
    granted: dict      # delegations: name -> value
    changes: dict      # name -> {id of a change: version at which this line of files learned of it}


@dataclass(frozen=True)
class Join:
    entries: dict
    withdrawn: dict
    losers: list
    granted: dict
    changes: dict
    conflict: bool     # two changed one delegation: those of the base are in `granted`

    def content(self):
        return content(self.entries, self.withdrawn, self.granted, self.changes)


@dataclass(frozen=True)
class State:
    roles: dict
    timestamp: int     # the snapshot has the same version here
    at: int


@dataclass(frozen=True)
class Op:
    id: int
    role: str
    path: str
    value: str         # None: withdraw the path
    past: frozenset    # ops that the signer knew


@dataclass(frozen=True)
class Group:
    """Finished files of several roles, signed offline: `top`, of targets, and what goes with it."""
    hash: str
    files: tuple
    ops: tuple         # (role, op) that each file adds

    @property
    def tag(self):
        return GROUP, self.files[0].version, self.hash


class View:
    """What a signer has joined so far: a role file, or a join that no file carries yet (`file` is None)."""

    def __init__(self, file):
        self.take(file)
        self.parent, self.beside = file.hash, {}

    def take(self, file):
        self.file, self.role, self.version = file, file.role, file.version
        self.entries, self.withdrawn = file.entries, file.withdrawn
        self.granted, self.changes = file.granted, file.changes
        self.family = {**file.ancestors, file.hash: file.version}
        self.ops = getattr(self, "ops", frozenset()) | file.ops

    def content(self):
        return content(self.entries, self.withdrawn, self.granted, self.changes)


def content(entries, withdrawn, granted, changes):
    """What counts in a comparison: which withdrawals and changes, not when they were learned."""
    ids = [{name: set(ids) for name, ids in log.items()} for log in (withdrawn, changes)]
    return entries, ids[0], granted, {} if RULE["delegations-by-version"] else ids[1]


def learning(ours_of, theirs_of, common, now):
    """The ids of both; what only one side knew, and the common ancestor did not, the join learns of."""
    out = {}
    for path in ours_of.keys() | theirs_of.keys():
        ours, theirs, ids = ours_of.get(path, {}), theirs_of.get(path, {}), {}
        for id in ours.keys() | theirs.keys():
            if id in ours and id in theirs:
                ids[id] = max(ours[id], theirs[id])
            elif max(ours.get(id, 0), theirs.get(id, 0)) > common:
                ids[id] = now                   # one side learns of it here
            elif id in ours:
                ids[id] = ours[id]              # the common ancestor knew it, and `other` has dropped it since
        if ids:
            out[path] = ids
    return out


def delegations(base, other, common, now):
    """(granted, changes, conflict) of both: of each name the value of the side that knows all changes that the other one knows."""
    granted, conflict = {}, False
    for name in base.granted.keys() | other.granted.keys():
        ours, theirs = base.granted.get(name), other.granted.get(name)
        known, others = base.changes.get(name, {}), other.changes.get(name, {})
        fresh = [id for id, at in known.items() if at > common and id not in others]
        new = [id for id, at in others.items() if at > common and id not in known]
        if RULE["delegations-by-version"]:
            fresh, new = ([at for at in ids.values() if at > common] for ids in (known, others))
        conflict = conflict or ours != theirs and bool(fresh) == bool(new)
        if value := theirs if new and not fresh else ours:
            granted[name] = value
    if conflict:
        return base.granted, base.changes, True
    return granted, learning(base.changes, other.changes, common, now), False


def merge(base, other, common):
    """The Join of `base` with `other`; `common` = version of their newest common ancestor. No third file is needed: entries say
    when they were set, withdrawals and changes of delegations when they were learned."""
    now = max(base.version, other.version) + 1
    withdrawn = learning(base.withdrawn, other.withdrawn, common, now)
    entries, losers = {}, []
    for path in base.entries.keys() | other.entries.keys():
        ours, theirs = base.entries.get(path), other.entries.get(path)
        gone = withdrawn.get(path, {}).keys()
        if ours and not ours.over >= gone:
            ours = None                         # removal beats addition, unless the addition knew it
        if theirs and not theirs.over >= gone:
            theirs = None
        if ours and theirs and ours.value != theirs.value:
            newer = theirs.set > ours.set and ours.set <= common
            if RULE["no-set-version"]:
                newer = False
            losers.append((path, (ours if newer else theirs).value))
            entries[path] = theirs if newer else ours
        elif ours and theirs:
            entries[path] = Entry(ours.value, ours.set, ours.over | theirs.over)
        elif ours or theirs:
            entries[path] = ours or theirs
    return Join(entries, withdrawn, losers, *delegations(base, other, common, now))


def classify(base, file):
    """(verdict, version of the newest common ancestor) of a valid `file` against the View `base`."""
    if file.hash in base.family:
        return IN, file.version
    if not RULE["no-window"]:
        if file.version <= base.version - WINDOW:
            return STALE, 0
        if RULE["direct-parent"] and file.parent not in base.family:
            return STALE, 0
    family = {**file.ancestors, file.hash: file.version}
    common = max((version for hash, version in family.items() if hash in base.family), default=0)
    if common == 0 and not RULE["no-window"]:
        return STALE, 0
    if base.file and base.file.hash in file.ancestors:
        return FORWARD, common
    if file.role not in KEYS and not RULE["delegations-by-content"] and file.entries != base.entries:
        return FORK, common                     # one value that nobody merges: only a descendant replaces it
    if not RULE["no-cover"]:
        join = merge(base, file, common)
        if join.content() == base.content() and not join.conflict and file.version <= base.version:
            return IN, common
        join = merge(file, base, common)
        own = content(file.entries, file.withdrawn, file.granted, file.changes)
        if join.content() == own and not join.conflict and file.version >= base.version:
            return FORWARD, common
    elif base.file is None and base.family.keys() <= file.ancestors.keys():
        return FORWARD, common
    return FORK, common


def fold(live, remembered, submissions, has_key):
    """Join of live file, remembered file and submissions of one role. Returns (View, pending, stale)."""
    start = remembered if remembered and remembered.version > live.version else live
    view = View(start)
    others = {f.hash: f for f in [live, *([remembered] if remembered else []), *submissions]}
    others = sorted(others.values(), key=lambda f: (f.version, f.hash))
    for file in others:
        verdict, common = classify(view, file)
        if verdict == FORWARD:
            view.take(file)
            view.parent = file.hash
        elif verdict == FORK and has_key:
            join = merge(view, file, common)
            if join.conflict and (RULE["no-entries-of-conflicts"] or join.content() == view.content()):
                continue                        # nothing of it but the delegations, which wait for its signer
            view.entries, view.withdrawn, view.file = join.entries, join.withdrawn, None
            view.granted, view.changes = join.granted, join.changes
            view.version = max(view.version, file.version)
            view.ops |= file.ops if not join.conflict else file.ops - GRANTS
            if not join.conflict:
                view.family = {**view.family, **file.ancestors, file.hash: file.version}
    pending, stale = [], []
    for file in others:
        verdict, common = classify(view, file)
        if verdict == IN:
            if file.hash not in view.family:
                join = merge(view, file, common)     # the same content, learned of later
                view.withdrawn, view.changes = join.withdrawn, join.changes
            view.beside[file.hash] = file.version     # named as an ancestor by whoever signs next
            view.ops |= file.ops
        elif verdict == STALE:
            stale.append(file)
        else:
            pending.append(file)
    return view, pending, stale


def sign(world, view, highest, changes=()):
    """The next version of a role: the view plus changes [(path, value or None)]."""
    version = max(view.version, highest) + 1
    entries, withdrawn = dict(view.entries), {path: dict(ids) for path, ids in view.withdrawn.items()}
    granted, known = dict(view.granted), {name: dict(ids) for name, ids in view.changes.items()}
    ops = set(view.ops)
    for op in changes:
        if op.path.startswith("/"):
            granted.pop(op.path, None)
            if op.value is not None:
                granted[op.path] = op.value
            known.setdefault(op.path, {})[world.new_hash()] = version
        elif op.value is None:
            entries.pop(op.path, None)
            if not RULE["no-withdrawals"]:
                withdrawn.setdefault(op.path, {})[world.new_hash()] = version
        else:
            over = frozenset(withdrawn.get(op.path, ()))
            if op.path in entries:
                over |= entries[op.path].over
            entries[op.path] = Entry(op.value, version, over)
        ops.add(op.id)
    def kept(log):
        log = {path: {id: at for id, at in ids.items() if at > version - WINDOW} for path, ids in log.items()}
        return {path: ids for path, ids in log.items() if ids}
    withdrawn, known = kept(withdrawn), kept(known)
    ancestors = {h: v for h, v in {**view.family, **view.beside}.items() if v > version - WINDOW}
    return RoleFile(view.role, world.new_hash(), version, entries, withdrawn, ancestors, view.parent, frozenset(ops), granted, known)


def stand(group, at, taken, live, memory, seen, keys):
    """How a group stands: (IN, seen), (FORWARD, what is seen with it) or (STALE, seen). `at`: the files as the groups before it
    have left them, `taken`: what they brought."""
    if RULE["no-whole-groups"]:
        with_it = {role: list(files) for role, files in seen.items()}
        for file in group.files:
            with_it[file.role].append(file)
        missing = any(classify(View(live.roles[file.role]), file)[0] != IN for file in group.files)
        return (FORWARD if missing else IN), with_it
    rest = []
    for file in group.files:
        verdict, _ = classify(View(at[file.role]), file)
        if verdict == STALE or verdict == FORK and file.role not in KEYS:
            return STALE, seen
        if verdict != IN:
            rest.append(file)
    if not rest:
        return IN, seen
    with_it = {role: seen[role] + [file for file in rest if file.role == role] for role in ROLES}
    for file in rest + taken:                   # what groups before it brought stays in
        remembered = memory.roles[file.role] if memory else None
        view, _, _ = fold(live.roles[file.role], remembered, with_it[file.role], file.role in keys)
        if classify(view, file)[0] != IN:
            return STALE, seen
    return FORWARD, with_it


# ---------------------------------------------------------------------------------------------------------
# The registry and the people

class World:
    """One registry, one clock, and what the checker must remember."""

    def __init__(self, scenario, seed):
        self.rnd, self.now, self.hashes, self.scenario = random.Random(seed), 1_000_000, 0, scenario
        self.seed = seed
        self.submissions = {}                   # tag -> RoleFile; tag = (role, version, hash)
        self.put_at = {}
        self.ops, self.put_ops = [], set()
        roles = {}
        for role in ROLES:
            roles[role] = RoleFile(role, self.new_hash(), 1, {}, {}, {}, "", frozenset(), {}, {})
        self.state = State(roles, self.now, self.now)
        self.history = [self.state]             # every state that was served
        self.every_file = []                    # every submission that was ever PUT
        self.every_group, self.installed, self.bad = [], [], set()
        self.count = Counter()
        self.readers = [self.state] * 3
        self.finished_on = set()                # timestamps whose committer has finished its read-back

    def new_hash(self):
        self.hashes += 1
        return hashlib.sha256(f"{self.seed}/{self.hashes}".encode()).hexdigest()[:32]

    def put_state(self, state):
        if state.timestamp < self.state.timestamp:
            self.count["falls"] += 1
        if not all(View(state.roles[r]).ops >= self.state.roles[r].ops for r in ROLES):
            self.count["overwrites"] += 1
            if self.state.timestamp in self.finished_on:
                self.count["overwrites after read-back"] += 1
        self.state = state
        self.history.append(state)

    def look_at(self, groups, roles, before):
        """Whoever takes the targets file of a group in takes the rest. (A later one may have come by itself, from signers who knew
        of it; then the rest is for a holder of the key.)"""
        for group in groups:
            there = [op.id in roles[role].ops for role, op in group.ops]
            newly = roles["targets"].hash == group.files[0].hash and not any(group.ops[0][1].id in state.roles["targets"].ops for state in before)
            if newly and there[0] and not all(there):
                self.bad.add("a group is taken in parts")

    def tags(self):
        """The submissions that a tag list shows: on some registries it lags behind the PUTs."""
        if self.rnd.random() < self.scenario.lag:
            return {tag: f for tag, f in self.submissions.items() if self.put_at.get(tag, 0) < self.now - 30}
        return dict(self.submissions)

    def put_submission(self, file):
        self.submissions[(file.role, file.version, file.hash)] = file
        self.put_at[(file.role, file.version, file.hash)] = self.now
        self.every_file.append(file)
        self.put_ops |= file.ops

    def put_group(self, group):
        self.submissions[group.tag] = group
        self.put_at[group.tag] = self.now
        if group not in self.every_group:
            self.every_group.append(group)

    def propose(self, name, with_releases):
        """Offline people sign a group on the state that they see."""
        name = f"{name}-{len(self.ops)}"        # who begins anew after a crash proposes something else
        changes = [("targets", "", name)] + ([("releases", f"@{name}", name)] if with_releases else [])
        files, ops = [], []
        for role, path, value in changes:
            view = View(self.state.roles[role])
            op = Op(len(self.ops), role, path, value, frozenset(view.ops))
            self.ops.append(op)
            ops.append((role, op))
            files.append(sign(self, view, 0, [op]))
        return Group(self.new_hash(), tuple(files), tuple(ops))


@dataclass
class Home:
    """An installation: its keys and its memory outlive a crash of the process."""
    name: str
    keys: frozenset
    online: bool
    memory: State
    deceived: bool = False
    skew: int = 0            # seconds that its clock is ahead


def below(state, memory):
    """Is the state below the memory, in the version of timestamp or of a role?"""
    return state.timestamp < memory.timestamp or any(state.roles[r].version < memory.roles[r].version for r in ROLES)


def work(world, home, intents=(), renew=False, clean=False, again=(), install=None):
    """One run of publish, withdraw, renew or commit (of a group). A generator: at every request others may run, and it may
    crash. `again`: roles past half their life, signed anew without a change."""
    first_live, unsigned, committed, again, mine = None, list(intents), False, set(again), []
    for turn in range(MAX_ROUNDS):
        world.count["rounds"] += 1
        world.count[f"turn {turn + 1}"] += 1
        read_at = world.now
        yield READ                              # GET state
        live = world.state
        if home.deceived and world.rnd.random() < .5:
            live = world.rnd.choice(world.history)
        first_live = first_live or live
        memory = None if RULE["no-memory"] else home.memory
        if memory and below(live, memory):
            world.count["live below memory"] += 1
        yield READ                              # list tags
        listed, fetched = world.tags(), 0
        if RULE["no-relist"] and turn > 0:
            listed = {}
        seen = {role: [file for file in mine if file.role == role] for role in ROLES}
        groups = [] if not install else [install]
        for tag, file in sorted(listed.items(), key=lambda item: item[0]):
            role, version, hash = tag
            if role == GROUP:
                groups += [file] if home.online and (not install or file.hash != install.hash) else []
                continue
            known = View(live.roles[role]).family
            if hash in known:
                continue                        # already in: known from the tag alone
            if not RULE["no-version-in-tag"] and version <= live.roles[role].version - WINDOW:
                continue                        # stale: known from the tag alone
            fetched += 1
            if fetched > MAX_SUBMISSIONS:
                world.count["over the cap"] += 1
                break
            seen[role].append(file)
        world.count["fetched"] += fetched
        world.count["most fetched"] = max(world.count["most fetched"], fetched)
        if world.now - read_at > READ_TO_PUT and not RULE["no-ten-minutes"]:
            world.count["started over"] += 1
            continue                            # what is signed on an old read may be stale before it is PUT
        # Take groups in: one's own first, then as the tags come.
        installed, at, taken = False, dict(live.roles), []
        for group in groups:
            verdict, with_it = stand(group, at, taken, live, memory, seen, home.keys)
            if group is install:
                installed = verdict == IN
                if verdict == STALE:
                    world.count["groups refused"] += 1
                    return
                if group.tag not in listed:
                    yield PUT_SUBMISSION
                    world.put_group(group)
            if verdict == FORWARD and home.online:
                newer = [f for f in group.files if classify(View(at[f.role]), f)[0] != IN]
                seen, at, taken = with_it, at | {file.role: file for file in newer}, taken + newer
        # Fold, sign what is missing, submit it.
        roles, signed, pending = {}, [], []
        for role in ROLES:
            has_key = role in home.keys
            remembered = memory.roles[role] if memory else None
            view, waiting, _ = fold(live.roles[role], remembered, seen[role], has_key)
            changes = [i for i in unsigned if i[0] == role]
            if changes and RULE["sign-on-live"]:
                view, waiting = View(live.roles[role]), []
            changes = [c for c in changes if needed(view, c)]
            pending += waiting
            if view.file is None or changes or role in again:
                highest = max([f.version for f in seen[role]] + [remembered.version if remembered else 0])
                ops = []
                for _, path, value in changes:
                    ops.append(Op(len(world.ops), role, path, value, frozenset(view.ops)))
                    world.ops.append(ops[-1])
                    if path.startswith("/"):
                        GRANTS.add(ops[-1].id)
                file = sign(world, view, highest, ops)
                signed.append(file)
                world.count["merges" if not changes else "signed"] += 1
                world.count["most ancestors"] = max(world.count["most ancestors"], len(file.ancestors))
                roles[role] = file
            else:
                roles[role] = view.file
        unsigned, again = [], set()
        for file in signed:
            if not RULE["no-submit"]:
                yield PUT_SUBMISSION
                world.put_submission(file)
                mine.append(file)               # takes part from now on, listed or not
        for file in pending:
            # Of live or memory, its submission gone. A file of targets goes with its group, or not at all.
            if (file.role, file.version, file.hash) not in listed and file.role in KEYS:
                yield PUT_SUBMISSION
                world.put_submission(file)
                world.count["submitted again"] += 1
        if not home.online:
            if not signed:
                home.memory = home.memory if below(live, home.memory) else live
                return
            continue
        # Commit.
        same = all(roles[r].hash == live.roles[r].hash for r in ROLES)
        if same and not (memory and below(live, memory)) and (committed or not renew):
            home.memory = live
            world.count["forks left to a holder of the key"] += len(pending)
            world.finished_on.add(live.timestamp)
            if installed:
                world.installed.append(install)
                if install.ops[0][1].id not in live.roles["targets"].ops:
                    world.bad.add("said to be installed and not in")
                world.count["groups installed"] += 1
            if clean or RULE["delete-at-once"]:
                yield from tidy(world, world.now + home.skew, first_live, live, listed)
            return
        known = max(live.timestamp, memory.timestamp if memory else 0)
        yield READ                              # HEAD state: has it moved?
        if not RULE["no-look-before-put"] and world.state is not live and not home.deceived:
            world.count["looked in time"] += 1
            continue
        if world.now - read_at > READ_TO_PUT and not RULE["no-ten-minutes"]:
            world.count["started over"] += 1
            continue
        version = known + 1 if RULE["no-clock-version"] else max(known + 1, world.now + home.skew)
        new = State(roles, version, world.now + home.skew)
        world.look_at(groups, roles, [live] + ([memory] if memory else []))
        home.memory = new                       # before the PUT: a crash must not lose the floor
        if RULE["no-ten-minutes"]:
            yield READ                          # ... and however long the PUT takes
        else:
            yield PUT_STATE
        world.put_state(new)
        if RULE["no-submit"]:
            for file in signed:
                world.put_ops |= file.ops
        committed = True
    world.count["gave up"] += 1


def needed(view, change):
    _, path, value = change
    if path.startswith("/"):
        return view.granted.get(path) != value
    entry = view.entries.get(path)
    return entry is not None if value is None else entry is None or entry.value != value


def tidy(world, now, first_live, live, listed):
    """Delete submissions that a live state signed an hour ago holds, and those that no live state can take."""
    if not world.scenario.deletable:
        return
    if first_live.at > now - SETTLED and not RULE["delete-at-once"]:
        return
    for tag, file in sorted(listed.items(), key=lambda item: item[0]):
        role, version, _ = tag
        if role == GROUP:
            states = (first_live, live)
            settled = all(classify(View(s.roles[f.role]), f)[0] == IN for s in states for f in file.files)
            if settled or version <= first_live.roles["targets"].version - WINDOW:
                yield DELETE
                world.count["deleted"] += world.submissions.pop(tag, None) is not None
            continue
        settled = all(classify(View(state.roles[role]), file)[0] == IN for state in (first_live, live))
        if settled or version <= first_live.roles[role].version - WINDOW:
            yield DELETE
            if world.submissions.pop(tag, None):
                world.count["deleted"] += 1


# ---------------------------------------------------------------------------------------------------------
# Scenarios

@dataclass(frozen=True)
class Scenario:
    about: str
    full: int = 3            # homes with the releases key and the online key
    submitters: int = 2      # homes with the releases key only
    online_only: int = 1     # renewal jobs without a role key
    jobs: int = 2            # runs of each home, one after the other
    withdraw: float = .15    # share of the runs that withdraw a path
    delegate: float = 0      # share of the runs that delegate to a role of one's own, or take back what is delegated
    contradict: float = 0    # of these: that change what others delegate
    tags: int = 2            # tags that everybody moves
    crash: float = .01       # at every request
    sleep: float = .004      # at every request: up to two hours
    gap: int = 60            # seconds, at most, between the runs of a home
    lag: float = 0           # share of the tag lists that miss what was PUT in the last 30 seconds
    owners: int = 0          # homes that commit groups which were signed offline some time before
    attacker: int = 0        # old submissions put back
    deceived: int = 0        # homes that are served old states half of the time
    deletable: bool = True
    whole: bool = False      # nobody crashes and all hold all keys: complete even before the last commit
    held: bool = False       # the first PUT of one home takes so long that another finishes first


SCENARIOS = {
    "mixed": Scenario("all kinds of signers at once, crashes, sleeps"),
    "crowd": Scenario("eight full publishers at once", full=8, submitters=0, online_only=0, jobs=1, gap=5),
    "storm": Scenario("twenty-four publishers within three seconds", full=24, submitters=0, online_only=0, jobs=1, gap=3,
                      crash=0, sleep=0, whole=True),
    "submitters": Scenario("nobody but renewal jobs holds the online key", full=0, submitters=5, online_only=2),
    "held": Scenario("a PUT lands after another publisher's read-back", full=4, submitters=0, online_only=0, held=True),
    "replay": Scenario("old submissions are put back all the time", attacker=30, withdraw=.35, jobs=3),
    "hours": Scenario("runs spread over days: submissions are deleted", jobs=4, gap=20_000, sleep=.03, attacker=10),
    "deceived": Scenario("a registry serves old states to two signers", deceived=2, jobs=3, gap=10_000),
    "groups": Scenario("groups of targets and releases among publishers and withdrawers", full=2, submitters=1, owners=3,
                       gap=600, attacker=6),
    "rivals": Scenario("groups that were signed on one state, committed at once", full=2, submitters=0, online_only=2, owners=4,
                       jobs=3, gap=5, crash=.02),
    "grants": Scenario("delegations given, altered and taken back beside publications", full=4, submitters=1, jobs=3, gap=5,
                       delegate=.5, attacker=6),
    "contradictions": Scenario("people who change each other's delegations", full=4, submitters=1, jobs=3, gap=5, delegate=.5,
                               contradict=.6, attacker=6),
    "lag": Scenario("tag lists lag behind", lag=.5, gap=20),
    "keep": Scenario("nothing can be deleted", deletable=False, jobs=3),
    "long": Scenario("over a hundred publications, replays of all ages", full=3, submitters=1, jobs=30, gap=600,
                     attacker=60, withdraw=.25, crash=.002),
    "long-keep": Scenario("the same where nothing can be deleted", full=3, submitters=1, jobs=30, gap=600,
                          attacker=60, withdraw=.25, crash=.002, deletable=False),
    "archive": Scenario("four hundred publications where nothing can be deleted", full=2, submitters=0, jobs=200, gap=600,
                        crash=0, deletable=False, whole=True),
}
# These get this many times fewer runs.
SLOW = {"storm": 10, "long": 10, "long-keep": 10, "archive": 200}

# The self-test leaves out each of these rules and expects a violation: a checker that finds nothing must not pass.
SENTINELS = {"no-submit": "held", "delete-at-once": "held", "no-withdrawals": "replay", "no-set-version": "crowd",
             "no-clock-version": "held", "no-relist": "storm", "no-whole-groups": "groups", "delegations-by-content": "groups",
             "delegations-by-version": "grants", "no-entries-of-conflicts": "contradictions"}


def simulate(scenario, seed):
    GRANTS.clear()
    world = World(scenario, seed)
    rnd = world.rnd
    homes = []
    for kind, number, keys, online in (("full", scenario.full, {"releases"}, True),
                                       ("submitter", scenario.submitters, {"releases"}, False),
                                       ("renew", scenario.online_only, set(), True),
                                       ("owner", scenario.owners, set(), None),
                                       ("security", 1, {"revocations"}, False)):
        for i in range(number):
            online_here = i % 2 == 0 if online is None else online     # every second owner only submits
            homes.append(Home(f"{kind}{i}", frozenset(keys), online_here, world.state, skew=rnd.randint(-120, 120)))
    keeper = Home("keeper", frozenset(KEYS), True, world.state)   # scheduled renewal that also holds the role keys
    for home in rnd.sample([h for h in homes if h.keys], scenario.deceived):
        home.deceived = True

    def day(home):
        """The runs of one home, one after the other; a crash ends a run, not the home."""
        for job in range(scenario.jobs):
            yield "start"
            if home.keys == {"revocations"}:
                yield from work(world, home, [("revocations", f"revoked-{home.name}-{job}", "x")])
            elif home.name.startswith("owner"):
                group = world.propose(f"{home.name}-{job}", rnd.random() < .7)
                yield "start"
                yield from work(world, home, install=group)
            elif not home.keys:
                yield from work(world, home, renew=True, clean=True)
            elif rnd.random() < .1:
                yield from work(world, home, renew=home.online, again=home.keys)
            elif scenario.delegate and rnd.random() < scenario.delegate:
                yield from delegate(home, job)
            elif rnd.random() < scenario.withdraw:
                known = sorted(world.state.roles["releases"].entries)
                if known:
                    yield from work(world, home, [("releases", rnd.choice(known), None)])
            else:
                digest = f"@{home.name}-{job}"
                withdrawn = sorted({o.path for o in world.ops if o.value is None})
                if withdrawn and rnd.random() < .2:
                    digest = rnd.choice(withdrawn)          # published again, knowingly or not
                intents = [("releases", digest, digest)]
                if scenario.tags and rnd.random() < .6:
                    intents.append(("releases", f":{rnd.randrange(scenario.tags)}", f"{home.name}-{job}"))
                yield from work(world, home, intents, clean=rnd.random() < .3)

    def delegate(home, job):
        """A role of one's own is granted, or altered or taken back."""
        known = sorted(home.memory.roles["releases"].granted)
        own = [name for name in known if name.startswith(f"/{home.name}-")]
        some = known if rnd.random() < scenario.contradict else own
        if some and rnd.random() < .6:
            name, value = rnd.choice(some), None if rnd.random() < .5 else f"altered-{len(world.ops)}"
        else:
            name, value = f"/{home.name}-{len(world.ops)}", "granted"
        yield from work(world, home, [("releases", name, value)])

    def attack():
        for _ in range(scenario.attacker):
            yield "start"
            if world.every_file:
                file = rnd.choice(world.every_file + world.every_group)
                tag = file.tag if isinstance(file, Group) else (file.role, file.version, file.hash)
                world.submissions[tag] = file
                world.count["replayed"] += 1

    def keep():
        for _ in range(scenario.jobs):
            yield "start"
            yield from work(world, keeper, renew=True, clean=True)

    # A queue of (time of the answer, order, name). What a request does, it does at the time of its answer.
    queue, tie = [], 0
    running = {home.name: day(home) for home in homes}
    running["attacker"] = attack()
    if scenario.gap > 1000 or scenario.jobs > 10:
        running["keeper"] = keep()
    slow = rnd.choice([h.name for h in homes if h.online]) if scenario.held else None
    for name in running:
        heapq.heappush(queue, (world.now + rnd.uniform(0, 3), tie, name))
        tie += 1
    clock = float(world.now)
    crashes = 0
    while queue:
        clock, _, name = heapq.heappop(queue)
        world.now = int(clock)
        process = running[name]
        for index in range(len(world.readers)):
            if rnd.random() < .2:
                read(world, index)
        try:
            request = next(process)
        except StopIteration:
            continue
        if request != "start" and rnd.random() < scenario.crash:
            crashes += 1
            home = next((h for h in homes if h.name == name), None)
            process.close()
            del running[name]
            if home and crashes < 50 and rnd.random() < .5:     # runs again, with the memory it saved and the same wishes
                running[name] = day(home)
                heapq.heappush(queue, (clock + rnd.uniform(1, 60), tie, name))
                tie += 1
            continue
        delay, asleep = rnd.expovariate(1), rnd.random() < scenario.sleep
        if request == "start":
            delay = rnd.uniform(0, scenario.gap) if rnd.random() < .7 else rnd.uniform(0, 3)
        elif request == PUT_STATE and name == slow:
            delay, slow = rnd.uniform(PUT_TIMEOUT / 2, PUT_TIMEOUT), None
        elif request in (PUT_STATE, PUT_SUBMISSION):
            delay = rnd.uniform(0, PUT_TIMEOUT) if asleep else min(delay, PUT_TIMEOUT)
        elif asleep:
            delay = rnd.uniform(0, 7200)
        heapq.heappush(queue, (clock + delay, tie, name))
        tie += 1
    # The end: the renewal jobs run once more, then one holder of the role keys commits.
    early = check_entries(world, ("releases",)) if scenario.whole else set()
    world.now += 300                            # clocks differ by up to two minutes
    for home in [h for h in homes if h.online and not h.keys and not h.name.startswith("owner")] + [keeper]:
        home.deceived = False
        for _ in work(world, home, renew=home is keeper):
            world.now += 1
        world.now += 1
    return world, check(world) | {f"{name} before the last commit" for name in early}


def read(world, index):
    """A deployer with memory: takes the live state unless a version fell."""
    if below(world.state, world.readers[index]):
        world.count["readers kept their memory"] += 1
    else:
        world.readers[index] = world.state


def overtaken(state, memory):
    """A rival of the targets file that a reader took came later: nobody here may sign above both. Readers keep what they have
    until its signers go on."""
    rival = classify(View(state.roles["targets"]), memory.roles["targets"])[0] == FORK
    return rival and state.timestamp >= memory.timestamp


def check(world):
    """The properties, against the truth. Returns the names of those that do not hold."""
    bad = world.bad | check_entries(world, KEYS) | check_groups(world)
    if world.state.timestamp < max(s.timestamp for s in world.history):
        bad.add("timestamp below what was served")
    for memory in world.readers:
        if overtaken(world.state, memory):
            world.count["readers wait for the signers of targets"] += 1
        elif below(world.state, memory):
            bad.add("a reader cannot go on")
    if world.count["gave up"]:
        bad.add("a commit did not end")
    if world.count["over the cap"]:
        bad.add("more submissions than are looked at")
    return bad


def check_groups(world):
    """A group is in as a whole, and one that was said to be installed is in or was beaten by a rival of its own time."""
    bad, ops = set(), {role: world.state.roles[role].ops for role in ROLES}
    for group in world.every_group:
        there = [op.id in ops[role] for role, op in group.ops]
        if there[0] and not all(there):
            bad.add("a group is torn")
    for group in world.installed:
        top = group.ops[0][1]
        rivals = (g.ops[0][1] for g in world.every_group if g.hash != group.hash and g.ops[0][1].id in ops["targets"])
        if top.id not in ops["targets"] and all(top.id in r.past or r.id in top.past for r in rivals):
            bad.add("an installed group is lost")
    return bad


def check_entries(world, roles):
    """What was PUT as a submission must be in the live state, as far as its causes and effects are clear."""
    bad, by_path = set(), {}
    for op in world.ops:
        if op.id in world.put_ops and op.role in roles:
            by_path.setdefault((op.role, op.path), []).append(op)
    for (role, path), ops in by_path.items():
        if path.startswith("/"):
            wrong = check_delegation(world.state.roles[role].granted.get(path), ops)
            if wrong and contradicted(by_path):
                world.count["delegations that wait for their signers"] += 1
            else:
                bad |= wrong
            continue
        entry = world.state.roles[role].entries.get(path)
        added = [op for op in ops if op.value is not None]
        removed = [op for op in ops if op.value is None]
        if not entry and any(all(r.id in a.past for r in removed) for a in added):
            bad.add("entry lost")
        if entry and any(all(r.id not in a.past for a in added) for r in removed):
            bad.add("withdrawn entry is back")
        if entry:
            writers = [a for a in added if a.value == entry.value]
            if all(any(w.id in a.past for a in added if a.value != w.value) for w in writers):
                bad.add("older value of a tag is back")
    return bad


def check_delegation(value, ops):
    """A delegation is as the last change says, or as one of those of which none knew of the others."""
    last = [op for op in ops if not any(op.id in other.past for other in ops)]
    if any(op.value == value for op in last):
        return set()
    # An earlier one that was altered and is there again, or one that is lost.
    return {"a delegation that was taken back is there" if value else "a delegation is lost"}


def contradicted(by_path):
    """Whether two changed one delegation, neither of them knowing of the other's change: what else their files say of delegations
    waits for their signers."""
    def rivals(a, b):
        return a.value != b.value and a.id not in b.past and b.id not in a.past
    return any(rivals(a, b) for (_, path), ops in by_path.items() if path.startswith("/") for a in ops for b in ops)


def report(name, runs, seed):
    total, bad, most, spent = Counter(), Counter(), Counter(), 0
    for run in range(runs):
        world, violations = simulate(SCENARIOS[name], f"{seed}/{name}/{run}")
        bad.update(violations)
        spent += bool(violations)
        for key, value in world.count.items():
            if key.startswith("most"):
                most[key] = max(most[key], value)
            else:
                total[key] += value
        turns = max(int(k.split()[1]) for k in world.count if k.startswith("turn "))
        most["most rounds"] = max(most["most rounds"], turns)
    total = Counter({k: v for k, v in total.items() if not k.startswith("turn ")})
    print(f"{name}: {runs} runs, {spent} with a violation; {SCENARIOS[name].about}")
    if bad:
        print("   VIOLATED " + ", ".join(f"{k}: {v}" for k, v in sorted(bad.items())))
    print("   " + ", ".join(f"{k} {v}" for k, v in sorted((total + most).items())))
    return spent


def self_test(seed):
    """Every scenario in small, and proof that the checker still finds what it is for. Returns the exit code."""
    failures = 0
    for name in SCENARIOS:
        failures += report(name, 1 if name == "archive" else 3 if name in SLOW else 50, seed)
    for rule, name in SENTINELS.items():
        RULE[rule] = True
        print(f"without the rule: {RULES[rule]} (must be found)")
        failures += report(name, 6 if name in SLOW else 50, seed) == 0
        RULE[rule] = False
    print("FAILED" if failures else "passed")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, help="runs of each scenario (default 2,000; fewer for the long ones)")
    parser.add_argument("--seed", default="bulla")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append")
    parser.add_argument("--self-test", action="store_true", help="a small fixed set; exit 1 on a violation")
    for rule, about in RULES.items():
        parser.add_argument(f"--{rule}", action="store_true", help=f"leave out a rule: {about}")
    args = parser.parse_args()
    if args.self_test:
        return self_test(args.seed)
    for rule in RULES:
        RULE[rule] = getattr(args, rule.replace("-", "_"))
    broken = 0
    for name in args.scenario or SCENARIOS:
        broken += report(name, args.runs or 2000 // SLOW.get(name, 1), args.seed)
    return 1 if broken else 0


RULE = dict.fromkeys(RULES, False)
if __name__ == "__main__":
    sys.exit(main())
