#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The program ubd, what it prints: nothing of it is lost, no name in it can move the cursor, and
# the manual says what the program says.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/program.bash"
get_program

model pattern back $(((1 << 20) + 4096)) back
cp -p back copy
model make-cow cow back
model pattern ten 5000 ten
"$ubd" create behind ten
put behind $(($(model info behind bitmap_offset) + 1)) '\200'

# Nothing is lost.

mkfifo pipe
exec 4<>pipe
exec 5>pipe
exec 4<&-
for command in --help "info cow" "info --json cow" "check cow" "diff cow" "diff --json cow" "diff --from back cow"; do
	code=0
	# shellcheck disable=SC2086
	"$ubd" $command >/dev/full 2>err || code=$?
	is "$command: says when the disk is full" "$code $(cat err)" \
		"1 ubd: standard output: No space left on device (os error 28)"
	code=0
	# shellcheck disable=SC2086
	"$ubd" $command >&5 2>err || code=$?
	is "$command: ends in silence when nobody reads" "$code $(cat err)" "0 "
done
code=0
"$ubd" check behind >&5 || code=$?
is "but check tells what it has found" $code 2
exec 5>&-

# Names that move the cursor, or turn the text around.

evil=$'x\e[2J\e]0;y\a\u202ez'
cp cow "$evil"
# A header is to say otherwise, whatever second it is.
touch -d 2001-02-03 "$evil"
model make-cow gone back --name "$work/$evil.gone"
model make-cow other back --name "$work/$evil"
while IFS='|' read -r -a words; do
	"$ubd" "${words[@]//EVIL/$evil}"
done >said 2>&1 <<'END'
info|gone
info|--json|gone
check|gone
commit|gone
rebase|gone|copy
info|other
check|other
commit|--to|new|other
rebase|--quiet|other|copy
info|EVIL
info|EVIL.gone
check|EVIL
diff|EVIL.gone
create|EVIL|back
create|new|EVIL.gone
create|new|EVIL
commit|--to|EVIL|cow
commit|--to|EVIL/new|cow
rebase|--quiet|cow|EVIL.gone
rebase|--quiet|EVIL|EVIL
EVIL
info|--|-EVIL
END
is "no path is printed as it is" "$(LC_ALL=C grep -ac $'[\e\a]\|\xe2\x80\xae' said)" 0 || note "$(cat -v said)"
is "they are all there" "$(grep -c '\\u{1b}\[2J.*\\u{202e}z' said)" 23 || note "$(cat -v said)"

# The command line.

finds "no command" 1 "no command" "Usage:" --
finds "an unknown command" 1 "ubd: unrecognized subcommand 'frobnicate'" "Usage:" -- frobnicate
finds "an unknown option" 1 "ubd: unexpected argument '--frob'" "Usage:" -- info --frob cow
finds "a file too many" 1 "unexpected argument 'cow'" -- info cow cow
finds "no number" 1 "invalid value 'many'" -- create --alignment many new back
finds "--help" 0 "Usage:" "Exit status:" -- --help
finds "--version" 0 "ubd $(sed -n 's/^version = "\(.*\)"/\1/p' "$top/tools/ubd/Cargo.toml")" -- --version
for command in attach list show detach reset rescan snapshot create info check commit convert rebase diff; do
	finds "$command -h shows how" 0 "Usage: ubd $command" "Examples:" "  ubd $command " -- $command -h
done
check "the manual page is what the program says" diff "$top/Documentation/ubd.8" <("$ubd" generate manual)
is "and there is nothing to say against it" "$(man --warnings -l -Tutf8 "$top/Documentation/ubd.8" 2>&1 >/dev/null)" ""
"$ubd" generate bash >completion
# shellcheck disable=SC2016
is "completions for bash" "$(bash -c '. ./completion
	COMP_WORDS=(ubd commit --) COMP_CWORD=2
	_ubd ubd -- commit; echo "${COMPREPLY[@]}"')" "--to --rate --cancel --quiet --json --help"
for shell in zsh fish; do
	check "completions for $shell" grep -q detach <("$ubd" generate $shell)
done

plan
