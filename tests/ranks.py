"""Run a function in several processes that are connected as `torchrun` connects them

The processes are forked from a server that has imported everything, so one costs a fraction of a second. They meet
at a store of the process that starts them, as they would at one of torchrun's: no port is chosen before it is used.
"""
import gc, multiprocessing, os, pickle, sys, threading, time, traceback
from multiprocessing import connection
from pathlib import Path

CAN_FORK = 'forkserver' in multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context('forkserver' if CAN_FORK else 'spawn')
if CAN_FORK: CONTEXT.set_forkserver_preload(['memmap_ts.all', 'accelerate', 'torch._dynamo'])

class Failed(Exception):
    "What went wrong, by rank; None where nothing did; and what the processes returned"
    def __init__(self, errors, results): self.errors,self.results = errors,results
    def __str__(self): return '\n'.join(f'rank {r}: {e}' for r,e in enumerate(self.errors) if e)

def _end_with_parent():
    "End this process when the one that tests does, however that ends"
    multiprocessing.parent_process().join()
    os._exit(1)

def _begin(rank, n_ranks, port, paths):
    "Be process `rank` of a launch"
    gc.freeze() # what the server has imported is not looked through, and so not copied
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.path[:0] = paths
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n_ranks), LOCAL_WORLD_SIZE=str(n_ranks),
                      MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE='True',
                      OMP_NUM_THREADS='1', MPLBACKEND='agg',
                      CUDA_VISIBLE_DEVICES='') # NCCL takes one process a GPU
    import torch
    torch.set_num_threads(1)

def _main(pipe, rank, n_ranks, port, paths, call):
    "Send what the call returns, or what went wrong"
    error = None
    try:
        _begin(rank, n_ranks, port, paths)
        f,args = pickle.loads(call)
        message = pickle.dumps((f(*args), None))
    except BaseException as e:
        error = f'{type(e).__name__}: {e}\n{traceback.format_exc()}'
        message = pickle.dumps((None, error))
    pipe.send_bytes(message)
    sys.stdout.flush()
    sys.stderr.flush()
    if error is None: pipe.poll(None) # until all are done: nobody leaves while others talk
    os._exit(int(error is not None))

def _listen(made, timeout, grace, results):
    "Fill in `results`, by rank, until all are there or it takes too long"
    until = time.monotonic()+timeout
    waiting = {pipe:(rank, process) for rank,(process,pipe) in enumerate(made)}
    while waiting:
        ready = connection.wait(list(waiting), max(until-time.monotonic(), 0))
        if not ready: return
        for pipe in ready:
            rank,process = waiting.pop(pipe)
            try: results[rank] = pickle.loads(pipe.recv_bytes())
            except EOFError:
                process.join()
                results[rank] = None,f'ended with status {process.exitcode}'
            if results[rank][1] is not None: until = min(until, time.monotonic()+grace)

def on_ranks(n_ranks, f, *args, timeout=100, grace=20):
    """What `f(*args)` returns in each of `n_ranks` processes; `Failed` if it raises an error in one.

    `f` is a function of a module. After an error in one process the others have `grace` seconds. None is left."""
    from torch.distributed import TCPStore
    store = TCPStore('127.0.0.1', 0, is_master=True, wait_for_workers=False)
    tests = Path(__file__).parent
    paths = [str(o) for o in (Path(sys.modules[f.__module__].__file__).parent, tests, tests.parent)]
    made,results = [],[(None,f'no answer in {timeout} s, or {grace} s after an error')]*n_ranks
    try:
        for rank in range(n_ranks):
            mine,theirs = CONTEXT.Pipe()
            call = pickle.dumps((f, args))
            process = CONTEXT.Process(target=_main, args=(theirs, rank, n_ranks, store.port, paths, call))
            process.start()
            theirs.close()
            made.append((process, mine))
        _listen(made, timeout, grace, results)
    finally:
        for process,_ in made: process.kill()
        for process,pipe in made:
            process.join()
            pipe.close()
    errors = [e for _,e in results]
    returned = [r for r,_ in results]
    if any(errors): raise Failed(errors, returned)
    return returned
