"Platforms that lack something: no error, and rows are right"
import mmap, os, subprocess, sys, numpy as np, pytest
from memmap_ts.store import open_memmap
from memmap_ts.io.darwin import Darwin
from memmap_ts.io.linux import Linux, container_room, huge_memory
from memmap_ts.io.portable import Portable
from memmap_ts.io.reader import RowReader
from memmap_ts.io.system import choose_system, system

def uses(array, platform):
    "Read rows in every way that the platform gives"
    reader,rows = RowReader(array, platform),np.arange(len(array))[::-3]
    want = np.array(array)[rows]
    for reads in (reader.epoch(), reader.epoch(10, rows, rows)):
        ticket = reads.announce(rows)
        np.testing.assert_array_equal(reads.read(rows, np.empty_like(want), ticket), want)
        reads.close()
    np.testing.assert_array_equal(reader.read(rows), want)
    return reader

_constants = [(os,'RWF_NOWAIT'), (os,'posix_fadvise'), (os,'POSIX_FADV_WILLNEED'), (os,'POSIX_FADV_RANDOM'), (os,'O_DIRECT'), (os,'SCHED_BATCH'),
              (mmap,'MADV_RANDOM'), (mmap,'MADV_HUGEPAGE')]

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='is about Linux')
@pytest.mark.parametrize('module,name', _constants, ids=[n for _,n in _constants])
def test_a_constant_is_missing(saved, monkeypatch, module, name):
    class Small(Linux):
        def free_memory(self): return 1
    fn = saved(np.random.default_rng(0).normal(size=(300,1000)).astype('f4'))
    system.evict(fn)
    monkeypatch.delattr(module, name)
    for platform in (Linux(), Small()): uses(open_memmap(fn), platform).system.run_in_background()

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='is about Linux')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_memory_for_direct_reads_in_a_forked_process():
    "A child finds zeros there, and what it gives back is not what something else got meanwhile"
    memory = huge_memory(2**23)
    memory[:] = 1
    pid = os.fork()
    if not pid:
        ok = not memory.any()
        others = [mmap.mmap(-1, 2**22) for _ in range(8)]
        del memory
        for other in others: other[::mmap.PAGESIZE] = b'1'*(2**22//mmap.PAGESIZE)
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1]==0 and memory.all()

@pytest.mark.parametrize('platform', [Portable(),Darwin()], ids=['portable','darwin'])
def test_platforms_of_others(saved, platform):
    "Every answer is one that the rest can live with"
    fn = saved(np.random.default_rng(0).normal(size=(300,1000)).astype('f4'))
    uses(open_memmap(fn), platform)
    platform.run_in_background()
    platform.evict(fn)
    assert platform.free_memory()==0 and platform.anonymous_memory() is None
    assert len(platform.private_memory(100))==100 and not platform.writes_to(os.stat(fn))
    with open(fn, 'rb') as f:
        fd = f.fileno()
        assert platform.start_reads(fd, [], [], []) is None and platform.open_direct(fd) is None and not platform.page_in_memory(fd, 0)
        platform.will_need(fd, 0, 100)
        assert platform.read_ahead_bytes(fd)>0

def test_forced():
    "The environment says which platform; an unknown one is portable"
    code = 'from memmap_ts.io.system import system; print(type(system).__name__)'
    for name in ('portable','darwin'):
        r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env={**os.environ, 'MEMMAP_TS_SYSTEM':name})
        assert r.stdout.strip().lower()==name, r.stderr
    assert type(choose_system('haiku')) is Portable

@pytest.mark.skipif(not isinstance(system, Linux), reason='is about Linux')
def test_linux_tells(saved):
    fn = saved(np.zeros((1000,1000), 'f4'))
    assert 0<system.free_memory()<2**50 and system.anonymous_memory()>10**6 and all(o>0 for o in container_room())
    writer = np.load(fn, mmap_mode='r+')
    assert system.writes_to(os.stat(fn))
    del writer
    reader = RowReader(open_memmap(fn))
    assert not system.writes_to(os.stat(fn)) and reader.file.takes_advice
    reader.residency.look()
    assert reader.residency.complete and reader.residency.share_of_file()==1
    found = RowReader(open_memmap(fn)).residency
    del reader
    system.evict(fn)
    assert found.share(np.arange(0, 4_000_000, 100_000))<.5 # mapped pages that were not touched can go

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='is about Linux')
def test_no_proc(saved):
    "Nobody tells which file is mapped: rows come through the mapping, and no statistics are kept"
    fn = saved(np.random.default_rng(0).normal(size=(300,1000)).astype('f4'))
    os.utime(fn, ns=(0,10**18))
    code = """
import os, sys, numpy as np
from memmap_ts.store import open_memmap
from memmap_ts.io.reader import RowReader
from memmap_ts.summary.cache import StatsCache
a = open_memmap(sys.argv[1])
assert not os.path.exists('/proc/self/maps') and StatsCache(a, [], ()).key is None
rows,reader = np.arange(300)[::-3],RowReader(a)
epoch = reader.epoch()
for o in reader.read(rows), epoch.read(rows, np.empty((100,1000), 'f4'), epoch.announce(rows)): assert (o==np.load(sys.argv[1])[rows]).all()
"""
    without = ['unshare','-rm','sh','-c','mount -t tmpfs none /proc && exec "$@"','sh']
    try: subprocess.run([*without, 'true'], check=True, capture_output=True)
    except (OSError,subprocess.CalledProcessError): pytest.skip('/proc can not be hidden here')
    res = subprocess.run([*without, sys.executable, '-W', 'error::RuntimeWarning', '-c', code, fn], capture_output=True, text=True)
    assert res.returncode==0, res.stderr
