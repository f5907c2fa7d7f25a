import CDirectories
import Glibc

/// Removes an entry of the work directory with all that is below it, while processes that want the contrary may rename
/// and replace what they like.
///
/// Each name is used once, relative to an open directory, and without following a link: a directory is opened by
/// `O_NOFOLLOW`, and unlinkat(2) and renameat(2) never follow one. What a hostile process puts in the place of a name is
/// therefore removed itself, and never what it points to (compare CVE-2022-21658).
///
/// The walk goes neither down nor up. A subdirectory with contents is first renamed into the root of its own tree; so the
/// tree has two levels, whatever its depth was, and four open descriptors are enough. Nothing goes back by `..`, which
/// would lead elsewhere once a directory was moved. When something appeared behind the walk, a round begins again from
/// the root, until the tree is gone, until a round changes nothing, or until time is up.
struct TreeRemoval: ~Copyable {
  /// How one attempt ended.
  struct Outcome: Sendable {
    /// Nothing of that name is there any more.
    var isGone = false
    /// There was nothing of that name: whoever moved it away has it elsewhere.
    var wasMissing = false
    /// Time was up; the next attempt goes on where this one stopped.
    var isOutOfTime = false
    /// What the system refused to remove, and how many such entries there are.
    var refused: (path: String, code: Int32)?
    var refusals = 0
  }

  /// Rounds in a row that neither removed anything nor were refused anything: names changed while they were read.
  private static var idleRounds: Int { 100 }

  private let work: WorkDirectory
  private let name: FileName
  private let deadline: ContinuousClock.Instant
  private let entries = EntryBuffer()
  private var root: Int32 = -1
  /// Directories in the root that are not empty.
  private var pending: [FileName] = []
  /// Entries that were removed or moved.
  private var changes = 0
  private var outcome = Outcome()

  private init(_ name: FileName, in work: WorkDirectory, until deadline: ContinuousClock.Instant) {
    self.name = name
    self.work = work
    self.deadline = deadline
  }

  deinit { if root >= 0 { close(root) } }

  /// Removes an entry. Blocking; one system call for an empty directory or for a file that is said to be one.
  /// - Parameter deadline: when to stop for now.
  static func run(
    _ name: FileName, in work: WorkDirectory, isFile: Bool = false, until deadline: ContinuousClock.Instant
  ) -> Outcome {
    let code = Self.remove(name.bytes, in: work.descriptor, isDirectory: !isFile)
    if code == 0 || code == ENOENT { return Outcome(isGone: true, wasMissing: code != 0) }
    var removal = TreeRemoval(name, in: work, until: deadline)
    removal.run(code)
    return removal.outcome
  }

  private mutating func run(_ code: Int32) {
    var code = code
    var idle = 0
    while code == ENOTEMPTY || code == EEXIST {
      let before = changes
      outcome.refused = nil
      outcome.refusals = 0
      guard emptyRoot() else { return }
      code = Self.remove(name.bytes, in: work.descriptor, isDirectory: true)
      guard code == ENOTEMPTY || code == EEXIST, changes == before else { continue }
      if outcome.refusals > 0 { return }
      idle += 1
      if idle == Self.idleRounds { break }
    }
    if code == 0 || code == ENOENT { outcome.isGone = true } else { refuse(code, []) }
  }

  /// One round over the tree.
  /// - Returns: whether it came to the end of the tree.
  private mutating func emptyRoot() -> Bool {
    if root >= 0 {
      lseek(root, 0, SEEK_SET)
    } else {
      root = open(name.bytes, in: work.descriptor, [])
      if root < 0 { return outcome.refusals == 0 }
    }
    empty(root, [])
    while !outcome.isOutOfTime, let directory = pending.popLast() {
      let refusals = outcome.refusals
      let descriptor = open(directory.bytes, in: root, [directory])
      if descriptor >= 0 {
        empty(descriptor, [directory])
        close(descriptor)
      }
      switch Self.remove(directory.bytes, in: root, isDirectory: true) {
      case 0: changes += 1
      // Refused below, filled again, or moved away meanwhile: the next round sees.
      case ENOENT, ENOTEMPTY, EEXIST: break
      case let code where outcome.refusals == refusals: refuse(code, [directory])
      default: break
      }
    }
    return !outcome.isOutOfTime
  }

  /// Removes what is in an open directory, and puts into `pending` what has contents of its own.
  private mutating func empty(_ directory: Int32, _ place: [FileName]) {
    while entries.read(directory) {
      while let entry = entries.next() {
        // An attempt looks at all that is left of the tree, so nothing needs to be kept for the next one.
        outcome.isOutOfTime = ContinuousClock.now >= deadline
        if outcome.isOutOfTime { return }
        var code = Self.remove(entry.name, in: directory, isDirectory: entry.isDirectory)
        if code == ENOTEMPTY || code == EEXIST {
          if directory == root {
            pending.append(FileName(copying: entry.name))
            continue
          }
          code = lift(entry.name, from: directory)
        }
        switch code {
        case 0: changes += 1
        case ENOENT: break
        default: refuse(code, place + [FileName(copying: entry.name)])
        }
      }
    }
    if errno != 0 { refuse(errno, place) }
  }

  /// Renames a directory into the root, where it is pending.
  /// - Returns: 0 or what `errno` said.
  private mutating func lift(_ name: UnsafePointer<CChar>, from directory: Int32) -> Int32 {
    let lifted = FileName.random()
    if renameat(directory, name, root, lifted.bytes) != 0 {
      // It gets another `..`, for which who is not root needs to be allowed to write it.
      guard errno == EACCES, makeAccessible(name, in: directory) else { return errno }
      guard renameat(directory, name, root, lifted.bytes) == 0 else { return errno }
    }
    pending.append(lifted)
    return 0
  }

  /// Opens a directory to empty it, and takes it from its owner.
  /// - Returns: a descriptor, or -1; then it is said why, unless there is no such directory any more.
  private mutating func open(_ name: [CChar], in parent: Int32, _ place: [FileName]) -> Int32 {
    var descriptor = hero_open_directory(parent, name)
    if descriptor < 0, errno == EACCES, makeAccessible(name, in: parent) {
      descriptor = hero_open_directory(parent, name)
    }
    guard descriptor >= 0 else {
      let code = errno
      // Replaced meanwhile by a file or a link.
      if code == ENOTDIR || code == ELOOP {
        let code = Self.remove(name, in: parent, isDirectory: false)
        if code == 0 { changes += 1 } else if code != ENOENT { refuse(code, place) }
      } else if code != ENOENT {
        refuse(code, place)
      }
      return -1
    }
    var file = hero_file()
    let code = hero_describe(descriptor, &file) == 0 ? 0 : errno
    guard code == 0, work.shares(file) else {
      close(descriptor)
      refuse(code == 0 ? EBUSY : code, place)
      return -1
    }
    // With root as its owner, what is left of the job's processes cannot put anything into it again; and a sticky bit
    // does not ask for CAP_FOWNER.
    let isTaken = geteuid() == 0 && file.owner != 0 && fchown(descriptor, 0, getegid()) == 0
    if isTaken || file.mode & 0o700 != 0o700 { fchmod(descriptor, 0o700) }
    return descriptor
  }

  /// Gives a directory's owner all permissions.
  ///
  /// fchmod(2) refuses a descriptor that was opened without permission (`O_PATH`), but chmod(2) takes it by
  /// `/proc/self/fd`, which leads to that very directory, whatever has its name by now.
  private func makeAccessible(_ name: UnsafePointer<CChar>, in parent: Int32) -> Bool {
    let code = errno
    let descriptor = hero_find_directory(parent, name)
    defer { errno = code }
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var file = hero_file()
    guard hero_describe(descriptor, &file) == 0, work.shares(file) else { return false }
    return chmod("/proc/self/fd/\(descriptor)", 0o700) == 0
  }

  /// unlinkat(2), with the other flag when the entry is of the other kind.
  /// - Returns: 0 or what `errno` said.
  private static func remove(_ name: UnsafePointer<CChar>, in parent: Int32, isDirectory: Bool) -> Int32 {
    if unlinkat(parent, name, isDirectory ? AT_REMOVEDIR : 0) == 0 { return 0 }
    guard errno == (isDirectory ? ENOTDIR : EISDIR) else { return errno }
    return unlinkat(parent, name, isDirectory ? 0 : AT_REMOVEDIR) == 0 ? 0 : errno
  }

  private mutating func refuse(_ code: Int32, _ place: [FileName]) {
    outcome.refusals += 1
    if outcome.refused == nil {
      outcome.refused = (([work.path, "\(name)"] + place.map { "\($0)" }).joined(separator: "/"), code)
    }
  }
}
