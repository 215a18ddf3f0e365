"Epochs do not touch each other, nothing of them stays, and `last_epoch` tells what they were like"
import gc, os, threading, time, numpy as np, pytest, torch
from fasttransform import ItemTransform, Transform
from memmap_ts.all import *
from memmap_ts.epoch.batches import Batches
from memmap_ts.epoch.stats import PHASES, ArrayStats, EpochStats, device_bytes
from memmap_ts.io.reads import Reads
from memmap_ts.io.system import system
from memmap_ts.io.linux import Linux

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='the system does not tell what is in memory')

@pytest.fixture
def fn(saved): return saved(np.repeat(np.arange(4000, dtype='f4'), 250).reshape(4000,1,250))

def loaders(fn, **kw): return TSDataLoaders.from_files(fn, np.arange(4000)%3, **{'splits':(range(3000),range(3000,4000)), 'bs':50, 'seed':0, 'drop_last':False, **kw})
def rows(b): return [int(i) for i in b[0][:,0,0]]
def alive(cls):
    gc.collect()
    return [o for o in gc.get_objects() if isinstance(o, cls)]

def test_None_before(fn):
    dls = loaders(fn)
    assert dls.train.last_epoch is None and dls.valid.last_epoch is None
    dls.one_batch(), dls.vars
    assert dls.train.last_epoch is None # one batch is no epoch

def test_figures(fn):
    dls = loaders(fn)
    for _ in dls.train: time.sleep(.001)
    s = dls.train.last_epoch
    assert s.complete and (s.n_batches,s.n_expected)==(60,60)
    x,y = s.arrays
    assert (x.name,x.n_rows,x.n_bytes)==('X.npy',3000,3000*1000)
    assert (y.name,y.way,y.n_rows,y.n_bytes,y.share_in_memory)==('array 1','memory',3000,3000*y.n_bytes//3000,1)
    assert x.way in ('mapped','cached','direct') and 0<=x.share_in_memory<=1
    assert abs(sum(map(s.share, PHASES))-1)<1e-6 and s.seconds['model']>=.06
    assert dls.valid.last_epoch is None
    for _ in dls.valid: pass
    assert dls.valid.last_epoch.arrays[0].n_rows==1000 and dls.train.last_epoch is s

def test_left_early(fn):
    dls = loaders(fn)
    for i,b in enumerate(dls.train):
        if i==6: break
    del b
    s = dls.train.last_epoch
    assert not s.complete and s.n_batches==7 and 'left after 7' in repr(s) and 'left after 7' in s._repr_html_()

@linux
def test_training_and_validation_choose_their_own_way(fn):
    "The rows of validation are in memory, those of training are not; both are read at once"
    dls = loaders(fn)
    system.evict(fn)
    with open(fn, 'rb', 0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM) # nothing before is read along
        f.seek(128+3000*1000)
        f.read()
    a,b = iter(dls.train),iter(dls.valid)
    got = [],[]
    for _ in range(20): got[0].extend(rows(next(a))); got[1].extend(rows(next(b)))
    for x in a: got[0].extend(rows(x))
    assert list(b)==[]
    assert sorted(got[0])==list(range(3000)) and got[1]==list(range(3000,4000))
    train,valid = dls.train.last_epoch.arrays[0],dls.valid.last_epoch.arrays[0]
    assert (train.way,valid.way)==('cached','mapped') and train.share_in_memory<.9<valid.share_in_memory

@linux
def test_two_iterators_of_a_loader(fn):
    "The second begins when rows are in memory: it is an epoch of its own"
    dls = loaders(fn)
    system.evict(fn)
    a = iter(dls.train)
    first = rows(next(a))
    assert len([t for t in threading.enumerate() if t.name=='memmap_ts'])>=1
    np.load(fn).sum()
    b = iter(dls.train)
    second = [i for x in b for i in rows(x)]
    assert dls.train.last_epoch.arrays[0].way=='mapped'
    for x in a: first += rows(x)
    assert dls.train.last_epoch.arrays[0].way=='cached'
    assert sorted(first)==sorted(second)==list(range(3000)) and first!=second

@pytest.mark.parametrize('how', ['to the end','left','error'])
def test_nothing_outlives_an_epoch(fn, how):
    dls = loaders(fn)
    before = set(map(id, alive(Reads)+alive(Batches)))
    class Fail(Transform):
        def encodes(self, o:torch.Tensor): raise ZeroDivisionError
    if how=='error': dls.train.after_batch.add(Fail())
    try:
        for b in dls.train:
            if how=='left': break
    except ZeroDivisionError: pass
    b = None # noqa: F841 let go of the last batch
    assert not [o for o in alive(Reads)+alive(Batches) if id(o) not in before]
    assert not [t for t in threading.enumerate() if t.name=='memmap_ts']

def test_a_transform_that_was_added_is_heard(fn):
    "The plan of samples is kept, as long as the data set is what it was"
    class Seven(Transform):
        def encodes(self, o:torch.Tensor): return o*0+7 if o.ndim==2 else o
    dls = loaders(fn)
    assert rows(next(iter(dls.valid)))[:3]==[3000,3001,3002]
    plan = dls.valid.plan
    next(iter(dls.valid))
    assert dls.valid.plan is plan
    dls.valid_ds.tls[0].tfms.add(Seven())
    assert (next(iter(dls.valid))[0]==7).all()

def test_order_of_reading_does_not_change_batches(fn):
    "Cold or warm, with a thread or without, with transforms of samples or of batches"
    class Same(ItemTransform):
        def encodes(self, o): return o
    def batches(**kw):
        system.evict(fn)
        return [(x.clone(),y.clone()) for x,y in loaders(fn, **kw).train]
    want = batches()
    for kw in (dict(prefetch=0), dict(prefetch=7), dict(item_tfms=Same()), dict(cache='device')):
        for (x,y),(x2,y2) in zip(want, batches(**kw), strict=True): assert x.equal(x2) and y.equal(y2) and type(x) is type(x2) and type(y) is type(y2)

# ---- advice
class SlowItem(ItemTransform):
    def encodes(self, o): time.sleep(.0002); return o
class SlowBatch(Transform):
    def encodes(self, o:torch.Tensor): time.sleep(.01); return o

@pytest.mark.parametrize('kw,phase', [(dict(item_tfms=SlowItem()),'item_tfms'), (dict(batch_tfms=SlowBatch()),'batch_tfms')], ids=['item','batch'])
def test_advice(fn, kw, phase):
    dls = loaders(fn, **kw)
    for _ in dls.train: pass
    s = dls.train.last_epoch
    assert max(PHASES, key=s.share)==phase and s.advice.startswith(phase) and s.advice in repr(s) and s.advice in s._repr_html_()

def test_a_slow_model(fn):
    dls = loaders(fn)
    for _ in dls.train: time.sleep(.02)
    assert dls.train.last_epoch.advice.startswith('The model, ') and dls.train.last_epoch.share('model')>.5

def test_workers(fn):
    dls = loaders(fn, num_workers=1)
    for _ in dls.train: pass
    s = dls.train.last_epoch
    assert s.complete and s.arrays==[] and s.workers==1 and 'worker' in repr(s) and s.device_bytes is None

def test_cached_on_the_device(fn):
    dls = loaders(fn, cache='device')
    for _ in dls.train: pass
    assert dls.train.last_epoch.complete

def test_time_of_the_cache(fn):
    "Filling it, and taking batches from it, is waiting for data, not the model"
    for _ in range(5): # it takes a few milliseconds: another process may come between
        dls = loaders(fn, cache='device')
        for _ in dls.train: pass
        share = dls.train.last_epoch.share('data')
        if share>.5: break
    assert share>.5

@pytest.mark.parametrize('way,share,want', [('direct',0,'no room'), ('cached',.1,'next epoch should be faster'), ('mapped',1,'only had to be copied'), ('computed',1,'one by one')])
def test_advice_of_ways(way, share, want):
    s = EpochStats(dict.fromkeys(PHASES, 0.)|dict(data=1.), [ArrayStats('X.npy', way, 9, 9, share, False)], 1, 1)
    assert want in s.advice

def test_advice_of_two_phases():
    "What is a good part of the epoch is told too"
    seconds = dict.fromkeys(PHASES, 0.)
    s = EpochStats(seconds|dict(model=.55, item_tfms=.45), [], 1, 1)
    assert '55%' in s.advice and '45%' in s.advice and 'as batch_tfms' in s.advice
    assert 'hardly help' in EpochStats(seconds|dict(model=.95, data=.05), [], 1, 1).advice

@linux
def test_bytes_of_the_device(fn):
    if device_bytes() is None: pytest.skip('nobody counts')
    dls = loaders(fn)
    assert dls.train.last_epoch is None
    for _ in dls.train: pass
    assert dls.train.last_epoch.device_bytes>=0 and 'read from devices' in repr(dls.train.last_epoch)
