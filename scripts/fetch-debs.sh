#!/usr/bin/env bash
# Programs of another Debian suite, downloaded by apt with its signature checks and unpacked; nothing is installed.
# usage: scripts/fetch-debs.sh SUITE DIR PACKAGE...      programs end up under DIR/fs/usr/bin
set -euo pipefail
# Versions below those of scripts/interop.lock are refused, other packages than those last run with are named.
suite=$1 dir=$(realpath -m "$2") lock=$(dirname "$(realpath "$0")")/interop.lock; shift 2
mkdir -p "$dir"/{lists/partial,cache/archives/partial,etc,debs,fs}
eval "$(apt-config shell parts Dir::Etc::sourceparts/d sourcelist Dir::Etc::sourcelist/f)"
# The first entry is the machine's own mirror; only the suite changes. Debian 12's installer still writes sources.list.
if [ -e "$parts/debian.sources" ]; then
  awk 'BEGIN { RS = "" } NR == 1' "$parts/debian.sources" | sed "s/^Suites:.*/Suites: $suite/" >"$dir/etc/suite.sources"
else
  awk -v suite="$suite" '/^deb +(\[[^]]*\] +)?https?:/ { match($0, /https?:[^ ]*/)
    print "Types: deb\nURIs: " substr($0, RSTART, RLENGTH) "\nSuites: " suite "\nComponents: main"
    print "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"; exit }' "$sourcelist" >"$dir/etc/suite.sources"
fi
cat >"$dir/apt.conf" <<CONF
Dir::State::Lists "$dir/lists";
Dir::Cache "$dir/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$dir/etc";
Acquire::Retries "5";
CONF
export APT_CONFIG=$dir/apt.conf
ls "$dir"/lists/*Packages* >/dev/null 2>&1 || apt-get -qq update
cd "$dir/debs"
apt-get -qq download "$@" 2> >(grep -v unsandboxed >&2 || true)
for deb in *.deb; do
  package=$(dpkg-deb -f "$deb" Package) version=$(dpkg-deb -f "$deb" Version)
  while read -r name of least sum; do
    [ "$name $of" = "$package ${suite// /+}" ] || continue
    dpkg --compare-versions "$version" ge "$least" || { echo "$package $version of $suite is older than $least" >&2; exit 1; }
    echo "$sum  $deb" | sha256sum --quiet --check - >/dev/null 2>&1 || echo "note: $package $version of $suite is not the package in interop.lock" >&2
  done <"$lock"
  [ -e "$dir/.$deb" ] || { dpkg -x "$deb" "$dir/fs"; touch "$dir/.$deb"; }
done
echo "unpacked $(ls | wc -l) packages of $suite under $dir/fs"
