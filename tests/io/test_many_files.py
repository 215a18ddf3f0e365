"Rows of many files: by mappings and by calls, cold and warm, with what a system may refuse"
import os, numpy as np, pytest
from concurrent.futures import ThreadPoolExecutor
from memmap_ts.collect import open_memmaps
from memmap_ts.io import addresses
from memmap_ts.io.linux import Linux
from memmap_ts.io.pool import FilePool, FilesMapped
from memmap_ts.io.portable import Portable
from memmap_ts.io.sweep import Sweep
from memmap_ts.io.system import system
from memmap_ts.io.table import FileTable

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux copies from any address')
X = np.random.default_rng(0).integers(0, 99, (600,3,100)).astype('f4')

@pytest.fixture
def files(tmp_path):
    "X in 60 files"
    fns = [tmp_path/f'{k}.npy' for k in range(60)]
    for fn,part in zip(fns, np.split(X, 60)):
        np.save(fn, part)
    return fns

def open_cold(files):
    "Headers bring small files into memory"
    res = open_memmaps(files)
    for fn in files: system.evict(fn)
    return res

def read_epoch(reader, order, bs=50):
    reads = reader.epoch(len(order), order, order[:bs])
    batches = order.reshape(-1, bs)
    tickets = [reads.announce(b) for b in batches[:3]]
    res = [reads.read(b, np.empty((bs,*X.shape[1:]), 'f4'), tickets[k] if k<3 else reads.announce(b)) for k,b in enumerate(batches)]
    reads.check_unchanged()
    reads.close()
    return reads,np.concatenate(res)

order = np.random.default_rng(1).permutation(600)

@linux
def test_cold_and_warm(files):
    reader = open_cold(files).reader()
    for way,share in (('cached',0),('mapped',1)):
        reads,got = read_epoch(reader, order)
        np.testing.assert_array_equal(got, X[order])
        assert (reads.way,reads.share_in_memory)==(way,share) and reads.only_copies==(share==1)
        for fn in files: np.load(fn)
        reader.pool.residency.recheck_at = 0

@linux
@pytest.mark.parametrize('refused', [['_to'],['_to','_from']], ids=str)
def test_copies_that_are_refused(files, monkeypatch, refused):
    "Memory of a driver can't be looked up, a container may forbid it all: other calls bring the same rows"
    Z = open_memmaps(files)
    for name in refused: monkeypatch.setattr(addresses, name, lambda *args: -1)
    np.testing.assert_array_equal(read_epoch(Z.reader(), order)[1], X[order])
    if len(refused)==2:
        assert system.address_range(10**6) is None
        Z = open_memmaps(files)
        assert Z.parts.pool.mapped is None
        np.testing.assert_array_equal(read_epoch(Z.reader(), order)[1], X[order])

@linux
def test_file_system_that_maps_nothing(files, monkeypatch):
    Z = open_memmaps(files)
    def fails(*args): raise OSError(19, 'No such device')
    monkeypatch.setattr(addresses.AddressRange, 'map_file', fails)
    np.testing.assert_array_equal(read_epoch(Z.reader(), order)[1], X[order])
    assert Z.parts.pool.mapped is None

def pool_of(files, platform):
    paths = [str(o) for o in files]
    return FilePool(FileTable(paths, [os.stat(o) for o in paths], platform))

@linux
@pytest.mark.parametrize('mapped', [[],range(20, 40)], ids=['none','some'])
def test_files_in_memory_that_are_not_mapped(files, mapped):
    "The mapping says nothing of them: the files are asked, and that brings their pages"
    open_cold(files)
    for fn in files[:30]: np.load(fn)
    pool = pool_of(files, system)
    pool.need(np.array(mapped, 'i8')) # to map them doesn't bring them
    assert pool.residency.share(pool.mapped.begins+200)==.5

@linux
def test_in_order_through_small_files(files):
    "Each step tells how many bytes it has"
    mapped = pool_of(files, system).mapped
    assert sum(mapped.in_order(0, mapped.n_bytes, 2**12))==mapped.n_bytes

class NoReads(Portable):
    "As on Windows"
    def read_at(self, fd, buffer, offset): return None

@pytest.mark.parametrize('platform', [system,Portable(),NoReads()], ids=lambda o: type(o).__name__)
def test_pieces(files, platform):
    "Of any length, over the end of a page, twice, in threads"
    pool,whole = pool_of(files, platform),[o.read_bytes() for o in files]
    rng = np.random.default_rng(2)
    def one(n_bytes):
        numbers,out = rng.integers(0, 60, 200),np.empty((200,n_bytes), 'u1')
        offsets = rng.integers(0, 12128-n_bytes, 200, endpoint=True)
        pool.hint(numbers, offsets, n_bytes)
        pool.read(numbers, offsets, n_bytes, out)
        return all(out[i].tobytes()==whole[k][o:o+n_bytes] for i,(k,o) in enumerate(zip(numbers.tolist(), offsets.tolist())))
    with ThreadPoolExecutor(4) as threads: assert all(threads.map(one, [1,7,100,4096,5000,12128]*3))
    numbers,sizes = rng.integers(0, 60, 1500),rng.integers(1, 12128, 1500) # each of its own size
    offsets = rng.integers(0, 12129-sizes)
    want = [whole[k][o:o+n] for k,o,n in zip(numbers.tolist(), offsets.tolist(), sizes.tolist())]
    pool.hint(numbers, offsets, sizes)
    for read in (pool.read,pool.open_files.read):
        out = np.empty(sizes.sum(), 'u1')
        read(numbers, offsets, sizes, out)
        assert out.tobytes()==b''.join(want)
    assert len(pool.open_files.opened)<=pool.open_files.most

def test_reads_that_come_short(files, monkeypatch):
    "They are tried again"
    class Few(Portable):
        def read_at(self, fd, buffer, offset): return os.preadv(fd, [buffer[:100]], offset)
    if not hasattr(os, 'preadv'): pytest.skip('Windows has no such call')
    out = np.empty(3000, 'u1')
    pool_of(files, Few()).read(np.array([3]), np.array([50]), 3000, out)
    assert out.tobytes()==files[3].read_bytes()[50:3050]

@linux
def test_mappings_are_bounded(files, monkeypatch):
    "Those that were not used for longest go, and come back"
    monkeypatch.setattr(FilesMapped, 'most', 20)
    Z = open_memmaps(files)
    mapped,most = Z.parts.pool.mapped,0
    for i in range(0, 600, 10):
        np.testing.assert_array_equal(Z[order[i:i+10]], X[order[i:i+10]])
        most = max(most, mapped.n_mapped)
        assert mapped.n_mapped==np.count_nonzero(mapped.used)
    assert 10<=most<=20

@linux
def test_swept(files, monkeypatch):
    "Small cold rows: a thread reads the files in order, and then rows only need copying"
    monkeypatch.setattr('memmap_ts.io.sweep.FIRST_BATCH_SECONDS', 0)
    reads = open_cold(files).reader().epoch(600, order, order[:50])
    assert reads.sweep_part.n_bytes>X.nbytes*.8
    sweep = Sweep([reads.sweep_part])
    sweep.start()
    sweep.join(30)
    assert reads.swept and reads.only_copies and reads.reader.pool.residency.share_of_file()>.9

@linux
def test_rows_one_after_the_other(files, monkeypatch):
    "Are read in one piece for each file"
    Z,sizes = open_memmaps(files),[]
    read = FilePool.read
    monkeypatch.setattr(FilePool, 'read', lambda self, numbers, offsets, n_bytes, out: (sizes.append(n_bytes), read(self, numbers, offsets, n_bytes, out))[1])
    np.testing.assert_array_equal(Z[np.arange(5, 38)], X[5:38])
    assert sizes==[n*1200 for n in (5,10,10,8)]
    np.testing.assert_array_equal(Z[::-1][np.arange(5, 38)], X[::-1][5:38])

@linux
def test_files_of_another_user(files, monkeypatch):
    "Nobody believes `mincore` there: pages are asked for one by one, once an epoch"
    monkeypatch.setattr(Linux, 'mincore_is_reliable', lambda self, path, fd: False)
    Z,hints = open_memmaps(files),[]
    monkeypatch.setattr(FilePool, 'hint', lambda self, *args: hints.append(args))
    for fn in files: np.load(fn)
    reads,got = read_epoch(Z.reader(), order)
    np.testing.assert_array_equal(got, X[order])
    assert reads.only_copies and not hints
