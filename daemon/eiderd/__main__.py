"""`python -m eiderd` is `eider`. So is the console script, by way of `run`."""

import signal

# Until there is something to put away, Ctrl-C ends eider at once: not with a traceback out of
# whatever was being imported.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from eiderd.entry import run

if __name__ == "__main__":
    run()
