"""
A whole epoch of a cold file that fits in memory takes what reading the file once, and an epoch from memory, take.

`MEMMAP_TS_LONG=1 pytest -s tests/io/test_whole_epochs.py` prints the ratios, on files of 1.6 GB, and what small rows
of a file much larger than memory reach beside direct reads of one block each. Otherwise the files are small, and what
counts is what was read and which way.
"""
import os, statistics, time, numpy as np, pytest
from harness import long_or
from memmap_ts.all import *
from memmap_ts.io.direct import DirectReads
from memmap_ts.io.linux import Linux
from memmap_ts.io.reader import RowReader
from memmap_ts.io.system import system
from memmap_ts.store import address
from memmap_ts.testing import evict

pytestmark = [pytest.mark.alone, pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')]
N_BYTES,PAIRS = long_or(16_000_000, 1_600_000_000),long_or(1, 5)
SIZES = [(400,1024), (4000,64), (40_000,64), (100_000,64)] # bytes of a row, rows of a batch

@pytest.fixture(scope='module')
def path(tmp_path_factory):
    fn = tmp_path_factory.mktemp('epochs')/'X.npy'
    X = create_memmap(fn, (N_BYTES//4,))
    for i in range(0, len(X), 10**6): X[i:i+10**6] = i//10**6
    X.flush()
    yield fn
    fn.unlink()

def rows_of(path, row_bytes): return open_memmap(path).reshape(-1, 1, row_bytes//4)

def epoch(dl):
    "Seconds until the first batch, and for all of them"
    start,first,n = time.perf_counter(),None,0
    for b in dl:
        if first is None: first = time.perf_counter()-start
        n += len(b[0])
    assert n==dl.n//dl.bs*dl.bs if dl.drop_last else n==dl.n
    return first,time.perf_counter()-start

def in_order(path):
    "Seconds to read the file as `cat` does"
    start,buffer = time.perf_counter(),bytearray(2**17)
    with open(path, 'rb', 0) as f:
        while f.readinto(buffer): pass
    return time.perf_counter()-start

@pytest.mark.parametrize('row_bytes,bs', SIZES)
def test_cold_epochs(path, row_bytes, bs):
    ratios,firsts = [],[]
    for _ in range(PAIRS):
        dl = MemmapDL(itemify(rows_of(path, row_bytes)), bs=bs, shuffle=True)
        evict(path)
        read = in_order(path)
        evict(path)
        first,cold = epoch(dl)
        array = dl.last_epoch.arrays[0]
        _,warm = epoch(dl)
        assert array.swept==(row_bytes<2**16) and array.way=='cached' and dl.last_epoch.arrays[0].way=='mapped'
        ratios.append(cold/(read+warm))
        firsts.append(first)
    print(f'\n{row_bytes:,} B: a cold epoch takes {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) '
          f'of reading in order and a warm one; first batch after {statistics.median(firsts):.2f} s')

def blocks_at_random(path, block, secs):
    "How many direct reads of one block each there are in a second, about a thousand under way"
    with open(path, 'rb') as f: fd = system.open_direct(f.fileno())
    n,memory,rng,under_way = 0,system.direct_memory(1536*block),np.random.default_rng(),[]
    last,to = os.path.getsize(path)//block,address(memory)+(np.arange(512)*block).astype('u8')
    start = time.perf_counter()
    while time.perf_counter()-start<secs or under_way:
        if time.perf_counter()-start<secs:
            at = to+(n//512+len(under_way))%3*512*block
            under_way.append(system.start_direct_reads(fd, rng.integers(0, last, 512)*block, at, block))
        if len(under_way)==3 or time.perf_counter()-start>=secs:
            for r in under_way.pop(0): n += len(r.wait())
    os.close(fd)
    return n/(time.perf_counter()-start)

def test_small_rows_past_the_cache(path, monkeypatch):
    "400 B rows, as if memory had no room for them, beside the disk's own reads of one block each"
    with open(path, 'rb') as f: fd = system.open_direct(f.fileno())
    if fd is None: pytest.skip('this file system has no direct reads')
    os.close(fd)
    monkeypatch.setattr(Linux, 'free_memory', lambda self: N_BYTES//4)
    reader,secs,ratios = RowReader(rows_of(path, 400)),long_or(.05, 2),[]
    for _ in range(PAIRS):
        evict(path)
        reads,rng,n = reader.epoch(),np.random.default_rng(),0
        assert type(reads) is DirectReads
        limit = blocks_at_random(path, reads.block, secs)
        out,tickets,start = np.empty((1024,1,100), 'f4'),[],time.perf_counter()
        while time.perf_counter()-start<secs:
            rows = rng.integers(0, reader.n_rows, 1024)
            tickets.append((rows,reads.announce(rows)))
            if len(tickets)>2:
                reads.read(tickets[0][0], out, tickets.pop(0)[1])
                n += 1024
        ratios.append(n/(time.perf_counter()-start)/limit)
        reads.close()
    print(f'\n400 B past the cache: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) of random reads '
          f'of {reads.block} B')
