#!/bin/bash
# A Postfix of our own for tests and the demo, on 127.0.0.1 only, beside whatever else the machine runs.
#
#   rig.sh start DIR [name=value ...]   set up DIR, start everything, print the facts, return
#   rig.sh hold  DIR [name=value ...]   the same, then "ready=yes"; stop all when standard input ends
#   rig.sh stop  DIR                    stop what was started in DIR; the files stay
#   rig.sh wait  DIR                    wait, a minute at most, until the queue is empty
#   rig.sh ports N                      print N free ports
#
# Facts are lines name=value. Settings:
#   milter=ADDRESS          for smtpd_milters and non_smtpd_milters, in Postfix's spelling; default none
#   default_action=ACTION   what Postfix does when the milter does not answer; default tempfail
#   relay=PORT              the accepting server is the caller's; without it smtp-sink accepts and keeps
#                           each message as a file in DIR/sink
#   cf.NAME=VALUE           a line of main.cf, last
#
# Where mail goes, by the recipient's domain:
#   hard.test     550 5.1.1 at RCPT        content.test   554 5.7.1 after DATA
#   soft.test     452 4.2.2 at RCPT        closed.test    nothing listens there
#   bounces.test, local.test               mailboxes DIR/mail/bounces, DIR/mail/local (maildir)
#   any other                              the accepting server
# A message that cannot be delivered at once expires at once, so a soft failure needs no waiting.
#
# Needs root (or root of a user namespace: unshare --user --map-root-user --map-auto) and Debian's postfix.
set -euo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset MAIL_CONFIG # would win over -c in some of Postfix's programs

libexec=/usr/lib/postfix/sbin
unprivileged=nobody

fail() {
    echo "rig: $*" >&2
    exit 1
}

# Ports the kernel gives. All are held until all are known, so no two are the same.
free_ports() {
    perl -MIO::Socket::INET -e '
        my @held = map { IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0) or die $! } 1 .. shift;
        print join(" ", map { $_->sockport } @held), "\n"' "$1"
}

listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Whether process $1 is still the one that was started with argument $2. A zombie is not.
is_ours() {
    [[ -r /proc/$1/cmdline ]] && tr '\0' '\n' <"/proc/$1/cmdline" | grep -qxF -- "$2"
}

master_runs() {
    [[ -s $dir/queue/pid/master.pid ]] && ! "$libexec/master" -c "$dir/conf" -t 2>/dev/null
}

# Waits up to $1 tenths of a second for the rest of the line to succeed.
within() {
    local tenths=$1
    shift
    until "$@"; do
        ((tenths-- > 0)) || return 1
        sleep 0.1
    done
}

write_main_cf() {
    cat >"$dir/conf/main.cf" <<CF
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
command_directory = /usr/sbin
daemon_directory = $libexec
meta_directory = $dir/conf
shlib_directory = /usr/lib/postfix
multi_instance_name = postfix-$port_smtpd
maillog_file = $dir/maillog
maillog_file_prefixes = $dir

myhostname = mx.rig.test
mydomain = rig.test
myorigin = rig.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
append_dot_mydomain = no
biff = no

inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_peername_lookup = no
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtputf8_enable = no

relayhost = [127.0.0.1]:$port_accept
transport_maps = inline:{ { hard.test = smtp:[127.0.0.1]:$port_hard }, { soft.test = smtp:[127.0.0.1]:$port_soft },
    { content.test = smtp:[127.0.0.1]:$port_content }, { closed.test = smtp:[127.0.0.1]:1 } }
virtual_mailbox_domains = bounces.test, local.test
virtual_mailbox_base = $dir/mail
virtual_mailbox_maps = inline:{ { @bounces.test = bounces/ }, { @local.test = local/ } }
virtual_uid_maps = static:$(id -u $unprivileged)
virtual_gid_maps = static:$(id -g $unprivileged)

maximal_queue_lifetime = 0
bounce_queue_lifetime = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s

smtpd_milters = $milter
non_smtpd_milters = $milter
internal_mail_filter_classes = bounce
milter_default_action = $default_action
milter_connect_timeout = 10s
milter_command_timeout = 20s
milter_content_timeout = 30s
$more_cf
CF
}

write_master_cf() {
    local name
    {
        echo "127.0.0.1:$port_smtpd inet n - n - - smtpd"
        echo "127.0.0.1:$port_plain inet n - n - - smtpd -o smtpd_milters="
        echo "pickup unix n - n 1 1 pickup"
        echo "cleanup unix n - n - 0 cleanup"
        echo "qmgr unix n - n 1 1 qmgr"
        echo "rewrite unix - - n - - trivial-rewrite"
        for name in bounce defer trace; do echo "$name unix - - n - 0 bounce"; done
        echo "verify unix - - n - 1 verify"
        echo "flush unix n - n 1000? 0 flush"
        echo "proxymap unix - - n - - proxymap"
        echo "proxywrite unix - - n - 1 proxymap"
        for name in smtp relay; do echo "$name unix - - n - - smtp"; done
        echo "showq unix n - n - - showq"
        for name in error retry; do echo "$name unix - - n - - error"; done
        echo "discard unix - - n - - discard"
        echo "lmtp unix - - n - - lmtp"
        for name in local virtual; do echo "$name unix - n n - - $name"; done
        echo "anvil unix - - n - 1 anvil"
        echo "scache unix - - n - 1 scache"
        echo "postlog unix-dgram n - n - 1 postlogd"
    } >"$dir/conf/master.cf"
}

# start_sink NAME PORT [smtp-sink's options]
start_sink() {
    local name=$1 port=$2
    shift 2
    # As root smtp-sink wants a user to become; -R makes DIR/sink the root of its dump files.
    setsid smtp-sink -u "$unprivileged" -R "$dir/sink" "$@" "127.0.0.1:$port" 256 </dev/null >>"$dir/sink.log" 2>&1 &
    echo "$! 127.0.0.1:$port" >"$dir/run/$name.pid"
}

start_everything() {
    read -r port_smtpd port_plain port_hard port_soft port_content port_accept < <(free_ports 6)
    [[ -z $relay ]] || port_accept=$relay
    write_main_cf
    write_master_cf
    # Postfix reads a file again and again until it is some seconds old; these are complete.
    cp /etc/postfix/postfix-files "$dir/conf/" # what to check; dynamicmaps.cf stays behind, nothing here needs it
    touch -d '1 minute ago' "$dir/conf/main.cf" "$dir/conf/master.cf"
    start_sink hard "$port_hard" -f RCPT -B '550 5.1.1 User unknown in this domain'
    start_sink soft "$port_soft" -r RCPT -b '452 4.2.2 The mailbox is over its quota'
    start_sink content "$port_content" -f . -B '554 5.7.1 The message was refused for its content'
    [[ -n $relay ]] || start_sink accept "$port_accept" -d 'message.'
    # Returns when the ports are bound.
    postfix -c "$dir/conf" start >>"$dir/start.log" 2>&1 || return 1
    local port
    for port in "$port_hard" "$port_soft" "$port_content" "$port_accept"; do
        [[ $port == "$relay" ]] || within 50 listening "$port" || return 1
    done
    # A port may have been taken by somebody else in between: then the one that wanted it has ended.
    local pid address
    while read -r pid address; do
        is_ours "$pid" "$address" || return 1
    done < <(cat "$dir"/run/*.pid)
    master_runs
}

stop_everything() {
    local file pid address
    if master_runs; then
        pid=$(tr -d ' ' <"$dir/queue/pid/master.pid")
        # On TERM master(8) takes its children along. It leads their process group.
        kill -TERM "$pid" 2>/dev/null || true
        within 50 eval '! master_runs' || kill -KILL -- "-$pid" 2>/dev/null || true
    fi
    for file in "$dir"/run/*.pid; do
        [[ -e $file ]] || continue
        read -r pid address <"$file"
        ! is_ours "$pid" "$address" || kill -TERM "$pid" 2>/dev/null || true
        rm -f "$file"
    done
}

# A message moves on while one looks, so only when it was nowhere twice is it gone.
queue_is_empty() {
    local look
    for look in 1 2; do
        [[ -z $(find "$dir"/queue/{maildrop,incoming,active,deferred,active} -type f -print -quit) ]] || return 1
    done
}

prepare() {
    mkdir -p "$dir"/{conf,queue,data,run,mail,sink}
    # Postfix wants the queue and its parents out of others' reach, and needs to pass through them itself.
    chmod 755 "$dir" "$dir/conf" "$dir/queue"
    chown postfix "$dir/data"
    chown "$unprivileged" "$dir/mail" "$dir/sink"
    chmod 1777 "$dir/run" # milter sockets
}

start() {
    local try
    [[ $(id -u) == 0 ]] || fail "Postfix starts as root only; try: unshare --user --map-root-user --map-auto $0 ..."
    [[ -x $libexec/master ]] || fail "Debian's postfix is missing; scripts/install-deps installs it"
    ! master_runs || fail "already running in $dir"
    prepare
    trap stop_everything EXIT
    trap 'exit 130' HUP INT TERM
    for try in 1 2 3 4 5; do
        start_everything && break
        stop_everything
        ((try < 5)) || fail "Postfix did not start in $dir: $(tail -n 3 "$dir/start.log" "$dir/maillog" 2>/dev/null)"
    done
    facts | tee "$dir/facts"
}

facts() {
    cat <<FACTS
dir=$dir
conf=$dir/conf
log=$dir/maillog
run=$dir/run
mail=$dir/mail
sink=$dir/sink
port_smtpd=$port_smtpd
port_plain=$port_plain
port_accept=$port_accept
FACTS
}

command=${1:-}
dir=${2:-}
[[ $command != ports ]] || {
    free_ports "${2:?how many?}"
    exit
}
[[ $dir == /* ]] || fail "use: $0 start|hold|stop|wait DIR [name=value ...]; DIR is an absolute path"
shift 2
milter='' default_action=tempfail relay='' more_cf=''
for setting in "$@"; do
    case $setting in
    milter=*) milter=${setting#*=} ;;
    default_action=*) default_action=${setting#*=} ;;
    relay=*) relay=${setting#*=} ;;
    cf.*=*) more_cf+=${setting#cf.}$'\n' ;;
    *) fail "unknown setting: $setting" ;;
    esac
done
case $command in
start)
    start
    trap - EXIT
    ;;
hold)
    start
    echo ready=yes
    while read -r _; do :; done
    ;;
stop) stop_everything ;;
wait) within 600 queue_is_empty || fail "after a minute there is still mail in the queue of $dir" ;;
*) fail "unknown command: $command" ;;
esac
