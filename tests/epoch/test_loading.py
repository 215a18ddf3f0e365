"Epochs of a loader: threads, buffers and file descriptors come and go cleanly, whatever the user does"
import gc, os, sys, tempfile, threading, numpy as np, pytest, torch
from fasttransform import Transform
from tsai.data.preprocessing import TSStandardize
from forked import run
from memmap_ts.all import *
from memmap_ts.epoch import batches
from memmap_ts.epoch.buffers import Buffers
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='Linux tells open files and has the hints')
def threads(): return [t for t in threading.enumerate() if t.name=='memmap_ts']
def n_fds(): return len(os.listdir('/proc/self/fd'))
def ways(dl): return [a.way for a in dl.last_epoch.arrays]

@linux
@pytest.mark.skipif(not os.path.isdir('/dev/shm'), reason='no tmpfs')
def test_tmpfs_is_memory():
    with tempfile.TemporaryDirectory(dir='/dev/shm') as d:
        np.save(f'{d}/X.npy', np.ones((1000,2,50), 'f4'))
        dls = TSDataLoaders.from_files(f'{d}/X.npy', splits=(range(1000),), bs=64)
        assert sum(len(b[0]) for b in dls.train)
        assert dls.train.last_epoch.arrays[0].share_in_memory==1

def test_8MB_rows_and_a_file_over_4GB(tmp_path):
    X = create_memmap(tmp_path/'X.npy', (600, 2**21))
    assert X.nbytes > 2**32
    rows = [0,255,256,511,599]
    for r in rows: X[r,[0,-1]] = r+1
    dls = TSDataLoaders.from_memmap(X, splits=(rows,), bs=2, shuffle=False, drop_last=False)
    got = torch.cat([b[0][:,0,[0,-1]] for b in dls.train])
    assert got.tolist()==[[r+1,r+1] for r in rows]


@linux
@pytest.mark.parametrize('prefetch', [0,2])
def test_truncated_while_read(saved, prefetch):
    fn = saved(np.zeros((4000,1,500), 'f4'))
    dls = TSDataLoaders.from_files(fn, splits=(range(4000),), bs=16, prefetch=prefetch)
    with pytest.raises(OSError, match='X.npy was truncated while it was read'):
        for i,b in enumerate(dls.train):
            if i==3: os.truncate(fn, 10_000)
    assert not threads()

def test_closed_file(saved):
    "The file may be deleted once it is open"
    fn = saved(np.arange(600.).reshape(100,1,6))
    dls = TSDataLoaders.from_files(fn, splits=(range(100),), bs=10, shuffle=False)
    it = iter(dls.train); next(it)
    if sys.platform!='win32': fn.unlink()
    assert torch.cat([b[0] for b in it]).flatten().tolist()==list(np.arange(60.,600.))

def test_replaced_file(saved):
    "Rows are those of the file the array shows, not of another that took its name"
    fn = saved(np.ones((100,1,50), 'f4'))
    X = open_memmap(fn)
    create_memmap(fn, X.shape, overwrite=True)[:] = 2
    dls = TSDataLoaders.from_memmap(X, splits=(range(100),), bs=10)
    for _ in range(2): assert all((b[0]==1).all() for b in dls.train)

def test_written_while_open(saved):
    "What is written through a map in mode 'r+', or kept in memory in mode 'c', is what is read"
    for mode in ('r+','c'):
        X = open_memmap(saved(np.zeros((100,1,50), 'f4')), mode)
        dls = TSDataLoaders.from_memmap(X, splits=(range(100),), bs=10)
        assert all((b[0]==0).all() for b in dls.train)
        X[:] = 3
        assert all((b[0]==3).all() for b in dls.train)

_files = tempfile.mkdtemp()

def dls_of(n=3000, mode='c', **kw):
    "Row i is full of i. A thread reads it: in mode 'c' the engine never takes an array for one that is in memory"
    fn = f'{_files}/{n}.npy'
    if not os.path.exists(fn): np.save(fn, np.repeat(np.arange(n, dtype='f4'), 2000).reshape(n,1,2000))
    return TSDataLoaders.from_memmap(open_memmap(fn, mode), splits=(range(n),), bs=64, drop_last=False, **kw)

def test_there_is_a_thread():
    it = iter(dls_of().train); next(it)
    assert len(threads())==1
    it.close()
    assert not threads()

@linux
def test_the_thread_gives_way():
    "It is one that does not take the processor from the thread that trains"
    dls = dls_of()
    it = iter(dls.train); next(it)
    t, = threads()
    assert os.sched_getscheduler(t.native_id)==os.SCHED_BATCH
    assert os.sched_getscheduler(threading.get_native_id())==os.SCHED_OTHER
    it.close()

@pytest.mark.parametrize('mode', ['c','r'])
@pytest.mark.parametrize('prefetch', [0,1,2,5])
def test_kept_batches_stay(prefetch, mode):
    "Every batch of an epoch, views of them and arrays of those, compared at the end"
    dls,kept,views = dls_of(prefetch=prefetch, mode=mode),[],[]
    for x, in dls.train:
        kept.append(x); views.append(x.numpy()[:,0,5:7])
    assert torch.cat(kept)[:,0,0].sort().values.tolist()==list(range(3000))
    for x,v in zip(kept,views): assert (x==x[:,:,:1]).all() and (v==x.numpy()[:,0,:1]).all()
    del kept, x
    for i,(x,) in enumerate(dls.train):
        if i>5: break
    assert sorted(np.concatenate(views)[:,0])==list(range(3000)) # views alone hold the memory too

class Keep(Transform):
    kept = []
    def encodes(self, o:torch.Tensor): self.kept.append(o[:,0,0]); return o.add_(1)

class One(Transform):
    def encodes(self, o:torch.Tensor): return o+1

def test_kept_by_a_transform():
    dls = dls_of(batch_tfms=Keep()); Keep.kept.clear()
    for _ in dls.train: pass
    assert torch.cat(Keep.kept).sort().values.tolist()==list(range(1,3001))

class Places(Buffers):
    "Buffers that note where in memory they are"
    def __init__(self, keep): super().__init__(keep); self.places = set()
    def empty(self, shape, dtype, **kwargs):
        res = super().empty(shape, dtype, **kwargs)
        if res.nbytes>=2**16: self.places.add(res.__array_interface__['data'][0])
        return res

@pytest.mark.parametrize('several', [False,True])
def test_buffers_are_used_again_after_batch_transforms(several):
    "A transform that has nothing to do with the targets, or with one of several inputs, does not keep batches alive"
    X = dls_of().train_ds.items.arrays[0]
    dls = TSDataLoaders.from_memmap((X, np.ones((3000,5), 'f4')) if several else X, np.arange(3000)%3, splits=(range(3000),), bs=64, batch_tfms=TSStandardize(by_sample=True))
    dls.train.buffers = Places(5)
    for _ in range(3):
        for xb,yb in dls.train: pass
    assert 0<len(dls.train.buffers.places)<=5

@linux
def test_buffers_are_used_again():
    from memmap_ts.testing import anonymous_memory
    dls = dls_of(20_000) # 160 MB, batches of 512 kB
    for _ in dls.train: pass
    a = anonymous_memory()
    for _ in range(3):
        for _ in dls.train: pass
    assert anonymous_memory()-a < 10e6

def test_leaving_early():
    dls = dls_of()
    for _ in range(20):
        for b in dls.train: break
    assert not threads()

@linux
def test_thousands_of_epochs_abandoned(saved):
    dls = TSDataLoaders.from_files(saved(np.zeros((300,1,50),'f4')), splits=(range(200),range(200,300)), bs=8)
    list(dls.train); gc.collect()
    fds = n_fds()
    for i in range(2000):
        it = iter(dls[i%2]); next(it)
        if i%3: it = None
    gc.collect()
    assert n_fds()==fds and len(threads())<=1
    del it, dls; gc.collect()
    assert not threads() and n_fds()<fds

def test_exception_in_a_transform():
    class Fail(Transform):
        def encodes(self, o:torch.Tensor):
            if (o==77).any(): raise ZeroDivisionError
            return o
    dls = dls_of(shuffle=False)
    dls.train.after_batch.add(Fail())
    with pytest.raises(ZeroDivisionError): list(dls.train)
    assert not threads()

def test_several_iterators():
    dls = dls_of(seed=0)
    a,b = iter(dls.train),iter(dls.train)
    xs,ys = [],[]
    for x,y in zip(a, b): xs.append(x[0]); ys.append(y[0]); dls.train.one_batch()
    for o in (xs,ys): assert torch.cat(o)[:,0,0].sort().values.tolist()==list(range(3000))
    del a, b
    assert not threads()

def test_order_does_not_depend_on_how_it_is_read():
    orders = [[b[0][:,0,0].tolist() for b in dls_of(seed=4, prefetch=p, mode=m).train] for p in (0,1,4) for m in 'rc']
    assert all(o==orders[0] for o in orders)

@pytest.mark.skipif(sys.platform=='win32', reason='Windows has no fork')
def test_fork_while_iterating():
    "The child gets an error for the old iterator, and can start a new one"
    code = '''
        import os, sys, numpy as np
        sys.path.insert(0, sys.argv[1])
        from test_loading import dls_of
        dls = dls_of()
        it = iter(dls.train); next(it)
        if (pid := os.fork()):
            assert os.waitpid(pid, 0)[1]==0
            assert sum(len(b[0]) for b in it)==3000-64
        else:
            ok = False
            try: next(it)
            except RuntimeError as e: ok = 'fork' in str(e)
            ok = ok and sum(len(b[0]) for b in dls.train)==3000
            os._exit(0 if ok else 1)
    '''
    r = run(code, os.path.dirname(__file__))
    assert r.returncode==0, r.stderr

@pytest.mark.parametrize('how', ['exit','error','interrupt'])
def test_end_of_the_interpreter(how):
    "With an iterator half way, the process ends at once"
    code = f'''
        import sys; sys.path.insert(0, sys.argv[1])
        from test_loading import dls_of
        it = iter(dls_of().train); next(it)
        if {how!r}=='error': 1/0
        if {how!r}=='interrupt': raise KeyboardInterrupt
    '''
    r = run(code, os.path.dirname(__file__))
    assert (r.returncode==0)==(how=='exit') and r.returncode not in (-6,-11), r.stderr

def test_ctrl_c():
    "KeyboardInterrupt while the loop waits for a batch"
    import _thread
    dls,over = dls_of(),threading.Event()
    def press():
        while not over.wait(.3): _thread.interrupt_main() # Python drops one that comes inside a finalizer: press again
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        try:
            for _ in range(10_000):
                for b in dls.train: pass
        finally: over.set()
    del b
    gc.collect()
    for t in threads(): t.join(60)
    assert not threads()
    assert sum(len(b[0]) for b in dls.train)==3000

def test_cache_device(data):
    X,y = map(np.load, data)
    kw = dict(splits=(range(150),range(150,200)), bs=32, seed=0, drop_last=False)
    a,b = TSDataLoaders.from_files(*data, cache='device', **kw),TSDataLoaders.from_files(*data, **kw)
    for _ in range(2):
        for dl in (0,1):
            for (x,t),(x2,t2) in zip(a[dl], b[dl], strict=True): assert x.equal(x2) and t.equal(t2) and type(x) is type(x2) and type(t) is type(t2)
    assert a.train.device_cache is not None and a.train.new(shuffle=False).device_cache is a.train.device_cache
    assert a.test_dl(X[:5]).one_batch()[0].shape==(5,3,20)
    with pytest.raises(ValueError, match='applied once'): TSDataLoaders.from_files(*data, cache='device', item_tfms=One(), **kw).train.one_batch()
    with pytest.raises(ValueError, match='num_workers=0'): TSDataLoaders.from_files(*data, cache='device', num_workers=2, **kw)
    with pytest.raises(ValueError, match="choose 'device'"): TSDataLoaders.from_files(*data, cache='gpu', **kw)

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
@cuda
def test_cuda(data):
    "The same batches on the GPU, kept or not, as on the CPU"
    kw = dict(splits=(range(150),range(150,200)), bs=32, seed=0, drop_last=False)
    gpu,cpu = [TSDataLoaders.from_files(*data, device=torch.device(d), **kw) for d in ('cuda','cpu')]
    for _ in range(3):
        a,b = list(gpu.train),list(cpu.train)
        for (x,t),(x2,t2) in zip(a, b, strict=True): assert x.is_cuda and x.cpu().equal(x2) and t.cpu().equal(t2)
@cuda
def test_cuda_ring():
    gpu = dls_of(device=torch.device('cuda'))
    kept = [x for x, in gpu.train]
    assert torch.cat(kept)[:,0,0].sort().values.tolist()==list(range(3000))
    for x in kept: assert (x==x[:,:,:1]).all()

def test_an_epoch_that_can_not_begin(monkeypatch, data):
    "Its own error is all that is told"
    told = []
    monkeypatch.setattr(sys, 'unraisablehook', told.append)
    def fail(*args): raise OSError('no memory')
    monkeypatch.setattr(batches, 'lookahead', fail)
    dls = TSDataLoaders.from_files(data[0], splits=(range(200),))
    with pytest.raises(OSError, match='no memory'): next(iter(dls.train))
    gc.collect()
    assert not told
