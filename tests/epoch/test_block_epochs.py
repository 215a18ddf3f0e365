"Epochs of blocks in random order: the rows that belong to the order, from any source, any part of it, in any number of processes"
import json, pickle, warnings
from itertools import islice
import numpy as np, pytest, torch
from fastai.data.block import DataBlock, RegressionBlock
from fastai.data.transforms import ItemGetter, IndexSplitter, RandomSplitter
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from torch import nn
from memmap_ts.all import *
from memmap_ts.epoch.mixes import bytes_apart
from memmap_ts.epoch import blocks
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

N = 900

@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    "Blocks of 4 KiB and mixes of 16 of them, so that small data have several mixes"
    monkeypatch.setattr(blocks, '_block_bytes', 4096)
    monkeypatch.setattr(blocks, '_most_blocks', 16)

def values(n=N): return np.repeat(np.arange(n, dtype='f4'), 32).reshape(n, 1, 32) # 128 bytes a row: 32 rows a block

def loaders(X=None, y=None, n=N, **kw):
    kw = dict(splits=(range(n),), bs=16, seed=3, shuffle='blocks', drop_last=False)|kw
    return TSDataLoaders.from_memmap(values(n) if X is None else X, np.arange(n, dtype='f4') if y is None else y, **kw)

def rows(batches): return [y.flatten().long().tolist() for *_,y in batches]

def on_disk_(saved, tmp_path): return saved(values())
def in_ram(saved, tmp_path): return values()
def many_files(saved, tmp_path):
    parts = [0,1,200,201,650,N]
    for k,(i,j) in enumerate(zip(parts[:-1], parts[1:])): np.save(tmp_path/f'part{k}.npy', values()[i:j])
    return open_memmaps(str(tmp_path/'part*.npy'))
def part_of_file(saved, tmp_path): return open_memmap(saved(np.concatenate([values(50)-99, values()])))[50:]

SOURCES = [on_disk_, in_ram, many_files, part_of_file]

@pytest.mark.parametrize('source', SOURCES, ids=lambda o: o.__name__)
def test_batches_are_rows_in_the_order_of_blocks(source, saved, tmp_path):
    "The same from disk, from many files and from RAM; cold and warm"
    X = source(saved, tmp_path)
    dl = loaders(X).train
    for fn in tmp_path.glob('*.npy'): system.evict(fn)
    assert dl.order_of(0).n_mixes==2 and dl.order_of(0).block_rows==32 and 'in blocks' in repr(dl)
    for epoch in range(2):
        batches = [*dl]
        for x,y in batches: assert (x[:,0].T==y).all()
        seen = sum(rows(batches), [])
        assert seen==dl.order_of(epoch)[:].tolist() and sorted(seen)==[*range(N)]

def test_same_losses_from_disk_as_from_ram(saved):
    fn = saved(values())
    system.evict(fn)
    assert rows(loaders(fn).train)==rows(loaders(values()).train)!=rows(loaders(values(), seed=4).train)

def test_windows(saved):
    "Windows that overlap: a block has those that share its bytes"
    series = np.arange(4000, dtype='f4')
    X,y = windows(open_memmap(saved(series)), 50, horizon=1)
    dl = TSDataLoaders.from_memmap(X, y, bs=64, seed=1, shuffle='blocks').train
    assert bytes_apart(dl.plan)==[4,4] and dl.order_of(0).block_rows==1024
    seen = [(x[:,0,0].tolist(),y.flatten().tolist()) for x,y in dl]
    assert all(np.array_equal(np.array(a)+50, b) for a,b in seen) and len({o for a,_ in seen for o in a})==len(dl)*64

def test_windows_of_many_files(tmp_path):
    for k in range(3): np.save(tmp_path/f's{k}.npy', np.arange(1000*k, 1000*k+900, dtype='f4')[:,None])
    X,y = windows(open_memmaps(str(tmp_path/'s*.npy')), 20, horizon=1)
    dl = TSDataLoaders.from_memmap(X, y, splits=(range(len(X)),), bs=64, seed=1, shuffle='blocks', drop_last=False).train
    assert bytes_apart(dl.plan)[0]==4
    for fn in tmp_path.glob('*.npy'): system.evict(fn)
    firsts = []
    for x,y in dl:
        assert (x[:,0,-1]+1==y.flatten()).all()
        firsts += x[:,0,0].tolist()
    assert len(set(firsts))==len(firsts)==len(X)

@pytest.mark.parametrize('kw', [{}, dict(max_len=5), dict(mask=True)])
def test_samples_of_any_length(saved, kw):
    lengths = np.random.default_rng(0).integers(1, 60, 300)
    steps = np.repeat(np.arange(300, dtype='f4'), lengths)
    fn = saved(steps[:,None])
    X = ragged(open_memmap(fn), lengths)
    system.evict(fn)
    dl = TSDataLoaders.from_memmap(X, np.arange(300, dtype='f4'), splits=(range(300),), bs=16, seed=1, shuffle='blocks', drop_last=False, pad_value=-1., **kw).train
    seen = []
    for x,y in dl:
        x = x[0] if isinstance(x, (tuple,list)) else x
        assert (x.amax(2)[:,0]==y).all()
        seen += y.long().tolist()
    assert sorted(seen)==[*range(300)]

def test_splits_and_several_inputs(saved):
    "Neighbours in the split, of several arrays; validation stays in order"
    X = saved(values())
    dls = loaders((X,values()[:,:,:4]), splits=None, valid_pct=.3)
    dl = dls.train
    assert dl.n==630 and dl.order_of(0).block_rows==32
    for (a,b),y in dl: assert (a[:,0].T==y).all() and (b[:,0].T==y).all()
    assert sum(rows(dls.valid), [])==sorted(sum(rows(dls.valid), [])) and not dls.valid.in_blocks

WAYS = dict(plain={}, dropped=dict(drop_last=True), large=dict(bs=700), ones=dict(bs=1, n=70), all=dict(bs=2000), no_thread=dict(prefetch=0),
            workers=dict(num_workers=2, bs=50), tiny=dict(n=5), one=dict(n=1), device=dict(cache='device'))

@pytest.mark.parametrize('way', WAYS)
def test_gone_on_with_anywhere(way):
    "Also in the midst of a mix, and with batches that are larger than one"
    make = lambda: loaders(**WAYS[way]).train
    whole = make()
    first,second = rows(whole),rows(whole)
    n = WAYS[way].get('n', N)
    if way!='dropped': assert sorted(sum(first, []))==sorted(sum(second, []))==[*range(n)]
    for k in {len(first)//3} if way=='workers' else {0,1,len(first)//3,len(first)-1}-{len(first)}:
        left = make()
        seen = rows(islice(iter(left), k))
        again = pickle.loads(pickle.dumps(make()))
        again.load_state_dict(json.loads(json.dumps(left.state_dict())))
        assert seen+rows(again)==first and rows(again)==second

@pytest.mark.parametrize('n_ranks', [2,3,4])
def test_shares(n_ranks, saved):
    "Global batch g is batch g of one process"
    X = saved(values())
    want = rows(loaders(X, bs=18).train)
    shares = [rows(loaders(X, bs=18).train.shard(r, n_ranks)) for r in range(n_ranks)]
    assert [sum((o[g] for o in shares), []) for g in range(len(want))]==want

class Noted(Linux):
    "Notes what it is asked for; has little memory"
    def __init__(self, free=2**40):
        super().__init__()
        self.hints,self.free = [],free
    def free_memory(self): return self.free
    def will_need(self, fd, offset, n_bytes): self.hints.append((offset,n_bytes))

@pytest.mark.skipif(not isinstance(system, Linux), reason='is about hints of Linux')
@pytest.mark.parametrize('kw', [{}, dict(num_workers=0, prefetch=0)])
def test_blocks_are_read_in_large_pieces(saved, kw):
    "A file much larger than memory: no direct reads, no file read in order beside, and every block asked for before its rows"
    fn = saved(values())
    dl = loaders(fn, **kw).train
    platform,reader = Noted(free=40_000),dl.plan.items[0].reader(0) # a mix has 64 KiB
    reader.system = reader.file.system = platform
    system.evict(fn)
    batches = iter(dl)
    got = [next(batches)]
    large = [o for o in platform.hints if o[1]>=4096]
    assert large and platform.hints[0][1]>=4096
    got += batches
    stats = dl.last_epoch.arrays[0]
    assert stats.way=='cached' and not stats.swept and sorted(sum(rows(got), []))==[*range(N)]
    blocks_hinted = {(o-128)//4096 for o,n in platform.hints if n>=3000}
    assert blocks_hinted>=set(range(28)) # all of them

def test_warm_epochs_hint_nothing(saved):
    X = open_memmap(saved(values()))
    np.array(X)
    dl = loaders(X).train
    reader = dl.plan.items[0].reader(0)
    if reader.file is None or not reader.epoch().only_copies: pytest.skip('nobody tells here what is in memory')
    reader.system = reader.file.system = platform = Noted()
    for _ in dl: pass
    assert platform.hints==[]

@pytest.mark.parametrize('kw,error,said', [
    (dict(shuffle='block'), ValueError, "'blocks'"), (dict(weights=np.ones(N)), ValueError, 'leave them out'), (dict(weights=np.ones(N), partial_n=9), ValueError, 'leave them out'),
    (dict(partial_n=.5), ValueError, 'partial_n'), (dict(sampler=[1,2]), ValueError, 'sampler'), (dict(buckets=True), ValueError, 'buckets')])
def test_what_does_not_go_together(kw, error, said):
    with pytest.raises(error, match=said): loaders(**kw)

def test_made_from_other_loaders():
    dl = loaders(shuffle=True).train
    as_blocks,plain = dl.new(shuffle='blocks'),dl.new(shuffle='blocks').new(shuffle=False)
    assert as_blocks.in_blocks and rows(as_blocks)==rows(loaders().train) and sum(rows(plain), [])==[*range(N)]
    for no in ('mixed',('blocks',),b'blocks',np.nan,2,-1,1.,None,[True,False],np.array([1,0])):
        with pytest.raises(ValueError, match="shuffle=.*choose True, False, or 'blocks'"): dl.new(shuffle=no)
        with pytest.raises(ValueError, match="shuffle=.*choose True, False, or 'blocks'"): TSDataLoaders.from_memmap(np.zeros((40,1,4)), np.zeros(40), shuffle=no)
    for yes in (True,np.bool_(False),0,np.int64(1)): dl.new(shuffle=yes)
    with pytest.raises(ValueError, match='leave them out'): dl.new(shuffle='blocks', sampler=[1,2])
    with pytest.raises(ValueError, match='shuffle_fn'): rows(dl.new(shuffle='blocks', shuffle_fn=list))
    with pytest.raises(ValueError, match='another order'): as_blocks.load_state_dict(dl.state_dict())

def test_items_and_data_blocks():
    assert sorted(sum(rows(MemmapDL(itemify(values(), np.arange(N)), bs=7, shuffle='blocks')), []))==[*range(N)]
    block = DataBlock((MemmapBlock,RegressionBlock), get_items=lambda o: itemify(*o), splitter=IndexSplitter(range(100)),
                      getters=[ItemGetter(0),ItemGetter(1)])
    dls = block.dataloaders((values(),np.arange(N, dtype='f4')), shuffle='blocks', bs=10)
    assert dls.train.in_blocks and len(set(sum(rows(dls.train), [])))==800 and not dls.valid.shuffle

def test_learner_goes_on(tmp_path):
    "`ResumeCallback`: losses are those of a run that nobody stopped"
    class Net(nn.Module):
        def __init__(self): super().__init__(); self.lin = nn.Linear(32, 1)
        def forward(self, x): return self.lin(x[:,0]/1000)
    def learner(**kw):
        torch.manual_seed(0)
        return Learner(loaders(X=values()/N, y=np.arange(N, dtype='f4')/N), Net(), loss_func=MSELossFlat(), path=tmp_path, **kw)
    whole = learner()
    with whole.no_bar(), whole.no_logging(): whole.fit(2)
    class StopAt(Callback):
        def after_batch(self):
            if self.training and self.epoch==1 and self.iter==20: raise KeyboardInterrupt
    stopped = learner()
    try:
        with stopped.no_bar(), stopped.no_logging(): stopped.fit(2, cbs=[ResumeCallback('run'),StopAt()])
    except KeyboardInterrupt: pass
    again = learner()
    with again.no_bar(), again.no_logging(): again.fit(2, cbs=ResumeCallback('run'))
    assert all(torch.equal(a, b) for a,b in zip(whole.model.parameters(), again.model.parameters()))

def of_splits(make):
    "What is said of loaders with these splits of 2,500 rows"
    X = np.zeros((2500,1,4), 'f4')
    with warnings.catch_warnings(record=True) as ws:
        warnings.simplefilter('always')
        TSDataLoaders.from_memmap(X, np.arange(2500, dtype='f4'), splits=make(X), bs=16, shuffle='blocks')
    return [o for o in ws if 'random order' in str(o.message)]

def test_splits_in_random_order_are_told():
    "Once, and not of those that are sorted"
    some = lambda X: RandomSplitter(seed=0)(X)
    (w,) = of_splits(some)
    assert w.category is RuntimeWarning and w.filename==__file__ and 'sorted(splits[0])' in str(w.message)
    ordered = lambda X: (sorted(some(X)[0]), some(X)[1])
    halves = lambda X: ([*range(1250,2500),*range(1000)],range(1000,1250))
    for make in (ordered, halves, lambda X: None, lambda X: ([*range(1999,-1,-1)],range(2000,2500)), lambda X: (range(2000),range(2000,2500)), lambda X: (np.arange(2500)<2000, np.arange(2500)>=2000), lambda X: ([7],[8])):
        assert not of_splits(make)
