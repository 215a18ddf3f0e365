"Tests that look for what happens rarely: a short run each time, a long one on demand"
import os

def long_or(short, long):
    "`long` with `MEMMAP_TS_LONG=1 pytest …`, else `short`"
    return long if os.environ.get('MEMMAP_TS_LONG') else short
