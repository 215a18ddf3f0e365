"""
`python truncations.py FOLDER N ROW_BYTES rows|windows`: N times a process reads an array of FOLDER that is in memory, and this
one cuts the file at a random moment. Prints how they ended: 0 is the error that says so, -7 a SIGBUS.
"""
import os, random, sys, time, numpy as np
from collections import Counter
from memmap_ts.store import open_memmap
from memmap_ts.io.reader import RowReader
from memmap_ts.windows import windows

def read_on(fn, kind, ready):
    "Read batches until there is an error"
    X = open_memmap(fn)
    np.array(X) # now it is in memory
    reader,shape = RowReader(X),X.shape[1:]
    if kind=='windows':
        W = windows(X.reshape(-1, X.shape[-1]), 10)[0]
        reader,shape = W.reader(),W.shape[1:]
    reads,rng = reader.epoch(),np.random.default_rng(0)
    while True:
        rows = rng.integers(0, reader.n_rows, 64)
        reads.read(rows, np.empty((64,*shape), X.dtype), reads.announce(rows))
        if ready is not None: os.close(ready)
        ready = None

def end_of(fn, kind, rng):
    "How a process ends, whose file is cut while it reads"
    begun,ready = os.pipe()
    pid = os.fork()
    if not pid:
        code = 2
        try:
            os.close(begun)
            read_on(fn, kind, ready)
        except OSError as e: code = 0 if 'was truncated while it was read' in str(e) else 1
        finally: os._exit(code)
    os.close(ready)
    os.read(begun, 1)
    os.close(begun)
    time.sleep(rng.random()*.01)
    os.truncate(fn, rng.choice([200,10_000,1_000_000]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

if __name__=='__main__':
    folder,n,row_bytes,kind = sys.argv[1],int(sys.argv[2]),int(sys.argv[3]),sys.argv[4]
    rng,ends,fn = random.Random(0),Counter(),os.path.join(folder, 'X.npy')
    for _ in range(n):
        np.save(fn, np.zeros((2**23//row_bytes,1,row_bytes//4), 'f4'))
        ends[end_of(fn, kind, rng)] += 1
    print(dict(ends))
