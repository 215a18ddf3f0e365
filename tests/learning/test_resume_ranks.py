"A run of several processes is stopped, and goes on with another number of them"
import signal, numpy as np, pytest, torch
from functools import partial
from fastai.basics import Learner, mae
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger
from fastai.losses import MSELossFlat
from fastai.optimizer import SGD
from memmap_ts.all import *
from memmap_ts.work import ranks
from ranks import CAN_FORK, on_ranks

pytestmark = pytest.mark.skipif(not CAN_FORK, reason='processes are forked here')
rng = np.random.default_rng(0)
X,y = rng.normal(size=(47,2,6)).astype('f4'),np.arange(47, dtype='f4')/47 # a target tells its row
splits = list(range(38)),list(range(38,47))

class Stopped(Exception): "What stops a run"

class Stops(Callback):
    "Notes the global batches, and stops when batch `at` is done"
    order = 200
    def __init__(self, at): self.at,self.batches = at,[]
    def after_batch(self):
        if not self.training: return
        self.batches.append(sorted(self.yb[0].tolist()))
        if len(self.batches)==self.at: raise Stopped('here')

def learner(folder, bs=8):
    "A learner as a script makes it anew, with random states of its own"
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12,6), torch.nn.Tanh(), torch.nn.Linear(6,1), torch.nn.Flatten(0))
    dls = TSDataLoaders.from_memmap(X, y, splits=splits, bs=bs, seed=1, drop_last=False, path=folder)
    return Learner(dls, model, MSELossFlat(), opt_func=partial(SGD, mom=.9), metrics=mae, train_bn=False)

def run(folder, at=None, bs=8):
    "Losses, values, weights and the global batches; the batches alone if it was stopped"
    learn,stops = learner(folder, bs),Stops(at)
    with distributed(learn), learn.no_bar():
        try: learn.fit_one_cycle(2, 1e-2, cbs=[ResumeCallback(every=1), CSVLogger(), stops])
        except Stopped: return stops.batches
    r = learn.recorder
    weights = torch.cat([p.detach().flatten() for p in learn.model.parameters()]).numpy()
    return np.array([float(o) for o in r.losses]),np.array(r.values, dtype=float),weights,stops.batches

def same(a, b):
    for p,q in zip(a[:3], b[:3]): np.testing.assert_allclose(p, q, rtol=2e-5, atol=1e-6)

def test_4_2_3(tmp_path):
    whole = run(tmp_path/'whole')
    folder = tmp_path/'parts'
    batches = []
    for n_ranks,at in ((4,2), (2,5)):
        stopped = on_ranks(n_ranks, run, folder, at)
        assert all(o==stopped[0] for o in stopped)
        batches += stopped[0]
    results = on_ranks(3, run, folder)
    for res in results: same(res, whole)
    assert batches+results[0][3]==whole[3] # no batch twice, none left out, each as in one process
    lines = (folder/'history.csv').read_text().splitlines()
    assert [o.split(',')[0] for o in lines]==['epoch','0','1']
    assert not list((folder/'models').iterdir())

def test_another_global_batch(tmp_path):
    on_ranks(2, run, tmp_path, 2)
    with pytest.warns(RuntimeWarning, match='begin with the next epoch'): res = run(tmp_path, bs=4)
    assert len(res[3])==10 # of the second epoch

def refused(folder):
    "What each process is told of a checkpoint that is of something else"
    learn = learner(folder)
    with distributed(learn), learn.no_bar():
        try: learn.fit(2, 3e-2, cbs=ResumeCallback())
        except ValueError as e: return str(e)

def test_refused_by_all(tmp_path):
    on_ranks(2, run, tmp_path, 2)
    first,second = on_ranks(2, refused, tmp_path)
    assert first==second and 'schedule' in first and 'delete the file' in first

def signalled(folder, at):
    "Rank 1 gets a signal in batch `at`; the batches that were done when it took effect here"
    def stop(number, frame): raise Stopped('here')
    signal.signal(signal.SIGTERM, stop)
    learn,stops = learner(folder),Stops(None)
    def kill(self):
        if ranks.rank() and self.training and len(stops.batches)==at: signal.raise_signal(signal.SIGTERM)
    with distributed(learn), learn.no_bar():
        try: learn.fit_one_cycle(2, 1e-2, cbs=[ResumeCallback(), CSVLogger(), stops, Callback(after_pred=kill)])
        except Stopped: return stops.batches

def test_a_signal_of_one_is_a_signal_of_all(tmp_path):
    "and takes effect in all after the same batch, of which there is a checkpoint"
    whole = run(tmp_path/'whole')
    folder = tmp_path/'stopped'
    first,second = on_ranks(2, signalled, folder, 3)
    assert first==second and len(first)==3 # the callback that counts comes after the one that stops
    rest = run(folder)
    same(rest, whole)
    assert first+rest[3]==whole[3][:3]+whole[3][4:]
