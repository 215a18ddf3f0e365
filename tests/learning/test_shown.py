"Pictures made of series, several inputs, and what tsai's methods of a learner do with samples on disk"
import matplotlib, numpy as np, pytest, torch
matplotlib.use('agg')
from matplotlib import pyplot as plt
from torch import nn
from fastai.callback.progress import * # no_bar
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.interpret import Interpretation
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.vision.models.xresnet import xresnet18
from tsai.analysis import * # plot_top_losses, feature_importance, …
from tsai.calibration import * # calibrate_model
from tsai.data.core import TSClassification, get_ts_dls
from tsai.data.image import TSToGADF
from tsai.data.preprocessing import TSNormalize
from tsai.learner import load_all, ts_learner
from training import fit
from memmap_ts.all import *

rng = np.random.default_rng(0)
X = rng.normal(size=(80,3,50)).cumsum(-1).astype('f4')
y = np.array(['a','b'])[np.arange(80)%2]
splits = range(60),range(60,80)

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

def titles():
    res = [a.get_title() for a in plt.gcf().axes if a.images or a.lines]
    plt.close('all')
    return res

def pictures(how, saved):
    if how=='disk': return TSDataLoaders.from_files(saved(rng.normal(size=(80,3,32,32)).astype('f4')), y, splits=splits, bs=10)
    return TSDataLoaders.from_memmap(X, y, splits=splits, bs=10, batch_tfms=[TSNormalize(),TSToGADF(size=32)])

@pytest.mark.parametrize('how', ['transform','disk'])
def test_pictures(how, saved):
    "Variables, height and width as tsai has them, and titles"
    dls = pictures(how, saved)
    assert (dls.vars,dls.len,dls.c)==(3,[32,32],2)
    if how=='transform':
        theirs = get_ts_dls(X, y, splits=tuple(map(list, splits)), tfms=[None,TSClassification()], bs=10,
                            batch_tfms=[TSNormalize(),TSToGADF(size=32)])
        assert (dls.vars,dls.len)==(theirs.vars,list(theirs.len))
    learn = ts_learner(dls, xresnet18)
    fit(learn)
    dls.show_batch(max_n=4)
    assert len(shown := titles())==4 and set(shown)<={'a','b'}
    with learn.no_bar():
        learn.show_results(max_n=2)
        assert [t[:6] for t in titles()]==['True: ']*2
        Interpretation.from_learner(learn).plot_top_losses(2)
        assert ['Loss' in t for t in titles()]==[True]*2

@pytest.mark.parametrize('n_vars', [1,2,3,5])
def test_pictures_of_any_number_of_variables(n_vars):
    dls = TSDataLoaders.from_memmap(rng.normal(size=(80,n_vars,6,8)), bs=10, shuffle=False)
    dls.show_batch(max_n=1)
    picture = plt.gcf().axes[0].images[0].get_array()
    assert picture.shape==((6,8,3) if n_vars==3 else (6,9*n_vars-1))
    assert 0<=np.nanmin(picture)<1e-6 and 1-1e-6<np.nanmax(picture)<=1

def test_forecasts_of_pictures():
    "Nothing is drawn into a picture; the numbers stand above it"
    dls = TSDataLoaders.from_memmap(*windows(X[:10].transpose(0,2,1).reshape(-1,3), 20, horizon=5, get_y=[0,1]), bs=4, seed=0,
                                    batch_tfms=[TSNormalize(),TSToGADF(size=16)])
    dls.show_batch(max_n=2)
    axs = [a for a in plt.gcf().axes if a.images]
    assert len(axs)==2 and not any(a.lines for a in axs) and ['10 numbers' in a.get_title() for a in axs]==[True]*2

class Two(nn.Module):
    "A series and features of it, as one tuple or as two inputs"
    def __init__(self):
        super().__init__()
        self.series,self.features = nn.Linear(150,2),nn.Linear(4,2)
    def forward(self, x, features=None):
        series,features = x if features is None else (x,features)
        return self.series(series.flatten(1))+self.features(features)

@pytest.mark.parametrize('how', ['tuple','features first','blocks'])
def test_top_losses_of_several_inputs(how, saved):
    features = rng.normal(size=(80,4)).astype('f4')
    if how=='blocks':
        dls = DataBlock(blocks=(MemmapBlock,MemmapBlock,CategoryBlock), n_inp=2, get_items=itemify,
                        get_x=[ItemGetter(0),ItemGetter(1)], get_y=ItemGetter(2),
                        splitter=IndexSplitter(range(60,80))).dataloaders((X,features,y), bs=10)
    else:
        both = (saved(X),features) if how=='tuple' else (features,saved(X))
        dls = TSDataLoaders.from_memmap(both, y, splits=splits, bs=10)
    class Turned(Two):
        def forward(self, x): return super().forward(x[::-1])
    learn = Learner(dls, (Turned if how=='features first' else Two)())
    with learn.no_bar():
        interp = Interpretation.from_learner(learn)
        interp.plot_top_losses(3)
        axs = [a for a in plt.gcf().axes if a.lines]
        assert [len(a.lines) for a in axs]==[3]*3 and ['Loss: ' in a.get_title() for a in axs]==[True]*3
        worst = interp.top_losses(3)[1]
        np.testing.assert_allclose([a.lines[0].get_ydata() for a in axs], X[60:][worst,0])
        assert [a.get_title().split('\n')[0] for a in axs]==[f'True: {o}' for o in y[60:][worst]]
        for show in (lambda: learn.show_results(max_n=2), lambda: dls.show_batch(max_n=2)):
            show()
            assert len(titles())==2

@pytest.fixture(scope='module')
def learner():
    learn = ts_learner(TSDataLoaders.from_memmap(X, y, splits=splits, bs=10), 'FCNPlus', metrics=accuracy)
    fit(learn)
    return learn

@pytest.mark.parametrize('call', [
    lambda l,X,y: l.feature_importance(), lambda l,X,y: l.step_importance(), lambda l,X,y: l.feature_importance(X, y),
    lambda l,X,y: l.step_importance(X, y), lambda l,X,y: l.feature_importance(partial_n=.5),
    lambda l,X,y: l.feature_importance(sel_classes='a'), lambda l,X,y: l.feature_importance(X, y, method='ablation')])
def test_importance_of_tsai_names_ours(learner, call):
    before = X.copy()
    with learner.no_bar(), pytest.raises((AttributeError,TypeError), match=r'call `feature_importance\(learn\)` and `step_importance'):
        call(learner, X[60:], y[60:])
    assert (X==before).all()

@pytest.mark.parametrize('call', [
    lambda l,X,y: l.show_batch(), lambda l,X,y: l.show_probas(), lambda l,X,y: l.show_probas(max_n=5),
    lambda l,X,y: l.plot_confusion_matrix(), lambda l,X,y: l.top_losses(X, y), lambda l,X,y: l.plot_top_losses(X, y),
    lambda l,X,y: l.get_X_preds(X, y, with_loss=True), lambda l,X,y: l.calibrate_model(verbose=False),
    lambda l,X,y: l.decoder(torch.tensor([0,1]))])
def test_other_methods_of_tsai(learner, call):
    "These read what they need from disk"
    with learner.no_bar(): call(learner, X[60:], y[60:])

def test_saved_as_a_whole(learner, tmp_path):
    learner.save_all(tmp_path)
    again = load_all(tmp_path)
    with learner.no_bar(), again.no_bar(): assert again.get_X_preds(X[60:])[0].equal(learner.get_X_preds(X[60:])[0])

def test_targets_twice(learner):
    with pytest.raises(ValueError, match=r'itemify\(X, y\)'): learner.get_X_preds(itemify(X), y)
