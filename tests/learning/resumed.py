"Small runs that are stopped somewhere, and go on"
import random, signal, warnings
import numpy as np, torch
from torch import nn
from fasttransform import ItemTransform
from fastai.basics import *
from fastai.callback.progress import * # no_bar
from fastai.callback.schedule import * # fit_one_cycle, …
from fastai.metrics import accuracy
from tsai.utils import rng as tsai_rng
from memmap_ts.all import *

torch.set_num_threads(1)

X = np.random.default_rng(0).normal(size=(22,2,6)).astype('f4')
y = np.array(['a','b'])[np.arange(22)%2]
splits = range(12),range(12,22)

class Small(nn.Module):
    "A few weights, batch norm and dropout"
    def __init__(self):
        super().__init__()
        self.body,self.head = nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Dropout(.3)),nn.Linear(4, 2)
    def forward(self, x): return self.head(self.body(x.flatten(1)))

class NoisyItems(ItemTransform):
    def encodes(self, o): return o[0]+random.random()*np.random.rand(),o[1]

class Noise(ItemTransform):
    "Differs from batch to batch"
    split_idx,magnitude = 0,1.
    def encodes(self, o): return o[0]+self.magnitude*torch.rand_like(o[0]),*o[1:]

class Own:
    def __len__(self): return 10
    def __call__(self, rng): return rng.integers(0, 12, 10)

class Thaws(Callback):
    "Between the epochs: is called where the first one is skipped, too"
    def before_epoch(self):
        if self.epoch==1: self.learn.unfreeze()

class ThawsAtTheEnd(Callback):
    "Of the first epoch: is not called where that is skipped"
    def after_epoch(self):
        if self.epoch==0: self.learn.unfreeze()

class OwnState(Callback):
    "Has a state, of which the loss depends"
    def before_fit(self): self.n = 0
    def after_pred(self): self.learn.pred = self.pred*(1+.01*self.n)
    def after_batch(self): self.n += self.training
    def state_dict(self): return dict(n=self.n)
    def load_state_dict(self, state): self.n = state['n']

class MeanLoss(Metric):
    "Has no value before the first batch"
    def reset(self): self.total,self.count = 0.,0
    def accumulate(self, learn): self.total,self.count = self.total+learn.loss.item(),self.count+1
    @property
    def value(self): return self.total/self.count

class Skips(Callback):
    "The optimizer moves a part of the weights that has no gradient in some batches"
    def after_loss(self):
        if self.training and self.train_iter%3: self.learn.loss_grad = self.model.head.bias.sum()

def one_cycle(learn, cbs): learn.fit_one_cycle(2, 1e-2, cbs=cbs)
def plain(learn, cbs): learn.fit(2, 1e-2, cbs=cbs)
def plain3(learn, cbs): learn.fit(3, 1e-2, cbs=cbs)
def plain4(learn, cbs): learn.fit(4, 1e-2, cbs=cbs)
def split_in_two(model): return [params(model.body),params(model.head)]
def sgd(params, lr): return OptimWrapper(params, torch.optim.SGD, lr=lr, momentum=.9)
def frozen(learn): learn.freeze()

class Case:
    "A small run; what it is made of is made anew each time"
    def __init__(self, fit=one_cycle, cbs=lambda: [], data=dict, dls=None, prepare=noop, model=Small, metrics=accuracy, **learner):
        self.fit,self.cbs,self.data,self.own_dls,self.prepare,self.model = fit,cbs,data,dls,prepare,model
        self.learner_args = dict(metrics=metrics, loss_func=CrossEntropyLossFlat(), splitter=split_in_two)|learner

    def dls(self, folder):
        if self.own_dls: return self.own_dls(folder)
        return TSDataLoaders.from_memmap(X, y, **dict(splits=splits, bs=4, seed=1)|self.data())

    def learner(self, folder, scramble=0, bar=False):
        "A learner as if in a new process, where other random numbers were drawn"
        set_seed(0)
        learn = Learner(self.dls(folder), self.model(), path=folder, **self.learner_args)
        self.prepare(learn)
        for f in (random.seed,np.random.seed,torch.manual_seed): f(scramble)
        tsai_rng.bit_generator.state = np.random.default_rng(scramble).bit_generator.state
        learn.rows,learn.stopped = [],False
        if not bar: learn.logger = lambda row: learn.rows.append(list(row)[:-1])
        return learn

    def run(self, folder, *cbs, scramble=0):
        "The learner of a run"
        learn = self.learner(folder, scramble)
        with learn.no_bar(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try: self.fit(learn, [*L(self.cbs()), *cbs])
            except (Stopped,KeyboardInterrupt): learn.stopped = True
        return learn

class Stopped(Exception): pass

class StopAt(Callback):
    "Stops the run at the `k`-th event; by Ctrl-C before, or an error after the others had their turn"
    def __init__(self, k, how='error'):
        self.left,self.how,self.order = k,how,101 if how=='error' else 0
    def event(self):
        self.left -= 1
        if self.left: return
        if self.how=='error': raise Stopped('here')
        signal.raise_signal(signal.SIGINT)
    before_train = after_batch = before_validate = after_epoch = after_fit = event

def plain_values(o):
    "Nested lists that can be compared"
    if isinstance(o, torch.Tensor): return o.tolist()
    if isinstance(o, dict): return {k: plain_values(v) for k,v in o.items()}
    return [plain_values(v) for v in o] if isinstance(o, (list,tuple,L)) else o

def outcome(learn):
    "All that a run leaves"
    r = learn.recorder
    return plain_values(dict(losses=r.losses, lrs=r.lrs, iters=r.iters, values=r.values, hps=getattr(r, 'hps', None), rows=learn.rows,
                             weights=dict(learn.model.state_dict()), opt=learn.opt.state_dict(), last=learn.final_record))

def assert_same(learn, want, where=''):
    got = outcome(learn)
    for name in want: assert got[name]==want[name], f'{name} at {where}'

MODES = dict(each_batch=('error', dict(every=1)), each_second=('error', dict(every=2)), signal=('signal', dict(minutes=None)))

def stopped_everywhere(case, folder, mode, every=1):
    "Stop at each step, or each second one, go on in another run, compare"
    how,kw = MODES[mode]
    count = StopAt(0)
    want = outcome(case.run(folder/'whole', count))
    n_events = -count.left
    assert n_events>10
    for k in range(1, n_events+1, every):
        first = case.run(folder/f'{k}', ResumeCallback('run', **kw), StopAt(k, how))
        assert first.stopped
        is_saved = (folder/f'{k}'/'models'/'run.pth').exists() # else it is a run that begins anew
        again = case.run(folder/f'{k}', ResumeCallback('run', **kw), scramble=k if is_saved else 0)
        assert_same(again, want, f'event {k}')
        assert not list((folder/f'{k}').rglob('run.pth*'))
