"Every way to read gives NumPy's rows: one suite, run over all of them"
import os, numpy as np, pytest
from concurrent.futures import ThreadPoolExecutor
from hypothesis import HealthCheck, given, settings, strategies as st
from memmap_ts.io.aio import AsyncReads
from memmap_ts.io.darwin import Darwin
from memmap_ts.io.linux import Linux
from memmap_ts.io.portable import Portable
from memmap_ts.io.direct import DirectReads, DirectTicket
from memmap_ts.io.reader import RowReader
from memmap_ts.io.reads import CachedReads, MappedReads, MemoryReads
from memmap_ts.io.rows import as_idxs
from memmap_ts.io.system import system

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory and has these reads')

class NoSetup(AsyncReads):
    "The kernel gives no context"
    free = []
    def _call(self, name, *args):
        if name=='setup': raise OSError(22, 'Invalid argument')
        return super()._call(name, *args)

class NoSubmit(AsyncReads):
    "The file system does not offer asynchronous reads"
    free = []
    def _call(self, name, *args):
        if name=='submit': raise OSError(22, 'Invalid argument')
        return super()._call(name, *args)

class NoCalls(Linux):
    "A processor whose numbers of system calls are not known"
    def start_reads(self, *args): return None

def direct(array, platform):
    reader = RowReader(array, platform)
    fd = platform.open_direct(reader.file.fd)
    if fd is None: pytest.skip('this file system has no direct reads')
    return DirectReads(reader, fd)

class ReadsTests:
    "What every way to read has to do; a subclass says how it is made"
    mode = 'r'
    def make(self, array): raise NotImplementedError

    def open(self, folder, row_bytes, offset, n, dtype='u1', seed=0):
        "Rows of any size, from any offset of a raw file, which is not in memory"
        rng,k = np.random.default_rng(seed),max(row_bytes//np.dtype(dtype).itemsize, 1)
        high = 2 if dtype=='?' else 128 if dtype=='<U1' else 256
        values = rng.integers(0, high, offset+n*k*np.dtype(dtype).itemsize, dtype='u1')
        if dtype=='<U1': values[offset:].reshape(-1,4)[:,1:] = 0
        fn = folder/'a.bin'
        fn.write_bytes(values.tobytes())
        system.evict(fn)
        return np.memmap(fn, dtype, self.mode, offset, (n,k))

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(row_bytes=st.sampled_from([1,2,3,7,8,100,400,4096,5000,102_400]), dtype=st.sampled_from(['u1','f4','>i2','c16','S3','<U1','?']),
           offset=st.sampled_from([0,1,64,128,200,4095,4096,5000]), n=st.integers(1,300), seed=st.integers(0,9))
    def test_equals_numpy(self, tmp_path_factory, row_bytes, dtype, offset, n, seed):
        "From the first byte of the file to the last, in any order, twice in a batch, counted from the end"
        n,align = min(n, 2**22//row_bytes),np.dtype(dtype).alignment
        offset = -(-offset//align)*align # what is not aligned goes through `gather`, see test_reader.py
        a = self.open(tmp_path_factory.mktemp('raw'), row_bytes, offset, n, dtype, seed)
        rng,reads,want = np.random.default_rng(seed),self.make(a),np.array(a)
        for idxs in (rng.integers(-n, n, 25), np.arange(n), np.array([n//2]*5), rng.permutation(n), np.arange(n)[::-1],
                     rng.permutation(min(n, 256)).astype('u1'), np.array([], int)):
            rows = as_idxs(idxs, n)
            out = np.empty((len(rows), a.shape[1]), dtype)
            assert reads.read(rows, out, reads.announce(rows)) is out
            np.testing.assert_array_equal(out, want[idxs])
            np.testing.assert_array_equal(reads.read(rows, np.empty_like(out)), want[idxs]) # not announced
        reads.close()

    def test_many_announced_before_the_first_is_read(self, tmp_path):
        a = self.open(tmp_path, 5000, 128, 600)
        reads,batches = self.make(a),np.random.default_rng(1).permutation(600).reshape(30, 20)
        tickets = [reads.announce(b) for b in batches]
        for b,t in zip(batches, tickets): np.testing.assert_array_equal(reads.read(b, np.empty((20,5000), 'u1'), t), np.array(a)[b])
        assert (reads.n_rows,reads.n_bytes)==(600,600*5000)

    def test_two_epochs_at_once(self, tmp_path):
        "What one does, or that it ends, is nothing to the other"
        a = self.open(tmp_path, 4096, 128, 300)
        one,two = self.make(a),self.make(a)
        rows = np.arange(300)[::-3]
        ticket,other = two.announce(rows),one.announce(rows)
        np.testing.assert_array_equal(one.read(rows, np.empty((100,4096), 'u1'), other), np.array(a)[rows])
        one.close()
        np.testing.assert_array_equal(two.read(rows, np.empty((100,4096), 'u1'), ticket), np.array(a)[rows])
        assert two.n_rows==100

    def test_an_epoch_in_each_thread(self, tmp_path):
        a = self.open(tmp_path, 400, 128, 2000)
        want = np.array(a)
        def one(seed):
            reads,rows = self.make(a),np.random.default_rng(seed).integers(0, 2000, 700)
            return np.array_equal(reads.read(rows, np.empty((700,400), 'u1'), reads.announce(rows)), want[rows])
        with ThreadPoolExecutor(8) as pool: assert all(pool.map(one, range(100)))

    def test_announced_and_never_read(self, tmp_path):
        "No file, no memory, no place among the system's reads stays"
        if not os.path.isdir('/proc/self/fd'): pytest.skip('only Linux tells open files')
        a = self.open(tmp_path, 4096, 128, 300)
        def some():
            for i in range(100):
                reads = self.make(a)
                ticket = reads.announce(np.arange(60)*2+i)
                if i%2: del ticket
                reads.close()
            return len(os.listdir('/proc/self/fd')),open('/proc/self/maps').read().count('[aio]')
        some()
        first = some()
        assert some()==first and first[1]<64

    @pytest.mark.skipif(not hasattr(os, 'fork'), reason='Windows has no fork')
    def test_in_a_forked_process(self, tmp_path):
        "A child reads on in an epoch of its parent, and begins its own"
        a = self.open(tmp_path, 4096, 128, 300)
        begun,rows = self.make(a),np.arange(0, 300, 7)
        ticket,want = begun.announce(rows),np.array(a)[rows]
        pid = os.fork()
        if not pid:
            ok = False
            try:
                ok = np.array_equal(begun.read(rows, np.empty_like(want), ticket), want)
                mine = self.make(a)
                ok = ok and np.array_equal(mine.read(rows, np.empty_like(want), mine.announce(rows)), want)
            finally: os._exit(0 if ok else 1)
        assert os.waitpid(pid, 0)[1]==0
        np.testing.assert_array_equal(begun.read(rows, np.empty_like(want), ticket), want)

class FromDisk(ReadsTests):
    "What every way has to do that knows the file"
    def test_truncated(self, tmp_path):
        a = self.open(tmp_path, 5000, 128, 600)
        reads,rows = self.make(a),np.arange(599, 0, -7)
        ticket = reads.announce(rows)
        reads.read(rows, np.empty((len(rows),5000), 'u1'), ticket)
        os.truncate(a.filename, 10_000)
        with pytest.raises(OSError, match='a.bin was truncated while it was read: 10,000 bytes'):
            ticket = reads.announce(rows)
            reads.read(rows, np.empty((len(rows),5000), 'u1'), ticket)

class TestMemory(ReadsTests):
    def make(self, array): return MemoryReads(RowReader(np.array(array)))

class TestMappedByItself(ReadsTests):
    "A mapping whose file may not be looked at"
    mode = 'c'
    def make(self, array): return MappedReads(RowReader(array))

class TestPortable(ReadsTests):
    "A platform that helps with nothing"
    def make(self, array):
        reads = RowReader(array, Portable()).epoch(100)
        assert type(reads) is MappedReads and not reads.only_copies
        return reads

@linux
class TestMapped(FromDisk):
    "By one thread, since nobody knows what is in memory"
    def make(self, array): return MappedReads(RowReader(array))

@linux
class TestMappedInMemory(FromDisk):
    def make(self, array):
        np.array(array)
        return MappedReads(RowReader(array), only_copies=True)

@linux
class TestCached(FromDisk):
    def make(self, array): return CachedReads(RowReader(array))

@linux
class TestCachedByBlocks(FromDisk):
    "Blocks of neighbours were asked for before; what has come of them is copied from the mapping"
    def make(self, array):
        reads = CachedReads(RowReader(array))
        for first in range(0, len(array), 50): reads.hint_block(np.arange(first, min(first+50, len(array))))
        return reads

@linux
class TestCachedWithoutCalls(FromDisk):
    def make(self, array): return CachedReads(RowReader(array, NoCalls()))

@linux
class TestCachedWithoutContexts(FromDisk):
    def make(self, array): return CachedReads(RowReader(array, Linux(NoSetup)))

@linux
class TestCachedOnAFileSystemWithoutThem(FromDisk):
    def make(self, array): return CachedReads(RowReader(array, Linux(NoSubmit)))

@linux
class TestDirect(FromDisk):
    def make(self, array): return direct(array, system)

@linux
class TestDirectWithoutContexts(FromDisk):
    def make(self, array): return direct(array, Linux(NoSetup))

@linux
class TestDirectOnAFileSystemWithoutThem(FromDisk):
    def make(self, array): return direct(array, Linux(NoSubmit))

class ByThreads(Linux):
    "Direct reads as macOS makes them"
    start_direct_reads = Darwin.start_direct_reads

@linux
class TestDirectByThreads(FromDisk):
    def make(self, array): return direct(array, ByThreads())

@linux
def test_direct_reads_are_what_it_says(tmp_path):
    "Rows come by tickets, past the page cache; small rows one after the other, and batches too large, do not"
    fn = tmp_path/'a.bin'
    fn.write_bytes(np.random.default_rng(0).bytes(2000*5000))
    system.evict(fn)
    a = np.memmap(fn, 'u1', 'r', 0, (2000,5000))
    reads = direct(a, system)
    for rows in (np.arange(100)[::-1], np.arange(100), np.array([1999,0,1999])):
        ticket,out = reads.announce(rows),np.empty((len(rows),5000), 'u1')
        assert ticket.copy_into(out)
        np.testing.assert_array_equal(out, np.fromfile(fn, 'u1').reshape(2000, 5000)[rows])
    assert not isinstance(reads.announce(np.arange(4000)%2000), DirectTicket) # 33 MB
    small = direct(np.memmap(fn, 'u1', 'r', 0, (100_000,100)), system)
    assert [isinstance(small.announce(rows), DirectTicket) for rows in (np.arange(50), np.arange(50)*2)]==[False,True]

@linux
@pytest.mark.parametrize('block', [512,4096])
def test_small_rows_past_the_cache(tmp_path, block):
    "They are read in blocks of the device; those of a batch that share blocks, or are neighbours, come by one read"
    started = []
    class Noted(Linux):
        def direct_block(self, fd): return max(block, super().direct_block(fd))
        def start_direct_reads(self, fd, offsets, addresses, sizes):
            started.append((offsets,sizes))
            return super().start_direct_reads(fd, offsets, addresses, sizes)
    values = np.random.default_rng(0).integers(0, 256, (5000,400), 'u1')
    np.save(tmp_path/'X.npy', values)
    reads = direct(np.load(tmp_path/'X.npy', mmap_mode='r'), Noted())
    apart = np.random.default_rng(1).permutation(200)*25 # 10 kB between them
    for rows,n_reads in ((apart,200), (np.append(apart, apart+1),200), (np.array([7,7,8,6,4999]),2)):
        ticket,out = reads.announce(rows),np.empty((len(rows),400), 'u1')
        offsets,sizes = started[-1]
        assert len(offsets)==n_reads and not (offsets%reads.block).any() and not (sizes%reads.block).any()
        assert sizes.max()<=1200+2*reads.block
        np.testing.assert_array_equal(reads.read(rows, out, ticket), values[rows])
    assert reads.works and reads.n_rows==605
    reads.close()

@linux
@pytest.mark.parametrize('n,n_bytes', [(64,8*2**20),(11,2*2**20),(9,9*26*4096)])
def test_memory_of_direct_reads(tmp_path, n, n_bytes):
    "Where a batch is large enough, Linux can lay it into huge pages: the size is a multiple of theirs. Small ones stay small"
    np.save(tmp_path/'X.npy', np.zeros((300,25_000), 'f4'))
    reads = direct(np.load(tmp_path/'X.npy', mmap_mode='r'), system)
    assert reads.announce(np.arange(n)[::-1]).copy_into(np.empty((n,25_000), 'f4'))
    assert [len(m) for m in reads.free]==[n_bytes]
    reads.close()
    assert not reads.free

@linux
def test_after_a_failed_direct_read(tmp_path, monkeypatch):
    "No more are tried; the rows come through the page cache"
    monkeypatch.setattr('memmap_ts.io.direct.BLOCK', 1) # reads that are not aligned fail
    X = np.random.default_rng(0).normal(size=(300,1001)).astype('f4')
    np.save(tmp_path/'X.npy', X)
    reads,rows = direct(np.load(tmp_path/'X.npy', mmap_mode='r'), system),np.arange(0, 300, 3)
    for _ in range(2):
        np.testing.assert_array_equal(reads.read(rows, np.empty((100,1001), 'f4'), reads.announce(rows)), X[rows])
        assert not reads.works

@linux
@pytest.mark.parametrize('make', [CachedReads, lambda reader: direct(reader.array, system)], ids=['cached','direct'])
def test_signals(tmp_path, make):
    "A signal ends the wait for reads early; no row is missing then"
    import signal
    X = np.repeat(np.arange(2000, dtype='f4'), 1000).reshape(2000, 1000)
    np.save(tmp_path/'X.npy', X)
    reads,seen,rng = make(RowReader(np.load(tmp_path/'X.npy', mmap_mode='r'))),[],np.random.default_rng(0)
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, .0005, .0005)
    try:
        while len(seen)<100:
            rows = rng.permutation(2000)[:64]
            np.testing.assert_array_equal(reads.read(rows, np.empty((64,1000), 'f4'), reads.announce(rows)), X[rows])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
