"""`python -m eiderd` is `eider`. So is the console script, by way of `run`."""

from eiderd.outside import signals

# Until there is something to put away, Ctrl-C ends eider at once: not with a traceback out of
# whatever was being imported.
signals.end_at_once()

from eiderd.entry import run  # noqa: E402

if __name__ == "__main__":
    run()
