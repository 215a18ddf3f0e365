"A part of a file is read in order beside an epoch, as far as memory has room"
import threading, time, numpy as np, pytest
from memmap_ts.store import open_memmap
from memmap_ts.io import sweep as sweep_module, turns as turns_module
from memmap_ts.io.linux import Linux
from memmap_ts.io.reader import RowReader
from memmap_ts.io.sweep import Sweep, worth_in_order
from memmap_ts.io.system import system

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def at_once(monkeypatch): monkeypatch.setattr(sweep_module, 'FIRST_BATCH_SECONDS', 0)

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

def read_64(reads, ticket=None):
    rows = rng.permutation(20_000)[:64]
    got = reads.read(rows, np.empty((64,2,100), 'f4'), ticket)
    return (got==reads.reader.array[rows]).all()

def test_stopped(file, monkeypatch):
    "It waits for the first batch before it begins, and ends at once"
    monkeypatch.setattr(sweep_module, 'FIRST_BATCH_SECONDS', 60)
    reads = cold_epoch(file)
    thread = Sweep([reads.sweep_part])
    thread.start()
    thread.stop()
    thread.join(20)
    assert not thread.is_alive() and not reads.only_copies and not reads.swept

def test_after_the_first_batch(file, monkeypatch):
    monkeypatch.setattr(sweep_module, 'FIRST_BATCH_SECONDS', 60)
    reads = cold_epoch(file)
    thread = Sweep([reads.sweep_part])
    thread.start()
    assert reads.announce(np.arange(64)) is None # nothing is hinted beside it
    assert read_64(reads)
    thread.join(20)
    assert not thread.is_alive() and reads.only_copies and read_64(reads)

def slowly(monkeypatch, seconds):
    "Each piece takes so long to be read in order"
    read_at = Linux.read_at
    monkeypatch.setattr(sweep_module, 'CHUNK_BYTES', 2**14)
    def slow(self, fd, buffer, offset):
        if len(buffer)==2**14: time.sleep(seconds)
        return read_at(self, fd, buffer, offset)
    monkeypatch.setattr(Linux, 'read_at', slow)

def test_in_turn(file, monkeypatch):
    "Rows at random take a fifth of the time, as long as the file is read in order, and none has to wait then"
    slowly(monkeypatch, .1)
    reads = cold_epoch(file)
    turns,waits = reads.sweep_part.turns,[]
    monkeypatch.setattr(turns.over, 'wait', waits.append)
    thread = Sweep([reads.sweep_part])
    thread.start()
    for _ in range(3): assert read_64(reads)
    thread.stop()
    thread.join(20)
    assert waits[0]==0 and all(.2*turns.seconds<o<=4*turns.seconds for o in waits[1:])
    assert read_64(reads) and len(waits)==3

@pytest.mark.parametrize('row_seconds,ends', [(1e-6,True), (1.,False)])
def test_a_file_that_is_slow_in_order(file, monkeypatch, row_seconds, ends):
    "Then rows at random do without, and the next epoch does not ask for it"
    slowly(monkeypatch, .05) # all of it takes longer than this test, on a busy machine too
    monkeypatch.setattr(turns_module, 'ENOUGH_SECONDS', 0)
    reads = cold_epoch(file)
    turns,thread = reads.sweep_part.turns,Sweep([reads.sweep_part])
    turns.seconds,turns.rows_done = 1000*row_seconds,1000
    thread.start()
    while turns.byte_seconds is None: time.sleep(.001) # known when a thread has read something
    turns.end_turn(0, time.monotonic())
    assert turns.over.is_set()==ends
    thread.stop()
    thread.join(20)
    assert not thread.is_alive() and not reads.only_copies and not reads.reader.residency.loses_pages
    again = [reads.reader.epoch(20_000, rng.integers(0, 20_000, 256), rng.integers(0, 20_000, 64)) for _ in range(2)]
    assert [bool(o.sweep_part) for o in again]==[not ends,True] # it may be quicker another time

def test_the_pace_in_order(monkeypatch):
    "Of all threads together, while none of them is through with its stretch; not before each has read something"
    monkeypatch.setattr(turns_module, 'monotonic', lambda: now)
    turns,now = turns_module.Turns(turns_module.Pace(), 1000, 2**30),5.
    turns.expected = True
    turns.begin_in_order(4)
    for now in (5.5,6.):
        for k in range(4):
            turns.count(k, 2**20)
            assert (turns.byte_seconds is None)==(now==5.5 and k<3)
    assert turns.bytes_done==2**23 and turns.byte_seconds==1/2**23

def test_counts_what_is_read(file, monkeypatch):
    "A part of a stretch, too"
    slowly(monkeypatch, .05)
    reads = cold_epoch(file)
    turns,thread = reads.sweep_part.turns,Sweep([reads.sweep_part])
    thread.start()
    until = time.monotonic()+60
    while turns.bytes_done<5*2**14 and time.monotonic()<until: time.sleep(.001)
    assert 5*2**14<=turns.bytes_done<2**24
    assert .05/2**14<=turns.byte_seconds
    thread.stop()
    thread.join(20)

def test_many_stretches(file, monkeypatch):
    "Several threads read one part; one that fails is enough to say that it did not come"
    monkeypatch.setattr(sweep_module, 'STRETCH_BYTES', 2**18)
    names,read_at = set(),Linux.read_at
    def noted(self, fd, buffer, offset):
        names.add(threading.get_ident())
        time.sleep(.001)
        return read_at(self, fd, buffer, offset)
    monkeypatch.setattr(Linux, 'read_at', noted)
    reads = cold_epoch(file)
    assert swept(reads) and reads.only_copies and len(names)==4
    def fails(self, fd, buffer, offset):
        if offset>10**7: raise OSError(5, 'Input/output error')
        return read_at(self, fd, buffer, offset)
    monkeypatch.setattr(Linux, 'read_at', fails)
    reads = cold_epoch(file)
    assert swept(reads) and not reads.only_copies

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
