/// Ways out of a sandbox, as one Python program that tries each in a process of its own.
///
/// It prints a line for each: its name, and `reached` or `held` with the reason. What a job could do there it does only as
/// far as that is harmless, since the same program runs without a sandbox too, which shows that the attempts are real ones:
/// it opens for writing and does not write, sends signal 0, and calls the kernel with arguments that it refuses as wrong
/// once it has not refused the caller.
enum SandboxAttempts {
  static let script = #"""
    import ctypes, errno, os, resource, signal, socket, stat, subprocess, sys

    libc = ctypes.CDLL(None, use_errno=True)
    e = os.environ
    DATA, NODE, SIBLING = e["T_DATA"], int(e["T_NODE"]), int(e["T_SIBLING"])
    OUTSIDE = e["T_OUTSIDE"]
    REFUSALS = {errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}
    attempts = {}

    def read(path): return lambda: len(open(path, "rb").read(1)) == 1
    def entries(path): return lambda: bool(os.listdir(path))
    def writable(path): return lambda: os.open(path, os.O_WRONLY) >= 0
    def first(paths): return next((p for p in paths if p and os.path.exists(p)), paths[0])

    def system_call(number, *arguments):
        def call():
            ctypes.set_errno(0)
            values = [a if isinstance(a, bytes) or a is None else ctypes.c_long(a) for a in arguments]
            result = libc.syscall(ctypes.c_long(number), *values)
            code = ctypes.get_errno()
            if result == -1 and code in REFUSALS: raise OSError(code, os.strerror(code))
            return True
        return call

    def connect(address):
        def attempt():
            family = socket.AF_UNIX if isinstance(address, (str, bytes)) else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.settimeout(5)
                s.connect(address)
                return True
        return attempt

    def sockets(family, kind, protocol=0):
        def attempt():
            socket.socket(family, kind, protocol).close()
            return True
        return attempt

    # Files. "own": without a sandbox, the node's user can; "any": every user can; "root": root can.
    def a(name, control, attempt): attempts[name] = (control, attempt)
    a("the node's key", "own", read(DATA + "/admin.secret"))
    a("the node's database", "own", read(DATA + "/jobs.db"))
    a("the node's configuration", "any", read(e["T_CONFIGURATION"]))
    a("a file of the node by ..", "own", read("../../admin.secret"))
    a("a file of the node by /proc/self/root", "own", read("/proc/self/root" + DATA + "/admin.secret"))
    a("a file of the node by /proc/self/cwd/..", "own", read("/proc/self/cwd/../../admin.secret"))
    a("other jobs' workspaces", "own", lambda: len([n for n in os.listdir(DATA + "/work") if "." not in n]) > 1)
    a("a sibling's workspace", "own", entries(e["T_SIBLING_DIRECTORY"]))
    a("another user's passwords", "root", read("/etc/shadow"))
    a("/etc as a whole", "any", read("/etc/hostname"))
    a("root's home", "root", lambda: os.listdir("/root") is not None)
    a("homes", "any", lambda: os.listdir("/home") is not None)
    a("/var", "any", entries("/var/lib"))
    a("/run", "any", entries("/run"))
    a("/sys", "any", entries("/sys/kernel"))
    a("the machine's /tmp", "any", read(OUTSIDE))
    a("the machine's /dev/shm", "any", read(e["T_SHM"]))
    def symbolic():
        os.symlink(OUTSIDE, "link")
        return open("link").read(1) != ""
    a("a symbolic link to the outside", "any", symbolic)
    def hard():
        os.link(OUTSIDE, "hard")
        return True
    a("a hard link to the outside", "own", hard)
    a("/usr to be written", "root", lambda: os.access("/usr", os.W_OK))
    a("/usr/bin to be written", "root", lambda: os.access("/usr/bin", os.W_OK))
    a("/etc/passwd to be written", "root", writable("/etc/passwd"))
    a("a directory at the root", "root", lambda: os.access("/", os.W_OK))
    a("core_pattern", "root", writable("/proc/sys/kernel/core_pattern"))
    a("sysctl of the network", "root", writable("/proc/sys/net/ipv4/ip_forward"))
    a("sysrq", "root", writable("/proc/sysrq-trigger"))
    a("a setting in /sys", "root", writable(first(["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/profiling"])))
    a("a control group", "root", writable(e["T_CGROUP"]))
    a("the kernel's memory or log", "root", lambda: os.open(first(["/dev/mem", "/dev/kmsg"]), os.O_RDONLY) >= 0)
    a("a block device", "root", lambda: os.open(e["T_BLOCK"], os.O_RDONLY) >= 0)
    a("a console", "root", lambda: os.open(first(["/dev/tty1", "/dev/console", "/dev/ttyS0", "/dev/ptmx"]), os.O_RDWR | os.O_NOCTTY) >= 0)
    def device():
        os.mknod("device", stat.S_IFBLK | 0o600, os.makedev(7, 99))
        return True
    a("a device file of its own", "root", device)
    def character():
        os.mknod("character", stat.S_IFCHR | 0o600, os.makedev(1, 1))
        return True
    a("a character device of its own", "root", character)

    # Processes.
    a("the node's environment", "own", read("/proc/%d/environ" % NODE))
    a("the node's root", "own", lambda: os.path.exists("/proc/%d/root%s/admin.secret" % (NODE, DATA)))
    a("the node's descriptors", "own", entries("/proc/%d/fd" % NODE))
    # Outside, the launcher is the parent; in a sandbox it is the first process.
    LAUNCHER = "/proc/%d" % (1 if open("/proc/1/comm").read() == "hero-launcher\n" else os.getppid())
    a("the launcher's root", "root", entries(LAUNCHER + "/root"))
    a("the launcher's environment", "root", lambda: open(LAUNCHER + "/environ", "rb").read() is not None)
    a("the launcher's memory", "root", lambda: os.open(LAUNCHER + "/mem", os.O_RDONLY) >= 0)
    # A program that runs is busy (ETXTBSY) to whom may write it.
    def launcher():
        try: return os.open(LAUNCHER + "/exe", os.O_WRONLY) >= 0
        except OSError as error:
            if error.errno == errno.ETXTBSY: return True
            raise
    a("the launcher's program", "root", launcher)
    a("a signal to the node", "own", lambda: os.kill(NODE, 0) is None)
    a("a signal to a sibling", "own", lambda: os.kill(SIBLING, 0) is None)
    def seize():
        if libc.ptrace(0x4206, SIBLING, None, None) == -1:
            raise OSError(ctypes.get_errno(), "ptrace")
        libc.ptrace(17, SIBLING, None, None)
        return True
    a("ptrace of a sibling", "own", seize)
    a("ptrace of itself", "any", system_call(101, 0x4200, os.getpid(), 0, 0))
    class Part(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
    def memory(pid, number):
        def attempt():
            buffer = ctypes.create_string_buffer(1)
            here = Part(ctypes.cast(buffer, ctypes.c_void_p), 1)
            there = Part(16, 1)
            result = libc.syscall(number, pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
            if ctypes.get_errno() != errno.EFAULT: raise OSError(ctypes.get_errno(), "process_vm")
            return True
        return attempt
    a("a sibling's memory", "own", memory(SIBLING, 310))
    a("a sibling's memory, writing", "own", memory(SIBLING, 311))
    a("its own memory by a number", "any", memory(os.getpid(), 310))
    a("a descriptor of a sibling", "own", lambda: libc.syscall(434, SIBLING, 0) >= 0)
    a("pidfd_getfd", "any", system_call(438, -1, 0, 0))
    a("other processes at all", "any", lambda: len([p for p in os.listdir("/proc") if p.isdigit()]) > 15)
    a("user 0", "root", lambda: os.setuid(0) is None)
    a("other groups", "root", lambda: os.setgroups([0]) is None)
    a("a higher priority", "root", lambda: os.setpriority(os.PRIO_PROCESS, 0, -10) is None)
    def limit():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
        return True
    a("a higher limit", "root", limit)
    a("a setuid program", "setuid", lambda: subprocess.run([e["T_SETUID"], "-u"], capture_output=True).stdout == b"0\n")

    # The network, and other ways to talk.
    a("the node's API", "any", connect(("127.0.0.1", int(e["T_API"]))))
    a("the cluster's port", "any", connect(("127.0.0.1", int(e["T_CLUSTER"]))))
    a("a server on this machine", "any", connect(("127.0.0.1", int(e["T_TCP"]))))
    def datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(("127.0.0.1", int(e["T_CLUSTER"])))
            s.send(b"x"); s.settimeout(0.2)
            try: s.recv(1)
            except socket.timeout: return True
        return True
    a("the cluster's port by a datagram", "any", datagram)
    a("the node's unix socket", "own", connect(DATA + "/api.sock"))
    a("an abstract socket", "any", connect(b"\0" + e["T_ABSTRACT"].encode()))
    a("a route to other machines", "any", lambda: len(open("/proc/net/dev").read().splitlines()) > 3)
    def shared(): return libc.shmget(int(e["T_SYSV"]), 0, 0) >= 0
    a("shared memory of System V", "any", shared)
    def queue():
        number = libc.syscall(240, e["T_QUEUE"].encode(), 0, 0, None)
        return number >= 0
    a("a message queue", "any", queue)
    a("raw packets", "root", sockets(17, socket.SOCK_RAW))
    a("raw IP", "root", sockets(socket.AF_INET, socket.SOCK_RAW, 1))
    a("AF_ALG", "any", sockets(38, socket.SOCK_SEQPACKET))
    a("AF_VSOCK", "any", sockets(40, socket.SOCK_STREAM))
    a("netlink of the kernel's events", "any", sockets(16, socket.SOCK_RAW, 15))
    a("netlink of audit", "any", sockets(16, socket.SOCK_RAW, 9))
    a("netlink of netfilter", "any", sockets(16, socket.SOCK_RAW, 12))
    a("a family with upper bits", "any", system_call(41, (1 << 32) | 16, 3, 15))

    # The kernel.
    nowhere = b"/nonexistent/x"
    a("mount", "any", system_call(165, b"none", nowhere, b"tmpfs", 0, None))
    a("remount", "any", system_call(165, b"none", nowhere, None, 32, None))
    a("umount", "root", system_call(166, nowhere, 2))
    a("pivot_root", "root", system_call(155, nowhere, nowhere))
    a("chroot", "root", system_call(161, nowhere))
    a("fsopen", "root", system_call(430, b"no such type", 0))
    a("fsconfig", "any", system_call(431, -1, 0, None, None, 0))
    a("fsmount", "root", system_call(432, -1, 0, 0))
    a("open_tree", "any", system_call(428, -100, nowhere, 0))
    a("open_tree, a copy", "root", system_call(428, -100, nowhere, 1))
    a("move_mount", "root", system_call(429, -1, nowhere, -1, nowhere, 0))
    a("mount_setattr", "any", system_call(442, -100, nowhere, 1 << 30, None, 0))
    a("unshare of users", "any", system_call(272, 0x10000000))
    a("unshare of mounts", "root", system_call(272, 0x00020000))
    a("setns", "any", system_call(308, -1, 0))
    def clone(flags):
        def attempt():
            result = libc.syscall(56, flags | signal.SIGCHLD, 0, 0, 0, 0)
            if result == 0: os._exit(0)
            if result < 0: raise OSError(ctypes.get_errno(), "clone")
            os.waitpid(result, 0)
            return True
        return attempt
    a("clone with users", "any", clone(0x10000000))
    a("clone with processes", "root", clone(0x20000000))
    a("clone3", "any", system_call(435, None, 0))
    a("keyctl", "any", system_call(250, 0, -3, 0))
    a("add_key", "any", system_call(248, b"user", b"hero", b"x", 1, -2))
    a("request_key", "any", system_call(249, b"user", b"hero-no-such", None, -2))
    a("bpf", "root", system_call(321, 9999, None, 0))
    a("userfaultfd", "root", system_call(323, 1 << 20))
    a("perf_event_open", "any", system_call(298, None, 0, -1, -1, 0))
    a("io_uring", "any", system_call(425, 0, None))
    a("open_by_handle_at", "root", system_call(304, -1, None, 0))
    a("fanotify", "root", system_call(300, 1 << 30, 0))
    a("modify_ldt", "any", system_call(154, 99, None, 0))
    a("a module", "root", system_call(176, b"no-such-module", 0))
    a("kexec", "root", system_call(246, 0, 0, None, 0xFFFF))
    a("swapon", "root", system_call(167, nowhere, 0))
    a("reboot", "root", system_call(169, 0, 0, 0, None))
    a("settimeofday", "root", system_call(164, 16, None))
    a("clock_settime", "root", system_call(227, 9999, None))
    a("adjtimex", "any", system_call(159, None))
    a("quotactl", "root", system_call(179, 0xFF << 8, nowhere, 0, None))
    a("acct", "root", system_call(163, nowhere))
    a("syslog", "root", system_call(103, 9, None, 0))
    a("sethostname", "root", system_call(170, None, -1))
    a("personality", "any", system_call(135, 0x0040000))
    a("iopl", "root", system_call(172, 99))
    a("typing into a terminal", "any", system_call(16, 0, 0x5412, b"x"))
    a("typing into a terminal, upper bits", "any", system_call(16, 0, (1 << 32) | 0x5412, b"x"))
    a("a call that is not known yet", "never", system_call(460, 0, 0, 0, 0, 0, 0))

    def outcome(attempt):
        ends = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try: text = "reached" if attempt() else "held by its answer"
            except OSError as error: text = "held by " + (error.strerror or str(error))
            except Exception as error: text = "held by " + repr(error)
            os.write(ends[1], text.encode())
            os._exit(0)
        os.close(ends[1])
        text = os.read(ends[0], 1000).decode()
        os.close(ends[0])
        status = os.waitpid(child, 0)[1]
        return text or "held by signal %d" % os.WTERMSIG(status)

    wanted = e["T_WANTED"].split(",")
    for name, (control, attempt) in attempts.items():
        if "all" in wanted or control in wanted: print(name, outcome(attempt), control, sep="\t", flush=True)
    """#

  /// Ways to reach what all users of a machine share, of which the attempts know the names: `T_TCP`, `T_ABSTRACT`, …
  static let targets = #"""
    import ctypes, os, signal, socket, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    libc = ctypes.CDLL(None, use_errno=True)
    os.umask(0)
    tcp = socket.create_server(("127.0.0.1", 0))
    name = "hero-sandbox-test-%d" % os.getpid()
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0" + name); abstract.listen(8)
    key = 0x48450000 + os.getpid()
    segment = libc.shmget(key, 4096, 0o1666)
    libc.syscall(240, name.encode(), 0o100 | 2, 0o666, None)
    shm = "/dev/shm/" + name
    open(shm, "w").write("x")
    print("T_TCP=%d T_ABSTRACT=%s T_SYSV=%d T_QUEUE=%s T_SHM=%s" % (tcp.getsockname()[1], name, key, name, shm), flush=True)
    try: signal.pause()
    finally:
        libc.shmctl(segment, 0, None)
        libc.syscall(241, name.encode())
        os.unlink(shm)
    """#
}
