"`scale=`: a model learns from scaled numbers, and people see their own units, wherever they look"
import subprocess, sys, textwrap, warnings, numpy as np, pytest, torch
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner
from fastai.data.block import CategoryBlock
from fastai.data.core import DataLoaders
from fastai.interpret import Interpretation
from fastai.losses import BCEWithLogitsLossFlat, MSELossFlat
from fastai.metrics import mae, rmse
from fasttransform import Transform
from torch import nn
from tsai.data.preprocessing import TSStandardize
from tsai.inference import * # learn.get_X_preds
from tsai.learner import ts_learner
from memmap_ts.all import *
from memmap_ts.data.units import scale_of
from memmap_ts.epoch.units import OwnUnits
from memmap_ts.learning.kept import callback_state
from training import fit

N = 150 # steps of each series
IDS = np.repeat(['kiosk','mall','shop'], N)

@pytest.fixture
def table():
    "Three series of four variables: of different size, one with gaps, one that never changes"
    rng = np.random.default_rng(0)
    a = rng.normal([0,3,50,7], [1,2,10,0], (3*N,4)).astype('f4')
    a *= np.repeat([1,1000,20], N)[:,None].astype('f4')
    a[::5,1] = np.nan
    a[:N,2] = 4
    return a

class Last(nn.Module):
    "Forecasts the last step of the first variable, for all steps"
    def __init__(self, n_steps=2):
        super().__init__()
        self.n_steps,self.weight = n_steps,nn.Parameter(torch.ones(1))
    def forward(self, x): return self.weight*x[:,0,-1:].expand(-1, self.n_steps)

def make(a, scale, horizon=2, get_y=0, bs=16, **kw):
    X,y = windows(a, 8, horizon=horizon, get_x=kw.pop('get_x', None), get_y=get_y, groups=kw.pop('groups', IDS))
    return X,y,TSDataLoaders.from_memmap(X, y, scale=scale, bs=bs, **kw)

def values(a, scale, X, rows):
    "Mean and std that NumPy finds for each variable of windows `rows`: each (rows, vars)"
    if isinstance(scale, tuple): return [np.tile(o, (len(rows),1)) for o in scale]
    train = [g*N+np.arange(round(.8*N)) for g in range(3)]
    if scale=='var': train = [np.concatenate(train)]*3
    groups,res = X.starts.group_of(rows),[]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # of variables without values
        for f in (np.nanmean,np.nanstd):
            if scale!='window': res.append(np.stack([f(a[steps].astype('f8'), 0) for steps in train])[groups])
            else:
                res.append(np.full((len(rows),a.shape[1]), np.nan))
                res[-1][:,X.stretch.vars] = f(X[rows].astype('f8'), 2)
    mean,std = res
    return np.nan_to_num(mean),np.where(std>1e-6*abs(mean), std, 1)

@pytest.mark.parametrize('scale', ['var','group','window',(np.arange(4.),np.arange(1,5.))], ids=['var','group','window','pair'])
@pytest.mark.parametrize('get_x,get_y,horizon', [(None,0,2), ([3,1,0],[0,1,3],[1,4]), ([2],[2],1), (None,[1],1)])
def test_batches_and_the_way_back(table, scale, get_x, get_y, horizon):
    if 1 in np.atleast_1d(get_y): table = np.nan_to_num(table) # a target has no gaps
    X,y,dls = make(table, scale, horizon, get_y, get_x=get_x, bs=99)
    rows = np.asarray(X.split_by_time(.8)[1])
    x,(mean,std) = X[rows],values(table, scale, X, rows)
    xb,yb = b = dls.valid.one_batch()
    def scaled(t, vars): return (t-mean[:,vars][...,None])/std[:,vars][...,None]
    close(xb, scaled(x, X.stretch.vars), rtol=1e-5, atol=1e-5)
    true = y[rows].reshape(len(rows), len(y.stretch.vars), -1)
    close(yb.reshape(true.shape), scaled(true, y.stretch.vars), rtol=1e-5, atol=1e-5)
    back = dls.valid.decode(b)
    close(back[0], x, rtol=1e-5, atol=1e-2)
    close(back[1], y[rows], rtol=1e-5, atol=1e-2)
    assert scale_of(back) is None
    equal(dls.valid.decode(back)[1], back[1]) # not twice
    dls.show_batch()

@pytest.mark.parametrize('scale', ['var','group','window'])
def test_everything_a_user_looks_at(table, scale, tmp_path):
    "A model that repeats what it has seen: in own units, that is the last step of each window"
    X,y,dls = make(table, scale)
    learn = Learner(dls, Last(), loss_func=MSELossFlat(), metrics=[mae,unscaled(mae),unscaled(rmse)])
    valid = np.asarray(X.split_by_time(.8)[1])
    last = np.repeat(X[valid][:,0,-1:], 2, 1)
    tol = dict(rtol=1e-4, atol=1e-3)
    with learn.no_bar(), learn.no_logging():
        loss,scaled_mae,own_mae,own_rmse = learn.validate()
        close(own_mae, abs(last-y[valid]).mean(), rtol=1e-4)
        close(own_rmse, ((last-y[valid])**2).mean()**.5, rtol=1e-4)
        assert scaled_mae<own_mae/10
        inp,preds,targs,decoded,losses = learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
        for got,want in ((preds,last), (decoded,last), (targs,y[valid]), (inp,X[valid])): close(got, want, **tol)
        close(losses.mean(), loss, rtol=1e-4) # of scaled numbers, as in training
        close(learn.get_X_preds(X[3:40])[0], np.repeat(X[np.arange(3,40)][:,0,-1:], 2, 1), **tol)
        close(learn.get_X_preds(X[5:9], y[5:9])[1], y[np.arange(5,9)], **tol)
        close(learn.predict(X[5:6])[2], X[5][0,-1:].repeat(2), **tol)
        seen = learn.predict(X[5:6], with_input=True)[0]
        close(seen, X[5], **tol)
        if scale!='group': close(learn.predict(X[5])[2], X[5][0,-1:].repeat(2), **tol)
        p = preds_to_memmap(learn, X[3:40], {k:tmp_path/f'{k}.npy' for k in ('preds','inputs')}, bs=10, progress=False)
        close(p['preds'], np.repeat(X[np.arange(3,40)][:,0,-1:], 2, 1), **tol)
        close(p['inputs'], X[np.arange(3,40)], **tol)
        learn.get_preds(save_preds=tmp_path, save_targs=tmp_path)
        close(torch.load(tmp_path/'0', weights_only=False), y[valid[:16]], **tol)
        close(learn.tta(n=2)[0], last, **tol)
    fit(learn, 1)
    assert learn.target_scale is None

def _drawn(ax): return np.concatenate([np.ravel(line.get_ydata()) for line in ax.lines])

def test_pictures_have_own_units(table, monkeypatch):
    import matplotlib.pyplot as plt
    X,y,dls = make(table, 'group', shuffle=False)
    learn = Learner(dls, Last(), loss_func=MSELossFlat())
    ctxs = plt.subplots(1, 4)[1].ravel()
    rows = np.asarray(X.split_by_time(.8)[1])[-4:]
    test = dls.test_dl((X[int(rows[0]):int(rows[-1])+1],y[int(rows[0]):int(rows[-1])+1]), with_labels=True)
    with learn.no_bar(): learn.show_results(dl=test, shuffle=False, ctxs=ctxs, max_n=4)
    for ax,i in zip(ctxs, rows):
        want = np.concatenate([*X[int(i)], y[int(i)], np.repeat(X[int(i)][0,-1], 2)])
        close(np.sort(_drawn(ax)), np.sort(want), rtol=1e-4, atol=1e-2)
    with learn.no_bar(): i = Interpretation.from_learner(learn)
    drawn = []
    monkeypatch.setattr('memmap_ts.data.show._show_result', lambda ctx, sample, pred, *_: drawn.append((sample,pred)))
    with learn.no_bar(): i.plot_top_losses(2)
    at = i.top_losses(2)[1].numpy()
    valid = np.asarray(X.split_by_time(.8)[1])
    for (sample,pred),k in zip(drawn, at):
        close(sample[0], X[int(valid[k])], rtol=1e-4, atol=1e-2)
        close(sample[-1], y[int(valid[k])], rtol=1e-4)
        close(np.asarray(pred), X[int(valid[k])][0,-1].repeat(2), rtol=1e-4)
    plt.close('all')

def test_in_every_way_of_loading(table, saved):
    "The same batches by workers, from the device's cache, in float64, and as pickled"
    import pickle
    path = saved(table)
    X,y,dls = make(path, 'group', shuffle=False)
    want = [b[0].clone() for b in dls.valid]
    for kw in (dict(num_workers=2), dict(cache='device'), dict(prefetch=0)):
        other = make(path, 'group', shuffle=False, **kw)[2]
        for _ in range(2):
            for a,b in zip(want, other.valid, strict=True): close(a, b[0], rtol=1e-6)
    for a,b in zip(want, pickle.loads(pickle.dumps(dls.valid)), strict=True): equal(a, b[0])
    wide = make(path, 'group', dtype='float64')[2]
    for a,b in zip(want, wide.valid, strict=True):
        assert b[0].dtype==torch.float64
        close(a, b[0], rtol=1e-4, atol=1e-4)
    assert dls.vars==4 and dls.len==8 and dls.d==2 and dls.valid.shapes.n_inputs==1

def test_a_learner_in_another_process(table, tmp_path):
    "A new series of a known group is scaled as in training, of another one an error names it"
    table = np.nan_to_num(table)
    np.save(tmp_path/'new.npy', table[N:N+20]*2)
    X,_,dls = make(table, 'group')
    Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(32, 2)), loss_func=MSELossFlat(), path=tmp_path).export('l.pkl')
    (tmp_path/'run.py').write_text(textwrap.dedent('''
        import sys, numpy as np, torch
        from fastai.learner import load_learner
        learn = load_learner(sys.argv[1]+'/l.pkl')
        from memmap_ts.windows import windows
        torch.nn.init.zeros_(learn.model[1].weight); torch.nn.init.zeros_(learn.model[1].bias) # the mean of the group
        for name in ('mall','stall'):
            X,_ = windows(sys.argv[1]+'/new.npy', 8, groups=[name]*20)
            with learn.no_bar():
                try: print(learn.get_preds(dl=learn.dls.test_dl(X))[0].mean().item())
                except ValueError as e: print(e)'''))
    r = subprocess.run([sys.executable, '-W', 'ignore', tmp_path/'run.py', tmp_path], capture_output=True, text=True, timeout=120)
    assert r.returncode==0, r.stderr
    mean,error = r.stdout.strip().splitlines()
    close(float(mean), table[N:N+round(.8*N),0].mean(), rtol=1e-4)
    assert "of group 'stall' there are no steps" in error

def own_groups(a, unknown=None, **kw):
    X,y = windows(a, 8, horizon=2, get_y=0, groups=IDS)
    return X,y,TSDataLoaders.from_memmap(X, y, splits=X.split_by_group(['mall']), scale=GroupScale(unknown), bs=16, **kw)

def test_groups_that_training_has_not(table):
    "An error names them when loaders are made; or they are scaled by their own steps"
    with pytest.raises(ValueError, match="of group 'mall' there are no steps.*GroupScale"): own_groups(table)
    X,y,dls = own_groups(table, 'own')
    mall = table[N:2*N]
    rows = np.arange(16)+(N-9)
    close(dls.valid.one_batch()[1], (y[rows]-mall[:,0].mean())/mall[:,0].std(), rtol=1e-4, atol=1e-5)
    learn = Learner(dls, Last(), loss_func=MSELossFlat())
    with learn.no_bar():
        close(learn.predict(X[5])[2], X[5][0,-1:].repeat(2), rtol=1e-4) # a sample of no group: by its own steps
        new,_ = windows(mall[:9], 8, groups=['new']*9)
        close(learn.get_X_preds(new)[0][0], mall[7,0].repeat(2), rtol=1e-4)
        _,_,strict = make(table, 'group')
        learn.dls = strict
        with pytest.raises(ValueError, match=r'does not say of which group.*predict\(X\[5:6\]\)'): learn.predict(X[5])
        with pytest.raises(ValueError, match='do not say which group they are'): learn.get_X_preds(windows(mall, 8)[0])
        with pytest.raises(ValueError, match='4 windows for one sample'): learn.predict(X[5:9])

@pytest.mark.parametrize('kw,match', [
    (dict(scale='groups'), "Did you mean 'group'"), (dict(scale=(0,1,2)), "pass 'var'"), (dict(scale=(0,[1,0,1,1])), 'above 0'),
    (dict(scale=([1,2],1)), 'each of the 4 variables'), (dict(scale='window', get_x=[1,2]), 'Add them to get_x'),
    (dict(scale='var', item_tfms=lambda o: o), 'item_tfms would change it'), (dict(scale='var', tfms=[lambda o: o, None]), 'a transform of X'),
    (dict(scale='var', tfms=[None, lambda o: torch.as_tensor(o)*2]), 'a transform of y'), (dict(scale='var', dtype='int32'), 'floating point')])
def test_what_cannot_be_scaled(table, kw, match):
    with pytest.raises(ValueError, match=match): make(table, **kw)

def test_other_data(table):
    "Arrays of samples, classes, features, several series, parts of them"
    rng = np.random.default_rng(0)
    A,t = rng.normal([[[5.],[100]]], [[[2.],[0]]], (40,2,10)).astype('f4'),np.arange(40)%2
    splits = range(30),range(30,40)
    with pytest.raises(ValueError, match='input 0 is an array'): TSDataLoaders.from_memmap(A, t, splits=splits, scale='group')
    for sel in (None,[1,0],1):
        x = A if sel is None else A[:,np.atleast_1d(sel)]
        mean,std = x[:30].mean((0,2), keepdims=True),x[:30].std((0,2), keepdims=True)
        dls = TSDataLoaders.from_memmap(A, t, splits=splits, scale='var', sel_vars=sel, bs=10)
        b = dls.valid.one_batch()
        close(b[0], (x[30:]-mean)/np.where(std>1e-3, std, 1), rtol=1e-5, atol=1e-4)
        close(dls.valid.decode(b)[0], x[30:], rtol=1e-5, atol=1e-5)
        equal(b[1], t[30:])
    dls = TSDataLoaders.from_memmap(A, t, splits=splits, scale=([5,100],[2,1]), sel_steps=[0,2,3], bs=10)
    close(dls.valid.one_batch()[0], (A[30:][:,:,[0,2,3]]-[[5],[100]])/[[2],[1]], rtol=1e-5, atol=1e-4)
    dls = TSDataLoaders.from_memmap(A, A[:,0,0]*3, splits=splits, scale='window', bs=10) # another quantity: as it is
    close(dls.valid.one_batch()[1], A[30:,0,0]*3)
    learn = Learner(dls, Last(1), loss_func=MSELossFlat(), metrics=[mae,unscaled(mae)])
    with learn.no_bar(), learn.no_logging(): equal(*learn.validate()[1:])
    X,y = windows(table, 8, horizon=2, get_y=[0,3], groups=IDS)
    S = np.arange(len(X)*2, dtype='f4').reshape(-1, 2)
    for several in ((X,S),(S,X),(X[:],X,S)):
        dls = TSDataLoaders.from_memmap(several, y, scale='group', bs=16)
        xs,yb = b = dls.valid.one_batch()
        rows = np.asarray(X.split_by_time(.8)[1])[:16]
        for o,x in zip(several, xs, strict=True):
            if o is S: equal(x, S[rows])
            else: close(x, make(table, 'group')[2].valid.one_batch()[0])
        back = dls.valid.decode(b)
        close(back[1], y[rows], rtol=1e-4)
        assert back[0].__class__.__name__=='SeriesTuple' and dls.valid.shapes.n_inputs==len(several)
        close(back[0][[o is X for o in several].index(True)], X[rows], rtol=1e-4, atol=1e-4)
    classes = windows(np.arange(3*N)%5, 8, horizon=[2], groups=IDS)[1]
    dls = TSDataLoaders.from_memmap(X, classes, scale='group', y_block=CategoryBlock)
    assert dls.c==5 and dls.valid.one_batch()[1].dtype==torch.int64
    with pytest.raises(ValueError, match='another series than X'): TSDataLoaders.from_memmap(X, windows(table, 8, horizon=2, get_y=0, groups=IDS)[1], scale='var')

def test_transforms_see_scaled_batches(table):
    "Those of batches come after; statistics of the raw series would be wrong for them, which is told"
    seen = []
    with pytest.warns(RuntimeWarning, match='from one batch, for ScaleBatch changes'):
        make(np.nan_to_num(table), 'group', batch_tfms=TSStandardize(by_var=True))
    def look(x): seen.append(x[0].abs().max() if isinstance(x, tuple) else x.abs().max()); return x
    _,_,dls = make(np.nan_to_num(table), 'group', batch_tfms=Transform(look, order=-10))
    dls.valid.one_batch()
    assert max(map(float, seen))<20

def test_who_makes_the_learner(table):
    "With a callback too few, or one that hides the scale, nobody is given scaled numbers for own ones"
    X,y,dls = make(np.nan_to_num(table), 'group')
    learn = ts_learner(dls, 'InceptionTimePlus', arch_config=dict(nf=2, depth=1), loss_func=MSELossFlat(), metrics=unscaled(mae))
    with learn.no_bar(), learn.no_logging():
        assert learn.get_preds()[0].std()>10
        learn.to_fp16()
        assert learn.get_preds()[0].dtype==torch.float32
    learn = Learner(dls, Last(), loss_func=MSELossFlat(), cbs=OwnUnits()) # a second one
    with learn.no_bar(): close(learn.get_preds()[1], y[np.asarray(X.split_by_time(.8)[1])], rtol=1e-3, atol=1e-3)
    class Hides(Callback):
        def before_batch(self): self.learn.xb = tuple(torch.tensor(o.numpy()) for o in self.xb)
    learn = Learner(dls, Last(), loss_func=MSELossFlat(), cbs=Hides())
    with learn.no_bar(), pytest.raises(ValueError, match='a callback has changed them'): learn.get_preds()
    learn.metrics = unscaled(mae)
    with learn.no_bar(), pytest.raises(ValueError, match='a callback has changed them'): learn.validate()
    plain = TSDataLoaders.from_memmap(X, y)
    assert [cb.name for cb in Learner(plain, Last(), loss_func=MSELossFlat()).cbs].count('own_units')==1
    learn = Learner(dls, Last(), loss_func=BCEWithLogitsLossFlat())
    with learn.no_bar(), pytest.raises(ValueError, match='has an activation'): learn.get_preds()
    other = Learner(DataLoaders([], []), Last(), loss_func=MSELossFlat(), metrics=unscaled(mae))
    assert 'own_units' not in [cb.name for cb in other.cbs] # nothing of ours is saved with other people's learners
    with pytest.raises(ValueError, match='does not know the scale'): unscaled(mae).accumulate(other)

def test_a_checkpoint_has_the_sums_of_metrics(table):
    X,y,dls = make(np.nan_to_num(table), 'group')
    learn = Learner(dls, Last(), loss_func=MSELossFlat(), metrics=unscaled(mae))
    learn.recorder.train_metrics = True
    fit(learn, 1)
    assert callback_state(learn)['callbacks']['Recorder 1']['Recorder']['metrics'][1]['total']>0

def test_padding_does_not_count():
    samples = [np.full((1,n), 5., 'f4')+np.arange(n) for n in (3,9,5,7)]
    X = ragged(np.concatenate([o.T for o in samples]), [3,9,5,7])
    known = np.concatenate([o[0] for o in samples[:2]])
    for scale in ('var','window'):
        dls = TSDataLoaders.from_memmap(X, splits=([0,1],[2,3]), scale=scale, bs=2)
        x,of = dls.valid.one_batch()[0].numpy(),known if scale=='var' else samples[2]
        close(x[0,0,:5], (samples[2][0]-of.mean())/of.std(), rtol=1e-5)
        assert (x[0,0,5:]==0).all()

def test_importance(table):
    "Variables are spoiled after scaling: targets keep their scale; and in own units if asked"
    X,y,dls = make(np.nan_to_num(table), 'window')
    learn = Learner(dls, Last(), loss_func=MSELossFlat(), metrics=[mae,unscaled(mae)])
    with learn.no_bar(), learn.no_logging(): want = learn.validate()[1:]
    for i in range(2):
        df = feature_importance(learn, show_chart=False, key_metric_idx=i)
        close(df[df.Feature=='BASELINE'].iloc[0,1], want[i], rtol=1e-4)
        assert abs(df[df.Feature=='var_0'].iloc[0,1]-want[i])>.01*want[i]
        close(df[df.Feature=='var_3'].iloc[0,1], want[i], rtol=1e-4)

@pytest.mark.parametrize('scale', ['var','group','window'])
def test_what_is_known_beforehand(table, scale):
    "A single known step is not scaled by itself, which would make 0 of all prices, whatever the order of the inputs"
    (X,K),y = windows(np.nan_to_num(table), 8, horizon=1, get_x=[0,1], get_y=0, known=[3], groups=IDS)
    rows = np.asarray(X.split_by_time(.8)[1])
    for inputs in ((X,K),(K,X)):
        dls = TSDataLoaders.from_memmap(inputs, y, scale=scale, bs=99)
        xs,yb = b = dls.valid.one_batch()
        k,x = (xs[i] for i in (inputs.index(K),inputs.index(X)))
        mean,std = values(np.nan_to_num(table), 'var' if scale=='window' else scale, X, rows)
        close(k[:,:,0], (K[rows][:,:,0]-mean[:,3:])/std[:,3:], rtol=1e-4, atol=1e-4)
        if scale=='window': close(yb, (y[rows]-X[rows][:,0].mean(1))/X[rows][:,0].std(1), rtol=1e-3, atol=1e-3)
        for got,o in zip(dls.valid.decode(b)[0], inputs, strict=True): close(got, o[rows], rtol=1e-4, atol=1e-2)

@pytest.mark.parametrize('kw', [dict(scale='group', missing='mean'),dict(scale='var', missing='ffill')], ids=str)
def test_importance_by_ablation(table, kw):
    "What takes the place of a variable that is taken away is its mean in scaled numbers"
    X,y,dls = make(np.nan_to_num(table), **kw)
    learn,seen = Learner(dls, Last(), loss_func=MSELossFlat()),[]
    learn.model.register_forward_hook(lambda model, inp, out: seen.append(inp[0][:,0].abs().max()))
    feature_importance(learn, method='ablation', show_chart=False)
    assert min(seen)<.1 and max(seen)<10

def test_half_precision_of_large_numbers():
    "Sums and squares of a window are larger than float16 has numbers"
    a = np.random.default_rng(0).normal(1000, 400, (600,1)).astype('f4')
    X,y = windows(a, 100, horizon=1)
    xb,_ = TSDataLoaders.from_memmap(X, y, scale='window', dtype='float16', bs=10).valid.one_batch()
    rows = np.asarray(X.split_by_time(.8)[1])[:10]
    assert xb.dtype==torch.float16
    close(xb, (X[rows]-X[rows].mean(2, keepdims=True))/X[rows].std(2, keepdims=True), atol=.01)

@pytest.mark.parametrize('sel', [slice(1,2),slice(0,2)], ids=['one variable','two'])
def test_inputs_with_a_mask(table, sel):
    "Variables come back in own units, the channels of the mask as they are"
    a = np.nan_to_num(table)[:,sel]
    a[N-12:N,-1] = a[30,-1] = np.nan
    X,y = windows(a, 8, horizon=2, get_y=0, groups=IDS) if a.shape[1]>1 else windows(a, 8, groups=IDS)
    y = np.zeros(len(X), 'f4') if y is None else y
    dls = TSDataLoaders.from_memmap(X, y, splits=X.split_by_time(.8), scale='var', missing='mask', bs=16)
    learn = Learner(dls, Last(2 if np.ndim(y)>1 else 1), loss_func=MSELossFlat())
    rows = np.asarray(X.split_by_time(.8)[1])
    with learn.no_bar(): inp = learn.get_preds(with_input=True)[0].numpy()
    gaps = np.isnan(X[rows])
    assert gaps.any()
    equal(inp[:,a.shape[1]:], gaps[:,-1:])
    close(inp[:,:a.shape[1]][~gaps], X[rows][~gaps], rtol=1e-4, atol=1e-3)
