"""What a guard process runs: `python -I -S guard_program.py DIRECTORY …`, DIRECTORY being where its package is.

A file of its own so that guard.py itself comes from the byte code cache: compiling it would cost the guard a megabyte.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from vip_speaker.guard import main

    sys.exit(main(sys.argv[2:]))
