import CLibUV
import Glibc

// Starting a program by posix_spawn(3), which shares the node's memory with the child until it executes the program
// (clone(2), CLONE_VM | CLONE_VFORK). uv_spawn copies the page tables instead (fork(2)), which took more than half of
// the time of a short job.

enum Spawn {
  /// Starts a program in which `descriptors` are its standard streams and those after them; -1 stands for /dev/null.
  ///
  /// It gets the default action for every signal, an empty signal mask, and no other descriptor.
  /// - Parameters:
  ///   - executable: a path, relative to the working directory, or absolute.
  ///   - words: the program's name and its arguments.
  /// - Returns: its pid, or a negated errno(3).
  static func start(
    _ executable: String, words: [String], environment: [String], workingDirectory: String?, newSession: Bool,
    descriptors: [Int32]
  ) -> Int32 {
    var attributes = posix_spawnattr_t()
    var actions = posix_spawn_file_actions_t()
    // Only these take memory: the attributes never, the actions as they grow.
    posix_spawnattr_init(&attributes)
    posix_spawn_file_actions_init(&actions)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    let session = newSession ? Int32(HERO_SPAWN_SETSID) : 0
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | session))

    var failure: Int32 = 0
    for (number, descriptor) in descriptors.enumerated() where failure == 0 {
      failure =
        descriptor < 0
        ? posix_spawn_file_actions_addopen(&actions, Int32(number), "/dev/null", O_RDWR, 0)
        : posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(number))
    }
    if failure == 0 { failure = posix_spawn_file_actions_addclosefrom_np(&actions, Int32(descriptors.count)) }
    if failure == 0, let workingDirectory {
      failure = posix_spawn_file_actions_addchdir_np(&actions, workingDirectory)
    }
    guard failure == 0 else { return -failure }
    var pid: Int32 = 0
    failure = withCStrings(words) { words in
      withCStrings(environment) { posix_spawn(&pid, executable, &actions, &attributes, words, $0) }
    }
    return failure == 0 ? pid : -failure
  }

  /// Where a program is: a name with a slash in it says so itself, any other is looked up in the child's `PATH`.
  /// - Returns: `nil` when no directory of the `PATH` has such a program.
  static func locate(_ executable: String, environment: [String]) -> String? {
    if executable.utf8.contains(UInt8(ascii: "/")) { return executable }
    let path = environment.last { $0.hasPrefix("PATH=") }?.dropFirst(5) ?? "/usr/bin:/bin"
    for directory in path.split(separator: ":", omittingEmptySubsequences: false) {
      let candidate = directory.isEmpty ? executable : "\(directory)/\(executable)"
      if access(candidate, X_OK) == 0 { return candidate }
    }
    return nil
  }

  /// A null-terminated array of C strings, valid during the call.
  private static func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    // One block for all characters instead of an allocation a string.
    var characters: [CChar] = []
    characters.reserveCapacity(strings.reduce(0) { $0 + $1.utf8.count + 1 })
    var offsets: [Int] = []
    for string in strings {
      offsets.append(characters.count)
      for byte in string.utf8 { characters.append(CChar(bitPattern: byte)) }
      characters.append(0)
    }
    return characters.withUnsafeMutableBufferPointer { characters in
      var pointers: [UnsafeMutablePointer<CChar>?] = offsets.map { characters.baseAddress! + $0 }
      pointers.append(nil)
      return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
    }
  }
}
