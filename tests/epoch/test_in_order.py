"Small rows of an array that fits in memory: what an epoch wants of it is read in order, beside the epoch"
import gc, os, sys, threading, time, numpy as np, pytest, torch
from fastai.data.block import RegressionBlock
from fasttransform import Transform
from forked import run
from memmap_ts.all import *
from memmap_ts.io import sweep
from memmap_ts.io.linux import Linux
from memmap_ts.io.reader import RowReader
from memmap_ts.io.sweep import Sweep
from memmap_ts.io.system import system
from memmap_ts.testing import evict, share_evicted

pytestmark = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')
rng = np.random.default_rng(0)

@pytest.fixture(autouse=True)
def at_once(monkeypatch): monkeypatch.setattr(sweep, 'FIRST_BATCH_SECONDS', 0)

@pytest.fixture
def begun(monkeypatch):
    "Sweeps that have begun"
    res,run = [],Sweep.run
    monkeypatch.setattr(Sweep, 'run', lambda self: (res.append(self), run(self)))
    return res

@pytest.fixture
def epochs(monkeypatch):
    "The `Reads` of epochs that have begun"
    res,epoch = [],RowReader.epoch
    def noted(self, *args):
        res.append(epoch(self, *args))
        return res[-1]
    monkeypatch.setattr(RowReader, 'epoch', noted)
    return res

@pytest.fixture
def slow(monkeypatch):
    "A sweep of 10 MB takes a minute"
    read_at = Linux.read_at
    def slowly(self, fd, buffer, offset):
        if len(buffer)==2**14: time.sleep(.1)
        return read_at(self, fd, buffer, offset)
    monkeypatch.setattr(sweep, 'CHUNK_BYTES', 2**14)
    monkeypatch.setattr(Linux, 'read_at', slowly)

def ended(sweeps):
    for o in sweeps: o.join(20)
    return not any(o.is_alive() for o in sweeps)

def loader(fn, n=20_000, bs=64, **kw):
    dls = TSDataLoaders.from_memmap(open_memmap(fn), np.arange(n), splits=(range(n),), y_block=RegressionBlock(), bs=bs, drop_last=False, **kw)
    evict(fn)
    return dls

@pytest.fixture
def file(saved): return saved(rng.normal(size=(20_000,2,100)).astype('f4'))

@pytest.mark.parametrize('prefetch', [0,2])
@pytest.mark.parametrize('bs', [7,64,1024])
def test_epochs(file, begun, bs, prefetch):
    "Every row once, before, while and after the array comes into memory"
    X = np.load(file)
    dls = loader(file, bs=bs, prefetch=prefetch)
    for _ in range(2):
        x,y = map(torch.cat, zip(*dls.train))
        i = y.long().numpy()
        assert sorted(i)==list(range(len(X)))
        np.testing.assert_array_equal(x.numpy(), X[i])
    assert ended(begun) and len(begun)==1

def ready(file):
    "Is all of it in memory, in a while?"
    for _ in range(200):
        if share_evicted(file)==0: return True
        time.sleep(.1)

def test_then_it_is_in_memory(file, begun, epochs):
    dls = loader(file)
    it = iter(dls.train); next(it)
    assert ended(begun)
    reads = epochs[0]
    assert reads.only_copies and share_evicted(file)==0
    assert sum(len(x) for x,y in it)==20_000-64 and len(begun)==1
    assert dls.train.last_epoch.arrays[0].swept
    for b in dls.train: break
    assert dls.train.last_epoch.arrays[0].way=='mapped' and len(begun)==1

def test_then_no_thread_is_needed(file, begun):
    "Copies are made where they are asked for, once all is in memory; every row still comes once, in the same order"
    def threads(): return [t for t in threading.enumerate() if t.name=='memmap_ts']
    X,dls = np.load(file),loader(file, seed=3)
    it = iter(dls.train)
    some = [next(it)[1]]
    assert ended(begun) and len(threads())==1
    for _ in range(10): some.append(next(it)[1])
    assert not threads()
    for x,y in it:
        np.testing.assert_array_equal(x.numpy(), X[y.long().numpy()])
        some.append(y)
    again = loader(file, seed=3, prefetch=0)
    assert torch.equal(torch.cat(some), torch.cat([y for _,y in again.train]))

def in_memory(fn, first, end, row_bytes=800):
    "The share of rows from `first` to `end` that is in memory, without bringing any there"
    residency = RowReader(open_memmap(fn)).residency
    residency.look()
    return residency.pages(np.arange(first, end)*row_bytes, row_bytes)[1].mean()

def test_split(file, begun, epochs):
    "Only the part of the file that is trained on; the next epoch finds its own rows in memory"
    X = open_memmap(file)
    dls = TSDataLoaders.from_memmap(X, np.arange(20_000), splits=(range(8000,20_000),range(100)), y_block=RegressionBlock(), bs=64)
    evict(file)
    for _ in range(2):
        it = iter(dls.train); next(it)
        assert ended(begun) and [e for e in epochs if e.reader.file][-1].only_copies
        it.close()
        assert len(begun)==1 and in_memory(file, 8000, 20_000)==1 and in_memory(file, 0, 7000)<.1
    for x,y in dls.valid: pass
    reads = [e for e in epochs if e.reader.file][-1]
    assert reads.way=='cached' or reads.share_in_memory>.9

def test_view_of_a_larger_file(file, begun):
    X = open_memmap(file)[8000:]
    dl = MemmapDL(itemify(X, np.arange(12_000)), bs=64, shuffle=True)
    evict(file)
    it = iter(dl); next(it)
    assert ended(begun)
    assert in_memory(file, 8000, 20_000)==1 and in_memory(file, 0, 7500)<.01 # the system may read on at the end
    it.close()

@pytest.mark.parametrize('kw', [dict(partial_n=500), dict(partial_n=.01), dict(sampler=list(range(500)))], ids=str)
def test_few_of_the_rows(file, begun, kw):
    "An epoch of a part of the samples leaves the rest where it is"
    assert sum(len(x) for x,y in loader(file, **kw).train) and not begun

def test_order_of_the_rows(file, begun):
    "What counts is how the rows come, not who says so"
    order = rng.permutation(20_000)
    far = [MemmapDL(itemify(open_memmap(file)), bs=64, sampler=order.tolist()), MemmapDL(itemify(open_memmap(file)).shuffle(), bs=64),
           loader(file).train.new(get_idxs=lambda: order), loader(file).train.new(shuffle_fn=lambda idxs: order.tolist())]
    near = [MemmapDL(itemify(open_memmap(file)), bs=64, sampler=list(range(20_000))), loader(file).train.new(shuffle=False)]
    for i,dl in enumerate(far):
        evict(file)
        it = iter(dl); next(it); it.close()
        assert ended(begun) and len(begun)==i+1
    for dl in near:
        evict(file)
        it = iter(dl); next(it); it.close()
        assert len(begun)==len(far)

@pytest.mark.skipif(sys.platform!='linux', reason='forks')
def test_workers(file):
    "One of them does it for all"
    dl = MemmapDL(itemify(open_memmap(file)), bs=4, shuffle=True, num_workers=2)
    evict(file)
    it = iter(dl); next(it)
    assert ready(file)
    assert sum(len(b[0]) for b in it)==20_000-4

def test_second_worker_leaves_it_to_the_first(file, begun, monkeypatch):
    from types import SimpleNamespace
    for id,n in ((1,0),(0,1)):
        info = SimpleNamespace(id=id)
        monkeypatch.setattr('memmap_ts.epoch.batches.get_worker_info', lambda info=info: info)
        it = iter(loader(file).train); next(it); it.close()
        assert ended(begun) and len(begun)==n

def test_in_vain(file, begun, monkeypatch):
    "Where the array does not get into memory, or the system does not tell, it is not tried again"
    monkeypatch.setattr(Linux, 'page_in_memory', lambda self, fd, offset: False)
    dls = loader(file)
    for _ in range(3):
        it = iter(dls.train); next(it)
        assert ended(begun)
        it.close()
    assert len(begun)==1

def test_leaving_early(file, begun, slow):
    "No thread, no open file, no reading remains"
    dls = loader(file)
    gc.collect() # loaders of other tests hold files
    files = len(os.listdir('/proc/self/fd'))
    for i in range(5):
        evict(file)
        it = iter(dls.train); next(it); next(it)
        assert begun[i].is_alive()
        it.close()
        assert ended(begun)
    assert len(os.listdir('/proc/self/fd'))<=files+1 and share_evicted(file)>.1 # but for what was hinted

def test_interrupted_at_the_start(file, begun, slow, monkeypatch):
    "Ctrl-C while the thread is being started"
    start = Sweep.start
    def interrupted(self): start(self); raise KeyboardInterrupt
    monkeypatch.setattr(Sweep, 'start', interrupted)
    it = iter(loader(file).train)
    with pytest.raises(KeyboardInterrupt): next(it)
    del it
    gc.collect()
    assert begun and ended(begun)

def test_cache_device(file, begun, slow):
    "Samples for the device are read the same way; after an error nobody reads on, though it is held"
    dl = MemmapDL(itemify(open_memmap(file)).shuffle(), bs=64, cache='device')
    evict(file)
    dl.one_batch()
    assert begun and ended(begun)
    class Double(Transform):
        def encodes(self, x): return x*2
    dls = loader(file, cache='device', item_tfms=Double())
    with pytest.raises(ValueError, match='applied once') as held: dls.train.one_batch()
    assert held and ended(begun) and not [t for t in threading.enumerate() if t.name=='memmap_ts']

def test_several_at_once(file, begun, slow):
    "An epoch that ends leaves that of another iterator alone"
    dls = loader(file)
    one,two = iter(dls.train),iter(dls.train)
    next(one); next(two)
    two.close()
    assert len(begun)==2 and ended(begun[1:]) and begun[0].is_alive()
    one.close()
    assert ended(begun)

def test_truncated(file, begun, slow):
    it = iter(loader(file).train); next(it)
    os.truncate(file, 10**6)
    with pytest.raises(OSError, match='was truncated'): list(it)
    assert begun and ended(begun)

def test_python_ends_meanwhile(file):
    r = run(f'''
        import os, time, threading, numpy as np
        from memmap_ts.all import *
        from memmap_ts.io import sweep
        from memmap_ts.io.linux import Linux
        from memmap_ts.testing import evict
        sweep.FIRST_BATCH_SECONDS,sweep.CHUNK_BYTES,read_at = 0,2**14,Linux.read_at
        Linux.read_at = lambda self, fd, buffer, at: (len(buffer)==2**14 and time.sleep(.1), read_at(self, fd, buffer, at))[1]
        dls = TSDataLoaders.from_memmap({str(file)!r}, np.arange(20_000)%3, splits=(range(20_000),), bs=64)
        evict({str(file)!r})
        it = iter(dls.train); next(it); next(it)
        print(any(isinstance(t, sweep.Sweep) for t in threading.enumerate()))''')
    assert r.returncode==0 and r.stdout=='True\n' and not r.stderr, r.stdout+r.stderr
