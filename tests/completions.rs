//! The script of `backstopctl completions bash`, in a bash.

use std::process::Command;

/// What bash offers for the last word of a command line.
fn offered(words: &[&str]) -> Vec<String> {
    let script = r#"
        source <("$BACKSTOPCTL" completions bash)
        [[ $(complete -p backstopctl) == *' _backstopctl '* ]] || exit 3
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        # The script calls it in a completion only.
        compopt() { :; }
        _backstopctl backstopctl "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", script, "bash"])
        .args(words)
        .env("BACKSTOPCTL", env!("CARGO_BIN_EXE_backstopctl"))
        .output()
        .expect("bash is there");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{words:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
    told.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_options_and_values() {
    for (words, want) in [
        (&["backstopctl", "su"][..], &["suppress"][..]),
        (&["backstopctl", "re"], &["reactivate", "revert", "rebuild", "report"]),
        (&["backstopctl", "blocklist", "a"], &["add"]),
        (&["backstopctl", "suppress", "--re"], &["--reason"]),
        (&["backstopctl", "keys", "rotate", "--at"], &["--at-once"]),
        (&["backstopctl", "postfix", "print", "--un"], &["--undo"]),
        (&["backstopctl", "confirm", "--authority", "u"], &["unverified"]),
        (&["backstopctl", "completions", "z"], &["zsh"]),
        (&["backstopctl", "selftest", "--po"], &["--postfix-config"]),
        (&["backstopctl", "--js"], &["--json"]),
        (&["backstopctl", "no-such-thing", "--at"], &[]),
    ] {
        let offered = offered(words);
        for word in want {
            assert!(offered.iter().any(|known| known == word), "{words:?}: {word} is not among {offered:?}");
        }
        let last = words[words.len() - 1];
        assert!(offered.iter().all(|word| word.is_empty() || word.starts_with(last)), "{words:?}: {offered:?}");
        assert!(!want.is_empty() || offered.iter().all(String::is_empty), "{words:?}: {offered:?}");
    }
}

#[test]
fn each_shell_has_a_script_and_no_other() {
    let run = |shell: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstopctl"));
        command.args(["completions", shell]).output().expect("the program starts")
    };
    for (shell, want) in
        [("bash", "complete -F _backstopctl"), ("zsh", "#compdef backstopctl"), ("fish", "complete -c backstopctl")]
    {
        let output = run(shell);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(want), "{shell}");
    }
    let refused = run("csh");
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bash, zsh, fish"), "it says which there are");
}
