"From arrays on disk to a trained, shown, exported and loaded model"
import io, pickle, contextlib, numpy as np, pytest, torch
from torch import nn
from fastai.data.block import DataBlock, CategoryBlock, MultiCategoryBlock, RegressionBlock
from fastai.data.transforms import ItemGetter, RandomSplitter
from fastai.callback.schedule import Learner
from fastai.learner import load_learner
from fastai.metrics import accuracy, accuracy_multi, mse
from fastai.torch_core import TensorCategory, set_seed
from fasttransform import ItemTransform, Transform
from tsai.data.core import TSTensor, TSClassification, TSRegression
from tsai.data.preprocessing import TSStandardize
from tsai.learner import ts_learner
from tsai.inference import * # get_X_preds
from training import fit
from memmap_ts.all import *

class Net(nn.Module):
    "The smallest model"
    def __init__(self, n_in, n_out): super().__init__(); self.lin = nn.Linear(n_in, n_out)
    def forward(self, x, *rest): return self.lin(x.flatten(1))

def dblock(*blocks, **kwargs): return DataBlock(blocks, get_items=itemify, splitter=RandomSplitter(seed=0), getters=[ItemGetter(i) for i in range(len(blocks))], **kwargs)

def test_datablock(data):
    "As design and README have it, from paths and from arrays"
    for src in (data, tuple(map(open_memmap, data)), tuple(map(np.load, data))):
        d = DataBlock(blocks=(MemmapBlock, CategoryBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=RandomSplitter(seed=0))
        dls = d.dataloaders(src, bs=32)
        assert isinstance(dls.train, MemmapDL) and isinstance(dls.valid, MemmapDL)
        xb,yb = dls.one_batch()
        assert type(xb) is TSTensor and xb.shape==(32,3,20) and type(yb) is TensorCategory
        assert dls.c==3 and list(dls.vocab)==['cat','dog','eel'] and (dls.vars,dls.len)==(3,20)
        learn = Learner(dls, Net(60,3), metrics=accuracy)
        assert fit(learn, 10)[-1] > .9

def test_targets(data, saved):
    X,_ = data
    rng = np.random.default_rng(0)
    one,two = saved(rng.normal(size=200), 'one.npy'),saved(rng.normal(size=(200,2)), 'two.npy')
    dls = dblock(MemmapBlock, RegressionBlock).dataloaders((X,one), bs=16)
    assert dls.one_batch()[1].shape==(16,) and dls.one_batch()[1].dtype==torch.float32
    fit(Learner(dls, Net(60,1), metrics=mse))
    dls = dblock(MemmapBlock, RegressionBlock(n_out=2)).dataloaders((X,two), bs=16)
    assert dls.c==2
    fit(Learner(dls, Net(60,2)))
    tags = [[['a'],['a','b'],[]][i%3] for i in range(200)]
    dls = dblock(MemmapBlock, MultiCategoryBlock).dataloaders((X,tags), bs=200, drop_last=False, shuffle=False)
    y = dls.train.one_batch()[1]
    assert y.tolist()==[[float(v in tags[i]) for v in 'ab'] for i in dls.train.dataset.items.idxs]
    fit(Learner(dls, Net(60,2), metrics=accuracy_multi))
    hot = saved((rng.random((200,4))<.5).astype('u1'), 'hot.npy')
    dls = dblock(MemmapBlock, MultiCategoryBlock(encoded=True, vocab=list('abcd'))).dataloaders((X,hot), bs=16)
    assert dls.one_batch()[1].shape==(16,4); fit(Learner(dls, Net(60,4)))
    dls = dblock(MemmapBlock).dataloaders(X, bs=16)
    assert len(dls.one_batch())==1
    dls = dblock(MemmapBlock, MemmapBlock).dataloaders((X,X), bs=16)
    x,y = dls.one_batch(); assert x.equal(y) and x.data_ptr()!=y.data_ptr()

def test_several_inputs(data, saved):
    static = saved(np.random.default_rng(1).normal(size=(200,4)), 'static.npy')
    dls = dblock(MemmapBlock, MemmapBlock, CategoryBlock, n_inp=2).dataloaders((data[0],static,data[1]), bs=16)
    class Two(nn.Module):
        def __init__(self): super().__init__(); self.lin = nn.Linear(64,3)
        def forward(self, x, s): return self.lin(torch.cat([x.flatten(1),s], 1))
    learn = Learner(dls, Two(), metrics=accuracy)
    fit(learn)
    assert learn.get_preds()[0].shape==(40,3)
    dl = dls.test_dl(itemify(np.load(data[0])[:5], np.load(static)[:5]))
    assert learn.get_preds(dl=dl)[0].shape==(5,3)

class Double(ItemTransform):
    def encodes(self, o): o[0].mul_(2); return o
class AddOne(Transform):
    def encodes(self, o:TSTensor): return o.add_(1)

def test_transforms_and_summary(data, sha):
    before = sha(data[0]); X = np.load(data[0])
    for mode in ('r','r+','c'):
        d = dblock(MemmapBlock, CategoryBlock, item_tfms=Double(), batch_tfms=AddOne())
        dls = d.dataloaders((open_memmap(data[0], mode), data[1]), bs=16)
        rows = dls.valid.dataset.items.idxs
        got = torch.cat([x for x,_ in dls.valid]).numpy()
        np.testing.assert_array_equal(got, X[rows]*2+1)
        out = io.StringIO()
        with contextlib.redirect_stdout(out): d.summary((open_memmap(data[0], mode), data[1]), bs=2)
        assert 'Collating items in a batch' in out.getvalue() and 'RowsToTSTensor' in out.getvalue()
        plain = dblock(MemmapBlock, CategoryBlock).dataloaders((open_memmap(data[0], mode), data[1]), bs=16)
        for x,_ in [*plain.train,*plain.valid]: x.fill_(7)
        assert sha(data[0])==before

def test_random_split_is_repeatable(data):
    a,b = [TSDataLoaders.from_files(*data, seed=5) for _ in range(2)]
    assert list(a.valid_ds.items.idxs)==list(b.valid_ds.items.idxs) and len(a.valid_ds)==40
    assert not set(a.valid_ds.items.idxs)&set(a.train_ds.items.idxs) and len(a.train_ds)==160

@pytest.mark.parametrize('workers', [0,2])
def test_disk_is_ram(data, workers):
    "Bit for bit the same losses"
    def losses(X, y):
        set_seed(1, reproducible=True)
        dls = TSDataLoaders.from_memmap(X, y, seed=3, bs=16, batch_tfms=TSStandardize(by_sample=True), num_workers=workers)
        return fit(ts_learner(dls, 'InceptionTimePlus', nf=8, metrics=accuracy), 2)[:]
    disk,ram = losses(*map(open_memmap, data)),losses(*map(np.load, data))
    assert disk==ram and len(disk)>4
    assert losses(*data)==disk

def test_seeds(data):
    def order(**kw): return [torch.cat([y for _,y in dls.train]).tolist() for _ in range(2)] if (dls := TSDataLoaders.from_memmap(data[0], np.arange(200.), **kw)) else None
    assert order(seed=1)==order(seed=1)!=order(seed=2)
    set_seed(0); a = order()
    set_seed(0); assert order()==a
    assert order(seed=1)[0]!=order(seed=1)[1]

def test_tsai_learner(data, tmp_path):
    "ts_learner, showing, predicting, exporting"
    import matplotlib; matplotlib.use('agg')
    from matplotlib import pyplot as plt
    X,y = map(np.load, data)
    dls = TSDataLoaders.from_files(*data, splits=(range(150),range(150,200)), batch_tfms=TSStandardize(by_var=True), bs=32, path=tmp_path)
    assert (dls.vars,dls.len,dls.c,dls.d,dls.cat,list(dls.vocab))==(3,20,3,None,True,['cat','dog','eel'])
    learn = ts_learner(dls, 'InceptionTimePlus', nf=8, metrics=accuracy)
    assert fit(learn, 5)[-1] > .6
    for show in (dls.show_batch, dls.valid.show_batch, learn.show_results, learn.show_batch, lambda: dls.show_batch(nrows=2, ncols=2, max_n=4, sharey=True), lambda: dls.train.show_batch(unique=True)):
        show(); assert len(plt.gcf().axes)>=4 and all(a.lines for a in plt.gcf().axes[:4]); plt.close('all')
    new = X[:70]
    preds,targs = learn.get_preds(dl=dls.test_dl(new), )
    assert preds.shape==(70,3) and targs is None
    for t in (open_memmap(data[0])[:70], itemify(new), data[0]): assert learn.get_preds(dl=dls.test_dl(t))[0][:70].allclose(preds, atol=1e-6)
    p,t,d = learn.get_preds(dl=dls.test_dl((new,y[:70]), with_labels=True), with_decoded=True)
    assert list(np.array(dls.vocab)[t])==y[:70].tolist()
    xp,xt,xd = learn.get_X_preds(new)
    assert xp.allclose(preds, atol=1e-6) and xt is None and list(xd)==[dls.vocab[i] for i in d]
    xp,xt,xd,loss = learn.get_X_preds(new, y[:70], with_loss=True)
    assert list(np.array(dls.vocab)[xt])==y[:70].tolist() and loss.shape==(70,)
    assert learn.predict(X[0])[0] in dls.vocab
    assert learn.validate()[1]>.5
    learn.export('m.pkl')
    weights = sum(p.numel()*4 for p in learn.model.parameters())
    assert (tmp_path/'m.pkl').stat().st_size < weights+1e6
    again = load_learner(tmp_path/'m.pkl')
    assert (again.dls.vars,again.dls.len,again.dls.c)==(3,20,3)
    assert again.get_X_preds(new)[0].allclose(preds, atol=1e-5)
    assert again.get_preds(dl=again.dls.test_dl(data[0]))[0][:70].allclose(preds, atol=1e-5)
    assert again.predict(X[0])[0]==learn.predict(X[0])[0]

def test_get_X_preds_regression(data, saved):
    y = saved(np.random.default_rng(0).normal(size=(200,2)), 'two.npy')
    dls = TSDataLoaders.from_files(data[0], y)
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4)
    fit(learn)
    p,_,d = learn.get_X_preds(np.load(data[0])[:9])
    np.testing.assert_array_equal(p, d); assert p.shape==(9,2)
    learn.show_results()

def test_get_X_preds_multi_label(data):
    X = np.load(data[0])
    hot = (np.random.default_rng(0).random((200,3))<.5).astype('u1')
    tags = [[t for t,h in zip('abc',r) if h] for r in hot]
    for y,kw in ((hot,dict(y_block=MultiCategoryBlock(encoded=True, vocab=list('abc')))), (tags,{})):
        dls = TSDataLoaders.from_memmap(X, y, **kw)
        learn = ts_learner(dls, 'InceptionTimePlus', nf=4); fit(learn)
        p,t,d = learn.get_X_preds(X[:9], y[:9])
        assert t.numpy().tolist()==hot[:9].tolist() and p.shape==(9,3)
        assert [list(o) for o in d]==[[v for v,k in zip('abc',r) if k] for r in p>.5]
        learn.show_results(); learn.predict(X[0])

def test_forecasting_and_unlabelled(data):
    X = np.load(data[0])
    dls = TSDataLoaders.from_memmap(X[:,:,:15], X[:,:,15:])
    assert (dls.c,dls.d)==(1,[3,5])
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4); fit(learn)
    assert learn.get_preds()[0].shape==(40,3,5)
    dls = TSDataLoaders.from_memmap(X)
    assert dls.c==1 and dls.d is None and not dls.cat
    ts_learner(dls, 'InceptionTimePlus', nf=4)

def test_interpretation(data):
    import matplotlib; matplotlib.use('agg')
    from fastai.interpret import ClassificationInterpretation
    dls = TSDataLoaders.from_files(*data, bs=32, seed=0)
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4); fit(learn, 2)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum()==40
    interp.plot_top_losses(3)

@pytest.mark.parametrize('dtype', ['float16', np.float64, torch.float32, None])
def test_dtype(data, dtype):
    x = TSDataLoaders.from_files(*data, dtype=dtype).one_batch()[0]
    assert x.dtype=={'float16':torch.float16, np.float64:torch.float64}.get(dtype, torch.float32)

@pytest.mark.parametrize('y,c,loss', [(np.arange(200)%4,4,'CrossEntropyLossFlat'), (np.arange(200)%2==0,2,'CrossEntropyLossFlat'), (np.linspace(0,1,200),1,'MSELoss'),
                                      (np.ones((200,3)),1,'MSELoss'), ([['a'],['b']]*100,2,'BCEWithLogitsLossFlat'), (np.array(['x','y']*100, object),2,'CrossEntropyLossFlat'), ((np.arange(200)%4)[:,None],4,'CrossEntropyLossFlat')])
def test_inferred(data, y, c, loss):
    dls = TSDataLoaders.from_memmap(data[0], y)
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4)
    assert dls.c==c and loss in repr(type(learn.loss_func))+repr(learn.loss_func)
    fit(learn)

def test_tfms_of_tsai(data):
    X,y = data
    for t in ([None,TSClassification()], [None,[TSClassification()]]):
        dls = TSDataLoaders.from_files(X, y, tfms=t)
        assert dls.c==3 and list(dls.vocab)==['cat','dog','eel']
    dls = TSDataLoaders.from_memmap(X, np.arange(200), tfms=[None,TSRegression()])
    assert dls.c==1 and dls.one_batch()[1].dtype==torch.float32 and not dls.cat
    dls = TSDataLoaders.from_files(X, y, y_block=CategoryBlock(vocab=['eel','dog','cat','fox'], sort=False))
    assert list(dls.vocab)==['eel','dog','cat','fox']
    dls = TSDataLoaders.from_files(X, y, y_block=CategoryBlock)
    assert dls.c==3

def test_two_dimensions(saved):
    X = np.random.default_rng(0).normal(size=(50,20))
    dls = TSDataLoaders.from_files(saved(X), y_fn=None)
    assert (dls.vars,dls.len)==(1,20)
    assert dls.new_dl(X).one_batch()[0].shape==(50,1,20)

def test_what_a_small_training_set_does(data):
    "A set smaller than a batch is trained on, not dropped"
    dls = TSDataLoaders.from_files(*data, splits=(range(9),range(9,200)), bs=64)
    assert len(dls.train)==1 and dls.train.one_batch()[0].shape[0]==9

def test_train_only(data):
    dls = TSDataLoaders.from_files(*data, splits=(range(200),))
    assert len(dls.valid)==0 and len(dls.train.dataset)==200
    fit(Learner(dls, Net(60,3)))

def test_small_pickles(tmp_path):
    "100,000 rows, targets in RAM and on disk"
    n = 100_000
    X = create_memmap(tmp_path/'X.npy', (n,1,4))
    y = np.random.default_rng(0).integers(0,5,n)
    np.save(tmp_path/'y.npy', y)
    for t in (y, tmp_path/'y.npy', y.astype(str)):
        dls = TSDataLoaders.from_memmap(X, t, path=tmp_path)
        assert len(pickle.dumps(dls.train))<1e6 and len(pickle.dumps(dls))<1e6
        learn = Learner(dls, Net(4,5)); learn.export(tmp_path/'m.pkl')
        assert (tmp_path/'m.pkl').stat().st_size<1e5
    dls = dblock(MemmapBlock, CategoryBlock).dataloaders((X, tmp_path/'y.npy'))
    assert len(pickle.dumps(dls.train))<1e6 and len(pickle.dumps(dls))<1e6
    learn = Learner(dls, Net(4,5), path=tmp_path); learn.export('m.pkl')
    assert (tmp_path/'m.pkl').stat().st_size<1e5

def test_star_imports():
    import subprocess, sys
    for order in (['tsai.basics','memmap_ts.all'], ['memmap_ts.all','tsai.basics']):
        code = '\n'.join(f'from {m} import *' for m in order)+"\nimport tsai.data.core as c\nassert issubclass(TSDataLoaders, c.TSDataLoaders)\nassert len(get_ts_dls(np.zeros((9,1,5),'f4'), np.arange(9)%3, splits=([0,1,2],[3,4,5])).one_batch())==2"
        subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
