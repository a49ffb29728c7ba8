# What the pages of the commands show. Sourced by demo-personas, whose registry and functions it uses: a publisher, her renewal job,
# a colleague without the online key, and a deployer.
mkdir -p commands && cd commands
team=$acme/team/app
cp -r "$work/small" build
for preset in helm cnab; do quiet run paula copy "oci:$work/$preset:v1" "oci:build:$preset"; done
# Times stand apart by a second where a page shows them so, however fast the machine.
tick() { local s=$EPOCHSECONDS; while [ "$EPOCHSECONDS" = "$s" ]; do sleep 0.05; done; }
# shown NAME run|expect ...: keep it, a second after what was before.
shown() { tick; keep "$@"; }
hushed() { tick; quiet run "$@"; }
id() { BULLA_HOME=$work/$1 "$bulla" --format json key show "$2" | python3 -c 'import json,sys; print(json.load(sys.stdin)["result"]["keys"][0]["keyId"])'; }

say "The commands: a collection is made, and released to"
shown init-created run paula init example.com/team/app --at "$team"
shown publish-released run paula publish --from oci:build:v1 "$team" --tag v1
shown status-current run paula status "$team"
hushed dora trust add "$team" --root 1.root.json --collection example.com/team/app
shown verify-trusted run dora verify "$team:v1"

say "The commands: who has no online key submits, and the job admits it"
mkdir -p "$work/rolf/keys" && cp "$work"/paula/keys/app-releases.* "$work/rolf/keys/"
hushed rolf trust add "$team" --root 1.root.json --collection example.com/team/app
hushed rolf verify "$team:v1"
shown publish-submitted run rolf publish --from oci:build:helm "$team" --tag v2
shown renew-admitted run paula renew "$team"
shown renew-current run paula renew "$team"

say "The commands: a delegate"
hushed anna key generate anna
cp "$work/anna/keys/anna.pub" .
shown tuf-delegate run paula tuf delegate "$team" dev --key ./anna.pub --paths 'dev-*'
shown tuf-list run paula tuf list "$team"
hushed olga key generate olga
hushed olga trust add "$team" --root 1.root.json --collection example.com/team/app
shown tuf-request run olga tuf request "$team" --key olga --paths 'nightly-*' --name 'Olga Beispiel, team web'

say "The commands: releases takes two keys, and one of them is here"
hushed rosa key generate rosa
cp "$work/rosa/keys/rosa.pub" .
hushed paula tuf propose "$team" --add-key releases=./rosa.pub --threshold releases=2 --description "releases takes two" --output two.json
hushed paula tuf approve ./two.json --yes
hushed rosa trust add "$team" --root 1.root.json --collection example.com/team/app
hushed rosa tuf approve ./two.json --yes
hushed paula tuf commit ./two.json --at "$team"
shown publish-proposed run paula publish "$team:v1" --tag v3
shown tuf-delegate-proposed run paula tuf delegate "$team" qa --key ./anna.pub --paths 'qa-*' --output qa.json

say "The commands: a tag that somebody moved"
hushed mallory copy oci:build:cnab "$team:v2"
shown verify-moved expect 1 bundle.tag.moved dora verify "$team:v2"

say "The commands: an organisation, and a member whose keys are elsewhere"
org=$acme/org
keys=(--root-key root --targets-key targets --releases-key releases --online-key online)
for key in root targets releases online; do quiet run otto key generate "$key"; done
quiet run otto init --organisation example.com/org --at "$org" --root-file org.json "${keys[@]}"
for member in app web; do quiet run otto init "example.com/org/$member" --at "$org/$member" --root-file "$member.json" "${keys[@]}"; done
quiet run lena init example.com/org/lib --at "$org/lib" --root-file lib.json
for member in app lib web; do quiet run otto tuf member add "$org" "example.com/org/$member" --root "$member.json"; done
shown renew-organisation run otto renew "$org" --organisation

say "The commands: the online roles take two keys, on two machines"
vault=$acme/team/vault
hushed one init example.com/team/vault --at "$vault" --root-file vault.json
hushed two key generate vault-2
cp "$work/two/keys/vault-2.pub" .
hushed two trust add "$vault" --root vault.json --collection example.com/team/vault
hushed one tuf propose "$vault" --add-key snapshot=./vault-2.pub --add-key timestamp=./vault-2.pub --threshold snapshot=2 \
  --threshold timestamp=2 --description "the online roles take two" --output both.json
hushed one tuf approve ./both.json --yes
hushed one tuf commit ./both.json --at "$vault"
turns() { run one renew "$vault" --role timestamp; run two renew "$vault"; }
hushed one renew "$vault"
hushed two renew "$vault" --dangerously-without-memory "it never saw a state"
shown renew-shared turns
cd "$work"
