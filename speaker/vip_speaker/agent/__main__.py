"""`python -m vip_speaker.agent`."""

import sys

from vip_speaker.agent.cli import main

sys.exit(main())
