"""
Run code in a process that has imported the package already, and that ends as a script ends

A server imports everything once, and forks for each call: a process takes half a second instead of six. The code is
its main module, and after it comes the end of the interpreter with all that happens there, as in `python -c`; only the
order of imports is another. (`ranks.py` calls functions, and its processes leave without that.)
"""
import json, os, signal, socket, subprocess, sys, textwrap, threading
from functools import cache

def _answer(request, fds):
    "In a process of its own: fork another one, which returns to run the code, and tell its number and how it ended"
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        for k in (0,1): os.close(fds[k])
        os.write(fds[2], b'%d\n' % pid)
        os.write(fds[2], b'%d\n' % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    for k in (0,1): os.dup2(fds[k], k+1)
    for fd in fds: os.close(fd)
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['env'])
    sys.argv[:] = request['argv']

def _serve(there):
    "The code of a request, in the process that is to run it; None in the server, when nobody is left to ask"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN) # children go without being waited for
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        text,fds,*_ = socket.recv_fds(there, 2**20, 3)
        if not text: return
        while not text.endswith(b'\n'): text += there.recv(2**20)
        if not os.fork():
            there.close()
            request = json.loads(text)
            _answer(request, fds)
            return request['code']
        for fd in fds: os.close(fd)

@cache
def _server():
    "A socket to the server, which ends when this process does; and the server"
    here,there = socket.socketpair()
    command = [sys.executable, '-W', 'ignore', __file__, str(there.fileno())]
    server = subprocess.Popen(command, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL)
    there.close()
    return here,server

class _Forked:
    "What of `subprocess.Popen` is used here"
    def __init__(self, code, *args, cwd=None):
        (out,its_out),(err,its_err),(status,its_status) = [os.pipe() for _ in range(3)]
        request = dict(code=textwrap.dedent(code), argv=['-c', *map(str, args)], cwd=os.fspath(cwd or os.getcwd()),
                       env=dict(os.environ))
        server,text = _server()[0],json.dumps(request).encode()+b'\n'
        n_sent = socket.send_fds(server, [text], [its_out,its_err,its_status])
        server.sendall(text[n_sent:])
        for fd in (its_out,its_err,its_status): os.close(fd)
        self.stdout,self.stderr,self.status = [os.fdopen(fd) for fd in (out,err,status)]
        self.pid,self.returncode = int(self.status.readline()),None

    def send_signal(self, number): os.kill(self.pid, number)

    def wait(self):
        if self.returncode is None: self.returncode = int(self.status.readline())
        return self.returncode

    def communicate(self):
        "All that it prints, and its errors"
        errors = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reader.start()
        out = self.stdout.read()
        reader.join()
        self.wait()
        return out,errors[0]

def forked(code, *args, cwd=None):
    "A process that runs `code`, in the folder `cwd`; on a system without fork a new one"
    if hasattr(os, 'fork'): return _Forked(code, *args, cwd=cwd)
    command = [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)

def run(code, *args, cwd=None):
    "`subprocess.run` of `python -c`: what it printed as `stdout` and `stderr`, and `returncode`"
    p = forked(code, *args, cwd=cwd)
    out,err = p.communicate()
    return subprocess.CompletedProcess(code, p.returncode, out, err)

if __name__=='__main__':
    import gc
    import memmap_ts.all # noqa: F401 (what others would wait for)
    gc.freeze() # the end of a process need not look at all that was imported
    code = _serve(socket.socket(fileno=int(sys.argv[1])))
    if code is not None: exec(compile(code, '<string>', 'exec'), globals())
