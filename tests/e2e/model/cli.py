# SPDX-License-Identifier: GPL-2.0
"""The command line of a program that has several commands."""

import argparse
import sys

from . import Wrong
from .processes import place_of
from .server import serve


def run(parser, argv):
    """Do what a command line says; the exit code."""
    try:
        args = parser.parse_args(argv)
        args.run(args)
        return 0
    except SystemExit as e:
        return e.code or 0
    except Wrong as e:
        print(e)
    except Exception as e:  # pylint: disable=broad-except
        print(f"{type(e).__name__}: {e}, {place_of(e)}")
    return 1


def main(about, *parts):
    """The program with the commands of all parts. Each part is a function that is
    given another one, command(name, function): it returns the parser for what
    function is called with. `serve FILE` is a command of every program."""
    parser = argparse.ArgumentParser(description=about)
    commands = parser.add_subparsers(required=True)

    def command(name, function):
        p = commands.add_parser(name, help=(function.__doc__ or "").split("\n", maxsplit=1)[0])
        p.set_defaults(run=function)
        return p

    for part in parts:
        part(command)
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], lambda argv: run(parser, argv))
    sys.exit(run(parser, sys.argv[1:]))
