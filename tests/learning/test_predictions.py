"Predictions on disk: those of `get_preds`, and going on after a stop"
import os, warnings, numpy as np, pytest
from fastai.callback.schedule import Learner
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from torch import nn
from tsai.data.preprocessing import TSStandardize
from tsai.inference import * # learn.get_X_preds
from tsai.learner import ts_learner
from forked import run
from memmap_ts.all import *
from motions import X, splits, y

class Noop(nn.Module):
    def forward(self, x): return x.mean(2)

class Stops(Noop):
    n = 0
    def forward(self, x):
        self.n += 1
        if self.n>4: raise KeyboardInterrupt
        return super().forward(x)

def test_preds_to_memmap(saved, tmp_path):
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
    with pytest.raises(ValueError, match=r'q.npy.part has 40 predictions.*Pass `overwrite=True`'): preds_to_memmap(learn, X[:20], tmp_path/'q.npy', bs=10)
    class Counts(Noop):
        n = 0
        def forward(self, x): Counts.n += len(x); return x.mean(2)
    learn.model = Counts()
    np.testing.assert_allclose(preds_to_memmap(learn, fn, tmp_path/'q.npy', bs=10), want, rtol=1e-6)
    assert 0<Counts.n<80 # what was there was not computed again

def test_samples_are_not_replaced(saved, tmp_path):
    fn = saved(X)
    learn = Learner(TSDataLoaders.from_files(fn, saved(np.arange(80)%6, 't.npy'), splits=splits, bs=10), Noop())
    for new in (fn, open_memmap(fn), itemify(open_memmap(fn)[:20])):
        for to in (fn, {'preds':tmp_path/'p.npy', 'inputs':fn}):
            with pytest.raises(ValueError, match="is read.*can't be the destination"): preds_to_memmap(learn, new, to, overwrite=True, progress=False)
    np.testing.assert_array_equal(np.load(fn), X)
    assert not list(tmp_path.glob('p.npy*'))

def test_what_another_run_has_left(saved, tmp_path):
    "A killed run of another X, model or dtype does not keep anybody from writing: `overwrite=True` begins anew"
    dls = TSDataLoaders.from_files(saved(X), saved(np.arange(80)%6, 't.npy'), splits=splits, bs=10)
    learn,fn = Learner(dls, Noop()),tmp_path/'p.npy'
    def stop():
        learn.model = Stops()
        with pytest.raises(KeyboardInterrupt): preds_to_memmap(learn, X, fn, bs=10, progress=False, overwrite=True)
        assert len(np.load(f'{fn}.part'))==40
        learn.model = Noop()
    for other,kw in ((X[:20],{}), (X[::-1].copy(),{}), (X[:60]*2,{}), (X,dict(dtype='f8'))):
        stop()
        with pytest.raises(ValueError, match='p.npy.part'): preds_to_memmap(learn, other, fn, bs=10, progress=False, **kw)
        res = preds_to_memmap(learn, other, fn, bs=10, progress=False, overwrite=True, **kw)
        np.testing.assert_array_equal(res, preds_to_memmap(learn, other, tmp_path/'q.npy', bs=10, progress=False, overwrite=True, **kw))
        assert not list(tmp_path.glob('*.part'))
        fn.unlink()

def test_inputs_and_decoded_beside_predictions(saved, tmp_path):
    "What `get_X_preds(with_input=True)` gives, on disk, also after a stop"
    fn = saved(X)
    dls = TSDataLoaders.from_files(fn, saved(np.arange(80)%6+5, 't.npy'), splits=splits, bs=10, batch_tfms=[TSStandardize(by_var=True)])
    learn = Learner(dls, Noop())
    x,p,_,d = learn.get_X_preds(X, with_input=True)
    fns = {k:tmp_path/f'{k}.npy' for k in ('inputs','preds','decoded')}
    learn.model = Stops()
    with pytest.raises(KeyboardInterrupt): preds_to_memmap(learn, fn, fns, progress=False)
    assert not any(f.exists() for f in fns.values())
    learn.model = Noop()
    res = preds_to_memmap(learn, fn, fns, progress=False)
    np.testing.assert_allclose(res['preds'], p, rtol=1e-5)
    np.testing.assert_array_equal(res['inputs'], x)
    np.testing.assert_array_equal(res['decoded'], d)
    assert res['decoded'].dtype==np.int64 and all(map(on_disk, res.values()))
    class InPlace(Noop):
        def forward(self, x): return x.mul_(0).mean(2)
    learn.model = InPlace()
    np.testing.assert_array_equal(preds_to_memmap(learn, fn, {k:tmp_path/f'{k}3.npy' for k in ('inputs','preds')}, progress=False)['inputs'], x)
    for bad in ({'inputs':tmp_path/'i.npy'}, {'preds':tmp_path/'i.npy', 'targs':tmp_path/'t.npy'}):
        with pytest.raises(ValueError, match="one for 'preds'"): preds_to_memmap(learn, fn, bad)
    two = TSDataLoaders.from_memmap((X,X), np.arange(80)%6, splits=splits, bs=10)
    with pytest.raises(ValueError, match='several inputs'): preds_to_memmap(Learner(two, Noop(), loss_func=nn.CrossEntropyLoss()), (X,X), {k:tmp_path/f'{k}2.npy' for k in fns})

killed = '''
    import os, random, signal, sys, time, torch
    from pathlib import Path
    from torch import nn
    from fastai.learner import Learner
    from memmap_ts.all import *
    from memmap_ts.writing.sync import BackgroundSync
    torch.set_num_threads(1)
    d = Path(sys.argv[1])
    BackgroundSync.every_bytes = 3_000
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
    r = run(killed, tmp_path)
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
        np.testing.assert_allclose(preds_to_memmap(learn, X[:20], tmp_path/f'p{k}.npy', bs=bs, progress=False), want, rtol=1e-4, atol=1e-6)

@pytest.mark.parametrize('t,kw', [
    (np.array(['run','walk','rest','lie','sit','fall'])[np.arange(80)%6],{}), (np.arange(80)%6*10,{}), ((np.arange(80)%6).astype('f4'),{}),
    (np.arange(80)%6>2,{}), ([list('abcdef')[i%6:] for i in range(80)],{}), (np.arange(80)%6+.5,dict(y_block=CategoryBlock))],
    ids=['text','integers','floats','booleans','several','floats as classes'])
def test_decoded_are_labels(t, kw, tmp_path):
    "Those of y, as `get_X_preds` has them; several for a sample are columns of the vocab"
    dls = TSDataLoaders.from_memmap(X, t, splits=splits, bs=10, **kw)
    class Out(nn.Module):
        def forward(self, x): return x.mean(2)[:,:dls.c]
    learn = Learner(dls, Out())
    want = learn.get_X_preds(X)[2]
    got = preds_to_memmap(learn, X, {'preds':tmp_path/'p.npy', 'decoded':tmp_path/'d.npy'}, progress=False)['decoded']
    if isinstance(t, list): got = [[dls.vocab[i] for i in np.flatnonzero(o)] for o in got]
    else: assert got.dtype==np.asarray(list(getattr(dls, 'vocab', t))).dtype
    assert [list(np.atleast_1d(o)) for o in got]==[list(np.atleast_1d(o)) for o in want]

def test_decoded_beside_a_missing_class(tmp_path):
    "Classes that are numbers, and `add_na`'s, which is text: no file holds both"
    d = DataBlock((MemmapBlock,CategoryBlock(add_na=True)), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)])
    learn = Learner(d.dataloaders((X,np.arange(80)%5), bs=10), Noop())
    with pytest.raises(ValueError, match='neither all text nor all numbers.*dls.vocab'): preds_to_memmap(learn, X, {'preds':tmp_path/'p.npy', 'decoded':tmp_path/'d.npy'}, progress=False)

def test_nan_predictions_are_told_once(tmp_path):
    "How many, in each call; nothing is said of others"
    Z = X[:20].copy()
    Z[3,1,5] = Z[17,0,2] = np.nan
    learn = Learner(TSDataLoaders.from_memmap(X, np.arange(80)%6, splits=splits, bs=10), Noop())
    calls = (lambda Z: learn.get_X_preds(Z, bs=4), lambda Z: learn.get_preds(dl=learn.dls.test_dl(Z, bs=4)),
             lambda Z: preds_to_memmap(learn, Z, tmp_path/'p.npy', bs=4, progress=False, overwrite=True))
    for call in calls:
        for _ in range(2):
            with pytest.warns(RuntimeWarning, match='2 of 20 predictions are NaN.*NaN or infinite values') as told: call(Z)
            assert len([w for w in told if 'predictions are NaN' in str(w.message)])==1
        with warnings.catch_warnings():
            warnings.simplefilter('error', RuntimeWarning)
            call(X[:20])

class Classes(nn.Module):
    def forward(self, x): return x.mean(2)[:,:len(set(y))]

def _ways_to_predict(learn, x):
    "One sample by all ways that lead to a model"
    return [lambda: learn.predict(x), lambda: learn.get_preds(dl=learn.dls.test_dl([x,x])), lambda: learn.dls.test_dl(itemify(x[None])),
            lambda: learn.dls.test_dl(x[None]), lambda: learn.get_X_preds(x[None])]

@pytest.mark.parametrize('kind', ['factory','block'])
def test_other_variables(kind):
    "Scaling would stretch one variable to as many as it knows, and something would be predicted"
    tfm = TSStandardize(by_var=True)
    if kind=='factory': dls = TSDataLoaders.from_memmap(X, y, splits=splits, batch_tfms=tfm)
    else: dls = DataBlock((MemmapBlock,CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), batch_tfms=tfm).dataloaders(itemify(X, y))
    learn = Learner(dls, Classes(), loss_func=CrossEntropyLossFlat())
    known = X.shape[1]
    for x in (X[0,:1], X[0,:2]):
        for f in _ways_to_predict(learn, x):
            with pytest.raises(ValueError, match=rf'\(({len(x)}|1, {len(x)}), {X.shape[2]}\).*{known}'): f()
    for f in _ways_to_predict(learn, X[0,:,:30]): f() # steps may be fewer

def test_a_single_step():
    "It would be repeated by a scaling of each step"
    learn = Learner(TSDataLoaders.from_memmap(X, y, splits=splits, batch_tfms=TSStandardize(by_step=True)), Classes())
    for f in _ways_to_predict(learn, X[0,:,:1]):
        with pytest.raises(ValueError, match=f'repeated {X.shape[2]} times'): f()
