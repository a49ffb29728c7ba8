#!/usr/bin/env python3
"""Layouts and links, judged by PyPI's in-toto and by `bulla in-toto verify`.

usage: intoto-differential.py BULLA FOLDER [--only WORD]      (runs under the Python that scripts/interop.py prepares)

Every case is written to FOLDER and judged twice. The verdicts must agree, but where a case names a row of docs/in-toto.md, "Where bulla
differs": `stricter` cases must be taken by the reference and refused by bulla, `kinder` ones the other way round; a case that may differ
(`perhaps`) was made by chance and need not. The cases are the same in every run; only RSA keys and signatures are fresh.
"""
import base64, collections, contextlib, copy, hashlib, io, json, logging, os, pathlib, random, subprocess, sys, tempfile, time, warnings

warnings.simplefilter("ignore")
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from in_toto.models._signer import load_public_key_from_file
from in_toto.models.metadata import Metadata
from in_toto.verifylib import in_toto_verify
from securesystemslib.formats import encode_canonical

BULLA, FOLDER = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
ONLY = sys.argv[4] if sys.argv[3:4] == ["--only"] else ""
PAGE = (pathlib.Path(__file__).resolve().parent.parent / "docs/in-toto.md").read_text().split("## Where bulla differs")[1]
LATER, PAST = "2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"
TYPE = "application/vnd.in-toto+json"

# ---- people, documents ------------------------------------------------------------------------------------------------


class Person:
    """A key, with the id and key object that the reference gives it."""

    def __init__(self, private, keytype, scheme, sign):
        self.private, self.sign = private, sign
        public = private.public_key()
        self.pem = public.public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo).decode()
        value = public.public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw).hex() if keytype == "ed25519" else self.pem
        self.key = {"keytype": keytype, "scheme": scheme, "keyval": {"public": value}}
        self.id = hashlib.sha256(encode_canonical(self.key).encode()).hexdigest()
        self.key["keyid"] = self.id

    def renamed(self, keyid, **fields):
        """The same key under another id."""
        other = copy.copy(self)
        other.key = {**self.key, **fields, "keyid": keyid}
        other.id = keyid
        return other


def ed(seed):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(str(seed).encode()).digest())
    return Person(private, "ed25519", "ed25519", private.sign)


def curve(kind, md, scheme):
    private = ec.derive_private_key(int.from_bytes(hashlib.sha256(scheme.encode()).digest()) >> 8, kind)
    return Person(private, "ecdsa", scheme, lambda m: private.sign(m, ec.ECDSA(md)))


def pss(private, md, scheme, salt=None):
    return Person(private, "rsa", scheme, lambda m: private.sign(m, padding.PSS(padding.MGF1(md), md.digest_size if salt is None else salt), md))


def pkcs1(private, md, scheme):
    return Person(private, "rsa", scheme, lambda m: private.sign(m, padding.PKCS1v15(), md))


OWNER, A, B, C, D = ed("owner"), ed(1), ed(2), ed(3), ed(4)
PEOPLE = [A, B, C, D]


def arts(*texts):
    return {t.rpartition("=")[0]: {"sha256": hashlib.sha256(t.rpartition("=")[2].encode()).hexdigest()} for t in texts}


def step(name, people, materials=(), products=(), threshold=1, **more):
    words = lambda rules: [r if isinstance(r, list) else r.split(" ") for r in rules]
    return {"_type": "step", "name": name, "threshold": threshold, "pubkeys": [p.id for p in people], "expected_command": [],
            "expected_materials": words(materials), "expected_products": words(products), **more}


def inspection(name, run, materials=(), products=(), **more):
    return {"_type": "inspection", "name": name, "run": run, "expected_materials": [r.split(" ") for r in materials],
            "expected_products": [r.split(" ") for r in products], **more}


def layout(steps, people=PEOPLE, inspect=(), **more):
    return {"_type": "layout", "expires": LATER, "readme": "", "keys": {p.id: p.key for p in people}, "steps": list(steps),
            "inspect": list(inspect), **more}


def link(name, materials=None, products=None, **more):
    return {"_type": "link", "name": name, "materials": materials or {}, "products": products or {}, "byproducts": {}, "command": [],
            "environment": {}, **more}


def pae(kind, payload):
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def signed(value, *people, form="classic", message=None):
    """The envelope as a value; `message` stands in for what is signed."""
    if form == "classic":
        message = encode_canonical(value).encode() if message is None else message
        return {"signed": value, "signatures": [{"keyid": p.id, "sig": p.sign(message).hex()} for p in people]}
    payload = json.dumps(value, sort_keys=True).encode()
    message = pae(TYPE, payload) if message is None else message
    b64 = lambda data: base64.b64encode(data).decode()
    return {"payload": b64(payload), "payloadType": TYPE, "signatures": [{"keyid": p.id, "sig": b64(p.sign(message))} for p in people]}


def data(value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def name(step_name, person):
    return f"{step_name}.{person.id[:8]}.link"


# ---- both judges -------------------------------------------------------------------------------------------------------

logging.disable(logging.CRITICAL)
COUNT = collections.Counter()
WRONG, NUMBER, REASONS = [], 0, collections.Counter()


def reference(case, keys, parameters):
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as empty, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        os.chdir(empty)
        try:
            known = {}
            for path in keys:
                key = load_public_key_from_file(str(path))
                known[key["keyid"]] = key
            in_toto_verify(Metadata.load(str(case / "layout")), known, str(case / "links"), parameters, persist_inspection_links=False)
            return True, ""
        except RecursionError:
            return False, "RecursionError"
        except Exception as e:
            return False, f"{type(e).__name__}: {str(e)[:200]}"
        finally:
            os.chdir(before)


def bulla(case, keys, parameters):
    args = [BULLA, "in-toto", "verify", "--layout", case / "layout", "--links", case / "links", "--run-inspections=all"]
    for path in keys:
        args += ["--key", path]
    for key, value in (parameters or {}).items():
        args += ["--parameter", f"{key}={value}"]
    done = subprocess.run(args, capture_output=True, text=True, env={"HOME": str(FOLDER), "PATH": os.environ["PATH"]})
    if done.returncode not in (0, 1):
        return None, f"exit {done.returncode}: {done.stderr[:400]}"
    return done.returncode == 0, done.stderr[:400]


def judge(group, title, root, links, owners=(OWNER,), parameters=None, stricter=None, kinder=None, perhaps=()):
    """One case. `stricter` and `kinder` are tests that docs/in-toto.md names; `perhaps` is a list of ("stricter"|"kinder", test)."""
    global NUMBER
    NUMBER += 1
    if ONLY and ONLY not in f"{group}: {title}":
        return
    case = FOLDER / f"{NUMBER:03}"
    (case / "links").mkdir(parents=True)
    (case / "title").write_text(f"{group}: {title}\n")
    (case / "layout").write_bytes(data(root))
    for path, value in links.items():
        (case / "links" / path).parent.mkdir(parents=True, exist_ok=True)
        (case / "links" / path).write_bytes(data(value))
    keys = []
    for i, owner in enumerate(owners):
        keys.append(case / f"owner{i}.pub")
        keys[-1].write_text(owner.pem)
    theirs, why_theirs = reference(case, keys, parameters)
    ours, why_ours = bulla(case, keys, parameters)
    COUNT[group] += 1
    COUNT["refused"] += not theirs
    wanted = [("stricter", stricter)] if stricter else [("kinder", kinder)] if kinder else list(perhaps)
    for _, row in wanted:
        if f"`{row}_…`" not in PAGE:
            WRONG.append(f"{case.name} {group}: {title}: docs/in-toto.md has no row {row}")
    direction = None if ours == theirs else "stricter" if theirs else "kinder"
    fits = ours is not None and (any(direction == d for d, _ in wanted) if direction else not (stricter or kinder))
    if direction and fits:
        REASONS[(direction, next(row for d, row in wanted if d == direction))] += 1
    if not fits:
        WRONG.append(f"{case.name} {group}: {title}\n      reference {theirs} {why_theirs}\n      bulla     {ours} {why_ours}")


def one_step(item, document, group, title, people=(A,), **more):
    """A layout with one step, and one document for it."""
    judge(group, title, signed(layout([item], people), OWNER), {name(item["name"], people[0]): document}, **more)


# ---- rules ---------------------------------------------------------------------------------------------------------------

def two(title, materials, products, rules, side="products", first=None, **more):
    first = first or link("one", arts("m=5"), arts("a=1", "d/a=1", "d/b=2", "e/c=3"))
    second = link("two", arts(*materials), arts(*products)) if isinstance(products, (list, tuple)) else products
    items = [step("one", [A]), step("two", [B], **{side: rules})]
    judge("rules", title, signed(layout(items), OWNER), {name("one", A): signed(first, A), name("two", B): signed(second, B)}, **more)


def rules():
    tables = [
        ("nothing", [], ["x=1"], []), ("disallow", [], ["x=1"], ["DISALLOW *"]), ("create", [], ["x=1"], ["CREATE *", "DISALLOW *"]),
        ("create of a material", ["x=1"], ["x=1"], ["CREATE *", "DISALLOW *"]), ("modify", ["x=1"], ["x=2"], ["MODIFY x", "DISALLOW *"]),
        ("modify of the same", ["x=1"], ["x=1"], ["MODIFY x", "DISALLOW *"]), ("require", [], ["x=1"], ["REQUIRE x"]),
        ("require a pattern", [], ["x=1"], ["REQUIRE x*"]), ("require a literal star", [], ["x*=1"], ["REQUIRE x*"]),
        ("require what was taken", [], ["x=1"], ["ALLOW x", "REQUIRE x"]), ("require twice", [], ["x=1"], ["REQUIRE x", "REQUIRE x"]),
        ("lower case", [], ["x=1"], ["create *", "disallow *"]), ("match to a step that is not", [], ["a=1"], ["MATCH * WITH PRODUCTS FROM no", "DISALLOW *"]),
        ("match", [], ["a=1"], ["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"]), ("match materials", [], ["m=5"], ["MATCH m WITH MATERIALS FROM one", "DISALLOW *"]),
        ("match of itself", [], ["z=1"], ["MATCH * WITH PRODUCTS FROM two", "DISALLOW *"]), ("match another hash", [], ["a=2"], ["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"]),
        ("prefix", [], ["d/b=2"], ["MATCH b IN d WITH PRODUCTS IN d FROM one", "DISALLOW *"]), ("prefix with slash", [], ["d/b=2"], ["MATCH b IN d/ WITH PRODUCTS IN d/ FROM one", "DISALLOW *"]),
        ("prefix with two", [], ["d/b=2"], ["MATCH b IN d// WITH PRODUCTS IN d FROM one", "DISALLOW *"]), ("prefix is no pattern", [], ["d/b=2"], ["MATCH b IN * WITH PRODUCTS IN d FROM one", "DISALLOW *"]),
        ("names outside of the prefix", [], ["x/a=1", "a=1"], ["MATCH * IN x WITH PRODUCTS FROM one", "DISALLOW *"]), ("only the other's prefix", [], ["b=2"], ["MATCH * WITH PRODUCTS IN d FROM one", "DISALLOW *"]),
        ("empty prefix", [], ["a=1"], [["MATCH", "*", "IN", "", "WITH", "PRODUCTS", "FROM", "one"], "DISALLOW *"]),
        ("unknown keyword", [], ["x=1"], ["PERMIT *"]), ("too many words", [], ["x=1"], ["ALLOW * x"]), ("too few", [], ["x=1"], ["ALLOW"]),
        ("match without step", [], ["x=1"], ["MATCH * WITH PRODUCTS"]), ("match with things", [], ["x=1"], ["MATCH * WITH THINGS FROM one"]), ("no words", [], ["x=1"], [[]]),
        ("braces without parameters", [], ["{x}=1"], ["ALLOW {x}", "DISALLOW *"]), ("dot files", [], [".h/.i=1"], ["ALLOW *", "DISALLOW *"]),
    ]
    for title, materials, products, lines in tables:
        two(title, materials, products, lines)
    two("delete", ["x=1"], [], ["DELETE *", "DISALLOW *"], side="materials")
    two("delete of what stays", ["x=1"], ["x=1"], ["DELETE *", "DISALLOW *"], side="materials")
    both = {"a": {**arts("a=1")["a"], "sha512": "00"}}
    two("one hash more", [], link("two", {}, both), ["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"])
    upper = {"a": {"sha256": arts("a=1")["a"]["sha256"].upper()}}
    two("upper-case hash", [], link("two", {}, upper), ["MATCH * WITH PRODUCTS FROM one", "DISALLOW *"])
    two("two rules that are words", [], ["x=1"], [["ALLOW", 1]])
    two("a prefix with a backslash", [], ["d/a=1"], ["MATCH a IN d\\ WITH PRODUCTS IN d FROM one"], stricter="r1")
    for bad in ("./x", "d/../x", "d//x", "/x", "d\\x"):
        two(f"the name {bad}", [], [f"{bad}=1"], ["ALLOW *"], stricter="n1")
    # The dialect of patterns, at one name each.
    for pattern, text in [("[!x]", "y"), ("[^x]", "^"), ("[^x]", "y"), ("[]]", "]"), ("[!]]", "]"), ("[", "["), ("[a", "[a"), ("\\*", "b"), ("[a-c]", "b"),
                          ("[z-a]", "z"), ("[!z-a]", "q"), ("[a-c-e]", "-"), ("[a-c-e]", "d"), ("[xz-ay]", "y"), ("[-a]", "-"), ("[a-]", "-"), ("**", "d/x"), ("?", "é"),
                          ("[é-ü]", "ö"), ("a\nb", "a\nb"), ("*\n", "x\n"), ("A", "a"), ("[[]", "["), ("[&&a]", "&"), ("[a||b]", "|"), ("*.*", "a")]:
        two(f"pattern {pattern!r} at {text!r}", [], [f"{text}=1"], [["ALLOW", pattern], "DISALLOW *"])
    draw = random.Random(1)
    names = ["a", "b", "d/a", "d/b", "d/e/f", "x.c", "y.c", ".h", "[z]", "-", "d/.k", "e/c", "da", "A"]
    patterns = ["*", "a", "d/*", "*.c", "?", "[ab]", "[!a]", "[^a]", "d*", "**", "[a-c]", "[z]", "[[]z]", "[", "*[ab]", "d/?", "[]-z]", "\\*", "*a", "?*?", "[!-~]"]
    prefixes = ["d", "d/", "d/e", "e", "d//", "*", ".", "x"]
    some = lambda: [f"{n}={draw.randint(1, 2)}" for n in draw.sample(names, draw.randint(0, 6))]
    for i in range(130):
        lines = []
        for _ in range(draw.randint(1, 4)):
            kind = draw.choice(["CREATE", "DELETE", "MODIFY", "ALLOW", "DISALLOW", "REQUIRE", "MATCH", "MATCH", "MATCH"])
            if kind != "MATCH":
                lines.append([kind, draw.choice(names if kind == "REQUIRE" or draw.random() < 0.3 else patterns)])
                continue
            words = ["MATCH", draw.choice(patterns)] + (["IN", draw.choice(prefixes)] if draw.random() < 0.4 else [])
            words += ["WITH", draw.choice(["MATERIALS", "PRODUCTS"])] + (["IN", draw.choice(prefixes)] if draw.random() < 0.4 else [])
            lines.append(words + ["FROM", draw.choice(["one", "one", "one", "two", "no"])])
        if draw.random() < 0.6:
            lines.append(["DISALLOW", "*"])
        two(f"drawn {i}", some(), some(), lines, side=draw.choice(["materials", "products"]), first=link("one", arts(*some()), arts(*some())))


# ---- thresholds ----------------------------------------------------------------------------------------------------------

def thresholds():
    good = link("s", {}, arts("a=1"))
    case = lambda title, item, links, people=PEOPLE, **more: judge("thresholds", title, signed(layout([item], people), OWNER), links, **more)
    file = lambda value, *people: signed(value, *people)
    case("1 of 1", step("s", [A]), {name("s", A): file(good, A)})
    case("none", step("s", [A]), {})
    case("2 of 3", step("s", [A, B, C], threshold=2), {name("s", A): file(good, A), name("s", C): file(good, C)})
    case("1 where 2", step("s", [A, B, C], threshold=2), {name("s", A): file(good, A)})
    case("of the layout, not of the step", step("s", [A]), {name("s", B): file(good, B)})
    case("under the name of another", step("s", [A]), {name("s", A): file(good, B)})
    case("no keys", step("s", []), {name("s", A): file(good, A)})
    case("a key that the layout lacks", step("s", [A]), {name("s", A): file(good, A)}, people=[B])
    case("more than there are", step("s", [A], threshold=2), {name("s", A): file(good, A)})
    case("a bad one beside", step("s", [A, B]), {name("s", A): file(good, A), name("s", B): file(good, C)})
    case("a changed one beside", step("s", [A, B]), {name("s", A): file(good, A), name("s", B): {**file(good, B), "signed": link("s", {}, arts("a=9"))}})
    case("signed by both", step("s", [A, B], threshold=2), {name("s", A): file(good, A, B), name("s", B): file(good, A, B)})
    case("signed by both, one file", step("s", [A, B], threshold=2), {name("s", A): file(good, A, B)})
    case("a key twice in the step", step("s", [A, A], threshold=2), {name("s", A): file(good, A)})
    other = link("s", {}, arts("a=2"))
    case("two disagree", step("s", [A, B], threshold=2), {name("s", A): file(good, A), name("s", B): file(other, B)})
    case("two disagree on materials", step("s", [A, B], threshold=2), {name("s", A): file(good, A), name("s", B): file(link("s", arts("m=1"), arts("a=1")), B)})
    case("three, one disagrees", step("s", [A, B, C], threshold=2), {name("s", p): file(good if p != B else other, p) for p in (A, B, C)})
    case("two differ in what is no artifact", step("s", [A, B], threshold=2), {name("s", A): file(good, A), name("s", B): file({**good, "byproducts": {"x": 1}, "command": ["y"]}, B)})
    case("two disagree, one is enough", step("s", [A, B]), {name("s", A): file(good, A), name("s", B): file(other, B)}, stricter="t6")
    case("another step's link", step("s", [A]), {name("s", A): file(link("other", {}, arts("a=1")), A)}, stricter="t5")
    twin = A.renamed("0123456789abcdef" * 4)
    case("one key under two ids", step("s", [A, twin], threshold=2), {name("s", A): file(good, A), name("s", twin): file(good, twin)}, people=[A, twin], stricter="t3")
    case("junk beside", step("s", [A, B]), {name("s", A): file(good, A), name("s", B): b"{ junk"}, kinder="t7")
    case("junk alone", step("s", [A]), {name("s", A): b"{ junk"})
    case("an empty file beside", step("s", [A, B]), {name("s", A): file(good, A), name("s", B): b""}, kinder="t7")
    case("junk of a stranger", step("s", [A]), {name("s", A): file(good, A), name("s", D): b"", "README": b"x", "t.00000000.link": b""})
    for threshold in (0, -1, True, "1", None, [1], 2**40):
        more = {"stricter": "s3"} if threshold in (0, -1, True) else {}
        case(f"threshold {threshold!r}", {**step("s", [A]), "threshold": threshold}, {name("s", A): file(good, A)}, **more)
    draw = random.Random(2)
    for i in range(60):
        people = draw.sample(PEOPLE, draw.randint(1, 4))
        item = step("s", people, threshold=draw.randint(1, 3))
        links, kinds = {}, []
        for p in PEOPLE:
            kind = draw.choices(["good", "none", "other", "forged", "changed", "strange"], [6, 2, 1, 1, 1, 1])[0]
            kinds += [kind] if p in people else []
            value = {"other": other}.get(kind, good)
            envelope = file(value, draw.choice([q for q in PEOPLE if q != p]) if kind == "forged" else p)
            if kind == "changed":
                envelope["signed"] = link("s", {}, arts("a=7"))
            if kind == "strange":
                envelope["signatures"].append({"keyid": "ff" * 32, "sig": "00"})
            if kind != "none":
                links[name("s", p)] = envelope
        agree = kinds.count("other") == 0 or not set(kinds) & {"good", "strange"}
        case(f"drawn {i}", item, links, perhaps=() if agree or item["threshold"] > 1 else [("stricter", "t6")])


# ---- sublayouts ------------------------------------------------------------------------------------------------------------

def sublayouts():
    inner_link = link("compile", arts("a.c=1"), arts("a.c=1", "app=2"))
    inner_step = step("compile", [C], ["ALLOW a.c", "DISALLOW *"], ["CREATE app", "ALLOW a.c", "DISALLOW *"])
    outer_steps = [step("tag", [A], [], ["CREATE *", "DISALLOW *"]),
                   step("build", [B], ["MATCH * WITH PRODUCTS FROM tag", "DISALLOW *"], ["CREATE app", "ALLOW *.c", "DISALLOW *"])]
    folder = f"build.{B.id[:8]}"

    def case(title, sub=None, inner=None, by=(B,), form="classic", steps=outer_steps, path=None, extra=None, parameters=None, **more):
        sub = sub or layout([inner_step])
        links = {name("tag", A): signed(link("tag", {}, arts("a.c=1")), A), name("build", B): signed(sub, *by, form=form)}
        if inner is not False:
            links[path or f"{folder}/{name('compile', C)}"] = signed(inner or inner_link, C, form=form)
        judge("sublayouts", title, signed(layout(steps), OWNER), {**links, **(extra or {})}, parameters=parameters, **more)

    case("good")
    case("good, DSSE", form="dsse")
    case("of another", by=(C,))
    case("of the owner", by=(OWNER,))
    case("of both", by=(B, C))
    case("unsigned", by=())
    case("expired", sub=layout([inner_step], expires=PAST))
    case("no link", inner=False)
    case("link in the folder above", path=name("compile", C))
    case("link in a folder of another key", path=f"build.{C.id[:8]}/{name('compile', C)}")
    case("its rule is broken", inner=link("compile", arts("a.c=1"), arts("a.c=1", "app=2", "evil=3")))
    case("its material rule is broken", inner=link("compile", arts("a.c=1", "b=1"), arts("a.c=1", "app=2")))
    case("the outer rule is broken", sub=layout([step("compile", [C])]), inner=link("compile", arts("a.c=1"), arts("a.c=1", "app=2", "evil=3")))
    case("the outer material rule is broken", sub=layout([step("compile", [C])]), inner=link("compile", arts("a.c=9"), arts("a.c=9", "app=2")))
    case("its threshold is not met", sub=layout([step("compile", [C, D], threshold=2)]))
    case("its link by a stranger", sub=layout([step("compile", [D])]))
    case("its keys alone count", sub=layout([inner_step], people=[A]))
    case("no steps", sub=layout([]), stricter="s6")
    case("malformed", sub={**layout([inner_step]), "expires": "soon"})
    two_steps = layout([step("get", [D], [], []), step("compile", [C], ["MATCH * WITH PRODUCTS FROM get", "DISALLOW *"], [])])
    get = {f"{folder}/{name('get', D)}": signed(link("get", arts("a.c=1"), arts("a.c=1")), D)}
    case("two steps", sub=two_steps, extra=get)
    case("two steps, one broken", sub=two_steps, extra={f"{folder}/{name('get', D)}": signed(link("get", arts("a.c=1"), arts("a.c=2")), D)})
    case("two steps, one missing", sub=two_steps)
    case("parameters are not passed down", sub=layout([step("compile", [C], [], ["ALLOW {x}"])]), parameters={"x": "y"})
    case("parameters above", steps=[outer_steps[0], step("build", [B], [], ["ALLOW {x}", "ALLOW *.c", "DISALLOW *"])], parameters={"x": "app"})
    threshold = [outer_steps[0], {**outer_steps[1], "threshold": 2, "pubkeys": [B.id, D.id]}]
    case("with a link, agreed", steps=threshold, extra={name("build", D): signed(link("build", arts("a.c=1"), arts("a.c=1", "app=2")), D)})
    case("with a link, not agreed", steps=threshold, extra={name("build", D): signed(link("build", arts("a.c=1"), arts("a.c=1", "app=3")), D)})
    for code, title in ((0, "inspection"), (1, "failing inspection")):
        case(title, sub=layout([inner_step], inspect=[inspection("look", ["sh", "-c", f"exit {code}"])]))
    match_inner = [outer_steps[0], step("build", [B], [], ["MATCH * WITH PRODUCTS FROM compile", "DISALLOW *"])]
    case("the outer rules do not see inner steps", steps=match_inner)

    def nested(depth, bad=None):
        """`s` is done by a layout of A whose `s` is done by …; `bad` is the level at which something is wrong."""
        links, path = {}, ""
        for level in range(depth):
            below = layout([step("s", [A])], expires=PAST if bad == level else LATER)
            links[f"{path}{name('s', A)}"] = signed(below, A)
            path += f"s.{A.id[:8]}/"
        links[f"{path}{name('s', A)}"] = signed(link("s", {}, arts("x=1")), B if bad == depth else A)
        return signed(layout([step("s", [A], [], ["ALLOW x", "DISALLOW *"])]), OWNER), links

    for depth in range(1, 9):
        judge("sublayouts", f"nested {depth} deep", *nested(depth))
        if depth <= 4:
            judge("sublayouts", f"nested {depth} deep, expired inside", *nested(depth, depth - 1))
            judge("sublayouts", f"nested {depth} deep, forged at the end", *nested(depth, depth))
    judge("sublayouts", "nested 9 deep", *nested(9), stricter="u7")
    draw = random.Random(3)
    for i in range(30):
        inner = link("compile", arts("a.c=1"), arts(*draw.sample(["a.c=1", "app=2", "evil=3", "a.c=2"], draw.randint(0, 3))))
        lines = draw.choice([[], ["CREATE app", "DISALLOW e*"], ["ALLOW a.c", "DISALLOW *"], ["REQUIRE app"]])
        case(f"drawn {i}", sub=layout([step("compile", draw.choice([[C], [C], [C, D], [D]]), [], lines)]), inner=inner, by=draw.choice([(B,), (B,), (B, A), (A,)]),
             form=draw.choice(["classic", "dsse"]))


# ---- encodings -------------------------------------------------------------------------------------------------------------

def encodings():
    G = "encodings"
    good = link("s", {}, arts("a=1"))
    item = step("s", [A], [], ["ALLOW *"])
    for root in ("classic", "dsse"):
        for leaf in ("classic", "dsse"):
            judge(G, f"{root} layout, {leaf} link", signed(layout([item]), OWNER, form=root), {name("s", A): signed(good, A, form=leaf)})
            judge(G, f"{root} layout, {leaf} link, another message", signed(layout([item]), OWNER, form=root), {name("s", A): signed(good, A, form=leaf, message=b"x")})
            judge(G, f"{root} layout over another message, {leaf} link", signed(layout([item]), OWNER, form=root, message=b"x"), {name("s", A): signed(good, A, form=leaf)})
    texts = ["\n", "\t\r", "\u0001\u001f\u007f", "é", "e\u0301", "\u2028\u2029", "\uffff", "😀", "\"\\", "\\n", "/", "</script>", "\u0000", "\ufeff", " "]
    for text in texts:
        for form in ("classic", "dsse"):
            one_step(item, signed({**good, "byproducts": {"stdout": text, text: 1}, "command": [text]}, A, form=form), G, f"text {text!r}, {form}")
    for text in ["e\u0301", "é", "😀", "\uffff", "a b", "\u0001", "a\nb", "\"", "{", "%20", "~", "*"]:
        one_step(item, signed(link("s", {}, arts(f"{text}=1", "z=2")), A), G, f"name {text!r}")
    one_step(item, signed(link("s", {}, arts("\uffff=1", "😀=2", "\ue000=3")), A), G, "order of names past the basic plane")
    for value in (0, -1, 2**53, 2**63 - 1, True, None, [], {}, [[{"a": [None]}]]):
        one_step(item, signed({**good, "byproducts": {"x": value}}, A), G, f"value {value!r}")
    one_step(item, signed({**good, "byproducts": {"x": 2**63}}, A), G, "a number past 64 bits", stricter="e11")
    one_step(item, signed({**good, "byproducts": {"x": 0.5}}, A, form="dsse"), G, "a fraction, DSSE")
    classic, dsse = signed(good, A), signed(good, A, form="dsse")
    one_step(item, json.dumps(classic, indent=4).encode() + b"\n", G, "indented")
    one_step(item, json.dumps(classic, ensure_ascii=False, sort_keys=True).encode(), G, "sorted")
    one_step(item, b"\xef\xbb\xbf" + data(classic), G, "byte order mark")
    one_step(item, data(classic) + b"x", G, "something behind")
    one_step(item, data(classic)[:-1], G, "cut off")
    one_step(item, data(classic).replace(b'"name"', b'"n\\u0061me"'), G, "an escaped letter")
    one_step(item, data(classic).replace(b'"name": "s"', b'"name": "x", "name": "s"'), G, "a name twice", stricter="e4")
    one_step(item, data(dsse).replace(b'"payloadType"', b'"x": 1, "x": 2, "payloadType"'), G, "a name twice outside", stricter="e4")
    one_step(item, {**classic, "more": 1}, G, "a member more outside")
    one_step(item, {**dsse, "more": 1}, G, "a member more outside, DSSE")
    one_step(item, {**classic, "signed": {**good, "more": 1}}, G, "a member added after signing", stricter="e2")
    one_step(item, signed({**good, "more": 1}, A), G, "a member signed", kinder="e2")
    one_step(item, signed({**good, "more": 1}, A, form="dsse"), G, "a member signed, DSSE")
    stranger = {"keyid": "ff" * 32, "sig": "00"}
    one_step(item, {**classic, "signatures": [stranger] + classic["signatures"]}, G, "a stranger first")
    one_step(item, {**classic, "signatures": classic["signatures"] + [stranger]}, G, "a stranger last")
    one_step(item, {**dsse, "signatures": dsse["signatures"] + [{"keyid": "ff", "sig": "AA=="}]}, G, "a stranger last, DSSE")
    bad = {**classic["signatures"][0], "sig": "00" * 64}
    one_step(item, {**classic, "signatures": [bad] + classic["signatures"]}, G, "bad, then good, under one id")
    one_step(item, {**classic, "signatures": classic["signatures"] + [bad]}, G, "good, then bad, under one id", stricter="e3")
    one_step(item, {**dsse, "signatures": dsse["signatures"] * 2}, G, "twice, DSSE")
    one_step(item, {**classic, "signatures": []}, G, "no signatures")
    one_step(item, {"signed": good}, G, "no list of signatures")
    upper = [{**classic["signatures"][0], "sig": classic["signatures"][0]["sig"].upper()}]
    one_step(item, {**classic, "signatures": upper}, G, "upper-case signature")
    for sig in ("", "0", "zz", "00"):
        one_step(item, {**classic, "signatures": [{**classic["signatures"][0], "sig": sig}]}, G, f"signature {sig!r}")
    without = {k: v for k, v in dsse["signatures"][0].items() if k != "keyid"}
    one_step(item, {**dsse, "signatures": [without]}, G, "no key id, DSSE", kinder="e5")
    one_step(item, {**dsse, "signatures": [{**without, "keyid": ""}]}, G, "empty key id, DSSE", kinder="k4")
    one_step(item, {**dsse, "signatures": [{**without, "keyid": B.id}]}, G, "another's key id, DSSE", kinder="k4")
    one_step(item, {**classic, "signatures": [{**classic["signatures"][0], "keyid": B.id}]}, G, "another's key id", kinder="k4")
    for kind in ("application/vnd.in-toto.link+json", "application/json", "text/plain", ""):
        payload = json.dumps(good).encode()
        envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": kind,
                    "signatures": [{"keyid": A.id, "sig": base64.b64encode(A.sign(pae(kind, payload))).decode()}]}
        one_step(item, envelope, G, f"payload type {kind!r}")
    url = lambda text: text.replace("+", "-").replace("/", "_").rstrip("=")
    one_step(item, {**dsse, "payload": url(dsse["payload"]), "signatures": [{**dsse["signatures"][0], "sig": url(dsse["signatures"][0]["sig"])}]}, G, "URL alphabet, no padding", kinder="e5")
    one_step(item, {**dsse, "payload": dsse["payload"].replace("+", "-").replace("/", "_")}, G, "URL alphabet")
    one_step(item, {**classic, "payload": "e30="}, G, "two forms at once")
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://in-toto.io/attestation/link/v0.3",
                 "subject": [{"name": "a", "digest": arts("a=1")["a"]}], "predicate": {"name": "s", "command": [], "materials": []}}
    one_step(item, signed(statement, A, form="dsse"), G, "link attestation", kinder="t9")
    one_step(item, signed({**statement, "predicateType": "https://slsa.dev/provenance/v1"}, A, form="dsse"), G, "another attestation")
    for kind in ("step", "Link", None, 1):
        one_step(item, signed({**good, "_type": kind}, A, form="dsse"), G, f"_type {kind!r}")
    judge(G, "a link as layout", signed(good, OWNER), {name("s", A): classic})
    for field in ("materials", "products"):
        one_step(item, signed({k: v for k, v in good.items() if k != field}, A, form="dsse"), G, f"no {field}, DSSE", stricter="s11")
    for field in ("command", "byproducts", "environment"):
        one_step(item, signed({k: v for k, v in good.items() if k != field}, A, form="dsse"), G, f"no {field}, DSSE")
    one_step(item, signed(link("s", {}, {"a": {}}), A), G, "an artifact without hash", stricter="s11")
    for value in ({"a": {"sha256": "xyz"}}, {"a": {"sha256": ""}}, {"a": "00"}, [], {"a": {"sha256": 0}}):
        one_step(item, signed({**good, "products": value}, A), G, f"products {value!r}")


# ---- kinds of keys -----------------------------------------------------------------------------------------------------------

def keys():
    G, S256, S384, S512 = "keys", hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
    rsa2048 = rsa.generate_private_key(65537, 2048)
    makers = [A, curve(ec.SECP256R1(), S256, "ecdsa-sha2-nistp256"), curve(ec.SECP384R1(), S384, "ecdsa-sha2-nistp384"),
              curve(ec.SECP521R1(), S512, "ecdsa-sha2-nistp521"), pss(rsa2048, S256, "rsassa-pss-sha256"), pss(rsa2048, S384, "rsassa-pss-sha384"),
              pss(rsa2048, S512, "rsassa-pss-sha512"), pkcs1(rsa2048, S256, "rsa-pkcs1v15-sha256"), pkcs1(rsa2048, S384, "rsa-pkcs1v15-sha384"),
              pkcs1(rsa2048, S512, "rsa-pkcs1v15-sha512"), pss(rsa.generate_private_key(65537, 3072), S256, "rsassa-pss-sha256")]
    good = link("s", {}, arts("a=1"))
    for p in makers:
        kind = f"{p.key['scheme']} {getattr(p.private, 'key_size', '')}".strip()
        for form in ("classic", "dsse"):
            one_step(step("s", [p]), signed(good, p, form=form), G, f"{kind}, {form}", people=(p,))
            broken = signed(good, p, form=form, message=b"another")
            one_step(step("s", [p]), broken, G, f"{kind}, {form}, another message", people=(p,))
        usual = p.key["scheme"] in ("ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsassa-pss-sha256")
        if usual:
            for form in ("classic", "dsse"):
                judge(G, f"{kind} owner, {form}", signed(layout([step("s", [A])]), p, form=form), {name("s", A): signed(good, A)}, owners=[p])
                judge(G, f"{kind} owner and another, {form}", signed(layout([step("s", [A])]), p, form=form), {name("s", A): signed(good, A)}, owners=[p, OWNER])
            judge(G, f"{kind} and another owner, both", signed(layout([step("s", [A])]), OWNER, p), {name("s", A): signed(good, A)}, owners=[p, OWNER])
        # Signed with another key of the same kind, or by another scheme.
        other = {"keyid": p.id, "sig": B.sign(encode_canonical(good).encode()).hex()}
        one_step(step("s", [p]), {"signed": good, "signatures": [other]}, G, f"{kind}, a signature of another kind", people=(p,))
    p256, p384 = makers[1], makers[2]
    legacy = p256.renamed("11" * 32, keytype="ecdsa-sha2-nistp256")
    one_step(step("s", [legacy]), signed(good, legacy), G, "the old key type", people=(legacy,))
    for title, fields in [("scheme of another curve", {"scheme": "ecdsa-sha2-nistp384"}), ("ecdsa's type on rsa's scheme", {"scheme": "rsassa-pss-sha256"})]:
        wrong = p256.renamed("22" * 32, **fields)
        one_step(step("s", [wrong]), signed(good, wrong), G, title, people=(wrong,))
    for salt in (0, 20, 32, 48, 64, 222):
        one_step(step("s", [p := pss(rsa2048, S256, "rsassa-pss-sha256", salt)]), signed(good, p), G, f"salt of {salt}", people=(p,))
    weak = pss(rsa.generate_private_key(65537, 1024), S256, "rsassa-pss-sha256")
    one_step(step("s", [weak]), signed(good, weak), G, "RSA of 1024 bits", people=(weak,), stricter="k2")
    # Ids of other formulas: of Go and older Python, of a stripped PEM, of the DER.
    strip = lambda key: {**key, "keyval": {"public": key["keyval"]["public"].strip()}}
    digest = lambda key: hashlib.sha256(encode_canonical({k: v for k, v in key.items() if k != "keyid"}).encode()).hexdigest()
    both = {"keyid_hash_algorithms": ["sha256", "sha512"]}
    der = lambda p: hashlib.sha256(p.private.public_key().public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    for p in (A, p256, p384, makers[4]):
        ids = {"Go's": digest({**strip(p.key), **both}), "older Python's": digest({**p.key, **both}), "of a stripped PEM": digest(strip(p.key)), "of the DER": der(p)}
        for title, keyid in ids.items():
            alias = p.renamed(keyid)
            links = {name("s", A): signed(good, A)}
            kind = p.key["scheme"]
            if keyid != p.id:
                judge(G, f"{kind}, id {title}, owner", signed(layout([step("s", [A])]), alias), links, owners=[p], kinder="k4")
                judge(G, f"{kind}, id {title}, link", signed(layout([step("s", [p])], [p]), OWNER), {name("s", alias): signed(good, alias)}, kinder="t4")
            one_step(step("s", [alias]), signed(good, alias), G, f"{kind}, id {title}, layout and link", people=(alias,))
    odd = ed(9).renamed("33" * 32, keytype="ml-dsa", scheme="ml-dsa-1")
    judge(G, "a key of an unknown kind beside", signed(layout([step("s", [A])], [A, odd]), OWNER), {name("s", A): signed(good, A)}, kinder="k3")
    judge(G, "a key of an unknown kind alone", signed(layout([step("s", [odd])], [odd]), OWNER), {name("s", odd): signed(good, odd)})
    for title, value in [("not hex", "zz"), ("too short", "00"), ("not there", None)]:
        bad = A.renamed("44" * 32, keyval={"public": value} if value else {})
        judge(G, f"a malformed key, {title}, alone", signed(layout([step("s", [bad])], [bad]), OWNER), {name("s", bad): signed(good, bad)})
    for keyid in ("xyz", "", "../../.."):
        bad = A.renamed(keyid)
        judge(G, f"the key id {keyid!r}", signed(layout([step("s", [bad])], [bad]), OWNER), {name("s", A): signed(good, bad)})
    short = A.renamed("abcdef")
    judge(G, "a key id of six digits", signed(layout([step("s", [short])], [short]), OWNER), {"s.abcdef.link": signed(good, short)}, stricter="s9")


# ---- the layout itself -----------------------------------------------------------------------------------------------------

def layouts():
    G, good = "layouts", link("s", {}, arts("a=1"))
    links = {name("s", A): signed(good, A)}
    item = step("s", [A])

    def case(title, value=None, form="classic", files=links, by=(OWNER,), owners=(OWNER,), **more):
        judge(G, title, signed(value or layout([item]), *by, form=form), files, owners=owners, **more)

    case("good")
    case("two owners", by=(OWNER, B), owners=[OWNER, B])
    case("two owners, one missing", owners=[OWNER, B])
    case("another owner", owners=[B])
    case("expired", layout([item], expires=PAST))
    for expires in ("2099-01-01", "2099-01-01T00:00:00", "2099-01-01T00:00:00+00:00", "2099-01-01T00:00:00.5Z", "2099-02-30T00:00:00Z", "2099-13-01T00:00:00Z", "", "soon", 4070908800, None):
        case(f"expires {expires!r}", layout([item], expires=expires))
    for field in ("expires", "keys", "readme"):
        value = layout([item])
        del value[field]
        more = {"stricter": "s2"} if field == "expires" else {}
        case(f"no {field}, DSSE", value, form="dsse", **more)
    for field in ("threshold", "expected_materials", "expected_products", "pubkeys", "expected_command"):
        value = copy.deepcopy(layout([item]))
        del value["steps"][0][field]
        more = {"stricter": "s2"} if field in ("threshold", "expected_materials", "expected_products") else {}
        case(f"no {field} in the step, DSSE", value, form="dsse", **more)
    case("no steps", layout([]), stricter="s6")
    for field, value in [("expectedAttributes", []), ("rootcas", {"a": {}}), ("x", 1)]:
        case(f"the field {field}, DSSE", layout([item], **{field: value}), form="dsse", perhaps=[("stricter", "s5")])
    case("a field in the step, DSSE", layout([{**item, "expectedPredicates": []}]), form="dsse", perhaps=[("stricter", "s5")])
    added = signed(layout([item]), OWNER)
    added["signed"] = {**added["signed"], "x": 1}
    judge(G, "a field added after signing", added, links, stricter="e2")
    judge(G, "empty certificate fields of Go", signed({**layout([{**item, "cert_constraints": []}]), "rootcas": {}, "intermediatecas": None}, OWNER), links, kinder="s5")
    case("two steps of one name", layout([item, item]))
    case("a step and an inspection of one name", layout([item], inspect=[inspection("s", ["true"])]))
    case("two names that differ in case", layout([item, step("S", [A])]), files={**links, name("S", A): signed(link("S"), A)}, stricter="s7")
    for bad in ("../x", "a b", "é", ".s"):
        # `../x` leads out of the folder of links; the reference follows it.
        files = {name("x", A) if bad == "../x" else name(bad, A): signed(link(bad), A)}
        if bad == "../x":
            files = {f"../{name('x', A)}": signed(link(bad), A)}
        case(f"a step {bad!r}", layout([step(bad, [A])]), files=files, stricter="s8")
    case("an inspection that leads out", layout([item], inspect=[inspection("../x", ["true"])]), stricter="s8")
    case("inspection", layout([item], inspect=[inspection("i", ["true"], ["DISALLOW *"], ["DISALLOW *"])]))
    case("inspection that fails", layout([item], inspect=[inspection("i", ["false"])]))
    case("inspection that is not there", layout([item], inspect=[inspection("i", ["/nowhere/program"])]))
    case("inspection that makes a file", layout([item], inspect=[inspection("i", ["sh", "-c", "printf 1 > a"], [], ["MATCH a WITH PRODUCTS FROM s", "DISALLOW *"])]))
    case("inspection that makes another file", layout([item], inspect=[inspection("i", ["sh", "-c", "printf 2 > a"], [], ["MATCH a WITH PRODUCTS FROM s", "DISALLOW *"])]))
    case("inspection without program", layout([item], inspect=[inspection("i", [])]))
    case("inspections see each other", layout([item], inspect=[inspection("i", ["sh", "-c", "printf 1 > b"]), inspection("j", ["true"], ["MATCH b WITH PRODUCTS FROM i", "DISALLOW *"])]))
    case("a step does not see inspections", layout([step("s", [A], [], ["MATCH a WITH PRODUCTS FROM i", "DISALLOW *"])], inspect=[inspection("i", ["sh", "-c", "printf 1 > a"])]))
    case("a command that differs", layout([{**item, "expected_command": ["make"]}]))
    rule = lambda text: layout([step("s", [A], [], [text, "DISALLOW *"])])
    case("parameter", rule("ALLOW {x}"), parameters={"x": "a"})
    case("parameter that is a pattern", rule("ALLOW {x}"), parameters={"x": "*"})
    case("parameter with another value", rule("ALLOW {x}"), parameters={"x": "b"})
    case("parameter that is missing", rule("ALLOW {x}"), parameters={"y": "b"})
    case("parameter in a parameter", rule("ALLOW {x}"), parameters={"x": "{y}", "y": "a"})
    case("parameter with parts", rule("ALLOW {x}"), files={name("s", A): signed(link("s", {}, arts("1.2/a=1")), A)}, parameters={"x": "1.2/a"})
    case("parameter in a command", layout([{**item, "expected_command": ["{x}"]}]), parameters={"x": "a"})
    case("parameter in run", layout([item], inspect=[inspection("i", ["sh", "-c", "exit {x}"])]), parameters={"x": "0"})
    case("an attribute of a parameter", rule("ALLOW {x.__class__}"), files={name("s", A): signed(link("s", {}, arts("<class 'str'>=1")), A)}, parameters={"x": "a"}, stricter="v7")
    case("an empty parameter", rule("ALLOW a{x}"), parameters={"x": ""}, stricter="v7")
    case("doubled braces", rule("ALLOW {{a}}"), files={name("s", A): signed(link("s", {}, arts("{a}=1")), A)}, parameters={"x": "a"}, stricter="v7")
    case("a brace", layout([step("s", [A], [], ["ALLOW *{"])]), parameters={"x": "a"}, kinder="v7")


def main():
    start = time.time()
    for group in (rules, thresholds, sublayouts, encodings, keys, layouts):
        group()
    total = sum(n for group, n in COUNT.items() if group != "refused")
    counts = ", ".join(f"{group} {n}" for group, n in COUNT.items() if group != "refused")
    print(f"in-toto: {total} cases ({counts}), {COUNT['refused']} refused by the reference, {sum(REASONS.values())} differ as documented, {time.time() - start:.0f} s")
    for (direction, row), n in sorted(REASONS.items()):
        print(f"  {direction} {row}: {n}")
    for line in WRONG:
        print(f"WRONG {line}")
    few = [] if ONLY else [g for g in ("rules", "thresholds", "sublayouts", "encodings", "keys") if COUNT[g] < 40]
    if few or (not ONLY and (total < 300 or COUNT["refused"] * 3 < total)):
        print(f"too few: {total} cases, {few}")
        return 1
    return 1 if WRONG else 0


if __name__ == "__main__":
    sys.exit(main())
