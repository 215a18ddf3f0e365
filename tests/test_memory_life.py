"Each task in constant memory: 2 GB on disk, some batches, what this process holds"
import subprocess, sys, textwrap, pytest
from memmap_ts.all import *

code = '''
    import itertools, sys, numpy as np, torch
    import matplotlib; matplotlib.use('agg')
    from torch import nn
    from fastai.callback.schedule import Learner
    from fastai.callback.core import CancelEpochException, Callback
    from fastai.data.block import CategoryBlock
    from fastai.losses import CrossEntropyLossFlat
    from memmap_ts.all import *
    from memmap_ts.learn import feature_importance, step_importance
    from memmap_ts.cli import anon_memory
    torch.set_num_threads(1)
    path,*tasks = sys.argv[1:]
    peak = []
    class Net(nn.Module):
        def __init__(self, n): super().__init__(); self.l = nn.Linear(1,n)
        def forward(self, x): return self.l(x[:,0,:1] if isinstance(x, torch.Tensor) else x[0][:,0,:1])
    class Few(Callback):
        def after_batch(self):
            peak.append(anon_memory())
            if self.iter==20: raise CancelEpochException()
    def make(X, n, what):
        y,kw,c = np.arange(n)%7,{},7
        if what=='dense': y,kw = np.zeros((n,3), int)+np.arange(n)[:,None]%7,dict(y_block=CategoryBlock)
        if what=='y_as_X': y,c = X[:,:2],1
        if what=='unlabelled': y,c = None,1
        if what=='sel': kw = dict(sel_vars=[9,3,1], sel_steps=slice(0,500,2))
        if what=='weights': kw = dict(weights='balanced', partial_n=.5)
        if what=='inputs': X = X,X[:,0]
        return TSDataLoaders.from_memmap(X, y, bs=64, splits=(slice(n//2),slice(n//2,None)), **kw),c
    def go(X, n, what):
        dls,c = make(X, n, what)
        learn = Learner(dls, Net(c), loss_func=lambda p,*y: p.mean(), cbs=Few())
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        for dl in dls:
            for b in itertools.islice(dl, 20): peak.append(anon_memory())
        if what=='dist': dls.cws, dls.class_priors, dls.show_dist()
        if what=='importance': learn.loss_func = CrossEntropyLossFlat(); feature_importance(learn, partial_n=500, show_chart=False); step_importance(learn, n_steps=256, partial_n=500, show_chart=False)
        peak.append(anon_memory())
    small = np.random.default_rng(0).random((1000,10,512), 'float32')
    X = open_memmap(path+'/X.npy')
    for what in tasks:
        go(small, 1000, what) # what is loaded once, whatever the data
        start,peak[:] = anon_memory(),[0]
        go(X, len(X), what)
        print()
        print(what, max(peak)-start)
'''

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells anonymous memory (RssAnon)')
def test_2GB(tmp_path):
    tasks = 'single dense y_as_X unlabelled sel weights inputs dist importance'.split()
    X = create_memmap(tmp_path/'X.npy', (100_000,10,512))
    assert X.nbytes>=2e9
    (tmp_path/'run.py').write_text(textwrap.dedent(code))
    r = subprocess.run([sys.executable, '-W', 'ignore', tmp_path/'run.py', tmp_path, *tasks], capture_output=True, text=True, timeout=300)
    assert r.returncode==0, r.stderr
    used = {l.split()[0]:int(l.split()[1]) for l in r.stdout.splitlines() if l.split()[:1] and l.split()[0] in tasks}
    assert list(used)==tasks and max(used.values())<200e6, used
