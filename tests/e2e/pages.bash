# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The pages Documentation/example-*.rst as tests: their commands are taken from the
# pages, and so is what they must print. To be sourced; needs nothing but ok() and
# not_ok().

# page_script PAGE FOLDER: a script of all commands of the page, which leaves in FOLDER what
# each prints and its exit code; and in FOLDER also each command, and what the page
# says that it prints. In a block of a console a command is a line with the prompt `# `,
# with a machine's name in front of that if there are several, and lines behind it with
# `> `; all other lines are printed.
page_script() {
	awk -v folder="$2" '
		function close_command() {
			if (n)
				printf "} >%s/%d.got 2>&1 </dev/null\necho $? >%s/%d.code\n", folder, n, folder, n
		}
		/^\.\. code-block:: console$/ { inside = 1; next }
		/^[^ ]/ { inside = 0 }
		!inside || /^ *$/ { next }
		{ sub(/^   /, "") }
		/^[a-z]*# / {
			close_command()
			n++
			sub(/^[a-z]*# /, "")
			print "{\n" $0
			print >(folder "/" n ".command")
			printf "" >(folder "/" n ".want")
			next
		}
		/^> / { print substr($0, 3); print substr($0, 3) >(folder "/" n ".command"); next }
		{ print >(folder "/" n ".want") }
		END { close_command() }
	' "$1"
}

# run_page PAGE FOLDER: runs its commands, in one shell, and then tells of each whether it
# has succeeded and printed what the page says. FOLDER must not exist.
run_page() {
	local page=${1##*/example-} n=0 code what got want
	page=${page%.rst}
	mkdir -p "$2"
	page_script "$1" "$2" >"$2/script"
	(cd / && bash "$2/script")
	# With no processes: to start one takes long in a guest.
	while [ -e "$2/$((n + 1)).command" ]; do
		n=$((n + 1))
		read -r what <"$2/$n.command"
		code=none got='' want=$(<"$2/$n.want")
		[ ! -e "$2/$n.code" ] || { read -r code <"$2/$n.code"; got=$(<"$2/$n.got"); }
		if [[ $code == 0 && $got == "$want" ]]; then
			ok "$page: $what"
		else
			not_ok "$page: $what" "exit code $code, and printed: $got"$'\n'"but should have: $want"
		fi
	done
	[ $n != 0 ] || not_ok "$page: has commands"
}
