"A source of one's own, for several tests: nothing of it lies anywhere"
import numpy as np
from memmap_ts.data.source import Source

class Ramps(Source):
    "Series of 2 variables and 8 steps, computed when they are asked for: three classes by their slope"
    def __init__(self, n): self.shape,self.dtype = (n,2,8),np.dtype('f4')

    def row(self, i):
        noise = np.random.default_rng(i).normal(0, .1, (2,8))
        return (np.outer([1,-1], np.arange(8))*(i%3-1)/4+noise).astype('f4')
