"What an array's engine holds, and how it chooses the way of an epoch"
import os, sys, tempfile, numpy as np, pytest
from memmap_ts.store import open_memmap
from memmap_ts.io.direct import DirectReads
from memmap_ts.io.linux import Linux
from memmap_ts.io.portable import Portable
from memmap_ts.io.reader import RowReader, choose_way
from memmap_ts.io.reads import CachedReads, MappedReads, MemoryReads
from memmap_ts.io.system import system

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory and has these reads')
rng = np.random.default_rng(0)

class Free(Linux):
    "Linux with so much free memory"
    def __init__(self, n_bytes): super().__init__(); self.n_bytes = n_bytes
    def free_memory(self): return self.n_bytes

def evicted(fn, mode='r'):
    a = open_memmap(fn, mode)
    system.evict(fn)
    return a

@pytest.mark.parametrize('mapped,has_file,in_memory,read_directly,want', [
    (False,False,False,False,MemoryReads), (True,False,False,False,MappedReads), (True,True,True,False,MappedReads),
    (True,True,True,True,MappedReads), (True,True,False,False,CachedReads), (True,True,False,True,DirectReads)])
def test_table(mapped, has_file, in_memory, read_directly, want):
    assert choose_way(mapped, has_file, in_memory, read_directly) is want

@linux
@pytest.mark.parametrize('mode,free,n_rows,want', [('r',1,None,DirectReads), ('r+',1,None,CachedReads), ('r',160_000,None,CachedReads),
    ('r',160_000,20,CachedReads), ('r',30_000,5,CachedReads), ('r',30_000,20,DirectReads), ('r',0,None,CachedReads), ('c',1,None,MappedReads)])
def test_cold(saved, mode, free, n_rows, want):
    "Directly: what this program does not write to, and has no room for in memory"
    fn = saved(np.zeros((40,2,1000), 'f4'))
    reads = RowReader(evicted(fn, mode), Free(free)).epoch(n_rows)
    assert type(reads) is want and not reads.only_copies
    reads.close()

@linux
def test_in_memory(saved):
    fn = saved(np.zeros((4000,2,100), 'f4'))
    np.array(open_memmap(fn))
    reads = RowReader(open_memmap(fn), Free(1)).epoch()
    assert type(reads) is MappedReads and reads.only_copies and reads.share_in_memory==1
    assert type(RowReader(np.zeros((3,2))).epoch()) is MemoryReads

@linux
def test_the_rows_of_the_epoch_count(saved):
    "A part that is in memory is read from there, whatever is with the rest"
    fn = saved(np.zeros((20_000,2,100), 'f4'))
    reader = RowReader(evicted(fn))
    with open(fn, 'rb', 0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        f.read(5_000*800)
    assert reader.epoch(4000, rng.integers(0, 4000, 256)).way=='mapped'
    assert reader.epoch(4000, rng.integers(8000, 20_000, 256)).way=='cached'

@pytest.mark.parametrize('platform', [system,Portable()], ids=['this','portable'])
def test_any_array(saved, platform):
    "Rows of what has no file, or can't be read as plain bytes"
    X = rng.normal(size=(100,4,8)).astype('f4')
    Xd = open_memmap(saved(X))
    raw = saved(X).with_name('raw')
    raw.write_bytes(b'x'+X.tobytes())
    fortran = saved(np.asfortranarray(X), 'F.npy')
    for a in (Xd, Xd[::2], Xd[::-1], Xd[:,1:3], Xd[3:50], X, X.astype('>f8'), np.array(['a','bb']*50), np.array([None,'a']*50, object), np.arange(100),
              np.zeros((100,0)), np.memmap(raw, 'f4', 'r', 1, X.shape), open_memmap(fortran), open_memmap(saved(X), 'c'), np.zeros((100,), 'V3')):
        reader,rows = RowReader(a, platform),np.array([len(a)-1,0,len(a)-1])
        want = np.array(a)[rows]
        np.testing.assert_array_equal(reader.read(rows), want)
        reads = reader.epoch(10, rows, rows)
        np.testing.assert_array_equal(reads.read(rows, np.empty_like(want), reads.announce(rows)), want)

def test_no_rows(saved):
    for a in (np.zeros((0,3)), open_memmap(saved(np.zeros((0,3), 'f4')))):
        assert RowReader(a).read(np.array([], int)).shape==(0,3)

@linux
def test_in_memory_where_reads_do_not_tell(saved):
    "Overlay and tmpfs know no read that only says whether it would wait: mincore is asked, if it tells this user the truth"
    class NoWait(Linux):
        def page_in_memory(self, fd, offset): return None
    class Others(NoWait): # a file of somebody else, read only: mincore says that all of it is there
        def mincore_is_reliable(self, path, fd): return False
    fn = saved(rng.normal(size=(3000,2,50)).astype('f4'))
    reader = RowReader(evicted(fn), NoWait())
    assert reader.share_in_memory(np.arange(3000), 100)==0
    np.load(fn)
    assert reader.epoch().only_copies and reader.residency.all_in_memory(np.arange(100)*400) and reader.residency.complete
    reader = RowReader(open_memmap(fn), Others())
    assert not reader.epoch().only_copies and not reader.residency.all_in_memory(np.arange(100)*400)

@pytest.mark.skipif(not os.path.isdir('/dev/shm') or not isinstance(system, Linux), reason='no tmpfs')
def test_tmpfs_is_memory():
    with tempfile.TemporaryDirectory(dir='/dev/shm') as d:
        np.save(f'{d}/X.npy', np.ones((1000,2,50), 'f4'))
        assert RowReader(open_memmap(f'{d}/X.npy')).epoch().only_copies

def test_replaced_file(saved):
    "Rows are those of the file the array shows, not of another that took its name"
    fn = saved(np.ones((100,1,50), 'f4'))
    X = open_memmap(fn)
    os.rename(saved(np.zeros((100,1,50), 'f4'), 'new.npy'), fn) if sys.platform!='win32' else pytest.skip('Windows replaces no open file')
    reader = RowReader(X)
    assert reader.file is None and (reader.read(np.arange(100))==1).all()

@linux
def test_part_to_read_in_order(saved):
    "Small rows, of which an epoch wants nearly every page: of a split that is one piece of the array, that piece"
    fn,every = saved(np.zeros((80_000,400), 'u1')),np.arange(80_000)
    def part(rows, batch, n=None):
        reader = RowReader(evicted(fn))
        return reader,reader.epoch(n or len(rows), rng.choice(rows, 256), batch).sweep_part
    for n,want in ((80_000,True), (8000,True), (3000,False)):
        reader,found = part(every, rng.permutation(80_000)[:64], n)
        assert bool(found)==want
        if want: assert found.residency is reader.residency and found.first_byte<80_000*20 and found.n_bytes>80_000*360
    for batch in (every[:64], every[100:164][::-1]): assert not part(every, batch)[1] # they come in order
    for rows in (np.arange(60_000, 68_000), rng.choice(np.arange(60_000, 68_000), 4000, replace=False)):
        found = part(rows, rng.choice(rows, 64))[1]
        assert 60_000*400<=found.first_byte<61_000*400 and 67_000*400<found.first_byte+found.n_bytes<=68_000*400
    rows = np.append(np.arange(4000), np.arange(76_000, 80_000))
    assert part(rows, rng.choice(rows, 64))[1].n_bytes>400*70_000 # most pages between are not wanted, but one read in ten is
    np.array(open_memmap(fn))
    reads = RowReader(open_memmap(fn)).epoch(80_000, rng.choice(every, 256), rng.permutation(80_000)[:64])
    assert not reads.sweep_part and reads.only_copies

@linux
@pytest.mark.parametrize('row,n,rows,want', [(4096,8000,8000,True), (4096,8000,1000,False), (40_960,800,800,True), (40_960,800,500,False),
    (81_920,400,400,False), (81_920,400,700,False)], ids=['pages','few of them','larger rows','some of them','large rows','large rows, often'])
def test_larger_rows_in_order(saved, row, n, rows, want):
    reads = RowReader(evicted(saved(np.zeros((n,row), 'u1')))).epoch(rows, rng.integers(0, n, 256), rng.permutation(n)[:64])
    assert bool(reads.sweep_part)==want

@linux
def test_whose_file(saved, monkeypatch):
    "mincore is believed by those who own a file or may write to it"
    fn = saved(np.zeros((10,10), 'f4'))
    with open(fn) as f:
        assert system.mincore_is_reliable(fn, f.fileno())
        monkeypatch.setattr(os, 'access', lambda *args: False)
        assert system.mincore_is_reliable(fn, f.fileno())
        monkeypatch.setattr(os, 'geteuid', lambda: os.stat(fn).st_uid+1)
        assert not system.mincore_is_reliable(fn, f.fileno())

@linux
@pytest.mark.parametrize('begun', [True,False])
def test_who_writes_is_asked_when_an_epoch_begins(saved, begun):
    "What this process has written since is its own business, also if it has closed the file meanwhile"
    fn = saved(np.zeros((100,1000), 'f4'))
    to_write,reader = open_memmap(fn, 'r+'),RowReader(evicted(fn))
    if begun: reader.epoch()
    to_write[3] = 7
    del to_write
    os.utime(fn, ns=(0,10**18))
    if begun: reader.check_unchanged()
    else:
        with pytest.raises(OSError, match='was written to since'): reader.check_unchanged()

@linux
def test_pieces_of_any_size(tmp_path):
    "More than fit into one call, in any order; what is in memory is known as for pieces of one size"
    (tmp_path/'a.bin').write_bytes(np.random.default_rng(0).bytes(300_000))
    whole,rng = np.fromfile(tmp_path/'a.bin', 'u1'),np.random.default_rng(1)
    reader = RowReader(np.memmap(tmp_path/'a.bin', 'u1', 'r', 77))
    sizes = rng.integers(1, 9000, 300)
    offsets = rng.integers(0, 300_000-77-sizes)
    places,out = np.cumsum(sizes)[::-1]-sizes[::-1],np.zeros(sizes.sum(), 'u1')
    places = places[::-1].copy()
    assert reader.file.read_pieces(offsets, sizes, out, places, str)
    for o,n,p in zip(offsets, sizes, places): assert (out[p:p+n]==whole[77+o:77+o+n]).all()
    system.evict(tmp_path/'a.bin')
    assert reader.file.read_into(100_000, np.empty(60_000, 'u1')) # so that some pages are there
    reader.residency.look()
    assert 0<reader.residency.share_of_file()<1
    for n in (1,4096,4097,9000):
        one,each = (reader.residency.pages(offsets, o) for o in (n,np.full(300, n)))
        assert np.unique(one[0]).tolist()==np.unique(each[0]).tolist() and (one[2]==each[2]).all()
