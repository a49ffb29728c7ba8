#!/usr/bin/env python3
"""Links and layouts of bulla, judged by PyPI's in-toto, and the other way round.

usage: intoto-peers.py BULLA FOLDER [tree]      (under a Python with in-toto 3.1.0, as scripts/interop.py prepares it)

For each kind of key and each form: a chain of three steps is made by one of the two and verified by the other, whole, with a link that was
changed, and with one missing. Then the files that both record of one tree are compared, name by name (`tree`: only that). The last line counts.
"""
import itertools, json, os, pathlib, subprocess, sys

BULLA, FOLDER = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
BIN = pathlib.Path(sys.executable).parent
KEYS = {"ed25519": ["-algorithm", "ed25519"], "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]}
passed = 0


def call(*args, exits=0, cwd=None):
    global passed
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, cwd=cwd, env={**os.environ, "BULLA_HOME": str(FOLDER / "home")})
    if done.returncode != exits:
        sys.exit(f"{' '.join(map(str, args))}\nexit {done.returncode} instead of {exits}\n{done.stdout}{done.stderr}")
    passed += 1
    return done.stdout


def bulla(*args, **kw):
    return call(BULLA, *args, **kw)


def reference(program, *args, **kw):
    return call(BIN / program, *args, **kw)


def make_key(path, kind):
    subprocess.run(["openssl", "genpkey", *KEYS[kind], "-out", path], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-out", path.with_suffix(".pub")], check=True, capture_output=True)
    path.chmod(0o600)


DESCRIPTION = """
expires = "30d"
[keys]
owner = "owner.pub"
builder = "builder.pub"
[[step]]
name = "review"
by = ["owner"]
products = ["REQUIRE src/a.c", "CREATE src/*", "DISALLOW *"]
[[step]]
name = "build"
by = ["builder"]
command = ["cp", "src/a.c", "out/a"]
materials = ["MATCH * IN src WITH PRODUCTS IN src FROM review", "DISALLOW *"]
products = ["CREATE out/*", "DISALLOW *"]
[[step]]
name = "sign"
by = ["builder", "owner"]
threshold = 2
materials = ["MATCH out/* WITH PRODUCTS FROM build", "DISALLOW *"]
products = ["MATCH out/* WITH MATERIALS FROM sign", "DISALLOW *"]
"""


def layout_of_reference(work, dsse):
    """The same layout out of the reference's library."""
    from in_toto.models.layout import Layout, Step
    from in_toto.models.metadata import Envelope, Metablock
    from in_toto.models._signer import load_crypto_signer_from_pkcs8_file, load_public_key_from_file
    import tomllib
    said = tomllib.loads(DESCRIPTION)
    keys = {name: load_public_key_from_file(str(work / file)) for name, file in said["keys"].items()}
    words = lambda rules: [rule.split() for rule in rules]
    layout = Layout(readme="")
    for key in keys.values():
        layout.add_functionary_key(key)
    for step in said["step"]:
        layout.steps.append(Step(name=step["name"], threshold=step.get("threshold", 1), pubkeys=[keys[by]["keyid"] for by in step["by"]],
                                 expected_command=step.get("command", []), expected_materials=words(step.get("materials", [])),
                                 expected_products=words(step.get("products", []))))
    whole = Envelope.from_signable(layout) if dsse else Metablock(signed=layout)
    whole.create_signature(load_crypto_signer_from_pkcs8_file(str(work / "owner.pem")))
    whole.dump(str(work / "release.layout"))


def steps_of_bulla(work, form):
    run = lambda step, key, *args: bulla("in-toto", "run", "--step", step, "--key", f"./{key}.pem", "--format", form, *args, cwd=work)
    run("review", "owner", "--products", "src", "--no-command")
    run("build", "builder", "--materials", "src", "--products", "out", "--record-streams", "--", "cp", "src/a.c", "out/a")
    run("sign", "owner", "--materials", "out", "--products", "out", "--", "true")
    bulla("in-toto", "record", "start", "--step", "sign", "--key", "./builder.pem", "--materials", "out", "--format", form, cwd=work)
    bulla("in-toto", "record", "stop", "--step", "sign", "--key", "./builder.pem", "--products", "out", cwd=work)


def steps_of_reference(work, form):
    dsse = ["--use-dsse"] if form == "dsse" else []
    run = lambda step, key, *args: reference("in-toto-run", "-n", step, "--signing-key", f"{key}.pem", *dsse, *args, cwd=work)
    run("review", "owner", "-p", "src", "-x")
    run("build", "builder", "-m", "src", "-p", "out", "-s", "--", "cp", "src/a.c", "out/a")
    run("sign", "owner", "-m", "out", "-p", "out", "--", "true")
    reference("in-toto-record", "start", "-n", "sign", "--signing-key", "builder.pem", "-m", "out", *dsse, cwd=work)
    reference("in-toto-record", "stop", "-n", "sign", "--signing-key", "builder.pem", "-p", "out", *dsse, cwd=work)


def by_reference(work, exits):
    reference("in-toto-verify", "--layout", "release.layout", "--verification-keys", "owner.pub", "--link-dir", ".", cwd=work, exits=exits)


def by_bulla(work, exits):
    bulla("in-toto", "verify", "--layout", "release.layout", "--key", "./owner.pub", "--links", ".", cwd=work, exits=exits)


def chain(kind, form, maker):
    work = FOLDER / f"{maker}-{kind}-{form}"
    (work / "src").mkdir(parents=True)
    (work / "out").mkdir()
    (work / "src/a.c").write_text("int main() { return 0; }\n")
    make_key(work / "owner.pem", kind)
    make_key(work / "builder.pem", kind)
    if maker == "bulla":
        (work / "release.toml").write_text(DESCRIPTION)
        bulla("in-toto", "layout", "new", "release.toml", "--output", "release.layout", "--key", "./owner.pem", "--format", form, cwd=work)
        steps_of_bulla(work, form)
        judges = [by_reference] + ([by_bulla] if VERIFIES else [])
    else:
        layout_of_reference(work, form == "dsse")
        steps_of_reference(work, form)
        judges = [by_reference] + ([by_bulla] if VERIFIES else [])
    for judge in judges:
        judge(work, 0)
    link = next(work.glob("build.*.link"))
    good = link.read_text()
    doc = json.loads(good)
    if form == "classic":
        doc["signed"]["products"]["out/b"] = {"sha256": "00" * 32}
    else:
        doc["payload"] = doc["payload"][:40] + ("A" if doc["payload"][40] != "A" else "B") + doc["payload"][41:]
    link.write_text(json.dumps(doc))
    for judge in judges:
        judge(work, 1)
    link.unlink()
    for judge in judges:
        judge(work, 1)
    link.write_text(good)
    for judge in judges:
        judge(work, 0)


PATTERNS = [[], ["*.o"], ["src"], ["/src"], ["src/"], ["src/*.c"], ["**/deep"], ["src/**"], ["*", "!*.c"], ["a.?"], ["[ab].c"], ["[!a].c"],
            ["deep/x"], ["src/deep/x"], ["*~"], ["\\*.c"], ["lib*"], ["*/deep"], [".*"], ["src/**/x", "!src/deep/x"]]


DOT = {"*", ".*"}


def recorded_alike():
    from in_toto.runlib import record_artifacts_as_dict
    tree = FOLDER / "tree"
    for name in ["src/a.c", "src/b.c", "src/deep/x", "src/deep/src/a.c", "top.o", "src/old.c~", ".git/config", "a.c", "lib x/é.c", "b.link", ".hid"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "to-file").symlink_to("src/a.c")
    (tree / "to-folder").symlink_to("src/deep")
    (tree / "to-nothing").symlink_to("nowhere")
    make_key(FOLDER / "tree.pem", "ed25519")
    compared = 0
    for patterns, paths, strip in itertools.product(PATTERNS, [["."], ["src", "a.c"], ["./src//deep", "to-folder"]], [None, "src/"]):
        flags = [*(["--exclude", *patterns] if patterns else []), *(["--lstrip-paths", strip] if strip else [])]
        line = ["in-toto", "run", "--step", "x", "--key", FOLDER / "tree.pem", "--base-path", tree, "--metadata-directory", FOLDER, "--no-command"]
        done = subprocess.run([str(a) for a in [BULLA, *line, "--materials", *paths, *flags]], capture_output=True, text=True,
                              env={**os.environ, "BULLA_HOME": str(FOLDER / "home")})
        try:
            theirs = record_artifacts_as_dict(paths, exclude_patterns=patterns or None, base_path=str(tree), follow_symlink_dirs=True,
                                              lstrip_paths=[strip] if strip else None)
        except Exception as e:
            assert done.returncode == 3, f"{patterns} {paths} {strip}: the reference says {e}, bulla {done.stdout}"
            continue
        finally:
            os.chdir(FOLDER)
        if paths == ["."] and DOT.intersection(patterns):
            # docs/commands/in-toto.md: the reference takes such a pattern for the folder itself, and records nothing.
            assert theirs == {}, f"{patterns}: the reference records {sorted(theirs)}"
            continue
        assert done.returncode == 0, f"{patterns} {paths} {strip}: {done.stderr}"
        ours = json.loads(next(FOLDER.glob("x.*.link")).read_text())["signed"]["materials"]
        assert ours == theirs, f"{patterns} {paths} {strip}: only one of them has {sorted(set(ours) ^ set(theirs))}"
        compared += 1
    return compared


FOLDER.mkdir(parents=True, exist_ok=True)
VERIFIES = subprocess.run([BULLA, "in-toto", "verify", "--help"], capture_output=True).returncode == 0
if not VERIFIES:
    print("bulla in-toto verify is not there: only the reference judges")
for kind, form, maker in [] if sys.argv[3:] == ["tree"] else itertools.product(KEYS, ["classic", "dsse"], ["bulla", "reference"]):
    chain(kind, form, maker)
    print(f"ok  {maker}, {kind}, {form}")
compared = recorded_alike()
print(f"{passed} calls of both, and {compared} recorded trees compared, name by name")
