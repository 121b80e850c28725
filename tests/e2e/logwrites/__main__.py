# SPDX-License-Identifier: GPL-2.0
"""The commands that make crashes and judge them."""

import logwrites
from logwrites import mounted, raw, requests
from model.cli import main

if __name__ == "__main__":
    main(logwrites.__doc__, *(part.commands for part in (requests, raw, mounted)))
