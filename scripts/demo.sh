#!/usr/bin/env bash
# The whole story on this machine, without network: publish, copy, verify offline, and four attacks that are refused.
# usage: scripts/demo.sh [BULLA]      (default: target/debug/bulla)
# With Debian's docker-registry installed the same is run through two repositories of a real registry.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bulla=$(realpath "${1:-$here/../target/debug/bulla}")
work=$(mktemp -d)
registry_pid=
trap '[ -z "$registry_pid" ] || kill "$registry_pid"; rm -rf "$work"' EXIT
export BULLA_PASSWORD=demo
name=example.com/team/app
steps=0

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ bulla %s\n' "$*"; "$bulla" "$@"; steps=$((steps + 1)); }
publisher() { BULLA_HOME=$work/$kind/publisher run "$@"; }
deployer() { BULLA_HOME=$work/$kind/deployer run "$@"; }
later() { date -u -d "+$1 days" +%Y-%m-%dT%H:%M:%SZ; }
# expect EXIT CODE COMMAND...: the command must end with EXIT and name CODE.
expect() {
  local want=$1 code=$2 got=0; shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  cat "$work/out"
  [ "$got" = "$want" ] || { echo "demo: exit $got instead of $want"; exit 1; }
  grep -qF -- "$code" "$work/out" || { echo "demo: $code is not named"; exit 1; }
}

# The attacks on an OCI layout: edit its index.json or a blob.
retag() { python3 - "$1" "$2" "$3" <<'PY'
import json, sys
layout, tag, digest = sys.argv[1:]
path = layout + "/index.json"; index = json.load(open(path)); ref = "org.opencontainers.image.ref.name"
for entry in index["manifests"]:
    if entry.get("annotations", {}).get(ref) == tag: del entry["annotations"][ref]
doc = open(layout + "/blobs/" + digest.replace(":", "/"), "rb").read()
index["manifests"].append({"mediaType": json.loads(doc)["mediaType"], "digest": digest, "size": len(doc), "annotations": {ref: tag}})
json.dump(index, open(path, "w"))
PY
}
digest_of() { python3 -c 'import json,sys; print(next(m["digest"] for m in json.load(open(sys.argv[1]+"/index.json"))["manifests"] if m.get("annotations",{}).get("org.opencontainers.image.ref.name")==sys.argv[2]))' "$1" "$2"; }

# story KIND ORIGIN MIRROR: ORIGIN and MIRROR are repositories, or OCI layouts.
story() {
  kind=$1; local origin=$2 mirror=$3 stick=$work/$1/stick
  mkdir -p "$work/$kind"; cd "$work/$kind"
  say "[$kind] A publisher creates a collection and releases two bundles"
  publisher init "$name" --at "$origin"
  publisher publish --from "oci:$work/small:v1" "$origin" --tag v1
  publisher publish --from "oci:$work/cnab:v1" "$origin" --tag bundle-v1

  say "[$kind] A mirror job copies them, and on to a directory for the far side of an air gap"
  for tag in v1 bundle-v1; do
    publisher copy "$origin:$tag" "$mirror:$tag"
    publisher copy "$mirror:$tag" "oci:$stick:$tag"
  done

  say "[$kind] A deployer who holds the root verifies there, offline"
  deployer trust fingerprint 1.root.json
  deployer trust add "$name" --root 1.root.json
  for tag in v1 bundle-v1; do deployer verify "oci:$stick:$tag" --as "$name"; done
  case $mirror in oci:*) ;; *)
    say "[$kind] ... and at the mirror, where the bundle has another name"
    deployer trust add "$mirror" --root 1.root.json --collection "$name"
    deployer verify "$mirror:v1" ;;
  esac

  say "[$kind] The stick is 20 days old: allowed by a statement, and shown; after 40 days: refused"
  expect 1 tuf.timestamp.expired env BULLA_DANGEROUS_NOW="$(later 20)" BULLA_HOME="$work/$kind/deployer" "$bulla" verify "oci:$stick:v1" --as "$name"
  python3 - "$work/$kind/deployer/trust.json" "$name" <<'PY'
import json, sys
trust = json.load(open(sys.argv[1]))
trust["statements"].append({"scope": sys.argv[2], "maxStaleness": "30d", "reason": "the stick is carried once a month"})
json.dump(trust, open(sys.argv[1], "w"), indent=2)
PY
  expect 0 waived env BULLA_DANGEROUS_NOW="$(later 20)" BULLA_HOME="$work/$kind/deployer" "$bulla" verify "oci:$stick:v1" --as "$name"
  expect 1 tuf.timestamp.expired env BULLA_DANGEROUS_NOW="$(later 40)" BULLA_HOME="$work/$kind/deployer" "$bulla" verify "oci:$stick:v1" --as "$name"

  say "[$kind] Attack: a manifest is tampered with"
  cp -r "$stick" "$stick-tampered"
  local digest; digest=$(digest_of "$stick" v1)
  sed -i 's/amd64/arm64/' "$stick-tampered/blobs/${digest/://}"
  expect 3 bundle.digest env BULLA_HOME="$work/$kind/deployer" "$bulla" verify "oci:$stick-tampered:v1" --as "$name"

  say "[$kind] Attack: the tag is moved to another bundle of the same collection"
  cp -r "$stick" "$stick-moved"
  retag "$stick-moved" v1 "$(digest_of "$stick" bundle-v1)"
  expect 1 bundle.tag.moved env BULLA_HOME="$work/$kind/deployer" "$bulla" verify "oci:$stick-moved:v1" --as "$name"

  say "[$kind] Attack: an older state is served to somebody who has seen a newer one"
  publisher publish --from "oci:$work/helm:v1" "$origin" --tag chart-v1
  publisher copy "$origin:chart-v1" "oci:$stick-new:chart-v1"
  deployer verify "oci:$stick-new:chart-v1" --as "$name"
  expect 1 tuf.timestamp.rollback env BULLA_HOME="$work/$kind/deployer" "$bulla" verify "oci:$stick:v1" --as "$name"

  say "[$kind] Attack: freshness ran out, and nobody allowed that"
  BULLA_HOME=$work/$kind/stranger "$bulla" trust add "$name" --root 1.root.json >/dev/null
  expect 1 tuf.timestamp.expired env BULLA_DANGEROUS_NOW="$(later 8)" BULLA_HOME="$work/$kind/stranger" "$bulla" verify "oci:$stick:v1" --as "$name"
}

say "Two bundles as OCI layouts: a multi-arch image and a CNAB bundle whose component is itself an index"
for preset in small cnab helm; do python3 "$here/make-layouts.py" "$work" preset "$preset"; done

story layouts "oci:$work/layouts/origin" "oci:$work/layouts/mirror"

if command -v docker-registry >/dev/null; then
  port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
  printf '{"version":0.1,"log":{"level":"error"},"storage":{"filesystem":{"rootdirectory":"%s"},"delete":{"enabled":true}},"http":{"addr":"127.0.0.1:%s"}}' \
    "$work/registry" "$port" >"$work/registry.json"
  docker-registry serve "$work/registry.json" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  for _ in $(seq 50); do python3 -c "import socket; socket.create_connection(('127.0.0.1',$port))" 2>/dev/null && break; sleep .1; done
  story registry "127.0.0.1:$port/team/app" "127.0.0.1:$port/mirror/app"
else
  echo; echo "SKIPPED: the same through a real registry (docker-registry is not installed)"
fi
say "Done: $steps commands did what they should, every attack was refused"
