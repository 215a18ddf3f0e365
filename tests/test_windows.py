"Windows of long series: the same as tsai's, never across groups, splits that do not leak, constant memory"
import os, pickle, subprocess, sys, textwrap, tracemalloc, warnings, numpy as np, pandas as pd, pytest, torch
from copy import deepcopy
from fastai.data.block import DataBlock, RegressionBlock
from fastai.data.transforms import IndexSplitter, ItemGetter, RandomSplitter
from fastai.learner import load_learner
from hypothesis import given, settings, strategies as st
from tsai.data.core import TSForecasting, get_ts_dls
from tsai.data.preparation import SlidingWindow, SlidingWindowPanel
from tsai.data.validation import TimeSplitter
from tsai.inference import * # get_X_preds
from tsai.learner import ts_learner
from forked import run
from memmap_ts.all import *
from memmap_ts.data.series import Series
from memmap_ts.io.linux import Linux
from memmap_ts.windows import Windows, windows
from memmap_ts.data.splits import check_splits
from memmap_ts.io.system import system

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux takes these hints, and tells anonymous memory')
rng = np.random.default_rng(0)
walk = rng.normal(size=(300,4)).cumsum(0).astype('float32')

def rows(w): return None if w is None else w[np.arange(len(w))]

@pytest.mark.parametrize('kw', [dict(horizon=1), dict(horizon=5), dict(horizon=[1,4,9]), dict(horizon=[3]), dict(horizon=5, stride=3), dict(horizon=1, stride=None), dict(horizon=2, start=7, stride=2),
    dict(horizon=5, get_x=[0,2], get_y=1), dict(horizon=1, get_x=[3,0,1], get_y=[0,3]), dict(horizon=3, get_y=[2]), dict(horizon=0, get_y=[]), dict(horizon=0, get_x=[0,1], get_y=3),
    dict(horizon=0, get_x=[0,1], get_y=[2,3]), dict(horizon=-3, get_x=0, get_y=[2,3]), dict(horizon=[-2,0,2], get_x=[0,1], get_y=2, stride=5)], ids=str)
@pytest.mark.parametrize('layout', ['RAM','disk','vars first','disk, vars first','one variable'])
def test_as_tsai(kw, layout, saved):
    a = walk if layout!='one variable' else walk[:,0]
    if a.ndim==1 and ('get_x' in kw or kw.get('get_y')): pytest.skip('there is one variable only')
    first = 'vars first' not in layout
    a = a if first else np.ascontiguousarray(a.T)
    X,y = windows(saved(a) if 'disk' in layout else a, 20, seq_first=first, **kw)
    wantX,wanty = SlidingWindow(20, seq_first=first, **kw)(a)
    for got,want in ((X,wantX),(y,wanty)):
        if want is None: assert got is None; continue
        assert got.shape==want.shape and got.dtype==want.dtype and len(got)==len(want)
        np.testing.assert_array_equal(rows(got), want)
        np.testing.assert_array_equal(np.stack([got[i] for i in range(len(got))]), want)
        np.testing.assert_array_equal(rows(got[3:40:7]), want[3:40:7])

def test_a_type_narrower_than_the_model_takes(saved):
    "Windows of float16 are copied to the device as they are and are float32 there, like rows"
    s = walk.astype('f2')
    for a in (s, open_memmap(saved(s))):
        X,y = windows(a, 20, horizon=1)
        x,t = TSDataLoaders.from_memmap(X, y, splits=(range(100),), bs=8, shuffle=False).train.one_batch()
        assert x.dtype==t.dtype==torch.float32
        np.testing.assert_array_equal(x[3], s[3:23].T)

def test_a_date_is_no_cut():
    with pytest.raises(TypeError, match='a share of the steps.*their number'): windows(np.arange(90.), 9)[0].split_by_time('2024-10-01')

def test_a_flag_beside_numbers():
    "Columns of booleans are 0 and 1"
    table = pd.DataFrame({'sold':np.arange(9.), 'holiday':np.arange(9)%7==0})
    (X,K),y = windows(table, 3, horizon=2, get_y='sold', known='holiday')
    assert K[3].tolist()==[[0,1]] and X[0].tolist()==[[0,1,2],[1,0,0]]

def test_no_targets():
    "tsai refuses horizon 0 of all variables: here it says that nothing is predicted"
    X,y = windows(walk, 20)
    assert y is None and X.shape==(281,4,20)

def test_groups_as_tsai():
    import pandas as pd
    ids = np.repeat([5,2,9], [120,15,165])
    want = SlidingWindowPanel(20, ['id'], get_x=[0,1,2,3], get_y=[0,1], horizon=4, stride=3, verbose=False)(pd.DataFrame({**{c:walk[:,i] for i,c in enumerate('abcd')}, 'id':np.sort(ids)}))
    X,y = windows(walk, 20, 3, horizon=4, get_y=[0,1], groups=np.sort(ids))
    for got,w in zip((X,y), want): np.testing.assert_array_equal(rows(got), w)

cases = st.fixed_dictionaries(dict(lengths=st.lists(st.integers(0,40), min_size=1, max_size=6), window_len=st.integers(1,12), stride=st.integers(1,15), horizon=st.one_of(st.integers(0,6), st.lists(st.integers(1,8), min_size=1, max_size=3)),
                                   start=st.integers(0,5), by_id=st.booleans()))
def spans(o):
    "First step and end of every window, in words of one syllable"
    reach = o['window_len']+(o['horizon'] if isinstance(o['horizon'], int) else max(o['horizon']))
    ends = np.cumsum(o['lengths']).tolist()
    return [(s, s+reach) for lo,hi in zip([0]+ends, ends) for s in range(lo+o['start'], hi-reach+1, o['stride'])]

def made(o):
    n = sum(o['lengths'])
    by_id = o['by_id'] or len(o['lengths'])==n # as many numbers as steps are ids
    groups = np.repeat(np.arange(len(o['lengths'])), o['lengths']) if by_id else o['lengths']
    return windows(np.arange(2*n).reshape(n,2), o['window_len'], o['stride'], o['horizon'], groups=groups, start=o['start'])

@settings(max_examples=200, deadline=None)
@given(cases, st.data())
def test_groups(o, data):
    want = spans(o)
    if not want:
        with pytest.raises(ValueError, match='no window|no values'): made(o)
        return
    X,y = made(o)
    assert X.first_steps().tolist()==[a for a,_ in want]
    h = list(range(1, o['horizon']+1)) if isinstance(o['horizon'], int) else o['horizon']
    for i in range(len(X)):
        a,L = want[i][0],o['window_len']
        assert X[i][0].tolist()==[2*s for s in range(a, a+L)]
        if y is not None: assert np.ravel(y[i]).tolist()==[2*(a+L-1+s)+v for v in (0,1) for s in h]
    s = data.draw(st.slices(len(X)).filter(lambda s: (s.step or 1)>0))
    np.testing.assert_array_equal(rows(X[s]), rows(X)[s])
    np.testing.assert_array_equal(X[s].first_steps(), X.first_steps()[s])

def steps(want, part): return {s for i in part for s in range(*want[i])}

@settings(max_examples=200, deadline=None)
@given(cases, st.lists(st.one_of(st.floats(.05,.95), st.integers(1,30)), min_size=1, max_size=2), st.integers(0,10), st.floats(.1,.9), st.integers(0,9))
def test_splits_do_not_leak(o, cuts, gap, share, seed):
    want = spans(o)
    if not want: return
    X,_ = made(o)
    def check(parts, gap):
        seen = [steps(want, p) for p in parts]
        assert all(len(p) for p in parts)
        for i,a in enumerate(seen):
            for b in seen[i+1:]: assert not a&b
            if gap:
                ends = np.cumsum(o['lengths'])
                for b in seen[i+1:]:
                    for g in range(len(ends)): # the distance counts within a group
                        x,z = ([s for s in p if np.searchsorted(ends, s, 'right')==g] for p in (a,b))
                        assert not x or not z or min(z)-max(x)>gap
        X.check_leak(parts)
    try: parts = X.split_by_time(cuts, gap)
    except ValueError as e: assert 'no window of' in str(e) or 'ascending' in str(e)
    else: check(parts, gap)
    try: parts = X.split_by_group(share, seed)
    except ValueError as e: assert 'single group' in str(e)
    else:
        check(parts, 0)
        assert sum(map(len, parts))==len(X)
        parts = [[int(i) for i in p] for p in parts]
        if parts[0] and parts[1]:
            parts[1].append(parts[0][-1])
            with pytest.raises(ValueError, match='share steps'): X.check_leak(parts)

def test_all_windows_of_a_part_are_used():
    X,_ = windows(np.arange(1000), 10, 3, 2)
    train,valid = X.split_by_time(600, gap=50)
    at = X.first_steps()
    assert list(train)==np.flatnonzero(at+12<=600).tolist() and list(valid)==np.flatnonzero(at>=650).tolist()

def test_default_splits_and_ranges(saved):
    X,y = windows(saved(walk), 20, horizon=3)
    dls = TSDataLoaders.from_memmap(X, y, bs=8)
    assert [dls.train_ds.items.idxs,dls.valid_ds.items.idxs]==X.split_by_time(.8) # ranges, still
    X.check_leak([dls.train_ds.items.idxs,dls.valid_ds.items.idxs])
    assert check_splits((slice(0,100),range(100,281)), 281)==[range(100),range(100,281)]
    for bad in ((range(100),range(99,200)), (slice(0,100),np.arange(99,200)), ([99,3],range(99,200))):
        with pytest.raises(ValueError, match='has 1 of the training rows'): check_splits(bad, 281)
    with pytest.raises(IndexError): check_splits((range(100),range(100,282)), 281)
    dls = TSDataLoaders.from_memmap(X, y, splits=RandomSplitter(seed=0), bs=8)
    with pytest.raises(ValueError, match='share steps'): X.check_leak([dls.train_ds.items.idxs,dls.valid_ds.items.idxs])

def test_1e8(tmp_path):
    "Ranges and numbers of windows in a group, nothing for each window"
    a = create_memmap(tmp_path/'X.npy', (10**8+10**6,1), 'u1')
    lengths = np.full(5000, len(a)//5000)
    TSDataLoaders.from_memmap(windows(np.ones(99,'f4'), 9)[0]) # imports are not what is measured
    for groups in (None,lengths):
        tracemalloc.start()
        X,y = windows(a, 96, horizon=4, groups=groups)
        splits = X.split_by_time(.9) if groups is None else X.split_by_group(np.arange(4000,5000))
        dls = TSDataLoaders.from_memmap(X, y, splits=splits)
        made = pickle.dumps(dls.valid.dataset)
        assert len(X)>=10**8 and sum(map(len, splits))>.99*len(X)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()
        assert len(made) < 500_000
        assert dls.valid.do_batch([0,-1])[1].shape==(2,4)

code = '''
    import sys, numpy as np, torch
    from memmap_ts.all import *
    from memmap_ts.windows import windows
    from memmap_ts.testing import anonymous_memory
    torch.set_num_threads(1) # as in all tests: others would only wait
    def loaders(a, n, bs, first):
        X,y = windows(a, n, None, horizon=n//8, seq_first=first)
        return TSDataLoaders.from_memmap(X, y, bs=bs)
    fn,n,bs,first = sys.argv[1],int(sys.argv[2]),int(sys.argv[3]),sys.argv[4]=='1'
    for _ in loaders(np.ones((9999,99), 'f4'), n, 4, True).train: pass # what is loaded once, whatever the data
    start = peak = anonymous_memory()
    dls,n = loaders(fn, n, bs, first),0
    for dl in dls:
        for xb,yb in dl: n += len(xb); peak = max(peak, anonymous_memory()); xb.sum()
    print(peak-start, n)
'''

@linux
@pytest.mark.parametrize('shape,n,bs,first', [((4_000_000,128),64,64,1), ((500_000_000,1),512,256,1), ((8,64_000_000),1024,64,0)])
def test_2GB(shape, n, bs, first, tmp_path):
    a = create_memmap(tmp_path/'X.npy', shape)
    assert a.nbytes >= 2e9
    r = run(code, tmp_path/'X.npy', n, bs, first)
    assert r.returncode==0, r.stderr
    grown,seen = map(int, r.stdout.split())
    assert seen > .99*max(shape)/n-bs
    assert grown < 200e6, f'{grown/1e6:.0f} MB'

workers = '''
    import multiprocessing, sys, numpy as np, torch
    from memmap_ts.all import *
    from memmap_ts.windows import windows
    if __name__=='__main__':
        multiprocessing.set_start_method(sys.argv[1])
        class Guard(np.memmap):
            def __reduce_ex__(self, *args): raise AssertionError("an array on disk was pickled")
        a = open_memmap(sys.argv[2])
        X,y = windows(a.view(Guard), 20, horizon=3, groups=[100,200])
        dls = TSDataLoaders.from_memmap(X, y, splits=(range(200),range(200,len(X))), bs=16, num_workers=2, seed=0, drop_last=False)
        one = TSDataLoaders.from_memmap(X, y, splits=(range(200),range(200,len(X))), bs=16, seed=0, drop_last=False)
        n = 0
        for (a,b),(c,d) in zip(one.train, dls.train): assert a.equal(c) and b.equal(d); n += len(a)
        assert n==200
        print('fine')
'''

@pytest.mark.parametrize('method', [pytest.param('fork', marks=pytest.mark.skipif(sys.platform=='win32', reason='Windows has no fork')), 'spawn'])
def test_workers(method, saved, tmp_path):
    (tmp_path/'run.py').write_text(textwrap.dedent(workers))
    r = subprocess.run([sys.executable, tmp_path/'run.py', method, saved(walk)], capture_output=True, text=True, timeout=600)
    assert r.returncode==0 and r.stdout.strip().endswith('fine'), r.stdout+r.stderr

def test_pickle(saved):
    X,y = windows(open_memmap(saved(np.tile(walk, (99,1)))), 20, horizon=3, groups=[99*300-40,40])
    its = pickle.loads(pickle.dumps(itemify(X[5:], y[5:])))
    assert len(pickle.dumps(itemify(X, y))) < 3000 and on_disk(its.arrays[0])
    assert its.arrays[0].series is its.arrays[1].series # one mapping for both
    i = [0,7,len(X)-6]
    for a,b in zip(its.batch(i), (X,y)): np.testing.assert_array_equal(a, rows(b[5:])[i])

class Recording(Linux):
    "A platform that keeps what it is told will be needed, and says of every page that it is in memory, or that it is not"
    def __init__(self, in_memory):
        super().__init__()
        self.in_memory,self.told = in_memory,[]
    def will_need(self, fd, offset, n_bytes): self.told.append((offset,offset+n_bytes))
    def page_in_memory(self, fd, offset): return self.in_memory
    def pages_in_memory(self, address, n_bytes): return None # does not tell of all of them

def on_platform(w, system): return Windows(Series(w.series.a, system), w.starts, w.stretch, w.squeeze)

@linux
@pytest.mark.parametrize('first', [True, False])
def test_hints(first, saved):
    "Every page of the batch once, neighbours together, and no other"
    a = rng.normal(size=(50_000,16)).astype('f4')
    fn = saved(a if first else np.ascontiguousarray(a.T))
    X,y = windows(fn, 200, horizon=9, seq_first=first)
    cold,warm = Recording(False),Recording(True)
    on_platform(X, cold).reader().epoch().announce(np.array([40_000,40_050,7,40_010]))
    off,page,got = open_memmap(fn).offset,os.sysconf('SC_PAGESIZE'),cold.told
    touched = [[(off+s*64, off+(s+200)*64)] if first else [(off+(v*50_000+s)*4, off+(v*50_000+s+200)*4) for v in range(16)] for s in (40_000,40_050,7,40_010)]
    want = {p for w in touched for lo,hi in w for p in range(lo//page, (hi-1)//page+1)}
    pages = [p for lo,hi in got for p in range(lo//page, -(-hi//page))]
    assert sorted(pages)==sorted(want)
    assert len(got)<len(pages) if first else len(got)<=2*16
    on_platform(X, warm).reader().epoch().announce(np.array([3]))
    assert not warm.told

@linux
def test_epoch_of_a_series(saved):
    "In memory it is only copied; what is not may be read in order, once pages have stayed"
    X,y = windows(saved(np.tile(walk, (99,1))), 200, horizon=9)
    rows = np.random.default_rng(0).permutation(len(X))
    warm = on_platform(X, Recording(True)).reader().epoch(len(X), rows, rows[:64])
    assert warm.only_copies and warm.share_in_memory==1 and warm.sweep_part is None and warm.way=='mapped'
    reader = on_platform(X, Recording(False)).reader()
    cold = reader.epoch(len(X), rows, rows[:64])
    part = cold.sweep_part
    assert not cold.only_copies and cold.share_in_memory==0
    assert (part.reads,part.residency)==(cold,reader.bytes.residency) and 0<=part.first_byte and part.first_byte+part.n_bytes<=walk.nbytes*99
    assert reader.epoch(len(X), np.sort(rows)[::9], np.arange(64)).sweep_part is None # these come in order
    reader.bytes.residency.loses_pages = True
    assert reader.epoch(len(X), rows, rows[:64]).sweep_part is None
    ram = windows(walk, 20)[0].reader().epoch()
    assert ram.only_copies and ram.way=='memory'

def test_truncated(saved):
    fn = saved(np.tile(walk, (99,1)))
    items = itemify(*windows(fn, 20, horizon=3))
    items.batch([0])
    if items.reader(0).bytes.file is None: pytest.skip('no mapping of our own here')
    os.truncate(fn, 4096)
    with pytest.raises(OSError, match='truncated'): items.batch([0])

def test_file_is_not_written(saved, sha):
    fn = saved(walk)
    before = sha(fn)
    X,y = windows(open_memmap(fn, 'r+'), 20, horizon=3)
    for w in (X,y):
        with pytest.raises(ValueError): w[0][...] = 0
    for b in TSDataLoaders.from_memmap(X, y, bs=8, item_tfms=lambda o: o.mul_(0), shuffle=False).train: assert not b[0].any()
    assert sha(fn)==before

def fit(dls, model):
    learn = ts_learner(dls, deepcopy(model))
    with learn.no_bar(),learn.no_logging(): learn.fit(2, 1e-3)
    return learn,learn.recorder.values

@pytest.mark.parametrize('kw', [dict(horizon=8), dict(horizon=8, get_x=[1], get_y=[1]), dict(horizon=1)], ids=['many','one','one step'])
@pytest.mark.parametrize('arch', ['PatchTST','InceptionTimePlus'])
def test_forecasting(kw, arch, saved, tmp_path):
    "The losses of windows on disk are those of windows in RAM, and of tsai's loaders"
    if arch=='PatchTST' and kw['horizon']==1: pytest.skip('tsai has no dimension for a single step, and PatchTST needs one')
    X,y = windows(saved(walk), 40, **kw)
    splits = X.split_by_time(.7)
    dls = TSDataLoaders.from_memmap(X, y, splits=splits, bs=16, seed=1)
    config = dict(n_layers=1, d_model=16, d_ff=32, n_heads=2, dropout=0) if arch=='PatchTST' else dict(nf=4) # tsai's loaders draw random numbers, which dropout would show
    model = ts_learner(dls, arch, **config).model
    learn,losses = fit(dls, model)
    _,ram = fit(TSDataLoaders.from_memmap(rows(X), rows(y), splits=splits, bs=16, seed=1), model)
    assert losses==ram
    _,losses2 = fit(TSDataLoaders.from_memmap(X, y, splits=splits, bs=16, shuffle=False, drop_last=True), model)
    tsai = get_ts_dls(rows(X), rows(y), splits=[list(s) for s in splits], tfms=[None,TSForecasting()], bs=16, shuffle_train=False)
    assert (tsai.vars,tsai.len,tsai.c,tsai.d)==(learn.dls.vars,learn.dls.len,learn.dls.c,learn.dls.d)
    _,theirs = fit(tsai, model)
    np.testing.assert_allclose(losses2, theirs, rtol=1e-5)
    p,t,d = learn.get_X_preds(X[splits[1]], y[splits[1]], bs=16)
    assert len(p)==len(d)==len(splits[1]) and p.numel()==t.numel()
    np.testing.assert_array_equal(t.numpy(), rows(y[splits[1]]))
    p2,t2 = learn.get_preds()
    assert torch.equal(p, p2) and torch.equal(t, t2)
    learn.export(tmp_path/'l.pkl')
    assert os.path.getsize(tmp_path/'l.pkl') < 5e6
    again = load_learner(tmp_path/'l.pkl')
    latest,_ = windows(walk[-40:], 40, get_x=kw.get('get_x'))
    assert torch.equal(again.get_X_preds(latest)[0], learn.get_X_preds(latest)[0])

def test_datablock_and_labels(saved):
    fn = saved(walk)
    X,y = windows(fn, 20, horizon=3)
    d = DataBlock((MemmapBlock,RegressionBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=IndexSplitter(list(range(200,278))))
    x,t = d.dataloaders((X,y), bs=8, shuffle=False).train.one_batch()
    np.testing.assert_array_equal(x, rows(X[:8])); np.testing.assert_array_equal(t, rows(y[:8]))
    labels = np.array(['down','up'])[(walk[X.first_steps()+22,0]>walk[X.first_steps()+19,0]).astype(int)]
    dls = TSDataLoaders.from_memmap(X, labels, splits=X.split_by_time(), bs=8)
    assert list(dls.vocab)==['down','up'] and dls.c==2
    assert len(TSDataLoaders.from_memmap(X, bs=8).one_batch())==1
    assert TSDataLoaders.from_memmap(*windows(fn, 20, horizon=1, get_y=0), bs=8).one_batch()[1].shape==(8,)

def test_integers_are_forecast(saved):
    dls = TSDataLoaders.from_memmap(*windows(saved((walk*9).astype('i2')), 20, horizon=3), bs=8)
    assert dls.one_batch()[1].dtype==torch.float32 and not dls.cat and dls.d==[4,3]

@pytest.mark.parametrize('kw,err,words', [(dict(window_len=301),ValueError,'no window of 301 steps fits into a series of 300'), (dict(window_len=0),ValueError,'window_len=0'), (dict(window_len=9, stride=-1),ValueError,'stride=-1'),
    (dict(window_len=9, groups=[1,2]),ValueError,'lengths'), (dict(window_len=9, horizon=0, get_y=1),ValueError,'same steps'), (dict(window_len=9, groups=np.arange(300)%2),ValueError,'comes back'),
    (dict(window_len=9, get_x=9),IndexError,'get_x: variable 9'), (dict(window_len=9, seq_first=False),ValueError,'seq_first=True'), (dict(window_len=9, y_func=max),TypeError,'y_func')])
def test_bad(kw, err, words):
    with pytest.raises(err, match=words): windows(walk, **kw)

def test_default_splits_of_several_inputs():
    "Windows are split by time wherever they stand in a tuple"
    W,y = windows(walk, 50, horizon=5)
    one,several = TSDataLoaders.from_memmap(W, y),TSDataLoaders.from_memmap((W, rng.random((len(W),4))), y)
    for a,b in zip(one,several): assert list(a.dataset.items.idxs)==list(b.dataset.items.idxs)

@pytest.mark.parametrize('groups', [['a']*100+['b']*200, np.array(['a']*100+['b']*200, object), np.repeat([1.,2.], [100,200])], ids=['list','objects','floats'])
def test_ids_of_groups(groups): assert len(windows(walk, 50, groups=groups)[0])==51+151

@pytest.mark.parametrize('horizon', [1,[3]])
def test_forecast_of_one_step_is_shown(horizon):
    from fastai.interpret import Interpretation
    W,y = windows(walk, 20, horizon=horizon, get_y=0)
    dls = TSDataLoaders.from_memmap(W, y, bs=8)
    learn = ts_learner(dls, 'FCN')
    learn.show_results()
    Interpretation.from_learner(learn).plot_top_losses(2)

def test_a_nan_to_predict_is_found():
    a = walk.copy(); a[100,0] = np.nan
    W,y = windows(a, 50, horizon=24, get_x=[1,2], get_y=0)
    with pytest.raises(ValueError, match='is not finite in row .*23 more.*fill the series'): TSDataLoaders.from_memmap(W, y, splits=(range(150),))

@pytest.mark.parametrize('splits,y,words', [
    ((range(150),range(150,246)), 'steps', '4 of the 96 windows of splits.1. have steps to predict'),
    ((range(150),range(153,246)), 'steps', '1 of the 93 windows of splits.1. have steps to predict'),
    ((range(96,246),range(90)), 'steps', '48 of the 90 windows of splits.1. have steps'), # which training sees
    ((range(0,246,2),range(1,246,2)), 'steps', '123 of the 123 windows of splits.1. have steps'),
    ((range(150),range(210,220),range(219,246)), 'steps', '5 of the 27 windows of splits.2. have steps .* of splits.1.'),
    ((range(150),range(154,246)), 'labels', '45 of the 92 windows of splits.1. share steps'), ((range(150),range(150,246)), None, 'share steps')])
def test_splits_that_leak_are_told(splits, y, words):
    W,steps = windows(walk, 50, horizon=5)
    if y!='steps': W,_ = windows(walk[:295], 50)
    target = dict(steps=steps, labels=np.arange(246)%2).get(y)
    with pytest.warns(RuntimeWarning, match=words): TSDataLoaders.from_memmap(W, target, splits=splits)

def test_splits_that_do_not_leak():
    "What validation sees may be known from training, if it is about what comes then"
    W,y = windows(walk, 50, horizon=5)
    a,b = windows(np.arange(100.)[:,None], 20, horizon=3)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        TSDataLoaders.from_memmap(W, y)
        TSDataLoaders.from_memmap(W, y, splits=(range(150),))
        TSDataLoaders.from_memmap(W, y, splits=(range(150),range(154,246)))
        TSDataLoaders.from_memmap(a, b, splits=TimeSplitter(20, fcst_horizon=3, show_plot=False)(b))

@settings(max_examples=300, deadline=None)
@given(st.integers(1,6), st.one_of(st.integers(1,4), st.lists(st.integers(1,9), min_size=1, max_size=3, unique=True)), st.integers(1,3),
       st.lists(st.integers(5,30), min_size=1, max_size=3), st.data())
def test_leaks_are_those_of_the_steps(window_len, horizon, stride, lengths, data):
    "As counted step by step: of windows of any stride and horizon, of one series or of several"
    try: X,y = windows(np.arange(sum(lengths)), window_len, stride, horizon, groups=lengths)
    except ValueError: return
    part = st.lists(st.integers(0, len(X)-1), max_size=5)
    splits = [data.draw(part),data.draw(part)]
    def steps(o, i): return {int(v) for v in np.ravel(o[i])} # their values are their numbers
    has = {s for i in splits[0] for o in (X,y) for s in steps(o, i)}
    n = sum(bool(steps(y, i)&has) for i in splits[1])
    if not n: return X.check_leak(splits, y)
    with pytest.raises(ValueError, match=f'^{n} of the {len(splits[1])} windows of splits.1. have'): X.check_leak(splits, y)

def test_windows_as_one_argument():
    with pytest.raises(TypeError, match=r'from_memmap\(\*windows'): TSDataLoaders.from_memmap(windows(walk, 50, horizon=5))

@pytest.mark.parametrize('args,kw,err,words', [
    ((60,0),{},ValueError,'stride=0'), (('60',),{},ValueError,"window_len='60'"),
    ((60,),dict(horizon=-61, get_x=0, get_y=1),ValueError,'its first is -59'),
    ((60,),dict(horizon=0, get_x=[1,2], get_y=[2]),ValueError,r'variables \[2\] are seen and predicted'),
    ((151,),dict(groups=[150]*2),ValueError,'any of 2 groups, the longest of 150 steps')])
def test_bad_sizes(args, kw, err, words):
    with pytest.raises(err, match=words): windows(walk, *args, **kw)

def test_windows_as_an_array():
    X,_ = windows(walk, 60, horizon=5)
    for i in (236,[236]):
        with pytest.raises(IndexError, match='236'): X[i]
    with pytest.raises(IndexError, match='ascending order'): X[::-1]
    assert len(X[5:5])==0
    np.testing.assert_array_equal(X[range(3)][-1], X[2])
    np.testing.assert_array_equal(itemify(X)[::-1][0][0], X[-1])
    y = windows(np.arange(300), 5, horizon=1)[1]
    assert y[3]==8 and y.shape==(295,)

def test_what_a_split_refuses():
    X,_ = windows(walk, 20, horizon=5, groups=[100,24,176])
    for a,b in zip(X.split_by_group(.3, seed=1), X.split_by_group(.3, seed=1)): np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match='gap=-1'): X.split_by_time(gap=-1)
    with pytest.raises(ValueError, match='nothing to train on'): X.split_by_group([0,2])
    with pytest.raises(ValueError, match='between 0 and 1'): X.split_by_group(1.5)

@pytest.mark.parametrize('ids', [
    np.repeat([1.,np.nan], [100,200]), np.array(['a']*100+[None]*200, object), np.array(['a']*100+[np.nan]*200, object),
    np.array(['2020-01-01']*100+['NaT']*200, 'M8[D]'), pd.Series(['a']*100+[None]*200), pd.Series([1]*100+[None]*200, dtype='Int64'),
    pd.Series(['a']*100+[None]*200, dtype='category'), pd.Series(['a']*100+[None]*200, dtype='string')], ids=lambda o: str(o.dtype))
def test_steps_without_an_id(ids):
    "NaN is not equal to itself: each such step was a group of its own, without a window"
    with pytest.raises(ValueError, match='groups: 200 of the 300 steps have no id .*first at step 100'): windows(walk, 20, groups=ids)

@given(st.lists(st.sampled_from([0.,1.,2.,np.nan]), min_size=300, max_size=300).map(np.sort), st.integers(1,9))
@settings(max_examples=30, deadline=None)
def test_no_window_is_lost(ids, n):
    "Sorted, NaN comes last; all windows are those of the groups, or there is an error"
    lengths = [(ids==o).sum() for o in range(3)]
    if np.isnan(ids).any():
        with pytest.raises(ValueError, match='no id'): windows(walk, n, groups=ids)
    elif max(lengths)>=n: assert len(windows(walk, n, groups=ids)[0])==sum(max(o-n+1, 0) for o in lengths)

def test_names_of_columns():
    table = pd.DataFrame(walk, columns=list('abcd'))
    for kw,numbers in ((dict(get_y='d'),dict(get_y=3)), (dict(get_x=['b','a'], get_y=['d','c']),dict(get_x=[1,0], get_y=[3,2])), (dict(get_y=table.columns[1:]),dict(get_y=[1,2,3]))):
        for a,b in zip(windows(table, 50, horizon=3, **kw), windows(walk, 50, horizon=3, **numbers)): np.testing.assert_array_equal(rows(a), rows(b))
    for series,kw,words in ((table,dict(get_y='D'),"no column 'D'"), (table,dict(get_y=['a','e']),"no column 'e'"), (table,dict(get_x=slice('a','b')),'list of the names'),
                            (walk,dict(get_y='d'),"names are those of a DataFrame's columns"), (table.to_numpy(),dict(get_x=['a']),'numbers, here 0 to 3'),
                            (table.set_axis(list('abcc'), axis=1),dict(get_y='c'),"2 columns are called 'c'")):
        with pytest.raises(ValueError, match=words): windows(series, 50, horizon=3, **kw)
    with pytest.raises(ValueError, match="names are those"): windows(table.T, 50, horizon=3, get_y='a', seq_first=False)

@pytest.mark.parametrize('column', [pd.date_range('2020', periods=300), ['a']*300, pd.Series(['a']*300, dtype='category')], ids=['times','text','categories'])
def test_a_column_that_is_not_numbers(column):
    with pytest.raises(TypeError, match=r"columns \['more'\] .* not numbers.*drop.*groups"): windows(pd.DataFrame(walk).assign(more=column), 50)

@pytest.mark.parametrize('horizon', [2.,[1.9,2.9],np.array([1.,2.]),'3',[True,None]], ids=str)
def test_a_horizon_is_of_whole_steps(horizon):
    with pytest.raises(TypeError, match='horizon=.*a whole number of steps'): windows(walk, 20, horizon=horizon)

def test_horizons_of_integers():
    import torch
    for horizon in ([1,3],np.array([1,3],'u1'),torch.tensor([1,3]),(o for o in (1,3))): assert windows(walk, 20, horizon=horizon)[1].shape[2]==2
    assert windows(walk, 20, horizon=np.array(3))[1].shape[2]==windows(walk, 20, horizon=np.int8(3))[1].shape[2]==3
