"A run that is stopped anywhere, and goes on, is the run that nobody stopped: bit for bit"
import numpy as np, pytest
from fastai.callback.core import Callback, CancelBatchException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.callback.training import GradientAccumulation, GradientClip, ShortEpochCallback
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter
from fastai.metrics import RocAucBinary, accuracy
from fastai.optimizer import RAdam, ranger
from tsai.callback.core import BatchSubsampler, SaveModel, ShowGraph, TransformScheduler
from tsai.callback.PredictionDynamics import PredictionDynamics
from tsai.callback.experimental import BatchMasker, RandomWeightLossWrapper
from tsai.data.mixed_augmentation import CutMix1d, IntraClassCutMix1d, MixUp1d
from tsai.data.preprocessing import TSStandardize
from harness import long_or
from memmap_ts.all import *
from resumed import (Case, MeanLoss, Noise, NoisyItems, Own, OwnState, Skips, Thaws, ThawsAtTheEnd, X, frozen, plain, plain3, plain4, sgd, splits,
                     stopped_everywhere, y)

def two_windows(folder):
    "Windows of a series on disk, and a forecast as target"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder/'series.npy', np.random.default_rng(2).normal(size=(28,2)).astype('f4'))
    W,targets = windows(folder/'series.npy', 6, stride=1, horizon=1)
    return TSDataLoaders.from_memmap(W, (np.array([t.ravel()[0] for t in targets])>0).astype(int), splits=splits, bs=4, seed=1, item_tfms=NoisyItems())

def blocks(folder):
    "fastai's own vocabulary"
    block = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=lambda items: splits,
                      item_tfms=NoisyItems(), batch_tfms=Noise())
    return block.dataloaders((X,y), bs=4, shuffle=True, seed=1)

class Twice(Callback):
    "A user's own way to accumulate gradients"
    def before_step(self):
        if self.train_iter%2==0: raise CancelBatchException

def undrawn(cb):
    "A callback that draws, but for its drawing"
    cb.update_graph = lambda *args, **kw: None
    return cb

CASES = dict(
    fit=Case(plain), one_cycle=Case(), flat_cos=Case(lambda learn, cbs: learn.fit_flat_cos(2, 1e-2, cbs=cbs)),
    fine_tune=Case(lambda learn, cbs: learn.fine_tune(1, 1e-2, cbs=cbs), data=lambda: dict(item_tfms=NoisyItems())),
    tfms_and_weights=Case(data=lambda: dict(item_tfms=NoisyItems(), batch_tfms=[TSStandardize(by_var=True),Noise()], weights=np.arange(22.)+1)),
    partial_in_order=Case(data=lambda: dict(partial_n=.8, batch_tfms=Noise()), cbs=lambda: [BatchMasker(), RandomWeightLossWrapper()]),
    own_sampler=Case(data=lambda: dict(sampler=Own(), prefetch=0), cbs=lambda: BatchSubsampler(sample_pct=(.5,1.))),
    windows=Case(dls=two_windows, cbs=lambda: MixUp1d(), metrics=[accuracy,RocAucBinary()]), data_block=Case(dls=blocks, cbs=lambda: CutMix1d()),
    whole_batches=Case(data=lambda: dict(bs=5, drop_last=True), cbs=lambda: [IntraClassCutMix1d(), GradientClip(.1)]),
    accumulated=Case(cbs=lambda: GradientAccumulation(7)), accumulated_by_hand=Case(plain, cbs=lambda: Twice()),
    trackers=Case(plain4, cbs=lambda: [ReduceLROnPlateau(patience=2, min_delta=9.), SaveModelCallback(), EarlyStoppingCallback(patience=2, min_delta=9.)]),
    tracker_of_tsai=Case(cbs=lambda: [SaveModel(monitor='accuracy'), TransformScheduler(lambda p: 1-p)], data=lambda: dict(batch_tfms=Noise())),
    lookahead=Case(opt_func=ranger), half=Case(prepare=lambda learn: learn.add_cb(MixedPrecision(amp_mode='bf16')), opt_func=sgd), own_state=Case(cbs=lambda: OwnState()),
    thaws=Case(plain, cbs=Thaws, prepare=frozen, opt_func=sgd), thaws_later=Case(plain, cbs=ThawsAtTheEnd, prepare=frozen, opt_func=sgd), no_gradient=Case(plain, cbs=lambda: Skips(), opt_func=RAdam),
    train_metrics=Case(prepare=lambda learn: setattr(learn.recorder, 'train_metrics', True), metrics=[accuracy,RocAucBinary(),MeanLoss()]),
    graphs=Case(plain, cbs=lambda: [undrawn(ShowGraph(plot_metrics=False)), undrawn(PredictionDynamics())]),
    short=Case(plain3, cbs=lambda: ShortEpochCallback(.3, short_valid=False)))
EVERY_BATCH = 'one_cycle','fine_tune','accumulated','train_metrics'

@pytest.mark.parametrize('case', CASES)
def test_stopped_by_a_signal(case, tmp_path):
    "At every step of training, validation and between; of all but some cases the odd ones, which are others in each epoch"
    stopped_everywhere(CASES[case], tmp_path, 'signal', 1 if case in EVERY_BATCH else long_or(1, 2))

@pytest.mark.parametrize('case,mode', [*[(case,'each_batch') for case in EVERY_BATCH], ('one_cycle','each_second'), ('accumulated','each_second')])
def test_stopped_by_an_error(case, mode, tmp_path):
    "At every step: the last checkpoint is gone back to"
    stopped_everywhere(CASES[case], tmp_path, mode)
