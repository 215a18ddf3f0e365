"Shares of batches: every process works out its own, and together they are those of one process"
import tracemalloc, warnings
import numpy as np, pytest, torch
from fastai.data.transforms import ItemTransform
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from torch import nn
from memmap_ts.all import *
from memmap_ts.epoch.share import Share
from ranks import CAN_FORK, on_ranks

X,y = np.arange(41*6, dtype='f4').reshape(41, 2, 3),np.arange(41, dtype='f4')
def rows(dl, n_epochs=2): return [[b[-1].long().tolist() for b in dl] for _ in range(n_epochs)]

class Some:
    "A user's sampler: a function of a random generator"
    def __call__(self, rng): return rng.permutation(34)[:23]
    def __len__(self): return 23

class Same(ItemTransform):
    def encodes(self, x): return x

CASES = dict(
    plain={}, kept=dict(drop_last=False), few=dict(bs=64), one=dict(bs=1), in_order=dict(shuffle=False), device=dict(cache='device'),
    weights=dict(weights=y+1), partial=dict(partial_n=17), sampler=dict(sampler=Some()), listed=dict(sampler=[5,3,4,1,1,9]),
    items=dict(item_tfms=Same()), thread=dict(prefetch=0), inputs=dict(X=(X,X[:,:1])), workers=dict(num_workers=2, bs=17))

def loaders(X=X, bs=6, **kwargs):
    return TSDataLoaders.from_memmap(X, y, splits=(range(34),range(34,41)), bs=bs, seed=3, **kwargs)

@pytest.mark.parametrize('name', CASES)
def test_batches_are_those_of_one_process(name):
    "Global batch g is batch g of one process, in several epochs, the incomplete last one too"
    for which in (0,1):
        want = rows(loaders(**CASES[name])[which])
        for n in (2,3,8)[:1 if name=='workers' else 3]:
            shares = [rows(loaders(**CASES[name])[which].shard(r, n)) for r in range(n)]
            for epoch,batches in enumerate(want):
                parts = [o[epoch] for o in shares]
                assert all(len(o)==len(batches) for o in parts)
                for g,batch in enumerate(batches):
                    sizes = Share(0, n).sizes(len(batch))
                    assert sum([o[g][:size] for o,size in zip(parts, sizes)], [])==batch
                    assert all(len(o[g])==max(size, 1) for o,size in zip(parts, sizes)) # who has no row has one that does not count

def test_any_number_of_rows_batches_and_processes():
    rng = np.random.default_rng(0)
    for n,bs,n_ranks in rng.integers(1, [60,40,12], (60,3)).tolist():
        dl = MemmapDL(itemify(np.arange(n)), bs=bs, shuffle=True, seed=1, drop_last=n%2)
        shares,want = [rows(dl.shard(r, n_ranks), 1)[0] for r in range(n_ranks)],rows(dl, 1)[0]
        assert all(len(o)==len(want) for o in shares)
        for g,batch in enumerate(want):
            assert sum([o[g][:size] for o,size in zip(shares, Share(0, n_ranks).sizes(len(batch)))], [])==batch

def test_sizes_are_those_of_the_batch_that_was_handed_out():
    dl = MemmapDL(itemify(np.arange(10)), bs=4).shard(1, 3)
    assert [(dl.sizes,b[0].tolist()) for b in dl]==[([1,1,2],[1]),([1,1,2],[5]),([0,1,1],[8])]
    assert MemmapDL(itemify(np.arange(10))).sizes is None and dl.one_batch()[0].tolist()==[0,1,2,3] # a look is at a whole batch

def test_order_of_a_share_takes_no_memory():
    dl = MemmapDL(itemify(np.broadcast_to(np.float32(0), 10**8)), bs=512, shuffle=True, seed=0)
    dl.share = Share(1, 4)
    batches = dl.in_batches(dl.order_of(0))
    next(batches)
    tracemalloc.start()
    for _ in range(1000): next(batches)
    assert tracemalloc.get_traced_memory()[1]<2e6
    tracemalloc.stop()

def test_shares_that_cannot_agree_are_refused():
    items = itemify(np.arange(10))
    with pytest.raises(ValueError, match='make the loader with a `seed`'): MemmapDL(items, shuffle=True).shard(0, 2)
    with pytest.raises(ValueError, match='ranks are 0 to 1'): MemmapDL(items).shard(2, 2)
    with pytest.raises(ValueError, match='function of a NumPy random generator'):
        MemmapDL(items, sampler=torch.utils.data.RandomSampler(range(10)), seed=0).shard(0, 2)
    assert MemmapDL(items, shuffle=True, seed=0).batch_sampler is None # Lightning asks for it

def in_context(_):
    "Shares end with the context, also those of loaders made in it; each process is told of whole batches"
    from memmap_ts.distributed import distributed
    from memmap_ts.work import ranks
    dls = loaders()
    with distributed(Learner(dls, nn.Linear(1, 1), loss_func=MSELossFlat())):
        made = dls.test_dl((X,y), with_labels=True)
        during = [ranks.gather_rows(b[-1], dl.sizes).tolist() for dl in (dls.train,made) for b in dl]
        whole = loaders().valid
        during.append([b[-1].tolist() for b in whole])
    after = rows(dls.valid),rows(made)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        rows(loaders().train)
    return during,after,[str(o.message) for o in caught]

@pytest.mark.skipif(not CAN_FORK, reason='processes would import everything anew')
def test_context_shares_out_and_ends():
    first,second = on_ranks(2, in_context, None)
    assert first==second
    during,after,said = first
    dls = loaders()
    made = dls.test_dl((X,y), with_labels=True)
    assert during==[b[-1].tolist() for dl in (dls.train,made) for b in dl]+[[b[-1].tolist() for b in dls.valid]]
    assert after==(rows(dls.valid),rows(made))
    assert any('each of the 2 processes reads all batches' in o for o in said)
