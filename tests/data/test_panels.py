"Panels: what is known of a whole series, and of the steps to predict"
import pickle, warnings, numpy as np, pandas as pd, pytest, torch
from torch import nn
from fastai.learner import Learner, load_learner
from fastai.metrics import mae
from hypothesis import given, settings, strategies as st
from tsai.data.core import TSTensor
from tsai.data.preprocessing import TSStandardize
from tsai.inference import * # get_X_preds
from memmap_ts.all import *
from memmap_ts.data.ranges import Ranges, as_ranges, common_ranges, numbers_of_ranges
from memmap_ts.items import Items

lengths = np.array([120,50,300,20,200]) # the fourth has no window
ids = np.repeat(list('cabde'), lengths)
rng = np.random.default_rng(0)
series = np.stack([rng.normal(size=690).cumsum(), np.arange(690)%7, rng.normal(size=690)], 1).astype('f4')
sizes = pd.DataFrame({'size':rng.normal(size=5),'age':range(5)}, index=list('abcde'))
types = pd.DataFrame({'type':['x','y','x',None,'z']}, index=list('abcde'))

def panel(a=series):
    (X,K),y = windows(a, 24, horizon=6, groups=ids, get_y=0, known=[1,2])
    return X,K,X.per_group(sizes),X.per_group(types),y

class Net(nn.Module):
    "The window, what is known of the steps to predict, numbers and classes of the series"
    def __init__(self):
        super().__init__()
        self.x,self.k,self.p,self.c = nn.Linear(72,6),nn.Linear(12,6),nn.Linear(2,6),nn.Embedding(4,6)
    def forward(self, inputs):
        x,k,p,c = inputs
        return self.x(x.flatten(1))+self.k(k.flatten(1))+self.p(p)+self.c(c[:,0])

def test_rows_are_those_of_the_group(saved):
    X,K,P,C,y = panel(saved(series))
    starts,codes = X.first_steps(),{'x':1,'y':2,'z':3}
    np.testing.assert_array_equal(P[np.arange(len(P))], sizes.loc[ids[starts]])
    assert C[np.arange(len(C))][:,0].tolist()==[codes[types.type[o]] for o in ids[starts]]
    for i in (0,97,200,-1):
        s = starts[i]
        np.testing.assert_array_equal(K[i], series[s+24:s+30,1:].T)
        np.testing.assert_array_equal(y[i], series[s+24:s+30,0])
    for sliced in (slice(None,None,7), slice(90,300,3)):
        np.testing.assert_array_equal(X[sliced].per_group(sizes)[[0,5,-1]], P[sliced][[0,5,-1]])
        np.testing.assert_array_equal(K[sliced][3], K[range(len(K))[sliced][3]])

def test_new_samples_of_several_inputs():
    "A window and what is known of its steps may be predicted alone; an input that is missing is told"
    (X,K),y = windows(series, 24, horizon=6, groups=ids, get_x=0, get_y=0, known=[1])
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.known = nn.Linear(6, 6)
        def forward(self, inputs): return inputs[0][:,0,-6:]+self.known(inputs[1][:,0])
    learn = Learner(TSDataLoaders.from_memmap((X,K), y, scale='group'), Both(), loss_func=nn.L1Loss())
    with learn.no_bar():
        want = learn.get_X_preds((X[5:9],K[5:9]))[0]
        np.testing.assert_allclose(learn.predict((X[5:6],K[5:6]))[2], want[0], rtol=1e-5)
        with pytest.raises(ValueError, match='1 of the 2 inputs of the model'): learn.get_X_preds(X[5:9])

@pytest.mark.parametrize('kw', [{}, dict(num_workers=2), dict(cache='device')], ids=['here','workers','cache'])
def test_training_and_all_that_follows(kw, saved, tmp_path):
    "Scaling is of the windows, codes stay integers, new series have the codes of those that were trained on"
    import matplotlib; matplotlib.use('agg')
    X,K,P,C,y = panel(saved(series))
    dls = TSDataLoaders.from_memmap((X,K,P,C), y, bs=16, batch_tfms=TSStandardize(), path=tmp_path, **kw)
    (x,k,p,c),_ = next(iter(dls.valid))
    assert type(x) is TSTensor and abs(x.mean())<2 and not isinstance(k, TSTensor) and c.dtype==torch.int64
    first = dls.splits[1][0]
    np.testing.assert_array_equal(k[0], K[first]); np.testing.assert_allclose(p[0], P[first], rtol=1e-6); assert c[0]==C[first]
    assert (dls.vars,dls.len,dls.d)==(3,24,6)
    learn = Learner(dls, Net(), metrics=mae)
    with learn.no_bar(),learn.no_logging(): learn.fit(1)
    if kw: return
    dls.show_batch(); learn.show_results()
    assert learn.dls.train.shapes.place.steps[0]==24
    some = slice(5,60,2)
    want = learn.get_X_preds((X[some],K[some],P[some],C[some]))[0]
    fewer = X[some].per_group(types.loc[['c','a','b','e']].iloc[::-1]) # the same classes in another order
    assert learn.get_X_preds((X[some],K[some],P[some],fewer))[0].equal(want)
    other = X[some].per_group(pd.DataFrame({'type':['z','z','y','y']}, index=list('aceb'))) # only y and z: other codes
    right = C.with_vocab(C.vocab)
    learn.export('m.pkl')
    again = load_learner(tmp_path/'m.pkl')
    for new in ((X[some],K[some],P[some],other), itemify(X[some],K[some],P[some],other)):
        got = again.get_X_preds(new)[0]
        codes = np.array([{'c':3,'a':3,'e':2,'b':2}[o] for o in ids[X[some].first_steps()]])[:,None]
        assert got.equal(learn.get_X_preds((X[some],K[some],P[some],codes))[0]) and not got.equal(want)
    assert right[0]==C[0]
    with pytest.raises(ValueError, match=r"\['w'\] in column 'type' are none of the 3 classes"):
        learn.get_X_preds((X[some],K[some],P[some],X[some].per_group(pd.DataFrame({'type':list('wwwww')}, index=list('abcde')))))
    with pytest.raises(ValueError, match='these are numbers'): learn.get_X_preds((X[some],K[some],P[some],P[some]))
    with pytest.raises(ValueError, match='trained on numbers'): learn.get_X_preds((X[some],K[some],C[some],C[some]))
    preds_to_memmap(learn, (X[some],K[some],P[some],C[some]), tmp_path/'p.npy', progress=False)
    np.testing.assert_allclose(open_memmap(tmp_path/'p.npy'), want, atol=1e-6)
    one = tuple(o[5] for o in (X,K,P,C))
    assert learn.predict(one)[2].allclose(want[0], atol=1e-5)
    table = feature_importance(learn, show_chart=False)
    assert len(table)==4 and table.iloc[:,1:].to_numpy().std()>0
    assert len(step_importance(learn, n_steps=12, method='ablation', show_chart=False))==3
    assert '4' in str(describe(C)) or len(C)
    back = pickle.loads(pickle.dumps(dls)).valid
    assert next(iter(back))[0][3].equal(c)

@pytest.mark.parametrize('statics', [np.arange(10).reshape(5,2), list(range(5)), sizes.to_numpy('f4'), 'saved'], ids=str)
def test_tables_in_the_order_of_the_groups(statics, saved):
    X = panel()[0]
    S = np.arange(10.).reshape(5,2) if isinstance(statics, str) else np.asarray(statics)
    P = X.per_group(saved(S) if isinstance(statics, str) else statics)
    group = np.searchsorted(np.cumsum(lengths), X.first_steps(), 'right')
    np.testing.assert_array_equal(P[np.arange(len(P))], S.reshape(5,-1)[group])
    assert len(pickle.dumps(P))<3000 and pickle.loads(pickle.dumps(P))[7].tolist()==P[7].tolist()
    np.testing.assert_array_equal(itemify(P, X).batch([3,500])[0], P[[3,500]])

def test_known_of_another_series_and_of_files(saved, tmp_path):
    "A calendar in a file of its own; series and calendar in a file for each series"
    days = (np.arange(690)%24).astype('u1')[:,None]
    for name,a in (('s',series),('d',days)):
        for i,part in enumerate(np.split(a, np.cumsum(lengths)[:-1])): np.save(tmp_path/f'{name}{i}.npy', part)
    S,D = (open_memmaps(str(tmp_path/f'{name}*.npy')) for name in 'sd')
    (X,K),y = windows(series, 24, horizon=6, groups=lengths, known=saved(days))
    (Xf,Kf),yf = windows(S, 24, horizon=6, known=D)
    (Xp,Kp),_ = windows(S, 24, horizon=6, known=(S,[1]), get_y=0)
    rows = np.arange(len(X))
    weekend = (days[:,0]%7>4).astype('i8') # of 0 and 1, which are numbers of variables, too
    for known in (weekend,weekend>0,pd.Series(weekend)):
        np.testing.assert_array_equal(windows(series, 24, horizon=6, groups=lengths, known=known)[0][1][rows][:,0], weekend[K.first_steps()[:,None]+np.arange(24, 30)])
    for a,b in ((X,Xf),(K,Kf),(y,yf)): np.testing.assert_array_equal(a[rows], b[rows])
    np.testing.assert_array_equal(Kp[rows][:,0], yf[rows][:,1])
    statics = np.arange(5.)
    np.testing.assert_array_equal(X.per_group(statics)[rows], Xf.per_group(statics)[rows])
    np.testing.assert_array_equal(Xf.per_group(pd.Series(statics, index=[str(o) for o in Xf.starts.ids]))[rows], X.per_group(statics)[rows])
    b = TSDataLoaders.from_memmap((Xf,Kf,Xf.per_group(statics)), yf, bs=8, shuffle=False).train.one_batch()
    np.testing.assert_array_equal(b[0][1], K[np.arange(8)])
    with pytest.raises(ValueError, match='other lengths than those'): windows(S, 24, horizon=6, known=open_memmaps([tmp_path/f'd{i}.npy' for i in (1,0,2,3,4)]))

def test_no_targets_and_default_splits():
    "K goes on to the end of what is known; splits are by time, of windows that reach as far as K"
    S = series.copy()
    S[-6:,0] = np.nan # the future
    (X,K),y = windows(S, 24, horizon=6, known=[1,2], get_y=[])
    assert y is None and len(X)==690-24-6+1 and not np.isnan(K[-1]).any() and X.starts.reach==30
    train,valid = TSDataLoaders.from_memmap((X,K), bs=8).splits
    assert X.first_steps(train)[-1]+30==X.first_steps(valid)[0]==552
    X.check_leak([train,valid])

@pytest.mark.parametrize('kw,words', [(dict(known=[1]), 'say how many with horizon'), (dict(known=[1], horizon=3, get_y=[0,1]), r'variables \[1\] are known'),
    (dict(known=[], horizon=3), 'no variable is known'), (dict(known=series[:5], horizon=3), 'a series of 5 steps for one of 690')])
def test_mistakes_with_known(kw, words):
    with pytest.raises(ValueError, match=words): windows(series, 24, **kw)

def test_statics_are_no_targets_nor_the_only_input():
    X,_,P,_,y = panel()
    with pytest.raises(TypeError, match='are read at once'): TSDataLoaders.from_memmap(X, P)
    with pytest.raises(ValueError, match='PerGroup'): TSDataLoaders.from_memmap(P, y)

gaps = st.lists(st.tuples(st.integers(0,5), st.integers(0,9)), min_size=1, max_size=12)
def made(gaps):
    "Ranges of some numbers, and the numbers"
    at = np.cumsum(np.array(gaps).reshape(-1))
    first,n = at[0::2],np.array(gaps)[:,1]
    return Ranges(first, n),np.concatenate([np.arange(f, f+k) for f,k in zip(first, n)])

@settings(max_examples=200, deadline=None)
@given(gaps, gaps, st.data())
def test_ranges_are_like_the_array(a, b, data):
    (r,x),(s,y) = made(a),made(b)
    assert len(r)==len(x) and np.asarray(r).tolist()==list(r)==x.tolist()==np.asarray(numbers_of_ranges(r.first, r.n)).tolist()
    assert np.asarray(common_ranges(r, s)).tolist()==np.intersect1d(x, y).tolist()
    i = data.draw(st.slices(len(x))) if len(x) else slice(None)
    assert np.asarray(r[i]).tolist()==x[i].tolist()
    if len(x):
        places = data.draw(st.lists(st.integers(-len(x), len(x)-1), min_size=1))
        assert r[places].tolist()==x[places].tolist()
        items = Items([np.arange(400)])
        for some in (items[r], items[3:][r], items[::2][r]): # a range that starts elsewhere, or has steps
            assert [o for o, in some]==[o for o, in items[list(some.idxs)]] and len(some)==len(x)
        assert [o for o, in items[3:][r]]==(x+3).tolist() and [o for o, in items[::2][r]]==(2*x).tolist()
    assert r.below(np.arange(-1,150)).tolist()==np.searchsorted(x, np.arange(-1,150)).tolist()

def test_splits_of_many_groups_stay_ranges():
    "Nobody on the way makes an array of them; a set that shares rows with another one is found all the same"
    X,y = windows(np.zeros((20_000,1),'f4'), 10, horizon=2, groups=[200]*100)
    dls = TSDataLoaders.from_memmap(X, y, bs=8, valid_pct=.4)
    train,valid = dls.splits
    assert isinstance(train, Ranges) and isinstance(valid, Ranges) and len(train)==100*109 and len(valid)==100*69
    for dl,split in zip(dls.loaders, (train,valid)): assert all(tl.items.idxs is split for tl in dl.dataset.tls)
    one = valid[7*69:8*69] # the windows of group 7
    order = np.argsort(np.append(train.first, one.first))
    more = Ranges(np.append(train.first, one.first)[order], np.append(train.n, one.n)[order])
    with pytest.raises(ValueError, match=r'splits\[1\] has 69 of the training rows'):
        TSDataLoaders.from_memmap(X, y, splits=(more,valid))
    with pytest.raises(IndexError, match='out of range'): TSDataLoaders.from_memmap(X, y, splits=(train, valid.shifted(100)))

def test_statistics_of_ranges(saved):
    "As of the same row numbers in an array, and no array is made of them"
    X,_ = windows(saved(rng.normal(size=(20_000,2)).astype('f4')), 10, horizon=2, groups=[200]*100)
    train = X.split_by_time(.6)[0]
    for by in ('var','step','all','sample'):
        got,want = (memmap_stats(X, o, by=by) for o in (train,np.asarray(train)))
        for k in ('count','mean','std','min'): np.testing.assert_array_equal(getattr(got, k), getattr(want, k))
    assert as_ranges(train) is train

def test_a_numbered_table_is_not_in_the_order_of_the_groups():
    "As `read_csv` gives it: whose row is which?"
    X = panel()[0]
    for statics in (sizes.reset_index(drop=True), sizes['size'].reset_index(drop=True)):
        with pytest.raises(ValueError, match=r"the groups are called \['c', 'a', .*set_index\('id'\)"): X.per_group(statics)
    numbered = windows(series, 24, groups=lengths)[0]
    assert numbered.per_group(sizes.reset_index(drop=True))[0].tolist()==sizes.iloc[0].tolist()
    with pytest.raises(ValueError, match='10 rows for 5 groups'): numbered.per_group(pd.concat([sizes,sizes], ignore_index=True))

def test_variables_in_another_order(tmp_path):
    "Windows of a table have names, so that nobody predicts from prices as if they were values"
    df = pd.DataFrame(series[:300], columns=['value','day','price'])
    X,y = windows(df, 12, horizon=2, get_y=0)
    learn = Learner(TSDataLoaders.from_memmap(X, y, bs=64), nn.Sequential(nn.Flatten(), nn.Linear(36,2)), loss_func=nn.MSELoss())
    def preds(a): return learn.get_X_preds(windows(a, 12)[0])[0]
    turned = df[['price','day','value']]
    with pytest.raises(ValueError, match=r"are \['price', 'day', 'value'\], and the model was trained on \['value', 'day', 'price'\]"): preds(turned)
    assert preds(df.to_numpy()).equal(preds(df)) and preds(turned[df.columns]).equal(preds(df))
    nameless = windows(df.to_numpy(), 12, horizon=2, get_y=0)
    other = Learner(TSDataLoaders.from_memmap(*nameless, bs=64), learn.model, loss_func=nn.MSELoss())
    assert other.get_X_preds(windows(df, 12)[0])[0].equal(preds(df))
    learn.export(tmp_path/'learn.pkl')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # of PyTorch, about pickles
        learn = load_learner(tmp_path/'learn.pkl')
    with pytest.raises(ValueError, match='trained on'): preds(turned)

def test_columns_that_lie_in_memory_in_another_order():
    df = pd.DataFrame({'a':np.arange(20.), 'b':np.arange(20.)+100})
    np.testing.assert_array_equal(windows(df[['b','a']], 5)[0][3], df[['b','a']].to_numpy()[3:8].T)
