"Mistakes that a type checker finds: pyright has something to say of each of these lines (`.ci/package`)"
# pyright: reportUnnecessaryTypeIgnoreComment=true
from memmap_ts.all import MemmapWriter, TSDataLoaders, Windows, create_memmap, itemify, on_disk, open_memmap, windows

open_memmap(3) # pyright: ignore[reportArgumentType]
open_memmap('X.npy', mod='r') # pyright: ignore[reportCallIssue]
shape = open_memmap('X.npy').shap # pyright: ignore[reportAttributeAccessIssue]
create_memmap('X.npy', shape='a') # pyright: ignore[reportArgumentType]
MemmapWriter('X.npy', resume='yes') # pyright: ignore[reportArgumentType]
TSDataLoaders.from_files(3) # pyright: ignore[reportArgumentType]
TSDataLoaders.from_memmap('X.npy', valid_pct='a') # pyright: ignore[reportArgumentType]
TSDataLoaders.from_memmap('X.npy', bs='a') # pyright: ignore[reportArgumentType]
windows(None, window_len='x') # pyright: ignore[reportArgumentType]
wrong: str = on_disk(itemify(1)) # pyright: ignore[reportAssignmentType]
def split(x: Windows): x.split_by_tim(.8) # pyright: ignore[reportAttributeAccessIssue]
