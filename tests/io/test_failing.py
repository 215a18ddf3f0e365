"""
Disks that fail and files that are cut: an error that says which row of which file, never the end of the process.

`MEMMAP_TS_LONG=1 pytest tests/io/test_failing.py` cuts files 300 times on each file system that can be mounted.
"""
import errno, os, subprocess, sys, tempfile, numpy as np, pytest
from contextlib import contextmanager
from pathlib import Path
from failing_disk import failing_disk
from harness import long_or
from memmap_ts.store import open_memmap
from memmap_ts.data.series import Series
from memmap_ts.io.direct import DirectReads
from memmap_ts.io.linux import Linux
from memmap_ts.io.mounts import is_only_memory, others_write
from memmap_ts.io.reader import RowReader
from memmap_ts.io.system import system
from memmap_ts.summary.blocks import BlockReader
from memmap_ts.windows import windows
from memmap_ts.write import to_memmap

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='the disk that fails is made for Linux')
X = np.random.default_rng(0).normal(size=(2000,1,1024)).astype('f4')

class Done:
    "A read that has come to its end"
    def __init__(self, got): self.got = got
    def wait(self): return self.got

class Failing(Linux):
    "Linux with a disk of which some bytes can't be read; a read that begins before them comes short"
    first = end = 0
    tells_what_is_in_memory = True
    def page_in_memory(self, fd, offset): return self.tells_what_is_in_memory and super().page_in_memory(fd, offset)
    def pages_in_memory(self, *args): return super().pages_in_memory(*args) if self.tells_what_is_in_memory else None
    def fail(self, row, n_rows=1, row_bytes=4096): self.first,self.end = 128+row*row_bytes,128+(row+n_rows)*row_bytes
    def read_at(self, fd, buffer, offset):
        n = len(buffer)
        if self.first<offset+n and offset<self.end:
            n = self.first-offset
            if n<=0: raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read_at(fd, memoryview(buffer)[:n], offset)
    def start_reads(self, fd, offsets, addresses, sizes):
        got = [r.wait() for r in super().start_reads(fd, offsets, addresses, sizes)]
        ends = offsets+sizes
        short = (self.first<ends) & (offsets<self.end)
        return [Done(np.where(short, np.where(offsets<self.first, self.first-offsets, -errno.EIO), np.concatenate(got)))]

class WithoutCalls(Failing):
    "A kernel that starts no reads"
    def start_reads(self, *args): return None

@pytest.fixture(params=[Failing,WithoutCalls], ids=['many at once','one by one'])
def disk(request):
    "Its rows are in memory or not, nobody knows"
    res = request.param()
    res.tells_what_is_in_memory = False
    return res

@pytest.fixture
def file(saved):
    fn = saved(X)
    system.evict(fn)
    return fn

def read(reads, rows, shape=(1,1024)):
    return reads.read(rows, np.empty((len(rows),*shape), 'f4'), reads.announce(rows))

@pytest.mark.parametrize('rows', [[1234], [7,1234,3], range(1200,1300), [1999,*range(1233,1236)]], ids=str)
def test_file_and_row(file, disk, rows):
    disk.fail(1234)
    for view,first in ((slice(None),0), (slice(200,None),200)):
        reader,numbers = RowReader(open_memmap(file)[view], disk),np.array(rows)-first
        for reads in (reader, reader.epoch()):
            with pytest.raises(OSError, match=r'error in row 1,234: .*X\.npy') as e:
                reads.read(numbers) if reads is reader else read(reads, numbers)
            assert e.value.errno==errno.EIO and e.value.filename==str(file)

def test_a_run_tells_the_row(file, disk):
    "Rows 1,190 to 1,233 come in one read, which ends short; the next one gives the reason"
    disk.fail(1234, 100)
    reader = RowReader(open_memmap(file), disk)
    np.testing.assert_array_equal(reader.read(np.arange(1190, 1234)), X[1190:1234])
    with pytest.raises(OSError, match='in row 1,234'): reader.read(np.arange(1190, 1300))

def test_direct_reads(file):
    "The way through the page cache tells what is wrong"
    class Directly(Failing):
        def start_direct_reads(self, fd, offsets, addresses, sizes): return Failing.start_reads(self, fd, offsets, addresses, sizes)
    disk = Directly()
    disk.fail(1234)
    reader = RowReader(open_memmap(file), disk)
    fd = disk.open_direct(reader.file.fd)
    if fd is None: pytest.skip('this file system has no direct reads')
    with pytest.raises(OSError, match=r'error in row 1,234: .*X\.npy'): read(DirectReads(reader, fd), np.array([3,1234,5]))

@pytest.mark.parametrize('steps_first', [True,False])
def test_windows(saved, disk, steps_first):
    "The window that can't be read is named"
    a = X.reshape(-1,4)
    fn = saved(a if steps_first else a.T.copy())
    W = windows(open_memmap(fn), 50, seq_first=steps_first)[0]
    W.series = Series(W.series.a, disk)
    system.evict(fn)
    rows = np.array([5,300_000,77_777])
    def values(reads): return read(reads, rows, W.shape[1:])
    np.testing.assert_array_equal(values(W.reader().epoch()), np.stack([a[i:i+50].T for i in rows]))
    disk.first = 128+(77_777*16 if steps_first else 2*4*len(a)+4*77_780)
    disk.end = disk.first+4
    with pytest.raises(OSError, match=r'error in window 77,777: .*X\.npy'): values(W.reader().epoch())

def test_statistics(file, disk):
    blocks = BlockReader(open_memmap(file))
    blocks.reader = RowReader(open_memmap(file), disk)
    blocks.array = blocks.reader.array
    disk.fail(1234)
    for steps in (slice(None), slice(100,600)): # whole rows are one piece, parts of them are many
        some = slice(900,1100),slice(None),steps
        np.testing.assert_array_equal(blocks.read(some), X[some])
        with pytest.raises(OSError, match=r'error in row 1,234: .*X\.npy'): blocks.read((slice(1000,1500),slice(None),steps))

def test_to_memmap(file, tmp_path, monkeypatch, disk):
    "The error is about the source, which is named, and nothing is left"
    disk.fail(1234)
    monkeypatch.setattr(RowReader.__init__, '__defaults__', (disk,))
    with pytest.raises(OSError, match=r'error in row 1,234: .*X\.npy'): to_memmap(open_memmap(file), tmp_path/'Z.npy', progress=False)
    assert sorted(os.listdir(tmp_path))==['X.npy']

def warm(fn, disk):
    "An epoch of an array that is in memory"
    np.load(fn)
    reads = RowReader(open_memmap(fn), disk).epoch()
    assert reads.only_copies and reads.way=='mapped'
    return reads

def test_rows_that_left_memory(file, disk):
    "They are read by calls, and only they; so a disk that fails is an error"
    disk.tells_what_is_in_memory = True
    reads,rows = warm(file, disk),np.random.default_rng(1).permutation(2000)
    system.evict(file)
    residency = reads.reader.residency
    with open(file, 'rb') as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        f.read(128+1500*4096)
    residency.recheck_at = 0
    disk.fail(0, 1200) # of these nobody reads
    some = rows[rows<1400]
    np.testing.assert_array_equal(read(reads, some), X[some])
    disk.fail(1900)
    with pytest.raises(OSError, match='in row 1,900'): read(reads, rows)
    disk.fail(5000)
    system.evict(file)
    residency.recheck_at = 0
    np.testing.assert_array_equal(read(reads, rows), X[rows])

@pytest.mark.parametrize('kind', ['nobody','other user','other machine'])
def test_by_calls_where_the_file_may_be_cut(file, monkeypatch, kind):
    """Where a lease says nothing, rows that are in memory come by calls all the same, from the first. A file of another
    user comes from the mapping, after a look at its size: calls for each row would be paid by whoever shares data"""
    class Refused(Failing):
        def hold(self, fd): raise PermissionError(errno.EACCES, 'Permission denied')
    disk = Refused() if kind=='other user' else Failing()
    if kind=='other machine': monkeypatch.setattr('memmap_ts.io.linux.others_write', lambda stat: True)
    np.load(file)
    reads = RowReader(open_memmap(file), disk).epoch()
    by_calls = kind=='other machine'
    assert reads.only_copies!=by_calls and reads.share_in_memory==1 and not reads.sweep_part
    disk.fail(7)
    if not by_calls: np.testing.assert_array_equal(read(reads, np.array([5,7])), X[[5,7]])
    else:
        with pytest.raises(OSError, match='in row 7'): read(reads, np.array([5,7]))
    os.truncate(file, 10_000)
    with pytest.raises(OSError, match='was truncated while it was read'): read(reads, np.array([1500]))

def test_writer_that_comes_and_goes(file):
    "An epoch goes on by calls while somebody has the file open to write"
    disk = Failing()
    reads,rows = warm(file, disk),np.array([5,7,5])
    disk.fail(7)
    np.testing.assert_array_equal(read(reads, rows), X[rows])
    with open(file, 'r+b'), pytest.raises(OSError, match='in row 7'): read(reads, rows)
    np.testing.assert_array_equal(read(reads, rows), X[rows])

def test_who_writes_waits(file):
    "No longer than a copy takes, and by no signal is anybody ended"
    reads = warm(file, system)
    assert reads.hold.take()
    code = 'import os, sys; f = os.open(sys.argv[1], os.O_WRONLY|os.O_NONBLOCK)'
    def other(): return subprocess.run([sys.executable, '-c', code, file], capture_output=True, text=True)
    assert 'BlockingIOError' in other().stderr
    reads.hold.let_go()
    assert other().returncode==0

def test_own_file(file):
    "An array that this process writes to is read as before"
    a = open_memmap(file, 'r+')
    np.load(file)
    for b in (a, open_memmap(file)):
        reads = RowReader(b).epoch()
        assert reads.only_copies
        a[3] = 7
        assert (read(reads, np.array([3]))==7).all()

@pytest.mark.parametrize('view', [lambda a: a[:,:,::2], lambda a: a[::2], lambda a: a.T, lambda a: a[:,0]], ids=['steps','rows','turned','flat'])
def test_views_of_a_cut_file(file, view):
    "Rows that do not lie one after the other in the file"
    a = view(open_memmap(file))
    reader,rows = RowReader(a),np.arange(len(a))[::-1][:5]
    np.testing.assert_array_equal(reader.read(rows), view(X)[rows])
    os.truncate(file, 10_000)
    with pytest.raises(OSError, match='was truncated while it was read'): reader.read(rows)

def test_items(file):
    "A view is only given if the file has its size"
    from memmap_ts.items import itemify
    items,(W,_) = itemify(open_memmap(file)),windows(open_memmap(file).reshape(-1,4), 50)
    assert items[1999][0].shape==(1,1024) and W[7].shape==(4,50)
    os.truncate(file, 10_000)
    for o in (items,W):
        with pytest.raises(OSError, match='X.npy was truncated while it was read: 10,000 bytes'): o[3]

def test_file_systems():
    "Where others write, and what is memory only: by the list of what is mounted"
    fn = Path(tempfile.mkdtemp())/'mountinfo'
    stat = os.stat('/')
    for kind,want in (('ext4',False), ('fuse.sshfs',True), ('nfs4',True), ('tmpfs',False), ('9p',True)):
        fn.write_text(f'22 1 0:5 / /x rw - tmpfs t rw\n30 1 {os.major(stat.st_dev)}:{os.minor(stat.st_dev)} / / rw shared:1 - {kind} /dev/a rw\n')
        assert others_write(stat, fn)==want and is_only_memory(stat, fn)==(kind=='tmpfs')
    none = fn.with_name('none')
    assert not others_write(stat, none) and not is_only_memory(stat, none)

warm_then_failing = """
import numpy as np, os, sys
from memmap_ts.store import open_memmap
from memmap_ts.io.linux import Linux
from memmap_ts.io.reader import RowReader
from memmap_ts.windows import windows
class Local(Linux):
    def open_to_hold(self, fd): return os.open(f'/proc/self/fd/{fd}', os.O_RDONLY) # as on a disk of this machine
fn,fail,kind,local = sys.argv[1:]
platform = Local() if local=='local' else Linux()
open(fn, 'rb').read()
X = open_memmap(fn)
if kind=='rows': reader,shape = RowReader(X, platform),X.shape[1:]
else:
    W,_ = windows(X.reshape(-1,4), 50)
    W.series.system = platform
    reader,shape = W.reader(),W.shape[1:]
reads,rows = reader.epoch(),np.array([5,1234,7])
assert reads.only_copies==(local=='local'), reads.only_copies
reads.announce(rows)
os.posix_fadvise(os.open(fn, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
open(fail, 'w').write('0 10000000')
residency = reader.residency if kind=='rows' else reader.bytes.residency
residency.recheck_at = 0
try: reads.read(rows, np.empty((3,*shape), 'f4'), reads.announce(rows))
except OSError as e: print(e)
"""

@contextmanager
def fuse(tmp_path):
    "A folder that fails, and the one behind it"
    behind,mounted = tmp_path/'behind',tmp_path/'mounted'
    for o in (behind,mounted): o.mkdir()
    with failing_disk(behind, mounted): yield behind,mounted

@pytest.mark.parametrize('local', ['local','remote'])
@pytest.mark.parametrize('kind', ['rows','windows'])
def test_a_disk_that_fails(tmp_path, kind, local):
    "Rows that were in memory, are not any more, and can't be read: not the end of the process"
    try:
        with fuse(tmp_path) as (behind,mounted):
            np.save(behind/'X.npy', X)
            r = subprocess.run([sys.executable, '-W', 'ignore', '-c', warm_then_failing, mounted/'X.npy', behind/'X.npy.fail', kind, local],
                               capture_output=True, text=True)
    except OSError as e: pytest.skip(f'this user can mount no FUSE file system here: {e}')
    assert r.returncode==0, (r.returncode,r.stderr)
    assert 'X.npy' in r.stdout and ('error in row 5' if kind=='rows' else 'error in window 5') in r.stdout

def truncated(folder, n, row_bytes, kind):
    "How `n` processes ended whose file was cut"
    r = subprocess.run([sys.executable, '-W', 'ignore', Path(__file__).parent.parent/'truncations.py', folder, str(n), str(row_bytes), kind],
                       capture_output=True, text=True)
    assert r.returncode==0, r.stderr
    return eval(r.stdout)

@contextmanager
def mounted(kind, tmp_path):
    "A file system of that kind; skipped where it can't be mounted"
    if kind=='here': return (yield tmp_path)
    options = {'tmpfs': ['none'], 'overlay': ['-o', f'lowerdir={tmp_path}/low,upperdir={tmp_path}/up,workdir={tmp_path}/work', 'none']}[kind]
    for o in ('low','up','work','at'): (tmp_path/o).mkdir()
    if subprocess.run(['mount', '-t', kind, *options, tmp_path/'at'], capture_output=True).returncode: pytest.skip(f'this user can mount no {kind}')
    try: yield tmp_path/'at'
    finally: subprocess.run(['umount', tmp_path/'at'], check=True)

@pytest.mark.parametrize('row_bytes,kind', [(4096,'rows'),(102_400,'rows'),(4096,'windows')])
@pytest.mark.parametrize('where', ['here',*long_or([], ['tmpfs','overlay'])])
def test_cut_at_any_moment(tmp_path, where, row_bytes, kind):
    "0 of so many end by a SIGBUS"
    n = long_or(8, 300)
    with mounted(where, tmp_path) as folder: assert truncated(folder, n, row_bytes, kind)=={0:n}
