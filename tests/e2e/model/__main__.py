# SPDX-License-Identifier: GPL-2.0
"""The commands of the model."""

import model
from model import calls, compare, crash, exercise, files, history
from model.cli import main

if __name__ == "__main__":
    main(model.__doc__, *(part.commands for part in (files, compare, exercise, calls, history, crash)))
