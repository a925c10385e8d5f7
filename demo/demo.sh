#!/bin/bash
# Tells Backstop's story with a real Postfix, on loopback, in a temporary directory: a campaign goes out, a
# recipient is refused, Postfix's notification comes back through the milter, and the next campaign leaves without
# that recipient. Then the same with a full mailbox, which takes three campaigns.
#
# Every step is checked; the first that does not come about ends the demo with exit status 1. Nothing is left running.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
unset MAIL_CONFIG BACKSTOP_SOCKET

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
tell() { printf '%s\n' "$*"; }
quote() { sed "s/^/    $dim/; s/\$/$plain/"; }
fail() {
    printf '\ndemo: %s\n' "$*" >&2
    exit 1
}

if [[ ${1:-} != inside ]]; then
    scripts/install-deps demo
    cargo build --locked --quiet --bins
    if [[ $(id -u) != 0 ]]; then
        # Postfix starts as root only. Root of a user namespace will do, where the kernel and /etc/subuid allow it.
        as_root=(unshare --user --map-root-user --map-auto)
        "${as_root[@]}" true 2>/dev/null ||
            fail "Postfix starts as root only. Run this as root, or let this user make namespaces: package uidmap," \
                "a range in /etc/subuid and /etc/subgid, and a kernel that allows user namespaces without privilege"
        exec "${as_root[@]}" "$0" inside
    fi
fi

programs=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
rig=$PWD/tests/postfix/rig.sh
dir=$(mktemp -d /tmp/backstop-demo.XXXXXX)
chmod 755 "$dir" # user postfix passes through
daemon=
finish() {
    local status=$?
    "$rig" stop "$dir/postfix" || true
    [[ -z $daemon ]] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
    if ((status != 0)); then
        printf '\nThe last lines of the logs:\n' >&2
        tail -n 20 "$dir/backstopd.log" "$dir/postfix/maillog" >&2 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' HUP INT TERM

log=$dir/postfix/maillog
sink=$dir/postfix/sink
ctl() { "$programs/backstopctl" --socket "$dir/admin.sock" "$@"; }

# campaign NAME RECIPIENT...: hands one newsletter to Postfix and waits until all that follows from it is done.
campaign() {
    local name=$1
    shift
    rm -f "$sink"/message.*
    lines_before=$(wc -l <"$log")
    tell "  \$ sendmail -f bounce@bounces.test $*"
    /usr/sbin/sendmail -C "$dir/postfix/conf" -i -f bounce@bounces.test "$@" <<MAIL
From: The Shop <news@shop.test>
To: our readers <readers@shop.test>
Subject: What is new: $name
Message-ID: <$name@shop.test>
X-Campaign-ID: $name
List-ID: The Shop's news <news.shop.test>

Hello, this is what is new.
MAIL
    "$rig" wait "$dir/postfix"
    # Of Postfix's log: deliveries, notifications, and messages that end at the milter.
    deliveries=$(tail -n "+$((lines_before + 1))" "$log" | sed -nE \
        -e 's/.*(to=<[^>]*>).*(dsn=[^,]*), (status=[a-z]*) \((.*)\)$/\1 \2 \3 (\4)/p' \
        -e 's/.*(milter-discard.*)/\1/p' -e 's/.*(sender non-delivery notification).*/bounce(8): \1/p')
    tell "  Postfix:"
    quote <<<"$deliveries"
}

# Whether the last campaign was tried with this recipient.
tried() { [[ $deliveries == *"to=<$1> dsn="* ]]; }

# The accepting server's recipients of the last campaign.
accepted() { sed -nE 's/^X-Rcpt-Args: <([^>]*)>.*/\1/p' "$sink"/message.* 2>/dev/null | sort | tr '\n' ' '; }

# expect WHAT GOT WANTED
expect() { [[ $2 == "$3" ]] || fail "$1: expected \"$3\", got \"$2\""; }

# has_json ADDRESS REGEX...: what backstopctl knows of the contact has all of these.
has_json() {
    local address=$1 answer wanted
    answer=$(ctl --json show "$address") || fail "backstopctl show $address failed: $answer"
    shift
    for wanted in "$@"; do
        grep -Eq -- "$wanted" <<<"$answer" || fail "$address: no $wanted in $answer"
    done
}

chapter "A Postfix of its own, and backstopd beside it"
milter=$dir/postfix/run/milter.sock
facts=$("$rig" start "$dir/postfix" "milter=unix:$milter")
smtpd=$(sed -n "s/^port_smtpd=//p" <<<"$facts")
cat >"$dir/backstop.toml" <<TOML
[milter]
listen = ["unix:$milter"]
[admin]
socket = "$dir/admin.sock"
[store]
path = "$dir/store"
[return_path]
domains = ["bounces.test"]
TOML
"$programs/backstopd" --allow-root --config "$dir/backstop.toml" >"$dir/backstopd.log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
    kill -0 "$daemon" 2>/dev/null || fail "backstopd ended: $(tail -n 3 "$dir/backstopd.log")"
    ! ctl --json status >/dev/null 2>&1 || break
    sleep 0.1
done
ctl --json status >/dev/null || fail "backstopd does not answer"
tell "Postfix asks backstopd about every message: what goes out, and the notifications it writes itself."
tell "good.test accepts all mail, hard.test knows nobody, soft.test has full mailboxes."

chapter "The spring campaign goes to three people"
today=$(date -u +%Y-%m-%d)
campaign spring ann@good.test bob@hard.test cat@good.test
expect "accepted by good.test" "$(accepted)" "ann@good.test cat@good.test "
tell "Two have it. Bob's server does not know him, and Postfix wrote a notification to the campaign's return path."

chapter "The notification came back through the milter; what does Backstop make of it?"
tell "  \$ backstopctl show bob@hard.test"
ctl show bob@hard.test | quote
has_json bob@hard.test '"state": ?"bounced"' '"code": ?"5\.1\.1"' '"type": ?"hard"' '"category": ?"rejected"' \
    '"authority": ?"local"' '"campaign": ?"spring"' '"description": ?"[^"]+"' "\"at\": ?\"($today|$(date -u +%Y-%m-%d))T" \
    'User unknown in this domain'
[[ -z $(find "$dir/postfix/mail" -type f) ]] || fail "the notification was delivered, too"
tell "Read, on disk before Postfix was answered, and discarded: there is no mailbox to empty."

chapter "The summer campaign goes to the same three"
campaign summer ann@good.test bob@hard.test cat@good.test
expect "accepted by good.test" "$(accepted)" "ann@good.test cat@good.test "
! tried bob@hard.test || fail "Postfix tried to deliver to Bob again"
tell "Nobody tried to reach Bob: he was taken off the envelope before Postfix queued the message."

chapter "Somebody wants Ann off the list, and forges bounces"
# forged: the mail of somebody who has seen what such notifications look like, and guesses the rest.
forged() {
    cat <<MAIL
From: MAILER-DAEMON@$1 (Mail Delivery System)
To: bounce@bounces.test
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; $1
X-Postfix-Queue-ID: 4F2Q7x1

Final-Recipient: rfc822; ann@good.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <ann@good.test>: no such user

--b
Content-Type: text/rfc822-headers

From: news@shop.test
To: ann@good.test
Message-ID: <a-good-guess@shop.test>

--b--
MAIL
}
tell "  By SMTP, with the null reverse path:"
exec {smtp}<>"/dev/tcp/127.0.0.1/$smtpd"
answered() {
    local line
    while read -r -t 20 line <&"$smtp" && [[ $line == ???-* ]]; do :; done
    [[ ${line-} == "$1"* ]] || fail "Postfix answered \"${line-}\" where $1 was due"
}
answered 220
for command in "EHLO mx.elsewhere.test" "MAIL FROM:<>" "RCPT TO:<bounce@bounces.test>"; do
    printf '%s\r\n' "$command" >&"$smtp"
    answered 250
done
printf 'DATA\r\n' >&"$smtp"
answered 354
{ forged mx.elsewhere.test && echo .; } | sed 's/$/\r/' >&"$smtp"
answered 250
printf 'QUIT\r\n' >&"$smtp"
exec {smtp}>&-
tell "  and by a user of this host, who imitates its Postfix:"
tell "  \$ sendmail -f '' bounce@bounces.test"
forged "$(postconf -c "$dir/postfix/conf" -h myhostname)" | /usr/sbin/sendmail -C "$dir/postfix/conf" -i -f '' bounce@bounces.test
"$rig" wait "$dir/postfix"
tell "  \$ backstopctl show ann@good.test"
ctl show ann@good.test | quote
has_json ann@good.test '"state": ?"active"' '"authority": ?"unverified"'
! grep -Eq '"authority": ?"(local|matched|signed|authenticated)"' <<<"$(ctl --json show ann@good.test)" || fail "a forged bounce was believed"
campaign harvest ann@good.test
expect "accepted by good.test" "$(accepted)" "ann@good.test "
tell "Both are on record, so that a person can look into it, and both are without effect: no message of ours is in them."

chapter "Sue's mailbox is full: that may pass, so it takes three campaigns"
streak=0
for name in autumn winter new-year; do
    campaign "$name" sue@soft.test
    streak=$((streak + 1))
    tried sue@soft.test || fail "campaign $name did not try to deliver to Sue"
    state=active
    ((streak < 3)) || state=bounced
    has_json sue@soft.test "\"state\": ?\"$state\"" "\"soft_streak\": ?$streak\b" '"type": ?"soft"' '"code": ?"4\.2\.2"'
    tell "  soft bounces in a row: $streak; Sue is $state"
done
tell "  \$ backstopctl show sue@soft.test"
ctl show sue@soft.test | quote

chapter "The fourth campaign goes to Sue alone"
campaign spring-again sue@soft.test
! tried sue@soft.test || fail "Postfix tried to deliver to Sue again"
[[ $deliveries == *milter-discard* ]] || fail "the message was not discarded"
tell "With nobody left the message ends here."

chapter "Everybody who is not mailed any more"
tell "  \$ backstopctl list"
list=$(ctl list)
quote <<<"$list"
for address in bob@hard.test sue@soft.test; do
    [[ $list == *"$address"* ]] || fail "$address is not on the list"
done

chapter "Why is Sue not mailed, and what would change that?"
tell "  \$ backstopctl explain sue@soft.test"
explained=$(ctl explain sue@soft.test || true) # exit status 1: she is not mailed
quote <<<"$explained"
[[ $explained == *"sign of life"* ]] || fail "explain names nothing that would release Sue"

chapter "Sue clears her mailbox and logs in at the shop, which tells Backstop"
tell "  \$ backstopctl activity sue@soft.test --level purchase"
ctl activity sue@soft.test --level purchase | quote
has_json sue@soft.test '"state": ?"active"' '"retracted": ?true'
campaign hello-again sue@soft.test
tried sue@soft.test || fail "Sue was not mailed again"
tell "Her bounces are shown as retracted, and the next campaign tries her again."

chapter "An old suppression list comes along from another sender, and goes again"
cat >"$dir/suppressions.csv" <<CSV
status,reason,email,created
5.1.1,550 5.1.1 user unknown,dan@good.test,1735689600
5.1.1,550 5.1.1 user unknown,eve@good.test,1735689600
,,not an address,1735689600
CSV
tell "  \$ backstopctl import suppressions.csv --reason 'moved from another sender'"
imported=$(cd "$dir" && ctl import suppressions.csv --reason "moved from another sender" 2>&1 || true) # 1: a bad line
quote <<<"$imported"
[[ $imported == *suppressions.csv:4:* ]] || fail "line 4 is no address, and nobody says so"
batch=$(ctl --json batches | grep -Eo '[0-9a-f]{32}' | head -n 1) || fail "no batch was imported"
campaign moved dan@good.test ann@good.test
expect "accepted by good.test" "$(accepted)" "ann@good.test "
tell "  \$ backstopctl revert $batch --reason 'the wrong file'"
ctl revert "$batch" --reason "the wrong file" | quote
campaign moved-back dan@good.test ann@good.test
expect "accepted by good.test" "$(accepted)" "ann@good.test dan@good.test "
tell "What could be read went in, and one command took all of it back."

chapter "Done. Every step above was checked, and nothing is left running."
