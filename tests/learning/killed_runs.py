"""
Small runs that are killed at every step, and go on.

`python killed_runs.py FOLDER EVERY STRIDE` prints how many, and every fault; with a stride of 2 every second step is left out. The children are forked from one process that has
imported all. Each run is killed at its k-th step, goes on, is killed again some steps later, and goes on to its end.
"""
import gc, json, os, random, signal, sys, warnings
import numpy as np, torch
from pathlib import Path
from torch import nn
from fastai.basics import *
from fastai.callback.progress import * # no_bar
from fastai.callback.schedule import * # fit_one_cycle
from fastai.callback.tracker import SaveModelCallback
from memmap_ts.items import itemify
from memmap_ts.learning import checkpoint
from memmap_ts.load import MemmapDL
from memmap_ts.resume import ResumeCallback

X = np.random.default_rng(0).normal(size=(18,1,4)).astype('f4')
y = X.mean((1,2))

class Dies:
    "Kills the process at the `k`-th step"
    def __init__(self, k, how=signal.SIGKILL): self.left,self.how = k,how
    def step(self, *args):
        self.left -= 1
        if not self.left: os.kill(os.getpid(), self.how)

class Events(Callback):
    "Each event of the loop is a step, before the others have had their turn, or after"
    def __init__(self, dies, order): self.dies,self.order = dies,order
    def event(self): self.dies.step()
    before_fit = after_batch = before_validate = after_epoch = after_fit = event

def between(dies):
    "Steps in the midst of writing a checkpoint: half of it, before its rename, after it"
    write_all,replace = checkpoint.write_all,os.replace
    def half(f, data):
        if len(data)>200: # the pickle
            write_all(f, data[:100])
            dies.step()
            data = data[100:]
        write_all(f, data)
    def renamed(*args):
        dies.step()
        replace(*args)
        dies.step()
    checkpoint.write_all,os.replace = half,renamed

class Model(nn.Module):
    def __init__(self, dies): super().__init__(); self.a,self.b,self.dies = nn.Dropout(.3),nn.Linear(4, 1),dies
    def forward(self, x):
        if self.dies.how!=signal.SIGKILL: self.dies.step() # a signal that can wait, in the midst of a batch
        return self.b(self.a(x.flatten(1)))

def train(folder, every, dies):
    "A run of two epochs, from its beginning or from where it was; what it leaves"
    set_seed(0)
    dls = DataLoaders(*[MemmapDL(itemify(X[rows], y[rows]), bs=4, shuffle=rows.start==0, seed=1) for rows in (slice(0,12),slice(12,18))], path=folder)
    learn = Learner(dls, Model(dies), loss_func=MSELossFlat(), cbs=SaveModelCallback(fname='best'))
    is_kill = dies.how==signal.SIGKILL
    if is_kill: between(dies)
    cbs = [ResumeCallback('run', every=every, minutes=None), *([Events(dies, 99), Events(dies, 101)] if is_kill else [])]
    if (folder/'models'/'run.pth').exists():
        for f in (random.seed,np.random.seed,torch.manual_seed): f(99)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-2, cbs=cbs)
    r = learn.recorder
    return dict(losses=[float(o) for o in r.losses], lrs=[float(o) for o in r.lrs], values=[[float(v) for v in o] for o in r.values],
                weights=[o.tolist() for o in learn.model.state_dict().values()], left=sorted(p.name for p in (folder/'models').iterdir()))

def child(folder, every, k, how=signal.SIGKILL):
    "Train in another process; its exit status, how many steps it did not need, and what it left"
    ours,its = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1) # fastai prints
            dies = Dies(k, how)
            res = train(folder, every, dies)
            os.write(its, json.dumps([dies.left,res]).encode())
            status = 0
        except KeyboardInterrupt: status = 2
        finally: os._exit(status)
    os.close(its)
    with os.fdopen(ours, 'rb') as f: text = f.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),*(json.loads(text) if text else (None,None))

def killed(folder, every, stride):
    "At every step, and once more some steps later"
    status,left,whole = child(folder/'whole', every, -1)
    n_steps = -1-left
    yield f'{n_steps} steps' if not status and n_steps>30 else f'FAULT: {status}, {n_steps} steps'
    for k in range(1, n_steps+1, stride):
        f = folder/f'{k}'
        status = child(f, every, k)[0],child(f, every, k%7+1)[0] # 1: at once
        last,_,res = child(f, every, -1)
        if status[0]!=-signal.SIGKILL or status[1] not in (-signal.SIGKILL,0) or last: yield f'FAULT: killed at {k}: {status}, {last}'
        if res!=whole: yield f'FAULT: killed at {k}: {[o for o in whole if res is None or res[o]!=whole[o]]}'

def told(folder):
    "SIGTERM and Ctrl-C in the midst of a batch: a checkpoint of that moment, and their usual effect"
    whole = child(folder/'w', None, -1)[2]
    every_batch,some = range(1, 11),(2,5) # of training and validation; Ctrl-C has its tests within one process
    for how,status,steps in ((signal.SIGTERM,-signal.SIGTERM,every_batch), (signal.SIGINT,2,some)):
        for k in steps:
            f = folder/f'{how}{k}'
            got = child(f, None, k, how)[0]
            place = checkpoint.read_checkpoint(f/'models'/'run.pth')['place'][:3] if (f/'models'/'run.pth').exists() else None
            epoch,batch = divmod(k-1, 5)
            if (got,place)!=(status,('train',epoch,batch+1) if batch<3 else ('validate',epoch,0)): yield f'FAULT: {how} at {k}: {got}, {place}'
            res = child(f, None, -1)[2]
            if res!=whole: yield f'FAULT: {how} at {k}'
    yield 'told'

if __name__=='__main__':
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    gc.freeze() # or each child goes through all that was imported, and copies it by that
    folder,every,stride = Path(sys.argv[1]),int(sys.argv[2]),int(sys.argv[3])
    for line in (killed(folder, every, stride) if every else told(folder)): print(line, flush=True)
