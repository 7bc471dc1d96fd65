"""`python -m vip_speaker.agent`."""

import sys

from vip_speaker.agent.main import main

sys.exit(main())
