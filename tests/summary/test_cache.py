"Statistics are kept beside the file only as long as they are true"
import json, os, subprocess, sys, time, numpy as np, pytest
from numpy.testing import assert_array_equal as equal
from memmap_ts.all import *
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system
from memmap_ts.summary.cache import StatsCache
from memmap_ts.summary.scan import Scan
from summaries import old, same

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells which file is mapped')

pytestmark = pytest.mark.usefixtures('on_a_disk')

@pytest.fixture
def scans(monkeypatch):
    "A list that grows with each pass over an array"
    res,run = [],Scan.run
    monkeypatch.setattr(Scan, 'run', lambda self, progress: res.append(self) or run(self, progress))
    return res

def test_kept(saved, scans):
    X = np.random.default_rng(0).normal(size=(100,3,20)).astype('f4'); X[:,2] = np.nan; X[0,1,0] = np.inf
    fn = old(saved(X))
    kept = fn.with_name('X.npy.stats.json')
    def ask(a=None, **kw): return memmap_stats(open_memmap(fn) if a is None else a, **kw)
    first = ask()
    json.loads(kept.read_text(), parse_constant=lambda c: pytest.fail(f'{c} is not JSON'))
    scans.clear()
    again = ask()
    assert len(scans)==0
    for k in ('count','nans','mean','std','min','max'):
        a,b = getattr(first,k),getattr(again,k)
        assert a.dtype==b.dtype
        equal(a, b)
    a = open_memmap(fn)
    others = [dict(by='step'), dict(idxs=range(50)), dict(idxs=range(51)), dict(a=a[:,:2]), dict(a=a[:,1:]),
              dict(a=a.view('i4'))]
    for i,kw in enumerate(others, 1):
        ask(**kw)
        assert len(scans)==i
    ask(idxs=np.arange(50)[::-1])
    ask(idxs=np.arange(100))
    assert len(scans)==6
    assert len(json.loads(kept.read_text()))==7
    os.utime(fn, ns=(0,10**18+10**9)); ask(); assert len(scans)==7 and len(json.loads(kept.read_text()))==1
    for k in range(40): ask(idxs=[k])
    assert len(json.loads(kept.read_text()))<=16
    kept.write_text('{"not": "ours"'); ask(); ask(); assert len(scans)==48
    assert not [p for p in fn.parent.iterdir() if 'part' in p.name]

def test_not_kept(saved):
    X = np.ones((10,2,3))
    fn = saved(X); memmap_stats(open_memmap(fn)) # written this instant: a later change might not show
    old(fn)
    for mode in ('r+','c'): memmap_stats(open_memmap(fn, mode))
    memmap_stats(X)
    assert [p.name for p in fn.parent.iterdir()]==['X.npy']
    fn.with_name('X.npy.stats.json').mkdir() # can't be written
    assert memmap_stats(fn).mean.tolist()==[1,1]
    assert sorted(p.name for p in fn.parent.iterdir())==['X.npy','X.npy.stats.json']

def test_kept_of_windows(saved, scans):
    a = np.random.default_rng(0).normal(size=(3000,3)).astype('f4')
    fn = saved(a)
    os.utime(fn, ns=(0,10**18))
    def ask(*args, idxs=None, by='var', **kw): return memmap_stats(windows(fn, *args, **kw)[0], idxs, by)
    first = ask(50)
    scans.clear()
    assert ask(50).std.tobytes()==first.std.tobytes() and len(scans)==0
    others = [dict(stride=2), dict(start=1), dict(horizon=1), dict(get_x=[0,1]), dict(get_x=[1,0,2]),
              dict(groups=[1000,2000]), dict(idxs=range(5,90)), dict(idxs=[5,6]), dict(by='all'),
              dict(by=('var','step'))]
    for i,kw in enumerate(others, 1):
        ask(50, **kw)
        assert len(scans)==i, kw
    ask(49)
    assert len(scans)==11
    ask(50, idxs=slice(5,90))
    ask(50, idxs=[6,5])
    ask(50, idxs=np.arange(2951))
    assert len(scans)==11
    memmap_stats(fn); assert len(scans)==12 # the array by itself has statistics of its own

def test_kept_for_these_windows_only(tmp_path):
    "Windows of 12 steps are not two windows of 10"
    np.save(tmp_path/'a.npy', np.arange(2000.)[:,None])
    time.sleep(.1)
    memmap_stats(windows(tmp_path/'a.npy', 12)[0])
    W,_ = windows(tmp_path/'a.npy', 10, horizon=2)
    same(memmap_stats(W, [10,11]), W[[10,11]], ('var',))

def test_kept_or_not(tmp_path):
    "Numbers that JSON does not have; a file of that name that somebody else has written"
    np.save(tmp_path/'a.npy', np.ones((5,2,3), np.longdouble))
    np.save(tmp_path/'b.npy', np.ones((5,2,3)))
    time.sleep(.1)
    (tmp_path/'b.npy.stats.json').write_text('[{"key":[1]}, 3, {"key":{}}]')
    for f in ('a.npy','a.npy','b.npy','b.npy'): assert memmap_stats(tmp_path/f).mean.tolist()==[1,1]

@linux
def test_not_kept_for_a_file_that_was_replaced(saved):
    "Numbers of the file that is mapped are not those of the one that has its name now"
    fn = saved(np.zeros((100,2,5)))
    old(fn)
    X = open_memmap(fn)
    to_memmap(np.full((100,2,5), 7.), fn, overwrite=True)
    old(fn)
    assert (memmap_stats(X).mean==0).all() and (memmap_stats(fn).mean==7).all() and (memmap_stats(X).mean==0).all()

@linux
def test_not_kept_while_somebody_may_write(tmp_path):
    "A page that waits for the disk may be written again without a change of the file's time"
    fn = tmp_path/'X.npy'
    w = create_memmap(fn, (100,2,5))
    for v in 1,5:
        w[:] = v
        time.sleep(.1)
        assert (memmap_stats(fn).mean==v).all()
    assert not (tmp_path/'X.npy.stats.json').exists()

@linux
def test_written_by_another_process(tmp_path):
    "Its pages are put on the disk first; then a later write shows in the file's time"
    if not os.major(os.stat(tmp_path).st_dev): pytest.skip('no disk: the time of a file does not tell')
    fn = tmp_path/'X.npy'
    code = f"""
import sys
from memmap_ts.all import *
w = create_memmap({str(fn)!r}, (100,2,5))
for v in 1,5:
    w[:] = v
    print(flush=True)
    sys.stdin.readline()"""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], **pipes)
    for v in 1,5:
        p.stdout.readline()
        time.sleep(.1)
        assert (memmap_stats(fn).mean==v).all()
        p.stdin.write('\n'); p.stdin.flush()
    assert p.wait()==0

@linux
def test_in_memory_only(small_disk):
    "There the time of a file does not tell what another process writes to it through a mapping"
    fn = small_disk/'X.npy'
    np.save(fn, np.zeros((100,2,5)))
    old(fn)
    for v in 0,7:
        assert (memmap_stats(fn).mean==v).all()
        code = f'import numpy as np; w = np.load({str(fn)!r}, mmap_mode="r+"); w[:] = 7; w.flush()'
        subprocess.run([sys.executable, '-c', code], check=True)
    assert [o.name for o in small_disk.iterdir()]==['X.npy']
    assert StatsCache(open_memmap(fn), [], ('var',)).key is None

def test_another_file_with_the_same_time(saved):
    "Archives, and stores of versions, set the time of what they unpack"
    fn,new = saved(np.zeros((100,2,5))),saved(np.ones((100,2,5)), 'new.npy')
    old(fn)
    old(new)
    memmap_stats(fn)
    os.replace(new, fn)
    assert (memmap_stats(fn).mean==1).all()

def test_damaged_cache(saved):
    fn = saved(np.ones((100,2,5)))
    old(fn)
    memmap_stats(fn)
    kept = fn.with_name('X.npy.stats.json')
    for k in 'mean','n','shape':
        res = json.loads(kept.read_text())
        del res[0][k]
        kept.write_text(json.dumps(res))
        assert (memmap_stats(fn).mean==1).all()
