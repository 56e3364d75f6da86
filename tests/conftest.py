"""What every test stands on."""

from __future__ import annotations

import signal

# A shell that starts this in the background has Ctrl-C ignored, and every process started from here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
