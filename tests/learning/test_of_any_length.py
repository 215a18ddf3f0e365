"Learners on samples of any length: losses of batches padded in RAM, several processes, all that is asked of a model"
import numpy as np, pytest, torch, warnings
from functools import partial
from fastai.callback.core import Callback
from fastai.interpret import Interpretation
from fastai.learner import Learner, load_learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, foreground_acc
from fastai.optimizer import SGD
from fastai.torch_core import set_seed
from matplotlib import pyplot as plt
from torch import nn
from tsai.inference import * # learn.get_X_preds
from memmap_ts.all import *
from ranks import CAN_FORK, on_ranks

rng = np.random.default_rng(0)
lengths = rng.integers(1, 12, 40)
lengths[-1] = 30 # the longest is in the validation set
values,y = rng.normal(size=(lengths.sum(),2)).astype('f4'),np.arange(40)%3
values[:,1] += np.repeat(y, lengths)
of_steps = (values[:,0]>0).astype(int)
arrays = [o.T for o in np.split(values, np.cumsum(lengths)[:-1])]
splits = range(30),range(30,40)

class Pooled(nn.Module):
    "Sees padding, unless there is a mask"
    def __init__(self, c=3):
        super().__init__()
        self.conv,self.head = nn.Conv1d(2, 4, 3, padding=1),nn.Linear(4, c)
    def forward(self, x):
        if not isinstance(x, tuple): return self.head(self.conv(x).tanh().mean(-1))
        x,mask = x
        return self.head((self.conv(x*mask[:,None]).tanh()*mask[:,None]).sum(-1)/mask.sum(-1, keepdim=True))

class SeenLosses(Callback):
    order = 60 # after those of other processes
    def before_fit(self): self.got = []
    def after_loss(self): self.got.append(self.loss.mean().item())

def learner(model=Pooled, targets=y, loss_func=None, metrics=accuracy, path='.', **kw):
    set_seed(1)
    dls = TSDataLoaders.from_memmap(ragged(values, lengths), targets, **dict(splits=splits, bs=8, seed=3, path=path, device='cpu')|kw)
    return Learner(dls, model(), loss_func=loss_func or CrossEntropyLossFlat(), metrics=metrics, opt_func=SGD, cbs=SeenLosses())

def fitted(learn, n=2):
    with learn.no_bar(), learn.no_logging(): learn.fit(n, .1)
    return learn.seen_losses.got

def in_memory(rows, side='end', value=0.):
    "A batch padded in RAM"
    n = max(lengths[rows])
    pads = [((0,0),(0,n-o.shape[1]) if side=='end' else (n-o.shape[1],0)) for o in (arrays[i] for i in rows)]
    x = np.stack([np.pad(arrays[i], pad, constant_values=value) for i,pad in zip(rows, pads)])
    return torch.from_numpy(x),torch.from_numpy(y[rows])

@pytest.mark.parametrize('kw', [dict(), dict(pad='start', pad_value=2., buckets=True)])
def test_losses_are_those_of_batches_padded_in_memory(kw):
    "Bit for bit, in training and in validation"
    learn = learner(**kw)
    model,want = learn.model,[]
    opt = torch.optim.SGD(model.parameters(), .1)
    for epoch in range(2):
        for dl in learn.dls:
            for rows in dl.in_batches(dl.order_of(epoch)):
                x,targets = in_memory(rows+(30 if dl is learn.dls.valid else 0), **dict(zip(('side','value'), list(kw.values())[:2])))
                loss = nn.functional.cross_entropy(model(x), targets)
                want.append(loss.item())
                if dl is learn.dls.valid: continue
                opt.zero_grad()
                loss.backward()
                opt.step()
    assert fitted(learner(**kw))==want

def run(n_ranks):
    learn = learner(max_len=8, buckets=True)
    with distributed(learn): return fitted(learn),learn.get_preds()[0].numpy()

@pytest.mark.skipif(not CAN_FORK, reason='processes would import everything anew')
def test_two_processes_pad_like_one():
    (want,preds), = on_ranks(1, run, 1)
    for got,p in on_ranks(2, run, 2):
        np.testing.assert_allclose(got, want, rtol=1e-5)
        np.testing.assert_allclose(p, preds, rtol=1e-4)

def steps_plotted(): return [len(ax.lines[0].get_xdata()) for ax in plt.gcf().axes if ax.lines]

@pytest.mark.parametrize('kw', [dict(), dict(mask=True, pad='start'), dict(max_len=(6,'end'), buckets=True)])
def test_all_that_is_asked_of_a_model(kw, tmp_path):
    learn = learner(path=tmp_path, **kw)
    fitted(learn, 15)
    X,n = ragged(values, lengths),np.minimum(lengths, 6) if 'max_len' in kw else lengths
    plt.close('all')
    with learn.no_bar():
        b = learn.dls.valid.one_batch()
        learn.dls.valid.show_batch(b)
        assert steps_plotted()==n[30:38].tolist()
        learn.show_results(shuffle=False)
        assert steps_plotted()==n[30:38].tolist()
        for interp in (Interpretation,ClassificationInterpretation):
            found = interp.from_learner(learn)
            found.plot_top_losses(4)
            assert steps_plotted()==n[30:][found.top_losses(4)[1]].tolist()
        assert found.confusion_matrix().sum()==10
        # each alone, and so without padding
        want = torch.stack([learn.predict(X[i])[2] for i in range(40)])
        one_by_one = learn.get_X_preds(X, bs=1)[0]
        assert torch.allclose(one_by_one, want, atol=1e-6)
        listed = learn.get_X_preds([X[i] for i in range(40)], bs=1)[0]
        assert torch.equal(listed, one_by_one)
        together = learn.get_X_preds(X, y, bs=40, with_loss=True)
        assert torch.allclose(together[0], want, atol=1e-6)==('mask' in kw)
        assert torch.equal(learn.get_preds(dl=learn.dls.test_dl((X,y), with_labels=True, bs=40))[0], together[0])
        assert torch.equal(learn.get_preds(dl=learn.dls.test_dl(arrays, bs=40))[0], together[0])
        preds = preds_to_memmap(learn, X, tmp_path/'preds.npy', bs=40, progress=False)
        np.testing.assert_allclose(preds, together[0], atol=1e-6)
        same_length = np.stack([a[:,:1] for a in arrays])
        assert torch.allclose(learn.get_X_preds(same_length)[0], learn.get_X_preds(ragged(same_length[...,0], [1]*40))[0], atol=1e-6)
        learn.export(tmp_path/'learn.pkl')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            loaded = load_learner(tmp_path/'learn.pkl')
        with loaded.no_bar(): assert torch.equal(loaded.get_X_preds(X, bs=40)[0], together[0])
        assert loaded.dls.len==n.max()
    for method in ('permutation','ablation'):
        table = feature_importance(learn, method=method, key_metric_idx=None, show_chart=False).set_index('Feature')
        assert table.iloc[:,0]['var_1']>table.iloc[:,0]['var_0']
    with pytest.raises(ValueError, match='step 20 of one is not that of another'): step_importance(learn)
    plt.close('all')

def test_numbers_of_steps():
    "The loss leaves out steps that there are not, of each sample and of all, and plots lie on the series"
    learn = learner(partial(nn.Conv1d, 2, 1, 1), ragged(values[:,1].copy(), lengths), metrics=[])
    learn.loss_func = learn.dls.loss_func
    fitted(learn, 40)
    with learn.no_bar():
        assert learn.validate()[0]<.05
        preds,targs,each = learn.get_preds(with_loss=True)
        wrong = (preds[:,0]-targs)**2
        np.testing.assert_allclose(each, wrong.nan_to_num().mean(1), rtol=1e-4, atol=1e-7)
        learn.show_results(shuffle=False)
        for ax in plt.gcf().axes:
            if ax.lines: assert len({len(line.get_xdata()) for line in ax.lines})==1 and len(ax.lines)==4
    plt.close('all')

def test_labels_of_steps(tmp_path):
    "The loss and a metric leave out padding; predictions of all are one array"
    ignoring = partial(foreground_acc, bkg_idx=-100)
    learn = learner(partial(nn.Conv1d, 2, 2, 1), ragged(of_steps, lengths), CrossEntropyLossFlat(axis=1), [ignoring])
    fitted(learn, 20)
    with learn.no_bar():
        loss,acc = learn.validate()
        preds,targs = learn.get_preds()
        assert preds.shape==(10,2,30) and targs.shape==(10,30)
        real = np.arange(30)<lengths[30:,None]
        assert (targs.numpy()!=-100).tolist()==real.tolist()
        want = of_steps[lengths[:30].sum():]
        assert targs.numpy()[real].tolist()==want.tolist() and acc>.9
        np.testing.assert_allclose(acc, (preds.argmax(1).numpy()[real]==want).mean(), atol=.1) # mean over batches
        learn.show_results(shuffle=False)
        titles = [ax.get_title() for ax in plt.gcf().axes if ax.lines]
        assert steps_plotted()==lengths[30:38].tolist() and all('of steps right' in o for o in titles)
        label,_,probs = learn.predict(arrays[-1])
        assert label.shape==(30,) and probs.shape==(2,30)
        assert preds_to_memmap(learn, ragged(values, lengths), tmp_path/'p.npy', progress=False).shape==(40,2,30)
    plt.close('all')
