"Each task in constant memory: 2 GB on disk, what this process holds while some batches are made, or a pass over 250 MB that is not to be loaded"
import matplotlib; matplotlib.use('agg')
import gc, itertools, json, os, subprocess, sys, traceback, numpy as np, pytest, torch
from pathlib import Path
from tempfile import TemporaryDirectory
from torch import nn
from fastai.callback.core import CancelEpochException, Callback
from fastai.callback.schedule import Learner
from fastai.callback.training import GradientAccumulation
from fastai.data.block import CategoryBlock, MultiCategoryBlock
from fastai.interpret import ClassificationInterpretation
from fastai.learner import load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from tsai.callback.MVP import MVP
from tsai.data.preprocessing import TSStandardize
from tsai.inference import * # get_X_preds
from tsai.learner import ts_learner
from memmap_ts import learn
from memmap_ts.all import *
from memmap_ts.testing import watch_memory
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

V = 12_500 # rows of 20,480 bytes to validate on
tasks = {}
def task(f): tasks[f.__name__] = f; return f

class Net(nn.Module):
    "The smallest model"
    def __init__(self, n): super().__init__(); self.l = nn.Linear(1,n)
    def forward(self, x): return self.l((x if isinstance(x, torch.Tensor) else x[0])[:,0,:1].float())

class Few(Callback):
    def after_batch(self):
        if self.iter==20: raise CancelEpochException()

def loaders(X, y=None, splits=None, **kw):
    n = len(X[0] if isinstance(X, tuple) else X)
    v = min(V, n//2)
    return TSDataLoaders.from_memmap(X, y, bs=64, splits=splits or (slice(n-v),slice(n-v,None)), **kw)

def few(dls, n_out=1, cbs=()):
    "Some batches of training, some of each loader"
    learn = Learner(dls, Net(n_out), loss_func=lambda p,*y: p.mean(), cbs=[Few(),*cbs])
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    for dl in dls:
        for _ in itertools.islice(dl, 20): pass

def classes(X): return np.arange(len(X))%7
def classifier(X, n=7, **kw): return Learner(loaders(X, np.arange(len(X))%n, **kw), Net(n), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
def ends(X): return X[-V:] # more than may be loaded

# ---- targets
@task
def single(X): few(loaders(X, classes(X)))
@task
def names(X): few(loaders(X, np.array(['cat','dog','caterpillar'])[classes(X)%3]))
@task
def multi_label(X): few(loaders(X, (np.arange(7)<=classes(X)[:,None]).astype('u1'), y_block=MultiCategoryBlock(encoded=True, vocab=list('abcdefg'))))
@task
def regression(X): few(loaders(X, classes(X)/7))
@task
def multi_target(X): few(loaders(X, np.stack([classes(X)/7]*3, 1)))
@task
def soft(X): few(loaders(X, np.full((len(X),7), 1/7)))
@task
def forecasting(X): few(loaders(X, X[:,:,480:], sel_steps=slice(480)))
@task
def as_large_as_X(X): few(loaders(X, X))
@task
def dense(X): few(loaders(X, X.view('i4')[:,0], y_block=CategoryBlock)) # 200 MB of labels
@task
def unlabelled(X): few(loaders(X))
@task
def self_supervised(X):
    with TemporaryDirectory() as d:
        l = ts_learner(loaders(X, splits=(slice(99,None),slice(99)), sel_steps=slice(64), partial_n=320), 'InceptionTimePlus', nf=2, cbs=MVP(target_dir=d))
        with l.no_bar(), l.no_logging(): l.fit(1, 1e-3)

# ---- inputs
@task
def several(X): few(loaders((X, np.ones((len(X),5), 'i2'), X[:,:2]), classes(X), dtype=('float32',None,'float16')))
@task
def sel_vars(X): few(loaders(X, classes(X), sel_vars=[9,3,1]))
@task
def sel_steps(X): few(loaders(X, classes(X), sel_steps=np.arange(512)%3==0))
@task
def integers(X): few(loaders(X.view('i2'), classes(X), dtype=None)); few(loaders(X.view('i2'), classes(X)))
@task
def doubles(X): few(loaders(X.view('f8'), classes(X))); few(loaders(X.view('f8'), classes(X), dtype='float64'))
@task
def half(X): few(loaders(X, classes(X), dtype='float16'))
@task
def fitted_transforms(X): few(loaders(X, classes(X), batch_tfms=TSStandardize(by_var=True), splits=(slice(V),slice(V,len(X))) if len(X)>2*V else None))

# ---- windows
def series(X): return X.reshape(-1, 128)
@task
def overlapping(X):
    x,y = windows(series(X), 256, horizon=16)
    few(TSDataLoaders.from_memmap(x, y, bs=64))
@task
def grouped(X):
    a = series(X)
    x,y = windows(a, 256, 16, horizon=16, groups=np.full(40, len(a)//40))
    few(TSDataLoaders.from_memmap(x, y, splits=x.split_by_group(.2, seed=0), bs=64))

# ---- which rows
@task
def at_random(X): few(TSDataLoaders.from_memmap(X, classes(X), valid_pct=.3, seed=0))
@task
def masks(X): few(loaders(X, classes(X), splits=(np.arange(len(X))%2==0, np.arange(len(X))%2==1)))
@task
def several_valid_sets(X): few(loaders(X, classes(X), splits=(range(len(X)//2), range(len(X)//2,len(X)//2+99), list(range(len(X)//2+99,len(X))))))
@task
def partial_n(X): few(loaders(X, classes(X), partial_n=.5))
@task
def weights(X): few(loaders(X, classes(X), weights=np.arange(len(X))+1., partial_n=.5))
@task
def balanced(X): few(loaders(X, classes(X), weights='balanced'))
@task
def sampler(X): few(loaders(X, classes(X), sampler=np.arange(len(X)//2)[::-1]))

# ---- training
@task
def lr_find(X):
    l = classifier(X)
    with l.no_bar(), l.no_logging(): l.lr_find(num_it=30, show_plot=False)
@task
def accumulated(X): few(loaders(X, classes(X)), cbs=[GradientAccumulation(256)])
@task
def exported(X):
    with TemporaryDirectory() as d:
        l = classifier(X, path=d)
        l.export('m.pkl')
        load_learner(Path(d)/'m.pkl').get_X_preds(X[:100])
@task
def validate(X): classifier(X).validate()

# ---- inference
@task
def preds(X): classifier(X).get_preds(with_decoded=True, with_loss=True)
@task
def inputs_of_some(X): l = classifier(X); l.get_preds(dl=l.dls.test_dl(X[:500]), with_input=True, with_decoded=True)
@task
def loaded_for_test(X): l = classifier(X); l.get_preds(dl=l.dls.test_dl(ends(X)), with_decoded=True)
@task
def loaded_anew(X): l = classifier(X); l.get_preds(dl=l.dls.new_dl(ends(X), classes(ends(X))))
@task
def X_preds(X): classifier(X).get_X_preds(ends(X), classes(ends(X)), with_loss=True)
@task
def predict(X): classifier(X).predict(X[0])
def interpret(i):
    i.confusion_matrix(), i.plot_confusion_matrix(plot_txt=False), i.most_confused(), i.print_classification_report()
    i.top_losses(9, items=True), i.plot_top_losses(9), i.show_results([0,1])
@task
def interpretation(X): interpret(ClassificationInterpretation.from_learner(classifier(X)))
@task
def many_classes(X): interpret(learn.ClassificationInterpretation.from_learner(classifier(X, 200))) # fastai's own takes 1.5 GB
@task
def features(X): feature_importance(classifier(X), bs=256, show_chart=False)
@task
def steps(X): step_importance(classifier(X), n_steps=128, bs=256)
@task
def importance_of_new(X): step_importance(classifier(X), ends(X), classes(ends(X)), n_steps=256, bs=256, partial_n=.5, sel_classes=[0,1])
@task
def preds_on_disk(X):
    class Same(nn.Module): # predictions as large as X
        def forward(self, x): return x*2
    with TemporaryDirectory() as d: preds_to_memmap(Learner(loaders(X, classes(X)), Same(), loss_func=nn.MSELoss()), ends(X), Path(d)/'p.npy', progress=False)
@task
def inputs_and_decoded_on_disk(X):
    with TemporaryDirectory() as d: preds_to_memmap(classifier(X), ends(X), {k:Path(d)/f'{k}.npy' for k in ('inputs','preds','decoded')}, progress=False)

# ---- looking
@task
def show_batch(X): dls = loaders(X, classes(X)); dls.show_batch(); dls.valid.show_batch()
@task
def show_results(X): classifier(X).show_results()
@task
def distribution(X): dls = loaders(X, classes(X)); dls.show_dist(); assert dls.cws is not None and dls.class_priors is not None
@task
def described(X): describe(X, classes(X))

def loading(X): X[-V:].sum(); np.array(X[-V:]).sum() # what none of them does

def growth(f, X):
    "Bytes that `f(X)` holds at most, beyond what it needs for a small array"
    f(np.zeros((500,*X.shape[1:]), 'float32'))
    gc.collect()
    return watch_memory(lambda: f(X), .002)[1]

def serve(fn):
    "Answer each name of a task with its growth, measured in a process of its own"
    out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    torch.set_num_threads(1)
    gc.freeze() # what is imported is not looked through in each process
    for name in sys.stdin:
        pid = os.fork()
        if not pid:
            try: answer = dict(grown=growth(tasks.get(name.strip(), loading), open_memmap(fn)))
            except BaseException: answer = dict(error=traceback.format_exc())
            print(json.dumps(answer), file=out, flush=True)
            os._exit(0)
        if code := os.waitpid(pid, 0)[1]: print(json.dumps(dict(error=f'status {code}')), file=out, flush=True)

@pytest.fixture(scope='module')
def server(tmp_path_factory):
    d = tmp_path_factory.mktemp('life')
    assert create_memmap(d/'X.npy', (100_000,10,512)).nbytes>=2e9
    with open(d/'log', 'w') as log, subprocess.Popen([sys.executable, '-W', 'ignore', __file__, d/'X.npy'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=d) as p:
        yield p
        p.stdin.close()
    (d/'X.npy').unlink()

def ask(server, name):
    print(name, file=server.stdin, flush=True)
    answer = json.loads(server.stdout.readline() or '{"error":"the process is gone"}')
    assert 'error' not in answer, answer['error']
    return answer['grown']

linux = pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')

@linux
@pytest.mark.parametrize('name', list(tasks))
def test_2GB(server, name):
    grown = ask(server, name)
    assert grown<200e6, f'{grown/1e6:.0f} MB'

@linux
def test_that_it_would_be_seen(server): assert ask(server, 'loading')>200e6

if __name__=='__main__': serve(sys.argv[1])
