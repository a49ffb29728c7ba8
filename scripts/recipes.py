#!/usr/bin/env python3
"""The blocks of docs/recipes.md that are marked `<!-- run: NAME -->`, run as they stand there: once with a bundle that is trusted, once
with one that is not. Loopback only.

usage: scripts/recipes.py [--bulla target/debug/bulla]

Needs Debian's docker-registry, skopeo and jq.
"""
import argparse, json, os, pathlib, re, shutil, subprocess, sys, tempfile

from interop import HERE, NAME, Case, call, docker_registry, get_manifest

PAGE = HERE.parent / "docs/recipes.md"
BLOCK = re.compile(r"<!-- run: ([a-z]+) -->\n```sh\n(.*?)```\n", re.S)


def shims(work, program):
    """`bulla`, and a `skopeo` that talks plain HTTP to the registries of this run."""
    folder = work / "bin"
    folder.mkdir()
    (folder / "bulla").symlink_to(program)
    skopeo = folder / "skopeo"
    skopeo.write_text(f'#!/bin/sh\nexec {shutil.which("skopeo")} --insecure-policy "$1" --src-tls-verify=false "$2" "$3"\n')
    skopeo.chmod(0o755)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bulla", default=str(HERE.parent / "target/debug/bulla"))
    args = parser.parse_args()
    for tool in ("docker-registry", "skopeo", "jq"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not installed (Debian: apt-get install docker-registry skopeo jq)")
    blocks = dict(BLOCK.findall(PAGE.read_text()))
    assert set(blocks) == {"pull", "gate", "stick"}, blocks.keys()
    program = os.path.abspath(args.bulla)
    work = pathlib.Path(tempfile.mkdtemp(prefix="bulla-recipes-"))
    ran = 0

    def recipe(name, exits, **variables):
        nonlocal ran
        folder = pathlib.Path(tempfile.mkdtemp(dir=work))
        env = {**os.environ, **operator.env, "PATH": f"{bin}:{os.environ['PATH']}", **{k: str(v) for k, v in variables.items()}}
        done = subprocess.run(["sh", "-c", blocks[name]], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == exits, f"{name}: exit {done.returncode} instead of {exits}\n{done.stdout}{done.stderr}"
        ran += 1
        print(f"ok      {name}, exit {exits}", flush=True)
        return folder

    try:
        bin = shims(work, program)
        with docker_registry(work) as incoming, docker_registry(work) as production:
            c = Case(program, work / "case")
            origin = f"{incoming.host}/team/app"
            publisher, operator = c.publisher(origin)
            for scope in (origin, NAME):
                c.trust(operator, scope)
            c.publish(publisher, "small", origin, "v1")
            _, digest, _ = get_manifest(incoming.host, "team/app", "v1")
            publisher("copy", f"{origin}:v1", f"oci:{work}/stick:v1")

            pulled = recipe("pull", 0, REF=f"{origin}:v1")
            assert json.load(open(pulled / "app/index.json"))["manifests"], "skopeo pulled nothing"
            passed = recipe("gate", 0, INCOMING=incoming.host, PRODUCTION=production.host)
            assert (passed / "images.txt").read_text() == f"{production.host}/team/app@{digest}\n", (passed / "images.txt").read_text()
            assert get_manifest(production.host, "team/app", "v1")[1] == digest
            recipe("stick", 0, NAME=NAME, STICK=work / "stick", PRODUCTION=f"{production.host}/by-stick")
            assert get_manifest(production.host, "by-stick/team/app", "v1")[1] == digest

            # Somebody moves the tag to what was never released, on the registry and on the stick.
            call(program, "copy", f"oci:{c.layouts}/cnab:v1", f"{origin}:v1", env={"BULLA_HOME": str(work / "mallory")})
            call(program, "copy", f"oci:{c.layouts}/cnab:v1", f"oci:{work}/stick:v1", env={"BULLA_HOME": str(work / "mallory")})
            refused = recipe("pull", 1, REF=f"{origin}:v1")
            assert not (refused / "app").exists(), "it was pulled"
            refused = recipe("gate", 1, INCOMING=incoming.host, PRODUCTION=f"{production.host}/second")
            assert not (refused / "images.txt").exists()
            recipe("stick", 1, NAME=NAME, STICK=work / "stick", PRODUCTION=f"{production.host}/third")
            for repo in ("second/team/app", "third/team/app"):
                assert get_manifest(production.host, repo, "v1") is None, f"{repo} has what is not trusted"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"recipes: {ran} passed, 0 failed")


if __name__ == "__main__":
    sys.exit(main())
