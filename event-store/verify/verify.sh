#!/usr/bin/env bash
# Verifies the folder of an annals event log with tools every Debian has, and jq, xxd and OpenSSL 3.
#
#     verify.sh --key log.pub FOLDER [--known HEAD]... [--require-known N]
#
# Written from event-store/FORMAT.md alone. It stops at the first damage and ends with its number, the same as
# verify.py: 0 all well, 2 called wrongly, 20 content, 21 link, 22 order or gap, 23 cut tail, 24 older copy, 25 fork,
# 26 signature, 27 unknown key, 28 not enough known heads, 29 unreadable, 30 nothing to check, 31 not what was signed.
#
# A working file for each event: some 600 events a second. Not checked: tiles and entry bundles, export files, the members
# of `data` but the blobs they name. Canonical form is what `jq -cS` writes back, with four corrections for what jq
# leaves open (0x7f, the spelling and range of numbers, keys, depth).

set -u
export LC_ALL=C
shopt -s nullglob

usage() { echo "verify.sh: $*" >&2; exit 2; }
damaged() { # code, class, event or -, message
  if [ "$3" = - ]; then echo "DAMAGED: $4 ($2, $1)"; else echo "DAMAGED at event $3: $4 ($2, $1)"; fi
  exit "$1"
}

log='' keys='' known=() required=0
while [ $# -gt 0 ]; do
  case $1 in
    --key) keys=${2-}; shift ;;
    --known) known+=("${2-}"); shift ;;
    --require-known) required=${2-}; shift ;;
    -*) usage "what is $1?" ;;
    *) [ -z "$log" ] || usage "one folder at a time"; log=$1 ;;
  esac
  shift || usage "the last option lacks its value"
done
[ -n "$log" ] && [ -n "$keys" ] || usage "--key log.pub FOLDER [--known HEAD]... [--require-known N]"
[[ $required =~ ^[0-9]+$ ]] || usage "--require-known takes a number"
for tool in base64 cmp cut fold grep head jq mktemp openssl paste rm sed sha256sum split stat tail tr truncate wc xxd yes; do
  command -v "$tool" > /dev/null || usage "$tool is not installed"
done
[[ $(openssl version) =~ ^OpenSSL\ ([3-9]|[1-9][0-9]) ]] || usage "OpenSSL 3 or later is needed"
[ ! -e "$log" ] || [ -d "$log" ] || usage "$log is not a folder: verify.py reads export files"
for file in "$keys" "${known[@]}"; do [ -f "$file" ] && [ -r "$file" ] || usage "$file cannot be read"; done
work=$(mktemp -d) || usage "no folder for working files"
trap 'rm -rf "$work"' EXIT

# --- Keys: one verifier key a line; a retired one goes on with ` until <origin> <size>` --------------------------------

declare -A public=() until=() retired=()
while IFS= read -r line || [ -n "$line" ]; do
  case $line in '' | '#'*) continue ;; esac
  read -r -a words <<< "$line"
  name=${words[0]%%+*} rest=${words[0]#*+}
  id=${rest%%+*}
  hex=$(base64 -d <<< "${rest#*+}" 2> /dev/null | xxd -p | tr -d '\n')
  [[ $hex =~ ^01[0-9a-f]{64}$ ]] || usage "$keys: not a verifier key: $line"
  computed=$({ printf '%s\n' "$name"; xxd -r -p <<< "$hex"; } | sha256sum | cut -c1-8)
  [ "$computed" = "$id" ] || usage "$keys: the id does not fit its key: $line"
  [ -z "${public["$name $id"]-}" ] || usage "$keys: a key is there twice: $line"
  public["$name $id"]=${hex:2}
  for ((i = 1; i < ${#words[@]}; i += 3)); do
    [ "${words[i]}" = until ] && [[ ${words[i + 2]-} =~ ^(0|[1-9][0-9]{0,15})$ ]] || usage "$keys: not 'until <origin> <size>': $line"
    retired["$name $id"]=1 until["$name $id ${words[i + 1]}"]=${words[i + 2]}
  done
done < "$keys"
[ ${#public[@]} -gt 0 ] || usage "$keys: no key in it"

# --- A signed head: sets origin, size and root, or ends ----------------------------------------------------------------

vouch() { # note, what to call it
  local note=$1 what=$2 line key=() signature signed=0 counted=0 lines=()
  malformed() { damaged 26 signature - "$what is not a signed checkpoint"; }
  [ "$(head -c 65537 "$note" | wc -c)" -le 65536 ] || malformed
  jq -Rsj . "$note" 2> /dev/null | cmp -s - "$note" || malformed                       # UTF-8
  [ "$(tr -d '\n' < "$note" | tr -dc '\000-\037' | wc -c)" = 0 ] || malformed          # no control characters
  [ "$(tail -c 1 "$note" | xxd -p)" = 0a ] || malformed
  mapfile -t lines < "$note"
  [ ${#lines[@]} -ge 5 ] && [ ${#lines[@]} -le 104 ] && [ -z "${lines[3]}" ] || malformed
  origin=${lines[0]} size=${lines[1]}
  [[ $origin =~ ^[a-z0-9._-]+(/[a-z0-9._-]+)+$ ]] && [[ $size =~ ^(0|[1-9][0-9]{0,15})$ ]] || malformed
  root=$(base64 -d <<< "${lines[2]}" 2> /dev/null | xxd -p | tr -d '\n')
  [ ${#root} = 64 ] && [ "$(xxd -r -p <<< "$root" | base64 -w 0)" = "${lines[2]}" ] || malformed
  head -n 3 "$note" > "$work/text"
  for line in "${lines[@]:4}"; do
    [[ $line =~ ^—\ [^\ +]+\ [A-Za-z0-9+/]+=*$ ]] || malformed
    read -r -a key <<< "${line#— }"
    signature=$(base64 -d <<< "${key[1]}" 2> /dev/null | xxd -p | tr -d '\n')
    [ ${#signature} -ge 10 ] && [ "$(xxd -r -p <<< "$signature" | base64 -w 0)" = "${key[1]}" ] || malformed
    key="${key[0]} ${signature:0:8}"
    [ -n "${public["$key"]-}" ] || continue
    xxd -r -p <<< "${signature:8}" > "$work/signature"
    xxd -r -p <<< "302a300506032b6570032100${public["$key"]}" > "$work/public.der"
    openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey "$work/public.der" -in "$work/text" \
      -sigfile "$work/signature" > /dev/null 2>&1 || damaged 26 signature - "the signature of ${key% *} does not fit $what"
    signed=1
    if [ -z "${retired["$key"]-}" ] || [ "$size" -le "${until["$key $origin"]:--1}" ]; then counted=1; fi
  done
  [ $signed = 1 ] || damaged 27 unknown_key - "no key of the keys file has signed $what"
  [ $counted = 1 ] || damaged 27 unknown_key - "$what is of $size events, signed only by a key that was retired before"
}

# --- Lines -------------------------------------------------------------------------------------------------------------

# The number of the first line in which two files differ, or nothing.
difference() {
  cmp "$1" "$2" 2>&1 | sed -nE 's/.* differ: .* line ([0-9]+)$/\1/p; s/.* in line ([0-9]+)$/\1/p; s/.* which is empty$/1/p;
    s/^cmp: EOF on .* after byte [0-9]+, line ([0-9]+)$/\1 +1/p' | { read -r line next && echo $((line ${next-})); }
}

# Cuts $work/lines before the first line that is not what its image in $work/image says.
only_same() { # what is wrong where they differ
  local line
  line=$(difference "$work/image" "$work/lines")
  [ -z "$line" ] || cut_before "$line" "$1"
}

cut_before() { # line, why
  head -n $(($1 - 1)) "$work/lines" > "$work/fewer" && mv "$work/fewer" "$work/lines"
  why=$2
}

# shellcheck disable=SC2016
envelope='
  def members($names): type == "object" and keys == $names;
  def string: type == "string";
  def whole($max): type == "number" and . >= 0 and . <= $max;
  def is($form): type == "string" and test("\\A(?:" + $form + ")\\z");
  def time: is("[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}Z")
    and (try ((.[0:4] | tonumber % 400 + 2000 | tostring) + .[4:19] + "Z" | (fromdate | todate) == .) catch false);
  def blob: members(["digest", "size"]) and (.digest | is("[0-9a-f]{64}")) and (.size | whole(9007199254740991));
  . as $event | all(.. | numbers; . >= -9007199254740991 and . <= 9007199254740991)
  and all(.. | objects | keys_unsorted[] | explode[]; . >= 32 and . <= 126 and . != 34 and . != 92)
  and all(paths(type == "object" or type == "array"); length <= 32)
  and members(["actor", "data", "id", "incarnation", "kind", "occurred_at", "origin", "prev", "recorded_at", "schema", "seq", "target"])
  and (.actor | members(["host", "name", "tool"]) and all(.[]; string))
  and (.data | type == "object") and (.kind | string)
  and (.id | is("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"))
  and (.incarnation | whole(9007199254740991)) and (.seq | whole(9007199254740991)) and (.schema | whole(4294967295))
  and (.occurred_at | time) and (.recorded_at | time) and (.prev | is("[0-9a-f]{64}"))
  and (.origin | is("(?=.{1,200}\\z)[a-z0-9._-]+(/[a-z0-9._-]+)+"))
  and (.target | . == null or (members(["database", "system_identifier", "timeline"])
    and (.database | string) and (.system_identifier | string) and (.timeline | whole(4294967295))))
  and all(named[]; blob)'

# The blob that the member of `data` names which is there for that: none, or one.
# shellcheck disable=SC2016
names='
  def named:
    if .schema != 1 or $format > 1 then []
    elif .kind == "plan_made" then [.data.plan]
    elif .kind == "schema_recorded" then [.data.snapshot]
    elif .kind == "integrity_checked" then [.data.report]
    elif .kind == "migrations_seen" then [.data.set]
    elif .kind == "backup_taken" or .kind == "backup_rekeyed" then [.data.manifest]
    elif .kind == "drift_found" or .kind == "drift_accepted" or .kind == "proof_recorded" then [.data.report]
    elif .kind == "approvers_changed" then [.data.list]
    else [] end;'
# What is asked of an event later, behind `true`.
# shellcheck disable=SC2016
fields='[true, .seq, .prev, .recorded_at, .origin, .kind == "log_created", (named[] | .digest, .size)] | map(tostring) | join(" ")'

# Keeps in $work/lines the leading lines that are canonical and whose envelope is right; `why` says what ends them.
well_formed() {
  why=''
  tr '\000' ' ' < "$work/lines" > "$work/image"; only_same "a byte 0x00"
  fold -b -w 65535 "$work/lines" | head -c $(($(stat -c %s "$work/lines") + 1)) > "$work/image"; only_same "a line of more than 65535 bytes"
  # jq writes 0x7f as \u007f; an escape is one where an even number of backslashes stands before it.
  jq -cS . "$work/lines" 2> /dev/null | sed -E ':again; s/(^|[^\\])((\\\\)*)\\u007f/\1\2\x7f/; t again' > "$work/image"
  only_same "not JSON in its canonical form"
  local line
  line=$(sed -E 's/"([^"\\]|\\.)*"//g' "$work/lines" | grep -nE -m 1 -e '[0-9][.eE]|-0|[0-9]{17}' | cut -d: -f1)
  [ -z "$line" ] || cut_before "$line" "a number that is not an integer within 2^53 - 1"
  [ "$format" -gt 0 ] || format=$(head -n 1 "$work/lines" | jq '.data.format? | if type == "number" and . >= 1 then . else 1 end' 2> /dev/null)
  jq -r --argjson format "${format:-1}" "$names $envelope | if . then \$event | $fields else . end" "$work/lines" > "$work/fields" 2> /dev/null
  cut -d ' ' -f 1 "$work/fields" > "$work/answers"
  yes true | head -n "$(wc -l < "$work/lines")" > "$work/image"
  line=$(difference "$work/answers" "$work/image")
  [ -z "$line" ] || cut_before "$line" "an integer, a key, the depth, the envelope or the name of a blob is not of the right form"
}

# --- Chain and tree ----------------------------------------------------------------------------------------------------

zero=$(printf '%064d' 0)
events=0 prev=$zero recorded_at='' of='' tail=0 format=0
mkdir "$work/pieces" "$work/records" && : > "$work/level.0" || usage "no folder for working files"

# The SHA-256 of each record on standard input: of 65 bytes (-b 65), or a line without its line feed (-l 1).
digests() {
  local piece
  split -a 9 -d "$1" $(($2 * 4096)) - "$work/pieces/" || return
  for piece in "$work"/pieces/*; do
    split -a 9 -d "$1" "$2" "$piece" "$work/records/" || return
    (cd "$work/records" && { [ "$1" = -b ] || truncate -s -1 -- *; } && sha256sum -- * | cut -c1-64 && rm -- *) || return
    rm "$piece"
  done
}

append() { # its leaf is in leaf, its fields are in seq, named, at, belongs, created, digest, size
  [ "$seq" = "$events" ] || damaged 22 order "$events" "event $seq stands at place $events"
  [ "$named" = "$prev" ] || damaged 21 link "$events" "it does not continue the event before it"
  [[ $at > $recorded_at ]] || damaged 22 order "$events" "it is not later than the event before it"
  [ "$belongs" = "${of:-$belongs}" ] || damaged 22 order "$events" "it is of another log, $belongs"
  if [ "$events" = 0 ]; then [ "$created" = true ]; else [ "$created" = false ]; fi ||
    damaged 22 order "$events" "log_created is not the first event, or not the only one"
  prev=$leaf recorded_at=$at of=$belongs events=$((events + 1))
  [ -z "$digest" ] || echo "$seq $digest $size" >> "$work/blobs"
}

# Level by level, the roots of all whole subtrees, a line each.
grow() {
  local height=0
  for ((; events >> height > 1; height++)); do
    head -n $(((events >> height) & ~1)) "$work/level.$height" | paste -d '\0' - - | sed 's/^/01/' | xxd -r -p |
      digests -b 65 > "$work/level.$((height + 1))"
    whole "$work/level.$((height + 1))" $((events >> (height + 1)))
  done
}

# The root of the first events: their whole subtrees, from the smallest on the right to the largest.
root_of() { # how many
  local height left node=''
  [ "$1" -gt 0 ] || node=$(printf '' | sha256sum | cut -c1-64)
  for ((height = 0; $1 >> height; height++)); do
    (($1 >> height & 1)) || continue
    left=$(sed -n "$(($1 >> height))p" "$work/level.$height")
    if [ -z "$node" ]; then node=$left; else node=$(printf '01%s%s' "$left" "$node" | xxd -r -p | sha256sum | cut -c1-64); fi
  done
  echo "$node"
}

whole() { # a working file, its lines
  [ "$(wc -l < "$1")" = "$2" ] || usage "no room for working files in $work"
}

# --- 1. the checkpoint is read first, 2. names, 3. lines, 4. tail, 5. no event -----------------------------------------

[ -d "$log" ] || damaged 29 unreadable - "$log: no such folder"
if [ -e "$log/checkpoint" ]; then
  [ -f "$log/checkpoint" ] && head -c 65537 "$log/checkpoint" > "$work/checkpoint" || damaged 29 unreadable - "the checkpoint cannot be read"
fi
[ -d "$log/segments" ] || damaged 29 unreadable - "$log has no segments/: this is not a log"
segments=("$log"/segments/*)
[ ${#segments[@]} -gt 0 ] || damaged 29 unreadable - "$log/segments holds nothing: this is not a log"
for segment in "${segments[@]}"; do
  [[ ${segment##*/} =~ ^[0-9]{20}\.jsonl$ ]] || damaged 29 unreadable - "$(printf %q "${segment##*/}") does not belong into segments/: this is not a log"
  [ -f "$segment" ] && [ -r "$segment" ] || damaged 29 unreadable - "$segment is not a file that can be read"
done
: > "$work/blobs"
for segment in "${segments[@]}"; do
  name=${segment##*/}
  [[ ${name%.jsonl} = "$(printf %020d "$events")" ]] || damaged 22 order "$events" "segment $name follows $events events"
  bytes=$(stat -L -c %s "$segment")
  head -c "$bytes" "$segment" | head -n "$(head -c "$bytes" "$segment" | wc -l)" > "$work/lines"
  tail=$((bytes - $(stat -c %s "$work/lines")))
  well_formed
  sed 's/^/\x00/' "$work/lines" | digests -l 1 > "$work/leaves"
  whole "$work/leaves" "$(wc -l < "$work/lines")"
  while read -r _ seq named at belongs created digest size <&3 && read -r leaf <&4; do append; done 3< "$work/fields" 4< "$work/leaves"
  cat "$work/leaves" >> "$work/level.0"
  [ -z "$why" ] || damaged 20 content "$events" "$why"
  [ "$tail" = 0 ] || [ "$segment" = "${segments[-1]}" ] || damaged 20 content "$events" "a segment that is not the last ends within a line"
  [ "$tail" -le 65535 ] || damaged 20 content "$events" "$tail bytes without a line feed, which no line that was cut short has"
done
[ $events -gt 0 ] || damaged 30 nothing_to_check - "there is no event"
whole "$work/level.0" $events
grow

# --- 6. the signatures, 7. the size, 8. the root, then the known heads -------------------------------------------------

[ -e "$work/checkpoint" ] || damaged 26 signature - "there is no checkpoint: nobody vouches for these lines"
vouch "$work/checkpoint" "the checkpoint"
own_size=$size own_root=$root
[ "$origin" = "$of" ] || damaged 22 order 0 "the checkpoint is of another log, $origin"
heads=()
for note in "${known[@]}"; do
  vouch "$note" "the known head $note"
  [ "$origin" = "$of" ] || damaged 22 order 0 "the known head $note is of another log, $origin"
  heads+=("$size $root $note")
done
[ "$own_size" -le $events ] || damaged 23 cut_tail $events "$events whole events, the checkpoint vouches for $own_size"
[ "$own_root" = "$(root_of "$own_size")" ] ||
  damaged 31 not_what_was_signed - "the first $own_size events are not those the checkpoint vouches for"
covered=0 fitting=0
declare -A fits=()          # the same head from two places is one witness
for each in "${heads[@]}"; do
  read -r size root note <<< "$each"
  [ "$size" -le $events ] || damaged 24 older_copy $events "$events whole events, the known head $note has $size"
  if [ "$root" != "$(root_of "$size")" ]; then
    [ "$size" -gt "$own_size" ] || damaged 25 fork - "the checkpoint's first $size events are not those of the known head $note"
    damaged 31 not_what_was_signed - "the first $size events are not those of the known head $note"
  fi
  # A head of no event fits every log.
  if [ "$size" -gt 0 ] && [ -z "${fits["$size"]-}" ]; then fits["$size"]=1 fitting=$((fitting + 1)); fi
  covered=$((size > covered ? size : covered))
done
[ $((own_size + covered)) -gt 0 ] || damaged 30 nothing_to_check - "the checkpoint vouches for no event"

# --- 9. the blobs ------------------------------------------------------------------------------------------------------

declare -A good=()
count=0
[ "${format:-1}" = 1 ] || : > "$work/blobs"
while read -r seq digest size; do
  count=$((count + 1))
  if [ "${good["$digest"]-}" = "$size" ]; then continue; fi
  blob=$log/blobs/sha256/$digest
  [ -f "$blob" ] && [ -r "$blob" ] || damaged 20 content "$seq" "blob $digest cannot be read"
  stored=$(stat -L -c %s "$blob")
  [ "$stored" = "$size" ] || damaged 20 content "$seq" "blob $digest has $stored bytes, the event says $size"
  [ "$(sha256sum < "$blob" | cut -c1-64)" = "$digest" ] || damaged 20 content "$seq" "blob $digest has other content than its name says"
  good["$digest"]=$size
done < "$work/blobs"
[ $fitting -ge "$required" ] || damaged 28 not_enough_known - "$fitting known heads fit, $required are required"

echo "OK: $of is what was signed: $events events"
echo "  root         $(root_of $events)"
echo "  signed       $own_size events"
echo "  known heads  $fitting fit, they cover $covered events"
if [ $events -gt $covered ]; then echo "  not covered  events $covered to $((events - 1)): no known head stands for them"; fi
if [ "$events" -gt "$own_size" ] && [ $events -gt $covered ]; then
  echo "  unsigned     events $((own_size > covered ? own_size : covered)) to $((events - 1)): they are chained, nobody vouches for them"
fi
echo "  blobs        $count named"
if [ "${format:-1}" != 1 ]; then echo "  newer        format $format: nothing was interpreted"; fi
if [ "$tail" -gt 0 ]; then echo "  torn tail    $tail bytes behind the last event; they are not one"; fi
