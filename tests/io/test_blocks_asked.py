"What has come of blocks that were asked for is copied from the mapping; that is looked at for the latest of them alone"
import time, numpy as np, pytest
from memmap_ts.all import *
from memmap_ts.io import readahead
from memmap_ts.io.linux import Linux
from memmap_ts.io.readahead import BlocksAsked
from memmap_ts.io.reader import RowReader
from memmap_ts.io.reads import CachedReads
from memmap_ts.io.residency import PAGE
from memmap_ts.io.system import system
from memmap_ts.testing import evict

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')
N = 40_000

@pytest.fixture
def file(saved):
    fn = saved(np.arange(N*100, dtype='f4').reshape(N, 100))
    evict(fn)
    return fn

@pytest.fixture
def reads(file): return CachedReads(RowReader(open_memmap(file)))

def come(reads, rows):
    "Wait until rows are in memory"
    offsets = np.asarray(rows)*400
    for _ in range(500):
        reads.reader.residency.look_at([int(offsets.min())], [int(np.ptp(offsets))+400])
        if np.all(reads.reader.residency.known(offsets, 400)): return
        time.sleep(.01)
    raise AssertionError('the blocks did not come')

@pytest.fixture
def by_calls(monkeypatch):
    "Rows that are read by calls"
    rows,was = [],CachedReads.by_calls
    def noted(self, some, out, at):
        rows.extend(some[at].tolist())
        return was(self, some, out, at)
    monkeypatch.setattr(CachedReads, 'by_calls', noted)
    return rows

def read(reads, rows):
    rows = np.asarray(rows)
    out = np.empty((len(rows), 100), 'f4')
    reads.read(rows, out, reads.announce(rows))
    assert (out==rows[:,None]*100+np.arange(100)).all() # of 24 bits at most
    return out

def test_rows_that_have_come_are_copied(reads, by_calls):
    for first in (1000,30_000): reads.hint_block(np.arange(first, first+500))
    come(reads, range(1000, 1500)); come(reads, range(30_000, 30_500))
    read(reads, np.random.default_rng(0).permutation([*range(1000,1500),*range(30_000,30_500)]))
    assert not by_calls
    read(reads, [1100,1200,1300,9000]) # of no block
    assert by_calls==[9000]

def test_rows_that_were_evicted_after_they_came(reads, file):
    reads.hint_block(np.arange(1000, 1500))
    come(reads, range(1000, 1500))
    evict(file)
    read(reads, range(1000, 1500))

def test_no_row_is_hinted_again(reads, monkeypatch):
    asked = []
    monkeypatch.setattr(Linux, 'will_need', lambda self, fd, offset, n_bytes: asked.append((offset,n_bytes)))
    reads.hint_block(np.arange(1000, 1500))
    n = len(asked)
    assert n and sum(size for _,size in asked)==500*400
    assert reads.announce(np.array([3,1004,9000])) is None and len(asked)==n

def test_the_latest_blocks_are_looked_at_alone(reads, monkeypatch):
    reads.announce(np.array([0])) # the first look is at all of the file
    looks,was = [],Linux.pages_in_memory
    def noted(self, at, n_bytes):
        looks.append((at-reads.reader.file.address,n_bytes))
        return was(self, at, n_bytes)
    monkeypatch.setattr(Linux, 'pages_in_memory', noted)
    monkeypatch.setattr(readahead, '_recent_bytes', 2*500*400)
    for first in (1000,30_000,20_000): reads.hint_block(np.arange(first, first+500))
    reads.reader.residency.recheck_at = time.monotonic()+100
    read(reads, range(20_000, 20_010))
    assert len(looks)==2
    for (at,n_bytes),first in zip(looks, (30_000,20_000)):
        assert at%PAGE==0 and at<=128+first*400 and 128+(first+500)*400<=at+n_bytes<=128+(first+500)*400+16*PAGE

def test_looks_take_a_twentieth_of_the_time(reads, monkeypatch):
    now,looks = [100.],[]
    class Clock:
        @staticmethod
        def monotonic(): return now[0]
    def look_at(offsets, sizes):
        looks.append(now[0])
        now[0] += .5
    residency = reads.reader.residency
    residency.look()
    residency.recheck_at = np.inf
    monkeypatch.setattr(readahead, 'time', Clock)
    monkeypatch.setattr(residency, 'look_at', look_at)
    blocks = BlocksAsked(residency)
    blocks.add([0], [4000])
    for _ in range(30):
        blocks.known(np.array([4,8])*10**6, 400)
        now[0] += 1
    assert np.diff(looks).min()>=10 and 2<=len(looks)<=4

def test_nothing_is_looked_at_where_rows_are_known(reads, monkeypatch):
    "Nor where blocks are scattered over the file, or there are none"
    residency = reads.reader.residency
    monkeypatch.setattr(residency, 'look_at', lambda *_: pytest.fail('it was looked at'))
    scattered = BlocksAsked(residency)
    scattered.add(list(range(0, 10**7, 10**6)), [400]*10)
    assert not np.any(scattered.known(np.array([4,8])*10**6, 400))
    np.array(reads.reader.array) # all of it is in memory
    residency.recheck_at = 0
    blocks = BlocksAsked(residency)
    blocks.add([0], [4000])
    assert np.all(blocks.known(np.array([0,400]), 400))

def test_large_rows_are_read_as_ever(saved):
    "A call for each is no matter there, and a hint for each helps a slow disk"
    reads = CachedReads(RowReader(open_memmap(saved(np.zeros((100,1024), 'f4')))))
    reads.hint_block(np.arange(50))
    assert reads.blocks is None

def test_scattered_blocks_of_a_random_split(file):
    "Neighbouring positions may be any rows"
    order = np.random.default_rng(0).permutation(N)[:3000]
    dl = TSDataLoaders.from_memmap(file, np.arange(N, dtype='f4'), splits=(order,), bs=64, shuffle='blocks', drop_last=False).train
    evict(file)
    seen = []
    for x,y in dl:
        assert (x[:,0,0]==y.flatten()*100).all()
        seen += y.flatten().long().tolist()
    assert sorted(seen)==sorted(order.tolist())
