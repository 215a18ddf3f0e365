"""
A disk that fails where a test says so: a FUSE file system that shows the files of a folder, read only.

`python failing_disk.py BACKING MOUNTED` serves until it is unmounted. Where `BACKING/X.npy.fail` says `first end`, reads of
these bytes of X.npy give EIO, from then on. A process of its own, since a thread could not answer a page fault of another
thread that holds Python's lock.
"""
import ctypes, errno, os, stat, struct, subprocess, sys
from contextlib import contextmanager
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LOOKUP,FORGET,GETATTR,OPEN,READ,STATFS,RELEASE,FLUSH,INIT,OPENDIR,RELEASEDIR,INTERRUPT,DESTROY,BATCH_FORGET = \
    1,2,3,14,15,17,18,25,26,27,29,36,38,42 # include/uapi/linux/fuse.h
NO_ANSWER,DETACH,KEEP_CACHE = {FORGET,BATCH_FORGET,INTERRUPT},2,2

def _call(name, *args):
    "Call the C library; `OSError` if it says so."
    if getattr(LIBC, name)(*args): raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def mount(folder):
    "Mount at `folder`; what to read requests from. `OSError` where that is not allowed."
    fd = os.open('/dev/fuse', os.O_RDWR)
    options = f'fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other'
    _call('mount', b'failing', os.fsencode(folder), b'fuse.failing', ctypes.c_ulong(6), options.encode()) # no suid, no devices
    return fd

class Server:
    "Answers the requests of the kernel"
    def __init__(self, backing): self.names,self.backing = [None,None],Path(backing) # by number; 1 is the folder itself

    def attributes(self, node):
        "A `struct fuse_attr`"
        s = os.stat(self.backing/(self.names[node] or ''))
        mode = s.st_mode if node==1 else stat.S_IFREG|0o444
        return struct.pack('<6Q10I', node, s.st_size, s.st_blocks, *(t//10**9 for t in (s.st_atime_ns,s.st_mtime_ns,s.st_ctime_ns)),
                           *(t%10**9 for t in (s.st_atime_ns,s.st_mtime_ns,s.st_ctime_ns)), mode, 1, s.st_uid, s.st_gid, 0, 4096, 0)

    def lookup(self, name):
        "The number of a file, and what it is"
        if not (self.backing/name).exists(): raise FileNotFoundError(errno.ENOENT, name)
        if name not in self.names: self.names.append(name)
        node = self.names.index(name)
        return struct.pack('<4Q2I', node, 0, 0, 0, 0, 0)+self.attributes(node)

    def read(self, name, offset, size):
        "Bytes of a file, or EIO"
        fail = self.backing/f'{name}.fail'
        first,end = map(int, fail.read_text().split()) if fail.exists() else (0,0)
        if offset<end and first<offset+size: raise OSError(errno.EIO, name)
        with open(self.backing/name, 'rb') as f: return os.pread(f.fileno(), size, offset)

    def answer(self, operation, node, rest):
        "What a request is answered with"
        if operation==INIT: return struct.pack('<4I2H2I2H8I', 7, 31, 2**17, 0, 16, 12, 2**17, 1, 0, 0, *[0]*8)
        if operation==LOOKUP: return self.lookup(os.fsdecode(rest.rstrip(b'\0')))
        if operation==GETATTR: return struct.pack('<Q2I', 0, 0, 0)+self.attributes(node)
        if operation in (OPEN,OPENDIR): return struct.pack('<Q2I', 0, KEEP_CACHE, 0)
        if operation==READ: return self.read(self.names[node], *struct.unpack_from('<QI', rest, 8))
        if operation==STATFS: return bytes(80)
        if operation in (FLUSH,RELEASE,RELEASEDIR,DESTROY): return b''
        raise OSError(errno.ENOSYS, 'not known here')

    def serve(self, fd):
        "Until it is unmounted"
        while True:
            try: request = os.read(fd, 2**18)
            except OSError as e:
                if e.errno in (errno.EINTR,errno.ENOENT,errno.EAGAIN): continue
                return # ENODEV
            operation,unique,node = struct.unpack_from('<IQQ', request, 4)
            if operation in NO_ANSWER: continue
            try: error,data = 0,self.answer(operation, node, request[40:])
            except OSError as e: error,data = -e.errno,b''
            os.write(fd, struct.pack('<IiQ', 16+len(data), error, unique)+data)

@contextmanager
def failing_disk(backing, mounted):
    "`mounted` shows the files of `backing`; `OSError` where nothing may be mounted"
    with subprocess.Popen([sys.executable, __file__, str(backing), str(mounted)], stdout=subprocess.PIPE) as server:
        try:
            said = server.stdout.readline().decode().strip()
            if said!='mounted': raise OSError(said)
            yield mounted
        finally:
            LIBC.umount2(os.fsencode(mounted), DETACH)
            server.kill()

if __name__=='__main__':
    try: fd = mount(sys.argv[2])
    except OSError as e: sys.exit(print(e, flush=True))
    print('mounted', flush=True)
    Server(sys.argv[1]).serve(fd)
