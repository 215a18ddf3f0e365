"Importance of variables and steps"
import matplotlib
matplotlib.use('agg')
import numpy as np, pandas as pd, pytest, torch
from fastai.callback.schedule import Learner
from fastai.learner import load_learner
from fastai.metrics import accuracy
from matplotlib import pyplot as plt
from tsai.analysis import * # learn.feature_importance
from tsai.data.core import TSClassification, get_ts_dls
from tsai.data.preprocessing import TSStandardize
from tsai.learner import ts_learner
from memmap_ts.all import *
from memmap_ts.learn import feature_importance, step_importance # not tsai's
from memmap_ts.learning.spoil import Spoiler
from motions import First, X, splits, y
from training import fit

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
    x = Spoiler('ablation', False, 0)(torch.ones(2,3,4, dtype=torch.int16), [0], 0, 0)
    assert x[:,0].isnan().all() and (x[:,1:]==1).all()

def test_large_seeds():
    "A date is a seed, too; those of before shuffle as before"
    x = torch.arange(24.).view(2,3,4)
    for seed in (20240101, 2**62):
        a,b = (Spoiler('permutation', False, seed)(x, [1], 3, 2) for _ in range(2))
        assert a.equal(b) and a[:,1].sort().values.flatten().sum()==x[:,1].sum()

def test_what_can_not_be_asked(learn, saved):
    for n in (0, -1, 1.5, '2', None):
        with pytest.raises(ValueError, match='n_steps=.*at least 1'): step_importance(learn, n_steps=n, show_chart=False)
    for i in (1, -2):
        with pytest.raises(ValueError, match=f'key_metric_idx={i}: the learner has 1 metric'): feature_importance(learn, key_metric_idx=i, show_chart=False)
    alone = ts_learner(TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=(range(80),), bs=16), 'FCN', metrics=accuracy)
    for f in (feature_importance, step_importance):
        with pytest.raises(ValueError, match='no validation set.*pass X and y'): f(alone, show_chart=False)

def test_names_of_a_table():
    "The names of columns are those of the bars"
    S = np.random.default_rng(0).normal(size=(200,3)).cumsum(0)
    dls = TSDataLoaders.from_memmap(*windows(pd.DataFrame(S, columns=['heat','wind','price']), 20, horizon=1, get_y=['heat']), bs=16)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60,1)))
    assert {*feature_importance(learn, show_chart=False).Feature}=={'BASELINE','heat','wind','price'}
    given = feature_importance(learn, feature_names=list('abc'), show_chart=False)
    assert {*given.Feature}=={'BASELINE',*'abc'}
