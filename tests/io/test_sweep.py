"A part of a file is read in order beside an epoch, as far as memory has room"
import time, numpy as np, pytest
from memmap_ts.store import open_memmap
from memmap_ts.io import sweep as sweep_module
from memmap_ts.io.linux import Linux
from memmap_ts.io.reader import RowReader
from memmap_ts.io.sweep import Sweep, worth_in_order
from memmap_ts.io.system import system

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def at_once(monkeypatch): monkeypatch.setattr(sweep_module, 'PATIENCE_SECONDS', 0)

def cold_epoch(fn, platform=system, rows=None):
    a = open_memmap(fn)
    system.evict(fn)
    rows = np.arange(len(a)) if rows is None else rows
    sample = np.append(rows[[0,-1]], rng.choice(rows, 256)) # as a loader takes it
    return RowReader(a, platform).epoch(len(rows), sample, rng.choice(rows, 64))

def swept(*epochs):
    "Sweep what these epochs want; was it ended in time?"
    thread = Sweep([o.sweep_part for o in epochs])
    thread.start()
    thread.join(20)
    return not thread.is_alive()

@pytest.fixture
def file(saved): return saved(rng.normal(size=(20_000,2,100)).astype('f4'))

def test_then_it_is_in_memory(file):
    "The epoch knows, reads through the mapping, and the system is asked anew"
    reads = cold_epoch(file)
    residency = reads.reader.residency
    residency.complete,residency.recheck_at = False,time.monotonic()+1000 # it has looked, and need not soon
    assert reads.way=='cached' and not reads.only_copies and swept(reads) and reads.only_copies
    rows = rng.permutation(20_000)[:64]
    reads.announce(rows)
    assert residency.complete and not residency.loses_pages
    np.testing.assert_array_equal(reads.read(rows, np.empty((64,2,100), 'f4')), np.load(file)[rows])

def test_a_part(file):
    reads = cold_epoch(file, rows=np.arange(8000, 20_000))
    assert swept(reads) and reads.only_copies
    residency = reads.reader.residency
    residency.look()
    assert residency.pages(np.arange(8000, 20_000)*800, 800)[1].mean()==1
    assert residency.pages(np.arange(7000)*800, 800)[1].mean()<.1

@pytest.mark.parametrize('free,want', [(115e6,'yX'), (105e6,'y'), (28e6,''), (0,'')])
def test_room_in_memory(saved, monkeypatch, free, want):
    "What fits into half of what is free, the smaller first"
    fns = saved(np.zeros((10_000,1000), 'f4')),saved(np.zeros((10_000,400), 'f4'), 'y.npy')
    epochs = [cold_epoch(fn) for fn in fns]
    monkeypatch.setattr(type(system), 'free_memory', lambda self: free)
    assert swept(*epochs)
    assert [e.only_copies for e in epochs]==['X' in want,'y' in want]

def test_the_same_file_is_read_once(file, monkeypatch):
    opened,open_in_order = [],Linux.open_in_order
    monkeypatch.setattr(Linux, 'open_in_order', lambda self, *args: (opened.append(args), open_in_order(self, *args))[1])
    epochs = [cold_epoch(file),cold_epoch(file)]
    assert swept(*epochs) and len(opened)==1 and all(e.only_copies for e in epochs)

def test_in_vain(file):
    "Where rows do not get into memory, or the system does not tell, the next epoch does not ask for it"
    class Never(Linux):
        def page_in_memory(self, fd, offset): return False
    reads = cold_epoch(file, Never())
    assert swept(reads) and not reads.only_copies and reads.reader.residency.loses_pages
    assert not reads.reader.epoch(20_000, rng.integers(0, 20_000, 256), rng.integers(0, 20_000, 64)).sweep_part

def test_stopped(file, monkeypatch):
    "It waits before it begins, and ends between two pieces"
    monkeypatch.setattr(sweep_module, 'PATIENCE_SECONDS', 60)
    reads = cold_epoch(file)
    thread = Sweep([reads.sweep_part])
    thread.start()
    thread.stop()
    thread.join(20)
    assert not thread.is_alive() and not reads.only_copies

def test_a_disk_that_fails(file, monkeypatch):
    "Who reads the rows will hear of it"
    reads = cold_epoch(file)
    def fails(self, fd, buffer, offset): raise OSError(5, 'Input/output error')
    monkeypatch.setattr(Linux, 'read_at', fails)
    assert swept(reads) and not reads.only_copies
    assert not reads.reader.residency.loses_pages # the next epoch may try it again

def test_a_platform_that_opens_nothing(file):
    "The thread ends, and the epoch goes on without it"
    class Closed(Linux):
        def open_in_order(self, fd, offset, n_bytes): raise OSError(13, 'Permission denied')
    reads = cold_epoch(file, Closed())
    assert swept(reads) and not reads.only_copies

def test_worth():
    offsets = rng.permutation(100_000)*400
    first,n_bytes = worth_in_order(100_000, offsets[:256], offsets[256:320], 400)
    assert first<1_000_000 and n_bytes>38_000_000
    assert worth_in_order(100_000, offsets[:256], np.arange(64)*400, 400) is None
    pieces = np.arange(16)*50_000_000 # of rows that come in pieces far from each other
    assert worth_in_order(100_000, offsets[:256], offsets[256:320], 400, pieces) 
    assert worth_in_order(100_000, offsets[:256], offsets[256:320], 400, pieces[:2]*1000) is None
