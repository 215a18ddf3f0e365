"`ResumeCallback` as users call it: what it says, refuses, and leaves alone"
import os, re, signal, subprocess, sys, threading
import numpy as np, pytest, torch
from pathlib import Path
from torch import nn
from torch.utils.data import SubsetRandomSampler
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger
from fastai.callback.schedule import Learner
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import RAdam, SGD
from tsai.data.mixed_augmentation import MixUp1d
from tsai.learner import ts_learner
from harness import long_or
from memmap_ts.all import *
from memmap_ts.learning import checkpoint
from memmap_ts.learning.checkpoint import read_checkpoint
from resumed import Case, Small, StopAt, Stopped, X, assert_same, one_cycle, outcome, plain, plain_values, splits, y

FILE = Path('models')/'run.pth'

def stop(case, folder, k=3, how='signal', **kw):
    "A run that is stopped at event `k`, and has left a checkpoint"
    learn = case.run(folder, ResumeCallback('run', **(dict(minutes=None)|kw)), StopAt(k, how))
    assert learn.stopped and (folder/FILE).exists()
    return learn

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
@pytest.mark.parametrize('every,stride', [(1,1),(3,long_or(1, 3)),(0,1)])
def test_killed(every, stride, tmp_path):
    "SIGKILL at every step, in the midst of a checkpoint too, and again; every=0: signals that can wait"
    script = [sys.executable, '-W', 'ignore', str(Path(__file__).with_name('killed_runs.py')), str(tmp_path), str(every), str(stride)]
    said = subprocess.run(script, capture_output=True, text=True, timeout=900)
    assert re.fullmatch(r'\d\d steps\n|told\n', said.stdout) and not said.returncode, said.stdout+said.stderr

class Wider(Small):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

def small(X=X, splits=splits, **kw):
    "Loaders of other data"
    return Case(dls=lambda folder: TSDataLoaders.from_memmap(X, y, **dict(splits=splits, bs=4, seed=1)|kw))

class Something:
    "That a user's callback keeps"

class KeepsSomething(Callback):
    def state_dict(self): return dict(what=Something())
    def load_state_dict(self, state): pass

def fit(n=2, lr=1e-2, **kw): return lambda learn, cbs: learn.fit(n, lr, cbs=cbs, **kw)
def cycle(n=2, lr=1e-2, **kw): return lambda learn, cbs: learn.fit_one_cycle(n, lr, cbs=cbs, **kw)

@pytest.mark.parametrize('first,then,words', [
    (Case(), small(X+1), 'other arrays'), (Case(), small(splits=(range(11),splits[1])), 'another number of samples'),
    (Case(), small(splits=(range(12)[::-1],splits[1])), 'other rows'), (Case(), small(splits=(splits[0],range(13,22))), 'another number'),
    (Case(), small(weights=np.arange(22.)+1), 'another order'), (Case(), small(seed=2), 'its seed is 1, and this loader was made with seed=2'), (Case(), small(splits=(splits[0],)), 'another number of samples'),
    (Case(), Case(model=Wider), r'head.weight is \(2, 4\) there and \(3, 4\) here'),
    (Case(plain, opt_func=RAdam), Case(plain, opt_func=SGD), 'optimizer is .*radam_step.* there and .*sgd_step.* here'),
    (Case(), Case(splitter=lambda m: list(m.parameters())), 'optimizer is .*groups'),
    (Case(), Case(cycle(3)), 'number of epochs of the schedule is 2 there and 3 here'), (Case(), Case(cycle(lr=1e-3)), 'schedule of lr'),
    (Case(), Case(cycle(wd=.1)), 'wd of parameter group 0 is 0.01 there and 0.1 here'), (Case(), Case(fit()), 'schedule of lr is .* there and none here'),
    (Case(fit()), Case(fit(lr=1e-3)), 'lr of parameter group 0'), (Case(fit()), Case(cycle()), 'schedule of lr is none there'),
    (Case(), Case(prepare=lambda learn: learn.freeze()), 'what is frozen is 0 weights there and 52 weights here')])
def test_another_run(first, then, words, tmp_path):
    "The difference, and the ways out; the checkpoint stays"
    stop(first, tmp_path)
    before = (tmp_path/FILE).read_bytes()
    with pytest.raises(ValueError, match=rf'(?s)run.pth.*can.t be gone on with.*({words}).*another `fname`.*delete the file'):
        then.run(tmp_path, ResumeCallback('run'))
    assert (tmp_path/FILE).read_bytes()==before
    want = outcome(first.run(tmp_path/'whole'))
    assert_same(first.run(tmp_path, ResumeCallback('run'), scramble=5), want)

def test_no_checkpoint(tmp_path):
    learn = stop(Case(), tmp_path)
    text = (tmp_path/FILE).read_bytes()
    for change in (lambda: learn.save('run'), lambda: (tmp_path/FILE).write_bytes(text[:-100]), lambda: (tmp_path/FILE).write_bytes(b'')):
        change()
        with pytest.raises(ValueError, match='run.pth is not a checkpoint.*damaged'): Case().run(tmp_path, ResumeCallback('run'))

def test_a_class_that_is_not_there(tmp_path, monkeypatch):
    "Its name, and what to do"
    case = Case(cbs=KeepsSomething)
    stop(case, tmp_path)
    with monkeypatch.context() as patch:
        patch.delattr(f'{__name__}.Something')
        with pytest.raises(ValueError, match='(?s)run.pth holds something.*Something.*Define or import it'): case.run(tmp_path, ResumeCallback('run'))
    assert not case.run(tmp_path, ResumeCallback('run')).stopped

@pytest.mark.parametrize('k', [2,5,7,9])
def test_more_epochs_and_fewer(k, tmp_path):
    "Without a schedule another number of epochs is fine"
    stop(Case(fit(2)), tmp_path, k)
    assert_same(Case(fit(3)).run(tmp_path, ResumeCallback('run'), scramble=5), outcome(Case(fit(3)).run(tmp_path/'whole')))
    learn = stop(Case(fit(2)), tmp_path, k+7) # in the second epoch
    fewer = Case(fit(1)).run(tmp_path, ResumeCallback('run'), scramble=5)
    assert fewer.recorder.losses==learn.recorder.losses and not (tmp_path/FILE).exists()

def test_another_size_of_batch(tmp_path):
    "The epoch ends where it was left, which is said"
    seen = []
    class Sees(Callback):
        def before_batch(self):
            if self.training: seen.append((self.learn.epoch, [o for o in self.x[:,0,0].tolist()]))
    case = Case(fit(2), cbs=Sees)
    stop(case, tmp_path, 2)
    other = Case(fit(2), cbs=Sees, data=lambda: dict(bs=6))
    learn = other.learner(tmp_path)
    with learn.no_bar(), learn.no_logging(), pytest.warns(RuntimeWarning, match='batches of 4 samples, and now they have 6.*ends after 4 samples'):
        learn.fit(2, 1e-2, cbs=[Sees(),ResumeCallback('run')])
    assert [(epoch,len(rows)) for epoch,rows in seen]==[(0,4),(1,6),(1,6)] and len({*sum((rows for epoch,rows in seen if epoch), [])})==12
    assert len(learn.recorder.values)==2 and len(learn.recorder.losses)==3

def without_times(path): return re.sub(r'\d\d:\d\d', 'TIME', path.read_text())

@pytest.mark.parametrize('append', [False,True])
def test_csv(append, tmp_path):
    "One header, one row an epoch, whatever was there before"
    case = Case(cbs=lambda: CSVLogger(append=append))
    for folder in (tmp_path/'whole',tmp_path/'run'):
        folder.mkdir()
        (folder/'history.csv').write_text('of another run\n')
    case.run(tmp_path/'whole')
    for k in (2,5,10,13): stop(case, tmp_path/'run', k) if k==2 else case.run(tmp_path/'run', ResumeCallback('run', minutes=None), StopAt(3, 'signal'))
    case.run(tmp_path/'run', ResumeCallback('run'))
    text = without_times(tmp_path/'run'/'history.csv')
    assert text==without_times(tmp_path/'whole'/'history.csv') and text.count('epoch')==1 and len(text.splitlines())==3+append

def test_table_and_time(tmp_path, capsys):
    "All epochs, and the time before the stop"
    class Slow(Callback):
        def before_train(self): self.learn.recorder.start_epoch -= 100
    for i in range(2):
        learn = Case().learner(tmp_path, bar=True)
        try: learn.fit_one_cycle(2, 1e-2, cbs=[ResumeCallback('run', every=1), *([] if i else [Slow(),StopAt(11)])])
        except Stopped: capsys.readouterr()
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if re.match(r'\d+ ', line)]==['0','1'] and said.count('01:40')==2
    assert re.search(r'Goes on from .*run.pth, saved 20.*: epoch 1, after 1 of 3 batches. Delete the file', said)

def test_at_an_error_on_the_disk(tmp_path, monkeypatch):
    "A warning; the training goes on, the checkpoint before stays, no part is left"
    case,want = Case(),outcome(Case().run(tmp_path/'whole'))
    stop(case, tmp_path, 2)
    before = (tmp_path/FILE).read_bytes()
    def full(f, data): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(checkpoint, 'write_all', full)
    learn = case.learner(tmp_path)
    with learn.no_bar(), pytest.warns(RuntimeWarning, match='no checkpoint was written.*No space left.*run.pth, and the training goes on'):
        with pytest.raises(Stopped): learn.fit_one_cycle(2, 1e-2, cbs=[ResumeCallback('run', every=1),StopAt(8)])
    assert (tmp_path/FILE).read_bytes()==before and [p.name for p in (tmp_path/'models').iterdir()]==['run.pth']
    monkeypatch.undo()
    assert_same(case.run(tmp_path, ResumeCallback('run'), scramble=5), want)

def test_a_full_disk(small_disk):
    "A real one: a checkpoint of 3 MB fits, not two at once"
    class Large(Small):
        def __init__(self):
            super().__init__()
            self.more = nn.Parameter(torch.zeros(700_000))
    case = Case(model=Large, splitter=lambda m: list(m.parameters()))
    learn = case.learner(small_disk)
    with learn.no_bar(), learn.no_logging(), pytest.warns(RuntimeWarning, match='no checkpoint was written'):
        with pytest.raises(Stopped): learn.fit_one_cycle(1, 1e-2, cbs=[ResumeCallback('run', every=1),StopAt(4)])
    assert [p.name for p in (small_disk/'models').iterdir()]==['run.pth'] and read_checkpoint(small_disk/FILE)['place'][2]==1

def test_a_checkpoint_that_cannot_be_removed(tmp_path, monkeypatch):
    "The fit is done all the same; what is no folder has no checkpoint"
    def denied(path, missing_ok=False): raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr(Path, 'unlink', denied)
    learn = Case().learner(tmp_path)
    with learn.no_bar(), learn.no_logging(), pytest.warns(RuntimeWarning, match='fit is done, but.*removed.*Permission denied.*run.pth'):
        learn.fit(1, cbs=ResumeCallback('run'))
    monkeypatch.undo()
    (tmp_path/FILE).unlink()
    (tmp_path/'models').rmdir()
    (tmp_path/'models').write_text('a file')
    with learn.no_bar(), learn.no_logging(), pytest.warns(RuntimeWarning, match='no checkpoint was written') as told: learn.fit(1, cbs=ResumeCallback('run'))
    assert not [w for w in told if 'removed' in str(w.message)]

def run_cell(learn, fit, *cbs):
    try: fit(learn, [*cbs])
    except KeyboardInterrupt: pass

def tune(learn, cbs): learn.fine_tune(1, 1e-2, cbs=cbs)

@pytest.mark.parametrize('fit', [one_cycle,tune,plain])
@pytest.mark.parametrize('in_learner', [False,True])
def test_ctrl_c_and_the_same_cell_again(fit, in_learner, tmp_path):
    "In the same kernel, with the same learner, at every step; mixup has changed the loss meanwhile"
    want = outcome(Case(fit, cbs=MixUp1d).run(tmp_path/'whole'))
    for k in range(1, 17):
        learn = Case(fit).learner(tmp_path/f'{k}')
        if in_learner: learn.add_cb(ResumeCallback('run', minutes=None))
        cbs = lambda: [MixUp1d(), *([] if in_learner else [ResumeCallback('run', minutes=None)])]
        with learn.no_bar():
            run_cell(learn, fit, *cbs(), StopAt(k, 'signal'))
            if not (tmp_path/f'{k}'/FILE).exists(): continue # in between two fits
            torch.manual_seed(99)
            learn.rows.clear()
            run_cell(learn, fit, *cbs())
        assert_same(learn, want, f'event {k}')

def handlers(): return [signal.getsignal(n) for n in (signal.SIGINT,signal.SIGTERM)]

def test_handlers_are_put_back(tmp_path):
    "After a fit, and by the next signal if an error has ended it; where there is no training there are none"
    before,seen = handlers(),[]
    class Looks(Callback):
        def after_batch(self): seen.append(handlers()==before)
    case = Case(cbs=Looks)
    case.run(tmp_path, ResumeCallback('run'))
    assert seen and not any(seen) and handlers()==before
    seen.clear()
    learn = case.learner(tmp_path)
    learn.add_cbs([Looks(),ResumeCallback('run')])
    with learn.no_bar(), learn.no_logging():
        learn.validate()
        learn.get_preds()
        learn.lr_find(num_it=6, show_plot=False, suggest_funcs=None)
    assert seen and all(seen) and handlers()==before
    stop(case, tmp_path, 3, 'error', every=1)
    assert handlers()!=before
    with pytest.raises(KeyboardInterrupt): signal.raise_signal(signal.SIGINT)
    assert handlers()==before
    stop(case, tmp_path, 3, 'error', every=1)
    case.run(tmp_path, ResumeCallback('run'))
    assert handlers()==before

def test_after_an_interrupted_lr_find(tmp_path):
    "Ctrl-C takes effect there at once, also after an error in a fit; the next fit has its checkpoints"
    class Interrupts(Callback):
        def after_batch(self):
            if self.train_iter==2: signal.raise_signal(signal.SIGINT)
    learn = Case().learner(tmp_path)
    learn.add_cb(ResumeCallback('run', every=1))
    with learn.no_bar(), learn.no_logging():
        for _ in range(2):
            with learn.added_cbs(Interrupts()), pytest.raises(KeyboardInterrupt): learn.lr_find(num_it=6, show_plot=False, suggest_funcs=None)
            assert learn.recorder.lrs and len(learn.recorder.lrs)<=2
            (tmp_path/FILE).unlink(missing_ok=True)
            with pytest.raises(Stopped): learn.fit(1, 1e-2, cbs=StopAt(3))
            assert (tmp_path/FILE).exists()

def test_a_second_signal_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    "It is Ctrl-C, no error of PyTorch's; the checkpoint before stays"
    case,want,write_all = Case(),outcome(Case().run(tmp_path/'whole')),checkpoint.write_all
    stop(case, tmp_path, 3)
    before = (tmp_path/FILE).read_bytes()
    def pressed_twice(f, data):
        presses = 2 if f.tell()>10_000 else 0 # in the midst of it
        for _ in range(presses): signal.raise_signal(signal.SIGINT)
        write_all(f, data)
    monkeypatch.setattr(checkpoint, 'write_all', pressed_twice)
    assert case.run(tmp_path, ResumeCallback('run', every=1)).stopped
    assert (tmp_path/FILE).read_bytes()==before and [p.name for p in (tmp_path/'models').iterdir()]==['run.pth']
    monkeypatch.undo()
    assert_same(case.run(tmp_path, ResumeCallback('run'), scramble=5), want)

def test_a_second_signal_does_not_wait(tmp_path):
    class Twice(Callback):
        def after_pred(self):
            for _ in range(2): signal.raise_signal(signal.SIGINT)
    before,cb = handlers(),ResumeCallback('run', minutes=None)
    learn = Case(cbs=Twice).run(tmp_path, cb)
    assert learn.stopped and not (tmp_path/FILE).exists() and handlers()==before
    assert not Case().run(tmp_path, cb).stopped # nothing of it is left

def test_a_handler_of_the_user(tmp_path):
    "It gets its turn when there is a checkpoint; if it returns, the training goes on, and so if it raises"
    places = []
    def note(*args): places.append(read_checkpoint(tmp_path/FILE)['place'][:3])
    former = signal.signal(signal.SIGTERM, note)
    try:
        class Told(Callback):
            def before_batch(self): signal.raise_signal(signal.SIGTERM)
        case = Case(cbs=Told)
        assert_same(case.run(tmp_path, ResumeCallback('run')), outcome(Case().run(tmp_path/'whole')))
        one = [('train',0,1),('train',0,2),('train',0,3),('validate',0,0)]
        assert places[:4]==one and {place[0] for place in places[4:]}=={'train','validate'} and signal.getsignal(signal.SIGTERM) is note
    finally: signal.signal(signal.SIGTERM, former)

def test_in_a_thread(tmp_path):
    "Checkpoints as ever; signals are the main thread's"
    case,done = Case(),[]
    thread = threading.Thread(target=lambda: done.append(case.run(tmp_path, ResumeCallback('run', every=1), StopAt(3))))
    thread.start()
    thread.join()
    assert done[0].stopped and (tmp_path/FILE).exists()
    assert_same(case.run(tmp_path, ResumeCallback('run'), scramble=5), outcome(case.run(tmp_path/'whole')))

def test_what_is_no_fit_leaves_the_checkpoint_alone(tmp_path):
    case = Case()
    stop(case, tmp_path)
    before = (tmp_path/FILE).read_bytes()
    learn = case.learner(tmp_path)
    learn.add_cb(ResumeCallback('run'))
    with learn.no_bar(), learn.no_logging():
        learn.validate()
        learn.get_preds()
        learn.tta(n=1)
        learn.lr_find(num_it=6, show_plot=False, suggest_funcs=None)
    assert (tmp_path/FILE).read_bytes()==before

def test_validation_within_a_fit(tmp_path):
    "Predictions that a callback asks for change nothing of where the fit stands"
    class Predicts(Callback):
        def after_batch(self):
            if not self.training or self.train_iter!=1: return
            names = 'dl xb yb pred loss iter n_iter training'.split()
            kept = {name: getattr(self.learn, name) for name in names}
            self.learn.get_preds(inner=True)
            vars(self.learn).update(kept)
            self.learn.model.train()
    case = Case(cbs=Predicts)
    want = outcome(case.run(tmp_path/'whole'))
    stop(case, tmp_path, 4)
    assert_same(case.run(tmp_path, ResumeCallback('run'), scramble=5), want)

def test_two_fits_one_after_the_other(tmp_path):
    "Of one learner: what is done is skipped, whether all cells are run again or the last one"
    def both(learn, cbs):
        cb = ResumeCallback('run', minutes=None)
        learn.fit(1, 1e-2, cbs=[cb])
        learn.fit_one_cycle(2, 1e-2, cbs=[cb,*cbs])
    whole = Case(both).run(tmp_path/'whole')
    assert Case(both).run(tmp_path, StopAt(4, 'signal')).stopped
    assert_same(Case(both).run(tmp_path, scramble=5), dict(outcome(whole)))
    assert Case(both).run(tmp_path, StopAt(4, 'signal')).stopped
    assert_same(Case(cycle()).run(tmp_path, ResumeCallback('run'), scramble=5), {k: v for k,v in outcome(whole).items() if k!='rows'})

def test_fits_in_a_loop(tmp_path):
    "One callback counts them; after one that is skipped the model has the weights of the checkpoint"
    seen = []
    def loop(learn, cbs):
        cb = ResumeCallback('run', minutes=None)
        for number in range(3):
            learn.fit(1, 1e-2, cbs=[cb, *(cbs if number==2 else [])])
            seen.append(plain_values(dict(learn.model.state_dict())))
    whole = outcome(Case(loop).run(tmp_path/'whole'))
    ends = seen[:]
    seen.clear()
    with pytest.raises(Stopped): loop(Case().learner(tmp_path), [StopAt(1)]) # of the third fit, before its first batch
    seen.clear()
    again = Case(loop).run(tmp_path, scramble=5)
    assert seen==[ends[1],*ends[1:]]
    got = outcome(again)
    assert all(got[name]==whole[name] for name in whole if name!='rows')

def test_an_order_that_cannot_be_made_again(tmp_path):
    "Checkpoints at the end of an epoch, which is said; the sampler is replayed"
    case = Case(data=lambda: dict(sampler=SubsetRandomSampler(range(10))))
    with pytest.warns(RuntimeWarning, match="only at the end of an epoch"): case.learner(tmp_path/'w').fit(1, cbs=ResumeCallback('run'))
    want = outcome(case.run(tmp_path/'whole'))
    stop(case, tmp_path, 8, 'error', every=1)
    assert read_checkpoint(tmp_path/FILE)['place'][0]=='epoch'
    assert_same(case.run(tmp_path, ResumeCallback('run'), scramble=5), want)

def test_what_cannot_be_gone_on_with(tmp_path):
    theirs = DataLoaders.from_dsets([*zip(torch.tensor(X), torch.zeros(22).long())], bs=4, num_workers=0)
    learn = Learner(theirs, Small(), loss_func=CrossEntropyLossFlat(), path=tmp_path)
    with pytest.raises(ValueError, match='needs a loader that can go to any place.*TSDataLoaders'), learn.no_bar(): learn.fit(1, cbs=ResumeCallback())
    with pytest.raises(ValueError, match="saves its model as 'model' too"): Case(cbs=SaveModelCallback).run(tmp_path, ResumeCallback('model'))
    for kw in (dict(every=0),dict(minutes=-1)):
        with pytest.raises(ValueError, match='above 0'): ResumeCallback(**kw)

def test_with_tsai(tmp_path):
    "Its learner, and one of its models"
    def run(*cbs):
        torch.manual_seed(0)
        dls = TSDataLoaders.from_memmap(X, y, splits=splits, bs=4, seed=1)
        learn = ts_learner(dls, 'FCNPlus', path=tmp_path, layers=[4,4,4])
        with learn.no_bar(), learn.no_logging():
            try: learn.fit_one_cycle(2, 1e-2, cbs=[*cbs])
            except Stopped: return
        return learn
    whole = run()
    run(ResumeCallback('run', every=2), StopAt(10))
    again = run(ResumeCallback('run', every=2))
    assert again.recorder.losses==whole.recorder.losses and all(a.equal(b) for a,b in zip(again.model.parameters(), whole.model.parameters(), strict=True))

def test_minutes(tmp_path, monkeypatch):
    "By the clock"
    times = []
    monkeypatch.setattr('memmap_ts.learning.saving.time.monotonic', lambda: len(times))
    class Tick(Callback):
        order = 99
        def after_batch(self): times.extend([0]*60)
    places = []
    class Notes(ResumeCallback):
        def write(self, state): places.append(state['place'][:3])
    Case(cbs=Tick).run(tmp_path, Notes('run', minutes=2))
    assert places[:2]==[('train',0,2),('epoch',1,0)]

@pytest.mark.parametrize('n_before,n_after', [(2,0),(0,2)])
def test_workers(n_before, n_after, tmp_path):
    "Any number of workers, before and after"
    case = lambda n: Case(data=lambda: dict(num_workers=n))
    stop(case(n_before), tmp_path, 4)
    assert_same(case(n_after).run(tmp_path, ResumeCallback('run'), scramble=5), outcome(Case().run(tmp_path/'whole')))

def test_what_has_no_numbers_is_told(tmp_path):
    "Another loss, other layers without weights, other metrics: a warning, and the run goes on"
    from fastai.losses import LabelSmoothingCrossEntropyFlat
    from fastai.basics import Learner, accuracy, error_rate
    import torch
    def learner(p, loss_func, metrics):
        dls = TSDataLoaders.from_memmap(np.zeros((40,2,5), 'f4'), np.arange(40)%2, splits=(range(30),range(30,40)), bs=5, seed=1, path=tmp_path)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(p), torch.nn.Linear(10,2))
        return Learner(dls, model, loss_func, metrics=metrics)
    def stop(self): raise KeyboardInterrupt
    first = learner(.1, CrossEntropyLossFlat(), accuracy)
    with first.no_bar(), pytest.raises(KeyboardInterrupt): first.fit(2, 1e-2, cbs=[ResumeCallback(every=1), Callback(before_validate=stop)])
    second = learner(.5, LabelSmoothingCrossEntropyFlat(), error_rate)
    with second.no_bar(), pytest.warns(RuntimeWarning) as told: second.fit(2, 1e-2, cbs=ResumeCallback())
    told = '\n'.join(str(o.message) for o in told)
    assert 'the loss may be another' in told and 'Dropout(p=0.5' in told and 'metrics may be another' in told and 'transforms' not in told
