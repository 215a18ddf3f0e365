"Several processes train and evaluate as one does: losses, metrics, predictions, files; what can't be shared is an error"
import os, random, tempfile, warnings
from pathlib import Path
import numpy as np, pytest, torch
from fastai.callback.core import Callback, FetchPredsCallback
from fastai.callback.progress import CSVLogger
from fastai.callback.schedule import Learner # with lr_find
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import ItemGetter, RandomSplitter
from fastai.learner import Metric
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLossFlat, LabelSmoothingCrossEntropyFlat, MSELossFlat
from fastai.metrics import F1Score, F1ScoreMulti, Perplexity, R2Score, accuracy, accuracy_multi, mae, rmse
from fastai.optimizer import SGD, Adam
from fastai.torch_core import set_seed
from torch import nn, tensor
from tsai.data.mixed_augmentation import CutMix1d, MixUp1d
from tsai.inference import * # learn.get_X_preds
from memmap_ts.all import *
from memmap_ts.work import ranks
from ranks import CAN_FORK, on_ranks

pytestmark = pytest.mark.skipif(not CAN_FORK, reason='processes would import everything anew')

def samples(n, seed=0):
    "Three classes, which differ in variable 1"
    X,y = np.random.default_rng(seed).normal(size=(n,3,8)).astype('f4'),np.arange(n)%3
    X[:,1] += y[:,None]
    return X,y

def flat(i, o): return nn.Sequential(nn.Flatten(), nn.Linear(i, o))

def learner(n_valid=10, bs=8, loss_func=None, metrics=accuracy, path='.', n=30, **kwargs):
    "The same in all processes"
    X,y = samples(n+n_valid)
    set_seed(1)
    dls = TSDataLoaders.from_memmap(X, y, splits=(range(n),range(n,n+n_valid)), bs=bs, seed=0, path=path, **kwargs)
    return Learner(dls, flat(24, 3), loss_func=loss_func or CrossEntropyLossFlat(), metrics=metrics, opt_func=SGD)

def weights(learn): return learn.model[1].weight.detach().clone()

def same_as_one(f, *n_ranks):
    "What `f(path)` returns, a folder being given, is the same in one process and in each of several"
    def run(n): return on_ranks(n, f, Path(tempfile.mkdtemp()))
    want, = run(1)
    for n in n_ranks:
        for rank,got in enumerate(run(n)):
            assert list(got)==list(want)
            for k in want: assert_near(got[k], want[k], f'{k} in rank {rank} of {n}')

def assert_near(got, want, where):
    if isinstance(want, (list,tuple)):
        assert len(got)==len(want), where
        for a,b in zip(got, want): assert_near(a, b, where)
    elif want is None or isinstance(want, (str,bool)): assert got==want, where
    else: np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6, err_msg=where)

class Widest(Metric):
    "A metric that is no mean"
    def reset(self): self.m = -np.inf
    def accumulate(self, learn): self.m = max(self.m, learn.to_detach(learn.pred).max().item()-learn.to_detach(learn.y).min().item())
    @property
    def value(self): return self.m

def evaluated(path):
    "Each number of validation rows"
    res,X = {},samples(60)[0]
    for n in range(1, 31):
        bs = [5,7,3,11,64,1 if n<12 else 13][n%6]
        learn = learner(n, bs, CrossEntropyLossFlat(weight=tensor([1.,3,2])), [accuracy,F1Score(average='macro'),Widest(),Perplexity()])
        with distributed(learn), learn.no_bar():
            res[f'validate {n} by {bs}'] = list(learn.validate())
            res[f'get_preds {n} by {bs}'] = [o.numpy() for o in learn.get_preds(with_input=True, with_decoded=True, with_loss=True)]
            if n%10: continue
            res[f'training set {n}'] = [o.numpy() for o in learn.get_preds(ds_idx=0)]
            res[f'get_X_preds {n}'] = learn.get_X_preds(X[:n], bs=bs)[0].numpy()
            res[f'shuffled {n}'] = [o.numpy() for o in learn.get_preds(dl=learn.dls.valid.new(shuffle=True, seed=3))]
            res[f'predict {n}'] = [o.numpy() for o in learn.predict(learn.dls.valid_ds[0][0])[1:]]
            res[f'a batch {n}'] = learn.dls.valid.one_batch()[1].numpy()
        res[f'after {n}'] = [*learn.validate(),len(learn.get_preds()[0])]
    return res

def test_evaluation_is_that_of_one_process(): same_as_one(evaluated, 2, 3)

def kinds(path):
    "Regression, several labels, forecasts, several inputs"
    X,y = samples(40)
    res,series = {},np.random.default_rng(0).normal(size=(90,2)).astype('f4')
    class Two(nn.Module):
        def __init__(self): super().__init__(); self.m = flat(24, 3)
        def forward(self, x): return self.m(x[0])+x[1].mean((1,2))[:,None]
    labels = [['a','b','c'][:1+i] for i in y]
    for name,X_,y_,model,loss_func,metrics in [
        ('regression',X,X[:,0,0],flat(24, 1),MSELossFlat(),[rmse,mae,R2Score()]),
        ('labels',X,labels,flat(24, 3),BCEWithLogitsLossFlat(),[accuracy_multi,F1ScoreMulti()]),
        ('forecasts',*windows(series, 8, horizon=3, get_y=0),flat(16, 3),MSELossFlat(),[mae]),
        ('inputs',(X,X[:,:1]),y,Two(),CrossEntropyLossFlat(),[accuracy])]:
        set_seed(0)
        dls = TSDataLoaders.from_memmap(X_, y_, bs=7, val_bs=5, seed=0)
        learn = Learner(dls, model, loss_func=loss_func, metrics=metrics)
        for p in model.parameters(): nn.init.normal_(p, std=.1)
        with distributed(learn), learn.no_bar():
            learn.fit(1, 1e-3)
            preds,targs,losses = learn.get_preds(with_loss=True)
            inputs = learn.get_preds(with_input=True)[0]
            inputs = inputs if isinstance(inputs, tuple) else (inputs,)
            res[name] = [*learn.recorder.values[-1],*learn.validate(),*(o.numpy() for o in (preds,targs,losses,*inputs))]
    return res

def test_kinds_of_targets(): same_as_one(kinds, 2, 3)

def values(learn): return [*map(list, learn.recorder.values),weights(learn).numpy()]
def found(learn):
    before = weights(learn)
    found = learn.lr_find(show_plot=False, num_it=20)
    assert torch.equal(weights(learn), before)
    return [found.valley,*map(float, learn.recorder.losses),*map(float, learn.recorder.lrs)]

def fits(path):
    "Callbacks, losses and schedules"
    res = {}
    def fit(name, f, **kwargs):
        learn = learner(path=path, **kwargs)
        with distributed(learn), learn.no_bar(), learn.no_logging(): got = f(learn)
        res[name] = [got if name=='lr_find' else None,*values(learn)]
        return learn
    def plain(learn): learn.fit(2, 1e-2)
    fit('lr_find', lambda learn: (found(learn),learn.fit(1, 1e-2))[0])
    fit('fine_tune', lambda learn: learn.fine_tune(2, 1e-2))
    fit('save', lambda learn: learn.fit(3, 1., cbs=SaveModelCallback()))
    fit('stop', lambda learn: learn.fit(6, 3., cbs=[EarlyStoppingCallback(),ReduceLROnPlateau()]))
    fit('fetch', lambda learn: learn.fit(2, 1e-2, cbs=FetchPredsCallback(with_input=True)))
    fit('accumulate', lambda learn: learn.fit(2, 1e-2, cbs=[GradientAccumulation(20),GradientClip(.1)]))
    fit('train_metrics', lambda learn: (setattr(learn.recorder, 'train_metrics', True),plain(learn)), metrics=[accuracy,F1Score(average='macro')])
    for name,f in dict(total=CrossEntropyLossFlat(reduction='sum'), no_weight=CrossEntropyLossFlat(weight=tensor([1.,1,0])),
                       ignored=CrossEntropyLossFlat(ignore_index=2), smooth=LabelSmoothingCrossEntropyFlat(), focal=FocalLossFlat()).items():
        fit(name, plain, loss_func=f, bs=5, drop_last=False)
    learn = fit('csv', lambda learn: learn.fit(2, 1e-2, cbs=CSVLogger()))
    ranks.from_all(0) # rank 0 has written it
    res['csv file'] = len((learn.path/'history.csv').read_text().splitlines())
    return res

def test_callbacks_and_losses(): same_as_one(fits, 2, 3)

def any_sizes(path):
    "Random numbers of rows and sizes of batch, fewer rows than processes among them"
    res,rng = {},np.random.default_rng(0)
    for n,bs,drop in zip(rng.integers(3, 20, 12).tolist(), rng.integers(1, 12, 12).tolist(), [True,False]*6):
        learn = learner(3, bs, n=n, drop_last=drop)
        with distributed(learn), learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, .1)
        res[f'{n} rows by {bs}, {drop}'] = [*values(learn),*map(float, learn.recorder.losses)]
    return res

def test_any_number_of_rows_trains(): same_as_one(any_sizes, 2, 4)

def looked_at(path):
    "Files, tables, interpretation"
    learn,(X,y),res = learner(),samples(37, 3),{}
    with distributed(learn), learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
        for bs in (1,8,64): res[f'preds {bs}'] = np.array(preds_to_memmap(learn, X, path/f'{bs}.npy', bs=bs))
        files = preds_to_memmap(learn, X, {k:path/f'{k}.npy' for k in ('preds','inputs','decoded')}, bs=7)
        res['kinds'] = [np.array(o) for o in files.values()]
        res['importance'] = feature_importance(learn, save_df_path=path/'table').iloc[:,1].tolist()
        res['table'] = (path/'table.csv').exists()
        res['ablation'] = feature_importance(learn, X, y, show_chart=False, key_metric_idx=None, method='ablation', partial_n=20).iloc[:,1].tolist()
        res['steps'] = step_importance(learn, show_chart=False, bs=4).iloc[:,1].tolist()
        interp = ClassificationInterpretation.from_learner(learn)
        res['interpretation'] = [interp.confusion_matrix(),*(o.numpy() for o in interp.top_losses(4))]
        interp.plot_top_losses(3)
        for shuffle in (True,False): learn.show_results(shuffle=shuffle)
    return res

def test_what_is_asked_of_a_model(): same_as_one(looked_at, 2, 3)

def forecasts(path):
    "Predictions, inputs and metrics in units of their own: each process knows the scale of its samples"
    a,res = np.random.default_rng(0).normal(size=(120,3)).astype('f4'),{}
    a[60:] *= 1000
    X,y = windows(a, 8, horizon=1, get_y=[2,0], groups=[60,60])
    for scale in ('group','window'):
        set_seed(1)
        dls = TSDataLoaders.from_memmap(X, y, scale=scale, bs=8, seed=0, path=path)
        learn = Learner(dls, flat(24, 2), loss_func=MSELossFlat(), metrics=[mae,unscaled(mae),unscaled(R2Score())], opt_func=SGD)
        with distributed(learn), learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-2)
            res[scale] = [*values(learn),*(o.numpy()/1000 for o in learn.get_preds(with_input=True, with_loss=True))]
            files = {k:path/f'{scale} {k}.npy' for k in ('preds','inputs')}
            res[scale] += [np.array(o)/1000 for o in preds_to_memmap(learn, X[50:70], files, bs=8, progress=False).values()]
            res[scale] += feature_importance(learn, show_chart=False, key_metric_idx=1).iloc[:,1].tolist()
    return res

def test_units_of_their_own(): same_as_one(forecasts, 2)

class Stops(nn.Module):
    "A model that is stopped at its fourth batch"
    n = 0
    def __init__(self, model): super().__init__(); self.model = model
    def forward(self, x):
        self.n += 1
        if self.n>3: raise KeyboardInterrupt
        return self.model(x)

def stopped(path):
    "A run of predictions that is stopped, refused, goes on; one whose disk is full"
    learn,X,res = learner(),samples(37, 3)[0],{}
    def preds(name, X=X): return preds_to_memmap(learn, X, path/name, bs=8, progress=False)
    model = learn.model
    with distributed(learn):
        learn.model = Stops(model)
        try: preds('a.npy')
        except KeyboardInterrupt: pass
        ranks.from_all(0)
        learn.model = model
        res['left'] = [(path/'a.npy').exists(),(path/'a.npy.part').exists()]
        try: preds('a.npy', X+1)
        except ValueError as e: res['of another X'] = str(e).split('.part')[1]
        res['gone on'] = np.array(preds('a.npy'))
        try: preds('a.npy')
        except FileExistsError: res['there'] = True
        if not ranks.rank(): (path/'locked').write_text('a file, no folder')
        ranks.from_all(0)
        try: preds('locked/b.npy')
        except OSError as e: res['no folder'] = type(e).__name__
    return res

def test_predictions_that_were_stopped(): same_as_one(stopped, 2)

def said(f):
    "The error of `f`, or else its warnings that are about processes"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try: f()
        except Exception as e: return f'{type(e).__name__}: {e}'
    return ' '.join(str(o.message) for o in caught if 'process' in str(o.message))

class Unrepeated(torch.utils.data.Sampler):
    def __iter__(self): return iter(torch.randperm(20).tolist())
    def __len__(self): return 20

class Doubles(Callback):
    def before_batch(self): self.learn.xb,self.learn.yb = [(torch.cat([b[0]]*2),) for b in (self.xb,self.yb)]

def refused():
    "What is said in each process"
    from accelerate import Accelerator
    import fastai.distributed # noqa: F401 (learn.distrib_ctx)
    (X,y),rank,res = samples(40),int(os.environ['RANK']),{}
    for f in (np.random.seed,torch.manual_seed,random.seed): f(rank+1)
    def dls(seed=0, **kwargs): return TSDataLoaders.from_memmap(X, y, bs=8, seed=seed, **kwargs)
    def block(splitter):
        return DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=splitter).dataloaders((X,y), bs=8)
    def use(loaders, f=lambda learn: None, **kwargs):
        learn = Learner(loaders, flat(24, 3), **{'loss_func':CrossEntropyLossFlat(), **kwargs})
        def run():
            with distributed(learn), learn.no_bar(), learn.no_logging(): f(learn)
        res_ = said(run)
        assert type(learn.model) is nn.Sequential # whatever has happened
        return res_
    res['split'] = use(dls(None))
    res['RandomSplitter'] = use(block(RandomSplitter()))
    res['seeded'] = use(block(RandomSplitter(seed=1)))
    res['sampler'] = use(dls(sampler=Unrepeated()))
    res['sampler in one'] = use(dls(sampler=Unrepeated() if rank else None))
    res['loader'] = use(DataLoaders(*[torch.utils.data.DataLoader([1,2])]*2))
    res['doubles'] = use(dls(), lambda learn: learn.fit(1, cbs=Doubles()))
    res['other X'] = use(dls(), lambda learn: learn.get_X_preds(X[:10+rank]))
    res['of one line'] = use(dls(), lambda learn: learn.fit(1), loss_func=lambda p,y: p.mean())
    res['no mean'] = use(dls(), lambda learn: learn.fit(1), loss_func=lambda p,y: p.abs().max())
    def theirs(f):
        learn = Learner(dls(), flat(24, 3), loss_func=CrossEntropyLossFlat())
        with learn.no_bar(), learn.distrib_ctx(cpu=True): f(learn)
    res['distrib_ctx'] = said(lambda: theirs(lambda learn: learn.fit(1)))
    res['its predictions'] = said(lambda: theirs(lambda learn: learn.get_preds()))
    res['accelerate'] = said(lambda: [*Accelerator(cpu=True).prepare(dls().train)])
    return res

def test_what_cannot_be_shared_is_said_in_all_processes():
    for res in on_ranks(2, refused):
        for k in ('split','RandomSplitter'): assert 'ValueError: process 1' in res[k] and 'random split without a seed' in res[k]
        assert res['seeded']==res['of one line']==''
        for k in ('sampler','sampler in one'): assert 'function of a NumPy random generator' in res[k]
        assert 'TypeError: DataLoader is not a loader of this package' in res['loader']
        assert '8 samples where the loader has given 4' in res['doubles']
        assert 'process 1 goes through 11 samples' in res['other X']
        assert 'no mean over samples' in res['no mean']
        for k in ('distrib_ctx','its predictions'): assert 'in place of `learn.distrib_ctx()`' in res[k]
        assert '`with distributed(learn):` shares them out' in res['accelerate']

def one_after_another():
    "Whatever was done before or went wrong between, all processes have one model"
    rank,learn = int(os.environ['RANK']),learner()
    learn.opt_func = Adam
    learn.create_opt()
    with learn.no_bar(), learn.no_logging():
        for _ in range(2-2*rank): list(learn.dls.train) # rank 0 goes ahead
        with distributed(learn):
            learn.fit(1, 1e-2)
            for state in learn.opt.state.values(): # what another seed of dropout would do
                for o in state.values():
                    if isinstance(o, torch.Tensor): o.add_(rank)
        class Stop(Callback):
            def after_pred(self):
                if self.iter==2: raise KeyboardInterrupt
        with distributed(learn):
            try: learn.fit(1, cbs=Stop())
            except KeyboardInterrupt: pass
            with distributed(learn): learn.fit(1, 1e-2) # as in a function that is called here
            for cb in (None,MixUp1d(),CutMix1d()): learn.fit(1, 1e-2, cbs=cb)
            made,epoch = learn.dls.valid.new(shuffle=True),learn.dls.train.epoch
            res = [weights(learn).tolist(),made.get_idxs()[:].tolist(),epoch]
        return res,len(learn.get_preds(dl=made)[0]),torch.isfinite(weights(learn)).all().item()

def test_processes_stay_alike():
    first,*others = on_ranks(2, one_after_another)
    assert all(o==first for o in others) and first[1:]==(10,True)
    assert first[0][2]==2+1+1+1+3 # epochs
