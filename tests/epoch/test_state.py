"An epoch that is left goes on elsewhere with exactly the batches that had not been handed out"
import json, pickle, time
from itertools import islice
import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.data.block import DataBlock, RegressionBlock
from fastai.data.transforms import ItemGetter
from fastai.learner import Learner
from torch.utils.data import SubsetRandomSampler
from forked import run
from memmap_ts.all import *
from memmap_ts.data.ranges import Ranges

class Own:
    "A user's sampler: a function of a random generator"
    def __len__(self): return 30
    def __call__(self, rng): return rng.integers(0, 50, 30)

def loader(n=50, **kw):
    kw = dict(splits=(range(n),), bs=8, seed=3)|kw
    return TSDataLoaders.from_memmap(np.zeros((n,1,4),'f4'), np.arange(n, dtype='f4'), **kw).train

def rows(batches): return [y.int().tolist() for _,y in batches]

WAYS = dict(shuffled=dict(), in_order=dict(shuffle=False), part=dict(partial_n=.7), weights=dict(weights=np.arange(50.)),
            whole_batches=dict(drop_last=True), all_rows=dict(drop_last=False), one_batch=dict(bs=64), ones=dict(bs=1),
            own=dict(sampler=Own()), a_list=dict(sampler=[*range(40,10,-1)]), many=dict(n=70_000, bs=9_000),
            no_thread=dict(prefetch=0), far_ahead=dict(prefetch=6))

@pytest.mark.parametrize('way', WAYS)
def test_left_anywhere(way):
    "After each batch: the rest of this epoch, and the next one, are those of a run that nobody stopped"
    make = lambda: loader(**WAYS[way])
    whole = make()
    first,second = rows(whole),rows(whole)
    for k in range(len(first)+1):
        left = make()
        seen = rows(islice(iter(left), k))
        again = make()
        again.load_state_dict(json.loads(json.dumps(left.state_dict())))
        assert again.state_dict()==left.state_dict() and len(again)==len(first)
        rest = rows(again) if k<len(first) else [] # with all handed out, the next epoch comes
        assert seen+rest==first and rows(again)==second

def test_windows_of_many_groups():
    "Their rows are kept as ranges, which tell the same as all numbers do"
    X,y = windows(np.arange(3000, dtype='f4'), 4, horizon=1, groups=[300]*10)
    ranges,_ = X.split_by_time()
    assert type(ranges) is Ranges
    a,b = (TSDataLoaders.from_memmap(X, y, splits=(o,), bs=256, seed=3).train for o in (ranges,np.asarray(ranges)))
    seen = rows(islice(iter(a), 3))
    b.load_state_dict(a.state_dict())
    assert seen+rows(b)==rows(TSDataLoaders.from_memmap(X, y, splits=(ranges,), bs=256, seed=3).train)

def test_workers():
    whole = rows(loader())
    for k in (1,4,len(whole)-1):
        for n_before,n_after in ((2,0), (0,2), (2,3)):
            left,again = loader(num_workers=n_before),loader(num_workers=n_after)
            for i,_ in enumerate(left):
                if i==k-1: break
            again.load_state_dict(left.state_dict())
            assert rows(again)==whole[k:]

def test_twice_in_one_epoch():
    whole = rows(loader())
    a,b,c = loader(),loader(),loader()
    seen = rows(islice(iter(a), 2))
    b.load_state_dict(a.state_dict())
    seen += rows(islice(iter(b), 3))
    c.load_state_dict(b.state_dict())
    assert seen+rows(c)==whole

def test_at_the_end_of_an_epoch():
    "With all batches handed out the next epoch comes, whether or not the loop has asked for more"
    dl = loader()
    whole,states = [],[]
    for _,y in dl:
        whole.append(y)
        states.append(dl.state_dict())
    a,b = loader(),loader()
    a.load_state_dict(states[-1])
    b.load_state_dict(dl.state_dict())
    following = rows(dl)
    assert rows(a)==following==rows(b) and states[-1]['epoch']==1

def test_a_loader_that_begins_anew_after_a_break():
    "As ever: what was left is left, and the next loop has the next epoch"
    dl,same = loader(),loader()
    rows(islice(iter(dl), 2))
    rows(same)
    assert rows(dl)==rows(same)

def test_looking_does_not_move_it():
    dl = loader()
    rows(islice(iter(dl), 2))
    before = dl.state_dict()
    dl.one_batch()
    assert dl.state_dict()==before

def test_a_drawn_seed_comes_along():
    a,b = loader(seed=None),loader(seed=None)
    seen = rows(islice(iter(a), 2))
    b.load_state_dict(a.state_dict())
    assert sorted(sum(seen+rows(b), []))==sorted(sum(rows(loader(seed=a.seed)), []))

def test_pickled_in_an_epoch():
    dl = loader()
    seen = rows(islice(iter(dl), 2))
    assert pickle.loads(pickle.dumps(dl)).state_dict()==dl.state_dict() and len(seen)==2

def saved_loader(folder, n=50, change=lambda X: X, splits=None, **kw):
    X = change(np.arange(n*4, dtype='f4').reshape(n, 1, 4))
    np.save(folder/'X.npy', X)
    return TSDataLoaders.from_memmap(folder/'X.npy', splits=splits or (range(n),), **(dict(bs=8, seed=3)|kw)).train

@pytest.mark.parametrize('kw,words', [
    (dict(n=60), 'another number of samples'), (dict(change=lambda X: X+1), 'other arrays'),
    (dict(change=lambda X: X.astype('f8')), 'other arrays'), (dict(bs=9), 'another size of batch'),
    (dict(shuffle=False), 'another order'), (dict(partial_n=.5), 'another order'),
    (dict(splits=(np.arange(50)[::-1],)), 'other rows'), (dict(splits=(range(10),)), 'another number')])
def test_of_something_else(tmp_path, kw, words):
    dl = saved_loader(tmp_path)
    next(iter(dl))
    state = dl.state_dict()
    with pytest.raises(ValueError, match=words): saved_loader(tmp_path, **kw).load_state_dict(state)

def test_of_other_weights():
    w = np.arange(50.)
    state = loader(weights=w).state_dict()
    loader(weights=w).load_state_dict(state)
    with pytest.raises(ValueError, match='another order'): loader(weights=w[::-1]).load_state_dict(state)

def test_another_size_of_batch_between_epochs():
    dl = loader()
    rows(dl)
    other = loader(bs=16)
    other.load_state_dict(dl.state_dict())
    assert sum(rows(other), [])[:48]==sum(rows(dl), [])[:48]

@pytest.mark.parametrize('state', [{}, dict(seed=1), dict(version=99)])
def test_not_a_state(state):
    dl = loader()
    with pytest.raises(ValueError, match='not a state'): dl.load_state_dict(state)
    with pytest.raises(ValueError, match='not a state'): dl.load_state_dict(dl.state_dict()|dict(version=99))

@pytest.mark.parametrize('kw', [dict(sampler=SubsetRandomSampler(range(20))), dict(shuffle_fn=lambda idxs: idxs[::-1])])
def test_an_order_that_nobody_can_make_again(kw):
    dl = loader(**kw)
    next(iter(dl))
    state = dl.state_dict()
    with pytest.raises(ValueError, match='function of a NumPy random generator'): dl.load_state_dict(state)
    dl.load_state_dict(state|dict(epoch=1, samples=0))

def test_a_data_block(tmp_path):
    np.save(tmp_path/'X.npy', np.zeros((50,1,4),'f4'))
    def make():
        block = DataBlock((MemmapBlock, RegressionBlock), get_items=itemify,
                          getters=[ItemGetter(0),ItemGetter(1)], splitter=lambda items: (range(40),range(40,50)))
        return block.dataloaders((tmp_path/'X.npy', np.arange(50.)), bs=8, shuffle=True, seed=3).train
    whole,left,again = make(),make(),make()
    seen = [y.tolist() for _,y in islice(iter(left), 2)]
    again.load_state_dict(left.state_dict())
    assert seen+[y.tolist() for _,y in again]==[y.tolist() for _,y in whole]

def test_windows_copied_elsewhere(tmp_path):
    "The path of a file does not matter, its rows do"
    series = np.random.default_rng(0).normal(size=(200,2)).astype('f4')
    loaders = []
    for name in ('here','there'):
        np.save(tmp_path/f'{name}.npy', series)
        X,y = windows(open_memmap(tmp_path/f'{name}.npy'), 10, stride=1, horizon=2)
        loaders.append(TSDataLoaders.from_memmap(X, y, splits=(range(100),range(120,len(X))), bs=8, seed=1).train)
    here,there = loaders
    seen = [y for _,y in islice(iter(here), 3)]
    there.load_state_dict(here.state_dict())
    assert len(seen)+len([*there])==len(here)

@pytest.mark.alone
def test_far_into_many_rows(tmp_path):
    "Half a second would be long: nothing of what is skipped is worked out or read; the state is small"
    series = create_memmap(tmp_path/'series.npy', (100_000_000, 1)) # holes
    def make():
        X,_ = windows(series, 8, stride=1, horizon=1)
        return TSDataLoaders.from_memmap(X, splits=(range(90_000_000),), bs=64, seed=1).train
    dl = make()
    state = dl.state_dict()|dict(epoch=7, samples=64*1_000_000)
    start = time.perf_counter()
    dl.load_state_dict(state)
    next(iter(dl))
    assert time.perf_counter()-start<1 and len(json.dumps(state))<10_000

def test_who_asks_for_the_order_begins_no_epoch():
    "Predictions of a loader that is to go on where it was left have every row, and leave it there"
    dl = loader(bs=10, drop_last=False)
    dl.load_state_dict(dl.state_dict()|dict(samples=20))
    assert len(dl.get_idxs())==50 and dl.place==(0,20)
    class Same(torch.nn.Module):
        def __init__(self): super().__init__(); self.zero = torch.nn.Parameter(torch.zeros(1))
        def forward(self, x): return x[:,0,0]+self.zero
    targets = Learner(DataLoaders(dl, dl), Same(), loss_func=torch.nn.MSELoss()).get_preds(dl=dl)[1]
    assert sorted(targets.int().tolist())==[*range(50)] and dl.place==(0,20)
    assert len(rows(dl))==3

def test_each_epoch_counts_for_itself():
    dl = loader(bs=10)
    first,second = iter(dl),iter(dl)
    for _ in range(3): next(first)
    next(second)
    next(first)
    assert dl.place==(1,10)
    del first
    assert dl.place==(1,10) and len([*second])==4 and dl.place==(2,0)

def test_a_loop_of_fastai_that_is_not_ours():
    "As its `DistributedDL` goes through a loader: an epoch begins with `randomize` and ends with `after_iter`"
    dl = loader()
    def epoch():
        dl.randomize()
        res = list(dl.get_idxs())
        dl.after_iter()
        return res
    assert epoch()==loader().order_of(0)[:].tolist()!=epoch() and dl.place==(2,0)

@pytest.mark.parametrize('n', [50,70_000])
def test_an_order_as_an_array(n):
    dl = loader(n=n)
    order = dl.get_idxs()
    assert torch.tensor(np.asarray(order)).argsort().argsort().tolist()==order[:].tolist()==list(order)
    a = np.array(order)
    a[:] = 0
    assert dl.get_idxs()[:].any()
    if n==50:
        with pytest.raises(ValueError, match='read-only'): order[:][0] = 1

def test_samplers_that_differ_inside():
    "Weights with the same sums, functions of one class"
    class Shifted(Own):
        def __init__(self, by): self.by = by
        def __call__(self, rng): return (super().__call__(rng)+self.by)%50
    for a,b in ((dict(weights=np.tile([0.,1.], 25)), dict(weights=np.tile([1.,0.], 25))), (dict(sampler=Shifted(0)), dict(sampler=Shifted(7)))):
        state = loader(**a).state_dict()
        loader(**a).load_state_dict(state)
        with pytest.raises(ValueError, match='another order'): loader(**b).load_state_dict(state)

@pytest.mark.parametrize('samples', [-8,3,800])
def test_no_place_in_an_epoch(samples):
    dl = loader()
    with pytest.raises(ValueError, match='no whole batches'): dl.load_state_dict(dl.state_dict()|dict(samples=samples))

def test_numbers_of_numpy():
    dl = loader(bs=np.int64(8))
    next(iter(dl))
    assert json.loads(json.dumps(dl.state_dict()))==dl.state_dict()

@pytest.mark.parametrize('workers', [0,2])
def test_what_the_rest_of_an_epoch_was_like(workers):
    dl = loader(num_workers=workers)
    dl.load_state_dict(dl.state_dict()|dict(samples=16))
    rows(dl)
    assert dl.last_epoch.complete and dl.last_epoch.n_expected==len(dl)-2

def test_python_ends_in_an_epoch(tmp_path):
    "A script that looks at one batch says nothing at its end"
    np.save(tmp_path/'X.npy', np.zeros((50,1,4),'f4'))
    code = f"from memmap_ts.all import *; it = iter(TSDataLoaders.from_files({str(tmp_path/'X.npy')!r}).train); next(it)"
    r = run(code)
    assert (r.returncode,r.stderr)==(0,'')

@pytest.mark.parametrize('workers', [0,2])
def test_an_older_iterator_ends(workers):
    "Its end is not that of the epoch that was begun after it"
    dl = loader(num_workers=workers)
    older = iter(dl)
    next(older)
    newer = iter(dl)
    next(newer)
    assert dl.place==(1,8)
    rows(older)
    assert dl.place==(1,8)
    rows(newer)
    assert dl.place==(2,0)

@pytest.mark.parametrize('workers', [0,2])
def test_who_goes_on_draws_no_number_again(workers):
    "An epoch draws one for its workers when it begins; what is drawn after that is the same then"
    def draws(samples):
        dl = loader(num_workers=workers)
        dl.load_state_dict(dl.state_dict()|dict(samples=samples))
        torch.manual_seed(0)
        next(iter(dl))
        return torch.rand(1).item()
    def drawn(n):
        torch.manual_seed(0)
        for _ in range(n): torch.empty((), dtype=torch.int64).random_()
        return torch.rand(1).item()
    assert (draws(0),draws(16))==(drawn(1),drawn(0))

def test_pickled_when_gone_on_with():
    dl = loader()
    dl.load_state_dict(dl.state_dict()|dict(samples=16))
    next(iter(dl))
    assert pickle.loads(pickle.dumps(dl)).state_dict()==dl.state_dict()
