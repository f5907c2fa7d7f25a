import CSeccomp
import EventLoop
import Glibc

/// Which system calls the processes of a sandbox may make (seccomp(2)): all that ordinary programs use, and none of those
/// by which a process changes walls, looks into others, reaches the kernel's rarely used parts, or sets what is the
/// machine's. The kernel would refuse most of them to a process without capabilities anyway; this is the second wall.
///
/// It is compiled once, when a node starts. What a newer kernel brings is refused until it is known here.
enum SystemCallFilter {
  /// The compiled filter: `struct sock_filter`, 8 bytes each.
  static func compiled() throws(UVError) -> [UInt8] {
    guard let context = seccomp_init(hero_allow) else {
      throw UVError(errno: ENOMEM, operation: "make a filter of system calls")
    }
    defer { seccomp_release(context) }
    // Calls by the numbers of another architecture (32 bits, x32) would pass by every rule below.
    try check(seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, hero_kill))
    // A tree instead of a list: some ten comparisons a call.
    try check(seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2))
    for rule in rules {
      let number = seccomp_syscall_resolve_name(rule.call)
      // -1 is a name that libseccomp does not know; below it are calls that this architecture does not have.
      guard number != -1 else { throw UVError(errno: ENOSYS, operation: "find the system call \(rule.call)") }
      guard number >= 0 else { continue }
      let action = hero_refuse(UInt16(rule.error))
      try check(seccomp_rule_add_array(context, action, number, UInt32(rule.arguments.count), rule.arguments))
    }
    for number in firstUnknown...lastUnknown {
      try check(seccomp_rule_add_array(context, hero_refuse(UInt16(ENOSYS)), number, 0, nil))
    }
    let file = try MemoryFile([])
    defer { file.close() }
    try check(seccomp_export_bpf(context, file.descriptor))
    return file.read(at: 0, count: 1 << 16)
  }

  private struct Rule {
    let call: String
    let error: Int32
    /// All must hold for the call to be refused.
    var arguments: [scmp_arg_cmp] = []
  }

  private static func check(_ result: Int32) throws(UVError) {
    guard result == 0 else { throw UVError(errno: -result, operation: "make a filter of system calls") }
  }

  /// Whether the bits of `mask` are `value`. The kernel takes most arguments as 32 bits, so the upper ones say nothing.
  private static func argument(_ index: UInt32, _ mask: UInt64, is value: UInt64) -> scmp_arg_cmp {
    scmp_arg_cmp(arg: index, op: SCMP_CMP_MASKED_EQ, datum_a: mask, datum_b: value)
  }

  private static let low32: UInt64 = 0xFFFF_FFFF

  /// The first number behind the calls of Linux 6.6, the last of which is `futex_requeue`, and as many as there may ever be.
  private static let firstUnknown: Int32 = 457
  private static let lastUnknown: Int32 = 1023

  private static var rules: [Rule] {
    let refused = [
      // Walls.
      "mount", "umount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree",
      "move_mount", "mount_setattr", "unshare", "setns", "open_by_handle_at",
      // Other processes.
      "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
      "migrate_pages", "move_pages",
      // Keyrings, which have no namespaces.
      "keyctl", "add_key", "request_key",
      // Large parts of the kernel that a job has no use for.
      "bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register", "fanotify_init",
      "lookup_dcookie", "modify_ldt", "vm86", "vm86old", "uselib", "ustat", "sysfs", "_sysctl", "nfsservctl",
      "remap_file_pages",
      // The machine.
      "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "query_module",
      "get_kernel_syms", "swapon", "swapoff", "reboot", "settimeofday", "clock_settime", "clock_settime64",
      "clock_adjtime",
      "clock_adjtime64", "adjtimex", "stime", "quotactl", "quotactl_fd", "acct", "syslog", "sethostname",
      "setdomainname",
      "ioperm", "iopl", "vhangup",
    ]
    // Flags that make namespaces (clone(2)); CLONE_NEWTIME is none of them, it is part of the signal there.
    let namespaces: [UInt64] = [
      0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000,
    ]
    // ioctl(2): type into a terminal, and select and paste on a console.
    let requests: [UInt64] = [0x5412, 0x541C]
    // The kernel knows fewer than 64 families; of its own netlink, the one that lists addresses may be read.
    let families = (0..<64).filter { ![AF_UNIX, AF_INET, AF_INET6, AF_NETLINK].contains(Int32($0)) }.map(UInt64.init)
    let refusedFamily = ["socket", "socketpair"].flatMap { call in
      families.map { Rule(call: call, error: EAFNOSUPPORT, arguments: [argument(0, low32, is: $0)]) }
    }
    let netlink = (1..<32).map { protocolNumber in
      Rule(
        call: "socket", error: EPROTONOSUPPORT,
        arguments: [argument(0, low32, is: UInt64(AF_NETLINK)), argument(2, low32, is: protocolNumber)])
    }
    // mknod(2): device files; pipes and sockets may be made.
    let devices: [Rule] = [UInt64(S_IFCHR), UInt64(S_IFBLK)].flatMap { kind in
      [("mknod", 1), ("mknodat", 2)].map { call, index in
        Rule(call: call, error: EPERM, arguments: [argument(UInt32(index), UInt64(S_IFMT), is: kind)])
      }
    }
    return refused.map { Rule(call: $0, error: EPERM) }
      + namespaces.map { Rule(call: "clone", error: EPERM, arguments: [argument(0, $0, is: $0)]) }
      // Its flags lie in memory, where no filter sees them; who gets this answer uses clone.
      + [Rule(call: "clone3", error: ENOSYS)]
      + requests.map { Rule(call: "ioctl", error: EPERM, arguments: [argument(1, low32, is: $0)]) }
      + refusedFamily + netlink + devices
      // Only the question which it is.
      + [
        Rule(
          call: "personality", error: EPERM,
          arguments: [scmp_arg_cmp(arg: 0, op: SCMP_CMP_NE, datum_a: low32, datum_b: 0)])
      ]
  }
}
